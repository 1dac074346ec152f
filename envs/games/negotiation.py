"""Negotiation: two players who hold different goods, value them differently, and may make one trade.

Everybody sees who holds what; what a unit is worth to a player is that player's secret. The players speak in turn. A
turn is free talk, one *act*, or both: ``offer: give 2 wheat, take 1 gold`` proposes a trade, which stands until either
player proposes another; ``accept`` makes the trade that the other player proposed and ends the game; ``walk away`` ends
it without one, and so does the last turn.

Returns are gains in the player's own values (what it receives less what it gives); without a trade both get 0, so
nobody has to lose. Talk costs nothing, binds nobody and is all that a player can ever learn about the other's values.
A player who forfeits gets ``-max_value``, a little worse than walking away would have been, and the other 0.

How a text is read stands in `palaestra.envs.games.negotiation_grammar`, how an outcome is measured in
`palaestra.envs.games.trades`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games.negotiation_grammar import Message, example, read_message, write_message, write_trade
from palaestra.envs.games.trades import Trade, feasible_trades, gains, measures
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice

ITEMS = ("wheat", "wood", "gold", "stone", "cloth", "salt")
ROLES = ("first", "second")

RECAP_TURNS = 6
MOST_TRADES = 50_000
SMALL_TALK = (
    "What do you need most?",
    "I can be flexible.",
    "That is not enough for me.",
    "Tell me what each item is worth to you.",
)
"""What random play says."""

Ending = Literal["agreement", "walk away", "turn limit"]


@dataclass(frozen=True)
class NegotiationOptions:
    """What is traded, and how long.

    Attributes:
        items: Item types, 2 to 6.
        max_count: Most units of one type that a player can hold at the start (0 to this, at least 1 unit in all).
        max_value: Highest value of a unit (1 to this).
        max_turns: Turns of both players together.
        max_talk: Characters of talk in one turn; 0 for a game without talk. Longer talk is illegal, never cut.
        mutual_gain: Whether goods and values are drawn until some trade gives both players a gain.
        view: ``"words"`` explains everything; ``"terse"`` is one line: own holdings, the other's, own values, turn,
            and the standing offer as what this player would receive, marked ``<`` if it is the other's to accept and
            ``>`` if it is this player's own. Talk is shown in both.
    """

    items: int = 3
    max_count: int = 5
    max_value: int = 10
    max_turns: int = 12
    max_talk: int = 280
    mutual_gain: bool = True
    view: Literal["words", "terse"] = "words"

    def __post_init__(self) -> None:
        if not 2 <= self.items <= len(ITEMS):
            raise ValueError(f"items is {self.items}, but a trade needs 2 to {len(ITEMS)} item types")
        for name, least in (("max_count", 1), ("max_value", 2), ("max_turns", 2), ("max_talk", 0)):
            if getattr(self, name) < least:
                raise ValueError(f"{name} is {getattr(self, name)}, expected at least {least}")
        if (trades := (2 * self.max_count + 1) ** self.items) > MOST_TRADES:
            raise ValueError(
                f"{self.items} items with up to {self.max_count} units allow {trades} trades, more than the "
                f"{MOST_TRADES} that are enumerated for the result; lower items or max_count"
            )


class Negotiation(Game):
    """One trade between two players; trades are kept from the side of player 0."""

    id = "negotiation"
    summary = "private values, free talk, one trade"
    Options = NegotiationOptions

    items: tuple[str, ...]
    holdings: tuple[tuple[int, ...], tuple[int, ...]]
    values: tuple[tuple[int, ...], tuple[int, ...]]
    history: list[Message]
    """What was said, in turn; an offer's trade is from its speaker's side."""
    standing: tuple[int, Trade] | None
    """The offer that can be accepted: who made it, and the trade from the side of player 0."""
    ending: Ending | None

    @property
    def facts(self) -> GameFacts:
        options: NegotiationOptions = self.options
        most = float(options.items * options.max_count * options.max_value)
        listing = 16 * options.items
        chars = 900 + 4 * listing + RECAP_TURNS * (options.max_talk + listing + 80)
        return GameFacts(
            players=2,
            min_return=-most,
            max_return=most,
            max_turns=options.max_turns,
            max_observation_chars=chars if options.view == "words" else chars - 600,
            roles=ROLES,
            chance=True,
            information="imperfect",
            utility="general_sum",
            enumerable=False,
        )

    def setup(self) -> None:
        options: NegotiationOptions = self.options
        self.items = ITEMS[: options.items]
        self.history = []
        self.standing = None
        self.ending = None
        while True:
            self.holdings = (self._draw(0, options.max_count), self._draw(0, options.max_count))
            self.values = (self._draw(1, options.max_value), self._draw(1, options.max_value))
            if all(map(any, self.holdings)) and (not options.mutual_gain or self._both_can_gain()):
                return

    def _draw(self, least: int, most: int) -> tuple[int, ...]:
        return tuple(least + self.dice.below(most - least + 1) for _ in self.items)

    def _both_can_gain(self) -> bool:
        return bool((gains(feasible_trades(*self.holdings), self.values) > 0).all(axis=1).any())

    def players_to_move(self) -> tuple[int, ...]:
        return () if self.ending is not None else (len(self.history) % 2,)

    # ------------------------------------------------------------------ what players see

    def prompt(self, player: int) -> str:
        options: NegotiationOptions = self.options
        if options.view == "terse":
            return ""
        other = f"Player {2 - player}"
        talk = f"talk to {other} (at most {options.max_talk} characters), or " if options.max_talk else ""
        reach = f" {other} reads all that you write." if options.max_talk else ""
        return (
            f"Negotiation. You are Player {player + 1}. You hold {self._goods(player)}. {other} holds "
            f"{self._goods(1 - player)}. A unit is worth to you: {self._listing(self.values[player])}. {other} has "
            "other values and does not know yours. You can make one trade; your score is what you gain by it in your "
            f"values. Without a trade, after a walk away or {options.max_turns} turns, both score 0. In your turn "
            f"{talk}write one of these lines{', or both' if talk else ''}:\n"
            f"{example(self.items)}\naccept\nwalk away\n"
            f"An offer stands until somebody makes another.{reach}"
        )

    def recap(self, player: int) -> str:
        shown = self.history[-RECAP_TURNS:]
        first = len(self.history) - len(shown)
        lines = [f"Before this, {first} turns."] if first and self.options.view == "words" else []
        for number, message in enumerate(shown, start=first):
            speaker = number % 2
            if message.talk:
                lines.append(f"{'You said' if speaker == player else f'Player {speaker + 1} says'}: {message.talk}")
            if message.act is not None and self.options.view == "words":
                lines.append(self._told(speaker, message))
        return "\n".join(lines)

    def board(self, player: int) -> str:
        options: NegotiationOptions = self.options
        turn = min(len(self.history) + 1, options.max_turns)
        if options.view == "terse":
            offer = "-"
            if self.standing is not None:
                by, trade = self.standing
                offer = ("><"[by != player]) + ",".join(map(str, _turned(trade, player)))
            mine, theirs = self.holdings[player], self.holdings[1 - player]
            numbers = (",".join(map(str, row)) for row in (mine, theirs, self.values[player]))
            return f"{' '.join(numbers)} {turn}/{options.max_turns} {offer}"
        if self.standing is None:
            offer = "No offer stands."
        else:
            by, trade = self.standing
            whose = "Your offer" if by == player else f"Player {by + 1}'s offer"
            offer = f"{whose} stands: you {write_trade(_turned(trade, player), self.items)}."
        last = " This is the last turn." if turn == options.max_turns else ""
        return f"Turn {turn} of {options.max_turns}.{last} {offer}"

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return items, holdings, own values, turns, the standing offer and the whole history.

        Trades are lists of what this player would receive of each item, and ``"mine"`` says who spoke.
        """
        standing = None
        if self.standing is not None:
            by, trade = self.standing
            standing = {"mine": by == player, "trade": list(_turned(trade, player))}
        return {
            "items": list(self.items),
            "holdings": list(self.holdings[player]),
            "other_holdings": list(self.holdings[1 - player]),
            "values": list(self.values[player]),
            "turn": len(self.history),
            "max_turns": self.options.max_turns,
            "max_talk": self.options.max_talk,
            "standing": standing,
            "history": [
                {
                    "mine": number % 2 == player,
                    "talk": message.talk,
                    "act": message.act,
                    # A message's trade is from its speaker's side, who is player number % 2.
                    "trade": None if message.trade is None else list(_turned(message.trade, (number + player) % 2)),
                }
                for number, message in enumerate(self.history)
            ],
        }

    def _listing(self, counts: Sequence[int]) -> str:
        return ", ".join(f"{item} {count}" for item, count in zip(self.items, counts, strict=True))

    def _goods(self, player: int) -> str:
        return ", ".join(f"{count} {item}" for item, count in zip(self.items, self.holdings[player], strict=True))

    def _told(self, player: int, message: Message) -> str:
        """Return an act as the game tells it."""
        if message.trade is not None:
            return f"Player {player + 1} offers: {write_trade(message.trade, self.items)}."
        return f"Player {player + 1} {'accepts' if message.act == 'accept' else 'walks away'}."

    # ------------------------------------------------------------------ what players do

    def legal_actions(self, player: int) -> Sequence[str]:
        """Return examples: every act but offers, the swaps of one unit for one, and small talk."""
        acts = [Message("", "walk away")]
        if self.standing is not None and self.standing[0] != player:
            acts.insert(0, Message("", "accept"))
        mine, theirs = self.holdings[player], self.holdings[1 - player]
        kinds = range(len(self.items))
        swaps = ((give, take) for give in kinds for take in kinds if give != take and mine[give] and theirs[take])
        acts += [Message("", "offer", tuple((i == take) - (i == give) for i in kinds)) for give, take in swaps]
        acts += [Message(text) for text in self._small_talk()[:1]]
        return [write_message(act, self.items) for act in acts]

    def parse(self, player: int, text: str) -> Action:
        return write_message(read_message(text, self.items), self.items)

    def check(self, player: int, action: Action) -> None:
        message = self._message(action)
        limit = self.options.max_talk
        if message.talk and not limit:
            raise IllegalAction(
                f"there is no talk in this game; write only {example(self.items)!r}, 'accept' or 'walk away'."
            )
        if len(message.talk) > limit:
            raise IllegalAction(f"your talk has {len(message.talk)} characters; at most {limit} are allowed.")
        if message.act == "accept" and (self.standing is None or self.standing[0] == player):
            raise IllegalAction("there is no offer by the other player to accept.")
        for index, received in enumerate(message.trade or ()):
            giver = player if received < 0 else 1 - player
            held = self.holdings[giver][index]
            if abs(received) > held:
                who = "you hold" if giver == player else f"Player {giver + 1} holds"
                raise IllegalAction(f"{who} {held} {self.items[index]}, and the offer moves {abs(received)}.")

    def _apply(self, player: int, action: Action) -> None:
        message = self._message(action)
        self.history.append(message)
        if message.talk:
            self.emit("message", message.talk, source=player)
        if message.act is not None and self.options.view == "words":
            self.emit("move", self._told(player, message), source=player)
        if message.trade is not None:
            self.standing = (player, _turned(message.trade, player))
        if message.act == "accept":
            self.ending = "agreement"
        elif message.act == "walk away":
            self.ending = "walk away"
        elif len(self.history) >= self.options.max_turns:
            self.ending = "turn limit"

    def _message(self, action: Action) -> Message:
        """Return what a canonical action says."""
        try:
            message = read_message(action, self.items) if isinstance(action, str) else None
        except UnparsableAction as error:
            raise IllegalAction(error.reason) from None
        if message is None or write_message(message, self.items) != action:
            raise IllegalAction(f"{action!r} is not in canonical form; pass what `parse` returns.")
        return message

    def sample_action(self, player: int, dice: Dice) -> Action:
        """Return a random act, talk, or both, so that random play ends in each of the possible ways."""
        act: Message | None = None
        kind = dice.weighted((5, 3, 1, 3))
        if kind == 0:
            act = self._random_offer(player, dice)
        elif kind == 1 and self.standing is not None and self.standing[0] != player:
            act = Message("", "accept")
        elif kind == 2:
            act = Message("", "walk away")
        texts = self._small_talk()
        if texts and (act is None or dice.below(4) == 0):
            act = (act or Message(""))._replace(talk=dice.choice(texts))
        return write_message(act or self._random_offer(player, dice), self.items)

    def _random_offer(self, player: int, dice: Dice) -> Message:
        """Return an offer of which each item's count is uniform over what is feasible."""
        mine, theirs = self.holdings[player], self.holdings[1 - player]
        while True:
            trade = tuple(dice.below(own + other + 1) - own for own, other in zip(mine, theirs, strict=True))
            if any(trade):
                return Message("", "offer", trade)

    def _small_talk(self) -> list[str]:
        return [text for text in SMALL_TALK if len(text) <= self.options.max_talk]

    # ------------------------------------------------------------------ how it ends

    def trade(self) -> Trade | None:
        """Return the trade that was made, from the side of player 0; None if there was none."""
        return self.standing[1] if self.ending == "agreement" and self.standing is not None else None

    def returns(self) -> tuple[float, ...]:
        trade = self.trade()
        if trade is None:
            return (0.0, 0.0)
        first, second = gains(np.asarray([trade], np.int64), self.values)[0]
        return (float(first), float(second))

    def forfeit(self, player: int) -> tuple[float, ...]:
        """Return ``-max_value`` for the player, so that it never pays in place of walking away, and 0 for the other."""
        return tuple(-float(self.options.max_value) if seat == player else 0.0 for seat in range(2))

    def result(self) -> dict[str, Any]:
        """Return how the game ended, the values, and the measures of `palaestra.envs.games.trades.measures`."""
        trade = self.trade()
        return {
            "ending": self.ending,
            "agreement": trade is not None,
            "trade": None if trade is None else list(trade),
            "turns": len(self.history),
            "holdings": [list(row) for row in self.holdings],
            "values": [list(row) for row in self.values],
            **measures(trade, self.holdings, self.values),
        }

    def state(self) -> dict[str, Any]:
        return {
            "holdings": self.holdings,
            "values": self.values,
            "history": [write_message(message, self.items) for message in self.history],
        }

    def _clone_state_into(self, twin: Self) -> None:
        twin.history = self.history.copy()


def _turned(trade: Trade, player: int) -> Trade:
    """Return a trade between the sides of player 0 and of ``player``, in either direction."""
    return trade if player == 0 else tuple(-count for count in trade)
