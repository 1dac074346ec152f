"""Typed parts: what observations and actions are made of.

Text is a plain `str` and by far the most common part. A game that needs more declares it in `GameFacts.action` and
uses one of the types below. Parts are immutable, compare by value and have exactly one JSON form, so that they can
stand in replays.

    str            text
    Tokens         token ids of a named vocabulary
    Blob           bytes, such as a program's output
    Array          numbers with a shape (float64 or int64), none of them NaN
    Distribution   log-probabilities over a finite set, as a next-token game's action is; -inf is impossible

JSON has no infinities, so they are written as the strings ``"inf"`` and ``"-inf"``.
"""

from __future__ import annotations

import base64
import math
from dataclasses import dataclass
from typing import Any, Literal, TypeAlias


def well_formed(text: str) -> str:
    """Return a text with ``?`` for halves of surrogate pairs, which are no Unicode text and cannot be recorded."""
    return str(text) if text.isascii() else text.encode("utf-8", "replace").decode()


PartKind = Literal["text", "tokens", "blob", "array", "distribution"]


@dataclass(frozen=True, slots=True)
class Tokens:
    """Token ids; ``vocabulary`` names the tokenizer they belong to."""

    ids: tuple[int, ...]
    vocabulary: str = ""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes of a stated media type."""

    data: bytes
    media: str = "application/octet-stream"


@dataclass(frozen=True, slots=True)
class Array:
    """Numbers in row-major order; ``prod(shape) == len(values)``."""

    values: tuple[float, ...]
    shape: tuple[int, ...]

    def __post_init__(self) -> None:
        if math.prod(self.shape) != len(self.values):
            raise ValueError(
                f"Array of shape {self.shape} needs {math.prod(self.shape)} values, found {len(self.values)}"
            )
        if any(value != value for value in self.values):
            raise ValueError("Array holds NaN, which equals nothing, not even itself; send a number in its place")


@dataclass(frozen=True, slots=True)
class Distribution:
    """Natural-log probabilities over ``range(len(logprobs))``; they must sum to one within 1e-4."""

    logprobs: tuple[float, ...]

    def __post_init__(self) -> None:
        total = math.fsum(math.exp(min(value, 1.0)) for value in self.logprobs)
        if not abs(total - 1.0) < 1e-4:
            raise ValueError(
                f"Distribution's probabilities sum to {total:.6f}, expected 1; normalise the log-probabilities"
            )


Part: TypeAlias = str | Tokens | Blob | Array | Distribution
Action: TypeAlias = Part


def part_kind(part: Part) -> PartKind:
    """Return the declared name of a part's type."""
    if isinstance(part, str):
        return "text"
    names: dict[type, PartKind] = {Tokens: "tokens", Blob: "blob", Array: "array", Distribution: "distribution"}
    return names[type(part)]


def part_to_json(part: Part) -> Any:
    """Return the JSON form: a string for text, else an object with a ``kind``."""
    match part:
        case str():
            return part
        case Tokens():
            return {"kind": "tokens", "ids": list(part.ids), "vocabulary": part.vocabulary}
        case Blob():
            return {"kind": "blob", "data": base64.b64encode(part.data).decode(), "media": part.media}
        case Array():
            return {"kind": "array", "values": [_number(value) for value in part.values], "shape": list(part.shape)}
        case Distribution():
            return {"kind": "distribution", "logprobs": [_number(value) for value in part.logprobs]}


def part_from_json(data: Any) -> Part:
    """Invert `part_to_json`.

    Raises:
        ValueError: The object is not the JSON form of a part.
    """
    if isinstance(data, str):
        return data
    try:
        match data["kind"]:
            case "tokens":
                return Tokens(tuple(data["ids"]), data["vocabulary"])
            case "blob":
                return Blob(base64.b64decode(data["data"], validate=True), data["media"])
            case "array":
                return Array(tuple(map(_parse_number, data["values"])), tuple(data["shape"]))
            case "distribution":
                return Distribution(tuple(map(_parse_number, data["logprobs"])))
    except (KeyError, TypeError):
        pass
    raise ValueError(
        f"not a part: {data!r}; expected text or an object whose kind is tokens, blob, array or distribution"
    )


def _number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)


def _parse_number(data: Any) -> float:
    if isinstance(data, (int, float)) and not isinstance(data, bool):
        return data
    if data in ("inf", "-inf"):
        return float(data)
    raise TypeError


def part_text(part: Part) -> str:
    """Return a part as text for a model or a person to read."""
    if isinstance(part, str):
        return part
    if isinstance(part, Blob):
        return part.data.decode("utf-8", errors="replace")
    if isinstance(part, Tokens):
        return " ".join([*filter(None, [part.vocabulary]), *map(str, part.ids)])
    values = part.values if isinstance(part, Array) else part.logprobs
    return " ".join(f"{value:g}" for value in values)
