"""A whole game as a reviewer is shown it, and the mistakes that it names (`palaestra.envs.games.review`)."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from contextlib import suppress

from palaestra.envs.errors import UnparsableAction

LONGEST = 400
"""Characters of a reason or of a reply."""
MOST_MISTAKES = 12
"""Turns that a review of a whole game may name."""
LINE = re.compile(r"\W*+(mistake|turn|because|reply)\b[^\w:=]*+[:=]\s*+(.*)", re.IGNORECASE)
"""A line of a review: what it tells, and the rest."""
_NUMBER = re.compile(r"\d{1,4}(?!\d)")
_NONE = re.compile(r"\bno\s{1,9}mistakes?\b", re.IGNORECASE)


def shown_game(turns: Sequence[tuple[str, str]], result: float, told: str, *, most: int) -> str:
    """Return a whole game as a reviewer sees it from one seat: the end first, then every turn by its number.

    Args:
        turns: What the player was shown and what it replied, in order.
        result: The player's return.
        told: What became known at the end (`Game.revealed`).
        most: Characters; observations that are too long lose their beginnings, each as many as leave room for all.
    """
    head = f"How it ended: this player got {result:g}. {told}".rstrip()

    def told_with(room: int) -> str:
        lines = [head]
        for number, (saw, said) in enumerate(turns, 1):
            cut = saw if len(saw) <= room else f"...{saw[len(saw) - room :]}" if room else "..."
            barred = "\n".join(f"| {line}" for line in cut.splitlines())
            reply = " ".join(said.split())[:LONGEST]
            lines += [
                f"Turn {number}, what the player saw:",
                barred,
                f"Turn {number}, what the player replied: {reply}",
            ]
        return "\n".join(lines)

    longest = max((len(saw) for saw, _ in turns), default=0)
    while len(whole := told_with(longest)) > most and longest:
        longest //= 2
    return whole[:most]


def write_mistakes(mistakes: Sequence[tuple[int, str, str]]) -> str:
    """Return a game's mistakes, (turn, because, reply) each, in their canonical form, JSON on one line."""
    kept = [
        [turn, " ".join(because.split())[:LONGEST], " ".join(reply.split())[:LONGEST]]
        for turn, because, reply in mistakes[:MOST_MISTAKES]
    ]
    return json.dumps(kept, ensure_ascii=False)


def read_mistakes(text: object) -> list[tuple[int, str, str]]:
    """Invert `write_mistakes`.

    Raises:
        ValueError: These are none.
    """
    try:
        found = json.loads(text) if isinstance(text, str) and len(text) <= 20 * LONGEST * MOST_MISTAKES else None
    except RecursionError:
        raise ValueError("it is nested too deep") from None
    if not isinstance(found, list) or len(found) > MOST_MISTAKES:
        raise ValueError(f"a list of at most {MOST_MISTAKES} mistakes is needed")
    mistakes = []
    for one in found:
        if not isinstance(one, list) or list(map(type, one)) != [int, str, str] or not 0 <= one[0] < 10_000:
            raise ValueError("each mistake is a turn and two texts")
        mistakes.append((one[0], one[1], one[2]))
    return mistakes


def mistakes_in(text: str) -> str:
    """Return the mistakes that a text names, in their canonical form.

    Raises:
        UnparsableAction: It names none, and does not say that there was none.
    """
    with suppress(ValueError):
        return write_mistakes(read_mistakes(text))
    found: list[dict[str, str]] = []
    for line in text.split("\n"):
        if (one := LINE.fullmatch(line.strip())) is None:
            continue
        if (key := one[1].lower()) == "turn":
            found.append({"turn": number[0]} if (number := _NUMBER.match(one[2].strip(" *`"))) else {})
        elif found:
            found[-1].setdefault(key, one[2].strip(" *`"))
    whole = [
        (int(one["turn"]), one.get("because", ""), one["reply"])
        for one in found
        if one.get("turn") and one.get("reply")
    ]
    if not whole and (found or not _NONE.search(text)):
        raise UnparsableAction("answer 'No mistake', or for each mistake 'Turn: ...', 'Because: ...', 'Reply: ...'.")
    return write_mistakes(whole)
