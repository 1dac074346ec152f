"""What happened in an iteration or an evaluation, as numbers.

Strength is never self-play reward, which is about zero for ever. A `Score` is the result against a fixed opponent over
seat-flipped pairs, always beside the legal-reply rate and the share of games that were decided by play. Intervals are
95 %, over pairs, whose games share a seed and are therefore not independent: Student's for returns, and Wilson's for
rates, for as many replies as those of one pair, which are much alike, are worth (`clustered_rate`).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import fmean, stdev
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.stats import beta
from scipy.stats import t as student_t

from palaestra.envs.episode import Episode
from palaestra.trainers.rows import Row
from palaestra.trainers.tasks import Played

Z = 1.959963984540054
"""The normal's deviate within which 95 % lie on both sides."""


@dataclass(frozen=True, slots=True)
class Summary:
    """One training iteration.

    Attributes:
        games, turns, sampled_tokens, trained_tokens: Counts; a trained token is a member of some stream.
        finished, forfeited, unfinished: How the games ended; they add up to ``games``, since one that ends with an
            error ends the run.
        reward_by_role: Mean return by ``game/role`` over the trained seats of finished or forfeited games.
        legal_rate: Share of the trained seats' replies that were accepted.
        illegal_rate, unparsable_rate, truncated_rate: The others.
        forfeit_rate: Share of games that ended by forfeit.
        reply_tokens: Mean length of a reply: the first sign of a collapse.
        learner: What the learner reported.
        results: Mean of every number in `Game.result`, by ``game/key``, over finished games.
    """

    iteration: int
    games: int
    finished: int
    forfeited: int
    unfinished: int
    turns: int
    sampled_tokens: int
    trained_tokens: int
    reward_by_role: dict[str, float]
    legal_rate: float
    illegal_rate: float
    unparsable_rate: float
    truncated_rate: float
    forfeit_rate: float
    reply_tokens: float
    seconds_sampling: float
    seconds_learning: float
    learner: dict[str, float]
    results: dict[str, float] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        """Return plain data for ``metrics.jsonl``."""
        return asdict(self)

    def flat(self) -> dict[str, float]:
        """Return numbers by slash-separated name, for TensorBoard and RLlib."""
        numbers: dict[str, float] = {}
        for key, value in asdict(self).items():
            if isinstance(value, dict):
                numbers |= {f"{key}/{name}": float(number) for name, number in value.items()}
            else:
                numbers[key] = float(value)
        return numbers


def summarize(
    played: Sequence[Played],
    rows: Sequence[Row],
    learner: Mapping[str, float],
    *,
    iteration: int,
    seconds_sampling: float,
    seconds_learning: float,
) -> Summary:
    """Count what an iteration's matches and rows amount to."""
    returns: dict[str, list[float]] = defaultdict(list)
    statuses: dict[str, int] = defaultdict(int)
    tokens = 0
    for one in played:
        for player, plan in enumerate(one.task.seats):
            if plan.trained:
                if one.episode.returns is not None:
                    returns[f"{one.episode.game}/{one.episode.roles[player]}"].append(one.episode.returns[player])
                tokens += _count_attempts(one.episode, player, statuses)
    attempts = max(1, sum(statuses.values()))
    ends = Counter(one.episode.outcome for one in played)
    return Summary(
        iteration=iteration,
        games=len(played),
        finished=ends["finished"],
        forfeited=ends["forfeit"],
        unfinished=ends["unfinished"],
        turns=sum(len(one.episode.turns) for one in played),
        sampled_tokens=tokens,
        trained_tokens=sum(
            int((row.stream("pg").member | row.stream("ce").member | row.stream("kl").member).sum()) for row in rows
        ),
        reward_by_role={role: fmean(values) for role, values in sorted(returns.items())},
        legal_rate=statuses["ok"] / attempts,
        illegal_rate=statuses["illegal"] / attempts,
        unparsable_rate=statuses["unparsable"] / attempts,
        truncated_rate=statuses["truncated"] / attempts,
        forfeit_rate=ends["forfeit"] / max(1, len(played)),
        reply_tokens=tokens / attempts,
        seconds_sampling=seconds_sampling,
        seconds_learning=seconds_learning,
        learner={key: float(value) for key, value in learner.items()},
        results=_results([one.episode for one in played]),
    )


