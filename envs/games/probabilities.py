"""Probabilities as players state them: read without guessing, refused with the cure, written in one form.

    0.3   .3   30%   12.5 percent   30 per cent   3/10   1 in 10   3 out of 10   1e-3   "I say 0.3."   "p = 1"

A text states a probability if there is one reading of it and no other:

* one number stands in it (or several of the same value: "0.3, that is 30%"), or the last one after ``probability``,
  ``p`` or ``answer``;
* a whole number counts where it stands alone, but for quotes, stars and a final point, or after such a word or
  ``chance``, ``sure`` and the like: amid other words it numbers a line, a step, anything ("Line 1 looks wrong");
* a share of a count ("3 of 10", "3/10", "30%") must not go on to say of what ("3/10 tests passed");
* a bound ("less than 1", "0.5 or more"), a choice or a range ("0.2 or 0.8", "p = 0.2-0.4"), a denial ("not 0.3"), odds,
  and what a command names ("look 1") are no probabilities.

Whatever else is *unparsable*, as are words such as "very likely": what is not a number is never scored as one. Stated
numbers outside 0 to 1 are *illegal* (30 may mean 30%, or nothing).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.grammar import shorten
from palaestra.envs.seeding import Dice

DIGITS = 4
"""Digits after the point that count."""

_FLAGS = re.IGNORECASE | re.ASCII
_PLAIN = r"[-+−]?(?:\d{1,9}(?:\.\d{1,12})?|(?<!\.)\.\d{1,12})(?:e[-+]?\d{1,2})?"
_NUMBER = re.compile(
    rf"(?<!\w)(?<!\w\.)(?<!\d/)(?P<plain>{_PLAIN})"
    r"(?:(?P<percent>\s*(?:%|per\s?cent\b))"
    r"|(?:\s*/\s*|\s+(?:chances?\s+)?(?:in|out\s+of)\s+(?:a\s+)?)(?P<of>\d{1,9}))?(?![\w%/]|\.\d)",
    _FLAGS,
)
_CANONICAL = re.compile(rf"{_PLAIN}", _FLAGS)
_TAG = re.compile(r"</?[a-z][a-z_]{0,30}>", _FLAGS)

_WRAPPING = r"[\s\"'`“”‘’«»*_$(){}\[\]]"
_ABOUT = r"(?:about|around|roughly|approximately|approx\.?|circa|~|≈)"
_STRONG = r"(?:probability|prob|p(?:\s?\([^()\n]{0,40}\))?|answer)"
_WEAK = r"(?:chances?|likelihood|confidence|certainty|estimate|forecast|belief|sure|certain|confident)"
_IS = rf"(?:{_WRAPPING}|=|:|≈|~|\b(?:is|are|was|of|be|would|with|at|{_ABOUT})\b)*"
_LONG = r"\b[^.;:!?\n\d]{0,60}\b(?:is|be)\b" + _IS
_AFTER_STRONG = re.compile(rf"\b{_STRONG}(?:(?<=\))|\b)(?:{_IS}|{_LONG})$", _FLAGS)
_AFTER_WEAK = re.compile(rf"\b{_WEAK}\b(?:{_IS}|{_LONG})$", _FLAGS)
MOST = 100
"""Numbers in a text of which any may be meant; of more only one that is named, among the last of them, can be."""
_REACH = 120
"""Characters before a number in which it may be named."""

_ALONE_BEFORE = re.compile(rf"(?:{_WRAPPING}|[,:=]|{_ABOUT})*", _FLAGS)
_ALONE_AFTER = re.compile(rf"(?:{_WRAPPING}|[.,;!])*", _FLAGS)
_ENDS = re.compile(rf"{_WRAPPING}*(?:$|[.,;!?\n]|\b(?:because|since|as|so|that)\b)", _FLAGS)
_OF_WHAT = re.compile(
    r"[ \t]+(?!(?:chances?|probability|likel|sure|certain|confiden|because|since|so|that|as)\b)\w", _FLAGS
)
_BOUND_BEFORE = re.compile(
    r"(?:\b(?:than|least|most|under|over|above|below|beyond|exceed\w*|up\s+to|minimum|maximum|equal\s+to|between|either|"
    r"not|never|odds|looks?|lines?|steps?|rows?)\b|n[’']t\b|[<>≤≥≠]=?|!=|[–—±^])"
    rf"(?:{_WRAPPING}|\b(?:a|the|of|at|to|are|is|be|say|{_ABOUT})\b)*$",
    _FLAGS,
)
_BOUND_AFTER = re.compile(
    rf"(?:{_WRAPPING}*(?:,\s*)?(?:or|and)\s+(?:more|less|higher|lower|above|below|greater|fewer|over|under|up)\b"
    r"|\+|\s*±|[ \t]+(?:at\s+(?:least|most)|minimum|maximum|tops)\b|[ \t]+of\b)",
    _FLAGS,
)
_CHOICE = re.compile(
    rf"(?:{_WRAPPING}|[,;])*(?:\b(?:or|and|to|through|until|versus|vs)\b|[-–—…~±]|\.\.+|\+/-)"
    rf"(?:{_WRAPPING}|\b(?:maybe|perhaps|even|the|a|{_STRONG}|{_WEAK})\b|{_IS})*",
    _FLAGS,
)


def read_probability(text: str) -> str:
    """Return the probability that a text states, in its canonical form.

    Raises:
        UnparsableAction: No number, several of which none is named, or none that is stated as a probability.
        IllegalAction: A number that is no probability.
    """
    said = _TAG.sub(" ", text)
    found = list(_NUMBER.finditer(said))
    numbers = list(dict.fromkeys(one[0] for one in found[:MOST]))
    flood, found = len(found) > MOST, found[-MOST:]
    named = [one for one in found if _before(_AFTER_STRONG, said, one)]
    chosen = named[-1:] or ([] if flood else found)
    if len({_value(one) for one in chosen}) != 1:
        what = "no number" if not found else f"the numbers {', '.join(numbers[:4])}"
        raise UnparsableAction(f"found {what} in {shorten([text], 60)!r}; answer with one probability, such as 0.3.")
    stated = [one for one in chosen if _states(said, one, lone=len(found) == 1)]
    if not stated or any(_bounded(said, one) for one in chosen) or _one_of_several(said, chosen, found):
        raise UnparsableAction(
            f"{shorten([text], 60)!r} can be read in more ways than one; answer with one probability alone, such as "
            "0.3."
        )
    value = _value(stated[-1])
    if not 0 <= value <= 1:
        raise IllegalAction(
            f"{stated[-1][0]} is no probability; write a number from 0 to 1, or a percentage such as 30%."
        )
    return write_probability(value)


def write_probability(value: float) -> str:
    """Return a probability in its canonical form, such as ``0.25``, rounded to `DIGITS`."""
    return f"{round(value, DIGITS) + 0.0:g}"


def is_probability(text: object) -> bool:
    """Return whether a text is the canonical form of a probability."""
    if not isinstance(text, str) or len(text) > 20 or not _CANONICAL.fullmatch(text):
        return False
    return 0 <= (value := _number(text)) <= 1 and write_probability(value) == text


def whole_number(text: str) -> tuple[int, str] | None:
    """Return the first number of a text, if it is a whole one, and what follows it; None for any other text."""
    first = _NUMBER.search(text)
    if first is None or not first[0].isdigit():
        return None
    return int(first[0]), text[first.end() :]


def sampled_probability(dice: Dice) -> str:
    """Return a random probability: now and then 0 or 1, else any."""
    return dice.choice(["0", "1"]) if dice.below(5) == 0 else write_probability(dice.random())


EXAMPLES: Sequence[str] = ("0.5", "0.1", "0.9", "0", "1")


def _states(text: str, one: re.Match[str], *, lone: bool) -> bool:
    """Return whether a number is stated as a probability, by its form and by what stands around it."""
    start, end = one.span()
    line = text.rfind("\n", 0, start) + 1 if lone else 0  # a last line of its own will do
    if _ALONE_BEFORE.fullmatch(text, line, start) and _ALONE_AFTER.fullmatch(text, end):
        return True
    called = _before(_AFTER_STRONG, text, one) or _before(_AFTER_WEAK, text, one)
    if one["percent"]:
        return True
    if one["of"]:
        return called or not _OF_WHAT.match(text, end)
    return not one["plain"].lstrip("+-−").isdigit() or (called and _ENDS.match(text, end) is not None)


def _bounded(text: str, one: re.Match[str]) -> bool:
    """Return whether a number is said to be a bound, denied, or named by a command."""
    return _before(_BOUND_BEFORE, text, one) or _BOUND_AFTER.match(text, one.end()) is not None


def _one_of_several(text: str, chosen: Sequence[re.Match[str]], found: Sequence[re.Match[str]]) -> bool:
    """Return whether a chosen number is one of two between which the text leaves the choice."""
    places = {one.start() for one in chosen}
    return any(
        not places.isdisjoint((one.start(), other.start()))
        and _value(one) != _value(other)
        and _CHOICE.fullmatch(text, one.end(), other.start()) is not None
        for one, other in pairwise(found)
    )


def _before(pattern: re.Pattern[str], text: str, one: re.Match[str]) -> bool:
    return pattern.search(text[max(0, one.start() - _REACH) : one.start()]) is not None


def _value(one: re.Match[str]) -> float:
    value = _number(one["plain"])
    if one["percent"]:
        return value / 100
    if one["of"]:
        return value / float(one["of"]) if float(one["of"]) else -1.0
    return value


def _number(text: str) -> float:
    return float(text.replace("−", "-"))
