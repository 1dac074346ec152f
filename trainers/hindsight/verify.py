"""Trying a claim out: the game is cloned at the turn, both replies are played there, and the others go on as they do.

Continuations are ordinary tasks (`palaestra.trainers.tasks.MatchTask`), played by the runners beside new games and
trained on by nobody. The i-th continuation of the proposed reply and that of the given one share every seed: the deal,
the chance to come and the sampling of all seats.

What the player could not know is drawn anew for each pair (``deal="anew"``), as likely as it is behind all that it saw
(`palaestra.trainers.hindsight.deals`), so that a reply is not praised for luck. Where that cannot be done the game is
continued as it was dealt (``"played"``), where a claim may be right for this deal and wrong before it: over many
episodes such gains are unbiased, in a single one they are not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, sqrt
from statistics import fmean, stdev
from typing import Literal

from scipy.stats import t as student_t

from palaestra.envs.episode import Episode
from palaestra.envs.errors import IllegalAction
from palaestra.envs.parts import Action
from palaestra.envs.seeding import derive
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
class Dealt:
    """How the pairs of a trial are dealt.

    Attributes:
        deal: Whether hidden information is drawn anew.
        seeds: Of each pair's deal; where deals are weighed, one may come more than once.
        effective: How many equally likely candidates the deals were drawn from; infinite where nothing was weighed.
    """

    deal: Deal
    seeds: tuple[int, ...]
    effective: float = inf


@dataclass(frozen=True, slots=True)
class Gain:
    """What a proposed reply brings, in the game's returns.

    Attributes:
        mean: Mean of the paired differences.
        low: Its `lower_bound`.
        pairs: How many.
        deal: Whether hidden information was drawn anew.
        effective: As in `Dealt`.
    """

    mean: float
    low: float
    pairs: int
    deal: Deal
    effective: float = inf

    @property
    def accepted(self) -> bool:
        """Return whether the claim stands."""
        return self.low > 0


FEWEST = 3


def can_be_tried(claim: Claim) -> bool:
    """Return whether a claim's reply is legal there, and another than the one that was given."""
    if claim.proposed == claim.said:
        return False
    try:
        replace(claim.task, opening=Opening(claim.turns)).begin().check(claim.player, claim.proposed)
    except IllegalAction:
        return False
    return True


def continuations(claim: Claim, dealt: Dealt, *, first: int = 0) -> list[MatchTask]:
    """Return pairs x `Claim.tasks` tasks: with the proposed reply and with the given one, alternately.

    Args:
        dealt: How each pair is dealt; its seeds decide chance and sampling, too.
        first: Index of the first task in its batch.
    """
    task, player, said = claim.task, claim.player, claim.said
    replies = (claim.proposed,) if said is None else (claim.proposed, said)
    seats = tuple(replace(plan, trained=False) for plan in task.seats)
    tasks: list[MatchTask] = []
    for pair, drawn in enumerate(dealt.seeds):
        for reply in replies:
            redeal = (player, drawn) if dealt.deal == "anew" else None
            tasks.append(
                replace(
                    task,
                    index=first + len(tasks),
                    match_seed=derive(drawn, "continuation", pair),
                    seats=seats,
                    replay=None,
                    opening=Opening(claim.turns, redeal, ((player, reply),)),
                    spare=True,
                )
            )
    return tasks


def gain(claim: Claim, episodes: Sequence[Episode], dealt: Dealt) -> Gain:
    """Return the gain from the episodes of `continuations`, in their order; pairs without a return are left out."""
    returns = [None if one.returns is None else one.returns[claim.player] for one in episodes]
    given = returns[1::2] if claim.forfeit is None else [claim.forfeit] * len(returns)
    proposed = returns[::2] if claim.forfeit is None else returns
    paired = zip(proposed, given, strict=True)
    differences = [one - other for one, other in paired if one is not None and other is not None]
    mean = fmean(differences) if differences else 0.0
    low = lower_bound(differences, dealt.effective)
    return Gain(mean, low, len(differences), dealt.deal, dealt.effective)


def lower_bound(values: Sequence[float], effective: float = inf) -> float:
    """Return the one-sided 95 % lower bound of a mean (Student's t); minus infinity for fewer than `FEWEST` values.

    Args:
        values: Of which the mean is taken.
        effective: From how many equally likely candidates their deals were drawn. Given the candidates, the mean of n
            values varies by s^2 / n; that there were no others adds about s^2 / effective, if the deal is all that
            differs, and less otherwise (law of total variance).
    """
    if len(values) < FEWEST:
        return -inf
    variance = 1 / len(values) + 1 / effective
    return fmean(values) - float(student_t.ppf(0.95, len(values) - 1)) * stdev(values) * sqrt(variance)