def _results(episodes: Sequence[Episode]) -> dict[str, float]:
    """Return the mean of every number that finished games recorded."""
    found: dict[str, list[float]] = defaultdict(list)
    for episode in episodes:
        if episode.outcome == "finished":
            for key, value in episode.result.items():
                if isinstance(value, int | float) and math.isfinite(value):
                    found[f"{episode.game}/{key}"].append(float(value))
    return {key: fmean(values) for key, values in sorted(found.items())}


def _count_attempts(episode: Episode, player: int, statuses: dict[str, int]) -> int:
    """Count a player's attempts by status; return how many tokens it sampled."""
    tokens = 0
    for turn in episode.turns:
        if turn.player == player:
            for attempt in turn.attempts:
                statuses[attempt.status] += 1
                tokens += len(attempt.reply.tokens.ids) if attempt.reply.tokens else 0
    return tokens


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval and the size of its sample."""

    mean: float
    low: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Score:
    """A policy's result against one opponent in one game.

    Attributes:
        legal: Share of its replies that were accepted.
        result: Its mean return per game, in the game's units, over pairs of which both games have a return.
        wins, draws, losses: Games with a return above, at and below 0; none where it played alone.
        by_play, by_forfeit, by_opponents_forfeit, unfinished: How games ended.
        alone: Whether the game has one player, whose returns are no victories and no defeats.
    """

    game: str
    opponent: str
    games: int
    legal: Estimate
    result: Estimate
    wins: int
    draws: int
    losses: int
    by_play: int
    by_forfeit: int
    by_opponents_forfeit: int
    unfinished: int
    alone: bool = False

    @property
    def tally(self) -> str:
        """Games won, drawn and lost, such as ``3 / 0 / 1``; a dash where it played alone."""
        return "–" if self.alone else f"{self.wins} / {self.draws} / {self.losses}"

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Score:
        """Invert `to_json`; null is a number that there is none of, since JSON has no NaN."""

        def estimate(found: Mapping[str, Any]) -> Estimate:
            numbers = {key: math.nan if found[key] is None else float(found[key]) for key in ("mean", "low", "high")}
            return Estimate(n=int(found["n"]), **numbers)

        return cls(**{**data, "legal": estimate(data["legal"]), "result": estimate(data["result"])})


def score(played: Sequence[Played], opponent: str) -> Score:
    """Return the score of the policy in each task's ``own_seat``."""
    pairs: dict[str, list[float | None]] = defaultdict(list)
    replies: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    ends: dict[str, int] = defaultdict(int)
    values: list[float] = []
    for one in played:
        own = one.task.meta["own_seat"]
        _count_attempts(one.episode, own, replies[one.task.group])
        if one.episode.outcome == "forfeit":
            ends["own forfeit" if one.episode.forfeited_by == own else "other forfeit"] += 1
        else:
            ends[one.episode.outcome] += 1
        value = None if one.episode.returns is None else one.episode.returns[own]
        values += [] if value is None else [value]
        pairs[one.task.group].append(value)
    alone = len(played[0].episode.seats) == 1
    decided = [] if alone else values
    return Score(
        game=played[0].task.game,
        opponent=opponent,
        games=len(played),
        legal=clustered_rate([(counts["ok"], sum(counts.values())) for counts in replies.values()]),
        # A pair that lacks a game would count the worth of a seat as the policy's.
        result=mean_interval([fmean(pair) for pair in map(_whole, pairs.values()) if pair]),
        wins=sum(value > 0 for value in decided),
        draws=sum(value == 0 for value in decided),
        losses=sum(value < 0 for value in decided),
        by_play=ends["finished"],
        by_forfeit=ends["own forfeit"],
        by_opponents_forfeit=ends["other forfeit"],
        unfinished=ends["unfinished"],
        alone=alone,
    )


def _whole(pair: Sequence[float | None]) -> list[float]:
    """Return a pair's returns; none if one of them is missing."""
    found = [value for value in pair if value is not None]
    return found if len(found) == len(pair) else []


