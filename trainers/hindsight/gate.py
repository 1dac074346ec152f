"""The gate: before a task spends on hindsight, does the reference itself do better with it than without?

The reference plays the run's games against itself, on starts that no training uses. At the reviewed turns it is asked
what should have been said, and that is tried out against what it said (`verify`); where it claims nothing, or nothing
that is legal, it gains nothing. The *uplift* is the mean gain over all reviewed turns. A reference that is too weak to
use what it is told has none: then hindsight is not used, and the run's report says so.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from palaestra.agents.engines.base import BASE
from palaestra.trainers.config import RunConfig
from palaestra.trainers.hindsight.likelihood import Score
from palaestra.trainers.hindsight.stage import Hindsight, Play
from palaestra.trainers.hindsight.verdict import Verdict, counted
from palaestra.trainers.hindsight.verify import lower_bound
from palaestra.trainers.summary import mean_interval
from palaestra.trainers.tasks import MatchTask, training_tasks

HELD_OUT = 2_000_000
"""Iteration whose starts are used; no run gets there."""
FILE = "uplift.json"
GAMES = 64
"""Games by which critics are compared where the run has no gate of its own."""
USABLE = ("accepted", "rejected", "same", "no mistake")


@dataclass(frozen=True, slots=True)
class Uplift:
    """What hindsight is worth to the reference.

    Attributes:
        mean, low, high: Mean gain of a reviewed turn, in the game's returns, with its 95 % interval.
        turns: Reviewed.
        games: Played.
        counts: What became of the reviews, by reason.
    """

    mean: float
    low: float
    high: float
    turns: int
    games: int
    counts: dict[str, float]

    @property
    def passed(self) -> bool:
        """Return whether the whole interval is above 0."""
        return self.low > 0

    @property
    def sentence(self) -> str:
        """Return what was found, and what follows from it."""
        if not self.turns:
            return f"No turn of the reference's {self.games} games was reviewed, so hindsight is not used."
        if math.isnan(self.low):
            return (
                f"With hindsight the reference gains {self.mean:+.3f} at each of {self.turns} reviewed turns of "
                f"{self.games} games: no uplift that could be told from chance, so it is not used."
            )
        found = (
            f"With hindsight the reference gains {self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}] a reviewed turn "
            f"({self.turns} turns of {self.games} games)"
        )
        return f"{found}; it is used." if self.passed else f"{found}: no uplift, so it is not used."

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {**asdict(self), "passed": self.passed, "sentence": self.sentence}


def measure(run: RunConfig, play: Play, score: Score) -> Uplift:
    """Return the reference's uplift in the games of a run.

    Args:
        run: With a section ``hindsight``.
        play, score: As for `Hindsight.play`.
    """
    assert run.hindsight is not None
    verdicts, _ = _reviewed(run, play, score, BASE)
    estimate = mean_interval([0.0 if one.gain is None else one.gain.mean for one in verdicts])
    return Uplift(estimate.mean, estimate.low, estimate.high, len(verdicts), run.hindsight.gate, counted(verdicts))


def better(run: RunConfig, play: Play, score: Score, old: str, new: str) -> bool:
    """Return whether a new critic may take the place of an old one: on the same turns of the same held-out games it
    gains more (one-sided 95 % bound of the paired differences above 0), at most a twentieth fewer of its answers can be
    used, and they are at most a quarter longer.

    Args:
        old, new: Names of policies that the runners know.
    """
    (before, short), (after, long) = (_reviewed(run, play, score, reviewer) for reviewer in (old, new))
    gains = [[0.0 if one.gain is None else one.gain.mean for one in verdicts] for verdicts in (before, after)]
    usable = [sum(one.why in USABLE for one in verdicts) for verdicts in (before, after)]
    differences = [one - other for one, other in zip(gains[1], gains[0], strict=True)]
    bound = lower_bound(differences)
    return bound > 0 and usable[1] >= usable[0] - len(before) / 20 and long <= 1.25 * max(short, 1)


def _reviewed(run: RunConfig, play: Play, score: Score, reviewer: str) -> tuple[list[Verdict], int]:
    """Return a reviewer's verdicts on held-out games of the reference, and how many tokens it took for them."""
    assert run.hindsight is not None
    section = run.hindsight.model_copy(update={"use": "verified", "share": max(run.hindsight.share, 0.5), "waves": 1})
    asked = run.model_copy(update={"hindsight": section, "games_per_iteration": run.hindsight.gate or GAMES})
    stage = Hindsight(asked)
    stage.reviewer = reviewer
    waves = stage.play(play, score, _tasks(asked), HELD_OUT)
    return [verdict for wave in waves for verdict in wave.verdicts], sum(wave.review_tokens for wave in waves)


def _tasks(run: RunConfig) -> Sequence[MatchTask]:
    """Return games of the reference with itself; its turns count as those of a trained seat."""
    return training_tasks(run, HELD_OUT, dict.fromkeys(run.adapter_names(), BASE), None)
