"""How a game of OpenSpiel is loaded: its parameters as options, its facts, and what cannot be loaded.

Not offered as options: parameters that name files, also in a game within a game, because a replay must hold all it
needs (and a replay from elsewhere must not open files); and ``rng_seed``, because chance is ours.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import lru_cache
from typing import Any, Literal, TypeAlias

import pyspiel

from palaestra.envs.errors import OptionError, PalaestraError
from palaestra.envs.game import GameFacts

Given: TypeAlias = tuple[tuple[str, Any], ...]
"""Parameters that differ from the defaults; the value of a game within a game is still text."""

SPIEL_ERRORS = (pyspiel.SpielError, ArithmeticError, LookupError, MemoryError, RuntimeError, TypeError, ValueError)
"""What pybind11 makes of C++ exceptions."""

_SOURCE = re.compile(r"^\S+\.(?:cc|h):\d+ ")

_RENAMED = {"seed": "game_seed", "game": "inner_game"}

LARGEST = 2000
"""Greatest whole number of an option, unless its default is near it or it is a seed: boards of 100,000 lines, in a
stranger's replay as well, would keep OpenSpiel busy until memory ends, and it cannot be interrupted."""

UNREPEATABLE = {
    "add_noise": "it draws the noise of an ending when it is first reached, so a result depends on games played before",
}
"""Games whose results are not a function of seed and actions, and why."""

_UTILITY: dict[Any, Literal["zero_sum", "constant_sum", "general_sum", "identical"]] = {
    pyspiel.GameType.Utility.ZERO_SUM: "zero_sum",
    pyspiel.GameType.Utility.CONSTANT_SUM: "constant_sum",
    pyspiel.GameType.Utility.GENERAL_SUM: "general_sum",
    pyspiel.GameType.Utility.IDENTICAL: "identical",
}


class UnservedGame(PalaestraError, RuntimeError):
    """A game that OpenSpiel has, but that cannot be played here; the message says why."""


def types() -> dict[str, Any]:
    """Return OpenSpiel's register, by name, as it is now: other packages may add to it."""
    return {kind.short_name: kind for kind in pyspiel.registered_games()}


def option_fields(kind: Any) -> list[tuple[str, Any, Any]]:
    """Return (name, type, default) of a game's options; a game within a game is written ``"tic_tac_toe()"``."""
    return [
        (option_name(name), *_typed(default))
        for name, default in kind.parameter_specification.items()
        if not names_a_file(name) and name != "rng_seed"
    ]


def option_name(parameter: str) -> str:
    """Return the name of the option for a parameter: another where ours is taken, or where it begins with a digit."""
    if parameter in _RENAMED:
        return _RENAMED[parameter]
    return parameter if parameter.isidentifier() else f"_{parameter}"


def names_a_file(parameter: str) -> bool:
    """Return whether a parameter's value is the name of a file."""
    return parameter.endswith(("file", "filename"))


def _typed(default: Any) -> tuple[Any, Any]:
    if isinstance(default, dict):
        return str, pyspiel.game_parameters_to_string(default) if default else ""
    return type(default), default


def given(kind: Any, options: Any) -> Given:
    """Return the parameters that differ from OpenSpiel's defaults, which it knows best itself, and those without."""
    whole = not kind.default_loadable
    named = (
        (name, getattr(options, option_name(name), default), _typed(default)[1])
        for name, default in kind.parameter_specification.items()
    )
    return tuple((name, value) for name, value, default in named if value != default or (whole and value != ""))


def load(kind: Any, given: Given, id: str) -> Any:
    """Return the `pyspiel.Game`; shared where it holds no generator of its own.

    Raises:
        OptionError: OpenSpiel refuses the parameters, or a number is negative or too large to try.
    """
    for name, value in given:
        default = kind.parameter_specification.get(name)
        most = max(LARGEST, 100 * abs(default)) if type(default) is int else LARGEST
        if type(value) is int and "seed" not in name and abs(value) > most:
            raise OptionError(f"options of {id}: {option_name(name)} is {value}; the most that is tried is {most}.")
        if _is_negative(value, default):
            raise OptionError(f"options of {id}: {option_name(name)} is {value}, expected 0 or more.")
    sampled = kind.chance_mode == pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC
    inner = tuple(name for name, default in kind.parameter_specification.items() if isinstance(default, dict))
    try:
        return (_load if sampled else _load_shared)(kind.short_name, given, inner)
    except SPIEL_ERRORS as error:
        raise refused(id, error) from None


