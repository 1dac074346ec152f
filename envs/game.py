"""The contract of a game: rules only.

A *game* is a seeded, deterministic, cloneable state machine. It knows who is to move, what each player may observe,
how a text is read as an action, what an action does, and what the players get in the end. It does no I/O, holds no
process, model or global random state; who plays, how often a bad reply is asked for again and who reads whose
thoughts belong to `palaestra.envs.match`.

Invariants, each a clause of `palaestra.envs.conformance`:

* every random draw comes from ``self.dice``, so (game, version, options, seed, actions) is the whole story;
* a refused action changes nothing; a clone and its original never touch each other;
* ``prompt`` + ``recap`` + ``board`` tell a player all it may know and no more, at any turn, within
  ``facts.max_observation_chars``;
* in a simultaneous game, nothing shows that a player has chosen until all have;
* the declared `GameFacts` hold in play.

To write a game, subclass `Game`, fill in the methods below the line "a game implements", and register it
(`palaestra.envs.register`). `palaestra.envs.games.kuhn_poker` is the shortest complete example.
"""

from __future__ import annotations

import copy
import json
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any, ClassVar, Literal, Self

from palaestra.envs import grammar
from palaestra.envs.errors import CannotRedeal, IllegalAction
from palaestra.envs.events import Event, EventKind
from palaestra.envs.options import NoOptions, options_to_json, parse_options
from palaestra.envs.parts import Action, Part, PartKind
from palaestra.envs.seeding import Dice


@dataclass(frozen=True, slots=True)
class GameFacts:
    """What is true of every episode of a game with these options; declared as data and checked against play.

    Attributes:
        players: Number of seats.
        min_return, max_return: Bounds of any player's return, in the game's own score.
        max_turns: Upper bound on the actions of all players together.
        max_observation_chars: Upper bound on the length of ``prompt + recap + board``.
        roles: Names that ``role()`` may give; baselines and reports are kept per role.
        simultaneous: Whether several players may be to move at once.
        chance: Whether ``dice`` is ever used.
        information: ``"perfect"`` if all players see the whole state.
        utility: How the returns of the players hang together.
        actions: The types of part an action may be; what a player says as text is always read by ``parse``.
        enumerable: Whether ``legal_actions`` lists all legal actions (false for free text).
    """

    players: int
    min_return: float
    max_return: float
    max_turns: int
    max_observation_chars: int
    roles: tuple[str, ...]
    simultaneous: bool = False
    chance: bool = False
    information: Literal["perfect", "imperfect"] = "perfect"
    utility: Literal["zero_sum", "constant_sum", "general_sum", "identical"] = "zero_sum"
    actions: tuple[PartKind, ...] = ("text",)
    enumerable: bool = True


HiddenFact = tuple[tuple[str, ...], ...]
"""Groups of words; a sentence that has one of each group states the fact."""


