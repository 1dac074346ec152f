"""A seat that plays a known equilibrium: who plays otherwise against it gains nothing by that.

* `kuhn_poker`: H. W. Kuhn's equilibria (1950), one for each ``alpha``, how often the first player bets the lowest card.
* `auction`, independent values drawn alike: with second price the own value (W. Vickrey, 1961); with first price the
  own value less what shading is worth, v - integral from reserve to v of (x / v)^(n-1) dx, to the nearest whole number
  below; ascending, one more than the highest bid up to the own value.
* `ultimatum`: the least offer that the other prefers to nothing, and every offer is accepted.
"""

from __future__ import annotations

from typing import Any

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.games.ultimatum import ACCEPT, Ultimatum
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice

GAMES = ("kuhn_poker", "auction", "ultimatum")
JACK, QUEEN, KING = range(3)


class Equilibrium:
    """Plays the equilibria of the module.

    Args:
        alpha: Of Kuhn poker, how often the first player bets a jack, 0 to 1/3.

    While playing:
        InformationError: No equilibrium of this game is known here.
    """

    name = "equilibrium"

    def __init__(self, alpha: float = 1 / 3) -> None:
        if not 0 <= alpha <= 1 / 3:
            raise ValueError(f"alpha is {alpha:g}, expected 0 to 1/3")
        self.alpha = alpha

    async def act(self, view: View) -> Reply:
        """Return a bet or pass, a bid, an offer or an answer."""
        match view.game_id:
            case "kuhn_poker":
                known = view.knowledge()
                bets = Dice(view.seed).random() < bet_probability(known["card"], known["history"], self.alpha)
                return Reply("bet" if bets else "pass")
            case "auction":
                amount = bid(view.knowledge())
                return Reply(f"bid {amount}" if amount else "pass")
            case "ultimatum":
                game = view.clone_game()
                assert isinstance(game, Ultimatum)
                return Reply("offer 1" if game.offered is None else ACCEPT)
        raise InformationError(
            f"the 'equilibrium' seat plays {', '.join(GAMES)} only; seat it there, not at {view.game_id}."
        )


def bet_probability(card: int, history: str, alpha: float) -> float:
    """Return how often to bet (or to call) in Kuhn poker.

    Args:
        card: 0 is the jack, 2 the king.
        history: ``b`` and ``p`` for bets and passes so far.
        alpha: See `Equilibrium`.
    """
    if card == KING:
        return 3 * alpha if history == "" else 1.0
    if card == JACK:
        return {"": alpha, "p": 1 / 3}.get(history, 0.0)
    return {"b": 1 / 3, "pb": alpha + 1 / 3}.get(history, 0.0)


def bid(known: dict[str, Any]) -> int:
    """Return what to bid now, 0 to pass; ``known`` is an auction's knowledge."""
    value, reserve = known["values"][-1], known["reserve"]
    if value < reserve:
        return 0
    if known["kind"] == "second_price":
        return int(value)
    if known["kind"] == "ascending":
        least = max([reserve, *(amount + 1 for _, amount in known["bids"])])
        return int(least) if least <= value else 0
    n = known["players"]
    shade = (value - reserve * (reserve / value) ** (n - 1)) / n
    return max(int(reserve), int(value - shade))
