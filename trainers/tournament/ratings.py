"""From games to ratings with intervals.

Every game is taken apart into *comparisons*: two seats held by different entrants, of which one got more, or both the
same (half a point each); games for one player are compared with the others of their round, which have the same seed. A
game weighs 1 however many comparisons it has, and a table weighs what the configuration
says however many games it has, so a game that is quick to play does not drown the others.

*Joint and per-table rating*: Bradley and Terry (Biometrika 39, 1952), fitted by choix's iterative Luce spectral ranking
(Maystre & Grossglauser, NeurIPS 2015) with a small regularisation, on the scale of chess (a difference of 400 is odds
of 10 to 1), mean 1500.
*OpenSkill*: Weng & Lin (JMLR 12, 2011), model of Plackett and Luce, by the library openskill; it rates games for many
players as one ranking and keeps an uncertainty of its own.

Intervals are percentiles of a bootstrap over rounds within each table, because all games of a round share their chance.
They say how well this set of games fixes the rating, given these opponents; from fewer than `LEAST_ROUNDS` rounds of a
table there is none.

`decided` is a sequential test: it may be asked after every round, and errs with at most the stated probability over all
rounds and pairs together (a normal-mixture confidence sequence for bounded differences, Robbins 1970). Two entrants who
never meet, as in the pool of a gauntlet, are compared by how they did in the same rounds against the same opponents.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise

import choix
import numpy as np
from numpy.typing import NDArray
from openskill.models import PlackettLuce

from palaestra.trainers.summary import Estimate
from palaestra.trainers.tournament.store import GameRecord, SeatRecord

ELO = 400 / math.log(10)
CENTRE = 1500.0
REGULARISATION = 0.005
"""Added to every pair as in choix; keeps the rating of who never lost finite."""
RESAMPLES = 400
LEAST_ROUNDS = 5
MIXTURE = 0.25
"""Variance of the mixture in `decided`; tightest after about 1 / MIXTURE rounds."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two entrants in one game: ``score`` is 1 if the first got more, 0 if less, 0.5 if the same.

    Comparisons of one label and round share their chance, so they are not independent.
    """

    label: str
    round: int
    first: str
    second: str
    score: float
    weight: float


def comparisons(games: Sequence[GameRecord], weights: Mapping[str, float] | None = None) -> list[Comparison]:
    """Return the comparisons of games that have a result.

    Args:
        weights: Of each table by label; 1 for all if None. A table's games share its weight.
    """
    tables = _compared([game for game in games if _has_result(game)])
    counts = Counter(label for label, _, _ in tables)
    found = []
    for label, number, seats in tables:
        pairs = [(one, other) for one, other in combinations(seats, 2) if one.entrant != other.entrant]
        scale = weights.get(label, 1.0) / counts[label] if weights is not None else 1.0
        for one, other in pairs:
            assert one.result is not None
            assert other.result is not None
            score = 0.5 + 0.5 * ((one.result > other.result) - (one.result < other.result))
            found.append(Comparison(label, number, one.entrant, other.entrant, score, scale / len(pairs)))
    return found


def _compared(games: Sequence[GameRecord]) -> list[tuple[str, int, Sequence[SeatRecord]]]:
    """Return (label, round, seats that are compared): those of a game, or of a round where games have one seat each."""
    found: list[tuple[str, int, Sequence[SeatRecord]]] = []
    alone: dict[tuple[str, int], list[SeatRecord]] = defaultdict(list)
    for game in games:
        if len(game.seats) > 1:
            found.append((game.label, game.round, game.seats))
        else:
            alone[game.label, game.round] += game.seats
    return found + [(*key, seats) for key, seats in alone.items()]


def _has_result(game: GameRecord) -> bool:
    return bool(game.seats) and all(seat.result is not None for seat in game.seats)


def bradley_terry(entrants: Sequence[str], found: Sequence[Comparison]) -> NDArray[np.float64]:
    """Return the ratings of entrants, float64[n], on the scale of chess with mean 1500."""
    index = {name: position for position, name in enumerate(entrants)}
    wins = np.zeros((len(entrants), len(entrants)))
    for one in found:
        first, second = index[one.first], index[one.second]
        wins[first, second] += one.score * one.weight
        wins[second, first] += (1 - one.score) * one.weight
    return _fit(wins)


def _fit(wins: NDArray[np.float64]) -> NDArray[np.float64]:
    """Fit a matrix of weighted wins; the regularisation is relative to the weight of a pair."""
    if len(wins) < 2 or not wins.any():
        return np.full(len(wins), CENTRE)
    scale = wins.sum() / (len(wins) * (len(wins) - 1) / 2)
    theta = choix.ilsr_pairwise_dense(wins / scale, alpha=REGULARISATION, max_iter=1000)
    rating: NDArray[np.float64] = CENTRE + ELO * (theta - theta.mean())
    return rating


def bootstrapped(
    entrants: Sequence[str], found: Sequence[Comparison], *, seed: int = 0, resamples: int = RESAMPLES
) -> dict[str, Estimate]:
    """Return the Bradley-Terry rating of every entrant with a 95 % interval over rounds, resampled within tables.

    Without resamples, which takes no time, and with too few rounds there is no interval (NaN).
    """
    index = {name: position for position, name in enumerate(entrants)}
    size = len(entrants)
    by_table: dict[str, dict[int, NDArray[np.float64]]] = defaultdict(dict)
    games: dict[str, int] = defaultdict(int)
    for one in found:
        wins = by_table[one.label].setdefault(one.round, np.zeros((size, size)))
        wins[index[one.first], index[one.second]] += one.score * one.weight
        wins[index[one.second], index[one.first]] += (1 - one.score) * one.weight
        games[one.first] += 1
        games[one.second] += 1
    tables = [np.stack(list(played.values())) for played in by_table.values()]
    whole = sum((table.sum(axis=0) for table in tables), np.zeros((size, size)))
    if not all(len(table) >= LEAST_ROUNDS for table in tables):
        resamples = 0
    rng = np.random.default_rng(seed)
    draws = np.empty((resamples, size))
    for row in range(resamples):
        wins = np.zeros((size, size))
        for table in tables:
            wins += table[rng.integers(len(table), size=len(table))].sum(axis=0)
        draws[row] = _fit(wins)
    means = _fit(whole)
    low, high = np.percentile(draws, [2.5, 97.5], axis=0) if resamples else np.full((2, size), np.nan)
    return {
        name: Estimate(float(means[at]), float(low[at]), float(high[at]), games[name]) for name, at in index.items()
    }


def openskill(entrants: Sequence[str], games: Sequence[GameRecord]) -> dict[str, tuple[float, float]]:
    """Return (mu, sigma) of every entrant after the games in order; an entrant with several seats counts with its best.

    Games without a result are left out.
    """
    model = PlackettLuce()
    ratings = {name: model.rating(name=name) for name in entrants}
    for game in games:
        if not _has_result(game):
            continue
        best: dict[str, float] = {}
        for seat in game.seats:
            assert seat.result is not None
            best[seat.entrant] = max(seat.result, best.get(seat.entrant, -math.inf))
        if len(best) < 2:
            continue
        names = list(best)
        values = sorted(set(best.values()), reverse=True)
        ranks = [float(values.index(best[name])) for name in names]
        for name, (rated,) in zip(names, model.rate([[ratings[name]] for name in names], ranks=ranks), strict=True):
            ratings[name] = rated
    return {name: (float(rating.mu), float(rating.sigma)) for name, rating in ratings.items()}


def decided(order: Sequence[str], found: Sequence[Comparison], confidence: float) -> dict[tuple[str, str], bool]:
    """Return for every two neighbours in the standings whether the first is better, at the wanted confidence.

    The difference of a round is the mean score less one half, doubled, if the two have met; otherwise the mean, over
    the opponents that both have met in this round, of the difference of their scores. Either is a number in [-1, 1],
    independent between rounds.
    """
    scores: dict[tuple[str, str], dict[tuple[str, int], list[float]]] = defaultdict(lambda: defaultdict(list))
    for one in found:
        scores[one.first, one.second][one.label, one.round].append(one.score)
        scores[one.second, one.first][one.label, one.round].append(1 - one.score)
    # Which pairs are neighbours depends on the results, so the error is shared out among all pairs.
    alpha = (1 - confidence) / max(1, len(order) * (len(order) - 1) // 2)
    means = {pair: {key: float(np.mean(values)) for key, values in kept.items()} for pair, kept in scores.items()}
    return {pair: _above_zero(_differences(means, *pair), alpha) for pair in pairwise(order)}


def _differences(
    means: Mapping[tuple[str, str], Mapping[tuple[str, int], float]], first: str, second: str
) -> list[float]:
    """Return the difference of two entrants in each round; see `decided`."""
    if (first, second) in means:
        return [2 * value - 1 for value in means[first, second].values()]
    by_round: dict[tuple[str, int], list[float]] = defaultdict(list)
    for one, other in means:
        if one == first and (second, other) in means:
            against = means[second, other]
            for key, value in means[first, other].items():
                if key in against:
                    by_round[key].append(value - against[key])
    return [float(np.mean(values)) for values in by_round.values()]


def _above_zero(values: Sequence[float], alpha: float) -> bool:
    count = len(values)
    if not count:
        return False
    spread = count * MIXTURE + 1
    radius = math.sqrt(2 * spread / (count * count * MIXTURE) * math.log(math.sqrt(spread) / alpha))
    return float(np.mean(values)) > radius
