"""Scripted players of `negotiation`: opponents of known manners, to train against and to measure with.

They decide from `View.knowledge` alone, which holds what their player may know; they have no memory and no chance, so
the same view gives the same reply, also after a resume. All share four ideas.

* *Target*: the most that a player can gain by a trade that the other should not mind.
* *Aspiration*: the gain below which it will not go in this turn; the manners differ in how it falls.
* *Estimate* of the other's values: the mean of a belief over how the items can compare, updated by what the other
  offers (it is likely to gain by that) and refuses (it is not), as in Hindriks & Tykhonov (2008).
* *Acceptance*: a standing offer is accepted if it is worth no less than the counter-offer would be (`AC_next` of
  Baarslag, Hindriks & Jonker, 2013), and in the last turn if it is worth anything.

The time-dependent and the tit-for-tat manner are the tactics of Faratin, Sierra & Jennings (Robotics and Autonomous
Systems 24, 1998).
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.games.negotiation_grammar import Message, write_message
from palaestra.envs.games.trades import Trade, feasible_trades
from palaestra.envs.seat import View

LEVELS = (1.0, 2.0, 4.0, 8.0)
"""Values that an item may have in a belief; only their ratios count."""
REFUSES_GAIN = 0.5
"""How likely it is that somebody turns down a gain, for which there are good reasons, against turning down a loss."""
OFFERS_LOSS = 0.01
"""How likely an offer is by which its maker would lose; one by which it gains is as likely as the gain is large."""


@dataclass(frozen=True)
class Situation:
    """What a negotiator knows, worked out; trades are what it would receive.

    Attributes:
        known: `View.knowledge` of a negotiation.
        trades: All feasible trades, int64[trades, items].
        own: Own gain by each, int64[trades].
        theirs: The other's gain by each in the estimated values, float64[trades].
        target: Most own gain among trades by which the other is not estimated to lose.
    """

    known: dict[str, Any]
    trades: NDArray[np.int64]
    own: NDArray[np.int64]
    theirs: NDArray[np.float64]
    target: float

    @classmethod
    def of(cls, known: dict[str, Any], estimate: Sequence[float]) -> Situation:
        """Work out the situation for an estimate of the other's values, one per item."""
        trades = feasible_trades(known["holdings"], known["other_holdings"])
        own = trades @ np.asarray(known["values"], np.int64)
        theirs = -(trades.astype(np.float64) @ np.asarray(estimate, np.float64))
        agreeable = own[theirs >= 0]  # holds at least the empty trade
        return cls(known, trades, own, theirs, float(agreeable.max()))

    @property
    def time(self) -> float:
        """Return the share of the turns that is over, from 0 to 1."""
        return float(self.known["turn"] / max(1, self.known["max_turns"] - 1))

    @property
    def last_turn(self) -> bool:
        """Return whether the game ends after this turn."""
        return bool(self.known["turn"] >= self.known["max_turns"] - 1)

    @property
    def standing(self) -> int | None:
        """Return the index of the trade that can be accepted; None if there is none."""
        standing = self.known["standing"]
        return None if standing is None or standing["mine"] else self.index(standing["trade"])

    def index(self, trade: Sequence[int]) -> int:
        """Return the index of a feasible trade."""
        return int(np.flatnonzero((self.trades == np.asarray(trade)).all(axis=1))[0])

    def offers(self, *, mine: bool) -> list[int]:
        """Return the trades that one side has offered so far, in order."""
        return [self.index(turn["trade"]) for turn in self.known["history"] if turn["trade"] and turn["mine"] == mine]


class Negotiator:
    """Base of the scripted negotiators: a manner is an ``aspiration``.

    Raises:
        InformationError: The seat is asked to play a game that is no negotiation.
    """

    name = "negotiator"

    async def act(self, view: View) -> Reply:
        """Return an offer, an acceptance, or a walk away."""
        known = view.knowledge()
        if view.game_id != "negotiation":
            raise InformationError(
                f"the {self.name!r} seat plays negotiation only; seat it there, not at {view.game_id}."
            )
        message = self.decide(Situation.of(known, self.estimate(known)))
        talk = self.talk(known)
        if talk and len(talk) <= known["max_talk"]:
            message = message._replace(talk=talk)
        return Reply(write_message(message, known["items"]))

    def aspiration(self, situation: Situation) -> float:
        """Return the least own gain that is good enough in this turn."""
        raise NotImplementedError

    def talk(self, known: dict[str, Any]) -> str:
        """Return what to say with the act; by default nothing."""
        return ""

    def estimate(self, known: dict[str, Any]) -> list[float]:
        """Return an estimate of the other's values, up to scale."""
        items = len(known["items"])
        goods = np.add(known["holdings"], known["other_holdings"])
        beliefs = np.array(list(itertools.product(LEVELS, repeat=items)))
        beliefs /= (beliefs @ goods)[:, None]  # everything on the table is worth 1, so that gains compare
        weight = np.ones(len(beliefs))
        for turn in known["history"]:
            if turn["trade"]:
                gain = -(beliefs @ np.asarray(turn["trade"]))
                weight *= np.where(gain > 0, REFUSES_GAIN, 1.0) if turn["mine"] else np.maximum(gain, OFFERS_LOSS)
        return [float(value) for value in weight @ beliefs / weight.sum()]

    def choose(self, situation: Situation) -> int | None:
        """Return the trade to propose: of those good enough for this player, the best one for the other.

        None if no trade has any gain.
        """
        gain = situation.own > 0
        enough = gain & (situation.own >= self.aspiration(situation))
        good = enough if enough.any() else gain
        if not good.any():
            return None
        score = np.where(good, situation.theirs, -np.inf)
        return int(np.lexsort((situation.own, score))[-1])

    def accepts(self, situation: Situation, standing: int, counter: int | None) -> bool:
        """Return whether the standing offer is worth no less than the counter-offer."""
        return counter is None or bool(situation.own[standing] >= situation.own[counter])

    def decide(self, situation: Situation) -> Message:
        """Return the act of this turn."""
        standing, counter = situation.standing, self.choose(situation)
        gain = 0 if standing is None else int(situation.own[standing])
        if standing is not None and gain > 0 and (situation.last_turn or self.accepts(situation, standing, counter)):
            return Message("", "accept")
        if counter is None:
            return Message("", "walk away")
        trade: Trade = tuple(int(count) for count in situation.trades[counter])
        return Message("", "offer", trade)


