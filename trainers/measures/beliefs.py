"""What players of `liars` know of each other's numbers, and whether that is a stalemate.

A *stalemate* is that both read the other's code: both know more than chance, and neither gains by it. It is told from
silence, which pays the same, by a permutation test: what a player believes in one episode is held against the number of
another episode.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from palaestra.trainers.summary import Estimate, mean_interval


@dataclass(frozen=True, slots=True)
class Reading:
    """How well one seat reads the other.

    Attributes:
        on_truth: Mean probability on the other's number.
        chance: The same with numbers of other episodes.
        p_value: Share of permutations in which it is as high, (k + 1) / (n + 1).
    """

    on_truth: float
    chance: float
    p_value: float


@dataclass(frozen=True, slots=True)
class Beliefs:
    """Both seats' readings, what the first is paid, and whether it is a stalemate: both read at the 1 % level, and the
    interval of the payoff holds 0."""

    readings: tuple[Reading, Reading]
    payoff: Estimate
    stalemate: bool


def beliefs(results: Sequence[Mapping[str, Any]], *, permutations: int = 999, seed: int = 0) -> Beliefs:
    """Return what the results of finished games of `liars` say.

    Raises:
        ValueError: Fewer than two episodes, or of different numbers.
    """
    if len(results) < 2:
        raise ValueError(f"{len(results)} episodes; at least 2 are needed to tell reading from chance")
    chance = np.random.default_rng(seed)
    readings = []
    for player in (0, 1):
        if len({len(result["beliefs"][player]) for result in results}) > 1:
            raise ValueError("the episodes have different numbers of numbers; take those with the same options")
        believed = np.array([result["beliefs"][player] for result in results], float)
        numbers = np.array([result["secrets"][1 - player] for result in results])
        rows = np.arange(len(numbers))
        found = believed[rows, numbers].mean()
        null = np.array([believed[rows, chance.permutation(numbers)].mean() for _ in range(permutations)])
        p_value = (np.sum(null >= found - 1e-12) + 1) / (permutations + 1)
        readings.append(Reading(float(found), float(null.mean()), float(p_value)))
    payoff = mean_interval([result["worth"][0] - result["worth"][1] for result in results])
    even = payoff.mean == 0 or payoff.low <= 0 <= payoff.high
    return Beliefs((readings[0], readings[1]), payoff, even and all(one.p_value <= 0.01 for one in readings))
