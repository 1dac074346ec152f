"""What games say about themselves, averaged: rates of agreement, efficiency, lies, the judges' consistency.

Every number in a game's result is taken up (`Game.result`): a number or a truth value belongs to the table; a list with
one entry a seat, of numbers or of named numbers, belongs to whoever sat there. Other entries are left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

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
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for game in games:
        for name, entrant, value in _numbers(game):
            found.setdefault((name, entrant), {}).setdefault(game.round, []).append(value)
    return tuple(
        Measure(name, entrant, mean_interval([fmean(values) for values in rounds.values()]))
        for (name, entrant), rounds in sorted(found.items(), key=lambda item: (item[0][1] != "", item[0]))
    )


def _numbers(game: GameRecord) -> Iterator[tuple[str, str, float]]:
    for name, value in game.details.items():
        if isinstance(value, (bool, int, float)):
            yield name, "", float(value)
        elif isinstance(value, list) and len(value) == game.players:
            yield from _by_seat(game, name, value)


def _by_seat(game: GameRecord, name: str, values: Sequence[Any]) -> Iterator[tuple[str, str, float]]:
    if not all(value is None or isinstance(value, (bool, int, float, dict)) for value in values):
        return
    for seat in game.seats:
        value = values[seat.seat]
        named = value if isinstance(value, dict) else {"": value}
        for part, number in named.items():
            if isinstance(number, (bool, int, float)):
                yield f"{name} {part}".strip(), seat.entrant, float(number)
