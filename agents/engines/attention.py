"""Attention over a ragged batch: every token is a row of length 1, and rows find their keys in the workspace.

A step of the engine mixes rows that decode one token with rows that still read hundreds of context tokens. Padding
them to one length would waste most of the matrix products, so the model sees all N tokens of the step as a batch of
shape [N, 1]: its linear layers, norms and per-row adapters work on tokens, not on rows. Only attention must know which
tokens belong together, and transformers lets a registered function stand in for it (`AttentionInterface`).

Words. A *plan* says for each of the N tokens its workspace row and its position. A *group* is a set of rows that are
computed in one `scaled_dot_product_attention` call, padded to Q query tokens each. Rows with one token form one group;
longer ones are put together by length, so that padding never exceeds the longest by half.

Shapes: N tokens, R workspace rows, M rows of a group, H query heads, K key heads, G = H / K, T time, D head size.
Padded queries point at position 0, so that every query sees at least one finite key.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface

NAME = "palaestra_ragged"
"""What the attention is registered as, for `config._attn_implementation`."""

_MAX_PADDING = 1.5


@dataclass(slots=True)
class Group:
    """Rows of one attention call.

    Args:
        rows: Workspace rows: a count R for the view of the first R rows, or [M] indices to be gathered.
        tokens: [M * Q] index of each query into the N tokens of the step; 0 where padded.
        real: [n] places among the M * Q queries that are tokens; None if all are, in order.
        index: [n] the tokens these places belong to.
        positions: [M, Q] position of each query in its row; 0 where padded.
        time: T, the longest prefix that any query sees.
    """

    rows: int | torch.Tensor
    tokens: torch.Tensor
    real: torch.Tensor | None
    index: torch.Tensor
    positions: torch.Tensor
    time: int
    masks: dict[int | None, torch.Tensor] = field(default_factory=dict)

    def mask(self, window: int | None, groups: int, dtype: torch.dtype) -> torch.Tensor:
        """Additive mask [M, 1, G * Q, T]: causal, and within `window` tokens back where the layer has one."""
        if window not in self.masks:
            time = torch.arange(self.time, device=self.positions.device)
            hidden = time > self.positions[..., None]
            if window is not None:
                hidden |= time <= self.positions[..., None] - window
            mask = torch.zeros(hidden.shape, dtype=dtype, device=hidden.device).masked_fill_(hidden, float("-inf"))
            self.masks[window] = mask.repeat(1, groups, 1)[:, None]
        return self.masks[window]


@dataclass(slots=True)
class Plan:
    """What one forward pass computes.

    Args:
        ids: [N] token ids.
        rows: [N] workspace row of each token.
        positions: [N] position of each token in its row.
        select: [S] tokens whose logits are wanted.
        groups: A partition of the tokens.
    """

    ids: torch.Tensor
    rows: torch.Tensor
    positions: torch.Tensor
    select: torch.Tensor
    groups: list[Group]


def plan(pieces: list[tuple[int, list[int], int]], total_rows: int, select: list[int], device: torch.device) -> Plan:
    """Lay out a step.

    Args:
        pieces: (workspace row, new token ids, position of the first) in ascending order of rows.
        total_rows: R, the rows in use.
        select: Tokens, counted through all pieces, whose logits are wanted.
        device: Where the model lives.
    """
    ids: list[int] = []
    rows: list[int] = []
    positions: list[int] = []
    spans: list[tuple[int, int, int, int]] = []  # workspace row, first token, number of tokens, first position
    for row, tokens, start in pieces:
        spans.append((row, len(ids), len(tokens), start))
        ids += tokens
        rows += [row] * len(tokens)
        positions += range(start, start + len(tokens))

    groups = []
    single = [span for span in spans if span[2] == 1]
    if single:
        groups.append(_decode_group(single, total_rows, device))
    longer = sorted((span for span in spans if span[2] > 1), key=lambda span: span[2])
    while longer:
        size = next((i for i, span in enumerate(longer) if span[2] > _MAX_PADDING * longer[0][2]), len(longer))
        groups.append(_prefill_group(longer[:size], device))
        longer = longer[size:]

    def on_device(values: list[int]) -> torch.Tensor:
        return torch.tensor(values, dtype=torch.long, device=device)

    return Plan(on_device(ids), on_device(rows), on_device(positions), on_device(select), groups)


def _decode_group(spans: list[tuple[int, int, int, int]], total_rows: int, device: torch.device) -> Group:
    """One query a row. If most rows of the workspace take part, idle ones are computed too: that is cheaper than
    copying the keys and values of all the others in every layer."""
    index = torch.tensor([first for _, first, _, _ in spans], device=device)
    time = 1 + max(start for _, _, _, start in spans)
    starts = torch.tensor([start for _, _, _, start in spans], device=device)
    if 2 * len(spans) < total_rows:
        rows = torch.tensor([row for row, _, _, _ in spans], device=device)
        return Group(rows, index, None, index, starts[:, None], time)
    if len(spans) == total_rows:
        return Group(total_rows, index, None, index, starts[:, None], time)
    real = torch.tensor([row for row, _, _, _ in spans], device=device)
    tokens = torch.zeros(total_rows, dtype=torch.long, device=device).index_copy_(0, real, index)
    positions = torch.zeros(total_rows, dtype=torch.long, device=device).index_copy_(0, real, starts)
    return Group(total_rows, tokens, real, index, positions[:, None], time)


def _prefill_group(spans: list[tuple[int, int, int, int]], device: torch.device) -> Group:
    longest = max(count for _, _, count, _ in spans)
    tokens: list[int] = []
    positions: list[list[int]] = []
    real: list[int] = []
    index: list[int] = []
    for place, (_, first, count, start) in enumerate(spans):
        padding = [0] * (longest - count)
        tokens += [*range(first, first + count), *padding]
        positions.append([*range(start, start + count), *padding])
        real += range(place * longest, place * longest + count)
        index += range(first, first + count)
    return Group(
        rows=torch.tensor([row for row, _, _, _ in spans], device=device),
        tokens=torch.tensor(tokens, device=device),
        real=None if len(real) == len(tokens) else torch.tensor(real, device=device),
        index=torch.tensor(index, device=device),
        positions=torch.tensor(positions, device=device),
        time=max(start + count for _, _, count, start in spans),
    )


def ragged_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    plan: Plan,
    scaling: float | None = None,
    sliding_window: int | None = None,
    **kwargs: Any,
) -> tuple[torch.Tensor, None]:
    """Attend from `query` [N, H, 1, D] to the layer's workspace `key`, `value` [R, K, T, D]; returns [N, 1, H, D]."""
    count, heads, _, size = query.shape
    kv_heads = key.shape[1]
    packed = query[:, :, 0].view(count, kv_heads, heads // kv_heads, size)  # [N, K, G, D]: no copy of keys per head
    out = query.new_empty(count, heads, value.shape[-1])
    for group in plan.groups:
        members, length = group.positions.shape
        if isinstance(group.rows, int):
            keys, values = key[: group.rows, :, : group.time], value[: group.rows, :, : group.time]
        else:
            keys, values = key[group.rows, :, : group.time], value[group.rows, :, : group.time]
        # [M * Q, K, G, D] -> [M, K, G * Q, D]
        queries = packed[group.tokens].view(members, length, kv_heads, -1, size).permute(0, 2, 3, 1, 4)
        result = scaled_dot_product_attention(
            queries.reshape(members, kv_heads, -1, size),
            keys,
            values,
            attn_mask=group.mask(sliding_window, heads // kv_heads, query.dtype),
            scale=scaling,
        )
        result = result.view(members, kv_heads, -1, length, value.shape[-1]).permute(0, 3, 1, 2, 4)
        result = result.reshape(members * length, heads, -1)
        out[group.index] = result if group.real is None else result[group.real]
    return out[:, None], None


AttentionInterface.register(NAME, ragged_attention)
