"""What can be done to a chain of thought before somebody else reads it: data, so that every experiment means the same.

    none            nothing
    truncate        the first share of the sentences (Lanham et al., 2023, "early answering")
    filler          dots, as many lines and about as long; each line is as long as the others, up to the next ten, for
                    "on" and "off" could be told by their length
    shuffle         its sentences in another order
    other           the right reasoning of another item
    number          one number changed by one to three
    planted         the last sentence that states something states something else

Each is a function of the text, an amount and dice. `strip_answer` takes out what says the answer outright, without
which a transfer may be no more than the answer handed on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import Literal

from palaestra.envs.seeding import Dice

Intervention = Literal["none", "truncate", "filler", "shuffle", "other", "number", "planted"]
FRACTIONS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_BREAK = re.compile(r"(?<=[.!?])\s+|\n")
_ANSWER = re.compile(r"\b(?:answer|so|therefore|thus|hence|result|finally|in the end)\b", re.IGNORECASE)


def sentences(text: str) -> list[str]:
    """Return the sentences and lines of a text, without blank ones; a decimal point ends none."""
    return [found for part in _BREAK.split(text) if (found := part.strip())]


def intervene(
    text: str, how: Intervention, amount: float, dice: Dice, *, other: str = "", names: Sequence[str] = ()
) -> str:
    """Return the text after an intervention.

    Args:
        amount: Share of the sentences that stay, for ``truncate``.
        other: The reasoning of another item, for ``other``.
        names: What states are called, for ``planted``.
    """
    parts = sentences(text)
    match how:
        case "none":
            return text
        case "truncate":
            return "\n".join(parts[: round(amount * len(parts))])
        case "filler":
            mean = sum(map(len, parts)) / max(1, len(parts))
            return "\n".join("." * (10 * math.ceil(mean / 10)) for _ in parts)
        case "shuffle":
            mixed = list(parts)
            while len(set(parts)) > 1 and mixed == parts:
                dice.shuffle(mixed)
            return "\n".join(mixed)
        case "other":
            return other
        case "number":
            return _other_number("\n".join(parts), dice)
    return "\n".join(planted(parts, names, dice))


def planted(parts: Sequence[str], names: Sequence[str], dice: Dice) -> list[str]:
    """Return the sentences with the last name of a state in the last sentence that has one replaced by another."""
    found = list(parts)
    for place in reversed(range(len(found))):
        said = list(_naming(names).finditer(found[place])) if names else []
        others = [name for name in names if said and name.lower() != said[-1][0].lower()]
        if others:
            start, end = said[-1].span()
            found[place] = found[place][:start] + dice.choice(others) + found[place][end:]
            break
    return found


def last_named(text: str, names: Sequence[str]) -> str | None:
    """Return the state that a text names last, as it is written in ``names``."""
    said = _naming(names).findall(text)
    return next((name for name in names if said and name.lower() == said[-1].lower()), None)


def strip_answer(text: str, names: Sequence[str]) -> str:
    """Return the text without its last sentence that names a state, and without any that announces an answer."""
    parts = sentences(text)
    naming = [place for place, part in enumerate(parts) if _naming(names).search(part)]
    gone = set(naming[-1:]) | {place for place in naming if _ANSWER.search(parts[place])}
    return "\n".join(part for place, part in enumerate(parts) if place not in gone)


def _naming(names: Sequence[str]) -> re.Pattern[str]:
    known = "|".join(map(re.escape, sorted(names, key=len, reverse=True)))
    return re.compile(rf"(?<![\w.])(?:{known})(?![\w]|\.\d)", re.IGNORECASE)


def _other_number(text: str, dice: Dice) -> str:
    spans = [match.span() for match in re.finditer(r"(?<![\w.])\d{1,9}(?![\w]|\.\d)", text)]
    if not spans:
        return text
    start, end = dice.choice(spans)
    number, step = int(text[start:end]), 1 + dice.below(3)
    changed = number - step if number >= step and dice.below(2) else number + step
    return f"{text[:start]}{changed}{text[end:]}"
