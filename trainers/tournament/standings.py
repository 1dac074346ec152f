"""Standings: ratings with intervals, and beside them all that would make one doubt them.

A rating gap may be a gap of format: so each line says how often replies failed and how, how many wins were the
opponent's error, and what a turn cost; and each table says how much a seat is worth.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

from palaestra.agents.models.disk import replace_text
from palaestra.trainers.derailment import Derailment, listed, merged
from palaestra.trainers.experiments.framework import hardware
from palaestra.trainers.summary import Estimate, clustered_rate, mean_interval
from palaestra.trainers.tournament.config import TableSection, TournamentConfig
from palaestra.trainers.tournament.measures import Measure, measures
from palaestra.trainers.tournament.ratings import RESAMPLES, bootstrapped, comparisons, decided, openskill
from palaestra.trainers.tournament.store import GameRecord, SeatRecord

JOINT = "all tables"


@dataclass(frozen=True, slots=True)
class Line:
    """One entrant at one table, or at all.

    Attributes:
        rating: On the scale of chess, mean 1500, with a 95 % interval over rounds; NaN from too few.
        skill: (mu, sigma) of OpenSkill.
        score: Mean share of points against other entrants, with an interval over rounds.
        seats: Seats held in games that were played; ``failed`` counts games that could not be.
        legal, illegal, unparsable, truncated: Shares of replies.
        forfeits: Share of seats held that ended in the own forfeit.
        substituted: Share of turns in which its action was chosen at random for it.
        wins: Seats that got more than any other entrant's; ``gifts`` the share of these in which another one forfeited,
            or had an action chosen at random for it.
        tokens, prompt_tokens, seconds, cost: A turn.
    """

    entrant: str
    rating: Estimate
    skill: tuple[float, float]
    score: Estimate
    seats: int
    failed: int
    legal: Estimate
    illegal: float
    unparsable: float
    truncated: float
    forfeits: float
    substituted: float
    wins: int
    gifts: float
    tokens: float
    prompt_tokens: float
    seconds: float
    cost: float


@dataclass(frozen=True, slots=True)
class SeatBias:
    """What a seat is worth: mean score of its holders against the others, over rounds in which all sat in it."""

    seat: int
    score: Estimate


@dataclass(frozen=True, slots=True)
class Standing:
    """One table, or all of them together (`JOINT`), best first.

    Attributes:
        decided: For neighbours, whether the first is better at the confidence of the configuration (95 % if it has
            none), whenever one looks.
        errors: What went wrong in games that could not be played, each once.
        derailments: How replies went after messages of others, where there was talk; the largest rise first.
        measures: What the games of the table say of themselves; none for all tables together.
    """

    label: str
    lines: tuple[Line, ...]
    decided: dict[tuple[str, str], bool]
    bias: tuple[SeatBias, ...]
    games: int
    errors: tuple[str, ...]
    derailments: tuple[Derailment, ...] = ()
    measures: tuple[Measure, ...] = ()


def standings(config: TournamentConfig, games: Iterable[GameRecord], *, resamples: int = RESAMPLES) -> list[Standing]:
    """Return the joint standing first (if there is more than one table), then one for each table.

    The order in which games ended does not matter. Without resamples ratings have no intervals, which takes no time.
    """
    games = sorted(games, key=lambda game: (game.round, game.id))
    labels = [config.label(number) for number in range(len(config.tables))]
    weights = {label: table.weight for label, table in zip(labels, config.tables, strict=True)}
    everybody = list(config.entrants)
    found = [_standing(config, JOINT, everybody, games, weights, resamples)] if len(labels) > 1 else []
    for number, (label, table) in enumerate(zip(labels, config.tables, strict=True)):
        own = [game for game in games if game.label == label]
        found.append(_standing(config, label, config.at_table(number), own, None, resamples, table))
    return found


def _standing(
    config: TournamentConfig,
    label: str,
    entrants: list[str],
    games: Sequence[GameRecord],
    weights: dict[str, float] | None,
    resamples: int,
    table: TableSection | None = None,
) -> Standing:
    pairs = comparisons(games, weights)
    ratings = bootstrapped(entrants, pairs, seed=config.seed, resamples=resamples)
    skills = openskill(entrants, games)
    points: dict[str, dict[str, list[float]]] = {name: {} for name in entrants}
    for one in pairs:
        key = f"{one.label}|{one.round}"
        points[one.first].setdefault(key, []).append(one.score)
        points[one.second].setdefault(key, []).append(1 - one.score)
    lines = []
    for name in entrants:
        held = [(game, seat) for game in games for seat in game.seats if seat.entrant == name]
        score = mean_interval([fmean(values) for values in points[name].values()])
        lines.append(_line(name, ratings[name], skills[name], score, held))
    lines.sort(key=lambda line: -line.rating.mean)
    confidence = config.stop.confidence or 0.95
    errors = tuple(dict.fromkeys(game.error for game in games if game.error))
    bias = _bias(games) if weights is None else ()
    order = [line.entrant for line in lines]
    talk = listed(merged(game.talk for game in games))
    told = () if table is None else measures(games, table.rules.of(table.game), together=resamples > 0)
    return Standing(label, tuple(lines), decided(order, pairs, confidence), bias, len(games), errors, talk, told)


def _line(
    name: str,
    rating: Estimate,
    skill: tuple[float, float],
    score: Estimate,
    held: Sequence[tuple[GameRecord, SeatRecord]],
) -> Line:
    played = [(game, seat) for game, seat in held if game.outcome != "failed"]
    seats = [seat for _, seat in played]
    replies = sum(seat.ok + seat.illegal + seat.unparsable + seat.truncated for seat in seats)
    turns = max(1, sum(seat.turns for seat in seats))
    wins = [(game, seat) for game, seat in played if _won(game, seat)]
    gifts = sum(
        any(other.forfeited or other.substituted for other in game.seats if other.entrant != name) for game, _ in wins
    )
    return Line(
        entrant=name,
        rating=rating,
        skill=skill,
        score=score,
        seats=len(seats),
        failed=len(held) - len(played),
        legal=clustered_rate([(seat.ok, seat.ok + seat.illegal + seat.unparsable + seat.truncated) for seat in seats]),
        illegal=sum(seat.illegal for seat in seats) / max(1, replies),
        unparsable=sum(seat.unparsable for seat in seats) / max(1, replies),
        truncated=sum(seat.truncated for seat in seats) / max(1, replies),
        forfeits=sum(seat.forfeited for seat in seats) / max(1, len(seats)),
        substituted=sum(seat.substituted for seat in seats) / turns,
        wins=len(wins),
        gifts=gifts / max(1, len(wins)),
        tokens=sum(seat.tokens for seat in seats) / turns,
        prompt_tokens=sum(seat.prompt_tokens for seat in seats) / turns,
        seconds=sum(seat.seconds for seat in seats) / turns,
        cost=sum(seat.cost for seat in seats) / turns,
    )


def _won(game: GameRecord, seat: SeatRecord) -> bool:
    others = [other.result for other in game.seats if other.entrant != seat.entrant]
    return seat.result is not None and bool(others) and all(one is not None and seat.result > one for one in others)


def _bias(games: Sequence[GameRecord]) -> tuple[SeatBias, ...]:
    """Return the mean score of each seat against the others, each round counting once."""
    found: dict[int, dict[int, list[float]]] = {}
    for game in games:
        results = [seat.result for seat in game.seats]
        if None in results or len(results) < 2:
            continue
        for seat in game.seats:
            scores = [
                0.5 + 0.5 * ((seat.result > other.result) - (seat.result < other.result))
                for other in game.seats
                if other.seat != seat.seat and seat.result is not None and other.result is not None
            ]
            found.setdefault(seat.seat, {}).setdefault(game.round, []).append(fmean(scores))
    return tuple(
        SeatBias(seat, mean_interval([fmean(values) for values in rounds.values()]))
        for seat, rounds in sorted(found.items())
    )


def _rounded(value: float, digits: int) -> float | None:
    """Return a number fit for JSON; None for NaN."""
    return None if math.isnan(value) else round(value, digits)


def save_standings(path: str | Path, config: TournamentConfig, found: Sequence[Standing]) -> None:
    """Write standings as JSON, with the configuration and the hardware, for pages and other programs."""
    data = {
        "config": config.model_dump(mode="json", exclude={"resources", "store"}),
        "hardware": hardware(),
        "standings": [
            {
                "label": standing.label,
                "games": standing.games,
                "lines": [
                    {
                        "entrant": line.entrant,
                        "rating": [_rounded(one, 1) for one in (line.rating.mean, line.rating.low, line.rating.high)],
                        "openskill": [round(value, 3) for value in line.skill],
                        "points": round(line.score.mean, 4),
                        "seats": line.seats,
                        "failed": line.failed,
                        "legal": round(line.legal.mean, 4),
                        "illegal": round(line.illegal, 4),
                        "unparsable": round(line.unparsable, 4),
                        "truncated": round(line.truncated, 4),
                        "forfeits": round(line.forfeits, 4),
                        "substituted": round(line.substituted, 4),
                        "wins": line.wins,
                        "gifts": round(line.gifts, 4),
                        "tokens": round(line.tokens, 2),
                        "prompt_tokens": round(line.prompt_tokens, 2),
                        "seconds": round(line.seconds, 5),
                        "cost": round(line.cost, 8),
                    }
                    for line in standing.lines
                ],
                "decided": [[*pair, sure] for pair, sure in standing.decided.items()],
                "seat_points": [round(seat.score.mean, 4) for seat in standing.bias],
                "errors": list(standing.errors),
                "measures": [
                    [one.name, one.entrant, _rounded(one.value.mean, 4), one.value.n] for one in standing.measures
                ],
                "derailment": [
                    {
                        "speaker": one.speaker,
                        "listener": one.listener,
                        "after": [one.tally.after_failed, one.tally.after],
                        "elsewhere": [one.tally.other_failed, one.tally.other],
                        "rise": None
                        if one.rise is None
                        else [round(value, 4) for value in (one.rise.mean, one.rise.low, one.rise.high)],
                    }
                    for one in standing.derailments
                ],
            }
            for standing in found
        ],
    }
    replace_text(Path(path), json.dumps(data, indent=1) + "\n")
