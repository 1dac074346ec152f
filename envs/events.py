"""Typed events: what players can see, from which every view is rendered.

An *event* has a kind, a content, a source (a player, or None for the game itself) and an audience. A game appends
events to its log as it is played; the match appends the thoughts and notices that its own rules make visible. Text
for a model and JSON for a viewer are two renderings of the same events, so nothing can be in one and hidden from the
other.

Kinds: `prompt` (rules and role, once), `board` (the position as this player may know it), `move` (what somebody did),
`message` (free speech), `thought` (reasoning made visible by a rule), `admin` (the match speaking: an illegal move, a
forfeit).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal, NamedTuple

from palaestra.envs.parts import Part, part_text, part_to_json

LONGEST_THOUGHT = 4000
"""Most characters of a thought that others read; the record has all of it."""

EventKind = Literal["prompt", "board", "move", "message", "thought", "admin"]


class Event(NamedTuple):
    """One thing that happened.

    Attributes:
        kind: See the module docstring.
        content: Usually text.
        source: Index of the player it comes from; None for the game or the match.
        to: Indices of the players who may see it; None for everybody.
    """

    kind: EventKind
    content: Part
    source: int | None = None
    to: tuple[int, ...] | None = None

    def visible_to(self, player: int) -> bool:
        """Return whether ``player`` may see this event."""
        return self.to is None or player in self.to

    def to_json(self) -> dict[str, Any]:
        """Return the event as plain data for a viewer."""
        audience = None if self.to is None else list(self.to)
        return {"kind": self.kind, "content": part_to_json(self.content), "source": self.source, "to": audience}


def render(events: Iterable[Event]) -> str:
    """Return events as text, one paragraph each, speech and thoughts marked with their speaker.

    Every line that a player wrote begins with that player's mark, so a message cannot pass itself off as the game's
    voice.
    """
    return "\n".join(_paragraph(event) for event in events)


def shortened(thought: Event, limit: int) -> Event:
    """Return a thought as others read it: of one longer than ``limit`` the middle is left out, and said to be."""
    text = part_text(thought.content)
    if len(text) <= limit:
        return thought
    half = limit // 2
    left_out = f"[… {len(text) - 2 * half} characters left out …]"
    return thought._replace(content="\n".join(filter(None, [text[:half], left_out, text[len(text) - half :]])))


def _paragraph(event: Event) -> str:
    text = part_text(event.content)
    if event.source is None or event.kind not in ("message", "thought"):
        return text
    verb = "says" if event.kind == "message" else "thinks"
    mark = f"Player {event.source + 1} {verb}: "
    return "\n".join(mark + line for line in (text.splitlines() or [""]))
