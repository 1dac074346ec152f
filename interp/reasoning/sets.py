"""Which components choose how a thought goes on: ranked, then necessity and sufficiency of the first k.

With m the metric, clean prompts the points and corrupt prompts their twins:

    necessity(K)    (m(clean) - m(clean with K from the twins)) / (m(clean) - m(corrupt))
    sufficiency(K)  (m(twins with K from the points) - m(corrupt)) / (m(clean) - m(corrupt)), the transplant

Both are 0 for no component and 1 for all of them (embeddings aside, which carry the question itself). They stand beside
random sets of as many heads and MLPs. Components are ranked on one half of the problems and the first k are measured on
the other, so that what is reported of them was not chosen to be large; intervals are over problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from palaestra.interp.capture import capture
from palaestra.interp.errors import InterpError
from palaestra.interp.importance import Scores, ranked
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs
from palaestra.interp.reasoning.direction import at_ends, ends_of, first_half, interval, odds

SIZES = (1, 2, 4, 8, 16, 32, 64)


@dataclass(frozen=True, slots=True, eq=False)
class Sets:
    """Components in order, and what the first k do.

    Attributes:
        scores: Of all components that write, embeddings aside, on the first half; the first ones measured.
        order: Names, most important first; signs are kept: those that speak against the way come last.
        sizes: k.
        necessity, sufficiency: [k, B] of each pair of the second half.
        necessity_null, sufficiency_null: [k, R] means of random sets.
        by_site: Share of the metric that comes along when the whole residual stream is transplanted where the prompt
            ends: mean, low, high by layer.
        groups: Problems of the pairs of the first half, and [B] of the second.
    """

    scores: Scores
    order: list[str]
    sizes: list[int]
    necessity: Tensor
    sufficiency: Tensor
    necessity_null: Tensor
    sufficiency_null: Tensor
    by_site: dict[str, dict[str, float]]
    groups: tuple[Tensor, Tensor]

    def as_json(self) -> dict[str, Any]:
        """Return means, intervals and nulls by size."""

        def rows(values: Tensor, null: Tensor) -> list[dict[str, Any]]:
            return [
                {
                    "size": size,
                    **interval(one, self.groups[1]),
                    "null": {
                        "mean": float(other.mean()),
                        "low": float(other.quantile(0.025)),
                        "high": float(other.quantile(0.975)),
                    },
                }
                for size, one, other in zip(self.sizes, values, null, strict=True)
            ]

        return {
            "order": self.order,
            "scores": self.scores.as_json(self.groups[0]),
            "necessity": rows(self.necessity, self.necessity_null),
            "sufficiency": rows(self.sufficiency, self.sufficiency_null),
            "by_site": self.by_site,
        }


def nodes_of(opened: OpenModel) -> list[str]:
    """Return the components that compute: heads, biases and MLPs."""
    return [name for name in opened.writers() if opened.component(name).kind != "embedding"]


def sets(
    opened: OpenModel,
    pairs: Pairs,
    groups: Tensor,
    *,
    randoms: int = 20,
    measured: int = 30,
    sizes: Sequence[int] = SIZES,
    batch: int = 8,
    seed: int = 0,
) -> Sets:
    """Rank components by patching and measure the first k, beside random sets.

    Args:
        opened: The model.
        pairs: Points and their twins.
        groups: [B] number of the problem of each.
        randoms: Random sets of each size.
        measured: Components that are patched one by one, the first ones by an estimate.
        sizes: k.
        batch: Pairs a pass.
        seed: Of random sets.

    Raises:
        InterpError: The metric does not differ between points and twins, or all points are of one problem.
    """
    (first_of,) = first_half(groups)
    if bool(first_of.all()):
        raise InterpError("all points are of one problem, so components cannot be ranked on other ones; take more.")
    found_on, pairs = pairs[first_of], pairs[~first_of]
    nodes = nodes_of(opened)
    scores = ranked(opened, found_on, odds, nodes=nodes, count=min(measured, len(nodes)), batch=batch)
    mean = scores.mean
    order = [scores.names[int(one)] for one in mean.argsort(descending=True, stable=True)]
    used = [size for size in sizes if size < len(order)]
    generator = torch.Generator().manual_seed(seed)
    necessity, sufficiency, nulls = [], [], []
    for size in used:
        first = order[:size]
        found = _effects(opened, pairs, first, batch)
        necessity.append(found[0])
        sufficiency.append(found[1])
        other = [_effects(opened, pairs, like(opened, first, nodes, generator), batch) for _ in range(randoms)]
        nulls.append([torch.stack([one[side].mean() for one in other]) for side in (0, 1)])
    return Sets(
        scores,
        order,
        used,
        torch.stack(necessity),
        torch.stack(sufficiency),
        torch.stack([one[0] for one in nulls]),
        torch.stack([one[1] for one in nulls]),
        transplanted(opened, pairs, groups[~first_of], batch),
        (groups[first_of], groups[~first_of]),
    )


def like(opened: OpenModel, first: Sequence[str], nodes: Sequence[str], generator: torch.Generator) -> list[str]:
    """Return a random set with as many components of each kind."""
    found = []
    for kind in dict.fromkeys(opened.component(name).kind for name in first):
        same = [name for name in nodes if opened.component(name).kind == kind]
        count = sum(opened.component(name).kind == kind for name in first)
        found += [same[int(one)] for one in torch.randperm(len(same), generator=generator)[:count]]
    return found


def _effects(opened: OpenModel, pairs: Pairs, names: Sequence[str], batch: int) -> tuple[Tensor, Tensor]:
    """Return necessity and sufficiency of a set for each pair: [B] each.

    The ratio's denominator is the mean over pairs, so that a pair that hardly differs does not count without bound.
    """
    cleans, corrupts, without, given = [], [], [], []
    for some in pairs.batches(batch):
        with capture(opened, names) as kept:
            cleans.append(odds(opened(some.clean.ids), some.clean))
        here = {name: kept[name] for name in names}
        with capture(opened, names) as kept:
            corrupts.append(odds(opened(some.corrupt.ids), some.corrupt))
        there = {name: kept[name] for name in names}
        with intervene(opened, *(Patch(name, there[name]) for name in names)):
            without.append(odds(opened(some.clean.ids), some.clean))
        with intervene(opened, *(Patch(name, here[name]) for name in names)):
            given.append(odds(opened(some.corrupt.ids), some.corrupt))
    clean, corrupt = torch.cat(cleans), torch.cat(corrupts)
    whole = (clean - corrupt).mean()
    return (clean - torch.cat(without)) / whole, (torch.cat(given) - corrupt) / whole


def transplanted(opened: OpenModel, pairs: Pairs, groups: Tensor, batch: int = 8) -> dict[str, dict[str, float]]:
    """Return, by layer, the share of the metric that the residual stream at the point alone carries over."""
    sites = [f"resid{layer}" for layer in range(1, len(opened.anatomy.blocks) + 1)]
    clean = at_ends(opened, pairs.clean, sites, batch)
    found: dict[str, list[Tensor]] = {site: [] for site in sites}
    whole = []
    for start in range(0, len(pairs), batch):
        some = pairs[slice(start, start + batch)]
        before = odds(opened(some.corrupt.ids), some.corrupt)
        whole.append(odds(opened(some.clean.ids), some.clean) - before)
        for site in sites:
            value = clean[site][start : start + batch, None]
            with intervene(opened, Patch(site, value, ends_of(some.corrupt))):
                found[site].append(odds(opened(some.corrupt.ids), some.corrupt) - before)
    size = torch.cat(whole).mean()
    return {site: interval(torch.cat(parts) / size, groups) for site, parts in found.items()}
