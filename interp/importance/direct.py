"""Direct logit attribution: what each component adds to the metric by itself, the final norm's scale being as it is.

For a metric u . logits the residual stream enters as u W_U (gain * (sum of writers - centre) * scale) plus constants,
so that contributions, constants included, add up to the metric exactly.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from palaestra.interp.architecture import Norm, bias, weight
from palaestra.interp.capture import capture
from palaestra.interp.checks import written
from palaestra.interp.importance.scores import Scores, joined
from palaestra.interp.metrics import logit_difference
from palaestra.interp.prompts import Prompts

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

CONSTANT = "constant"
"""Biases of the final norm and of the unembedding."""


def direct(opened: OpenModel, prompts: Prompts, *, batch: int = 8) -> Scores:
    """Return contributions to the logit difference of answers and foils where each prompt ends.

    Returns:
        Scores of all writers and of ``constant``, [B, n]; their sum over n is the logit difference.
    """
    parts = []
    for start in range(0, len(prompts), batch):
        parts.append(_one(opened, prompts[slice(start, start + batch)]))
    return replace(joined(parts), facts={"reference": "zero"})


@torch.no_grad()
def _one(opened: OpenModel, prompts: Prompts) -> Scores:
    with capture(opened, reads(opened)) as kept:
        clean = logit_difference(opened(prompts.ids), prompts)
    values = contributions(opened, prompts, kept)
    names = (*opened.writers(), CONSTANT)
    return Scores(names, values, clean, torch.full_like(clean, torch.nan), "direct")


def reads(opened: OpenModel) -> list[str]:
    """Return what a capture must hold for `contributions`."""
    return [*opened.writers(), f"resid{len(opened.anatomy.blocks)}"]


def contributions(opened: OpenModel, prompts: Prompts, kept: Mapping[str, Tensor]) -> Tensor:
    """Return what each writer, and the constants, add to the logit difference, from a forward pass over ``prompts``.

    Args:
        opened: The model.
        prompts: What was run.
        kept: Values of `reads`; where they have a graph, so have the contributions, whose gradients add up to that of
            the logit difference because the scale of the final norm is part of each.

    Returns:
        [B, writers + 1].
    """
    last = f"resid{len(opened.anatomy.blocks)}"
    along = read_direction(opened, prompts)
    norm = Norm.of(opened.anatomy.norm)
    scale = norm.scale(prompts.at_end(kept[last]))
    pulled = norm.centre(along * norm.gain) * scale  # centring is its own transpose
    values = [(written(opened, name, prompts.at_end(kept[name])) * pulled).sum(-1) for name in opened.writers()]
    shift = torch.zeros_like(values[0]) if norm.shift is None else (along * norm.shift).sum(-1)
    constants = bias(opened.anatomy.unembed)
    if constants is not None:
        shift = shift + _between(constants[None].expand(len(prompts), -1), prompts)
    return torch.stack([*values, shift], 1)


def read_direction(opened: OpenModel, prompts: Prompts) -> Tensor:
    """Return the direction behind the final norm that the logit difference reads: [B, width]."""
    rows = weight(opened.anatomy.unembed)
    answers = rows[prompts.answers.to(rows.device)].mean(1)
    foils = rows[prompts.foils.to(rows.device)].mean(1) if prompts.foils.shape[1] else rows.mean(0)
    return answers - foils


def _between(values: Tensor, prompts: Prompts) -> Tensor:
    answers = values.gather(1, prompts.answers.to(values.device)).mean(1)
    foils = values.gather(1, prompts.foils.to(values.device)).mean(1) if prompts.foils.shape[1] else values.mean(1)
    return answers - foils
