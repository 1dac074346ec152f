"""Kuhn poker: three cards, one bet. The smallest game in which bluffing is right (H. W. Kuhn, 1950).

Both players ante 1 and get one card of J < Q < K. In turn they ``pass`` or ``bet`` 1; facing a bet, ``bet`` calls and
``pass`` folds. The first player's game value is -1/18. Information states are named as OpenSpiel names them: the
card's number (0, 1, 2) followed by the actions so far, ``p`` or ``b``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from palaestra.envs.game import Game, GameFacts, HiddenFact
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice

CARDS = "JQK"
ACTIONS = ("pass", "bet")
OTHERS = ("other", "opponent", "opponents", "they", "he", "she", "them")
"""How a review speaks of the other player."""
SAID = {"": "You act first.", "p": "Opponent passed.", "b": "Opponent bet.", "pb": "You passed, opponent bet."}

_FACTS = GameFacts(
    players=2,
    min_return=-2.0,
    max_return=2.0,
    max_turns=3,
    max_observation_chars=320,
    roles=("first", "second"),
    chance=True,
    information="imperfect",
)


@dataclass(frozen=True)
class KuhnOptions:
    """``view="words"`` explains the game, ``"brief"`` asks in a line, ``"terse"`` is card and actions: ``Kpb``."""

    view: Literal["words", "brief", "terse"] = "words"


class KuhnPoker(Game):
    """Returns are the chips won: +1 or -1 without a called bet, +2 or -2 with one."""

    id = "kuhn_poker"
    summary = "one card each, one bet: the smallest game with bluffing"
    Options = KuhnOptions

    cards: list[int]
    history: str

    @property
    def facts(self) -> GameFacts:
        return _FACTS

    def setup(self) -> None:
        deck = [0, 1, 2]
        self.dice.shuffle(deck)
        self.cards = deck[:2]
        self.history = ""

    def players_to_move(self) -> tuple[int, ...]:
        if self.history in ("pp", "bp", "bb", "pbp", "pbb"):
            return ()
        return (len(self.history) % 2,)

    def prompt(self, player: int) -> str:
        if self.options.view != "words":
            return ""
        return "Kuhn poker: cards J < Q < K, one each, ante 1. After a bet, bet calls, pass folds. Higher card wins."

    def board(self, player: int) -> str:
        if self.options.view == "terse":
            return CARDS[self.cards[player]] + self.history
        if self.options.view == "brief":
            return f"Card {CARDS[self.cards[player]]}. {SAID.get(self.history, 'The game is over.')} pass or bet?"
        said = ", ".join(ACTIONS[mark == "b"] for mark in self.history) or "none"
        return (
            f"You are the {self.role(player)} player. Your card: {CARDS[self.cards[player]]}. Actions so far: {said}."
        )

    def legal_actions(self, player: int) -> Sequence[str]:
        return ACTIONS

    def _apply(self, player: int, action: Action) -> None:
        self.history += "b" if action == "bet" else "p"
        if self.options.view == "words":
            self.emit("move", f"Player {player + 1} says {action}.", source=player)

    def _redeal(self, player: int, dice: Dice) -> None:
        self.cards[1 - player] = dice.choice([card for card in range(3) if card != self.cards[player]])

    def _deal_as(self, world: Self) -> None:
        self.cards = world.cards.copy()

    def returns(self) -> tuple[float, ...]:
        if self.history == "bp":
            gain = 1.0
        elif self.history == "pbp":
            gain = -1.0
        else:
            stake = 2.0 if self.history.endswith("bb") else 1.0
            gain = stake if self.cards[0] > self.cards[1] else -stake
        return (gain, -gain)

    def revealed(self, player: int) -> str:
        """Return the other's card."""
        card = CARDS[self.cards[1 - player]]
        return card if self.options.view == "terse" else f"The other player had {card}."

    def hidden_from(self, player: int) -> Sequence[HiddenFact]:
        """Return the other's card."""
        card = CARDS[self.cards[1 - player]]
        names = {"J": ("J", "jack"), "Q": ("Q", "queen"), "K": ("K", "king")}
        return [(OTHERS, names[card])]

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return the own card, 0 to 2, and the actions so far, as ``p`` and ``b``."""
        return {"card": self.cards[player], "history": self.history}

    def information_state(self, player: int) -> str:
        """Return OpenSpiel's name of what ``player`` knows, such as ``"2pb"``."""
        return f"{self.cards[player]}{self.history}"

    def state(self) -> dict[str, Any]:
        return {"cards": self.cards, "history": self.history}

    def _clone_state_into(self, twin: Self) -> None:
        twin.cards = self.cards.copy()
