"""Auctions with private values: sealed bids, where the winner pays its own bid or the second one, or ascending ones.

Several items are sold one after the other. What an item is worth to a player is drawn anew for each item and is the
player's secret; all know that it is uniform from 1 to ``max_value``. Nobody may bid more than ``max_value``.

* *First price*, *second price* (Vickrey, 1961): all bid at once, unseen; the highest bid wins, ties by lot, and pays
  itself or the highest of the others. Under the second-price rule bidding one's value is best whatever others do; under
  the first-price rule the symmetric equilibrium for n risk-neutral players bids about (n - 1) / n of it.
* *Ascending*: in turn each player raises the bid or passes and is out; who is left pays its bid.

Returns are values won less prices paid, summed over the items; who never wins gets 0. A player who forfeits leaves, its
bids count as passes, and it gets ``-max_value`` at the end; the others bid on.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, Self

from palaestra.envs.errors import UnparsableAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice

PASS = "pass"
NOBODY = -1


@dataclass(frozen=True)
class AuctionOptions:
    """What is sold, to how many, and how.

    Attributes:
        kind: ``first_price`` and ``second_price`` with sealed bids, or ``ascending``.
        players: 2 to 6.
        items: How many items are sold one after the other.
        max_value: Highest value and highest bid.
        reserve: Lowest bid that counts.
    """

    kind: Literal["first_price", "second_price", "ascending"] = "first_price"
    players: int = 3
    items: int = 3
    max_value: int = 20
    reserve: int = 1

    def __post_init__(self) -> None:
        if not 2 <= self.players <= 6:
            raise ValueError(f"players is {self.players}, expected 2 to 6")
        for name, least, most in (("items", 1, 50), ("max_value", 2, 1000), ("reserve", 1, self.max_value)):
            if not least <= getattr(self, name) <= most:
                raise ValueError(f"{name} is {getattr(self, name)}, expected {least} to {most}")


class Sale(NamedTuple):
    """One item that was sold, or not; ``bids`` are each player's highest, 0 for none."""

    winner: int
    price: int
    bids: tuple[int, ...]


