"""Regular expressions that are searched for in time linear in the text, whatever the pattern.

Python's ``re`` tries one way after the other, which can take for ever: ``(a|a)+$`` doubles its time with every ``a``.
Here all ways are followed at once (K. Thompson, Communications of the ACM 11, 1968), so a pattern from anybody can be
searched for in a text from anybody. Patterns are read by ``re``'s own parser and mean what they mean there, ignoring
case. What cannot be matched so is refused: back-references, look-around, atomic groups and possessive repetition.
"""

from __future__ import annotations

import re
from re import _compiler, _constants, _parser  # type: ignore[attr-defined]
from typing import Any

LONGEST_PATTERN = 200
MOST_STEPS = 1000
"""Steps of a pattern whose counted repetitions are written out."""

_ONE_SIGN = ("LITERAL", "NOT_LITERAL", "ANY", "IN")
_REPEATS = ("MAX_REPEAT", "MIN_REPEAT")


class LinearPattern:
    """A pattern.

    Raises:
        ValueError: It is no pattern, too long, or cannot be matched in linear time; the message says why.
    """

    def __init__(self, pattern: str) -> None:
        if len(pattern) > LONGEST_PATTERN:
            raise ValueError(f"it has {len(pattern)} characters, expected at most {LONGEST_PATTERN}")
        try:
            re.compile(pattern, re.IGNORECASE)
            parsed = _parser.parse(pattern, re.IGNORECASE)
        except (re.error, OverflowError, RecursionError) as error:
            raise ValueError(f"it is no pattern: {error}") from None
        self._state = parsed.state
        self._flags = int(parsed.state.flags)
        if self._flags & re.ASCII:
            raise ValueError("it asks for ASCII by (?a), which is not known here; leave that out")
        self._steps: list[tuple[Any, ...]] = [("end",)]
        self._start = self._sequence(parsed, 0)

    def found(self, text: str) -> bool:
        """Return whether the pattern matches anywhere in ``text``."""
        known: list[dict[str, bool]] = [{} for _ in self._steps]
        alive: set[int] = set()
        for place in range(len(text) + 1):
            alive.add(self._start)
            alive = self._reached(alive, text, place)
            if 0 in alive:
                return True
            if place == len(text):
                break
            sign, following = text[place], set()
            for number in alive:
                kind, *about = self._steps[number]
                if kind != "sign":
                    continue
                fits = known[number].get(sign)
                if fits is None:
                    fits = known[number][sign] = about[0].fullmatch(sign) is not None
                if fits:
                    following.add(about[1])
            alive = following
        return False

    def _reached(self, alive: set[int], text: str, place: int) -> set[int]:
        """Return the steps that can be reached without another sign."""
        seen, waiting = set(alive), list(alive)
        while waiting:
            kind, *about = self._steps[waiting.pop()]
            if kind == "either":
                onward = about
            elif kind == "at" and self._holds(about[0], text, place):
                onward = about[1:]
            else:
                continue
            fresh = [number for number in onward if number not in seen]
            seen.update(fresh)
            waiting += fresh
        return seen

    def _holds(self, where: str, text: str, place: int) -> bool:
        before, after = text[place - 1 : place] if place else "", text[place : place + 1]
        many = bool(self._flags & re.MULTILINE)
        match where:
            case "AT_BEGINNING":
                return not before or (many and before == "\n")
            case "AT_BEGINNING_STRING":
                return not before
            case "AT_END":
                return not after or (after == "\n" and (many or place == len(text) - 1))
            case "AT_END_STRING":
                return not after
        return (_is_word(before) != _is_word(after)) == (where == "AT_BOUNDARY")

    # ------------------------------------------------------------------ from the parsed pattern to steps

    def _add(self, *step: Any) -> int:
        if len(self._steps) >= MOST_STEPS:
            raise ValueError(f"written out it has more than {MOST_STEPS} steps; repeat less often")
        self._steps.append(step)
        return len(self._steps) - 1

    def _sequence(self, items: Any, then: int) -> int:
        """Return the first step of items one after the other, from whose end it goes on at ``then``."""
        for item in reversed(list(items)):
            then = self._item(item, then)
        return then

    def _item(self, item: tuple[Any, Any], then: int) -> int:
        name, about = str(item[0]), item[1]
        if name in _ONE_SIGN:
            return self._add("sign", _compiler.compile(_parser.SubPattern(self._state, [item]), self._flags), then)
        if name == "AT":
            return self._add("at", str(about), then)
        if name == "BRANCH":
            return self._add("either", *(self._sequence(branch, then) for branch in about[1]))
        if name == "SUBPATTERN" and not about[1] and not about[2]:
            return self._sequence(about[3], then)
        if name in _REPEATS:
            least, most, items = about
            return self._repeat(least, most, items, then)
        what = "flags inside it" if name == "SUBPATTERN" else name.lower().replace("_", " ")
        raise ValueError(
            f"it has {what}, for which no bound on the time is known; do without back-references, look-around, atomic "
            "groups and flags inside"
        )

    def _repeat(self, least: int, most: Any, items: Any, then: int) -> int:
        if least > MOST_STEPS:
            raise ValueError(f"it repeats something {least} times, expected at most {MOST_STEPS}")
        if most is _constants.MAXREPEAT:
            start = self._add("either")
            self._steps[start] = ("either", self._sequence(items, start), then)
        else:
            start = then
            for _ in range(most - least):
                start = self._add("either", self._sequence(items, start), then)
        for _ in range(least):
            start = self._sequence(items, start)
        return start


def _is_word(sign: str) -> bool:
    return sign.isalnum() or sign == "_"
