"""A direction for a way of going on: difference of means, and what it does.

A direction is fitted on the residual stream of every layer at points where a way is right against places where it is
not, on one half of the problems; there it is also chosen which layer's is used. On the other half it is asked, at each
layer,

    does it tell the two apart         AUROC, beside that of shuffled labels (fitted to and asked for)
    is it sufficient                   added (at its own length) where another way is right, it makes the way likelier
    is it necessary                    set to its mean elsewhere where the way is right, it makes the way less likely

Both effects are in nats of log-odds, with intervals over problems (points of one problem are alike), beside those of
other directions of equal length: half of them isotropic, half differences of means between random halves of the places
where the way is not right, which lie where activations vary.
(Shuffling the labels themselves would not do for these: where the way is most of the variance, differences of shuffled
means point along it, and made as long they are it.) Formula of the difference of means: Marks and
Tegmark, arXiv 2310.06824; the intervention follows Arditi et al., arXiv 2406.11717.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor

from palaestra.interp.capture import capture
from palaestra.interp.errors import InterpError
from palaestra.interp.importance.scores import bootstrap
from palaestra.interp.intervene import Intervention, Patch, Steer, intervene
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Prompts


def odds(logits: Tensor, prompts: Prompts) -> Tensor:
    """Return log-odds of the answers against the foils, in nats: log sum p(answers) - log sum p(foils), [B]."""
    end = prompts.at_end(logits).float() if logits.dtype != torch.float64 else prompts.at_end(logits)
    answers, foils = prompts.answers.to(end.device), prompts.foils.to(end.device)
    return end.gather(1, answers).logsumexp(1) - end.gather(1, foils).logsumexp(1)


def at_ends(opened: OpenModel, prompts: Prompts, names: Sequence[str], batch: int = 8) -> dict[str, Tensor]:
    """Return components where prompts end: [B, W] each."""
    parts: dict[str, list[Tensor]] = {name: [] for name in names}
    for start in range(0, len(prompts), batch):
        some = prompts[slice(start, start + batch)]
        with capture(opened, names) as kept:
            opened(some.ids)
        for name in names:
            parts[name].append(some.at_end(kept[name]).detach())
    return {name: torch.cat(found) for name, found in parts.items()}


def measured(
    opened: OpenModel,
    prompts: Prompts,
    change: Callable[[Prompts, int], Sequence[Intervention]] = lambda some, start: (),
    batch: int = 8,
) -> Tensor:
    """Return the log-odds of prompts [B] under interventions, which ``change`` makes for each batch and its start."""
    found = []
    for start in range(0, len(prompts), batch):
        some = prompts[slice(start, start + batch)]
        with intervene(opened, *change(some, start)):
            found.append(odds(opened(some.ids), some))
    return torch.cat(found)


def ends_of(prompts: Prompts) -> Tensor:
    """Return where prompts end, as a mask [B, T]."""
    return torch.arange(prompts.ids.shape[1])[None] == prompts.ends[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class Direction:
    """A direction at a layer.

    Attributes:
        site: A residual stream, such as ``resid2``.
        vector: [W] mean where the way is right minus mean elsewhere; its length is the *natural size*.
        rest: Mean coefficient elsewhere along the unit vector.
        auroc: On the other half.
        auroc_null: The same with shuffled labels.
        added, removed: [B] gain and loss of log-odds on the other half: sufficiency and necessity.
        added_null, removed_null: [R] mean effects of random directions of equal length.
        groups: [B] problems of the points of ``added``, and of those of ``removed``.
        chosen_by: Mean gain of log-odds on the half that it was fitted on.
    """

    site: str
    vector: Tensor
    rest: float
    auroc: float
    auroc_null: list[float]
    added: Tensor
    removed: Tensor
    added_null: Tensor
    removed_null: Tensor
    groups: tuple[Tensor, Tensor]
    chosen_by: float

    def as_json(self) -> dict[str, Any]:
        """Return means with intervals and the spread of the null."""
        return {
            "site": self.site,
            "length": float(self.vector.norm()),
            "auroc": self.auroc,
            "auroc_null": [min(self.auroc_null), max(self.auroc_null)],
            "chosen_by": self.chosen_by,
            "added": interval(self.added, self.groups[0]),
            "added_null": _spread(self.added_null),
            "removed": interval(self.removed, self.groups[1]),
            "removed_null": _spread(self.removed_null),
        }


def interval(values: Tensor, groups: Tensor | None = None) -> dict[str, float]:
    """Return mean and bootstrap interval of the mean of values [B]; with ``groups`` [B], whole groups are drawn."""
    low, high = bootstrap(values.float()[:, None], groups=groups)[0].tolist()
    return {"mean": float(values.float().mean()), "low": low, "high": high, "n": len(values)}


def _spread(values: Tensor) -> dict[str, float]:
    return {
        "mean": float(values.mean()),
        "low": float(values.quantile(0.025)),
        "high": float(values.quantile(0.975)),
        "n": len(values),
    }


def first_half(*groups: Tensor) -> list[Tensor]:
    """Return which points are of the first half of the problems, every other one of those that occur: [B] of booleans.

    Args:
        *groups: [B] numbers of problems, of one set of points or several that are divided alike.
    """
    known = torch.cat(groups).unique()
    return [torch.searchsorted(known, one) % 2 == 0 for one in groups]


def fit(
    opened: OpenModel,
    positive: Prompts,
    negative: Prompts,
    groups: tuple[Tensor, Tensor],
    *,
    sites: Sequence[str] | None = None,
    points: Tensor | None = None,
    randoms: int = 20,
    batch: int = 8,
    seed: int = 0,
) -> list[Direction]:
    """Return the direction at every layer.

    Args:
        opened: The model.
        positive: Prompts that end where the way is right; answers are its tokens.
        negative: Prompts that end elsewhere, with the same answers.
        groups: [P] and [N] numbers of problems; on every other one is fitted, and the rest is asked.
        sites: Residual streams; None for all behind the first block.
        points: [N] booleans: negatives where some way has to be chosen, at which sufficiency is asked; None for all.
        randoms: Directions of the null.
        batch: Prompts a pass.
        seed: Of the null.

    Raises:
        InterpError: A half is empty.
    """
    fitted, negatives = first_half(*groups)
    asked = torch.ones(len(negative), dtype=torch.bool) if points is None else points
    here, there = negatives & asked, ~negatives & asked
    if not fitted.any() or int(negatives.sum()) < 2 or fitted.all() or not here.any() or not there.any():
        raise InterpError("too few points to fit a direction on one half and ask it on the other; take more problems.")
    names = list(sites or [f"resid{layer}" for layer in range(1, len(opened.anatomy.blocks) + 1)])
    high, low = (at_ends(opened, one, names, batch) for one in (positive, negative))
    held, to_add, to_choose = positive[~fitted], negative[there], negative[here]
    plain_held, plain_add, plain_choose = (measured(opened, one, batch=batch) for one in (held, to_add, to_choose))
    asked_of = (groups[1][there], groups[0][~fitted])
    generator = torch.Generator().manual_seed(seed)
    found = []
    for name in names:
        a, b = high[name], low[name]
        vector = a[fitted].mean(0) - b[negatives].mean(0)
        null = [_scaled(_within(b[negatives], generator), vector) for _ in range(randoms // 2)]
        null += [
            _scaled(torch.randn(vector.shape, generator=generator).to(vector), vector)
            for _ in range(randoms - randoms // 2)
        ]

        def effect(one: Tensor, name: str = name, b: Tensor = b) -> tuple[Tensor, Tensor]:
            return (
                measured(opened, to_add, _adding(name, one), batch) - plain_add,
                plain_held - measured(opened, held, _setting(opened, name, one, b[negatives]), batch),
            )

        added, removed = effect(vector)
        others = [effect(one) for one in null]
        found.append(
            Direction(
                name,
                vector,
                float((b[negatives] @ (vector / vector.norm())).mean()),
                _auroc(vector, a[~fitted], b[~negatives]),
                [_shuffled(a, b, fitted, negatives, generator) for _ in range(randoms)],
                added,
                removed,
                torch.stack([one.mean() for one, _ in others]),
                torch.stack([one.mean() for _, one in others]),
                asked_of,
                float((measured(opened, to_choose, _adding(name, vector), batch) - plain_choose).mean()),
            )
        )
    return found


def chosen(directions: Sequence[Direction], share: float = 0.5) -> Direction:
    """Return the earliest direction whose sufficiency is at least ``share`` of the largest before the last layer.

    That is asked on the half of the problems that directions were fitted on: what is reported was not chosen by itself.

    At the last layer any direction of the unembedding would do, so it is only taken where there is no other.
    """
    before = list(directions[:-1]) or list(directions)
    most = max(one.chosen_by for one in before)
    return next((one for one in before if one.chosen_by >= share * most), before[-1])


def random_like(vector: Tensor, count: int, seed: int) -> list[Tensor]:
    """Return isotropic directions of the same length."""
    generator = torch.Generator().manual_seed(seed)
    return [_scaled(torch.randn(vector.shape, generator=generator).to(vector), vector) for _ in range(count)]


def _adding(name: str, vector: Tensor) -> Callable[[Prompts, int], Sequence[Intervention]]:
    length = float(vector.norm())
    return lambda some, start: (Steer(name, vector, length, ends_of(some)),)


def _setting(
    opened: OpenModel, name: str, vector: Tensor, elsewhere: Tensor
) -> Callable[[Prompts, int], Sequence[Intervention]]:
    unit = vector / vector.norm()
    rest = (elsewhere @ unit).mean()

    def change(some: Prompts, start: int) -> Sequence[Intervention]:
        with capture(opened, [name]) as kept:
            opened(some.ids)
        value = kept[name]
        return (Patch(name, value + (rest - value @ unit)[..., None] * unit, ends_of(some)),)

    return change


def _shuffled(a: Tensor, b: Tensor, fitted: Tensor, negatives: Tensor, generator: torch.Generator) -> float:
    """Return the AUROC of a direction that is fitted to, and asked for, labels that say nothing."""
    sides = []
    for first, second in ((a[fitted], b[negatives]), (a[~fitted], b[~negatives])):
        both = torch.cat([first, second])
        both = both[torch.randperm(len(both), generator=generator)]
        sides.append((both[: len(first)], both[len(first) :]))
    vector = sides[0][0].mean(0) - sides[0][1].mean(0)
    return _auroc(vector, *sides[1])


def _within(values: Tensor, generator: torch.Generator) -> Tensor:
    """Return the difference of means between two random halves."""
    order = torch.randperm(len(values), generator=generator)
    half = max(1, len(values) // 2)
    return values[order[:half]].mean(0) - values[order[half:]].mean(0)


def _scaled(one: Tensor, like: Tensor) -> Tensor:
    return one * (like.norm() / one.norm().clamp_min(1e-12))


def _auroc(vector: Tensor, a: Tensor, b: Tensor) -> float:
    values = torch.cat([a @ vector, b @ vector]).float().cpu().numpy()
    return float(roc_auc_score([1] * len(a) + [0] * len(b), values))
