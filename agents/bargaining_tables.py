"""What the scripted negotiators know of the games they play: all deals, their own gains, and a guess at the other's."""

from __future__ import annotations

import itertools
import re
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from palaestra.envs.games.messages import OfferForm
from palaestra.envs.games.packages import LETTERS, TOTAL, Packages, Preferences, all_packages
from palaestra.envs.games.trades import Goods, feasible_trades

LEVELS = (1.0, 2.0, 4.0, 8.0)
"""Values that an item may have in a belief; only their ratios count."""
REFUSES_GAIN = 0.5
"""How likely it is that somebody turns down a gain, for which there are good reasons, against turning down a loss."""
OFFERS_LOSS = 0.01
"""How likely an offer is by which its maker would lose; one by which it gains is as likely as the gain is large."""
FALLBACK_GUESS = 25.0
"""Points that the other is taken to have without an agreement, until it says more."""


class Table(Protocol):
    """A game as a negotiator sees it: deals are written from its own side.

    Attributes:
        form: What its offers look like.
        deals: All that can be agreed, int64[deals, terms].
        own: Own gain by each, int64[deals].
        opening: An honest statement of what it wants.
    """

    form: OfferForm
    deals: NDArray[np.int64]
    own: NDArray[np.int64]
    opening: str

    def estimate(self) -> NDArray[np.float64]:
        """Return the other's gain by each deal as its offers and refusals let guess, float64[deals], up to scale."""

    def believe(self, talk: str) -> NDArray[np.float64] | None:
        """Return the other's gain by each deal, float64[deals], if what it says is true; None if it says too little."""


class TradeTable:
    """`negotiation`. The estimate is the mean of a belief over how the items can compare, updated by what the other
    offers (it is likely to gain by that) and refuses (it is not), as in Hindriks & Tykhonov (2008)."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known
        self.items: list[str] = known["items"]
        self.form: OfferForm = Goods(self.items)
        self.deals = feasible_trades(known["holdings"], known["other_holdings"])
        self.own = self.deals @ np.asarray(known["values"], np.int64)
        pairs = zip(self.items, known["values"], strict=True)
        self.opening = "My values are " + ", ".join(f"{item} {value}" for item, value in pairs)

    def estimate(self) -> NDArray[np.float64]:
        goods = np.add(self.known["holdings"], self.known["other_holdings"])
        beliefs = np.array(list(itertools.product(LEVELS, repeat=len(self.items))))
        beliefs /= (beliefs @ goods)[:, None]  # everything on the table is worth 1, so that gains compare
        weight = np.ones(len(beliefs))
        for turn in self.known["history"]:
            if turn["terms"]:
                gain = -(beliefs @ np.asarray(turn["terms"]))
                weight *= np.where(gain > 0, REFUSES_GAIN, 1.0) if turn["mine"] else np.maximum(gain, OFFERS_LOSS)
        return self._worth(weight @ beliefs / weight.sum())

    def believe(self, talk: str) -> NDArray[np.float64] | None:
        claimed = dict(re.findall(r"\b([a-z]+)\s+(\d{1,4})\b", talk.lower()))
        if not all(item in claimed for item in self.items):
            return None
        return self._worth(np.array([float(claimed[item]) for item in self.items]))

    def _worth(self, values: NDArray[np.float64]) -> NDArray[np.float64]:
        return -(self.deals.astype(np.float64) @ values)


class PackageTable:
    """`bargaining`. The estimate takes the other's first offer for what it wants most (before it, the opposite of what
    this player wants), and the issues in which it has moved least since for those that weigh most."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.known = known
        self.issues: list[str] = known["issues"]
        self.levels: int = known["levels"]
        self.form: OfferForm = Packages(self.issues, self.levels)
        self.deals = all_packages(len(self.issues), self.levels)
        mine = Preferences(tuple(known["weights"]), tuple(known["rising"]), self.levels)
        self.own = mine.worths(self.deals) - known["fallback"]
        best = (LETTERS[self.levels - 1] if up else "A" for up in known["rising"])
        wants = zip(self.issues, best, known["weights"], strict=True)
        self.opening = (
            f"My points are {', '.join(f'{issue} {level} {weight}' for issue, level, weight in wants)}. "
            f"My fallback is {known['fallback']}"
        )

    def estimate(self) -> NDArray[np.float64]:
        offers = [turn["terms"] for turn in self.known["history"] if turn["terms"] and not turn["mine"]]
        middle = (self.levels - 1) / 2
        ends = np.where(self.known["rising"], 0.0, 2 * middle)
        weights = np.ones(len(self.issues))
        if offers:
            first = np.asarray(offers[0], np.float64)
            ends = np.where(first > middle, 2 * middle, np.where(first < middle, 0.0, ends))
            weights = 1 / (1 + np.abs(np.asarray(offers) - first).mean(axis=0))
        return self._worth(TOTAL * weights / weights.sum(), ends) - FALLBACK_GUESS

    def believe(self, talk: str) -> NDArray[np.float64] | None:
        claimed = {issue: (level, int(weight)) for issue, level, weight in
                   re.findall(r"\b([a-z]+) ([a-i]) (\d{1,3})\b", talk.lower())}  # fmt: skip
        if not all(issue in claimed for issue in self.issues):
            return None
        ends = np.array([float(LETTERS.lower().index(claimed[issue][0])) for issue in self.issues])
        weights = np.array([float(claimed[issue][1]) for issue in self.issues])
        fallback = re.search(r"\bfallback is (\d{1,3})\b", talk.lower())
        return self._worth(weights, ends) - (float(fallback[1]) if fallback else FALLBACK_GUESS)

    def _worth(self, weights: NDArray[np.float64], ends: NDArray[np.float64]) -> NDArray[np.float64]:
        return (1 - np.abs(self.deals - ends) / (self.levels - 1)) @ weights


TABLES: dict[str, type[TradeTable] | type[PackageTable]] = {"negotiation": TradeTable, "bargaining": PackageTable}
"""The games that the scripted negotiators play."""
