"""Derailment: whether what one player says makes another one fail.

In a game with talk a policy can learn to write messages after which its opponent no longer answers legally: noise,
instructions, text that looks like the game's own. That wins games and teaches nothing. So for each pair of players the
rate of failed replies after a message of the one is compared with the other's own rate at all its other turns, in all
games, whoever else sat there:

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
from dataclasses import dataclass, replace

from palaestra.envs.episode import Episode, Turn
from palaestra.envs.parts import part_text
from palaestra.trainers.summary import Estimate, wilson

EXAMPLES = 50
"""Messages kept for each pair of players."""
EVERYBODY = ""
"""Stands in the place of the speaker for all turns of a listener."""
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
        other, other_failed: The same at all other turns; as counted in games (`tallies`), all turns of the listener,
            under the speaker `EVERYBODY`.
        examples: The first failures after a message.
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
    """Return the tallies of one episode by pair: turns after messages, and all turns under the speaker `EVERYBODY`.

    Args:
        episode: What was played.
        names: Who sat where; by default the seats' own names.
        place: How to call the game in examples.
    """
    names = names or episode.seats
    before: dict[int, int] = {}
    found: dict[Pair, Tally] = {}

    def count(speaker: str, listener: str, tally: Tally) -> None:
        found[speaker, listener] = found.get((speaker, listener), Tally()) + tally

    for number, turn in enumerate(episode.turns):
        failed = verdict(turn)
        listener = names[turn.player]
        count(EVERYBODY, listener, Tally(other=1, other_failed=bool(failed)))
        since = before.get(turn.player, 0)
        for name, speakers in _by_name(turn.heard, names).items():
            examples = (_example(episode, speakers, turn, since, failed, place),) if failed else ()
            count(name, listener, Tally(after=1, after_failed=bool(failed), examples=examples))
        before[turn.player] = number
    return found


def _by_name(seats: Iterable[int], names: tuple[str, ...]) -> dict[str, list[int]]:
    """Return the seats of each name, so that a turn after two seats of one player counts once."""
    found: dict[str, list[int]] = {}
    for seat in seats:
        found.setdefault(names[seat], []).append(seat)
    return found


@dataclass(frozen=True, slots=True)
class Derailment:
    """What the messages of one player did to the replies of another, for a page.

    ``rise`` is None where every turn of the listener comes after a message of the speaker, so that nothing is left to
    compare with.
    """

    speaker: str
    listener: str
    tally: Tally
    rise: Estimate | None


def listed(whole: dict[Pair, Tally]) -> tuple[Derailment, ...]:
    """Return the pairs of whom one was heard by the other, the largest rise (or, without one, rate) first."""
    found = []
    for (speaker, listener), heard in whole.items():
        if speaker != EVERYBODY:
            every = whole[EVERYBODY, listener]
            other, other_failed = every.other - heard.after, every.other_failed - heard.after_failed
            tally = replace(heard, other=other, other_failed=other_failed)
            found.append(Derailment(speaker, listener, tally, tally.rise))
    return tuple(sorted(found, key=lambda one: (-_size(one), one.speaker, one.listener)))


def _size(one: Derailment) -> float:
    return one.rise.mean if one.rise is not None else one.tally.after_failed / one.tally.after


def merged(parts: Iterable[dict[Pair, Tally]]) -> dict[Pair, Tally]:
    """Return the tallies of many episodes together."""
    whole: dict[Pair, Tally] = {}
    for part in parts:
        for pair, tally in part.items():
            whole[pair] = whole.get(pair, Tally()) + tally
    return whole


def _example(episode: Episode, speakers: list[int], turn: Turn, since: int, failed: str, place: str) -> Example:
    said = [
        part_text(one.action)
        for one in episode.turns[since : turn.number]
        if one.player in speakers and one.action is not None
    ]
    reply = part_text(turn.attempts[0].reply.content)
    where = f"{place or episode.game}, turn {turn.number + 1}"
    return Example(_cut("\n".join(said)), _cut(reply), failed, where)


def _cut(text: str) -> str:
    return text if len(text) <= EXCERPT else text[: EXCERPT - 1] + "…"
