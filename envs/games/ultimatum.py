"""The ultimatum game (Güth, Schmittberger & Schwarze, 1982), once or repeated: one offers, the other takes it or not.

A pie of coins is to be shared. The proposer offers the other a part; if that is accepted both have their parts, if it
is rejected nobody has anything. Repeated, the players change roles after each round, or keep them. Whatever is offered,
a responder who cares for coins alone accepts, so the equilibrium offers next to nothing; people reject low offers, and
in a repeated game so may a policy that wants better ones.

Returns are coins, summed over the rounds. A player who forfeits gets minus one pie, worse than any rejection, and the
other 0.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

from palaestra.envs.errors import UnparsableAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.parts import Action

ROLES = ("first", "second")
RECAP_ROUNDS = 10
ACCEPT, REJECT = "accept", "reject"


@dataclass(frozen=True)
class UltimatumOptions:
    """The pie and how often it is shared.

    Attributes:
        pie: Coins to share in each round.
        rounds: How many rounds are played.
        alternate: Whether the players change roles after each round; else player 1 always proposes.
    """

    pie: int = 10
    rounds: int = 1
    alternate: bool = True

    def __post_init__(self) -> None:
        if not 2 <= self.pie <= 1000:
            raise ValueError(f"pie is {self.pie}, expected 2 to 1000")
        if not 1 <= self.rounds <= 1000:
            raise ValueError(f"rounds is {self.rounds}, expected 1 to 1000")


class Ultimatum(Game):
    """Player 0 proposes in the first round."""

    id = "ultimatum"
    summary = "share a pie, take it or leave it, once or repeated"
    Options = UltimatumOptions

    history: list[tuple[int, bool]]
    """(coins offered, accepted) of each round that is over."""
    offered: int | None
    """The offer that waits for its answer."""

    @property
    def facts(self) -> GameFacts:
        options: UltimatumOptions = self.options
        return GameFacts(
            players=2,
            min_return=-float(options.pie),
            max_return=float(options.pie * options.rounds),
            max_turns=2 * options.rounds,
            max_observation_chars=760 + 60 * RECAP_ROUNDS,
            roles=ROLES,
            utility="general_sum",
        )

    def setup(self) -> None:
        self.history = []
        self.offered = None

    def proposer(self, number: int) -> int:
        """Return who proposes in a round, counted from 0."""
        return number % 2 if self.options.alternate else 0

    def players_to_move(self) -> tuple[int, ...]:
        number = len(self.history)
        if number >= self.options.rounds:
            return ()
        proposer = self.proposer(number)
        return (proposer,) if self.offered is None else (1 - proposer,)

    def prompt(self, player: int) -> str:
        options: UltimatumOptions = self.options
        often = "once" if options.rounds == 1 else f"{options.rounds} times"
        change = " You change roles after each round." if options.alternate and options.rounds > 1 else ""
        return (
            f"Ultimatum game. You are Player {player + 1}. A pie of {options.pie} coins is shared {often}: one player "
            "offers the other a part; accepted, both have their parts, rejected, nobody has anything."
            f"{change} Your score is the sum of your coins. To propose, answer with what the other gets, such as "
            "offer 3; to respond, answer accept or reject. The last one in your answer counts."
        )

    def recap(self, player: int) -> str:
        shown = self.history[-RECAP_ROUNDS:]
        first = len(self.history) - len(shown)
        lines = []
        for number, (offer, taken) in enumerate(shown, start=first):
            answer = "accepted" if taken else "rejected"
            lines.append(f"Round {number + 1}: Player {self.proposer(number) + 1} offered {offer}; {answer}.")
        return "\n".join(lines)

    def board(self, player: int) -> str:
        options: UltimatumOptions = self.options
        number = min(len(self.history), options.rounds - 1)
        scores = self.coins()
        head = (
            f"Round {number + 1} of {options.rounds}. Coins so far: you {scores[player]}, other {scores[1 - player]}."
        )
        if self.offered is not None:
            who = "You offer the other" if player == self.proposer(number) else "You are offered"
            return f"{head} {who} {self.offered} of {options.pie}."
        return f"{head} {'You propose.' if player == self.proposer(number) else 'The other proposes.'}"

    def revealed(self, player: int) -> str:
        """Return how all rounds went: what the other would take and offer is known only then."""
        rounds = (f"{offer} {'accepted' if taken else 'rejected'}" for offer, taken in self.history)
        return f"Offered were {', '.join(rounds)}." if self.history else ""

    def legal_actions(self, player: int) -> Sequence[str]:
        if self.offered is not None:
            return [ACCEPT, REJECT]
        return [f"offer {coins}" for coins in range(self.options.pie + 1)]

    def action_words(self, player: int) -> Sequence[str]:
        return [*(f"offer {coins}" for coins in range(self.options.pie + 1)), ACCEPT, REJECT]

    def parse(self, player: int, text: str) -> Action:
        try:
            return super().parse(player, text)
        except UnparsableAction:
            # "I give you 4 coins" has one reading, as long as one number stands in it.
            numbers = set(re.findall(r"(?<![\w.,-])\d+(?![\w.,]*\d)", text))
            if self.offered is not None or len(numbers) != 1 or len(number := numbers.pop()) > 6:
                raise
            return f"offer {int(number)}"

    def _apply(self, player: int, action: Action) -> None:
        if self.offered is None:
            self.offered = int(str(action).removeprefix("offer "))
            self.emit("move", f"Player {player + 1} offers {self.offered} of {self.options.pie} coins.", source=player)
            return
        self.history.append((self.offered, action == ACCEPT))
        self.offered = None
        self.emit("move", f"Player {player + 1} {action}s.", source=player)

    def coins(self) -> tuple[int, int]:
        """Return both players' coins so far."""
        totals = [0, 0]
        for number, (offer, taken) in enumerate(self.history):
            if taken:
                proposer = self.proposer(number)
                totals[proposer] += self.options.pie - offer
                totals[1 - proposer] += offer
        return totals[0], totals[1]

    def returns(self) -> tuple[float, ...]:
        return tuple(map(float, self.coins()))

    def forfeit(self, player: int) -> tuple[float, ...]:
        """Return minus one pie for the player, so that it never pays in place of rejecting, and 0 for the other."""
        return tuple(-float(self.options.pie) if seat == player else 0.0 for seat in range(2))

    def result(self) -> dict[str, Any]:
        """Return offers and answers, agreement rate, share of the surplus, and the mean offer, accepted and rejected.

        ``nash_distance``: of the agreed rounds, the mean distance of the offer from the Nash bargaining solution (half
        the pie), as a share of the pie; None without agreement. Every agreement is Pareto-optimal here.
        """
        pie = self.options.pie
        taken = [offer for offer, accepted in self.history if accepted]
        refused = [offer for offer, accepted in self.history if not accepted]
        rounds = max(1, len(self.history))
        return {
            "offers": [[offer, accepted] for offer, accepted in self.history],
            "agreement_rate": len(taken) / rounds,
            "surplus_share": [coins / (pie * rounds) for coins in self.coins()],
            "mean_offer_accepted": sum(taken) / len(taken) if taken else None,
            "mean_offer_rejected": sum(refused) / len(refused) if refused else None,
            "nash_distance": sum(abs(offer - pie / 2) for offer in taken) / (pie * len(taken)) if taken else None,
        }

    def state(self) -> dict[str, Any]:
        return {"history": self.history, "offered": self.offered}

    def _clone_state_into(self, twin: Self) -> None:
        twin.history = self.history.copy()
