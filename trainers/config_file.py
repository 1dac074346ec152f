"""Configurations in files: read from YAML, overridden by ``a.b=c``, checked, and refused in one sentence.

The kinds of configuration are pydantic models made of `Section`s, whose unknown keys name themselves and the nearest
right one.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, ValidationError

from palaestra.envs.errors import PalaestraError, UnknownName

ConfigT = TypeVar("ConfigT", bound=BaseModel)


class ConfigError(PalaestraError, ValueError):
    """A configuration that cannot be run; the message names the key, what was found and what is allowed."""


class Section(BaseModel):
    """A part of a configuration; a docstring below a field is its description."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, allow_inf_nan=False)


def parse(kind: type[ConfigT], data: Any, source: str = "config") -> ConfigT:
    """Check plain data and return a configuration.

    Raises:
        ConfigError: The first wrong key, with the nearest right one or what was expected.
    """
    try:
        return kind.model_validate(_mapping(data, source))
    except ValidationError as error:
        raise ConfigError(f"{source}: {_sentence(kind, error)}") from None


def _mapping(data: Any, source: str) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        what = "nothing" if data is None else repr(data)[:60]
        raise ConfigError(f"{source} holds {what}, expected keys and values; see configs/ for examples.")
    return dict(data)


NO_YAML = (yaml.YAMLError, ValueError, RecursionError)
"""What the library raises for text that is none; the others for numbers and nesting beyond Python's limits."""


def load(kind: type[ConfigT], path: str | Path, overrides: Iterable[str] = ()) -> ConfigT:
    """Read a YAML file and apply overrides such as ``optimizer.lr=1e-4`` or ``games.0.options.view=terse``.

    Raises:
        ConfigError: The file cannot be read, is no mapping, or has a wrong key or value.
    """
    path = Path(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(f"config file {str(path)!r} does not exist; see configs/ for examples.") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"config file {str(path)!r} cannot be read: {error}") from None
    try:
        found = yaml.safe_load(text)
    except NO_YAML as error:
        raise ConfigError(f"config file {path.name} is no valid YAML: {_short(error)}") from None
    data = _mapping(found, path.name)
    for override in overrides:
        _override(data, override)
    return parse(kind, data, path.name)


def _short(error: Exception) -> str:
    """Return an error on one line, without Python's own advice."""
    return " ".join(str(error).split()).partition("; use sys.")[0]


def _override(data: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not key:
        raise ConfigError(f"--set {override!r} has no value; write it as key.subkey=value.")
    try:
        value = yaml.safe_load(text)
    except NO_YAML:
        raise ConfigError(f"--set {override!r:.80}: {text!r:.80} is no valid YAML; put text in quotes.") from None
    if isinstance(value, str):  # YAML reads 1e-4 as text
        with contextlib.suppress(ValueError):
            value = float(value)
    here: Any = data
    *path, last = key.split(".")
    for step in path:
        if isinstance(here, list):
            if not step.isdigit() or int(step) >= len(here):
                raise ConfigError(f"--set {override!r}: {step!r} is no position in a list of {len(here)}.")
            here = here[int(step)]
        elif isinstance(here, dict):
            here = here.setdefault(step, {})
        else:
            raise ConfigError(f"--set {override!r}: {step!r} stands below a plain value.")
    if isinstance(here, list):
        if not last.isdigit() or int(last) >= len(here):
            raise ConfigError(f"--set {override!r}: {last!r} is no position in a list of {len(here)}.")
        here[int(last)] = value
    elif isinstance(here, dict):
        here[last] = value
    else:
        raise ConfigError(f"--set {override!r}: {last!r} stands below a plain value.")


def _sentence(kind: type[BaseModel], error: ValidationError) -> str:
    """Return the first fault as one sentence, with the nearest key where a key is unknown."""
    fault = error.errors()[0]
    where = ".".join(str(step) for step in fault["loc"])
    if fault["type"] == "extra_forbidden":
        known = _keys_at(kind, fault["loc"][:-1])
        section = ".".join(str(step) for step in fault["loc"][:-1]) or "the top level"
        return str(UnknownName(f"key at {section}:", str(fault["loc"][-1]), known, f"Known keys: {', '.join(known)}."))
    found = "" if fault["type"] == "missing" or not where else f", found {fault['input']!r}"
    message = fault["msg"].removeprefix("Value error, ")
    text = f"{message[0].lower()}{message[1:]}{found if len(found) < 120 else ''}".rstrip(".")
    return f"{where}: {text}." if where else f"{text}."


def _keys_at(kind: type[BaseModel], path: tuple[int | str, ...]) -> list[str]:
    """Return the keys of the section at ``path``."""
    section: Any = kind
    for step in path:
        if not isinstance(step, int):  # a position in a list, whose items `_plain` finds
            section = _plain(section).model_fields[step].annotation
    return list(_plain(section).model_fields)


def _plain(annotation: Any) -> Any:
    """Return the model in an annotation such as ``Section | None``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _plain(part)) is not None), None)
