"""Scripted players of `negotiation` and `bargaining`: opponents of known manners, to train against and to measure with.

They decide from `View.knowledge` alone, which holds what their player may know; they have no memory and no chance, so
the same view gives the same reply, also after a resume. All share four ideas.

* *Target*: the most that a player can gain by a deal that the other should not mind.
* *Aspiration*: the gain below which it will not go in this turn; the manners differ in how it falls.
* *Estimate* of the other's gains, from what it offers and refuses (`palaestra.agents.bargaining_tables`).
* *Acceptance*: a standing offer is accepted if it is worth no less than the counter-offer would be (`AC_next` of
  Baarslag, Hindriks & Jonker, 2013), and in the last turn if it is worth anything.

The time-dependent and the tit-for-tat manner are the tactics of Faratin, Sierra & Jennings (Robotics and Autonomous
Systems 24, 1998).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palaestra.agents.bargaining_tables import TABLES, Table
from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.games.messages import Message, Terms, write_message
from palaestra.envs.seat import View


@dataclass(frozen=True)
class Situation:
    """What a negotiator knows, worked out.

    Attributes:
        known: `View.knowledge` of the game.
        deals: All that can be agreed, int64[deals, terms].
        own: Own gain by each, int64[deals].
        theirs: The other's estimated gain by each, float64[deals].
        target: Most own gain among deals by which the other is not estimated to lose; at least 0.
    """

    known: dict[str, Any]
    deals: NDArray[np.int64]
    own: NDArray[np.int64]
    theirs: NDArray[np.float64]
    target: float

    @classmethod
    def of(cls, known: dict[str, Any], table: Table, theirs: NDArray[np.float64]) -> Situation:
        """Work out the situation for an estimate of the other's gains."""
        agreeable = table.own[theirs >= 0]
        return cls(known, table.deals, table.own, theirs, max(0.0, float(agreeable.max(initial=0))))

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
        """Return the index of the deal that can be accepted; None if there is none."""
        standing = self.known["standing"]
        return None if standing is None or standing["mine"] else self.index(standing["terms"])

    def index(self, terms: Sequence[int]) -> int:
        """Return the index of a deal."""
        return int(np.flatnonzero((self.deals == np.asarray(terms)).all(axis=1))[0])

    def offers(self, *, mine: bool) -> list[int]:
        """Return the deals that one side has offered so far, in order."""
        return [self.index(turn["terms"]) for turn in self.known["history"] if turn["terms"] and turn["mine"] == mine]


class Negotiator:
    """Base of the scripted negotiators: a manner is an ``aspiration``.

    Raises:
        InformationError: The seat is asked to play a game that is no negotiation.
    """

    name = "negotiator"

    async def act(self, view: View) -> Reply:
        """Return an offer, an acceptance, or a walk away."""
        known = view.knowledge()
        if view.game_id not in TABLES:
            raise InformationError(
                f"the {self.name!r} seat plays {' and '.join(TABLES)} only; seat it there, not at {view.game_id}."
            )
        table = TABLES[view.game_id](known)
        message = self.decide(Situation.of(known, table, self.estimate(known, table)))
        talk = self.talk(known, table)
        if talk and len(talk) <= known["max_talk"]:
            message = message._replace(talk=talk)
        return Reply(write_message(message, table.form))

    def aspiration(self, situation: Situation) -> float:
        """Return the least own gain that is good enough in this turn."""
        raise NotImplementedError

    def talk(self, known: dict[str, Any], table: Table) -> str:
        """Return what to say with the act; by default nothing."""
        return ""

    def estimate(self, known: dict[str, Any], table: Table) -> NDArray[np.float64]:
        """Return the other's estimated gain by each deal."""
        return table.estimate()

    def choose(self, situation: Situation) -> int | None:
        """Return the deal to propose: of those good enough for this player, the best one for the other.

        None if no deal has any gain.
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
        terms: Terms = tuple(map(int, situation.deals[counter]))
        return Message("", "offer", terms)


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
    """Says honestly what it wants, believes what the other says of its own wants, and proposes the deal with the
    largest Nash product among those it has not proposed yet."""

    name = "fair"

    def talk(self, known: dict[str, Any], table: Table) -> str:
        """Return what it wants, once."""
        return "" if any(turn["mine"] for turn in known["history"]) else table.opening

    def estimate(self, known: dict[str, Any], table: Table) -> NDArray[np.float64]:
        """Return what follows from what the other last claimed, or the estimate from its offers."""
        said = (turn["talk"] for turn in reversed(known["history"]) if not turn["mine"])
        claimed = next((theirs for talk in said if (theirs := table.believe(talk)) is not None), None)
        return table.estimate() if claimed is None else claimed

    def opens(self, known: dict[str, Any]) -> bool:
        """Return whether it should talk only, in the hope to learn something: in its first turn, if there is time."""
        return known["turn"] == 0 and known["max_turns"] > 3

    async def act(self, view: View) -> Reply:
        """Return an opening of talk alone, or as any negotiator."""
        known = view.knowledge()
        if view.game_id in TABLES and self.opens(known):
            table = TABLES[view.game_id](known)
            if len(table.opening) <= known["max_talk"]:
                return Reply(write_message(Message(table.opening), table.form))
        return await super().act(view)

    def products(self, situation: Situation) -> NDArray[np.float64]:
        """Return the estimated Nash product of every deal."""
        return np.clip(situation.own.astype(np.float64), 0.0, None) * np.clip(situation.theirs, 0.0, None)

    def choose(self, situation: Situation) -> int | None:
        """Return the best deal by Nash product that it has not proposed yet."""
        products = self.products(situation)
        products[situation.offers(mine=True)] = 0.0
        best = int(products.argmax())
        return best if products[best] > 0 else super().choose(situation)

    def aspiration(self, situation: Situation) -> float:
        """Return 0: where no deal is estimated to please both, any gain will do."""
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
