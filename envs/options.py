"""Typed options: a game declares them as a frozen dataclass, and everything from outside is checked against it.

Values come from Python, from YAML and from the command line, so text is converted to the declared type where that is
unambiguous (``"9"`` for an int, ``"true"`` for a bool, ``"1,2"`` for a tuple, ``""`` for an empty one). Range checks
belong in ``__post_init__``. Numbers are finite: JSON, and so a replay, has no others.
"""

from __future__ import annotations

import dataclasses
import difflib
import inspect
import math
import re
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Any, Literal, TypeVar, Union

from palaestra.envs.errors import OptionError, UnknownName

OptionsT = TypeVar("OptionsT")
_EXPLAINED = re.compile(r"(?P<names>\w+(?:, \w+)*): (?P<words>.*)")


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """The options of a game that has none."""


def parse_options(cls: type[OptionsT], given: Mapping[str, Any], owner: str) -> OptionsT:
    """Build ``cls`` from ``given``, converting text and naming what does not fit.

    Raises:
        UnknownName: A key that ``cls`` does not declare.
        OptionError: A value of another type, or one refused by ``cls.__post_init__``.
    """
    if not given:
        return cls()
    hints = _hints(cls)  # type: ignore[arg-type]
    names = [field.name for field in dataclasses.fields(cls)]  # type: ignore[arg-type]
    values = {}
    for name, value in given.items():
        if name not in names:
            cure = f"{owner} has the options {', '.join(names)}." if names else f"{owner} has no options."
            raise UnknownName(f"option of {owner}", name, names, cure)
        try:
            values[name] = _convert(hints[name], value)
        except OptionError as error:
            raise OptionError(f"option {name!r} of {owner}: {error}") from None
        except (KeyError, TypeError, ValueError, OverflowError):
            raise OptionError(_refusal(name, owner, value, hints[name])) from None
    try:
        return cls(**values)
    except (TypeError, ValueError) as error:
        raise OptionError(f"options of {owner}: {error}") from None


WORDS = {
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    str: "text",
    dict: 'keys with values, such as {"key": 1}',
}


def _wanted(kind: Any) -> str:
    """Return a declared type in words."""
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is Literal:
        return f"one of {', '.join(map(str, args))}" if len(args) > 1 else str(args[0])
    if origin in (Union, types.UnionType):
        return " or ".join("none" if arm is type(None) else _wanted(arm) for arm in args)
    if origin is tuple:
        if len(args) == 2 and args[1] is Ellipsis:
            return f"a list, each {_wanted(args[0])}"
        return f"{len(args)} values: {', '.join(map(_wanted, args))}"
    return WORDS.get(origin or kind, getattr(kind, "__name__", str(kind)))


def _refusal(name: str, owner: str, value: Any, kind: Any) -> str:
    """Return what is wrong with a value, with the nearest choice where there are choices."""
    choices = [str(arm) for arm in typing.get_args(kind)] if typing.get_origin(kind) is Literal else []
    near = difflib.get_close_matches(str(value), choices, n=1, cutoff=0.55)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"option {name!r} of {owner} is {value!r}, expected {_wanted(kind)}.{hint}"


def explained(cls: type) -> dict[str, str]:
    """Return what the docstrings of an options class and of those it inherits from say of each field, in the order of
    the fields; a line such as ``least, most: Bounds.`` is said of both."""
    said: dict[str, str] = {}
    for one in reversed(cls.__mro__):
        doc = inspect.cleandoc(vars(one).get("__doc__") or "")
        name: list[str] = []
        for line in inspect.cleandoc(doc.partition("Attributes:\n")[2]).splitlines():
            if line[:1].isalpha() and (found := _EXPLAINED.match(line)):
                name = found["names"].split(", ")
                said.update(dict.fromkeys(name, found["words"]))
            elif line.startswith(" "):
                said.update({each: f"{said[each]} {line.strip()}" for each in name})
            else:
                break
    return {field.name: said[field.name] for field in dataclasses.fields(cls) if field.name in said}


@cache
def _hints(cls: type) -> dict[str, Any]:
    """Return the declared types by field, once a class: resolving them takes longer than a turn of a small game."""
    return typing.get_type_hints(cls)


RESERVED = ("seed", "id", "self")


def refuse_reserved(options: Mapping[str, Any], owner: str) -> None:
    """Raise OptionError for what stands beside the options of a game and not among them."""
    for name in RESERVED:
        if name in options:
            cure = "a seed is given beside the options" if name == "seed" else "leave it out"
            raise OptionError(f"{name!r} is no option of {owner}; {cure}.")


def within(options: Any, **bounds: tuple[float, float]) -> None:
    """Raise ValueError for the first option outside its (least, most); for use in ``__post_init__``."""
    for name, (least, most) in bounds.items():
        if not least <= (value := getattr(options, name)) <= most:
            low, high = (str(one) if isinstance(one, int) else f"{one:g}" for one in (least, most))
            raise ValueError(f"{name} is {value}, expected {low} to {high}")


def options_to_json(options: Any) -> dict[str, Any]:
    """Return an options dataclass as plain JSON data."""
    return {key: _plain(value) for key, value in dataclasses.asdict(options).items()}


def _plain(value: Any) -> Any:
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    return value


def _convert(kind: Any, value: Any) -> Any:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if kind is Any:
        return value
    if origin is Literal:
        for choice in args:
            if value == choice and type(value) is type(choice):
                return choice
            if isinstance(value, str) and value == str(choice):
                return choice
        raise ValueError
    if origin in (Union, types.UnionType):
        if value is None and type(None) in args:
            return None
        if value in ("none", "null") and type(None) in args and str not in args:
            return None
        for arm in args:
            if arm is not type(None):
                try:
                    return _convert(arm, value)
                except (KeyError, TypeError, ValueError, OverflowError):
                    continue
        raise ValueError
    if origin is tuple:
        items = [item.strip() for item in value.split(",")] if isinstance(value, str) else list(value)
        if len(args) == 2 and args[1] is Ellipsis:
            items = [] if value == "" else items
            return tuple(_convert(args[0], item) for item in items)
        if len(items) != len(args):
            raise ValueError
        return tuple(_convert(arm, item) for arm, item in zip(args, items, strict=True))
    if origin in (dict, Mapping) or kind is dict:
        return {str(key): item for key, item in dict(value).items()}
    if kind is bool:
        if isinstance(value, bool):
            return value
        return {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}[str(value).lower()]
    if kind in (int, float):
        if isinstance(value, bool) or (kind is int and isinstance(value, float) and value != int(value)):
            raise ValueError
        number = kind(value)
        if not math.isfinite(number):
            raise ValueError
        return number
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return value if isinstance(value, kind) else parse_options(kind, value, kind.__name__)
    if kind is str:
        if not isinstance(value, str):
            raise ValueError
        return value
    raise TypeError(f"options cannot be of type {kind}")
