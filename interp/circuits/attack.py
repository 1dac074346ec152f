"""Prompts that break a behaviour by way of its circuit.

A search flips tokens one at a time (HotFlip, Ebrahimi et al. 1712.06751): the gradient at the embeddings proposes
candidates, forward passes choose among them. It lowers either the metric itself, or what given components contribute to
it directly (`through`). Whether the break really goes by way of them is measured: with their clean values patched in,
how much of the metric comes back? The same search without them, at equal cost, says what that is worth.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from palaestra.interp.architecture import Norm
from palaestra.interp.capture import capture
from palaestra.interp.checks import written
from palaestra.interp.errors import InterpError
from palaestra.interp.importance.direct import read_direction
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.metrics import logit_difference
from palaestra.interp.prompts import Prompts

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel


@dataclass(frozen=True, slots=True, eq=False)
class Attack:
    """What a search found.

    Attributes:
        ids: [B, T] the prompts that it ended with.
        flips: Tokens changed in each prompt.
        before, after: [B] logit difference of answers and foils.
        restored: [B] the same with the components' clean values patched into the broken prompts.
        passes: Forward passes of one prompt that it took, the same for equal settings.
    """

    ids: Tensor
    flips: Tensor
    before: Tensor
    after: Tensor
    restored: Tensor
    passes: int

    @property
    def share_restored(self) -> float:
        """Return how much of what was lost comes back: 1 for a break that goes by way of the components alone."""
        lost = float((self.before - self.after).mean())
        return float((self.restored - self.after).mean()) / lost if lost > 0 else 0.0


def attack(
    opened: OpenModel,
    prompts: Prompts,
    components: Sequence[str],
    *,
    through: bool = True,
    places: Sequence[int] | None = None,
    tokens: Sequence[int] | None = None,
    flips: int = 2,
    candidates: int = 8,
    batch: int = 8,
) -> Attack:
    """Search for prompts on which a behaviour breaks.

    Args:
        opened: The model.
        prompts: With answers and foils.
        components: Writers, such as a circuit's.
        through: Lower their direct contribution; else the metric.
        places: Which tokens may be flipped; None for all but the last of each prompt.
        tokens: What may be put there; None for the whole vocabulary.
        flips: At most this many a prompt.
        candidates: Tried in a forward pass each, for each flip.
        batch: Prompts a pass, fewer where logits are many: for each, what a flip would gain is held.

    Raises:
        InterpError: There is nothing to flip.
    """
    if not _places(prompts, places).any() or not components:
        raise InterpError("there is nothing to attack: give components, and places in front of a prompt's end.")
    size = opened.fitting(batch, prompts.ids.shape[1])
    how = (components, through, places, tokens, flips, candidates)
    found = [_attacked(opened, some, *how) for some in prompts.batches(size)]
    ids, changed, before, after, restored = (
        torch.cat([getattr(one, name) for one in found]) for name in ("ids", "flips", "before", "after", "restored")
    )
    return Attack(ids, changed, before, after, restored, found[0].passes)


def _attacked(
    opened: OpenModel,
    prompts: Prompts,
    components: Sequence[str],
    through: bool,
    places: Sequence[int] | None,
    tokens: Sequence[int] | None,
    flips: int,
    candidates: int,
) -> Attack:
    """Attack prompts that are computed together."""
    allowed = _places(prompts, places)
    ids = prompts.ids.clone()
    before = logit_difference(opened(ids), prompts)
    objective, passes = _objective(opened, prompts, ids, components, through), 0
    vocabulary = torch.tensor(list(tokens)) if tokens is not None else None
    for _ in range(flips):
        gains = _gains(opened, prompts, ids, components, through, vocabulary) * allowed[..., None]
        best = gains.flatten(1).topk(candidates).indices
        chosen, value = ids, objective
        for number in range(candidates):
            place, column = best[:, number] // gains.shape[2], best[:, number] % gains.shape[2]
            tried = ids.clone()
            tried[torch.arange(len(ids)), place] = column if vocabulary is None else vocabulary[column]
            found = _objective(opened, prompts, tried, components, through)
            better = found < value
            chosen, value = torch.where(better[:, None], tried, chosen), torch.where(better, found, value)
        ids, objective = chosen, value
        passes += candidates + 3
    after = logit_difference(opened(ids), prompts)
    with capture(opened, components) as kept:
        opened(prompts.ids)
    with intervene(opened, *(Patch(name, kept[name]) for name in components)):
        restored = logit_difference(opened(ids), prompts)
    return Attack(ids, (ids != prompts.ids).sum(1), before, after, restored, passes)


def _places(prompts: Prompts, places: Sequence[int] | None) -> Tensor:
    before_end = torch.arange(prompts.ids.shape[1])[None] < prompts.ends[:, None]
    if places is None:
        return before_end
    chosen = torch.zeros_like(before_end)
    chosen[:, list(places)] = True
    return chosen & before_end


def _contribution(
    opened: OpenModel, prompts: Prompts, ids: Tensor, components: Sequence[str], *, track: bool
) -> Tensor:
    """Return the components' direct contribution to the logit difference: [B]."""
    last = f"resid{len(opened.anatomy.blocks)}"
    with capture(opened, [*components, last], gradients=track) as kept:
        opened(ids)
    norm = Norm.of(opened.anatomy.norm)
    scale = norm.scale(prompts.at_end(kept[last])).detach()
    pulled = norm.centre(read_direction(opened, prompts) * norm.gain) * scale
    parts = [(written(opened, name, prompts.at_end(kept[name])) * pulled).sum(-1) for name in components]
    return torch.stack(parts).sum(0)


def _objective(opened: OpenModel, prompts: Prompts, ids: Tensor, components: Sequence[str], through: bool) -> Tensor:
    if through:
        return _contribution(opened, prompts, ids, components, track=False).detach()
    return logit_difference(opened(ids), prompts)


def _gains(
    opened: OpenModel,
    prompts: Prompts,
    ids: Tensor,
    components: Sequence[str],
    through: bool,
    vocabulary: Tensor | None,
) -> Tensor:
    """Return by how much a flip lowers the objective, to first order: [B, T, V]."""
    with capture(opened, ["embed"], gradients=True) as kept:
        if through:
            value = _contribution(opened, prompts, ids, components, track=True)
        else:
            value = logit_difference(opened(ids), prompts)
        gradient = kept.gradients(value.sum())["embed"]
    rows: Tensor = opened.anatomy.embeddings["embed"].weight  # type: ignore[assignment]
    chosen = rows if vocabulary is None else rows[vocabulary.to(rows.device)]
    return ((gradient * rows[ids]).sum(-1, keepdim=True) - gradient @ chosen.T).detach().cpu()
