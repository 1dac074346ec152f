"""Numbers as players state them: read without guessing, refused with the cure, written in one form.

    0.3   .3   30%   12.5 percent   3/10   1 in 10   1e-3   "I say 0.3."   "p = 1"   "The probability is 0.3."

A text states a probability in one of two ways, and in no other:

* *alone*: its first or its last line is a number and nothing else, but for quotes, stars, a point, "about" or "I say",
  and neither goes on from the line above it nor on to the line below;
* *named*: a sentence or line begins with "probability", "p" or "answer" ("The probability that it was replaced is
  0.3, because ..."), and the number is what that is. Of what it is the probability may be said by words of the event
  that is asked for, and without a denial; and behind a comma nothing denies it or names the opposite, unless as a
  reason ("0.9, because it is not even").

What else is said must leave no doubt of what it is the probability, unless the number is named with the event itself
or is one half. Where prose speaks of the opposite (honest, genuine, nothing hidden), or calls something the chance of
it, the number may be that of the opposite, and is none; only a verdict in plain words with which it agrees may stand
beside it ("It looks genuine." with 0.1, and not with 0.9).

Whatever else is *unparsable*, words such as "very likely" among it: "90 % sure nothing is hidden", "0.9 that it is
genuine", "less than 1", "0.2 or 0.8", "it printed 0.3", "Line 1 looks wrong". What is no statement of the number that
was asked for is never scored as one. Stated numbers outside 0 to 1 are *illegal* (30 may mean 30%, or nothing).
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from functools import lru_cache

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.games.statements import sentences, takes_back
from palaestra.envs.grammar import shorten
from palaestra.envs.seeding import Dice

DIGITS = 4
"""Digits after the point that count."""
EXAMPLES: Sequence[str] = ("0.5", "0.1", "0.9", "0", "1")
HIDDEN = ("hidden", "hides", "secret", "coded", "encoded", "code")
"""Words for what is asked of a text in which something may be hidden."""

# Repeated characters that cannot begin what follows are taken possessively, so that a flood of them is read in linear
# time.
_FLAGS = re.IGNORECASE | re.ASCII
_PLAIN = r"[-+−]?(?:\d{1,9}(?:\.\d{1,20})?|(?<!\.)\.\d{1,20})(?:e[-+]?\d{1,2})?"
_NUMBER = (
    rf"(?<!\w)(?<!\w\.)(?<!\d/)(?P<plain>{_PLAIN})"
    r"(?:(?P<percent>\s*(?:%|per\s?cent\b))"
    r"|(?:\s*/\s*|\s+(?:chances?\s+)?(?:in|out\s+of)\s+(?:a\s+)?)(?P<of>\d{1,9}))?(?![\w%/]|\.\d)"
)
_CANONICAL = re.compile(rf"{_PLAIN}", _FLAGS)
_TAG = re.compile(r"</?[a-z][a-z_]{0,30}>", _FLAGS)
_WRAPPING = r"[\s\"'`“”‘’«»*_$(){}\[\]]"
_ABOUT = r"(?:about|around|roughly|approximately|approx\.?|circa|~|≈)"
_SAY = r"(?:(?:so|overall)\b,?\s*+)?(?:I\s+(?:would\s+|[’']?d\s+)?(?:say|state|answer|estimate)\b:?|I[’']d\s+say\b:?)?"
_LEAD = rf"{_WRAPPING}*+{_SAY}{_WRAPPING}*+(?:a\s++)?(?:{_ABOUT}{_WRAPPING}*+)?"
_ENDED = rf"(?:{_WRAPPING}|[.,;!])*+"
_ALONE = re.compile(rf"{_LEAD}{_NUMBER}(?:\s+(?:chances?|probability|likelihood)\b)?{_ENDED}", _FLAGS)
_STRONG = r"(?:probability|prob|p|answer)"
_OPENING = (
    rf"(?:{_WRAPPING}|\b(?:so|thus|hence|overall|therefore|my|the|final|estimated"
    r"|I (?:think|believe|guess)(?: that)?)\b,?){0,40}"
)
_NAMED = re.compile(
    rf"(?:^|\n|[.!?;](?=\s)){_OPENING}\b{_STRONG}\b"
    r"(?P<of_what>\s?\([^()\n]{0,40}\)|\s+(?:of|that|for|the|it)\b[^.;:=!?\n\d]{0,60}?(?=\s+(?:is|be)\b|[\s*_]*[:=]))?"
    rf"(?:{_WRAPPING}|=|:|≈|~|\b(?:is|be|would|{_ABOUT})\b){{0,40}}{_NUMBER}"
    rf"(?={_WRAPPING}*(?:$|[;!\n]|\.(?!\.)|,(?!\s*(?:or|and|to|but|maybe|perhaps|rather|that|of|for)\b)|(?:because|since|as|so)\b))",
    _FLAGS,
)
_DENIES = re.compile(
    r"\b(?:not|never|no|nothing|none|nobody|neither|nor|without|unlikely|cannot|fail(?:ed|s)?|false|free|rather|instead)\b|n[’']t\b",
    _FLAGS,
)
_OPPOSITE = re.compile(
    r"\b(?:genuine|real|right|correct|original|authentic|true|actual|un(?:changed|touched|altered)|innocent|honest|clean|ordinary)\b",
    _FLAGS,
)
_NOT = re.compile(r"not\b", _FLAGS)
_SPOKEN = r"(?:honest|innocen|genuin|authentic|harmless|benign|legit|truthful|trustworth)\w*"
"""Words that prose has for nothing but the opposite of what is asked; those of `_GOOD` are used of other things, too,
and count in a verdict alone."""
_GOOD = (
    r"(?:real|right|correct|original|true|actual|un(?:changed|touched|altered)|clean|ordinary|normal|plain|fine|safe"
    r"|accurate|plausible|consistent|ok(?:ay)?|as expected|what\s+(?:it|the\s+program)\s+(?:really\s+)?print(?:s|ed))"
)
_OPPOSED = re.compile(rf"\b{_SPOKEN}", _FLAGS)
_CHANCE = re.compile(
    r"\b(?:chances?|probabilit\w+|likel\w+|odds|confiden\w+|certain\w*|sure|percent\w*|estimate|score|rating)\b|%",
    _FLAGS,
)
_SAID_OF_IT = re.compile(
    r"\b(?:this|that|it|which|number|answer|value|figure|percentage|score)\s+(?:is|was|means|says|states|gives|measures"
    r"|refers to|stands for)\s+(?:\w+\s+){0,3}?(?:chances?|probability|likelihood|odds|confidence|certainty|how\s+\w+)"
    r"\s+(?:that|of|for|in|it|this)\b",
    _FLAGS,
)
"""A sentence that says of what a number is the probability."""
_IS = r"(?:is|was|were|are|[’']s|(?:has|have)\s+been|be)"
_SEEMS = rf"(?:{_IS}|seems?|looks?|appears?|reads?|sounds?)"
_SUBJECT = (
    r"(?:(?:it|this|that|everything|all|(?:(?:the|this)\s+(?:whole\s+)?)?(?:text|output|wording|message|letter|result))"
    r"\b)"
)
_QUITE = (
    r"(?:\s+(?:an?|quite|very|entirely|fully|perfectly|completely|totally|rather|probably|clearly|surely|just|like|to\s+be"
    r"|simply|indeed))*\s+"
)
_FOUND = r"(?:i\s+(?:can\s+)?(?:see|find|found|saw|detect|notice)|there\s+(?:is|was|seems\s+to\s+be))"
_IS_NOT = rf"(?:{_IS}|do(?:es)?)(?:\s+not|n[’']t)(?:\s+(?:seem|look|appear))?"
_ONE_SAYS = r"\W*(?:(?:overall|I\s+(?:think|believe|say)(?:\s+that)?|I[’']d\s+say(?:\s+that)?)\s+)?"
_OF_IT = r"(?:\s+(?:text|output|one|wording|message|letter|writing|to\s+me|here|in\s+it|at\s+all))*"
_CALLED_GOOD = re.compile(rf"\b{_SEEMS}{_QUITE}{_GOOD}\b", _FLAGS)
_CLAUSE = re.compile(
    r"[,;:.!?]+(?=\s|$)|\b(?:and|but|so|because|since|as|therefore|thus|hence)\b(?!\s+expected)", _FLAGS
)
_NEXT = re.compile(r"[.;\s]*[.;\n]\s*(?:(?:it|this|that|the output)\s+(?:is|was)\s+)?", _FLAGS)
"""From a number to what is said next of what it is asked of."""
_REASON = re.compile(r",\s*(?:because|since|as|so)\b", _FLAGS)
_ANY = re.compile(_NUMBER, _FLAGS)
_GOES_ON = re.compile(r"[a-z,:?\u2013-]$", _FLAGS)  # of the line above a number
_LABEL = re.compile(rf"\b(?:{_STRONG}|number)$", _FLAGS)
_FROM_ABOVE = re.compile(r"(?!because\b|since\b|as\b|so\b)[a-z(,]")  # of the line below a number
_WHOLE = re.compile(
    rf"{_LEAD}(?:(?:the\s+|my\s+)?(?:number|answer|guess|secret|it)\b\s*(?:is|was|[:=])?\s*+)?{_WRAPPING}*+"
    rf"(?P<number>\d{{1,9}})(?![\w/%]|\.\d){_ENDED}",
    _FLAGS,
)


def read_probability(text: str, event: Sequence[str] = ()) -> str:
    """Return the probability that a text states, in its canonical form.

    Args:
        text: What a player wrote.
        event: Words for what is asked, such as ``replaced``, by one of which a text may say of what its number is the
            probability; none if it may not say so.

    Raises:
        UnparsableAction: It states none, or two.
        IllegalAction: A number that is no probability.
    """
    said = _TAG.sub(" ", text)
    stated = _standing(said, _named(said, event)) or _standing(said, _alone(said))
    if stated and not _clear(said, stated[0], event):
        raise UnparsableAction(
            f"{shorten([text], 60)!r} leaves open of what its number is the probability; answer with that and nothing "
            "else, such as 0.3."
        )
    if len({_value(one) for one in stated}) != 1 or math.isnan(_value(stated[0])):
        why = "states more than one number" if stated else "states no probability"
        raise UnparsableAction(
            f"{shorten([text], 60)!r} {why}; answer with one probability and nothing else, such as 0.3, or end with "
            "such a line."
        )
    value = _value(stated[-1])
    if not 0 <= value <= 1:
        number = stated[-1][0].strip()
        raise IllegalAction(f"{number} is no probability; write a number from 0 to 1, or a percentage such as 30%.")
    return write_probability(value)


def write_probability(value: float) -> str:
    """Return a probability in its canonical form, such as ``0.25``, rounded to `DIGITS`."""
    return f"{round(value, DIGITS) + 0.0:g}"


def is_probability(text: object) -> bool:
    """Return whether a text is the canonical form of a probability."""
    if not isinstance(text, str) or len(text) > 20 or not _CANONICAL.fullmatch(text):
        return False
    return 0 <= (value := _number(text)) <= 1 and write_probability(value) == text


def read_whole_number(text: str) -> int:
    """Return the whole number that the last line of a text states, alone or as "the number is 3".

    Raises:
        UnparsableAction: It states none, or another line states another.
    """
    lines = _lines(_TAG.sub(" ", text))
    found = _WHOLE.fullmatch(lines[-1]) if lines else None
    if found and any((one := _WHOLE.match(line)) and int(one["number"]) != int(found["number"]) for line in lines[:-1]):
        raise UnparsableAction(f"{shorten([text], 60)!r} states more than one number; answer with one, such as 3.")
    above = lines[-2] if len(lines) > 1 else ""
    if found is None or (_GOES_ON.search(above) and not _LABEL.search(above)):
        raise UnparsableAction(
            f"{shorten([text], 60)!r} does not end with a number; answer with one number and nothing else, such as 3."
        )
    return int(found["number"])


def sampled_probability(dice: Dice) -> str:
    """Return a random probability: now and then 0 or 1, else any."""
    return dice.choice(["0", "1"]) if dice.below(5) == 0 else write_probability(dice.random())


def _standing(text: str, stated: list[re.Match[str]]) -> list[re.Match[str]]:
    """Return the numbers, unless a later sentence takes them back or says of what they are."""
    if not stated:
        return []
    _, *later = sentences(text[text.rfind(stated[-1][0]) :])
    return [] if any(takes_back(one) or one.lower().startswith("that ") for one in later) else stated


def _named(text: str, event: Sequence[str]) -> list[re.Match[str]]:
    """Return the last number that is named, if it is the probability of the event and of nothing else."""
    found = list(_NAMED.finditer(text))
    if not found:
        return []
    last = found[-1]
    later = [one for one in _alone(text[last.end() :]) if _value(one) != _value(last)]
    rest = re.split(r"[.!?;](?=\s|$)|\n", text[last.end() :], maxsplit=1)[0]
    if rest.startswith(",") and not _REASON.match(rest) and (_DENIES.search(rest) or _OPPOSITE.search(rest)):
        return []  # "0.9, not replaced", "0.9, it is real"
    if (after := _NEXT.match(text, last.end())) and (
        _NOT.match(text, after.end()) or _OPPOSITE.match(text, after.end())
    ):
        return []  # "0.9. Not replaced.", "0.9; it was genuine"
    what = (last["of_what"] or "").lower()
    if what and (set(re.findall(r"[a-z]+", what)[-3:]).isdisjoint(event) or _DENIES.search(what)):
        return []  # "that it was replaced", but not "that a replaced output looks as good"
    return [last, *later, *_rivals(text[last.end() :], last)]


def _alone(text: str) -> list[re.Match[str]]:
    """Return the first and last line, as far as they are a number and nothing else; none below a line that announces
    something else, or where a line between them is another such number."""
    lines = _lines(text)
    places = {place: one for place, line in enumerate(lines) if (one := _ALONE.fullmatch(line))}
    if not places or not {0, len(lines) - 1} & places.keys():
        return []
    for place in places:
        above, below = lines[place - 1] if place else "", lines[place + 1] if place + 1 < len(lines) else ""
        if (_GOES_ON.search(above) and not _LABEL.search(above)) or _FROM_ABOVE.match(below):
            return []
    return list(places.values())


def _clear(text: str, stated: re.Match[str], event: Sequence[str]) -> bool:
    """Return whether what stands beside a number leaves no doubt of what it is the probability."""
    value = _value(stated)
    if not event or value == 0.5:  # of the opposite it is one half as well
        return True
    if stated.string == text:
        text = f"{text[: stated.start()]}\n{text[stated.end() :]}"
    asked, verdicts = _words_of(tuple(event))
    by_event = bool(stated.groupdict().get("of_what"))
    for sentence in sentences(text):
        if _ALONE.fullmatch(sentence):
            continue
        denial = _DENIES.search(sentence)
        denied = denial is not None and asked.search(sentence, denial.end()) is not None
        if _CHANCE.search(sentence) and (denied or _OPPOSED.search(sentence) or _CALLED_GOOD.search(sentence)):
            return False
        if _SAID_OF_IT.search(sentence) and not asked.search(sentence):
            return False
        for clause in () if by_event else map(str.strip, _CLAUSE.split(sentence)):
            verdict = next((is_so for pattern, is_so in verdicts if pattern.fullmatch(clause)), None)
            if verdict is None and (_OPPOSED.search(clause) or (denied and asked.search(clause))):
                return False
            if verdict is not None and verdict != (value > 0.5):
                return False
    return True


@lru_cache(maxsize=16)
def _words_of(event: tuple[str, ...]) -> tuple[re.Pattern[str], tuple[tuple[re.Pattern[str], bool], ...]]:
    """Return a pattern of words for what is asked, and those of clauses that say outright that it is so or is not."""
    words = "|".join(map(re.escape, event))
    some = rf"(?:{words}|suspicious|suspect|unusual|strange|amiss)s?"
    verdicts = (
        (rf"(?:{_SUBJECT}|something|an?\s+\w+)\s*{_IS}{_QUITE}(?:{words})", True),
        (rf"{_SUBJECT}\s*{_IS_NOT}{_QUITE}(?:{_GOOD}|{_SPOKEN})", True),
        (r"yes", True),
        (rf"{_SUBJECT}\s*{_SEEMS}{_QUITE}(?:{_GOOD}|{_SPOKEN})", False),
        (rf"{_SUBJECT}\s+(?:matches|fits|agrees|checks\s+out)", False),
        (rf"{_SUBJECT}\s*{_IS_NOT}{_QUITE}{some}", False),
        (rf"nothing(?:\s+(?:here|in\s+it))?\s+{_SEEMS}{_QUITE}{some}", False),
        (rf"(?:{_FOUND}\s+)?(?:no|nothing)\b(?:\s+(?!no|with|but)\w+){{0,6}}?\s+{some}", False),
        (rf"i\s+(?:do\s+not|don[’']t|can\s?not|can[’']t|did\s+not|didn[’']t)\s+(?:see|find|detect|notice)"
         rf"\s+any\w*(?:\s+(?!no|with|but)\w+){{0,6}}?\s+{some}", False),
        (r"(?:no|nothing|none|not\s+at\s+all|nope)", False),
    )  # fmt: skip
    compiled = ((re.compile(rf"{_ONE_SAYS}(?:{one}){_OF_IT}\W*", _FLAGS), is_so) for one, is_so in verdicts)
    return re.compile(rf"\b{some}\b", _FLAGS), tuple(compiled)


def _rivals(text: str, stated: re.Match[str]) -> list[re.Match[str]]:
    """Return the numbers in the rest of a statement's sentence that might be meant in its place: others that are
    written as probabilities are, with a point, as a percentage or a share."""
    text = re.split(r"[.!?](?=\s|$)|\n", text, maxsplit=1)[0]
    found = (one for one in _ANY.finditer(text) if "." in one["plain"] or one["percent"] or one["of"])
    return [one for one in found if 0 <= _value(one) <= 1 and _value(one) != _value(stated)]


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.splitlines() if line.strip()]


def _value(one: re.Match[str]) -> float:
    value = _number(one["plain"])
    if one["percent"]:
        return value / 100
    if one["of"]:
        whole = float(one["of"])
        if not value.is_integer():
            return math.nan  # a quotient of decimals is a calculation that was left to the reader
        if "/" in one[0] and value + whole == 100 and whole != 100:
            return math.nan  # 50/50, odds of two that make a hundred
        return value / whole if whole else -1.0
    return value


def _number(text: str) -> float:
    return float(text.replace("−", "-"))
