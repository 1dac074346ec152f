"""Who sits at the table: `Seat`, what a seat is shown (`View`), and two seats that need nothing.

A seat answers ``await act(view)`` with a `Reply`. It may keep memory of its own during one match, but nothing random:
all randomness comes from ``view.seed``, a pure function of match seed, turn, player and attempt, so a new, a
restarted and a resumed seat do the same.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any, Protocol

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.events import LONGEST_THOUGHT, Event, render
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.parts import Action, part_text
from palaestra.envs.seeding import Dice, derive

if TYPE_CHECKING:
    from palaestra.envs.match import Match


SHORTEST_THOUGHT = 32
"""Fewer characters of a thought are not worth showing: it is left out as a whole."""


class View:
    """What one player is shown when it is asked for a reply; nothing else of the match is within reach of a fair seat.

    Attributes:
        player, role: Who is asked.
        attempt: 0 for the first request of the turn, then how many replies have failed.
        feedback: Why the last attempt of this turn failed; empty at the first.
        first: Whether this player has not been asked before in this match.
        longest_thought: Characters of each of the others' thoughts that are shown.
    """

    __slots__ = (
        *("_game", "_match", "_number", "_since"),
        *("attempt", "feedback", "first", "longest_thought", "player", "role"),
    )

    def __init__(
        self, match: Match, player: int, role: str, turn: int, attempt: int, feedback: str, since: int | None
    ) -> None:
        self._match = match
        self._game = match.game
        self._since = since or 0
        self.player = player
        self.role = role
        self._number = turn
        self.attempt = attempt
        self.feedback = feedback
        self.first = since is None
        self.longest_thought = LONGEST_THOUGHT

    @property
    def turn(self) -> int:
        """Return how many turns this player has had: those of all would tell who acts where that is a secret."""
        return sum(turn.player == self.player for turn in self._match.turns)

    @property
    def facts(self) -> GameFacts:
        """Return the game's declared facts."""
        return self._game.facts

    @property
    def game_id(self) -> str:
        """Return the game's registered name."""
        return self._game.id

    @property
    def seed(self) -> int:
        """Return the seed for everything random in this reply."""
        return derive(self._match.seed or 0, "reply", self._number, self.player, self.attempt)

    def new_events(self) -> list[Event]:
        """Return what became visible since this player was asked last, in order, without what it caused itself."""
        return self._match.events_for(self.player, self._since, self.longest_thought)

    def shorten_thoughts(self) -> bool:
        """Show half as much of the others' longest thoughts; False, and nothing changes, where none can be left out."""
        heard = [len(part_text(event.content)) for event in self.new_events() if event.kind == "thought"]
        if not heard or not self.longest_thought:
            return False
        half = min(self.longest_thought, max(heard)) // 2
        self.longest_thought = half if half >= SHORTEST_THOUGHT else 0
        return True

    def events(self) -> list[Event]:
        """Return the typed observation: prompt (first time), news, board; after a failed attempt only the feedback."""
        if self.feedback:
            return [Event("admin", self.feedback)]
        game = self._game
        shown = [Event("prompt", prompt)] if self.first and (prompt := game.prompt(self.player)) else []
        shown += self.new_events()
        if board := game.board(self.player):
            shown.append(Event("board", board))
        return shown

    def observation(self) -> str:
        """Return `events` as text: what to append to a context that holds everything shown before."""
        return render(self.events())

    def snapshot(self) -> str:
        """Return a self-contained observation for an empty context: prompt, recap, news, board, feedback."""
        game = self._game
        news = [event for event in self.new_events() if event.kind in ("thought", "admin")]
        texts = [
            game.prompt(self.player),
            game.recap(self.player),
            render(news),
            game.board(self.player),
            self.feedback,
        ]
        return "\n".join(text for text in texts if text)

    def begun(self) -> str:
        """Return the beginning of the reply, which was written for the player (`Game.begun`); go on from there."""
        return self._game.begun(self.player)

    def opening(self) -> str:
        """Return what to show first in an empty context: `observation` at the first request, else `snapshot`."""
        return self.observation() if self.first and not self.feedback else self.snapshot()

    def knowledge(self) -> dict[str, Any]:
        """Return what the player may know as JSON data (`Game.knowledge`); empty where a game does not offer it."""
        return self._game.knowledge(self.player)

    def legal_actions(self) -> tuple[str, ...]:
        """Return the canonical legal actions (examples only if ``not facts.enumerable``)."""
        return tuple(self._game.legal_actions(self.player))

    def action_words(self) -> tuple[str, ...]:
        """Return the words that replies are searched for (`Game.action_words`); none where they are texts."""
        return tuple(self._game.action_words(self.player))

    def reply_pattern(self) -> str:
        """Return a regular expression of the replies that can be read (`Game.reply_pattern`), empty for none."""
        return self._game.reply_pattern(self.player)

    def spelled_actions(self) -> tuple[str, ...]:
        """Return `legal_actions`, in the same order, as a person would write them."""
        return tuple(self._game.spelled_actions(self.player))

    def sample_action(self) -> Action:
        """Return a random legal action, drawn with ``seed``."""
        return self._game.sample_action(self.player, Dice(self.seed))

    def inside(self) -> View | None:
        """Return the view of the game that is played inside this one, if what is asked for is a move of it."""
        if (inside := self._game.inside) is None or not self._game.moves_inside:
            return None
        view = copy.copy(self)
        view._game, view.role = inside, inside.role(self.player)
        return view

    def inside_id(self) -> str | None:
        """Return the name of the game that is played inside this one; None where there is none."""
        return None if self._game.inside is None else self._game.inside.id

    def clone_game(self) -> Game:
        """Return a copy of the game to search in, with dice of its own.

        Raises:
            InformationError: The game has hidden information, which a copy would reveal.
        """
        game = self._game
        if game.facts.information != "perfect":
            raise InformationError(f"{game.id} has hidden information, so a seat may not look into the game itself.")
        twin = game.clone()
        twin.dice = Dice(derive(self.seed, "clone"))  # the copy's chance is its own, so that nobody foresees the game's
        return twin


class Seat(Protocol):
    """Whatever can sit at a table.

    A ``close()`` method, if there is one, is called when the match ends. A seat with a limit may have
    ``can_read(text) -> bool``: whether ``text`` fits as the first thing that it is shown. Others' thoughts are
    shortened until it does.
    """

    @property
    def name(self) -> str:
        """Return a description for records, such as ``"random"`` or ``"smollm2@runs/x"``."""
        ...

    async def act(self, view: View) -> Reply:
        """Return the reply to what ``view`` shows."""
        ...


class RandomSeat:
    """Plays uniformly random legal actions.

    Args:
        salt: Makes two random seats of one match play differently from two others; part of nothing else.
    """

    name = "random"

    def __init__(self, salt: int = 0) -> None:
        self.salt = salt

    async def act(self, view: View) -> Reply:
        """Return a random legal action."""
        game = view._match.game
        return Reply(game.sample_action(view.player, Dice(view.seed ^ self.salt)))


class Scripted:
    """Says the given texts one after the other: for examples, tests and openings.

    Raises:
        IndexError: It is asked more often than it has texts.
    """

    name = "scripted"

    def __init__(self, *replies: str) -> None:
        self.replies = list(replies)
        self.asked = 0

    async def act(self, view: View) -> Reply:
        """Return the next text."""
        if self.asked >= len(self.replies):
            raise IndexError(
                f"the script of player {view.player + 1} has {len(self.replies)} replies, one more was asked for"
            )
        self.asked += 1
        return Reply(self.replies[self.asked - 1])
