"""The register of games: names to factories, open to third parties.

A game is registered by one call, ``register("my_game", MyGame)``, or without any call by an entry point in the group
``palaestra.games`` whose name is the game's and whose value is its class:

    [project.entry-points."palaestra.games"]
    my_game = "my_package.games:MyGame"

A *family* is a prefix with a resolver, such as ``openspiel/``, that makes games on demand. Factories may be given as
``"module:Class"`` and are then imported at first use. Every registered game is a gymnasium id, too
(`palaestra.envs.bridges.gymnasium`).
"""

from __future__ import annotations

import importlib
import re
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from importlib.metadata import entry_points
from typing import Any, Literal, get_args

from palaestra.envs.errors import UnknownName
from palaestra.envs.game import Game

Visibility = Literal["private", "public", "team", "monitor"]
Factory = Callable[..., Game]

ENTRY_POINT_GROUP = "palaestra.games"
_NAME = re.compile(r"[A-Za-z0-9_.-]+(/[A-Za-z0-9_.-]+)?")


@dataclass(frozen=True)
class GameEntry:
    """A registered game.

    Attributes:
        id: The name it is made by.
        factory: The game class (or a callable with the same arguments), or ``"module:Class"``.
        visibility: Who sees thoughts by default; a match may say otherwise.
        defaults: Options that differ from the game's own defaults.
        version: The game's version, so that it can be listed without being imported.
    """

    id: str
    factory: Factory | str
    visibility: Visibility = "private"
    defaults: Mapping[str, Any] = field(default_factory=dict)
    version: int = 0

    def load(self) -> Factory:
        """Return the factory, importing it if it was given by name."""
        if not isinstance(self.factory, str):
            return self.factory
        module, _, name = self.factory.partition(":")
        factory: Factory = getattr(importlib.import_module(module), name)
        return factory


_games: dict[str, GameEntry] = {}
_families: dict[str, tuple[Callable[[str], GameEntry], Callable[[], list[str]]]] = {}
_listeners: list[Callable[[GameEntry], None]] = []
_plugins_loaded = False


def register(
    id: str,
    factory: Factory | str,
    *,
    visibility: Visibility = "private",
    defaults: Mapping[str, Any] | None = None,
    version: int | None = None,
) -> None:
    """Register a game under a name; a second registration of the same name must be the same game.

    ``version`` need only be given where the factory is given by name and is not at version 0.

    Raises:
        ValueError: The name is taken by another game, or is no name; or the factory is no class of a game.
    """
    if not _NAME.fullmatch(id):
        raise ValueError(f"{id!r} cannot name a game; use letters, digits, '_', '-', '.' and at most one '/'")
    if isinstance(factory, type) and not issubclass(factory, Game):
        raise ValueError(f"{factory.__name__} is no game; give a subclass of palaestra.envs.Game, or a function")
    if visibility not in get_args(Visibility):
        raise ValueError(f"visibility of {id} is {visibility!r}, expected one of {', '.join(get_args(Visibility))}")
    known_version = int(getattr(factory, "version", 0)) if version is None else version
    entry = GameEntry(id, factory, visibility, dict(defaults or {}), known_version)
    if id in _games and _games[id] != entry:
        raise ValueError(f"a game named {id!r} is registered already; choose another name")
    known = _games.get(id)
    _games[id] = entry
    try:
        for listener in _listeners:
            listener(entry)
    except ValueError:  # one refuses the name
        if known is None:
            del _games[id]
        raise


def register_family(prefix: str, resolve: Callable[[str], GameEntry], members: Callable[[], list[str]]) -> None:
    """Register games made on demand.

    Args:
        prefix: Such as ``"openspiel/"``.
        resolve: From a full name to its entry; raises `UnknownName`.
        members: Full names of all games of the family, for lists.
    """
    _families[prefix] = (resolve, members)


def entry(id: str) -> GameEntry:
    """Return the entry of a registered game.

    Raises:
        UnknownName: No such game; the nearest name is offered.
    """
    if id in _games:
        return _games[id]
    for prefix, (resolve, _) in _families.items():
        if id.startswith(prefix):
            return resolve(id)
    _load_plugins()
    if id in _games:
        return _games[id]
    raise UnknownName("game", id, game_ids(), "`palaestra envs` lists them all.")


def visibility_of(id: str) -> Visibility:
    """Return who reads thoughts in a game unless a match says otherwise; ``private`` for one that is not registered."""
    try:
        return entry(id).visibility
    except UnknownName:
        return "private"


def make(id: str, *, seed: int = 0, **options: Any) -> Game:
    """Make a game, ready to play.

    Raises:
        UnknownName: No such game, or no such option.
        OptionError: An option of the wrong type or out of range.

    Example:
        >>> make("tic_tac_toe").players_to_move()
        (0,)
    """
    found = entry(id)
    return found.load()(seed=seed, **{**found.defaults, **options})


def game_ids(*, families: bool = False) -> list[str]:
    """Return the names of all registered games, sorted; with ``families`` also those made on demand."""
    _load_plugins()
    names = sorted(_games)
    if families:
        for _, members in _families.values():
            names += members()
    return sorted(names)


def family_prefixes() -> list[str]:
    """Return the prefixes of games made on demand, such as ``"openspiel/"``."""
    return sorted(_families)


def on_register(listener: Callable[[GameEntry], None]) -> None:
    """Call ``listener`` for every game registered so far and from now on."""
    _listeners.append(listener)
    for known in list(_games.values()):
        listener(known)


def entry_point_names() -> list[str]:
    """Return the names of the games that installed packages offer, without importing them."""
    return [name for name, _ in _entry_points()]


def _load_plugins() -> None:
    """Register what other installed packages offer; a broken one is named in a warning and left out."""
    global _plugins_loaded
    if _plugins_loaded:
        return
    _plugins_loaded = True
    for name, load in _entry_points():
        try:
            register(name, load())
        except Exception as error:  # a third party's import may fail in any way
            warnings.warn(
                f"game {name!r} of an installed package could not be loaded and is left out: {error}", stacklevel=2
            )


def _entry_points() -> Iterator[tuple[str, Callable[[], Factory]]]:
    for point in entry_points(group=ENTRY_POINT_GROUP):
        yield point.name, point.load
