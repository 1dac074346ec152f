"""Patching, the measurement that attributions estimate: one forward pass for each component."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from palaestra.interp.capture import capture
from palaestra.interp.checks import differ
from palaestra.interp.importance.gradients import Method, attribute
from palaestra.interp.importance.scores import Scores, joined
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.metrics import Metric, logit_difference
from palaestra.interp.prompts import Pairs

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel


def exact(
    opened: OpenModel,
    pairs: Pairs,
    metric: Metric = logit_difference,
    *,
    nodes: Iterable[str],
    batch: int = 8,
    on_node: Callable[[], None] = lambda: None,
) -> Scores:
    """Return how much the metric of clean prompts falls when a component has its value of the corrupt prompt.

    Raises:
        InterpError: The metric does not differ between clean and corrupt prompts.
    """
    names = list(nodes)
    parts = []
    for some in pairs.batches(batch):
        clean = metric(opened(some.clean.ids), some.clean)
        with capture(opened, names) as kept:
            corrupt = metric(opened(some.corrupt.ids), some.clean)
        there = {name: kept[name] for name in names}
        values = []
        for name in names:
            with intervene(opened, Patch(name, there[name])):
                values.append(clean - metric(opened(some.clean.ids), some.clean))
            on_node()
        parts.append(Scores(tuple(names), torch.stack(values, 1), clean, corrupt, "exact"))
    found = joined(parts)
    differ(found.clean, found.corrupt)
    return replace(found, exact=frozenset(names))


def ranked(
    opened: OpenModel,
    pairs: Pairs,
    metric: Metric = logit_difference,
    *,
    nodes: Iterable[str] | None = None,
    method: Method = "rules",
    count: int = 30,
    batch: int = 8,
) -> Scores:
    """Return the scores of all components, those of the first ``count`` measured by patching: what to use by default.

    ``facts["agreement"]`` is the correlation of estimate and measurement among these, by which the rest may be judged.
    """
    estimated = attribute(opened, pairs, metric, nodes=nodes, method=method, batch=batch)
    first = estimated.top(count)
    measured = exact(opened, pairs, metric, nodes=first, batch=batch)
    values = estimated.values.clone()
    for name in first:
        values[:, estimated.names.index(name)] = measured[name]
    both = torch.stack([estimated.only(first).mean, measured.mean])
    facts = {
        **estimated.facts,
        "agreement": float(torch.corrcoef(both)[0, 1]) if len(first) > 2 else None,
        "sign_flips": int((both[0] * both[1] < 0).sum()),
    }
    return replace(estimated, values=values, facts=facts, exact=frozenset(first), method=f"{method}, then exact")
