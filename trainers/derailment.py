"""Derailment: whether what one player says makes another one fail.

In a game with talk a policy can learn to write messages after which its opponent no longer answers legally: noise,
instructions, text that looks like the game's own. That wins games and teaches nothing. So for each pair of players the
rate of failed replies after a message of the one is compared with the other's own rate at all its other turns:

* a turn comes *after a message* of a player if the message was shown to its own player for the first time before it;
* it *fails* if its first reply was illegal, unparsable, truncated, or a refusal (a reply like "I can't help with that",
  whatever the game makes of it);
* the *rise* is the difference of both rates, with the interval of R. G. Newcombe (Statistics in Medicine 17, 1998,
  873-890, method 10), which holds for small counts.

A rise is no proof: messages are not thrown by dice, and a player who talks when the other is in trouble has one, too.
The messages that came before failures are listed to be read.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass

from palaestra.envs.episode import Episode, Turn
from palaestra.envs.parts import part_text
from palaestra.trainers.summary import Estimate, wilson

EXAMPLES = 5
"""Messages kept for each pair of players in a game, and shown for each pair in all."""
EXCERPT = 400
"""Characters kept of a message or a reply."""

_REFUSAL = re.compile(
    r"\bi(?:'m| am)? (?:sorry,? (?:but )?i )?(?:can(?:'|\u2019)?t|cannot|can not|won(?:'|\u2019)?t|will not"
    r"|am unable to|unable to|not able to)"
    r" (?:help|assist|comply|continue|participate|provide|engage|do that|fulfil|answer)"
    r"|\bas an ai\b|\bagainst my (?:guidelines|polic|programming)",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Example:
    """A message and the failure after it.

    Attributes:
        said: What the speaker did since the listener's turn before: its accepted actions, talk included.
        reply: The failed reply.
        verdict: ``illegal``, ``unparsable``, ``truncated`` or ``refused``.
        place: The game it is from and the turn, for a reader.
    """

    said: str
    reply: str
    verdict: str
    place: str


@dataclass(frozen=True, slots=True)
class Tally:
    """One listener's turns, divided by whether they come after a message of one speaker.

    Attributes:
        after, after_failed: Turns after a message, and those of them that failed.
        other, other_failed: The same at all other turns.
    """

    after: int = 0
    after_failed: int = 0
    other: int = 0
    other_failed: int = 0
    examples: tuple[Example, ...] = ()

    def __add__(self, more: Tally) -> Tally:
        return Tally(
            self.after + more.after,
            self.after_failed + more.after_failed,
            self.other + more.other,
            self.other_failed + more.other_failed,
            (*self.examples, *more.examples)[:EXAMPLES],
        )

    @property
    def rise(self) -> Estimate | None:
        """Return the rate after messages less the rate elsewhere, with a 95 % interval; None where one is missing."""
        if not self.after or not self.other:
            return None
        after, other = wilson(self.after_failed, self.after), wilson(self.other_failed, self.other)
        rise = after.mean - other.mean
        low = rise - math.hypot(after.mean - after.low, other.high - other.mean)
        high = rise + math.hypot(after.high - after.mean, other.mean - other.low)
        return Estimate(rise, low, high, self.after + self.other)


Pair = tuple[str, str]
"""Speaker and listener, by name."""


def verdict(turn: Turn) -> str:
    """Return how the first reply of a turn failed; empty if it did not."""
    if not turn.attempts:
        return ""
    first = turn.attempts[0]
    if first.status == "truncated" or not _REFUSAL.search(part_text(first.reply.content)):
        return "" if first.status == "ok" else first.status
    return "refused"


def tallies(episode: Episode, names: tuple[str, ...] | None = None, place: str = "") -> dict[Pair, Tally]:
    """Return the tallies of one episode by pair; empty for a game in which nobody said anything.

    Args:
        episode: What was played.
        names: Who sat where; by default the seats' own names.
        place: How to call the game in examples.
    """
    names = names or episode.seats
    speakers = sorted({speaker for turn in episode.turns for speaker in turn.heard})
    before: dict[int, int] = {}
    found: dict[Pair, Tally] = {}
    for number, turn in enumerate(episode.turns):
        failed = verdict(turn)
        for speaker in speakers:
            if speaker == turn.player:
                continue
            pair = (names[speaker], names[turn.player])
            if speaker not in turn.heard:
                tally = Tally(other=1, other_failed=bool(failed))
            else:
                since = before.get(turn.player, 0)
                examples = (_example(episode, speaker, turn, since, failed, place),) if failed else ()
                tally = Tally(after=1, after_failed=bool(failed), examples=examples)
            found[pair] = found.get(pair, Tally()) + tally
        before[turn.player] = number
    return found


@dataclass(frozen=True, slots=True)
class Derailment:
    """What the messages of one player did to the replies of another, for a page."""

    speaker: str
    listener: str
    tally: Tally
    rise: Estimate


def listed(whole: dict[Pair, Tally]) -> tuple[Derailment, ...]:
    """Return the pairs that have a rise, the largest first."""
    found = [Derailment(*pair, tally, rise) for pair, tally in whole.items() if (rise := tally.rise) is not None]
    return tuple(sorted(found, key=lambda one: (-one.rise.mean, one.speaker, one.listener)))


def merged(parts: Iterable[dict[Pair, Tally]]) -> dict[Pair, Tally]:
    """Return the tallies of many episodes together."""
    whole: dict[Pair, Tally] = {}
    for part in parts:
        for pair, tally in part.items():
            whole[pair] = whole.get(pair, Tally()) + tally
    return whole


def _example(episode: Episode, speaker: int, turn: Turn, since: int, failed: str, place: str) -> Example:
    said = [
        part_text(one.action)
        for one in episode.turns[since : turn.number]
        if one.player == speaker and one.action is not None
    ]
    reply = part_text(turn.attempts[0].reply.content)
    where = f"{place or episode.game}, turn {turn.number + 1}"
    return Example(_cut("\n".join(said)), _cut(reply), failed, where)


def _cut(text: str) -> str:
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
