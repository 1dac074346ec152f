"""Attribution from gradients: all components from a few forward and backward passes.

    gradient     (a - a_ref) . dm/da at the clean run: attribution patching (Nanda 2023; Syed et al. 2310.10348)
    integrated   the same with the gradient averaged over inputs between the corrupt and the clean one, at midpoints
                 (EAP-IG, Hanna et al. 2403.17806); steps are doubled until scores no longer move, and stated
    rules        heads by the plain gradient, everything else under the rules of `palaestra.interp.importance.rules`:
                 what agreed best with exact patching on SmolLM2, by type of component

The *reference* is the corrupt prompt, nothing at all (``zero``), the mean over the prompts' tokens (``mean``), or, for
prompts of equal length, the mean over prompts at each place (``place``). A
gain is the same in every run; its reference, but for the corrupt prompt's, is its own mean over the width. A scale is
never zero; its reference is its mean. The first token, an attention sink unlike all others, is left out of means, and
by the reference ``mean`` its own values are left as they are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import torch
from scipy.stats import spearmanr
from torch import Tensor

from palaestra.interp.capture import capture
from palaestra.interp.checks import differ
from palaestra.interp.errors import InterpError
from palaestra.interp.importance.rules import rules
from palaestra.interp.importance.scores import Scores, joined
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.metrics import Metric, logit_difference
from palaestra.interp.prompts import Pairs, Prompts

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

Method = Literal["gradient", "integrated", "rules"]
Reference = Literal["corrupt", "zero", "mean", "place"]
METHODS: tuple[Method, ...] = ("gradient", "integrated", "rules")
MOST_STEPS = 64
CONVERGED = 0.995
"""Rank correlation of scores with those of half as many steps."""


def attribute(
    opened: OpenModel,
    prompts: Pairs | Prompts,
    metric: Metric = logit_difference,
    *,
    nodes: Iterable[str] | None = None,
    method: Method = "rules",
    reference: Reference = "corrupt",
    steps: int | None = None,
    by_place: bool = False,
    batch: int = 8,
    on_batch: Callable[[], None] = lambda: None,
) -> Scores:
    """Return what components do for a metric.

    Args:
        opened: The model.
        prompts: Pairs; prompts alone where the reference is not the corrupt prompt.
        metric: What counts.
        nodes: Components; None for all but residual streams and logits.
        method: See the module's table.
        reference: What a component is compared with.
        steps: Of ``integrated``; None doubles them from 4 until scores converge (at most 64).
        by_place: Keep places apart.
        batch: Prompts a pass; memory is bounded by it.
        on_batch: Called after each, for progress.

    Raises:
        InterpError: The metric does not differ between clean and corrupt prompts, or the reference needs pairs.
    """
    names = list(default_nodes(opened) if nodes is None else nodes)
    if isinstance(prompts, Prompts):
        if reference == "corrupt" or method == "integrated":
            raise InterpError(
                "prompts alone have no corrupt run; give Pairs, or the reference 'zero', 'mean' or 'place'."
            )
        prompts = Pairs(prompts, prompts)
    means = _means(opened, prompts.clean, names, batch, reference == "place") if reference != "corrupt" else {}
    parts = []
    facts: dict[str, object] = {"reference": reference}
    for pairs in prompts.batches(batch):
        if method == "integrated":
            part, used = _integrated(opened, pairs, metric, names, steps, by_place)
            facts["steps"] = max(int(str(facts.get("steps", 0))), used)
            parts.append(part)
        else:
            parts.append(_one(opened, pairs, metric, names, method, reference, means, by_place))
        on_batch()
    found = joined(parts)
    if reference == "corrupt":
        differ(found.clean, found.corrupt)
    return replace(found, facts=facts)


def default_nodes(opened: OpenModel) -> list[str]:
    """Return all components that a score is asked of: not residual streams, and not the logits themselves."""
    return [name for name, one in opened.components.items() if one.kind not in ("residual", "unembed")]


def _one(
    opened: OpenModel,
    pairs: Pairs,
    metric: Metric,
    names: list[str],
    method: Method,
    reference: Reference,
    means: dict[str, Tensor],
    by_place: bool,
) -> Scores:
    corrupt, other = _reference(opened, pairs, metric, names, reference, means)
    places = pairs.clean.real()
    if reference == "mean":
        places[:, 0] = False
    plain = names if method == "gradient" else [name for name in names if opened.component(name).kind == "head"]
    ruled = [name for name in names if name not in set(plain)]
    values: dict[str, Tensor] = {}
    clean = torch.empty(0)
    for chosen, under in ((plain, nullcontext()), (ruled, rules(opened))):
        if not chosen:
            continue
        with under, capture(opened, chosen, gradients=True) as kept:
            number = metric(opened(pairs.clean.ids), pairs.clean)
            gradients = kept.gradients(number.sum())
            clean = number.detach()
            for name in chosen:
                values[name] = _product(kept[name].detach() - corrupt[name], gradients[name], places, by_place)
    return Scores(tuple(names), torch.stack([values[name] for name in names], 1), clean, other, method)


def _product(difference: Tensor, gradient: Tensor, places: Tensor, by_place: bool) -> Tensor:
    """Return difference . gradient at places [B, T]: [B, T], or [B] summed."""
    found = (difference * gradient).sum(-1) * places.to(gradient)
    return found if by_place else found.sum(-1)


def _reference(
    opened: OpenModel,
    pairs: Pairs,
    metric: Metric,
    names: list[str],
    reference: Reference,
    means: dict[str, Tensor],
) -> tuple[dict[str, Tensor], Tensor]:
    if reference != "corrupt":
        nothing = torch.full((len(pairs),), torch.nan, dtype=opened.dtype, device=opened.device)
        if reference in ("mean", "place"):
            return means, nothing
        kept_mean = ("scale", "gain")
        zero = {
            name: value if opened.component(name).kind in kept_mean else torch.zeros_like(value)
            for name, value in means.items()
        }
        return zero, nothing
    with capture(opened, names) as kept:
        other = metric(opened(pairs.corrupt.ids), pairs.clean)
    return {name: kept[name] for name in names}, other


def _means(
    opened: OpenModel, prompts: Prompts, names: list[str], batch: int, by_place: bool = False
) -> dict[str, Tensor]:
    """Return each component's mean over the prompts' tokens: [W], or [T, W] by place; a gain's over its width."""
    if by_place and not prompts.real().all():
        raise InterpError("prompts of different lengths have no mean at each place; take the reference 'mean'.")
    totals: dict[str, Tensor] = {}
    count = 0
    for start in range(0, len(prompts), batch):
        part = prompts[slice(start, start + batch)]
        real = part.real().to(opened.device)
        real[:, 0] &= part.ids.shape[1] == 1
        with capture(opened, names) as kept:
            opened(part.ids)
        for name in names:
            totals[name] = totals.get(name, 0) + (kept[name].sum(0) if by_place else kept[name][real].sum(0))
        count += len(part) if by_place else int(real.sum())
    return {
        name: (total / count).mean().expand_as(total) if opened.component(name).kind == "gain" else total / count
        for name, total in totals.items()
    }


