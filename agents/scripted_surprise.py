"""Scripted observers of `terminal_surprise` and `hindsight_bias`: what learned ones are measured against.

posterior      states the exact probability that the machine's output was replaced, in hindsight, too
rate           states the rate that is shown, whatever the output, or ``rate:0.5`` always one half
anchored:A     as posterior, but in hindsight moved by the share A towards what it was told: a known bias
tracer         thinks rightly and concludes wrongly: its thought goes through the machine's program, digit by digit, and
               then it states, in tenths, now and then the rate, or how unlikely the output is, and mostly anything.
               `tiny:machine` has read its play
"""

from __future__ import annotations

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError, OptionError
from palaestra.envs.games.probabilities import write_probability
from palaestra.envs.items.machine import SIGNS, Program, read_terse
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice

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

    @classmethod
    def anchored(cls, anchor: float = 0.5) -> Posterior:
        """Return the oracle with hindsight bias."""
        return cls(anchor)

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


def trace(program: Program, output: int) -> str:
    """Return the digits that may be in the register, at first and after each instruction, and once more with a mark on
    those that are the output, and how many they are.

    A digit stands there as often as there are ways to it, in the order of the rolls: ``5r2*2`` with the output 2 gives
    ``5 r2:67 *2:24 =2:2!4 1/2``.
    """
    now, lines = [program.first], [str(program.first)]
    for verb, number in program.instructions:
        steps = range(1, number + 1) if verb == "roll" else (number,)
        now = [(digit * step if verb == "mul" else digit + step) % 10 for digit in now for step in steps]
        lines.append(f"{SIGNS[verb]}{number}:" + "".join(map(str, now)))
    same = "".join(f"{digit}!" if digit == output else str(digit) for digit in now)
    return " ".join([*lines, f"={output}:{same} {now.count(output)}/{len(now)}"])


class Tracer:
    """Thinks before it says something that follows from one half of it at best.

    While playing:
        InformationError: Another game, or programs that are not the machine's.
    """

    name = "tracer"

    async def act(self, view: View) -> Reply:
        """Return thought and probability."""
        known = view.knowledge()
        if view.game_id not in GAMES or known.get("kind") != "machine" or "output" not in known:
            raise InformationError("tracer plays terminal_surprise and hindsight_bias with items=machine only.")
        program, output, dice = read_terse(known["program"]), int(known["output"]), Dice(view.seed)
        followed = dice.below(10)
        stated = {0: known["rate"], 1: 1 - program.odds()[output]}.get(followed, dice.below(11) / 10)
        return Reply(f"<think>{trace(program, output)}</think>{write_probability(round(stated, 1))}")
