"""Gymnasium ids: every registered game is ``palaestra/NameInCamelCase-vN``, N being the game's version.

``register_ids`` runs when `palaestra.envs` is imported and follows all later registrations. Ids name their
environment as a string, so nothing is imported before ``gymnasium.make``. ``palaestra/Game-v0`` makes any game by its
registered name, those made on demand included: ``gymnasium.make("palaestra/Game-v0", game="openspiel/leduc_poker")``.

A game that an installed package offers by an entry point gets its id without being imported, too; its version is then
unknown and taken to be 0, and making it says so if that is wrong.
"""

from __future__ import annotations

import re
import warnings

import gymnasium

from palaestra.envs import registry

NAMESPACE = "palaestra"
ENTRY_POINT = "palaestra.envs.bridges.gymnasium:SeatEnv"
IN_NUMBERS = {"next_token": "palaestra.envs.bridges.next_token:NextTokenEnv"}
"""Games whose environment of their own speaks in arrays."""


def gymnasium_id(game: str, version: int) -> str:
    """Return the gymnasium id of a game, such as ``"palaestra/TicTacToe-v0"``."""
    name = "".join(part[:1].upper() + part[1:] for part in re.split(r"[^0-9A-Za-z]+", game))
    return f"{NAMESPACE}/{name}-v{version}"


def register_ids() -> None:
    """Give every game registered now or later its gymnasium id."""
    if f"{NAMESPACE}/Game-v0" not in gymnasium.registry:
        gymnasium.register(f"{NAMESPACE}/Game-v0", ENTRY_POINT)
    registry.on_register(_register)
    for name in registry.entry_point_names():
        try:
            _offer(name, 0)
        except ValueError as error:  # a stranger's package must not keep everything from being imported
            warnings.warn(f"game {name!r} of an installed package has no gymnasium id: {error}", stacklevel=2)


def _register(entry: registry.GameEntry) -> None:
    _offer(entry.id, entry.version)


def _offer(game: str, version: int) -> None:
    id = gymnasium_id(game, version)
    known = gymnasium.registry.get(id)
    if known is None:
        gymnasium.register(id, IN_NUMBERS.get(game, ENTRY_POINT), kwargs={"game": game, "version": version})
    elif known.kwargs.get("game") != game:
        raise ValueError(f"games {game!r} and {known.kwargs.get('game')!r} would share the gymnasium id {id!r}")
