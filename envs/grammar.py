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

_EDGE = r"[\w+#=*-]"
"""Characters that belong to an action's word: `e4` must not be found inside `e45` or `Ne4`."""


def last_action(text: str, words: Sequence[str], legal: Sequence[str] | None = None) -> str:
    """Return the last action of ``words`` that ``text`` names; of two readings that differ in case, the only
    ``legal`` one.

    Raises:
        UnparsableAction: None is named, or the last words fit two actions that differ only in case.
    """
    legal = words if legal is None else legal
    if text in words:
        return text
    found_at = None
    for found_at in _pattern(tuple(words)).finditer(text):
        pass
    if found_at is None:
        raise UnparsableAction(f"no action found in {shorten([text])!r}; answer with one of: {shorten(legal)}.")
    found = found_at.group(0)
    if found in words:
        return found
    folded = _fold(found)
    readings = [action for action in words if _fold(action) == folded]
    if len(readings) > 1:
        readings = [action for action in readings if action in legal] or readings
    if len(readings) > 1:
        raise UnparsableAction(f"{found!r} can mean {' or '.join(map(repr, readings))}; write it exactly.")
    return readings[0]


def shorten(items: Iterable[str], limit: int = 200) -> str:
    """Return items joined by commas, cut at ``limit`` characters, for a message to a player."""
    text = ", ".join(items)
    text = text.strip().replace("\n", " ")
    return text if len(text) <= limit else text[: limit - 1] + "…"


def _fold(text: str) -> str:
    return " ".join(text.lower().split())


@lru_cache(maxsize=4096)
def _pattern(legal: tuple[str, ...]) -> re.Pattern[str]:
    longest_first = sorted({r"\s+".join(map(re.escape, action.split())) for action in legal}, key=len, reverse=True)
    return re.compile(rf"(?<!{_EDGE})(?:{'|'.join(longest_first) or '(?!)'})(?!{_EDGE})", re.IGNORECASE)
