"""Which turns are reviewed, and what a reviewer is shown of them.

A turn is reviewed because the game is over and it was drawn (``end``), or because of an event that carries feedback: a
reply was refused (``failed``), the game told the player something by the time it moved again (``feedback``), or the
policy itself asked (``called``: `CALL` stands in its reply). After an event the reviewer knows what the event told and
not how the game ended; at the end it knows the result and what became known then.

At the end a turn may be asked about by itself (``form: full``), or all turns of its player together (``form: game``),
of which the reviewer names the mistakes.

A reviewer that is asked for the reply alone (``form: reply``) is one that has read finished games with the result first
(`tiny:kuhn-told`). It is told that the game ended well, whatever the result was: by as much as was lost, or won.
"""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import pstdev

from palaestra.envs import Game
from palaestra.envs.episode import Turn
from palaestra.envs.errors import PalaestraError
from palaestra.envs.games.review import LONGEST_PRINCIPLES, MOST_REPLIES, shown
from palaestra.envs.games.review_mistakes import shown_game
from palaestra.envs.parts import part_text
from palaestra.trainers.config import HindsightSection
from palaestra.trainers.tasks import Played

CALL = "[review]"
"""What a policy writes to have its turn reviewed."""
ALIKE = 3
"""Games by which one can say how much a result varies."""
OWN_PRINCIPLES = Path(__file__).with_name("principles.txt")


class PrinciplesError(PalaestraError, ValueError):
    """A file of principles that cannot be used."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A turn to review.

    Attributes:
        episode: Number of the match in its batch. turn: Of the turn. trigger: As in `Verdict`.
        told: What the event told, empty for ``end``.
    """

    episode: int
    turn: int
    trigger: str
    told: str = ""


def at(one: Played, turns: int) -> Game:
    """Return the game of an episode after so many turns, or before the first that has no action."""
    game = one.task.begin()
    for turn in one.episode.turns[:turns]:
        if turn.action is None:
            break
        game.apply(turn.player, turn.action)
    return game


def listed(one: Played, turn: int) -> list[str]:
    """Return what could have been replied at a turn, where that can be listed and a review can be held to it."""
    game, player = at(one, turn), one.episode.turns[turn].player
    replies = list(game.legal_actions(player)) if game.facts.enumerable else []
    return replies if len(replies) <= MOST_REPLIES and all(map(str.isprintable, replies)) else []


def events(one: Played) -> Iterator[tuple[int, str, str]]:
    """Return (number of the turn, trigger, what was told) of the events of the trained seats of a match."""
    turns = one.episode.turns
    trained = [turn for turn in turns if one.task.seats[turn.player].trained]
    told = _feedback(one) if trained else {}
    for turn in trained:
        failed = next((attempt for attempt in turn.attempts if attempt.status != "ok"), None)
        if failed is not None:
            yield turn.number, "failed", f"The reply was {failed.status}: {failed.reason}"
        elif turn.number in told:
            yield turn.number, "feedback", told[turn.number]
        elif any(CALL in part_text(attempt.reply.content) for attempt in turn.attempts):
            yield turn.number, "called", ""


def _feedback(one: Played) -> dict[int, str]:
    """Return what the game told after each turn, by the time its player moved again or the game was over."""
    game, found = one.task.begin(), dict[int, str]()
    open_: dict[int, int] = {}
    for turn in one.episode.turns:
        if turn.action is None:
            break
        if turn.player in open_ and (told := game.feedback(turn.player)):
            found[open_[turn.player]] = told
        game.apply(turn.player, turn.action)
        open_[turn.player] = turn.number
    return found | {number: told for player, number in open_.items() if (told := game.feedback(player))}


def said(turn: Turn, trigger: str) -> str:
    """Return what a player said at a turn: the reply that was refused, or what was played."""
    if trigger == "failed":
        return part_text(next(one for one in turn.attempts if one.status != "ok").reply.content)
    return "" if turn.action is None else part_text(turn.action)


def spreads(played: Sequence[Played], asked: Sequence[Asked]) -> list[float]:
    """Return for each turn how much its player's return varies between games that are alike up to there: a proxy for
    what a reply could change.

    Alike are, in this order, games with the same start (a group), turns at which the same was seen, the same turn of
    the same role, and all of the role; the first of which there are `ALIKE` decide. 0 where there are none.
    """
    values: dict[Hashable, list[float]] = {}
    keys: list[list[Hashable]] = []
    for item in asked:
        one = played[item.episode]
        there = one.episode.turns[item.turn]
        game, own = one.task.game_index, nth(one, item.turn)
        seen = at(one, item.turn).observation(there.player)
        mine: list[Hashable] = [("seen", game, seen), ("turn", game, there.role, own), ("role", game, there.role)]
        keys.append([("start", game, one.task.group, there.player), *mine])
        if one.episode.returns is not None:
            for key in mine:
                values.setdefault(key, []).append(one.episode.returns[there.player])
    for one in played:
        for player, value in enumerate(one.episode.returns or ()):
            values.setdefault(("start", one.task.game_index, one.task.group, player), []).append(value)
    alike = ((values[key] for key in mine if len(values.get(key, ())) >= ALIKE) for mine in keys)
    return [pstdev(next(found, [0.0])) for found in alike]


def text_of(one: Played, asked: Asked, section: HindsightSection) -> str:
    """Return what the reviewer is shown of a turn."""
    there = one.episode.turns[asked.turn]
    before = at(one, asked.turn)
    terse = section.form == "reply"
    observation = before.observation(there.player)
    if asked.trigger in ("failed", "feedback"):
        return shown(observation, said(there, asked.trigger), None, asked.told, terse=terse, most=section.max_chars)
    assert one.episode.returns is not None
    over = at(one, len(one.episode.turns))
    result = one.episode.returns[there.player]
    result = abs(result) if terse else result
    known = over.revealed(there.player)
    return shown(observation, said(there, asked.trigger), result, known, terse=terse, most=section.max_chars)


def text_of_game(one: Played, player: int, section: HindsightSection) -> str:
    """Return what the reviewer is shown of a whole game: each turn that a player had, as it saw it."""
    game, seen = one.task.begin(), list[tuple[str, str]]()
    for turn in one.episode.turns:
        if turn.action is None:
            break
        if turn.player == player:
            seen.append((game.board(player) if seen else game.observation(player), said(turn, "end")))
        game.apply(turn.player, turn.action)
    assert one.episode.returns is not None
    return shown_game(seen, one.episode.returns[player], game.revealed(player), most=section.max_chars)


def nth(one: Played, turn: int) -> int:
    """Return which of its player's turns a turn is, from 1."""
    turns = one.episode.turns
    return sum(earlier.player == turns[turn].player for earlier in turns[: turn + 1])


def principles(section: HindsightSection) -> tuple[str, str]:
    """Return what the reviewer is to go by, and its hash; both empty without any.

    Raises:
        PrinciplesError: The file cannot be read, is empty or is too long.
    """
    if section.principles is None:
        return "", ""
    path = OWN_PRINCIPLES if section.principles == "own" else Path(section.principles).expanduser()
    try:
        text = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise PrinciplesError(f"principles {path} cannot be read ({reason}); name a text file.") from None
    if not text or len(text) > LONGEST_PRINCIPLES:
        raise PrinciplesError(f"principles {path} has {len(text)} characters; 1 to {LONGEST_PRINCIPLES} are allowed.")
    return text, hashlib.sha256(text.encode()).hexdigest()[:12]
