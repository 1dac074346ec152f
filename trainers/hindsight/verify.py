"""Trying a claim out: the game is cloned at the turn, both replies are played there, and the others go on as they do.

Continuations are ordinary tasks (`palaestra.trainers.tasks.MatchTask`), played by the runners beside new games and
trained on by nobody. The i-th continuation of the proposed reply and that of the given one share every seed: the deal,
the chance to come and the sampling of all seats.

What the player could not know is drawn anew for each pair (``deal="anew"``), so that a reply is not praised for luck; a
game that cannot do that is continued as it was dealt (``"played"``), where a claim may be right for this deal and wrong
before it: over many episodes such gains are unbiased, in a single one they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt
from statistics import fmean, stdev
from typing import Literal

from scipy.stats import t as student_t

from palaestra.envs.episode import Episode
from palaestra.envs.errors import CannotRedeal, IllegalAction
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice, derive
from palaestra.trainers.tasks import MatchTask, Opening, Played

Deal = Literal["anew", "played"]


@dataclass(frozen=True, slots=True)
class Claim:
    """That ``proposed`` would have done better than what was played.

    Attributes:
        task: The match that was played.
        turns: (player, canonical action) of the turns before.
        turn: Number of the turn in question, counted from 0; ``player`` whose it was.
        said: What was played; None if the player forfeited there.
        proposed: A canonical action.
        forfeit: What the player got for that; None otherwise.
    """

    task: MatchTask
    turns: tuple[tuple[int, Action], ...]
    turn: int
    player: int
    said: Action | None
    proposed: Action
    forfeit: float | None = None

    @classmethod
    def of(cls, played: Played, turn: int, proposed: Action) -> Claim:
        """Return a claim about a turn of an episode.

        Raises:
            ValueError: There is no such turn, somebody forfeited before it, or its own forfeit has no return.
        """
        episode = played.episode
        before = [(one.player, one.action) for one in episode.turns[:turn]]
        if len(episode.turns) <= turn or any(action is None for _, action in before):
            raise ValueError(f"turn {turn} is not one of the {len(episode.turns)} that were played to their end")
        there = episode.turns[turn]
        got = None
        if there.action is None:
            if episode.returns is None:
                raise ValueError(f"turn {turn} was forfeited in a match without returns")
            got = episode.returns[there.player]
        turns = tuple((player, action) for player, action in before if action is not None)
        return cls(played.task, turns, turn, there.player, there.action, proposed, got)

    @property
    def tasks(self) -> int:
        """Return how many continuations each pair has: where the player forfeited, what that got is known."""
        return 1 if self.said is None else 2


@dataclass(frozen=True, slots=True)
class Gain:
    """What a proposed reply brings, in the game's returns.

    Attributes:
        mean: Mean of the paired differences.
        low: One-sided 95 % lower bound (Student's t); the mean itself where all pairs agree and there are at least
            `FEWEST`, minus infinity where there are fewer.
        pairs: How many.
        deal: Whether hidden information was drawn anew.
    """

    mean: float
    low: float
    pairs: int
    deal: Deal

    @property
    def accepted(self) -> bool:
        """Return whether the claim stands."""
        return self.low > 0


FEWEST = 3


def can_be_tried(claim: Claim) -> Deal | None:
    """Return how a claim's continuations are dealt; None if its reply is not legal there, or the one that was given."""
    if claim.proposed == claim.said:
        return None
    there = replace(claim.task, opening=Opening(claim.turns)).begin()
    try:
        there.check(claim.player, claim.proposed)
    except IllegalAction:
        return None
    try:
        there.redealt(claim.player, Dice(0))
    except CannotRedeal:
        return "played"
    return "anew"


def continuations(claim: Claim, pairs: int, seed: int, deal: Deal, *, first: int = 0) -> list[MatchTask]:
    """Return ``pairs`` x `Claim.tasks` tasks: with the proposed reply and with the given one, alternately.

    Args:
        seed: Of deals, chance and sampling.
        first: Index of the first task in its batch.
    """
    task, player, said = claim.task, claim.player, claim.said
    replies = (claim.proposed,) if said is None else (claim.proposed, said)
    seats = tuple(replace(plan, trained=False) for plan in task.seats)
    tasks: list[MatchTask] = []
    for pair in range(pairs):
        drawn = derive(seed, "redeal", task.seed, task.match_seed, claim.turn, pair)
        for reply in replies:
            redeal = (player, drawn) if deal == "anew" else None
            tasks.append(
                replace(
                    task,
                    index=first + len(tasks),
                    match_seed=derive(drawn, "continuation"),
                    seats=seats,
                    replay=None,
                    opening=Opening(claim.turns, redeal, ((player, reply),)),
                )
            )
    return tasks


def gain(claim: Claim, episodes: Sequence[Episode], deal: Deal) -> Gain:
    """Return the gain from the episodes of `continuations`, in their order; pairs without a return are left out."""
    returns = [None if one.returns is None else one.returns[claim.player] for one in episodes]
    given = returns[1::2] if claim.forfeit is None else [claim.forfeit] * len(returns)
    proposed = returns[::2] if claim.forfeit is None else returns
    paired = zip(proposed, given, strict=True)
    differences = [one - other for one, other in paired if one is not None and other is not None]
    count = len(differences)
    mean = fmean(differences) if differences else 0.0
    if count < FEWEST:
        return Gain(mean, float("-inf"), count, deal)
    return Gain(mean, lower_bound(differences), count, deal)


def lower_bound(values: Sequence[float]) -> float:
    """Return the one-sided 95 % lower bound of a mean (Student's t); minus infinity for fewer than `FEWEST` values."""
    if len(values) < FEWEST:
        return float("-inf")
    return fmean(values) - float(student_t.ppf(0.95, len(values) - 1)) * stdev(values) / sqrt(len(values))
