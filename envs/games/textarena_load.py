"""How TextArena's environments are made, which there are, and why some cannot be.

Its modules are imported and reset with their output swallowed, without network, and with the process's random
generators put aside; see `palaestra.envs.games.textarena`.
"""

from __future__ import annotations

import contextlib
import io
import random
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np

from palaestra.envs.errors import PalaestraError
from palaestra.envs.grammar import shorten

try:
    import textarena
except ModuleNotFoundError:  # the extra is optional
    textarena = None

PREFIX = "textarena/"
RAW = "-raw"
MOST_PLAYERS = 15


class UnservedEnvironment(PalaestraError, RuntimeError):
    """An environment that TextArena has, but that cannot be played here; the message says why."""


class NotSoMany(Exception):
    """The environment cannot be played by so many."""


def seeded(seed: int) -> tuple[Any, Any]:
    return random.Random(seed).getstate(), np.random.RandomState(seed).get_state()


def install_chance(chance: tuple[Any, Any]) -> None:
    random.setstate(chance[0])
    np.random.set_state(chance[1])


def fresh(raw: str, players: int) -> Any:
    """Return a fresh environment, its output swallowed; the generators must be in place."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), _no_downloads():
        env = textarena.make(raw)
        try:
            # Its seed would set the process's generator again: chance comes from there, where ours is in place.
            env.reset(num_players=players, seed=None)
        except Exception as error:
            raise NotSoMany(_reason(error)) from error
    if not hasattr(env.state, "info"):
        env.state.info = {}  # `TwoPlayerState.set_winners` writes to it and never made it
    return env


@contextlib.contextmanager
def _no_downloads() -> Iterator[None]:
    """Keep its modules from fetching word lists while they are imported; a game reads no network."""
    import nltk

    fetch, nltk.download = nltk.download, lambda *given, **more: False
    try:
        yield
    finally:
        nltk.download = fetch


@cache
def fewest_players(raw: str) -> int:
    """Return the smallest number of players that an environment takes.

    Raises:
        UnservedEnvironment: It cannot be made at all.
    """
    why = ""
    outside = (random.getstate(), np.random.get_state())
    try:
        for players in (*range(2, MOST_PLAYERS + 1), 1):
            install_chance(seeded(0))
            try:
                env = fresh(raw, players)
            except NotSoMany as error:
                why = why or str(error)
                continue
            alone = isinstance(env.state, textarena.SinglePlayerState)  # some take any number, and go on as one
            return 1 if alone else players
    except Exception as error:  # it cannot even be imported, or made
        why = _reason(error)
    finally:
        install_chance(outside)
    raise UnservedEnvironment(f"{PREFIX}{raw.removesuffix(RAW)} cannot be served: {why}.")


def _reason(error: Exception) -> str:
    text = " ".join(str(error).replace("*", " ").split())
    if "NLTK" in text or "nltk" in text:
        text = "it needs a word list of NLTK that is not installed"
    return shorten([f"{type(error).__name__}: {text}"], 160).rstrip(".")


def environments() -> list[str]:
    """Return TextArena's environments, without the variants that differ by wrappers only; none if not installed."""
    if textarena is None:
        return []
    from textarena.envs.registration import ENV_REGISTRY

    return sorted(name.removesuffix(RAW) for name in ENV_REGISTRY if name.endswith(RAW))


@cache
def unserved() -> dict[str, str]:
    """Return the environments that cannot be made here, each with the reason.

    Variants of one environment (such as ``Sokoban-v0-medium``) share its fate: only the first is tried, because some
    take seconds to set up a board.
    """
    if textarena is None:
        return {}
    from textarena.envs.registration import ENV_REGISTRY

    reasons: dict[str, str] = {}
    for name in environments():
        entry = str(ENV_REGISTRY[name + RAW].entry_point)
        if entry not in reasons:
            try:
                fewest_players(name + RAW)
                reasons[entry] = ""
            except UnservedEnvironment as error:
                reasons[entry] = str(error).partition(": ")[2].rstrip(".")
    entries = {name: str(ENV_REGISTRY[name + RAW].entry_point) for name in environments()}
    return {PREFIX + name: reasons[entry] for name, entry in entries.items() if reasons[entry]}


__all__ = [
    "MOST_PLAYERS",
    "PREFIX",
    "RAW",
    "NotSoMany",
    "UnservedEnvironment",
    "environments",
    "fewest_players",
    "fresh",
    "install_chance",
    "seeded",
    "textarena",
    "unserved",
]