def _integrated(
    opened: OpenModel, pairs: Pairs, metric: Metric, names: list[str], steps: int | None, by_place: bool
) -> tuple[Scores, int]:
    inputs = list(opened.anatomy.embeddings)
    with capture(opened, [*names, *inputs]) as kept:
        clean = metric(opened(pairs.clean.ids), pairs.clean)
        at_clean = {name: kept[name] for name in {*names, *inputs}}
    with capture(opened, [*names, *inputs]) as kept:
        corrupt = metric(opened(pairs.corrupt.ids), pairs.clean)
        at_corrupt = {name: kept[name] for name in {*names, *inputs}}

    real = pairs.clean.real()

    def scores(count: int) -> Tensor:
        totals: dict[str, Tensor] = {}
        for step in range(count):
            share = (step + 0.5) / count
            between = [Patch(name, torch.lerp(at_corrupt[name], at_clean[name], share)) for name in inputs]
            with intervene(opened, *between), capture(opened, names, gradients=True) as kept:
                number = metric(opened(pairs.clean.ids), pairs.clean)
                for name, gradient in kept.gradients(number.sum()).items():
                    totals[name] = totals.get(name, 0) + gradient / count
        listed = [_product(at_clean[name] - at_corrupt[name], totals[name], real, by_place) for name in names]
        return torch.stack(listed, 1)

    used = steps or 4
    found = scores(used)
    while steps is None and used < MOST_STEPS:
        finer = scores(2 * used)
        used *= 2
        same = _alike(found, finer)
        found = finer
        if same >= CONVERGED:
            break
    return Scores(tuple(names), found, clean, corrupt, "integrated"), used


def _alike(a: Tensor, b: Tensor) -> float:
    first, second = (one.reshape(one.shape[0], one.shape[1], -1).sum(-1).mean(0) for one in (a, b))
    if len(first) < 3:
        return float(torch.allclose(first, second, rtol=0.02))
    return float(spearmanr(first.cpu().numpy(), second.cpu().numpy()).statistic)
