"""What each component does for the prediction of a token, as a vector for each token.

Two kinds:

* *direct*, for every token of a text: what each writer adds to logit(answer) minus the mean logit by itself, the final
  norm's scale being as it is. One forward pass; with the biases, contributions add up exactly.
* *gradient*, for chosen tokens: (a - reference) . dm/da for every component, norms (scale and gain) included, where m
  is the same number. Backward rules are those of `palaestra.interp.importance.rules`. The reference is the mean over a
  *group* of tokens, taken apart at the place of prediction and before it; drawn inside a cluster, it makes what all of
  the cluster have in common cancel.

Gradient profiles have two entries for each component: what it does at the place of prediction (``L0.H3``) and what it
does at the places before (``L0.H3<``). What happens at place 0, where attention rests when it has nothing to do, is
summed up apart and is not part of the profile.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from palaestra.interp.architecture import Norm, weight
from palaestra.interp.atlas.tokens import Floats, Ints, Tokens
from palaestra.interp.capture import capture
from palaestra.interp.importance.gradients import default_nodes
from palaestra.interp.importance.rules import rules

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

BEFORE = "<"
"""Behind a component's name: what it does before the place of prediction."""


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What one forward pass says about B rows of up to T tokens.

    Attributes:
        loss: float32 [B, T - 1] nats of predicting the next token; of no meaning behind a row's end.
        direct: float32 [B, T - 1, m] contributions of the writers.
    """

    loss: Floats
    direct: Floats


@torch.no_grad()
def survey(opened: OpenModel, rows: Sequence[Ints]) -> Survey:
    """Return losses and direct contributions of all tokens of some rows."""
    ids = filled(rows).to(opened.device)
    answers = ids[:, 1:]
    last = f"resid{len(opened.anatomy.blocks)}"
    writers = opened.writers()
    with capture(opened, [*writers, last]) as kept:
        logits = opened(ids)[:, :-1].float()
    chosen = logits.gather(2, answers[..., None])[..., 0]
    loss = logits.logsumexp(-1) - chosen
    matrix = weight(opened.anatomy.unembed)
    norm = Norm.of(opened.anatomy.norm)
    along = matrix[answers] - matrix.mean(0)  # [B, T - 1, D]
    pulled = norm.centre(along * norm.gain) * norm.scale(kept[last][:, :-1])
    found: dict[str, Tensor] = {}
    for layer, block in enumerate(opened.anatomy.blocks):
        heads = [name for name in writers if name.startswith(f"L{layer}.H")]
        # through o once for all heads, instead of every head's output to the residual stream
        through = (pulled @ weight(block.o)).unflatten(-1, (len(heads), -1))  # [B, T - 1, H, d]
        values = torch.stack([kept[name][:, :-1] for name in heads], 2)
        for number, name in enumerate(heads):
            found[name] = (through[:, :, number] * values[:, :, number]).sum(-1)
    for name in writers:
        if name not in found:
            found[name] = (kept[name][:, :-1] * pulled).sum(-1)
    direct = torch.stack([found[name] for name in writers], -1)
    return Survey(loss.float().cpu().numpy(), direct.float().cpu().numpy())


def filled(rows: Sequence[Ints]) -> Tensor:
    """Return rows as one tensor, the shorter ones filled up on the right with their last token: int64 [B, T]."""
    longest = max(map(len, rows))
    return torch.from_numpy(np.stack([np.pad(row, (0, longest - len(row)), mode="edge") for row in rows]))


@dataclass(frozen=True, slots=True, eq=False)
class Reference:
    """Mean values of components over a group of tokens.

    Attributes:
        here: By component, [W] at the places of prediction.
        before: The same over the places before them, place 0 left out.
    """

    here: dict[str, Tensor]
    before: dict[str, Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Profiles:
    """Gradient profiles of n tokens.

    Attributes:
        names: p entries, such as ``L0.H3`` and ``L0.H3<``.
        values: float32 [n, p], in logits.
        inputs: For each token, float32 [T]: what the embeddings at the places up to the prediction do.
        sink: float32 [n]: everything at place 0.
        metric: float32 [n]: logit(answer) minus the mean logit.
    """

    names: tuple[str, ...]
    values: Floats
    inputs: tuple[Floats, ...]
    sink: Floats
    metric: Floats


def profile_names(opened: OpenModel) -> tuple[str, ...]:
    """Return the entries of a profile."""
    nodes = default_nodes(opened)
    return (*nodes, *(f"{name}{BEFORE}" for name in nodes))


def margin(logits: Tensor, places: Tensor, answers: Tensor) -> Tensor:
    """Return logit(answer) minus the mean logit at one place of each row: [B]."""
    at = logits[torch.arange(len(places), device=logits.device), places]
    return at.gather(1, answers[:, None])[:, 0] - at.mean(-1)


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some tokens as one forward pass: rows cut off behind the place of prediction.

    Attributes:
        index: Which tokens: int64 [B].
        ids: int64 [B, T].
        places, answers: int64 [B].
        before: bool [B, T]: places before the prediction but place 0.
    """

    index: Ints
    ids: Tensor
    places: Tensor
    answers: Tensor
    before: Tensor


