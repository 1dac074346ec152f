"""Names for the seats inside an environment: ``opponent="random"`` and what other packages add.

This room knows one opponent, ``random``. `palaestra.agents` and third parties register theirs by
`register_opponent`, so that nothing here needs to import them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

from palaestra.envs.errors import OptionError, SeatCountError, UnknownName
from palaestra.envs.seat import RandomSeat, Seat

SeatFactory: TypeAlias = Callable[[], Seat]
Opponent: TypeAlias = str | Seat | SeatFactory

_factories: dict[str, SeatFactory] = {"random": RandomSeat}


def register_opponent(name: str, factory: SeatFactory) -> None:
    """Offer ``opponent=name`` in every bridge; the factory is called once a seat and episode.

    Raises:
        ValueError: The name stands for another opponent.
    """
    if _factories.get(name, factory) is not factory:
        raise ValueError(f"an opponent named {name!r} is registered already; choose another name")
    _factories[name] = factory


def opponent_names() -> list[str]:
    """Return the registered names, sorted."""
    return sorted(_factories)


def seat_of(opponent: Opponent) -> Seat:
    """Return a seat: by name, by calling a factory, or the given seat itself.

    Raises:
        UnknownName: No opponent of that name is registered.
        OptionError: It is neither a name nor a seat nor makes one.
    """
    if isinstance(opponent, str):
        if opponent not in _factories:
            cure = f"Known: {', '.join(opponent_names())}; `import palaestra.agents` registers more."
            raise UnknownName("opponent", opponent, opponent_names(), cure)
        opponent = _factories[opponent]
    made: object = opponent
    if callable(opponent) and (isinstance(opponent, type) or not hasattr(opponent, "act")):
        made = opponent()
    if not hasattr(made, "act"):
        raise OptionError(f"opponent {opponent!r} is no seat: give a name, a seat, or a callable that makes a seat.")
    return made  # type: ignore[return-value]


def seats_of(opponent: Opponent | Mapping[int, Opponent], players: list[int]) -> dict[int, Seat]:
    """Return a seat for each of ``players``: the same kind for all, or as a mapping by player says.

    Raises:
        SeatCountError: The mapping does not name exactly these players.
    """
    if not isinstance(opponent, Mapping):
        return {player: seat_of(opponent) for player in players}
    if sorted(opponent) != players:
        raise SeatCountError(f"opponents are given for players {sorted(opponent)}, but the others are {players}.")
    return {player: seat_of(opponent[player]) for player in players}
