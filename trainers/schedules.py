"""Schedules: numbers that change over a run, for the learning rate, the KL coefficient and the entropy bonus alike.

A schedule maps *progress*, the share of the run that is done (0 at the first iteration, 1 at the last), to a number.
Progress outside [0, 1] is clamped, and it is counted by the number of iterations with which
the run began, so a run that is prolonged keeps its last value. Schedules have no state: a resumed
run needs only its iteration.

In a configuration a schedule is a number, or a mapping with a ``kind``:

    kl: 0.1
    kl: {kind: linear, start: 0.1, end: 0.01}
    lr: {kind: cosine, start: 3.0e-4, end: 0.0}
    kl: {kind: piecewise, points: [[0.0, 0.1], [0.5, 0.1], [1.0, 0.02]]}
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from palaestra.envs.errors import OptionError, UnknownName

Schedule = Callable[[float], float]


def constant(value: float) -> Schedule:
    """Return ``value`` whatever the progress."""
    value = float(value)
    return lambda progress: value


def linear(start: float, end: float) -> Schedule:
    """Go from ``start`` to ``end`` in a straight line."""
    return piecewise([(0.0, start), (1.0, end)])


def cosine(start: float, end: float) -> Schedule:
    """Go from ``start`` to ``end`` along half a cosine: flat at both ends."""
    start, end = float(start), float(end)
    return lambda progress: end + (start - end) * 0.5 * (1.0 + math.cos(math.pi * _clamp(progress)))


def piecewise(points: Sequence[Sequence[float]]) -> Schedule:
    """Go in straight lines through ``points``, each (progress, value), and stay level before the first and after the
    last.

    Raises:
        OptionError: No points, or progress that does not increase from point to point.
    """
    if any(len(point) != 2 for point in points):
        raise OptionError(f"points of a schedule are pairs [progress, value], found {list(points)!r}")
    known = [(float(at), float(value)) for at, value in points]
    if not known or any(later[0] <= earlier[0] for earlier, later in itertools.pairwise(known)):
        raise OptionError(
            f"points of a schedule must exist and increase in progress, found {list(points)!r}; sort them"
        )

    def value(progress: float) -> float:
        progress = _clamp(progress)
        if progress <= known[0][0]:
            return known[0][1]
        for (left, low), (right, high) in itertools.pairwise(known):
            if progress <= right:
                return low + (high - low) * (progress - left) / (right - left)
        return known[-1][1]

    return value


KINDS: Mapping[str, Callable[..., Schedule]] = {
    "constant": constant,
    "linear": linear,
    "cosine": cosine,
    "piecewise": piecewise,
}


def schedule(spec: float | Mapping[str, Any] | Schedule) -> Schedule:
    """Return the schedule that a number or a configuration mapping describes; a schedule is returned as it is.

    Raises:
        UnknownName: No such ``kind``; the nearest is offered.
        OptionError: Arguments that the kind does not take.

    Example:
        >>> [schedule({"kind": "linear", "start": 1.0, "end": 0.0})(progress) for progress in (0.0, 0.25, 2.0)]
        [1.0, 0.75, 0.0]
    """
    if callable(spec):
        return spec
    if not isinstance(spec, Mapping):
        return constant(spec)
    arguments = dict(spec)
    kind = str(arguments.pop("kind", "constant"))
    if kind not in KINDS:
        raise UnknownName("schedule", kind, KINDS, f"There are {', '.join(KINDS)}.")
    try:
        return KINDS[kind](**arguments)
    except (TypeError, ValueError) as error:
        if isinstance(error, OptionError):
            raise
        raise OptionError(f"schedule {kind!r} does not take these arguments: {error}") from None


def _clamp(progress: float) -> float:
    return min(1.0, max(0.0, progress))