def _load(spiel_name: str, given: Given, inner: tuple[str, ...]) -> Any:
    values = dict(given)
    for name in inner:
        if name in values:
            values[name] = pyspiel.game_parameters_from_string(values[name])
            parts = list(_items(values[name]))
            if files := [key for key, _ in parts if names_a_file(key)]:
                raise ValueError(f"{files[0]} names a file, but a replay must hold all it needs")
            if big := [key for key, value in parts if type(value) is int and abs(value) > LARGEST]:
                raise ValueError(f"{big[0]} is more than the {LARGEST} that are tried")
            if negative := [key for key, value in parts if _is_negative(value, _default(values[name], key))]:
                raise ValueError(f"{negative[0]} is negative")
            if refusals := [UNREPEATABLE[value] for key, value in parts if key == "name" and value in UNREPEATABLE]:
                raise ValueError(refusals[0])
    return pyspiel.load_game(spiel_name, values)


_load_shared = lru_cache(maxsize=256)(_load)


def _items(parameters: Mapping[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, value in parameters.items():
        yield name, value
        if isinstance(value, Mapping):
            yield from _items(value)


def _is_negative(value: Any, default: Any) -> bool:
    """Return whether a count or size is negative; some games go on with it and corrupt the memory of the process."""
    return type(value) is int and type(default) is int and value < 0 <= default


def _default(parameters: Mapping[str, Any], key: str) -> Any:
    """Return OpenSpiel's default of a parameter of a game within a game, at any depth; None if it has none."""
    inner = [value for value in parameters.values() if isinstance(value, Mapping)]
    known = {kind.short_name: kind.parameter_specification for kind in pyspiel.registered_games()}
    found = known.get(parameters.get("name", ""), {}).get(key)
    deeper = (_default(part, key) for part in inner)
    return found if found is not None else next((one for one in deeper if one is not None), None)


def refused(id: str, error: Exception) -> OptionError:
    """Return what OpenSpiel said about the options, without the place in its source."""
    said = " ".join(str(error).split())
    return OptionError(f"options of {id}: OpenSpiel refuses them: {_SOURCE.sub('', said)}")


def unfit(kind: Any, seeded: bool) -> str | None:
    """Return why games of this type cannot be played; None if they can."""
    if kind.dynamics == pyspiel.GameType.Dynamics.MEAN_FIELD:
        return "a mean-field game moves the distribution of a whole population, which no seat can play"
    if kind.chance_mode == pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC and not seeded:
        return "it samples chance by a generator that takes no seed, so no game could be repeated"
    perfect = kind.information != pyspiel.GameType.Information.IMPERFECT_INFORMATION
    if not (perfect or kind.provides_information_state_string or kind.provides_observation_string):
        return "it shows players tensors only, and what they may know is not to be had as text"
    return None


def facts(spiel: Any, max_observation_chars: int) -> GameFacts:
    """Return the facts as OpenSpiel has them. Its longest game counts a simultaneous choice once."""
    kind, players = spiel.get_type(), spiel.num_players()
    simultaneous = kind.dynamics == pyspiel.GameType.Dynamics.SIMULTANEOUS
    imperfect = kind.information == pyspiel.GameType.Information.IMPERFECT_INFORMATION
    return GameFacts(
        players=players,
        min_return=spiel.min_utility(),
        max_return=spiel.max_utility(),
        max_turns=spiel.max_game_length() * (players if simultaneous else 1),
        max_observation_chars=max_observation_chars,
        roles=tuple(f"player {player + 1}" for player in range(players)),
        simultaneous=simultaneous,
        chance=kind.chance_mode != pyspiel.GameType.ChanceMode.DETERMINISTIC,
        information="imperfect" if imperfect else "perfect",
        utility=_UTILITY[kind.utility],
    )
