"""The gate: before a task spends on hindsight, does the reference itself do better with it than without?

The reference plays the run's games against itself, on starts that no training uses. At the reviewed turns it is asked
what should have been said, and that is tried out against what it said (`verify`); where it claims nothing, or nothing
that is legal, it gains nothing. The *uplift* is the mean gain over all reviewed turns of what would be learned: where
only claims that stood a trial are, these alone count, by a second trial with other seeds, for of the first the best
were taken. A reference that is too weak to use what it is told has none: then hindsight is not used, and the run's
report says so.

A critic that moves passes a gate of the same kind (`better`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from palaestra.agents.engines.base import BASE
from palaestra.envs.seeding import derive
from palaestra.trainers.config import RunConfig
from palaestra.trainers.hindsight.deals import deals
from palaestra.trainers.hindsight.likelihood import Score
from palaestra.trainers.hindsight.stage import Counting, Hindsight, Play
from palaestra.trainers.hindsight.verdict import ACCEPTED, counted
from palaestra.trainers.hindsight.verify import Claim, continuations, gain, lower_bound
from palaestra.trainers.summary import mean_interval
from palaestra.trainers.tasks import MatchTask, training_tasks

HELD_OUT = 2_000_000
"""Iteration whose starts are used; no run gets there."""
FILE = "uplift.json"
GAMES = 256
"""Games by which critics are compared where the run has no gate of its own."""
USABLE = (*ACCEPTED, "same", "no mistake")


@dataclass(frozen=True, slots=True)
class Uplift:
    """What hindsight is worth to the reference.

    Attributes:
        mean, low, high: Mean gain of a reviewed turn, in the game's returns, with its 95 % interval.
        turns: Reviewed.
        games: Played.
        counts: What became of the reviews, by reason.
        tokens: Sampled to find that out.
    """

    mean: float
    low: float
    high: float
    turns: int
    games: int
    counts: dict[str, float]
    tokens: int

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
    asked = _asked(run, "verified", run.hindsight.gate or GAMES)
    play = Counting(play)
    stage = Hindsight(asked)
    stage.reviewer = BASE
    wave = stage.review(play, score, play(_tasks(asked)), HELD_OUT)
    tried = wave
    if run.hindsight.use in ("verified", "shuffled"):
        stood = [replace(one, gain=None, why="taken" if one.why == "accepted" else one.why) for one in wave.verdicts]
        tried = replace(wave, verdicts=stood, trials=[])
        stage.try_out(play, score, tried, HELD_OUT + 1)
    estimate = mean_interval([0.0 if one.gain is None else one.gain.mean for one in tried.verdicts])
    counts, games = counted(wave.verdicts), asked.games_per_iteration
    return Uplift(estimate.mean, estimate.low, estimate.high, len(wave.verdicts), games, counts, play.tokens)


def better(run: RunConfig, play: Play, score: Score, old: str, new: str) -> bool:
    """Return whether a new critic may take the place of an old one: on the same turns of the same held-out games what
    it would have said gains more, at most a twentieth fewer of its answers can be used, and they are at most a quarter
    longer.

    Where both would have said the same, neither gains. Elsewhere the two replies are tried out against each other, in
    the same deals with the same seeds, so that little but the difference between the critics is left to vary; the
    one-sided 95 % bound of its mean over all turns must be above 0.

    Args:
        old, new: Names of policies that the runners know.
    """
    assert run.hindsight is not None
    asked = _asked(run, "unverified", run.hindsight.gate or GAMES)
    games = play(_tasks(asked))
    waves = []
    for reviewer in (old, new):
        stage = Hindsight(asked)
        stage.reviewer = reviewer
        waves.append(stage.review(play, score, games, HELD_OUT))
    before, after = waves
    usable = [sum(one.why in USABLE for one in wave.verdicts) for wave in waves]
    if usable[1] < usable[0] - len(before.verdicts) / 20 or after.review_tokens > 1.25 * max(before.review_tokens, 1):
        return False
    claims = [
        (games[item.episode], replace(Claim.of(games[item.episode], item.turn, mine), said=theirs, forfeit=None))
        for item, one, other in zip(before.asked, after.verdicts, before.verdicts, strict=True)
        if (there := games[item.episode].episode.turns[item.turn].action) is not None
        and (mine := one.reply if one.why in ACCEPTED else there)
        != (theirs := other.reply if other.why in ACCEPTED else there)
    ]
    seed = derive(run.seed, "critics", HELD_OUT)
    dealt = deals(claims, score, stage.codec, asked, run.hindsight.pairs, seed)
    tasks = [task for (_, claim), one in zip(claims, dealt, strict=True) for task in continuations(claim, one)]
    done = iter(play([replace(task, index=index) for index, task in enumerate(tasks)]) if tasks else [])
    gains = [
        gain(claim, [next(done).episode for _ in range(len(one.seeds) * claim.tasks)], one).mean
        for (_, claim), one in zip(claims, dealt, strict=True)
    ]
    return lower_bound([*gains, *[0.0] * (len(before.verdicts) - len(gains))]) > 0


def _asked(run: RunConfig, use: str, games: int) -> RunConfig:
    """Return a run as it is asked here: so many games, at least half of whose turns are reviewed."""
    assert run.hindsight is not None
    share = max(run.hindsight.share, 0.5)
    section = run.hindsight.model_copy(update={"use": use, "share": share, "waves": 1})
    return run.model_copy(update={"hindsight": section, "games_per_iteration": games})


def _tasks(run: RunConfig) -> Sequence[MatchTask]:
    """Return games of the reference with itself; its turns count as those of a trained seat."""
    return training_tasks(run, HELD_OUT, dict.fromkeys(run.adapter_names(), BASE), None)
