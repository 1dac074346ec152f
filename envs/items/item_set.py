"""Item sets: programs, what each of them printed, and wrong outputs that look just as right.

A set is text, a JSON object a line:

    {"id": "loops-1", "kind": "python", "level": 1, "program": "print(6 * 7)", "output": "42",
     "wrong": [{"how": "off_by_one", "output": "43"}]}

``kind`` says who printed it (``python``, ``shell``, or a recorded ``session``), ``level`` is 1 to 3, ``how`` names how
a wrong output came about. A wrong output has the *form* of the right one (`form_of`), so that nobody can tell it by
form alone; a line in which one has not is a fault, as is one that repeats an id, and the rest is read.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal, get_args

from palaestra.envs.errors import NotationError
from palaestra.envs.notation.files import Fault, Reading

Kind = Literal["python", "shell", "session"]
Part = Literal["all", "shown", "held_out"]
How = Literal["other_input", "off_by_one", "stale", "swapped_field"]

LEVELS = (1, 2, 3)
LONGEST_PROGRAM = 1500
LONGEST_OUTPUT = 600
MOST_WRONG = 8
HELD_OUT = 4
"""One program in so many is held out."""


@dataclass(frozen=True, slots=True)
class Wrong:
    """An output that was not printed, and how it came about."""

    how: How
    output: str


@dataclass(frozen=True, slots=True)
class Item:
    """A program, what it printed, and what it might have been said to print. Outputs have no newline at their end."""

    id: str
    kind: Kind
    level: int
    program: str
    output: str
    wrong: tuple[Wrong, ...]

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]{1,60}", self.id, re.ASCII):
            raise ValueError("its id is not made of 1 to 60 letters, digits, '.', '-' and '_'")
        if self.kind not in get_args(Kind):
            raise ValueError(f"its kind is {self.kind!r}, expected one of {', '.join(get_args(Kind))}")
        if self.level not in LEVELS:
            raise ValueError(f"its level is {self.level!r}, expected 1, 2 or 3")
        for what, text, most in (
            ("program", self.program, LONGEST_PROGRAM),
            *(("output", output, LONGEST_OUTPUT) for output in (self.output, *(one.output for one in self.wrong))),
        ):
            if not 1 <= len(text) <= most:
                raise ValueError(f"its {what} has {len(text)} characters, expected 1 to {most}")
            if not printable(text):
                raise ValueError(f"its {what} holds what cannot be printed; leave out control characters")
        if not 1 <= len(self.wrong) <= MOST_WRONG:
            raise ValueError(f"it has {len(self.wrong)} wrong outputs, expected 1 to {MOST_WRONG}")
        for number, one in enumerate(self.wrong, start=1):
            if one.how not in get_args(How):
                known = ", ".join(get_args(How))
                raise ValueError(f"wrong output {number}: how is {one.how!r}, expected one of {known}")
            if one.output == self.output:
                raise ValueError(f"wrong output {number} is the right one")
            if form_of(one.output) != form_of(self.output):
                raise ValueError(f"wrong output {number} has another form than the right one, which gives it away")

    def line(self) -> str:
        """Return the item as a line of a set."""
        return json.dumps(asdict(self), ensure_ascii=False)


def form_of(output: str) -> str:
    """Return an output's form: each run of digits as 0, of letters as a, or A with a capital, all else as it stands.

    What two outputs of one form have in common is the number of lines and fields, their kinds (a name is not a word)
    and the characters between them. How long numbers and words are is not form: a wrong number may have a digit more.
    """
    return re.sub(r"[^\W\d_]+", lambda run: "A" if run[0][0].isupper() else "a", re.sub(r"\d+", "0", output))


def shape_of(output: str) -> str:
    """Return an output's form with the width of its numbers: each digit as 0, the rest as in `form_of`."""
    return form_of(re.sub(r"\d", "0;", output))


def printable(text: str) -> bool:
    """Return whether a text holds nothing but characters that are seen, spaces and line breaks."""
    return all(character == "\n" or character.isprintable() for character in text)


@lru_cache(maxsize=16)
def read_items(text: str) -> Reading[Item]:
    """Return the items of a set, and its lines that are none."""
    items: dict[str, Item] = {}
    faults = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if not line.strip():
            continue
        try:
            item = _item(json.loads(line))
            if item.id in items:
                raise ValueError(f"the id {item.id} is there twice")
            items[item.id] = item
        except (ValueError, RecursionError) as error:
            why = "it is no JSON object" if isinstance(error, json.JSONDecodeError | RecursionError) else str(error)
            faults.append(Fault(number, f"{why[:200]}; mend the line or leave it out"))
    return Reading(tuple(items.values()), tuple(faults))


def _item(data: Any) -> Item:
    keys = {"id", "kind", "level", "program", "output", "wrong"}
    if not isinstance(data, dict) or data.keys() != keys:
        found = ", ".join(map(str, data))[:80] if isinstance(data, dict) else type(data).__name__
        raise ValueError(f"it has {found or 'nothing'}, expected {', '.join(sorted(keys))}")
    for key in ("id", "kind", "program", "output"):
        if not isinstance(data[key], str):
            raise ValueError(f"its {key} is no text")
    wrong = data["wrong"]
    if not isinstance(wrong, list) or not all(
        isinstance(one, dict) and one.keys() == {"how", "output"} and {type(part) for part in one.values()} == {str}
        for one in wrong
    ):
        raise ValueError('its wrong outputs are no list of {"how": ..., "output": ...}')
    if type(data["level"]) is not int:
        raise ValueError("its level is no whole number")
    return Item(**{**data, "wrong": tuple(Wrong(**one) for one in wrong)})


def in_part(program: str, part: Part) -> bool:
    """Return whether a program belongs to a part of all programs, which follows from its text: a quarter is held out,
    the others may be shown in training."""
    if part == "all":
        return True
    number = int.from_bytes(hashlib.blake2b(program.encode(), digest_size=8).digest(), "big")
    return (number % HELD_OUT == 0) == (part == "held_out")


@lru_cache(maxsize=16)
def chosen_items(kind: str, level: int, text: str = "", part: Part = "all") -> tuple[Item, ...]:
    """Return the items of a kind (``mixed``: all), level (0: all) and part, from a set, or from the shipped one.

    Raises:
        NotationError: There are none.
    """
    shipped = "" if text else resources.files("palaestra.envs.items").joinpath("items.jsonl").read_text("utf-8")
    items = read_items(text or shipped).or_warn("item set")
    found = tuple(
        one for one in items if kind in ("mixed", one.kind) and level in (0, one.level) and in_part(one.program, part)
    )
    if not found:
        which = f"kind {kind} and level {level or 'any'}" + ("" if part == "all" else f", part {part}")
        raise NotationError(f"the item set has no items of {which}; choose others.")
    return found
