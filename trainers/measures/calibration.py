"""How good stated probabilities are: proper scores, their parts, and how far words and outcomes are apart.

A *forecast* is a probability p in [0, 1] that an event happens, an *outcome* o is 1 if it did, else 0.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Numbers = NDArray[np.float64]
BINS = 10


def brier(forecasts: Sequence[float], outcomes: Sequence[int]) -> float:
    """Return the mean of (p - o)^2: 0 is perfect, b(1 - b) what the base rate b gets (G. W. Brier, 1950).

    Raises:
        ValueError: No forecast, one without an outcome, or one that is no probability.
    """
    p, o = _checked(forecasts, outcomes)
    return float(np.mean((p - o) ** 2))


def log_score(forecasts: Sequence[float], outcomes: Sequence[int], *, floor: float = 1e-3) -> float:
    """Return the mean of log p of what happened, in nats, with probabilities clipped to [floor, 1 - floor]; 0 is best.

    Clipping keeps the score bounded, so that one certain error does not decide it; within the clip it is proper.

    Raises:
        ValueError: As for `brier`.
    """
    p, o = _checked(forecasts, outcomes)
    p = np.clip(p, floor, 1 - floor)
    return float(np.mean(np.where(o == 1, np.log(p), np.log1p(-p))))


@dataclass(frozen=True, slots=True)
class Murphy:
    """The Brier score taken apart: ``reliability - resolution + uncertainty`` (A. H. Murphy, 1973).

    Attributes:
        reliability: How far, within groups of forecasts, words and outcomes are apart; 0 is calibrated.
        resolution: How far the groups' outcomes lie from the base rate, and what forecasts tell within a group; more is
            better, and below 0 they tell less than nothing.
        uncertainty: b(1 - b) of the base rate b, which no forecaster changes.
    """

    reliability: float
    resolution: float
    uncertainty: float

    @property
    def brier(self) -> float:
        """Return the score that the parts add up to, exactly."""
        return self.reliability - self.resolution + self.uncertainty


def murphy(forecasts: Sequence[float], outcomes: Sequence[int]) -> Murphy:
    """Return the parts of the Brier score.

    Up to ten different forecasts are groups of their own. More are put into ten of (nearly) equal counts: one for each
    would find that every forecast tells all there is to know. What differs within a group, variance less twice the
    covariance with the outcomes, then counts with the resolution, so that the identity stays exact (D. B. Stephenson,
    C. A. S. Coelho & I. T. Jolliffe, Two extra components in the Brier score decomposition, 2008).

    Raises:
        ValueError: As for `brier`.
    """
    p, o = _checked(forecasts, outcomes)
    base = o.mean()
    values, group = np.unique(p, return_inverse=True)
    if len(values) > BINS:
        group = np.unique(_places(np.bincount(group), BINS)[group], return_inverse=True)[1]
        values = np.bincount(group, weights=p) / np.bincount(group)
    counts = np.bincount(group)
    means = np.bincount(group, weights=o) / counts
    share = counts / len(p)
    reliability, resolution = (share * (values - means) ** 2).sum(), (share * (means - base) ** 2).sum()
    apart = p - values[group]
    resolution -= (apart**2).mean() - 2 * (apart * (o - means[group])).mean()
    return Murphy(float(reliability), float(resolution), float(base * (1 - base)))


@dataclass(frozen=True, slots=True)
class Bin:
    """Forecasts that lie next to each other: their mean, the share of events, and how many they are."""

    forecast: float
    outcome: float
    count: int


def _places(counts: NDArray[np.int64], bins: int) -> NDArray[np.int64]:
    """Return which of so many bins of (nearly) equal counts each value falls into, in the values' order."""
    middle = np.cumsum(counts) - counts / 2
    found: NDArray[np.int64] = np.minimum((middle * bins / counts.sum()).astype(np.int64), bins - 1)
    return found


def reliability_bins(forecasts: Sequence[float], outcomes: Sequence[int], *, bins: int = BINS) -> list[Bin]:
    """Return the points of a reliability diagram, with (nearly) equal counts; equal forecasts stay together.

    Raises:
        ValueError: As for `brier`.
    """
    p, o = _checked(forecasts, outcomes)
    values, group = np.unique(p, return_inverse=True)
    counts = np.bincount(group)
    events = np.bincount(group, weights=o)
    place = _places(counts, bins)
    found = []
    for number in np.unique(place):
        chosen = place == number
        total = int(counts[chosen].sum())
        mean = float((values[chosen] * counts[chosen]).sum() / total)
        found.append(Bin(mean, float(events[chosen].sum() / total), total))
    return found


def calibration_error(forecasts: Sequence[float], outcomes: Sequence[int], *, bins: int = BINS) -> float:
    """Return the expected calibration error over bins of equal counts: the mean distance of words and outcomes.

    Raises:
        ValueError: As for `brier`.
    """
    found = reliability_bins(forecasts, outcomes, bins=bins)
    total = sum(one.count for one in found)
    return math.fsum(one.count * abs(one.forecast - one.outcome) for one in found) / total


def accuracy_at_coverage(forecasts: Sequence[float], outcomes: Sequence[int], coverage: float) -> float:
    """Return the share of right verdicts (p over or under one half) among the surest forecasts.

    Forecasts are taken in the order of their distance from one half until at least ``coverage`` of all are taken; those
    that are as sure as the last one are taken, too, and a forecast of exactly one half is half right.

    Raises:
        ValueError: As for `brier`, or a coverage outside (0, 1].
    """
    if not 0 < coverage <= 1:
        raise ValueError(f"coverage is {coverage}, expected above 0 and at most 1")
    p, o = _checked(forecasts, outcomes)
    sure = np.abs(p - 0.5)
    least = np.sort(sure)[::-1][math.ceil(coverage * len(p)) - 1]
    right = np.where(p == 0.5, 0.5, (p > 0.5) == (o == 1))
    return float(right[sure >= least].mean())


def _checked(forecasts: Sequence[float], outcomes: Sequence[int]) -> tuple[Numbers, Numbers]:
    p, o = np.asarray(forecasts, float), np.asarray(outcomes, float)
    if p.shape != o.shape or p.ndim != 1 or not len(p):
        raise ValueError(f"{p.size} forecasts and {o.size} outcomes; as many of each are needed, and at least one")
    if not ((p >= 0) & (p <= 1)).all():
        raise ValueError("a forecast is no probability; leave out what was not stated as one")
    if not np.isin(o, (0.0, 1.0)).all():
        raise ValueError("an outcome is neither 0 nor 1")
    return p, o
