"""Scripted observers of `terminal_surprise` and `hindsight_bias`: what learned ones are measured against.

posterior      states the exact probability that the machine's output was replaced, in hindsight, too
rate           states the rate that is shown, whatever the output, or ``rate:0.5`` always one half
anchored:A     as posterior, but in hindsight moved by the share A towards what it was told: a known bias
"""

from __future__ import annotations

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError, OptionError
from palaestra.envs.games.probabilities import write_probability
from palaestra.envs.items.machine import read_terse
from palaestra.envs.seat import View

GAMES = ("terminal_surprise", "hindsight_bias")


class Posterior:
    """The oracle of the machine.

    Args:
        anchor: In hindsight, by which share it moves towards what it was told, from 0 to 1.

    While playing:
        InformationError: Another game, or programs whose odds are not known.
    """

    def __init__(self, anchor: float = 0.0) -> None:
        if not 0 <= anchor <= 1:
            raise OptionError(f"anchored:{anchor:g} moves by a share from 0 to 1, such as anchored:0.3.")
        self.anchor = anchor
        self.name = f"anchored:{anchor:g}" if anchor else "posterior"

    async def act(self, view: View) -> Reply:
        """Return the probability."""
        known = view.knowledge()
        if view.game_id not in GAMES or known.get("kind") != "machine":
            raise InformationError(f"{self.name} plays {' and '.join(GAMES)} with items=machine only.")
        if "output" not in known:  # a forecast: the likeliest digit
            odds = read_terse(known["program"]).odds()
            return Reply(str(odds.index(max(odds))))
        stated = read_terse(known["program"]).posterior(int(known["output"]), known["rate"])
        if view.game_id == "hindsight_bias" and "replaced" in known:
            stated += self.anchor * (float(known["replaced"]) - stated)
        return Reply(write_probability(stated))


class Rate:
    """States the chance that is shown, or one of its own.

    While playing:
        InformationError: Another game.
    """

    def __init__(self, stated: float | None = None) -> None:
        if stated is not None and not 0 <= stated <= 1:
            raise OptionError(f"rate:{stated:g} is no probability.")
        self.stated = stated
        self.name = "rate" if stated is None else f"rate:{stated:g}"

    async def act(self, view: View) -> Reply:
        """Return the probability."""
        known = view.knowledge()
        if view.game_id not in GAMES:
            raise InformationError(f"{self.name} plays {' and '.join(GAMES)} only, not {view.game_id}.")
        if "output" not in known:
            return Reply("0")
        return Reply(write_probability(known["rate"] if self.stated is None else self.stated))
