"""What all bargaining tables share: players speak in turn, an offer stands until the next one, and words bind nobody.

A turn is free talk, one act, or both (`palaestra.envs.games.messages`). A game says what an offer is, who must accept
it and what a deal is worth; turns, refusals, the standing offer and what is shown of the past stand here.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, Literal, Self

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.game import Game
from palaestra.envs.games.messages import Message, OfferForm, Terms, read_message, write_message
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice

RECAP_TURNS = 6
SMALL_TALK = (
    "What do you need most?",
    "I can be flexible.",
    "That is not enough for me.",
    "Tell me what that is worth to you.",
)
"""What random play says."""

Ending = Literal["agreement", "walk away", "turn limit", "breakdown"]


class Talks(Game):
    """Base of the bargaining games. Their options have ``max_turns``, ``max_talk`` and ``view``."""

    history: list[tuple[int, Message]]
    """Who said what, in turn; an offer's terms are from its speaker's side."""
    standing: tuple[int, Terms] | None
    """The offer that can be accepted: who made it, and its terms as the game keeps them."""
    ending: Ending | None

    def setup(self) -> None:
        self.history = []
        self.standing = None
        self.ending = None

    # ------------------------------------------------------------------ a bargaining game implements

    @abstractmethod
    def form(self, player: int) -> OfferForm:
        """Return what a player's offers look like."""

    @abstractmethod
    def check_offer(self, player: int, terms: Terms) -> None:
        """Raise `IllegalAction` unless the player may offer this."""

    @abstractmethod
    def random_terms(self, player: int, dice: Dice) -> Terms:
        """Return a random offer that is legal."""

    def turned(self, terms: Terms, player: int) -> Terms:
        """Return terms between the side of ``player`` and as the game keeps them, in either direction."""
        return terms

    # ------------------------------------------------------------------ turns

    def players_to_move(self) -> tuple[int, ...]:
        return () if self.ending is not None else (len(self.history) % self.facts.players,)

    def parse(self, player: int, text: str) -> Action:
        form = self.form(player)
        return write_message(read_message(text, form), form)

    def check(self, player: int, action: Action) -> None:
        message = self._message(player, action)
        limit = self.options.max_talk
        if message.talk and not limit:
            example = f"offer: {self.form(player).example}"
            raise IllegalAction(f"there is no talk in this game; write only {example!r}, 'accept' or 'walk away'.")
        if len(message.talk) > limit:
            raise IllegalAction(f"your talk has {len(message.talk)} characters; at most {limit} are allowed.")
        if message.act == "accept" and not self.can_accept(player):
            raise IllegalAction(f"there is no offer by {self._others()} to accept.")
        if message.terms is not None:
            self.check_offer(player, message.terms)

    def can_accept(self, player: int) -> bool:
        """Return whether an offer stands that is the player's to accept."""
        return self.standing is not None and self.standing[0] != player

    def _others(self) -> str:
        return "the other player" if self.facts.players == 2 else "another player"

    def _apply(self, player: int, action: Action) -> None:
        message = self._message(player, action)
        self.history.append((player, message))
        if message.talk:
            self.emit("message", message.talk, source=player)
        if message.act is not None and self.options.view == "words":
            self.emit("move", self.told(player, message), source=player)
        if message.terms is not None:
            self.standing = (player, self.turned(message.terms, player))
        self.carry_out(player, message)
        if self.ending is None and len(self.history) >= self.options.max_turns:
            self.ending = "turn limit"

    def carry_out(self, player: int, message: Message) -> None:
        """Do what an act does beyond making the standing offer."""
        if message.act == "accept":
            self.ending = "agreement"
        elif message.act == "walk away":
            self.ending = "walk away"

    def deal(self) -> Terms | None:
        """Return the terms that were agreed, as the game keeps them; None if there are none."""
        return self.standing[1] if self.ending == "agreement" and self.standing is not None else None

    def kept(self, discount: float) -> float:
        """Return what is left of a gain after all turns before the last: the discount to the power of their number."""
        kept = 1.0
        for _ in range(len(self.history) - 1):
            kept *= discount  # step by step, so that it is the same on every machine
        return kept

    def _message(self, player: int, action: Action) -> Message:
        """Return what a canonical action says."""
        form = self.form(player)
        try:
            message = read_message(action, form) if isinstance(action, str) else None
        except UnparsableAction as error:
            raise IllegalAction(error.reason) from None
        if message is None or write_message(message, form) != action:
            raise IllegalAction(f"{action!r} is not in canonical form; pass what `parse` returns.")
        return message

    # ------------------------------------------------------------------ what players see and may say

    def recap(self, player: int) -> str:
        shown = self.history[-RECAP_TURNS:]
        first = len(self.history) - len(shown)
        lines = [f"Before this, {first} turns."] if first and self.options.view == "words" else []
        for speaker, message in shown:
            if message.talk:
                lines.append(f"{'You said' if speaker == player else f'Player {speaker + 1} says'}: {message.talk}")
            if message.act is not None and self.options.view == "words":
                lines.append(self.told(speaker, message))
        return "\n".join(lines)

    def told(self, player: int, message: Message) -> str:
        """Return an act as the game tells it."""
        if message.terms is not None:
            return f"Player {player + 1} offers: {self.form(player).write(message.terms)}."
        return f"Player {player + 1} {'accepts' if message.act == 'accept' else 'walks away'}."

    def standing_line(self, player: int, written: Callable[[Terms], str]) -> str:
        """Return the turn and the offer that stands; ``written`` says its terms."""
        turn, most = min(len(self.history) + 1, self.options.max_turns), self.options.max_turns
        offer = "No offer stands."
        if self.standing is not None:
            by, terms = self.standing
            whose = "Your offer" if by == player else f"Player {by + 1}'s offer"
            offer = f"{whose} stands: {written(terms)}."
        last = " This is the last turn." if turn == most else ""
        return f"Turn {turn} of {most}.{last} {offer}"

    def known_talks(self, player: int) -> dict[str, Any]:
        """Return what every player knows of the talks as JSON data, offers from this player's side."""
        standing = None
        if self.standing is not None:
            by, terms = self.standing
            standing = {"mine": by == player, "terms": list(self.turned(terms, player))}
        return {
            "turn": len(self.history),
            "max_turns": self.options.max_turns,
            "max_talk": self.options.max_talk,
            "standing": standing,
            "history": self.past(player),
        }

    def feedback(self, player: int) -> str:
        """Return that the player's last offer was not taken, once somebody has answered it in another way."""
        own = [number for number, (speaker, _) in enumerate(self.history) if speaker == player]
        if not own or self.history[own[-1]][1].act != "offer":
            return ""
        after = [message.act for _, message in self.history[own[-1] + 1 :]]
        return "" if not after or "accept" in after else "The offer was not accepted."

    def answers(self, player: int) -> str:
        """Return the part of a prompt that says how to answer."""
        talk, reads = "", ""
        if limit := self.options.max_talk:
            two = self.facts.players == 2
            talk = f"talk to {f'Player {2 - player}' if two else 'the others'} (at most {limit} characters), or "
            reads = f" {f'Player {2 - player} reads' if two else 'All read'} all that you write."
        return (
            f"In your turn {talk}write one of these lines{', or both' if talk else ''}:\n"
            f"offer: {self.form(player).example}\naccept\nwalk away\n"
            f"An offer stands until somebody makes another.{reads}"
        )

    def past(self, player: int) -> list[dict[str, Any]]:
        """Return the whole history as JSON data, offers from this player's side."""
        return [
            {
                "player": speaker,
                "mine": speaker == player,
                "talk": message.talk,
                "act": message.act,
                "terms": None
                if message.terms is None
                else list(self.turned(self.turned(message.terms, speaker), player)),
            }
            for speaker, message in self.history
        ]

    def example_offers(self, player: int) -> Sequence[Terms]:
        """Return a few offers, for those who want to see what is legal."""
        return [self.random_terms(player, Dice(0))]

    def legal_actions(self, player: int) -> Sequence[str]:
        """Return examples: every act but offers, some offers, and small talk."""
        acts = [Message("", "walk away")]
        if self.can_accept(player):
            acts.insert(0, Message("", "accept"))
        acts += [Message("", "offer", terms) for terms in self.example_offers(player)]
        acts += [Message(text) for text in self._small_talk()[:1]]
        return [write_message(act, self.form(player)) for act in acts]

    def sample_action(self, player: int, dice: Dice) -> Action:
        """Return a random act, talk, or both, so that random play ends in each of the possible ways."""
        act: Message | None = None
        kind = dice.weighted((5, 3, 1, 3))
        if kind == 0:
            act = Message("", "offer", self.random_terms(player, dice))
        elif kind == 1 and self.can_accept(player):
            act = Message("", "accept")
        elif kind == 2:
            act = Message("", "walk away")
        texts = self._small_talk()
        if texts and (act is None or dice.below(4) == 0):
            act = (act or Message(""))._replace(talk=dice.choice(texts))
        return write_message(act or Message("", "offer", self.random_terms(player, dice)), self.form(player))

    def _small_talk(self) -> list[str]:
        return [text for text in SMALL_TALK if len(text) <= self.options.max_talk]

    # ------------------------------------------------------------------ for records

    def said(self) -> list[list[Any]]:
        """Return the history as JSON data: who, and the canonical text."""
        return [[speaker, write_message(message, self.form(speaker))] for speaker, message in self.history]

    def _clone_state_into(self, twin: Self) -> None:
        twin.history = self.history.copy()