class Auction(Game):
    """Items and players are numbered from 0."""

    id = "auction"
    summary = "sealed or ascending bids for items of private value"
    Options = AuctionOptions

    values: tuple[tuple[int, ...], ...]
    """By item, what it is worth to each player."""
    sales: list[Sale]
    bids: dict[int, int]
    """Bids for the current item so far: in a sealed auction of this round, else each player's highest."""
    bidding: tuple[int, ...]
    """Who is still in, in an ascending auction."""
    turn: int
    """Whose turn it is there."""
    left: tuple[int, ...]
    """Players who have left the game."""

    @property
    def facts(self) -> GameFacts:
        options: AuctionOptions = self.options
        most = float(options.items * options.max_value)
        raises = options.max_value + options.players if options.kind == "ascending" else options.players
        return GameFacts(
            players=options.players,
            min_return=-most,
            max_return=most,
            max_turns=options.items * raises,
            max_observation_chars=900 + options.items * (30 + 14 * options.players) + 24 * options.players,
            roles=("bidder",),
            simultaneous=options.kind != "ascending",
            chance=True,
            information="imperfect",
            utility="general_sum",
        )

    def setup(self) -> None:
        options: AuctionOptions = self.options
        self.values = tuple(
            tuple(1 + self.dice.below(options.max_value) for _ in range(options.players)) for _ in range(options.items)
        )
        self.sales = []
        self.left = ()
        self._open()

    def _open(self) -> None:
        """Put the next item up."""
        players = self.options.players
        self.bids = {}
        self.bidding = tuple(player for player in range(players) if player not in self.left)
        # Each item begins with another player, so that the seat does not matter.
        order = [(len(self.sales) + offset) % players for offset in range(players)]
        self.turn = next((player for player in order if player in self.bidding), 0)

    @property
    def item(self) -> int:
        """Return the number of the current item."""
        return len(self.sales)

    def players_to_move(self) -> tuple[int, ...]:
        if self.item >= self.options.items or not self.bidding:
            return ()
        if self.options.kind == "ascending":
            return (self.turn,)
        return tuple(player for player in self.bidding if player not in self.bids)

    def prompt(self, player: int) -> str:
        options: AuctionOptions = self.options
        how = {
            "first_price": "All bid at once and unseen; the highest bid wins, ties by lot, and pays itself.",
            "second_price": "All bid at once and unseen; the highest bid wins, ties by lot, and pays the next bid.",
            "ascending": "In turn you raise the highest bid or pass and are out; who is left pays its bid.",
        }[options.kind]
        return (
            f"Auction. You are Player {player + 1} of {options.players}; {options.items} items are sold one by one. "
            f"What an item is worth to each player is drawn from 1 to {options.max_value}; only you know your value. "
            f"{how} Bids are whole numbers from {options.reserve} to {options.max_value}. Your score is the value of "
            "what you win less what you pay. Answer with bid and a number, such as bid 5, or with pass; the last one "
            "in your answer counts."
        )

    def recap(self, player: int) -> str:
        return "\n".join(self._told(number) for number in range(len(self.sales)))

    def board(self, player: int) -> str:
        options: AuctionOptions = self.options
        score = self.scores()[player]
        if self.item >= options.items:
            return f"All items are sold. Your score: {score}."
        head = f"Item {self.item + 1} of {options.items} is worth {self.values[self.item][player]} to you."
        if options.kind == "ascending":
            highest = f"Highest bid: {self._highest()}." if self.bids else "No bid yet."
            out = [one for one in range(options.players) if one not in self.bidding]
            gone = f" Out: {', '.join(f'Player {one + 1}' for one in out)}." if out else ""
            head += f" {highest}{gone}"
        return f"{head} Your score so far: {score}."

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return the rules' numbers, own values up to now, sales, own bid, and in an ascending auction the bids."""
        shown = min(self.item + 1, self.options.items)
        ascending = self.options.kind == "ascending"
        return {
            "player": player,
            "values": [values[player] for values in self.values[:shown]],
            "sales": [[sale.winner, sale.price, *sale.bids] for sale in self.sales],
            "bids": sorted(self.bids.items()) if ascending else [],
            "bidding": list(self.bidding),
            "to_move": player in self.players_to_move(),
            "turn": self.turn if ascending else -1,
            "kind": self.options.kind,
            "max_value": self.options.max_value,
            "players": self.options.players,
            "reserve": self.options.reserve,
        }

    def revealed(self, player: int) -> str:
        """Return what the items were worth to the others."""
        others = (
            f"to Player {one + 1} {', '.join(str(values[one]) for values in self.values)}"
            for one in range(self.options.players)
            if one != player
        )
        return f"The items were worth {'; '.join(others)}."

    def _highest(self) -> int:
        return max(self.bids.values(), default=0)

    def legal_actions(self, player: int) -> Sequence[str]:
        options: AuctionOptions = self.options
        least = max(options.reserve, self._highest() + 1) if options.kind == "ascending" else options.reserve
        return [PASS, *(f"bid {amount}" for amount in range(least, options.max_value + 1))]

    def action_words(self, player: int) -> Sequence[str]:
        return [PASS, *(f"bid {amount}" for amount in range(1, self.options.max_value + 1))]

    def parse(self, player: int, text: str) -> Action:
        try:
            return super().parse(player, text)
        except UnparsableAction:
            # "I'd go up to 7" has one reading, as long as one number stands in it.
            numbers = set(re.findall(r"(?<![\w.,-])\d+(?![\w.,]*\d)", text))
            if len(numbers) != 1 or len(number := numbers.pop()) > 6:
                raise
            return f"bid {int(number)}"

    def _apply(self, player: int, action: Action) -> None:
        amount = 0 if action == PASS else int(str(action).removeprefix("bid "))
        if self.options.kind == "ascending":
            self._raise(player, amount)
            return
        self.bids = {**self.bids, player: amount}
        if not self.players_to_move():
            self._settle_sealed()

    def _raise(self, player: int, amount: int) -> None:
        following = self._after(player)
        if amount:
            self.bids = {**self.bids, player: amount}
            self.emit("move", f"Player {player + 1} bids {amount}.", source=player)
        else:
            self.bidding = tuple(one for one in self.bidding if one != player)
            self.emit("move", f"Player {player + 1} passes.", source=player)
        self.turn = following
        self._settle_ascending()

    def _after(self, player: int) -> int:
        players = self.options.players
        order = [(player + offset) % players for offset in range(1, players + 1)]
        return next((one for one in order if one in self.bidding and one != player), player)

    def _settle_ascending(self) -> None:
        """Sell when one is left who has bid, or nobody could raise any more."""
        holder = max(self.bids, key=lambda one: self.bids[one], default=NOBODY)
        alone = len(self.bidding) == 1 and holder in self.bidding
        if not self.bidding or alone or self._highest() >= self.options.max_value:
            self._sell(holder, self._highest())

    def _settle_sealed(self) -> None:
        highest = self._highest()
        if not highest:
            self._sell(NOBODY, 0)
            return
        first = [player for player in sorted(self.bids) if self.bids[player] == highest]
        winner = first[0] if len(first) == 1 else self.dice.choice(first)
        others = [amount for player, amount in self.bids.items() if player != winner]
        second = max(self.options.reserve, *others) if others else self.options.reserve
        self._sell(winner, highest if self.options.kind == "first_price" else second)

    def _sell(self, winner: int, price: int) -> None:
        bids = tuple(self.bids.get(player, 0) for player in range(self.options.players))
        self.sales = [*self.sales, Sale(winner, price if winner != NOBODY else 0, bids)]
        self.emit("admin", self._told(len(self.sales) - 1))
        self._open()

    def _told(self, number: int) -> str:
        sale = self.sales[number]
        bids = ", ".join(f"Player {player + 1} {amount}" for player, amount in enumerate(sale.bids) if amount)
        if sale.winner == NOBODY:
            return f"Item {number + 1}: nobody bids."
        return f"Item {number + 1}: Player {sale.winner + 1} pays {sale.price}. Bids: {bids}."

    def _redeal(self, player: int, dice: Dice) -> None:
        """Draw anew what items are worth, but to the player those that it has been shown; sealed bids of the others for
        the current item are made again."""
        options: AuctionOptions = self.options
        drawn = [[1 + dice.below(options.max_value) for _ in range(options.players)] for _ in range(options.items)]
        self.values = tuple(
            tuple(own if one == player and item <= self.item else drawn[item][one] for one, own in enumerate(values))
            for item, values in enumerate(self.values)
        )
        if options.kind != "ascending":
            self.bids = {one: amount for one, amount in self.bids.items() if one == player}

    def _deal_as(self, world: Self) -> None:
        self.values = world.values

    def withdraw(self, player: int) -> bool:
        """Take the player out; the others bid on, as long as there are two."""
        if player in self.left:
            return True
        if len(self.left) + 2 >= self.options.players:
            return False
        self.left = (*self.left, player)
        self.emit("admin", f"Player {player + 1} leaves the auction.")
        following = self._after(player)
        self.bidding = tuple(one for one in self.bidding if one != player)
        self.bids = {one: amount for one, amount in self.bids.items() if one != player}
        if self.options.kind == "ascending":
            self.turn = following if self.turn == player else self.turn
            self._settle_ascending()
        elif self.bidding and not self.players_to_move():
            self._settle_sealed()
        return True

    def scores(self) -> tuple[int, ...]:
        """Return each player's value won less price paid so far."""
        totals = [0] * self.options.players
        for item, sale in enumerate(self.sales):
            if sale.winner != NOBODY:
                totals[sale.winner] += self.values[item][sale.winner] - sale.price
        return tuple(totals)

    def returns(self) -> tuple[float, ...]:
        worst = -float(self.options.max_value)
        return tuple(worst if player in self.left else float(score) for player, score in enumerate(self.scores()))

    def forfeit(self, player: int) -> tuple[float, ...]:
        """Return ``-max_value`` for the player and 0 for the others."""
        return tuple(-float(self.options.max_value) if one == player else 0.0 for one in range(self.options.players))

    def result(self) -> dict[str, Any]:
        """Return the sales, revenue, efficiency, and how the bids stood to the values.

        ``efficiency``: value to the winners over the highest values, all items together. ``bid_over_value``: each
        player's mean of bid over value, over the items it bid for; None if it never bid.
        """
        best = sum(max(values) for values in self.values)
        won = sum(self.values[item][sale.winner] for item, sale in enumerate(self.sales) if sale.winner != NOBODY)
        ratios: list[float | None] = []
        for player in range(self.options.players):
            own = [
                sale.bids[player] / self.values[item][player]
                for item, sale in enumerate(self.sales)
                if sale.bids[player]
            ]
            ratios.append(sum(own) / len(own) if own else None)
        return {
            "sales": [[sale.winner, sale.price, list(sale.bids)] for sale in self.sales],
            "values": [list(values) for values in self.values],
            "revenue": sum(sale.price for sale in self.sales),
            "efficiency": won / best,
            "surplus": list(self.scores()),
            "bid_over_value": ratios,
        }

    def state(self) -> dict[str, Any]:
        return {
            "values": self.values,
            "sales": self.sales,
            "bids": sorted(self.bids.items()),
            "bidding": self.bidding,
            "turn": self.turn,
            "left": self.left,
        }

    def _clone_state_into(self, twin: Self) -> None:
        """Everything is immutable or replaced as a whole, so a shallow copy is a copy."""
