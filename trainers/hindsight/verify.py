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
        turns: (player, canonical action) of all its turns.
        turn: Number of the turn in question, counted from 0.
        proposed: A canonical action.
    """

    task: MatchTask
    turns: tuple[tuple[int, Action], ...]
    turn: int
    proposed: Action

    @classmethod
    def of(cls, played: Played, turn: int, proposed: Action) -> Claim:
        """Return a claim about a turn of an episode.

        Raises:
            ValueError: There is no such turn, or its player forfeited there or before.
        """
        turns = tuple((one.player, one.action) for one in played.episode.turns[: turn + 1])
        if len(turns) <= turn or any(action is None for _, action in turns):
            raise ValueError(f"turn {turn} is not one of the {len(played.episode.turns)} that were played to their end")
        return cls(played.task, turns, turn, proposed)  # type: ignore[arg-type]

    @property
    def player(self) -> int:
        """Return whose turn it was."""
        return self.turns[self.turn][0]

    @property
    def said(self) -> Action:
        """Return what was played."""
        return self.turns[self.turn][1]


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
    there = replace(claim.task, opening=Opening(claim.turns[: claim.turn])).begin()
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
    """Return 2 x ``pairs`` tasks: with the proposed reply and with the given one, alternately.

    Args:
        seed: Of deals, chance and sampling.
        first: Index of the first task in its batch.
    """
    task, (player, said) = claim.task, claim.turns[claim.turn]
    seats = tuple(replace(plan, trained=False) for plan in task.seats)
    tasks: list[MatchTask] = []
    for pair in range(pairs):
        drawn = derive(seed, "redeal", task.seed, task.match_seed, claim.turn, pair)
        for reply in (claim.proposed, said):
            redeal = (player, drawn) if deal == "anew" else None
            tasks.append(
                replace(
                    task,
                    index=first + len(tasks),
                    match_seed=derive(drawn, "continuation"),
                    seats=seats,
                    replay=None,
                    opening=Opening(claim.turns[: claim.turn], redeal, ((player, reply),)),
                )
            )
    return tasks


def gain(player: int, episodes: Sequence[Episode], deal: Deal) -> Gain:
    """Return the gain from the episodes of `continuations`, in their order; pairs without a return are left out."""
    paired = zip(episodes[::2], episodes[1::2], strict=True)
    differences = [
        proposed.returns[player] - said.returns[player]
        for proposed, said in paired
        if proposed.returns is not None and said.returns is not None
    ]
    count = len(differences)
    mean = fmean(differences) if differences else 0.0
    if count < FEWEST:
        return Gain(mean, float("-inf"), count, deal)
    half = float(student_t.ppf(0.95, count - 1)) * stdev(differences) / sqrt(count)
    return Gain(mean, mean - half, count, deal)