class Game(ABC):
    """A game in progress.

    Args:
        seed: Fixes all chance in the game.
        **options: Fields of the class's ``Options`` dataclass; text is converted to the declared type.

    Raises:
        UnknownName: An option that does not exist (the nearest is named).
        OptionError: An option of the wrong type or out of range.
    """

    id: ClassVar[str]
    """Registered name, such as ``"kuhn_poker"``."""
    version: ClassVar[int] = 0
    """Rises whenever a replay of the older version could differ."""
    summary: ClassVar[str] = ""
    """One line for lists."""
    Options: ClassVar[type[Any]] = NoOptions

    def __init__(self, *, seed: int = 0, **options: Any) -> None:
        self.seed = seed
        self.options: Any = parse_options(self.Options, options, self.id)
        self.dice = Dice(seed)
        self.log: list[Event] = []
        self.setup()

    # ------------------------------------------------------------------ a game implements

    @property
    @abstractmethod
    def facts(self) -> GameFacts:
        """Return the facts for this game's options; the same at every turn."""

    @abstractmethod
    def setup(self) -> None:
        """Set the opening state, drawing from ``self.dice`` if there is chance."""

    @abstractmethod
    def players_to_move(self) -> tuple[int, ...]:
        """Return who must act now, in player order; empty when the game is over."""

    @abstractmethod
    def prompt(self, player: int) -> str:
        """Return the rules, the player's role and how to answer; the same throughout an episode."""

    @abstractmethod
    def board(self, player: int) -> str:
        """Return the position as ``player`` may know it now; shown at each of the player's turns. May be empty."""

    @abstractmethod
    def legal_actions(self, player: int) -> Sequence[str]:
        """Return the canonical legal actions of a player to move; a few examples if not ``facts.enumerable``."""

    @abstractmethod
    def _apply(self, player: int, action: Action) -> None:
        """Carry out an action that ``check`` has let through."""

    @abstractmethod
    def returns(self) -> tuple[float, ...]:
        """Return every player's return; meaningful when the game is over."""

    @abstractmethod
    def state(self) -> dict[str, Any]:
        """Return the position as JSON data: all that the rest of the game depends on, apart from options and dice."""

    # ------------------------------------------------------------------ a game may refine

    def role(self, player: int) -> str:
        """Return the player's role, one of ``facts.roles``; by default the role of that seat."""
        roles = self.facts.roles
        return roles[player] if len(roles) == self.facts.players else roles[0]

    def team(self, player: int) -> int:
        """Return the player's team; by default everybody plays alone."""
        return player

    def recap(self, player: int) -> str:
        """Return, in bounded length, what the player has seen that ``board`` does not show. By default nothing."""
        return ""

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return what ``player`` may know as JSON data, for scripted seats and viewers. By default nothing.

        It holds no more than the text of ``prompt``, ``board`` and the events shown to the player say, but may be exact
        where those are bounded (a whole history). A fresh copy at every call.
        """
        return {}

    def action_words(self, player: int) -> Sequence[str]:
        """Return every action that ``player``'s text may name, legal now or not; by default the legal ones.

        A word in here that is not legal is refused as *illegal*; any other text is *unparsable*.
        """
        return self.legal_actions(player)

    def spelled_actions(self, player: int) -> Sequence[str]:
        """Return the legal actions, in the same order, as a person would write them; by default the canonical ones."""
        return self.legal_actions(player)

    def parse(self, player: int, text: str) -> Action:
        """Read a player's text as a canonical action, leniently but never guessing.

        Raises:
            UnparsableAction: No action in the text, or two readings of it; the reason is fit to be shown to the player.
            IllegalAction: Clearly an action of this game, but not a legal one now.
        """
        return grammar.last_action(text, self.action_words(player), self.legal_actions(player))

    def check(self, player: int, action: Action) -> None:
        """Raise `IllegalAction` unless ``action`` is legal for ``player`` now; changes nothing."""
        legal = self.legal_actions(player)
        if action not in legal:
            raise IllegalAction(f"{action!r} is not legal now; legal: {grammar.shorten(legal)}.")

    def sample_action(self, player: int, dice: Dice) -> Action:
        """Return a random legal action, each equally likely where they can be listed."""
        return dice.choice(self.legal_actions(player))

    def forfeit(self, player: int) -> tuple[float, ...]:
        """Return everybody's return when ``player`` forfeits.

        By default the player gets ``min_return``; in a zero-sum game the others share what it loses, otherwise they
        get 0 (or the nearest value that the facts allow).
        """
        facts = self.facts
        if facts.utility == "identical":
            return (facts.min_return,) * facts.players
        rest = -facts.min_return / max(1, facts.players - 1) if facts.utility == "zero_sum" else 0.0
        rest = min(max(rest, facts.min_return), facts.max_return)
        return tuple(facts.min_return if seat == player else rest for seat in range(facts.players))

    def withdraw(self, player: int) -> bool:
        """Take a player who forfeits out of the game, and return whether the others play on.

        By default False, and nothing changes: the match ends, and `forfeit` says what everybody gets. A game for many
        players may return True; then it never asks the player again, and pays it at the end by ``returns``.
        """
        return False

    @property
    def inside(self) -> Game | None:
        """Return the game that is played inside this one, whose scripted seats can sit here, too; None without one."""
        return None

    @property
    def innermost(self) -> Game:
        """Return the game inside this one, or inside that; this one where nothing is."""
        return self if self.inside is None else self.inside.innermost

    @property
    def moves_inside(self) -> bool:
        """Return whether what players are asked for now is a move of the game inside."""
        return self.inside is not None

    def result(self) -> dict[str, Any]:
        """Return what else is worth recording about a finished game, as JSON data. By default nothing."""
        return {}

    def revealed(self, player: int) -> str:
        """Return what a reviewer is told at the end that ``player`` did not know during the game; terse where the view
        is. By default nothing."""
        return ""

    def hidden_from(self, player: int) -> Sequence[HiddenFact]:
        """Return what ``player`` cannot know now and a text could state; by default nothing.

        A reviewer whose reason or proposal states one has used what it was told afterwards. What a good player may
        infer, as who is mafia, is none of these.
        """
        return ()

    def begun(self, player: int) -> str:
        """Return the beginning of the player's next reply, which was written for it; by default nothing.

        The match puts it before what the player says. A language model is given it as the start of its own reply and
        goes on from there; it is context, and no part of what was sampled. Others read it only if an observation shows
        it, too.
        """
        return ""

    def reply_pattern(self, player: int) -> str:
        """Return a regular expression, the whole of which a reply in the asked form matches; by default none.

        What matches it can be parsed, and not all that can be parsed matches it. An engine that supports structured
        output draws only such replies where a seat is asked for it (`palaestra.agents.language_model.ReplySettings`).
        It is read by Rust's regular expressions, too: no look-around and no back-references.
        """
        return ""

    def feedback(self, player: int) -> str:
        """Return what has just shown ``player`` that its last move may have been wrong (a refused offer, an error of a
        tool, a card that was turned up), in a sentence; by default nothing."""
        return ""

    def clone(self) -> Self:
        """Return an independent copy of the game."""
        twin = copy.copy(self)
        twin.dice = self.dice.clone()
        twin.log = list(self.log)
        self._clone_state_into(twin)
        return twin

    def redealt(self, player: int, dice: Dice) -> Self:
        """Return a clone in which all that ``player`` cannot know is drawn anew, as likely as the rules make it.

        What the player has seen stays, and so does whatever all others may know of the player; chance to come is new,
        and who has chosen at the same time as the player, unseen, chooses again. What the others did so far is not
        weighed, for a game knows no policies: a hand that they would hardly have played so is drawn like any other.
        Whoever knows their policies weighs it (`dealt_as`). A game in which the others say what they know, and one is
        paid for reading it, is better left as it was dealt.

        Raises:
            CannotRedeal: There is something hidden, and the game does not say how it is drawn, or cannot now.
        """
        twin = self.clone()
        twin.dice = Dice(dice.bits() >> 1)
        if self.facts.information == "imperfect" or self.facts.simultaneous:
            twin._redeal(player, dice)
        return twin

    def _redeal(self, player: int, dice: Dice) -> None:
        """Draw hidden information anew, in place; a game with any may implement it."""
        raise CannotRedeal(
            f"{self.id} does not say how hidden information is drawn anew; use the deal that was played."
        )

    def dealt_as(self, world: Self) -> Self:
        """Return a clone of this position in which what is hidden is as in ``world``.

        With it one can ask what the others saw earlier in a game that was dealt anew, and so how likely they would have
        done what they did.

        Args:
            world: What `redealt` gave for this position or a later one of the same game.

        Raises:
            CannotRedeal: The game does not say how.
        """
        twin = self.clone()
        if self.facts.information == "imperfect" or self.facts.simultaneous:
            twin._deal_as(world)
        return twin

    def _deal_as(self, world: Self) -> None:
        """Take over what is hidden in ``world``, in place; a game with `_redeal` should implement it."""
        raise CannotRedeal(
            f"{self.id} does not say what earlier positions of another deal look like; use the deal that was played."
        )

    def _clone_state_into(self, twin: Self) -> None:
        """Replace what is mutable in ``twin``, a shallow copy, by copies; by default deep ones of all."""
        for name, value in vars(self).items():
            if name not in ("dice", "log", "options", "seed"):
                setattr(twin, name, copy.deepcopy(value))

    # ------------------------------------------------------------------ what every game has

    def apply(self, player: int, action: Action) -> None:
        """Play one player's canonical action (the result of `parse`).

        Raises:
            IllegalAction: The rules do not allow it; nothing has changed.
        """
        movers = self.players_to_move()
        if player not in movers:
            turn = f"player {movers[0] + 1} is to move" if movers else "the game is over"
            raise IllegalAction(f"player {player + 1} cannot move now: {turn}.")
        self.check(player, action)
        self._apply(player, action)

    def emit(
        self, kind: EventKind, content: Part, source: int | None = None, to: tuple[int, ...] | None = None
    ) -> None:
        """Append an event to the log."""
        self.log.append(Event(kind, content, source, to))

    def observation(self, player: int) -> str:
        """Return the self-contained observation (prompt, recap, board), within ``facts.max_observation_chars``."""
        return "\n".join(text for text in (self.prompt(player), self.recap(player), self.board(player)) if text)

    def is_over(self) -> bool:
        """Return whether nobody is to move any more."""
        return not self.players_to_move()

    def options_json(self) -> dict[str, Any]:
        """Return the options as JSON data, for records."""
        return options_to_json(self.options)

    def state_hash(self) -> str:
        """Return 16 hex digits over version, options, state and the randomness to come."""
        whole = [self.id, self.version, self.options_json(), self.dice.seed, self.dice.count, self.state()]
        text = json.dumps(whole, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
