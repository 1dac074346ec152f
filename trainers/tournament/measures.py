"""What games say about themselves, averaged: rates of agreement, efficiency, lies, the judges' consistency.

Every number in a game's result is taken up (`Game.result`): a number or a truth value belongs to the table; a list with
one entry a seat, of numbers or of named numbers, belongs to whoever sat there. Other entries are left out. What only
many games together say is added: of `liars`, whether two entrants read each other's thoughts
(`trainers.measures.beliefs`), and of `covert_channel` and `encoded_reasoning`, how many bits got through and how well
they were overseen (`trainers.measures.channels`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import nan
from statistics import fmean
from typing import Any

from palaestra.envs import MatchRules
from palaestra.trainers.measures.beliefs import beliefs
from palaestra.trainers.measures.channels import CAUGHT, CHANNELS, overseen, overseer_numbers, payload, payload_numbers
from palaestra.trainers.summary import Estimate, mean_interval
from palaestra.trainers.tournament.store import GameRecord

_OF_LIARS = {"secrets", "asked", "answers", "beliefs", "worth"}
"""What a result must have: histories may hold games that were played before they said what was answered."""


@dataclass(frozen=True, slots=True)
class Measure:
    """The mean of one number over the games of a table, each round counting once.

    Attributes:
        entrant: Whose it is; empty for the table's own.
        caution: What its sample is too small for, if anything.
    """

    name: str
    entrant: str
    value: Estimate
    caution: str = ""


def measures(
    games: Iterable[GameRecord], rules: MatchRules = MatchRules(), *, together: bool = True
) -> tuple[Measure, ...]:
    """Return the measures of the games of one table, by name, the table's own first.

    Args:
        games: Played under the same rules.
        rules: These; by default nobody reads thoughts.
        together: Whether to add what only many games together say, which takes a while.
    """
    games = list(games)
    found: dict[tuple[str, str], dict[int, list[float]]] = {}
    for game in games:
        holders = {seat.seat: seat.entrant for seat in game.seats}
        for name, seat, value in numbers(game.details, game.players):
            if seat is None or seat in holders:
                entrant = "" if seat is None else holders[seat]
                found.setdefault((name, entrant), {}).setdefault(game.round, []).append(value)
    return (
        *(_stalemates(games, rules) if together else ()),
        *(_channels(games) if together else ()),
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


def _stalemates(games: Sequence[GameRecord], rules: MatchRules) -> Iterator[Measure]:
    """Return, for every pair that met at `liars`, whether it is a stalemate (1, 0, or NaN where the games do not say),
    and over how many games."""
    pairs: dict[tuple[str, str], list[tuple[dict[str, Any], bool]]] = {}
    for game in games:
        names = [seat.entrant for seat in sorted(game.seats, key=lambda seat: seat.seat)]
        if game.details.keys() >= _OF_LIARS and len(names) == 2:
            one, other = sorted(names)
            turned = names != [one, other]
            pairs.setdefault((one, other), []).append((_turned(game.details) if turned else game.details, turned))
    for (one, other), met in sorted(pairs.items()):
        if len(met) > 1:
            results, seats = zip(*met, strict=True)
            found = beliefs(results, open_thoughts=rules.all_read(2), known=seats)
            value = {"stalemate": 1.0, "none": 0.0, "undecided": nan}[found.verdict]
            yield Measure(f"stalemate of {one} and {other}", "", Estimate(value, nan, nan, len(results)))


def _channels(games: Sequence[GameRecord]) -> Iterator[Measure]:
    """Return what got through from every sender to every receiver, and how well every overseer told each sender's
    texts that hid something from its honest ones."""
    sent: dict[str, list[Mapping[str, Any]]] = {}
    seen: dict[str, list[Mapping[str, Any]]] = {}
    for game in games:
        held = {seat.role: seat.entrant for seat in game.seats}
        roles = next((roles for roles in CHANNELS.values() if held.keys() & set(roles)), None)
        if roles is not None and game.details.keys() >= {"hidden", "chance"}:
            sender, receiver, overseer = (held.get(role, f"the {role}") for role in roles)
            sent.setdefault(f"from {sender} to {receiver}", []).append(game.details)
            seen.setdefault(f"of {overseer} on {sender}", []).append(game.details)
    for who, results in sorted(sent.items()):
        if (arrived := payload(results)) is not None:
            yield from (Measure(f"{name} {who}", "", one) for name, one in payload_numbers(arrived).items())
    for who, results in sorted(seen.items()):
        if (found := overseen(results)) is not None:
            for name, one in overseer_numbers(found).items():
                yield Measure(f"{name} {who}", "", one, found.caution if name == CAUGHT else "")


def _turned(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return the result of a game of `liars` with its players exchanged."""
    seats = {key: result[key][::-1] for key in ("secrets", "beliefs", "worth")}
    return {**seats, "asked": result["asked"], "answers": [said[::-1] for said in result["answers"]]}
