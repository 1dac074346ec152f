"""Probabilities as players state them: read without guessing, refused with the cure, written in one form.

    0.3   .3   30%   30 %   3/10   1e-3   "I say 0.3."   "probability: 0.3"

One number must stand in the text, or the last one after ``probability``, ``p`` or ``answer``. Numbers outside 0 to 1
are *illegal* (30 may mean 30%, or nothing); words such as "very likely" are *unparsable*: what is not a number is never
scored as one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.grammar import shorten
from palaestra.envs.seeding import Dice

DIGITS = 4
"""Digits after the point that count."""

_NUMBER = (
    r"(?<![\w.])[-+]?(?:\d{1,9}(?:\.\d{1,12})?|\.\d{1,12})(?:e[-+]?\d{1,2})?"
    r"(?:\s*/\s*\d{1,9}|\s*%)?(?![\w%/]|\.\d)"
)
_ANY = re.compile(_NUMBER, re.IGNORECASE | re.ASCII)
_NAMED = re.compile(rf"\b(?:probability|prob|p|answer)\b\s*(?:is|of|=|:)*\s*({_NUMBER})", re.IGNORECASE | re.ASCII)


def read_probability(text: str) -> str:
    """Return the probability that a text states, in its canonical form.

    Raises:
        UnparsableAction: No number, or several of which none is named.
        IllegalAction: A number that is no probability.
    """
    named = _NAMED.findall(text)
    found = named[-1:] or list(dict.fromkeys(_ANY.findall(text)))
    if len(found) != 1:
        what = "no number" if not found else f"the numbers {', '.join(found[:4])}"
        raise UnparsableAction(f"found {what} in {shorten([text], 60)!r}; answer with one probability, such as 0.3.")
    value = _value(found[0])
    if not 0 <= value <= 1:
        raise IllegalAction(f"{found[0]} is no probability; write a number from 0 to 1, or a percentage such as 30%.")
    return write_probability(value)


def write_probability(value: float) -> str:
    """Return a probability in its canonical form, such as ``0.25``, rounded to `DIGITS`."""
    return f"{round(value, DIGITS) + 0.0:g}"


def is_probability(text: object) -> bool:
    """Return whether a text is the canonical form of a probability."""
    if not isinstance(text, str) or len(text) > 20 or not _ANY.fullmatch(text):
        return False
    return 0 <= (value := _value(text)) <= 1 and write_probability(value) == text


def sampled_probability(dice: Dice) -> str:
    """Return a random probability: now and then 0 or 1, else any."""
    return dice.choice(["0", "1"]) if dice.below(5) == 0 else write_probability(dice.random())


EXAMPLES: Sequence[str] = ("0.5", "0.1", "0.9", "0", "1")


def _value(text: str) -> float:
    if text.endswith("%"):
        return float(text[:-1]) / 100
    top, bar, bottom = text.partition("/")
    if bar:
        return float(top) / float(bottom) if float(bottom) else -1.0
    return float(text)
