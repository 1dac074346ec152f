"""Letting an opened model write, with interventions on what it writes and not on what it is asked.

The question is read as it is; interventions act from its last token on, where the first word of the reply is chosen.
Rows of unequal length are filled up on the left and masked, as `generate` of transformers does, whose cache is used.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from palaestra.interp.errors import InterpError
from palaestra.interp.intervene import Intervention, intervene
from palaestra.interp.opened import OpenModel


@torch.no_grad()
def write(
    opened: OpenModel,
    asked: Sequence[Sequence[int]],
    most: int,
    stops: Sequence[int],
    *,
    interventions: Sequence[Intervention] = (),
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """Return what the model writes behind each row, without the stop token; a row of ``most`` tokens was cut.

    Args:
        opened: The model.
        asked: Token ids of what is asked, at least one each.
        most: Tokens of a reply.
        stops: Ids that end one.
        interventions: On each token that is written; they may not name places, because one is computed at a time.
        temperature: Of sampling; 0 is greedy.
        seed: Of sampling.

    Raises:
        InterpError: Nothing is asked, or logits are not finite.
    """
    from transformers import DynamicCache

    if not asked or not all(asked):
        raise InterpError("there is nothing to reply to; give at least one row with at least one token.")
    longest = max(map(len, asked))
    ids = torch.tensor([[*[row[0]] * (longest - len(row)), *row] for row in asked])
    mask = torch.tensor([[0] * (longest - len(row)) + [1] * len(row) for row in asked])
    places = (mask.cumsum(1) - 1).clamp(min=0)
    device = opened.device
    ids, mask, places = ids.to(device), mask.to(device), places.to(device)
    cache = DynamicCache(config=opened.model.config)
    if longest > 1:
        opened.model(
            input_ids=ids[:, :-1],
            attention_mask=mask[:, :-1],
            position_ids=places[:, :-1],
            past_key_values=cache,
            use_cache=True,
            logits_to_keep=1,
        )
    token, place = ids[:, -1:], places[:, -1:]
    generator = torch.Generator().manual_seed(seed)
    written: list[list[int]] = [[] for _ in asked]
    going = set(range(len(asked)))
    ends = set(stops)
    with intervene(opened, *interventions):
        for _ in range(most):
            found = opened.model(
                input_ids=token, attention_mask=mask, position_ids=place, past_key_values=cache, use_cache=True
            )
            token = _drawn(found.logits[:, -1], temperature, generator, opened.name)
            for row in list(going):
                one = int(token[row, 0])
                if one in ends:
                    going.remove(row)
                else:
                    written[row].append(one)
            if not going:
                break
            mask = torch.cat([mask, torch.ones_like(mask[:, :1])], 1)
            place = place + 1
    return written


def _drawn(logits: Tensor, temperature: float, generator: torch.Generator, name: str) -> Tensor:
    if not torch.isfinite(logits).all():
        raise InterpError(f"{name} computes logits that are NaN or infinite; steer less, or look at the adapter.")
    if temperature <= 0:
        return logits.argmax(-1, keepdim=True)
    chances = (logits.float() / temperature).softmax(-1).cpu()
    return torch.multinomial(chances, 1, generator=generator).to(logits.device)
