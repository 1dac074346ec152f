"""How a text is read as an action: leniently where it is unambiguous, never by guessing.

A model says "I will play [e4]." and means ``e4``. The rule for all games: case, brackets, quotes and punctuation
around an action do not matter; the *last* action named in the text wins, because models argue before they decide;
where the same words can be read as two different actions the reply is unparsable, and the player is told both readings.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache

from palaestra.envs.errors import UnparsableAction

_BEFORE = r"(?<![\w+=-])(?<!\w[*#])"
_AFTER = r"(?![\w+#=-])(?!\*\w)"
"""An action is a word of its own: `e4` must not be found inside `e45`, `Ne4` or `e4=Q`, nor `3` inside `2*3`; but
Markdown's stars and a number sign around it (`**e4**`, `#3`) do not matter."""


def last_action(text: str, words: Sequence[str], legal: Sequence[str] | None = None) -> str:
    """Return the last action of ``words`` that ``text`` names; of two readings that differ in case, the only
    ``legal`` one.

    Raises:
        UnparsableAction: None is named, or the last words fit two actions: they differ only in case, or overlap.
    """
    legal = words if legal is None else legal
    if text in words:
        return text
    named = _longest(_pattern(tuple(words)), text)
    if not named:
        raise UnparsableAction(f"no action found in {shorten([text])!r}; answer with one of: {shorten(legal)}.")
    (start, end), (_, end_before) = named[-1], named[-2] if len(named) > 1 else (0, 0)
    if end_before > start:
        raise UnparsableAction(f"{shorten([text[named[-2][0] : end]])!r} can be read in two ways; name one action.")
    found = text[start:end]
    if found in words:
        return found
    readings = [word for word in dict.fromkeys(words) if re.fullmatch(_spelling(word), found, re.IGNORECASE)]
    if len(readings) > 1:
        readings = [action for action in readings if action in legal] or readings
    if len(readings) > 1:
        raise UnparsableAction(f"{shorten([found])!r} can mean {' or '.join(map(repr, readings))}; write it exactly.")
    return readings[0]


def shorten(items: Iterable[str], limit: int = 200) -> str:
    """Return items joined by commas, on one line, cut at ``limit`` characters, for a message to a player."""
    text = " ".join(", ".join(items).split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _longest(pattern: re.Pattern[str], text: str) -> list[tuple[int, int]]:
    """Return where words stand in the text, in order, overlaps included, without those inside a longer one."""
    spans: list[tuple[int, int]] = []
    match = pattern.search(text)
    while match is not None:
        if not spans or match.end() > spans[-1][1]:
            spans.append(match.span())
        match = pattern.search(text, match.start() + 1)
    return spans


def _spelling(action: str) -> str:
    return r"\s+".join(map(re.escape, action.split()))


@lru_cache(maxsize=4096)
def _pattern(legal: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted(
        {_spelling(action) for action in legal} - {""}, key=lambda spelling: (-len(spelling), spelling)
    )
    return re.compile(rf"{_BEFORE}(?:{'|'.join(longest_first) or '(?!)'}){_AFTER}", re.IGNORECASE)
