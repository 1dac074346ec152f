"""What a text says of a state: which states it mentions, which it states, and which it gives as its answer.

States are words that prose uses for other things as well: "on" and "off", "A", a digit, "right". So a state counts as
*stated* only where something announces it (a colon, "is", "now", "under", or nothing else in the sentence) and the
clause ends behind it: "Pressed: on.", "so it is off now", "under cup B", "**5**"; not in "a quiet day", "and so on",
"after all 6 steps", "is it on?" or "it is not off". Names of one letter are read as they are written,
unless nothing else stands in the sentence.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

_BREAK = re.compile(r"(?<=[.!?])\s+")
_NUMBERED = re.compile(r"(?:step\s+)?\(?\d{1,3}[.):]\s+(?=\S)", re.IGNORECASE)
_BEFORE = (
    r"(?:[:=>\u2192][*_]{0,3}|\b(?:is|are|was|be|been|stays|remains|becomes|gets?|gives|makes|turns|turned|left"
    r"|ends|ends up|points|lies|weighs|holds|says|now|still|again|then|so|thus|hence|therefore|finally|in the end"
    r"|to|at|under|beneath|cup|number|state|value|answer|answers|result|output|lamp|light|x))"
    r",?\s*(?:exactly |now |still |again |to |at |in |under |cup |number |turned |simply )*"
)
_MARK = r"[*_`\"'\u201c\u201d\u2018\u2019$(\[{]*(?:\\boxed\{)?"
_CLOSED = r"[*_`\"'\u201c\u201d\u2018\u2019$)\]}]*"
_BEHIND = (
    r"(?=\s*(?:kg\b|kilograms?\b)?\s*(?:[.,;!:()]|\u2192|->|$|(?:so|then|but|because|since|after|again|now|at|in|as)\b))"
    r"(?!\.\d)(?!\w)"
)
_NO_ARTICLE = r"(?!A[ \t]+(?!(?:and|or|is|was|to|with|then|now|becomes|goes|holds|has|again|in|for)\b)[a-z])"
_ANSWER = re.compile(r"\banswers?\b|\\boxed", re.IGNORECASE)
_DENIAL = r"not|never|neither|nor|cannot|no longer|nobody|unlikely|doubt|false|wrong"
_DENIED = re.compile(rf"(?:\b(?:{_DENIAL})|n[’']t)\b(?:(?!\bbut\b)[^,;:.])*$", re.IGNORECASE)
_ABSENT = re.compile(
    rf"\b(?:{_DENIAL}|no|nothing|none|without|hardly|lacks?|lacking|missing)\b|n[’']t\b", re.IGNORECASE
)
_CLAUSE = re.compile(r"[,;:]|\b(?:and|but|while|although|though|because|since|so)\b", re.IGNORECASE)
_SUPPOSED = re.compile(
    r"\b(?:if|whether|unless|suppose|supposing|assume|assuming|maybe|perhaps|might|could)\b[^,;:.]*$", re.IGNORECASE
)
_COMPARED = re.compile(
    r"\b(?:such as|like|for example|for instance|e\.g|than|instead of|except|but for|against|without|ruled out"
    r"|exclude[ds]?)\b[^,;:.]*$|\bor$",
    re.IGNORECASE,
)
_BACK = r"(?:no|wait|actually|rather|sorry|oops|hmm)\b"
_LATER = (
    r"(?:(?:but|and|or)\b\s*)?(?:correction|on second thoughts?|i meant?|scratch that|i take (?:that|it) back"
    r"|(?:that|this|it)(?:\s+is|[’']s)\s+(?:wrong|not|false))\b"
)
_TAKEN_BACK = re.compile(rf"\b{_BACK}", re.IGNORECASE)
_TAKES_BACK = re.compile(rf"\W*+(?:{_BACK}|{_LATER}|or\b)", re.IGNORECASE)
_CONDITIONAL = re.compile(r"\W*(?:if|unless|suppose|supposing|assume|assuming)\b", re.IGNORECASE)
_IF = re.compile(r"\b(?:if|unless)\b", re.IGNORECASE)
NEAR = 200
"""Characters before a state, or between two, that are looked at."""


class Statement(NamedTuple):
    """A state that a sentence states: which, and where its name stands in the sentence."""

    name: str
    start: int
    end: int


def sentences(text: str) -> list[str]:
    """Return the sentences and lines of a text, without blank ones; neither a decimal point nor a line's number ends
    one."""
    found = []
    for line in map(str.strip, text.split("\n")):
        numbered = _NUMBERED.match(line)
        start = numbered.end() if numbered else 0
        first, *others = _BREAK.split(line[start:])
        found += [line[:start] + first, *others]
    return [part for one in found if (part := one.strip())]


def statements(sentence: str, names: Sequence[str]) -> list[Statement]:
    """Return the states that a sentence states, in order; a question, a denial, a condition and "this or that" state
    none."""
    if not names or sentence.rstrip(" *_)\"'").endswith("?"):
        return []
    alone, announced, either = _patterns(tuple(names))
    numbered = _NUMBERED.match(sentence)
    start = numbered.end() if numbered else 0
    if whole := alone.fullmatch(sentence, start):
        return [Statement(_known(whole["name"], names), *whole.span("name"))]
    undecided = {
        place for pair in either.finditer(sentence, start) for place in (pair.start("name"), pair.start("other"))
    }
    found = []
    for one in announced.finditer(sentence, start):
        before = sentence[max(0, one.start("name") - NEAR) : one.start("name")].rstrip("*_`\"'([{ ")
        if not (one.start("name") in undecided or _DENIED.search(before) or _SUPPOSED.search(before)):
            found.append(Statement(_known(one["name"], names), *one.span("name")))
    return found


def last_stated(text: str, names: Sequence[str]) -> str | None:
    """Return the state that a text states last, as it is written in ``names``."""
    for sentence in reversed(sentences(text)):
        if found := statements(sentence, names):
            return found[-1].name
    return None


def stated(text: str, names: Sequence[str]) -> list[str]:
    """Return the last state of every sentence that states one."""
    return [found[-1].name for part in sentences(text) if (found := statements(part, names))]


def answer_given(text: str, names: Sequence[str]) -> str | None:
    """Return the answer that a reply gives: the last one that it calls so, else the state that it states last.

    None where that sentence leaves it open ("the answer is 5 if ...") or takes it back ("it is 5, no, 6"). A later
    sentence that takes it back ("Wait, it is 6.") gives what it states, or leaves none.
    """
    parts = sentences(text)
    found = [(place, said) for place, part in enumerate(parts) if (said := statements(part, names))]
    called = [(place, said) for place, said in found if _ANSWER.search(parts[place])]
    if not found:
        return None
    place, said = (called or found)[-1]
    answer, left_open = said[-1], _CONDITIONAL.match(parts[place])
    if called:
        last = list(_ANSWER.finditer(parts[place]))[-1]
        answer = next((one for one in said if one.start > last.start()), answer)
        left_open = left_open or _IF.search(parts[place], last.end())
    for later in range(place + 1, len(parts)):
        if takes_back(parts[later]):
            return answer_given("\n".join(parts[later:]), names)
    return None if left_open or _TAKEN_BACK.search(parts[place], answer.end) else answer.name


def takes_back(sentence: str) -> bool:
    """Return whether a sentence begins as one does that takes back what was said before it."""
    return _TAKES_BACK.match(sentence) is not None


def taken_back(rest: str) -> bool:
    """Return whether what follows an answer takes it back, in the same sentence or in a later one."""
    return _TAKEN_BACK.search(rest) is not None or any(takes_back(one) for one in sentences(rest))


def denies_next(above: Sequence[str]) -> bool:
    """Return whether the last of some lines breaks off in a denial, a condition or a choice ("I doubt it is"), so
    that the next line is what is denied."""
    if not above:
        return False
    before = " ".join(above)[-NEAR:].rstrip("*_`\"'([{ ")
    if re.search(r"(?<!\.)(?<!\be\.g)[\d.!?)\]]$", before):
        return False
    before = before.rstrip(".,;:=\u2026\u2013- ")
    return any(one.search(before) is not None for one in (_DENIED, _SUPPOSED, _COMPARED))


def answer_at_once(begun: str, text: str, names: Sequence[str]) -> str | None:
    """Return the answer with which a reply goes on that was begun with ``begun``; what follows in other sentences does
    not matter, but for the next one, if it takes it back. None then, where something else comes first, or where the
    sentence leaves it open."""
    whole = re.sub(r":\s*\n\s*", ": ", f"{begun} {text.removeprefix(begun).strip()}")
    first, *others = sentences(whole) or [""]
    found = statements(first, names)
    if others and takes_back(others[0]):
        return None
    if not found or re.search(r"\w", first[len(begun) : found[0].start]):
        return None
    certain = len({one.name for one in found}) == 1 and not _TAKEN_BACK.search(first, found[0].end)
    return found[0].name if certain else None


def mentions(text: str, words: Sequence[str]) -> bool:
    """Return whether a text holds any of the words, stated or not; an article ("A quiet day") is no name."""
    return bool(words) and _mention(tuple(words)).search(text) is not None


def denies(text: str, words: Sequence[str]) -> bool:
    """Return whether a text mentions any of the words in a clause that denies something, or in a question."""
    holding = [part for part in sentences(text) if mentions(part, words)]
    clauses = (clause for part in holding for clause in _CLAUSE.split(part) if mentions(clause, words))
    return any(part.endswith("?") for part in holding) or any(_ABSENT.search(clause) for clause in clauses)


@lru_cache(maxsize=256)
def _patterns(names: tuple[str, ...]) -> tuple[re.Pattern[str], ...]:
    name = f"(?P<name>{_any(names)})"
    alone = re.compile(rf"{_MARK}(?i:{name}){_CLOSED}(?:\s*kg)?[.!,;:]*{_CLOSED}\s*")
    listed = rf"(?!\s*,\s*(?:{_any(names)})\s*(?:[.,;]|and\b|or\b|$))"
    announced = re.compile(rf"(?i:{_BEFORE}){_MARK}(?<![\w.-]){name}{_CLOSED}(?i:{_BEHIND}){listed}")
    other = rf"(?!(?P=name))(?P<other>{_any(names)})(?!\w)"
    either = re.compile(rf"(?<![\w.]){name}(?=\W+or\b[^;:.]{{0,{NEAR}}}?(?<![\w.]){other})")
    return alone, announced, either


@lru_cache(maxsize=256)
def _mention(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w.]){_NO_ARTICLE}(?:{_any(words)})(?![\w]|\.\d)")


def _any(names: tuple[str, ...]) -> str:
    """Return a pattern of any of the names: of one letter as it is written, longer ones in any case."""
    longest = sorted(names, key=len, reverse=True)
    return "|".join(re.escape(name) if len(name) == 1 else f"(?i:{re.escape(name)})" for name in longest)


def _known(said: str, names: Sequence[str]) -> str:
    return next(name for name in names if name.lower() == said.lower())