def batches(opened: OpenModel, tokens: Tokens, size: int) -> list[Batch]:
    """Return the tokens in batches of about equal length."""
    order = np.argsort(tokens.place, kind="stable")
    answer = tokens.answer
    found = []
    for start in range(0, len(order), size):
        index = order[start : start + size]
        ids = filled([tokens.context(int(one)) for one in index]).to(opened.device)
        places = torch.from_numpy(tokens.place[index]).to(opened.device)
        at = torch.arange(ids.shape[1], device=opened.device)
        before = (at[None] < places[:, None]) & (at > 0)
        found.append(Batch(index, ids, places, torch.from_numpy(answer[index]).to(opened.device), before))
    return found


@torch.no_grad()
def reference(
    opened: OpenModel,
    tokens: Tokens,
    *,
    batch: int = 16,
    names: Sequence[str] | None = None,
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> Reference:
    """Return the means of all components over a group of tokens; a gain's is its own mean over the width."""
    names = default_nodes(opened) if names is None else names
    here: dict[str, Tensor] = {}
    before: dict[str, Tensor] = {}
    count = 0
    for one in batches(opened, tokens, batch):
        with capture(opened, names) as kept:
            opened(one.ids)
        rows = torch.arange(len(one.index), device=opened.device)
        for name in names:
            value = kept[name]
            here[name] = here.get(name, 0) + value[rows, one.places].double().sum(0)
            before[name] = before.get(name, 0) + value[one.before].double().sum(0)
        count += int(one.before.sum())
        on_batch(len(one.index))

    def mean(name: str, total: Tensor, over: int) -> Tensor:
        found = (total / max(1, over)).to(opened.dtype)
        return found.mean().expand_as(found) if opened.component(name).kind == "gain" else found

    return Reference(
        {name: mean(name, total, len(tokens)) for name, total in here.items()},
        {name: mean(name, total, count) for name, total in before.items()},
    )


def gradient_profiles(
    opened: OpenModel,
    tokens: Tokens,
    against: Reference,
    *,
    batch: int = 16,
    ruled: bool = True,
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> Profiles:
    """Return the profiles of tokens against a reference.

    Args:
        opened: The model.
        tokens: n tokens.
        against: From `reference`, over the group that is looked at.
        batch: Tokens a pass; memory is bounded by it.
        ruled: Use the backward rules.
        on_batch: Called with the number of tokens done.
    """
    nodes, names = default_nodes(opened), profile_names(opened)
    values = np.zeros((len(tokens), len(names)), dtype=np.float32)
    inputs: list[Floats] = [np.zeros(0, dtype=np.float32)] * len(tokens)
    sink = np.zeros(len(tokens), dtype=np.float32)
    metric = np.zeros(len(tokens), dtype=np.float32)
    for one in batches(opened, tokens, batch):
        with rules(opened) if ruled else nullcontext(), capture(opened, nodes, gradients=True) as kept:
            number = margin(opened(one.ids), one.places, one.answers)
            gradients = kept.gradients(number.sum())
        with torch.no_grad():
            rows = torch.arange(len(one.index), device=opened.device)
            at_first = torch.zeros(len(one.index), device=opened.device)
            for column, name in enumerate(nodes):
                gradient, value = gradients[name], kept[name].detach()
                by_place = ((value - against.before[name]) * gradient).sum(-1)  # [B, T]
                at_end = ((value[rows, one.places] - against.here[name]) * gradient[rows, one.places]).sum(-1)
                earlier = (by_place * one.before).sum(-1)
                values[one.index, column] = at_end.float().cpu().numpy()
                values[one.index, len(nodes) + column] = earlier.float().cpu().numpy()
                at_first += by_place[:, 0].float() * (one.places > 0)
                if opened.component(name).kind == "embedding":
                    by_place[rows, one.places] = at_end
                    for row, index in enumerate(one.index):
                        found = by_place[row, : int(one.places[row]) + 1].float().cpu().numpy()
                        inputs[index] = found if not len(inputs[index]) else inputs[index] + found
        sink[one.index] = at_first.cpu().numpy()
        metric[one.index] = number.detach().float().cpu().numpy()
        on_batch(len(one.index))
    return Profiles(names, values, tuple(inputs), sink, metric)