class Greedy(Negotiator):
    """Asks for ``share`` of its target to the end, and takes what it can get in the last turn."""

    name = "greedy"

    def __init__(self, share: float = 0.8) -> None:
        self.share = share

    def aspiration(self, situation: Situation) -> float:
        """Return a constant share of the target."""
        return self.share * situation.target


class Conceder(Negotiator):
    """Asks for less as time passes: ``target * (1 - time ** (1 / beta))``.

    Args:
        beta: Above 1 it concedes early, below 1 it holds out (Boulware).
    """

    name = "conceder"

    def __init__(self, beta: float = 2.0) -> None:
        if beta <= 0:
            raise ValueError(f"beta is {beta}, expected a positive number")
        self.beta = beta

    def aspiration(self, situation: Situation) -> float:
        """Return what is left of the target at this time."""
        return situation.target * float(1.0 - situation.time ** (1.0 / self.beta))


class TitForTat(Negotiator):
    """Gives up as much as the other has, both counted in its own gain, and ``kindness`` of its target a turn."""

    name = "tit-for-tat"

    def __init__(self, kindness: float = 0.05) -> None:
        self.kindness = kindness

    def aspiration(self, situation: Situation) -> float:
        """Return the target less what the other has conceded since its first offer."""
        offered = [int(situation.own[trade]) for trade in situation.offers(mine=False)]
        conceded = max(offered) - offered[0] if offered else 0
        kindness = self.kindness * situation.target * len(situation.offers(mine=True))
        return situation.target - conceded - kindness


class Fair(Negotiator):
    """Says honestly what its items are worth, believes what the other says of its own, and proposes the trade with the
    largest Nash product among those it has not proposed yet."""

    name = "fair"

    def talk(self, known: dict[str, Any]) -> str:
        """Return the own values, once."""
        if any(turn["mine"] for turn in known["history"]):
            return ""
        pairs = zip(known["items"], known["values"], strict=True)
        return "My values are " + ", ".join(f"{item} {value}" for item, value in pairs)

    def claim(self, known: dict[str, Any]) -> list[float] | None:
        """Return the values that the other last claimed to have; None if it never named them all."""
        for turn in reversed(known["history"]):
            if not turn["mine"]:
                claimed = dict(re.findall(r"\b([a-z]+)\s+(\d{1,4})\b", turn["talk"].lower()))
                if all(item in claimed for item in known["items"]):
                    return [float(claimed[item]) for item in known["items"]]
        return None

    def estimate(self, known: dict[str, Any]) -> list[float]:
        """Return what the other last claimed, or the estimate from its offers."""
        return self.claim(known) or super().estimate(known)

    def decide(self, situation: Situation) -> Message:
        """Return the act of this turn; in its first turn it only talks if it knows nothing and there is time."""
        known = situation.known
        talk = self.talk(known)
        if talk and len(talk) <= known["max_talk"] and known["turn"] == 0 and known["max_turns"] > 3:
            return Message(talk)
        return super().decide(situation)

    def products(self, situation: Situation) -> NDArray[np.float64]:
        """Return the estimated Nash product of every trade."""
        return np.clip(situation.own.astype(np.float64), 0.0, None) * np.clip(situation.theirs, 0.0, None)

    def choose(self, situation: Situation) -> int | None:
        """Return the best trade by Nash product that it has not proposed yet."""
        products = self.products(situation)
        products[situation.offers(mine=True)] = 0.0
        best = int(products.argmax())
        return best if products[best] > 0 else super().choose(situation)

    def aspiration(self, situation: Situation) -> float:
        """Return 0: where no trade is estimated to please both, any gain will do."""
        return 0.0

    def accepts(self, situation: Situation, standing: int, counter: int | None) -> bool:
        """Return whether the standing offer is as fair as the counter-offer, or worth more to this player."""
        products = self.products(situation)
        return (
            counter is None
            or bool(products[standing] >= products[counter])
            or bool(situation.own[standing] >= situation.own[counter])
        )


NEGOTIATORS: dict[str, type[Negotiator]] = {kind.name: kind for kind in (Greedy, Conceder, TitForTat, Fair)}
"""The scripted negotiators by name."""