def wilson(successes: int, trials: int) -> Estimate:
    """Return a rate with Wilson's score interval (E. B. Wilson, 1927)."""
    return _wilson(successes / trials, trials, trials) if trials else Estimate(math.nan, 0.0, 1.0, 0)


def least_rate(successes: ArrayLike, trials: int, error: float) -> NDArray[np.float64]:
    """Return what a rate is at least: too high in at most a share ``error`` of samples, whatever the rate (the lower
    end of C. J. Clopper and E. S. Pearson, 1934). Wilson's is so on average over rates, and not at each of them."""
    won = np.asarray(successes, float)
    return np.where(won > 0, beta.ppf(error, np.maximum(won, 1), trials - won + 1), 0.0)


def exact_rate(successes: int, trials: int, error: float = 0.05) -> Estimate:
    """Return a rate with an interval that misses the true one in at most a share ``error`` of samples, half of it at
    each end (`least_rate`)."""
    if not trials:
        return Estimate(math.nan, 0.0, 1.0, 0)
    low, fails = least_rate([successes, trials - successes], trials, error / 2)
    return Estimate(successes / trials, float(low), 1 - float(fails), trials)


def paired_difference(gained: int, lost: int, pairs: int) -> Estimate:
    """Return the difference of two rates over the same items: (``gained`` - ``lost``) / ``pairs``.

    Its interval puts together the exact ones of both shares, which are correlated as those of a multinomial are (the
    method of variance estimates recovery, A. Donner and G. Y. Zou, 2012). Where all items agree it keeps its width.

    Args:
        gained, lost: Items in which only the first succeeded, and only the second.
    """
    up, down = exact_rate(gained, pairs), exact_rate(lost, pairs)
    spread = (1 - up.mean) * (1 - down.mean)
    together = 2 * math.sqrt(up.mean * down.mean / spread) if gained and lost and spread else 0.0

    def half(one: float, other: float) -> float:
        return math.sqrt(one * one + together * one * other + other * other)

    mean = up.mean - down.mean
    low = mean - half(up.mean - up.low, down.high - down.mean)
    high = mean + half(up.high - up.mean, down.mean - down.low)
    return Estimate(mean, max(-1.0, low), min(1.0, high), pairs)


def clustered_rate(groups: Sequence[tuple[int, int]]) -> Estimate:
    """Return a rate over (successes, trials) of groups whose trials are alike, with an interval that allows for it.

    Wilson's interval is taken for n / deff trials, deff being the variance of the rate over groups relative to that of
    independent trials (the design effect, L. Kish, Survey Sampling, 1965). Where all trials ended alike nothing is
    known of it, and each group counts as one trial.
    """
    groups = [group for group in groups if group[1]]
    trials, known = sum(tried for _, tried in groups), len(groups)
    if known < 2:
        return wilson(sum(won for won, _ in groups), trials)
    rate = sum(won for won, _ in groups) / trials
    over_groups = known / (known - 1) * sum((won - rate * tried) ** 2 for won, tried in groups) / trials**2
    worth = rate * (1 - rate) / over_groups if over_groups > 0 else (known if rate in (0, 1) else trials)
    return _wilson(rate, min(float(trials), max(1.0, worth)), trials)


def _wilson(rate: float, trials: float, n: int) -> Estimate:
    centre = (rate + Z * Z / (2 * trials)) / (1 + Z * Z / trials)
    half = Z / (1 + Z * Z / trials) * math.sqrt(rate * (1 - rate) / trials + Z * Z / (4 * trials * trials))
    return Estimate(rate, max(0.0, centre - half), min(1.0, centre + half), n)


def mean_interval(values: Sequence[float]) -> Estimate:
    """Return a mean with Student's interval; without one where the values do not differ, for it would have no width."""
    if not values:
        return Estimate(math.nan, math.nan, math.nan, 0)
    mean = fmean(values)
    if len(set(values)) < 2:
        return Estimate(mean, math.nan, math.nan, len(values))
    half = float(student_t.ppf(0.975, len(values) - 1)) * stdev(values) / math.sqrt(len(values))
    return Estimate(mean, mean - half, mean + half, len(values))
