"""Trades between two players with additive values.

A *trade* is a vector of integers over the item types, written from one player's side: what it receives, negative what
it gives. It is *feasible* if nobody gives more than it holds. A player's *gain* is its own value of what it receives.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from palaestra.envs.errors import IllegalAction
from palaestra.envs.games import outcomes
from palaestra.envs.games.messages import Terms

Trade: TypeAlias = Terms

_WORDS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBERS = {"a": 1, "an": 1} | {word: number for number, word in enumerate(_WORDS)}
_GIVE, _TAKE = r"give\s+(?P<give>.+?)", r"(?:take|get|receive)\s+(?P<take>.+?)"
_COUNT = re.compile(r"(\d{1,6}|[a-z]+)\s*(?:x\s*|units?\s+(?:of\s+)?)?([a-z]+)", re.IGNORECASE)
_BODIES = tuple(
    re.compile(rf"{first}(?:\s*[,;]\s*|\s+)(?:and\s+|to\s+|i\s+)*{second}", re.IGNORECASE)
    for first, second in ((_GIVE, _TAKE), (_TAKE, _GIVE))
)


def feasible_trades(mine: Sequence[int], theirs: Sequence[int]) -> NDArray[np.int64]:
    """Return all feasible trades from the side of the holder of ``mine``, int64[trades, items], in a fixed order."""
    ranges = [np.arange(-own, other + 1) for own, other in zip(mine, theirs, strict=True)]
    grid = np.meshgrid(*ranges, indexing="ij")
    return np.stack([axis.reshape(-1) for axis in grid], axis=1).astype(np.int64)


def gains(trades: NDArray[np.int64], values: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return both players' gains, int64[trades, 2], for trades written from the side of player 0."""
    first, second = (np.asarray(worth, np.int64) for worth in values)
    return np.stack([trades @ first, -(trades @ second)], axis=1)


def measures(trade: Trade | None, holdings: Sequence[Sequence[int]], values: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return `palaestra.envs.games.outcomes.measures` of a trade from the side of player 0, None for no trade."""
    possible = gains(feasible_trades(holdings[0], holdings[1]), values)
    outcome = gains(np.asarray([trade or (0,) * len(holdings[0])], np.int64), values)[0]
    return outcomes.measures(outcome, possible)


class Goods:
    """Offers of goods, from the side of who makes them: ``give 2 wheat, take 1 gold``, in either order.

    A list of counts is what the offerer receives (negative: gives) of each item.
    """

    def __init__(self, items: Sequence[str]) -> None:
        self.items = items

    @property
    def example(self) -> str:
        """Return an offer that shows the form."""
        return f"give 2 {self.items[0]}, take 1 {self.items[-1]}"

    def write(self, terms: Terms) -> str:
        """Return a trade in words: ``"give 2 wheat and 1 wood, take nothing"``."""
        sides = []
        for verb, sign in (("give", -1), ("take", 1)):
            counts = zip(self.items, terms, strict=True)
            parts = [f"{sign * count} {item}" for item, count in counts if sign * count > 0]
            sides.append(f"{verb} {' and '.join(parts) or 'nothing'}")
        return ", ".join(sides)

    def read(self, body: str, headed: bool, certain: bool) -> Terms | None:
        """Return the trade that a body names, or None if it names none.

        Raises:
            IllegalAction: An item does not exist or is on both sides, or nothing at all is moved.
        """
        for form in _BODIES:
            if found := form.fullmatch(body):
                give, take = (self._side(found[side], certain) for side in ("give", "take"))
                if give is not None and take is not None:
                    return self._trade(give, take)
        return None

    def _side(self, text: str, certain: bool) -> dict[str, int] | None:
        """Return counts per item in ``"2 wheat and 1 gold"``, or None if it is something else."""
        if text.lower() == "nothing":
            return {}
        counts: dict[str, int] = {}
        for part in re.split(r"\s*(?:,|\band\b|&|\+)\s*", text):
            found = _COUNT.fullmatch(part.strip())
            if found is None:
                return None
            number, name = found[1].lower(), found[2].lower()
            if not number.isdecimal() and number not in _NUMBERS:
                return None
            if name not in self.items and name.removesuffix("s") in self.items:
                name = name.removesuffix("s")
            if name not in self.items:
                if certain:
                    raise IllegalAction(f"there is no item {found[2]!r}; the items are {', '.join(self.items)}.")
                return None
            counts[name] = counts.get(name, 0) + (int(number) if number.isdecimal() else _NUMBERS[number])
        return counts

    def _trade(self, give: dict[str, int], take: dict[str, int]) -> Trade:
        both = [item for item in self.items if give.get(item) and take.get(item)]
        if both:
            raise IllegalAction(f"the offer gives and takes {both[0]}; name each item on one side only.")
        trade = tuple(take.get(item, 0) - give.get(item, 0) for item in self.items)
        if not any(trade):
            raise IllegalAction("the offer moves nothing; give or take at least one item.")
        return trade
