"""Pairs of clean and corrupt prompts: the standard one of the field, and any from a file.

    ioi     "When Mary and John went to the store, John gave a drink to" -> Mary, not John (Wang et al. 2211.00593), in
            both orders of the names; the corrupt prompt names the other person the second time, so the answer flips

A file holds a JSON object a line: {"clean": …, "corrupt": …, "answer": …, "foil": …}.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from palaestra.envs.seeding import Dice
from palaestra.interp.errors import InterpError
from palaestra.interp.prompts import Pairs

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

NAMES = (
    *("Mary", "John", "Tom", "James", "Alice", "Robert", "Mark", "Paul", "Anna", "Peter", "David", "Sarah"),
    *("Michael", "Laura", "Simon", "Kate", "George", "Emma", "Daniel", "Lisa"),
)
PLACES = ("store", "school", "garden", "station", "park", "office", "beach", "market")
THINGS = ("drink", "book", "ring", "key", "letter", "ball", "phone", "flower")
SENTENCES = (
    "When {one} and {two} went to the {place}, {giver} gave a {thing} to",
    "After {one} and {two} met at the {place}, {giver} handed a {thing} to",
    "Then {one} and {two} were at the {place}, and {giver} passed a {thing} to",
)
TASKS = ("ioi",)


def ioi(opened: OpenModel, count: int, seed: int = 0) -> Pairs:
    """Return pairs of the indirect-object task, of those names that are one token of this model.

    Raises:
        InterpError: Fewer than four names are, so the task is none for this model.
    """
    if opened.codec is None:
        raise InterpError(f"{opened.name} was opened without a tokenizer; the task is made of text.")
    names = [one for one in NAMES if len(opened.codec.encode_untrusted(f" {one}")) == 1]
    if len(names) < 4:
        raise InterpError(f"{opened.name} splits names into several tokens; choose a model of words, such as smollm2.")
    dice = Dice(seed)
    clean, corrupt, answers, foils = [], [], [], []
    for _ in range(count):
        one = dice.choice(names)
        two = dice.choice([name for name in names if name != one])
        given = {"one": one, "two": two, "place": dice.choice(PLACES), "thing": dice.choice(THINGS)}
        sentence = dice.choice(SENTENCES)
        giver = dice.choice([one, two])
        other = two if giver == one else one
        clean.append(sentence.format(**given, giver=giver))
        corrupt.append(sentence.format(**given, giver=other))
        answers.append(f" {other}")
        foils.append(f" {giver}")
    return Pairs.of_text(opened, clean, corrupt, answers, foils)


def from_file(opened: OpenModel, path: Path) -> Pairs:
    """Return the pairs in a file: on each line a JSON object with the texts ``clean`` and ``corrupt`` and the words
    ``answer`` and ``foil``; with ``chat`` true the texts are what a user says, and ``begun`` is what the model has
    replied so far.

    Raises:
        InterpError: It cannot be read, is empty, or a line is no pair; the line is named.
        UnequalTokens: A pair has different numbers of tokens.
    """
    try:
        # JSON may hold other line ends than its own, such as U+2028, inside of a text
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise InterpError(f"{path} cannot be read ({error}); it should hold a JSON object a line.") from None
    rows = []
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
            texts = [row[key] for key in ("clean", "corrupt", "answer", "foil")]
            if strange := [one for one in texts if not isinstance(one, str)]:
                raise TypeError(f"{strange[0]!r} is no text")
            rows.append((*texts, bool(row.get("chat")), str(row.get("begun", ""))))
        except (ValueError, KeyError, TypeError) as error:
            raise InterpError(
                f"{path}, line {number} is no pair ({error}); write an object with clean, corrupt, answer and foil."
            ) from None
    if not rows:
        raise InterpError(f"{path} is empty; give at least one pair.")
    try:
        return Pairs.of_text(opened, *map(list, zip(*rows, strict=True)))
    except InterpError as error:
        raise type(error)(f"{path}: {error}") from None
