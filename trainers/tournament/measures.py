"""What games say about themselves, averaged: rates of agreement, efficiency, lies, the judges' consistency.

Every number in a game's result is taken up (`Game.result`): a number or a truth value belongs to the table; a list with
one entry a seat, of numbers or of named numbers, belongs to whoever sat there. Other entries are left out. Of `liars`,
whether two entrants read each other is added, which only many games together say (`trainers.measures.beliefs`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from statistics import fmean
from typing import Any

from palaestra.envs.games.liars import Liars
from palaestra.trainers.measures.beliefs import beliefs
from palaestra.trainers.summary import Estimate, mean_interval
from palaestra.trainers.tournament.store import GameRecord


@dataclass(frozen=True, slots=True)
class Measure:
    """The mean of one number over the games of a table, each round counting once.

    Attributes:
        entrant: Whose it is; empty for the table's own.
    """

    name: str
    entrant: str
    value: Estimate


def measures(games: Iterable[GameRecord]) -> tuple[Measure, ...]:
    """Return the measures of the games of one table, by name, the table's own first."""
    games = list(games)
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for game in games:
        holders = {seat.seat: seat.entrant for seat in game.seats}
        for name, seat, value in numbers(game.details, game.players):
            if seat is None or seat in holders:
                entrant = "" if seat is None else holders[seat]
                found.setdefault((name, entrant), {}).setdefault(game.round, []).append(value)
    return (
        *_stalemates(games),
        *(
            Measure(name, entrant, mean_interval([fmean(values) for values in rounds.values()]))
            for (name, entrant), rounds in sorted(found.items(), key=lambda item: (item[0][1] != "", item[0]))
        ),
    )


def numbers(result: Mapping[str, Any], players: int) -> Iterator[tuple[str, int | None, float]]:
    """Return the numbers in a game's result: name, seat (None for the table's own) and value."""
    for name, value in result.items():
        if isinstance(value, (bool, int, float)):
            yield name, None, float(value)
        elif isinstance(value, list) and len(value) == players:
            yield from _by_seat(name, value)


def _by_seat(name: str, values: Sequence[Any]) -> Iterator[tuple[str, int, float]]:
    if not all(value is None or isinstance(value, (bool, int, float, dict)) for value in values):
        return
    for seat, value in enumerate(values):
        named = value if isinstance(value, dict) else {"": value}
        for part, number in named.items():
            if isinstance(number, (bool, int, float)):
                yield f"{name} {part}".strip(), seat, float(number)


def _stalemates(games: Sequence[GameRecord]) -> Iterator[Measure]:
    """Return, for every pair that met at `liars`, whether it is a stalemate, 1 or 0, and over how many games."""
    pairs: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for game in games:
        names = [seat.entrant for seat in sorted(game.seats, key=lambda seat: seat.seat)]
        if game.game == Liars.id and game.details and len(names) == 2:
            one, other = sorted(names)
            turned = names != [one, other]
            both = {key: game.details[key] for key in ("secrets", "beliefs", "worth")}
            result = {key: value[::-1] for key, value in both.items()} if turned else both
            pairs.setdefault((one, other), []).append(result)
    for (one, other), results in sorted(pairs.items()):
        if len(results) > 1:
            value = float(beliefs(results).stalemate)
            yield Measure(f"stalemate of {one} and {other}", "", Estimate(value, nan, nan, len(results)))
