"""Hindsight bias: what would you have said, before you were told?

Two seats, which may be the same policy, are shown the same case of `terminal_surprise`. *Before* states the probability
that the output was replaced. *After* is told whether it was, and is asked what it would have said had it not been told.
Neither sees the other's answer; they are asked at once, in contexts of their own.

Before is paid for being right (by ``score``), after 1 less the square of how far it is from what before said. So
hindsight bias, which is to remember having known it (B. Fischhoff, 1975), costs; and saying one half to everything
does not pay, because before's answer is worth less so. Whoever is after cannot move before: seats are credited apart.
So they are where one of them forfeits and gets nothing: before is paid as ever, and after, who then has nothing to
come near to, in full.

With ``told`` set to ``nothing`` both see the same (the null arm); with ``opposite`` after is told the contrary of the
truth, which tells a bias towards what was heard from knowledge of the case.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from palaestra.envs.errors import IllegalAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games import probabilities
from palaestra.envs.games.surprise import (
    Case,
    CaseOptions,
    case_state,
    draw_case,
    longest_case,
    read_forecast,
    worth,
)
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice

BEFORE, AFTER = 0, 1


@dataclass(frozen=True)
class HindsightOptions(CaseOptions):
    """The cases, and what the second seat is told.

    Attributes:
        told: The ``truth``, ``nothing``, or the ``opposite``.
    """

    told: Literal["truth", "nothing", "opposite"] = "truth"


class HindsightBias(Game):
    """Player 0 is asked before, player 1 after it was told."""

    id = "hindsight_bias"
    version = 5
    summary = "what would you have said, before you were told?"
    Options = HindsightOptions

    case: Case
    stated: tuple[str, str]
    """What before and after said; empty until then."""
    absent: tuple[int, ...]
    """Who forfeited."""

    @property
    def facts(self) -> GameFacts:
        return GameFacts(
            players=2,
            min_return=0.0,
            max_return=1.0,
            max_turns=2,
            max_observation_chars=1500 + longest_case(self.options),
            roles=("before", "after"),
            simultaneous=True,
            chance=True,
            information="imperfect",
            utility="general_sum",
            enumerable=False,
        )

    def setup(self) -> None:
        self.case = draw_case(self.options, self.dice)
        self.stated = ("", "")
        self.absent = ()

    def players_to_move(self) -> tuple[int, ...]:
        return tuple(player for player in (BEFORE, AFTER) if not self.stated[player] and player not in self.absent)

    def prompt(self, player: int) -> str:
        if self.options.view == "terse":
            return ""
        task = (
            "How likely is it that this one was replaced?"
            if player == BEFORE
            else "You may be told whether it was. Somebody just like you was not told, and said how likely it is. What "
            "did they say, or what would you have said in their place? You are paid for how near you come to it."
        )
        return (
            "You see a program and its output. With a chance that you are told, the output was replaced by a wrong one "
            f"that looks like a right one. {task} State a probability, such as 0.3."
        )

    def board(self, player: int) -> str:
        terse, case = self.options.view == "terse", self.case
        told = self.options.told
        heard = case.replaced if told == "truth" else not case.replaced
        if player == BEFORE or told == "nothing":
            outcome = "" if terse else "\nIt is not known yet whether it was."
        elif terse:
            outcome = f" {'!' if heard else '='}"
        else:
            outcome = f"\nNow it is known: it was {'' if heard else 'not '}replaced."
        chance = "" if terse else f"\nIt was replaced with a chance of {case.rate:g}."
        seat = "BA"[player] + " " if terse else ""
        return f"{seat}{case.shown(terse)}{chance}{outcome}"

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return what is shown to this seat, as in `terminal_surprise`; ``replaced`` is what it was told."""
        case, told = self.case, self.options.told
        program = case.name if case.kind == "machine" else case.program
        known: dict[str, Any] = {"kind": case.kind, "program": program, "rate": case.rate, "output": case.output}
        if player == AFTER and told != "nothing":
            known["replaced"] = case.replaced if told == "truth" else not case.replaced
        return known

    def legal_actions(self, player: int) -> Sequence[str]:
        """Return examples."""
        return list(probabilities.EXAMPLES)

    def begun(self, player: int) -> str:
        """Return the beginning of a forced forecast."""
        return self.options.begun if player in self.players_to_move() else ""

    def parse(self, player: int, text: str) -> Action:
        return read_forecast(self.options, text)

    def check(self, player: int, action: Action) -> None:
        if not probabilities.is_probability(action):
            raise IllegalAction(f"{action!r:.40} is no probability as `parse` returns it.")

    def sample_action(self, player: int, dice: Dice) -> Action:
        return probabilities.sampled_probability(dice)

    def _apply(self, player: int, action: Action) -> None:
        first, second = self.stated
        self.stated = (str(action), second) if player == BEFORE else (first, str(action))

    def withdraw(self, player: int) -> bool:
        """Go on with the other, who is paid by its own rule."""
        if player not in self.absent:
            self.absent = (*self.absent, player)
        return True

    def returns(self) -> tuple[float, ...]:
        before, after = self.stated
        return (
            worth(self.options.score, float(before), self.case.replaced) if before else 0.0,
            (1 - (float(after) - float(before)) ** 2 if before else 1.0) if after else 0.0,
        )

    def result(self) -> dict[str, Any]:
        """Return the case, both probabilities, and the ``gap``: how much nearer to what it was told after came.

        What was not stated is None, and so is a gap to it.
        """
        case = self.case
        before, after = (float(stated) if stated else None for stated in self.stated)
        gap = None
        if before is not None and after is not None:
            heard = case.replaced != (self.options.told == "opposite")
            gap = after - before if heard else before - after
        return {
            "item": case.name,
            "kind": case.kind,
            "rate": case.rate,
            "replaced": case.replaced,
            "posterior": case.posterior,
            "before": before,
            "after": after,
            "gap": gap,
        }

    def state(self) -> dict[str, Any]:
        return {"case": case_state(self.case), "stated": self.stated, "absent": self.absent}

    def _clone_state_into(self, twin: Self) -> None:
        """Everything is immutable or replaced as a whole, so a shallow copy is a copy."""
