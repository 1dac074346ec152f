"""What players of `liars` know of each other's numbers beyond what was said, and whether that is a stalemate.

A *stalemate* is that both read the other's code, which is in its thoughts, and neither gains by it. What the answers
tell everybody is no code, so a belief is held against the numbers of other episodes in which the same was asked and
answered (a permutation test within strata, P. Good, Permutation, Parametric and Bootstrap Tests, 2005): given what was
said, who has only that to go by is as likely to believe the one number as the other, whatever the rules that both
answer by. Silence pays the same as a stalemate, and differs in this alone.

Three answers are possible everywhere, since few episodes tell nothing: yes, no, and not yet known.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from palaestra.trainers.summary import Estimate, mean_interval

LEVEL = 0.01
"""Of the permutation tests."""
NOTHING = 0.1
"""The largest excess that counts as not reading."""
NARROW = 0.1
"""Half the width (in units of pay, -1 to 1) up to which an interval of the payoff that holds 0 says that it is 0."""
LEAST = 10
"""Fewer episodes do not show that nothing is read, or that the payoff is always the same."""

Verdict = Literal["stalemate", "none", "undecided"]


@dataclass(frozen=True, slots=True)
class Reading:
    """How well one seat reads the other's thoughts.

    Attributes:
        on_truth: Mean probability on the other's number, over all episodes.
        excess: How much more it is than on the numbers of the other episodes in which the same was said, with an
            interval as wide as that of what permutations give; ``n`` counts the episodes that have such others, and
            without any the numbers are NaN.
        p_value: Share of permutations in which the excess is as high, (k + 1) / (n + 1).
    """

    on_truth: float
    excess: Estimate
    p_value: float

    @property
    def reads(self) -> bool | None:
        """Return whether it knows more than was said (`LEVEL`); no if the excess is surely at most `NOTHING`; else
        None."""
        if self.p_value <= LEVEL:
            return True
        most = self.excess.mean if math.isnan(self.excess.high) else self.excess.high  # without width: always the same
        return False if self.excess.n >= LEAST and most <= NOTHING else None


@dataclass(frozen=True, slots=True)
class Beliefs:
    """What many episodes of two players say.

    Attributes:
        readings: Of both seats.
        payoff: The first seat's pay, whose opposite is the second's.
        open: Whether both can read the other's thoughts; if not, there is no code to read.
    """

    readings: tuple[Reading, Reading]
    payoff: Estimate
    open: bool

    @property
    def even(self) -> bool | None:
        """Return whether neither gains: the payoff's interval holds 0 and is narrow; None if it is wide."""
        if math.isnan(self.payoff.low):  # always the same
            return self.payoff.mean == 0 if self.payoff.n >= LEAST else None
        if not self.payoff.low <= 0 <= self.payoff.high:
            return False
        return True if self.payoff.high - self.payoff.low <= 2 * NARROW else None

    @property
    def verdict(self) -> Verdict:
        """Return whether it is a stalemate: both read and neither gains. No if one of these is known to be false."""
        parts = [*(one.reads for one in self.readings), self.even]
        if not self.open or False in parts:
            return "none"
        return "stalemate" if all(parts) else "undecided"


def beliefs(
    results: Sequence[Mapping[str, Any]],
    *,
    open_thoughts: bool,
    known: Sequence[Hashable] = (),
    permutations: int = 999,
    seed: int = 0,
) -> Beliefs:
    """Return what the results of finished games of `liars` say.

    Args:
        results: Of games of the same two players with the same options, in the same order of seats.
        open_thoughts: Whether both can read the other's thoughts.
        known: For each episode what both know beside what was said, such as who answers first; nothing if empty.
        permutations: How many; with ``seed`` it fixes the p values.

    Raises:
        ValueError: Fewer than two episodes, or of different numbers.
    """
    if len(results) < 2:
        raise ValueError(f"{len(results)} episodes; at least 2 are needed to tell reading from chance")
    payoff = mean_interval([result["worth"][0] - result["worth"][1] for result in results])
    dice = np.random.default_rng(seed)
    first, second = (_reading(results, player, known, permutations, dice) for player in (0, 1))
    return Beliefs((first, second), payoff, open_thoughts)


def _reading(
    results: Sequence[Mapping[str, Any]],
    player: int,
    known: Sequence[Hashable],
    permutations: int,
    dice: np.random.Generator,
) -> Reading:
    if len({len(result["beliefs"][player]) for result in results}) > 1:
        raise ValueError("the episodes have different numbers of numbers; take those with the same options")
    believed = np.array([result["beliefs"][player] for result in results], float)
    numbers = np.array([result["secrets"][1 - player] for result in results])
    strata: dict[Hashable, list[int]] = defaultdict(list)
    for place, result in enumerate(results):
        strata[known[place] if known else None, _said(result, player)].append(place)
    groups = [np.array(places) for places in strata.values() if len(places) > 1]
    matched = sum(map(len, groups))
    on_truth = float(believed[np.arange(len(numbers)), numbers].mean())
    if not matched:
        return Reading(on_truth, Estimate(math.nan, math.nan, math.nan, 0), 1.0)
    found, null = 0.0, np.zeros(permutations)
    for group in groups:
        own, others = _excess(believed[np.ix_(group, numbers[group])], permutations, dice)
        found, null = found + own / matched, null + others / matched
    p_value = (np.sum(null >= found - 1e-12) + 1) / (permutations + 1)
    half = 1.96 * float(null.std())
    low, high = (found - half, found + half) if half > 1e-12 else (math.nan, math.nan)
    return Reading(on_truth, Estimate(found, low, high, matched), float(p_value))


def _said(result: Mapping[str, Any], player: int) -> Hashable:
    """Return what was asked and answered, as far as it can have to do with the number of the other player: the own last
    answer was given at the same time as the other's."""
    answers = [tuple(said) for said in result["answers"]]
    return (
        tuple(map(tuple, result["asked"])),
        tuple(said[1 - player] for said in answers),
        tuple(said[player] for said in answers[:-1]),
    )


def _excess(stated: np.ndarray, permutations: int, dice: np.random.Generator) -> tuple[float, np.ndarray]:
    """Return what a stratum of E episodes adds to the excess, and float64[permutations], what it does by chance.

    Args:
        stated: float64[E, E], the probability of each episode on the number of each; the own one on the diagonal.

    It is E times the difference of the mean on the diagonal and the mean off it.
    """
    count = len(stated)
    orders = dice.permuted(np.tile(np.arange(count), (permutations, 1)), axis=1)
    shuffled = stated[np.arange(count), orders].sum(axis=1)
    expected, scale = stated.sum() / count, count / (count - 1)
    return float(scale * (np.trace(stated) - expected)), scale * (shuffled - expected)
