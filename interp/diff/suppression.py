"""Is a behaviour that training took away gone, or only suppressed?

Two curves over residual streams, each with a control:

    restored(l)   the trained model, with the base's activations put in at resid l: what its layers from l on still do
    read(l)       the base, with the trained model's activations put in at resid l: what they still say to it
    control       restored(l) with the activations of another prompt

both as shares, 0 at the metric of the trained model and 1 at the base's. ``restored`` is 0 at the first stream and 1 at
the last one, so it says something where the base has its work still before it: ``done(l)``, the share of the metric
that the base keeps if its activations at resid l at the last place come from the clean prompt and everything after is
that of the corrupt prompt. The verdict is read at the *entrance*, the last stream where less than half of the work is
done:

    suppressed    restored >= 1/2 there, and more than by another prompt's activations: what follows works as before, if
                  it is given what it was given before
    gone          restored < 1/2 there: the work is not done any more, whatever comes in
    kept          training did not take the behaviour away
    unclear       the interval holds 1/2; or another prompt's activations restore as much; or clean and corrupt prompts
                  differ by little beside what training changed, so that they do not tell where the work is done
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor

from palaestra.interp.capture import capture
from palaestra.interp.checks import differ
from palaestra.interp.diff.pair import Pair
from palaestra.interp.importance.scores import bootstrap
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.metrics import Metric, logit_difference
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs, Prompts

Verdict = Literal["suppressed", "gone", "kept", "unclear"]
KEPT = 0.5
"""Share of the base's metric, over its reference, that makes a behaviour kept."""
LEAST = 0.5
"""Least difference between clean and corrupt prompts in the base, as a share of what training changed."""


@dataclass(frozen=True, slots=True, eq=False)
class Suppression:
    """See the module's text; L + 1 residual streams.

    Attributes:
        points: Their names.
        restored, read, control, done: [L + 1, 3] of mean, low and high.
        before, after, reference: Mean metric in the base, in the trained model, and in the base on corrupt prompts.
        entrance: Index of the stream where the verdict is read.
        own: [3], mean, low and high of ``restored`` less ``control`` at the entrance.
        verdict: What is found.
    """

    points: tuple[str, ...]
    restored: Tensor
    read: Tensor
    control: Tensor
    done: Tensor
    before: float
    after: float
    reference: float
    entrance: int
    own: Tensor
    verdict: Verdict

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        curves = {name: getattr(self, name).tolist() for name in ("restored", "read", "control", "done", "own")}
        ends = {name: getattr(self, name) for name in ("before", "after", "reference", "verdict")}
        return {"points": list(self.points), "entrance": self.points[self.entrance], **ends, **curves}


@torch.no_grad()
def suppression(pair: Pair, prompts: Pairs, metric: Metric = logit_difference, *, batch: int = 8) -> Suppression:
    """Ask whether the behaviour that a metric measures is gone or suppressed in the trained model.

    Args:
        pair: The base, which has the behaviour, and the trained model.
        prompts: Clean prompts on which the base has it, and corrupt ones on which it has not.
        metric: Higher where the behaviour is.
        batch: Prompts a pass, fewer where logits are many; their residual streams are what memory holds.

    Raises:
        InterpError: The base's metric is the same on clean and corrupt prompts, so it has no such behaviour.
    """
    points = [name for name, one in pair.opened.components.items() if one.kind == "residual"]
    others = prompts.clean[torch.roll(torch.arange(len(prompts)), 1)]
    size = pair.opened.fitting(batch, prompts.clean.ids.shape[1])
    parts = [
        _measured(pair, some, other, points, metric)
        for some, other in zip(prompts.batches(size), others.batches(size), strict=True)
    ]
    runs = {name: [torch.cat(rows) for rows in zip(*(part[name] for part in parts), strict=True)] for name in parts[0]}
    before, after, reference = runs.pop("ends")
    differ(before, reference)
    lost = before - after
    curves = {
        "restored": _shares(runs["restored"], after, lost),
        "control": _shares(runs["control"], after, lost),
        "read": _shares(runs["read"], after, lost),
        "done": _shares(runs["done"], reference, before - reference),
    }
    ends = [float(one.mean()) for one in (before, after, reference)]
    entrance = max((i for i in range(len(points)) if float(curves["done"][i, 0]) < 0.5), default=0)
    own = _shares([runs["restored"][entrance]], runs["control"][entrance], lost)[0]
    return Suppression(
        tuple(points), **curves, before=ends[0], after=ends[1], reference=ends[2], entrance=entrance, own=own,
        verdict=_verdict(ends, curves["restored"][entrance], own),
    )  # fmt: skip


def _measured(
    pair: Pair, prompts: Pairs, others: Prompts, points: list[str], metric: Metric
) -> dict[str, list[Tensor]]:
    """Return metrics [B] of each run: one a point, and the three ends before, after and reference."""
    clean, corrupt = prompts.clean, prompts.corrupt

    def streams(opened: OpenModel, some: Prompts) -> tuple[Tensor, dict[str, Tensor]]:
        with capture(opened, points) as kept:
            found = metric(opened(some.ids), some)
        return found, {point: kept[point] for point in points}

    def patched(opened: OpenModel, some: Prompts, values: dict[str, Tensor], at: Tensor | None = None) -> list[Tensor]:
        found = []
        for point in points:
            with intervene(opened, Patch(point, values[point], at)):
                found.append(metric(opened(some.ids), clean))
        return found

    with pair.before() as opened:
        before, ours = streams(opened, clean)
        reference = metric(opened(corrupt.ids), clean)
        at_end = torch.arange(clean.ids.shape[1])[None] == clean.ends[:, None]
        done = patched(opened, corrupt, ours, at_end)
        _, strange = streams(opened, others)
    with pair.after() as opened:
        after, theirs = streams(opened, clean)
        restored, control = patched(opened, clean, ours), patched(opened, clean, strange)
    with pair.before() as opened:
        read = patched(opened, clean, theirs)
    return {
        "ends": [before, after, reference], "restored": restored, "control": control, "read": read, "done": done
    }  # fmt: skip


def _shares(runs: list[Tensor], zero: Tensor, whole: Tensor) -> Tensor:
    """Return mean and interval of the share for each run: [n, 3]; a single prompt may have lost nothing."""
    scale = float(whole.mean())
    values = torch.stack([(one - zero).cpu() for one in runs], 1) / (scale if abs(scale) > 1e-9 else float("nan"))
    return torch.cat([values.mean(0)[:, None], bootstrap(values)], 1)


def _verdict(ends: list[float], restored: Tensor, own: Tensor) -> Verdict:
    before, after, reference = ends
    if abs(after - reference) >= KEPT * abs(before - reference) and (after - reference) * (before - reference) > 0:
        return "kept"
    _, low, high = restored.tolist()
    if abs(before - reference) < LEAST * abs(before - after):
        return "unclear"
    if high < 0.5:
        return "gone"
    return "suppressed" if low >= 0.5 and float(own[1]) > 0 else "unclear"
