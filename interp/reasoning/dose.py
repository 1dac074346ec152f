"""Thinking more and less: a direction added, in doses, to every token that the model writes.

A dose of 1 is the direction's natural size. For each dose the length of replies, how often the thought turned,
accuracy, repetition and how many replies ended by themselves are measured on the same problems, and random directions
of the same length are given in the same doses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from palaestra.interp.intervene import Steer
from palaestra.interp.opened import OpenModel
from palaestra.interp.reasoning.contexts import Written, replies
from palaestra.interp.reasoning.direction import interval
from palaestra.interp.reasoning.problems import Problem, Setting

MEASURES = ("tokens", "switches", "tries", "accuracy", "repetition", "finished")


def measures(written: Sequence[Written]) -> dict[str, Tensor]:
    """Return, for each reply: [B] by name. ``repetition`` is the share of its tries that were made before."""
    rows: dict[str, list[float]] = {name: [] for name in MEASURES}
    for one in written:
        tries = len(one.points)
        rows["tokens"].append(one.tokens)
        rows["switches"].append(sum(point.way == "switch" for point in one.points))
        rows["tries"].append(tries)
        rows["accuracy"].append(one.right)
        rows["repetition"].append(sum(point.repeated for point in one.points) / tries if tries else 0.0)
        rows["finished"].append(one.finished)
    return {name: torch.tensor(values, dtype=torch.float32) for name, values in rows.items()}


def respond(
    opened: OpenModel,
    setting: Setting,
    given: Sequence[Problem],
    site: str,
    directions: Mapping[str, Tensor],
    doses: Sequence[float],
    *,
    known: dict[str, Any] | None = None,
    on_dose: Callable[[dict[str, Any]], None] = lambda found: None,
) -> dict[str, Any]:
    """Return measures with intervals by direction and dose.

    Args:
        opened: The model.
        setting: Whose rules find tries and answers.
        given: Problems.
        site: Where it is added.
        directions: By name; those called ``random...`` are the null.
        doses: Multiples of a direction's own length; 0 is measured once.
        known: What an earlier, cut call found; changed in place.
        on_dose: Called behind each with all that is found so far.
    """
    found = known if known is not None else {}
    found.setdefault("curves", {})
    if "plain" not in found:
        found["plain"] = _intervals(measures(replies(opened, setting, given)))
        on_dose(found)
    for name, vector in directions.items():
        curve = found["curves"].setdefault(name, {})
        for dose in doses:
            key = f"{dose:g}"
            if dose == 0 or key in curve:
                continue
            steer = Steer(site, vector, dose * float(vector.norm()))
            curve[key] = _intervals(measures(replies(opened, setting, given, interventions=[steer])))
            on_dose(found)
    found["contrasts"] = contrasts(found, list(directions))
    return found


def _intervals(values: Mapping[str, Tensor]) -> dict[str, dict[str, float]]:
    return {name: interval(one) for name, one in values.items()}


def contrasts(found: dict[str, Any], names: Sequence[str]) -> dict[str, dict[str, dict[str, dict[str, float]]]]:
    """Return, by direction, size of the dose and measure, the mean at +dose less the mean at -dose.

    ``p`` is the share of random directions, the direction itself counted, that differ as much between their two doses;
    it cannot fall below 1 / (1 + how many there are). Sizes are kept apart, because what a model does is not monotone
    in a dose that ends by breaking it; that any direction of a size breaks it shows in p.
    """
    sizes = sorted({abs(float(key)) for name in names for key in found["curves"][name]})
    random = [name for name in names if name.startswith("random")]

    def difference(name: str, size: float, measure: str) -> float | None:
        curve = found["curves"][name]
        high, low = curve.get(f"{size:g}"), curve.get(f"{-size:g}")
        return None if high is None or low is None else float(high[measure]["mean"] - low[measure]["mean"])

    table: dict[str, dict[str, dict[str, dict[str, float]]]] = {}
    for name in names:
        others = [one for one in random if one != name]
        for size in sizes:
            for measure in MEASURES:
                seen = difference(name, size, measure)
                if seen is None:
                    continue
                null = [one for one in (difference(other, size, measure) for other in others) if one is not None]
                beyond = sum(abs(one) >= abs(seen) - 1e-9 for one in null)
                entry = {"difference": seen, "p": (1 + beyond) / (1 + len(null))}
                table.setdefault(name, {}).setdefault(f"{size:g}", {})[measure] = entry
    return table
