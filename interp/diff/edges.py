"""Edges before and after training, on the same prompts against the same reference, and circuits run in the other model.

An edge *is there* in a model if its mean score is at least a stated share of the largest one of either model. Edges are
compared prompt by prompt, so what makes one prompt harder than another cancels. About one in twenty of those that are
reported does not differ (a null that turns prompts' signs, see `discoveries`); an interval is of one edge, by a paired
bootstrap, and *certain* is what differs in intervals that hold for all edges at once, which takes many prompts.

    gained, lost            there in one of the models only
    stronger, weaker        there in both, of one sign
    turned                  there in both, of opposite signs
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from scipy.stats import spearmanr
from torch import Tensor

from palaestra.interp.circuits.circuit import Circuit
from palaestra.interp.circuits.evaluate import evaluate
from palaestra.interp.diff.pair import Pair
from palaestra.interp.diff.statistics import discoveries, paired, simultaneous
from palaestra.interp.errors import InterpError
from palaestra.interp.importance import EdgeScores, edges
from palaestra.interp.metrics import Metric, logit_difference
from palaestra.interp.prompts import Pairs

Change = Literal["gained", "lost", "stronger", "weaker", "turned"]
CHANGES: tuple[Change, ...] = ("gained", "lost", "stronger", "weaker", "turned")
THERE = 0.02
"""Share of the largest mean score of an edge in either model."""


@dataclass(frozen=True, slots=True, eq=False)
class EdgeDiff:
    """Edges before and after; n edges.

    Attributes:
        names: The edges.
        before, after: [B, n] scores, in units of the metric.
        clean: [2] mean metric of clean prompts before and after; ``corrupt`` of corrupt ones.
        interval: [n, 2] of the mean difference after - before, of each edge by itself.
        certain: bool[n], whether an interval for all edges at once leaves out 0.
        changes: By edge, what happened, of those that differ, largest difference first.
    """

    names: tuple[str, ...]
    before: Tensor
    after: Tensor
    clean: tuple[float, float]
    corrupt: tuple[float, float]
    interval: Tensor
    certain: Tensor
    changes: dict[str, Change]

    @property
    def distance(self) -> float:
        """Return 1 - sum min(|a|, |b|) / sum max(|a|, |b|) over edges: 0 for equal scores, 1 for nothing in common."""
        a, b = self.before.mean(0).abs(), self.after.mean(0).abs()
        return float(1 - torch.minimum(a, b).sum() / torch.maximum(a, b).sum().clamp_min(1e-12))

    @property
    def rank_correlation(self) -> float:
        """Return Spearman's correlation of mean magnitudes."""
        a, b = (one.mean(0).abs().cpu().numpy() for one in (self.before, self.after))
        return float(spearmanr(a, b).statistic)

    def as_json(self) -> dict[str, Any]:
        """Return what changed, with intervals."""
        at = {name: index for index, name in enumerate(self.names)}
        mean = [one.mean(0) for one in (self.before, self.after)]
        return {
            "edges": len(self.names),
            "prompts": int(self.before.shape[0]),
            "clean": list(self.clean),
            "corrupt": list(self.corrupt),
            "distance": self.distance,
            "rank_correlation": self.rank_correlation,
            "counts": {kind: list(self.changes.values()).count(kind) for kind in CHANGES},
            "changes": [
                {
                    "edge": name, "change": kind, "before": float(mean[0][at[name]]), "after": float(mean[1][at[name]]),
                    "low": float(self.interval[at[name], 0]), "high": float(self.interval[at[name], 1]),
                    "certain": bool(self.certain[at[name]]),
                }
                for name, kind in self.changes.items()
            ],
        }  # fmt: skip


def compare_edges(
    pair: Pair,
    prompts: Pairs,
    metric: Metric = logit_difference,
    *,
    steps: int = 0,
    batch: int = 4,
    on_batch: Callable[[], None] = lambda: None,
) -> EdgeDiff:
    """Score all edges in both models on the same prompts and compare them.

    Raises:
        InterpError: The metric does not differ between clean and corrupt prompts in one of the models.
    """
    found: list[EdgeScores] = []
    for state in (pair.before(), pair.after()):
        with state as opened:
            found.append(edges(opened, prompts, metric, steps=steps, batch=batch, on_batch=on_batch))
    before, after = (one.flat().detach() for one in found)
    low, high = simultaneous(after - before).unbind(-1)
    return EdgeDiff(
        found[0].names,
        before,
        after,
        (float(found[0].clean.mean()), float(found[1].clean.mean())),
        (float(found[0].corrupt.mean()), float(found[1].corrupt.mean())),
        paired(after - before),
        (low > 0) | (high < 0),
        _changes(found[0].names, before, after),
    )


def _changes(names: tuple[str, ...], before: Tensor, after: Tensor) -> dict[str, Change]:
    a, b = before.mean(0).cpu(), after.mean(0).cpu()
    least = THERE * float(torch.maximum(a.abs(), b.abs()).max())
    # what is smaller than rounding of the largest score is no difference, however steady
    differs = discoveries(after - before) & ((b - a).abs() > 1e-4 * max(least, 1e-12) / THERE)
    found: dict[str, Change] = {}
    for index in (b - a).abs().argsort(descending=True, stable=True).tolist():
        here, there = abs(float(a[index])) >= least, abs(float(b[index])) >= least
        if not differs[index] or not (here or there):
            continue
        if here != there:
            found[names[index]] = "gained" if there else "lost"
        elif float(a[index]) * float(b[index]) < 0:
            found[names[index]] = "turned"
        else:
            found[names[index]] = "stronger" if abs(float(b[index])) > abs(float(a[index])) else "weaker"
    return found


def circuit_of(diff: EdgeDiff, when: Literal["before", "after"], count: int, model: str) -> Circuit:
    """Return the ``count`` edges of largest mean magnitude of one of the models."""
    values = (diff.before if when == "before" else diff.after).mean(0)
    order = values.abs().argsort(descending=True, stable=True)[:count].tolist()
    return Circuit(
        model,
        "edge",
        tuple(diff.names[one] for one in order),
        tuple(float(values[one]) for one in order),
        len(diff.names),
        "edge attribution",
        {"prompts": int(diff.before.shape[0])},
    )


def cross_faithfulness(
    pair: Pair, diff: EdgeDiff, held: Pairs, *, share: float = 0.1, random: int = 3, batch: int = 4
) -> list[dict[str, Any]]:
    """Run the circuit of each model in each model: four faithfulness values, with random circuits beside them.

    Args:
        pair: The models.
        diff: Where the circuits come from.
        held: Prompts on which they were not found.
        share: Size, of all edges.
        random: Random circuits of equal size beside each.
        batch: Prompts a pass.

    Returns:
        ``circuit`` and ``run_in`` (before, after) with `Evaluation`'s numbers; where the metric is the same on clean
        and corrupt prompts of a model, it has no faithfulness and is left out.
    """
    rows = []
    count = max(1, round(share * len(diff.names)))
    for run_in, state in (("before", pair.before), ("after", pair.after)):
        for of in ("before", "after"):
            made = circuit_of(diff, "before" if of == "before" else "after", count, f"{pair.opened.name}, {of}")
            with state() as opened:
                try:
                    found = evaluate(opened, held, made, random=random, batch=batch)
                except InterpError:
                    continue
            rows.append({"circuit": of, "run_in": run_in, **found.as_json()})
    return rows
