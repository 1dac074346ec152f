"""Terminal surprise: is that what this program prints, or was its output replaced?

The player sees a program, what it is said to have printed, and the chance with which such outputs are replaced by a
wrong one that looks just as right: of another input of the same program, one off, of an older file, with two fields
swapped. It states the probability that this one was. That is scored properly, so the best it can do is to say what it
believes; and since what was replaced is rarely what the program was likely to print, honest surprise is what pays.

By option the player first says what it expects (``forecast``), before it sees any output; may look at a line of what
was really printed, at a cost (``looks``); names the wrong line (``name_line``); and, after it was told the truth,
explains what gave it away (``explain``), which is recorded and not scored.

What is paid besides is paid apart, so that the stated probability stays what one believes. A line named rightly brings
what one named wrongly costs: so it pays to name one that is more likely than not the first wrong one, and nothing else.
A forecast is paid for its share of right lines, which is best for the likeliest of each line.

What is known of calibration under such rewards: Damani et al. (RLCR, 2025). The question whether the output was
replaced, and not how unlikely it was, has a proper score: P(replaced | o) grows with the surprise at o.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from palaestra.envs.errors import IllegalAction, UnparsableAction
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
from palaestra.envs.items.item_set import LONGEST_OUTPUT
from palaestra.envs.options import within
from palaestra.envs.parts import Action, well_formed
from palaestra.envs.seeding import Dice

LINE_BONUS = 0.25
LONGEST_EXPLANATION = 1000
Stage = Literal["forecast", "judge", "explain", "over"]
_LOOK = re.compile(r"^\W*look\b[\s:]*(?:at\s+)?(?:line\s*)?(\d{1,4})?\W*$", re.IGNORECASE | re.ASCII)
_LINE = re.compile(r"(?:^|[\s,;:(])line\s*(?:no\.?|number|[:=#])?\s*(\d{1,4})[\s.)*]*$", re.IGNORECASE | re.ASCII)
_LINES = re.compile(r"\blines?\s*\d", re.IGNORECASE)
_DOUBTS = re.compile(
    r"\b(?:not|never|no|nothing|none|neither|nor|cannot|or|between|maybe|perhaps|might|could|except|but)\b|n[’']t\b",
    re.IGNORECASE,
)
_LINE_LENGTH = 60
"""Characters at the end in which a line may be named."""


@dataclass(frozen=True)
class TerminalOptions(CaseOptions):
    """The cases, and what may be done besides stating a probability.

    Attributes:
        forecast: Whether the player says what it expects before it sees the output.
        forecast_pay: What a forecast of the whole output is worth; of some lines of it, their share.
        looks: How often it may look at a line of what was really printed. Not with the machine, which rolls anew.
        look_cost: What a look costs.
        name_line: Whether a wrong line may be named: naming the first one is worth 0.25 more, any other one 0.25 less.
        explain: Whether it is told the truth in the end and asked what gave it away.
    """

    forecast: bool = False
    forecast_pay: float = 0.0
    looks: int = 0
    look_cost: float = 0.1
    name_line: bool = False
    explain: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        within(self, forecast_pay=(0, 10), looks=(0, 20), look_cost=(0, 1))
        if self.forecast_pay and not self.forecast:
            raise ValueError(f"forecast_pay is {self.forecast_pay:g}, but no forecast is asked for; set forecast, too")
        if self.mode == "forced" and (self.looks or self.name_line):
            raise ValueError("a forced reply is a probability and nothing else; leave out looks and name_line")
        if self.looks and self.items == "machine":
            raise ValueError("the machine rolls anew each time, so looking again tells nothing; set looks to 0")


class TerminalSurprise(Game):
    """One case."""

    id = "terminal_surprise"
    version = 5
    summary = "was what a program printed replaced? state the probability"
    Options = TerminalOptions

    case: Case
    stage: Stage
    forecast: str
    looked: tuple[int, ...]
    """Lines that were looked at, from 1."""
    stated: str
    named: int | None
    explanation: str

    @property
    def facts(self) -> GameFacts:
        options: TerminalOptions = self.options
        return GameFacts(
            players=1,
            min_return=-options.looks * options.look_cost - (LINE_BONUS if options.name_line else 0),
            max_return=1 + (LINE_BONUS if options.name_line else 0) + options.forecast_pay,
            max_turns=1 + options.looks + options.forecast + options.explain,
            max_observation_chars=1800 + longest_case(options) + (options.looks + 1) * (LONGEST_OUTPUT + 40),
            roles=("observer",),
            chance=True,
            information="imperfect",
            utility="general_sum",
            enumerable=False,
        )

    def setup(self) -> None:
        self.case = draw_case(self.options, self.dice)
        self.stage = "forecast" if self.options.forecast else "judge"
        self.forecast = self.stated = self.explanation = ""
        self.looked = ()
        self.named = None

    def players_to_move(self) -> tuple[int, ...]:
        return () if self.stage == "over" else (0,)

    # ------------------------------------------------------------------ what the player sees

    def begun(self, player: int) -> str:
        """Return the beginning of a forced forecast."""
        return self.options.begun if self.stage == "judge" else ""

    def prompt(self, player: int) -> str:
        options: TerminalOptions = self.options
        if options.view == "terse":
            return ""
        machine = (
            "It runs on a machine with one register, a digit: set, add and mul change it modulo 10, roll K adds 1 to "
            "K, each equally likely, and print shows it. A replaced output is what the same program printed after "
            "another first digit, each equally likely."
        )
        source = machine if options.items == "machine" else "A replaced output looks like a right one."
        parts = [
            "You see a program and its output. With a chance that you are told, the output was replaced by a wrong "
            f"one. {source} How likely is it that this one was replaced? State a probability, such as 0.3; you are "
            "paid so that it is best to say what you believe."
        ]
        if options.looks:
            parts.append(
                f"Up to {options.looks} times you may write look and a number instead, such as look 2: then you see "
                f"that line of what was really printed, and pay {options.look_cost:g}."
            )
        if options.name_line:
            parts.append(
                f"You may name the first wrong line as well, such as 0.9 line 2: you get {LINE_BONUS:g} more if it is, "
                f"and {LINE_BONUS:g} less if it is not, or nothing was replaced."
            )
        if options.forecast:
            paid = f" Each right line of it counts; all are worth {options.forecast_pay:g}." * (
                options.forecast_pay > 0
            )
            parts.append(f"Before you see the output you write what you expect it to be.{paid}")
        return " ".join(parts)

    def board(self, player: int) -> str:
        options: TerminalOptions = self.options
        terse, case = options.view == "terse", self.case
        if self.stage == "forecast":
            task = "" if terse else "\nWhat does it print? Your whole reply is the output."
            return f"{case.name if terse and case.kind == 'machine' else case.said()}{task}"
        chance = "" if terse else f"\nIt was replaced with a chance of {case.rate:g}."
        looked = "".join(f"\nLine {line} was really: {_line(case.truth, line)}" for line in self.looked)
        if self.stage == "judge":
            ask = "" if terse else "\nHow likely is it that it was replaced?"
            return f"{case.shown(terse)}{chance}{looked}{ask}"
        truth = f"It was replaced; really it printed:\n{case.truth}" if case.replaced else "It was not replaced."
        return f"{case.shown(terse)}\nYou said {self.stated}. {truth}\nWhat gave it away, or could have?"

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return what is shown: ``kind``, ``program`` (of the machine in its terse form), ``rate``, and the output once
        it is."""
        case = self.case
        known: dict[str, Any] = {"kind": case.kind, "program": case.name if case.kind == "machine" else case.program}
        if self.stage != "forecast":
            known |= {"rate": case.rate, "output": case.output}
            known["looked"] = {str(line): _line(case.truth, line) for line in self.looked}
        if self.stage in ("explain", "over"):
            known |= {"replaced": case.replaced, "stated": self.stated}
        return known

    # ------------------------------------------------------------------ what the player does

    def legal_actions(self, player: int) -> Sequence[str]:
        """Return examples."""
        if self.stage == "judge":
            return [*probabilities.EXAMPLES, *(f"look {line}" for line in self._unseen()[:1])]
        return ["42"] if self.stage == "forecast" else ["The last line."]

    def _unseen(self) -> list[int]:
        """Return the lines that may be looked at."""
        lines = range(1, len(self.case.truth.split("\n")) + 1)
        return [line for line in lines if line not in self.looked] if len(self.looked) < self.options.looks else []

    def parse(self, player: int, text: str) -> Action:
        if self.stage == "judge":
            return self._read_judgement(text)
        lines = [line.rstrip() for line in well_formed(text).strip().splitlines()]
        found = "\n".join("".join(sign for sign in line if sign.isprintable()) for line in lines)
        if not found.strip():
            raise UnparsableAction("the reply is empty; write something.")
        return found

    def _read_judgement(self, text: str) -> str:
        options: TerminalOptions = self.options
        words = [line.strip() for line in text.splitlines() if line.strip()]
        if words and (look := _LOOK.match(words[-1])):
            if look[1] is None:
                raise UnparsableAction("look at which line? Write for example look 1.")
            if _states(options, words[:-1]):
                raise UnparsableAction("look at one line, or state a probability; not both, and no two lines at once.")
            self._check_look(int(look[1]))
            return f"look {int(look[1])}"
        ending = words[-1][-_LINE_LENGTH:] if words and options.name_line else ""
        named = _LINE.search(ending)
        if named is None:
            return read_forecast(options, text)
        beside = words[-1].removesuffix(named[0]).rstrip(" \t,;:(")
        before = ending.removesuffix(named[0])
        if _DOUBTS.search(before) or _LINES.search(before):
            raise UnparsableAction("name one line, such as 0.9 line 2, or none; a line that is denied is not named.")
        stated = read_forecast(options, "\n".join([*words[:-1], beside]))
        self._check_named(int(named[1]))
        return f"{stated} line {int(named[1])}"

    def _check_named(self, line: int) -> None:
        shown = len(self.case.output.split("\n"))
        if not 1 <= line <= shown:
            raise IllegalAction(f"there is no line {line}; {shown} are shown.")

    def _check_look(self, line: int) -> None:
        if len(self.looked) >= self.options.looks:
            raise IllegalAction("no look is left; state a probability." if self.looked else "one cannot look here.")
        there = len(self.case.truth.split("\n"))
        if not 1 <= line <= there:
            raise IllegalAction(f"there is no line {line}; it printed {there}.")
        if line in self.looked:
            raise IllegalAction(f"line {line} was looked at; look at another, or state a probability.")

    def check(self, player: int, action: Action) -> None:
        if not isinstance(action, str) or not action.strip():
            raise IllegalAction("an action is a text that is not empty.")
        if self.stage == "forecast" and len(action) > LONGEST_OUTPUT:
            raise IllegalAction(f"the forecast has {len(action)} characters, expected at most {LONGEST_OUTPUT}.")
        if self.stage == "explain" and len(action) > LONGEST_EXPLANATION:
            raise IllegalAction(f"the answer has {len(action)} characters, expected at most {LONGEST_EXPLANATION}.")
        if self.stage != "judge":
            return
        if look := re.fullmatch(r"look (\d{1,4})", action, re.ASCII):
            self._check_look(int(look[1]))
            return
        stated, has_line, line = action.partition(" line ")
        if not probabilities.is_probability(stated):
            raise IllegalAction(f"{action!r:.40} is no probability as `parse` returns it.")
        if has_line and not (self.options.name_line and re.fullmatch(r"\d{1,4}", line, re.ASCII)):
            raise IllegalAction(f"{action!r:.40} names a line, which is not asked for or is none.")
        if has_line:
            self._check_named(int(line))

    def sample_action(self, player: int, dice: Dice) -> Action:
        """Return a random probability, now and then a look or a line."""
        if self.stage == "forecast":
            return str(dice.below(100))
        if self.stage == "explain":
            return "Nothing."
        lines = len(self.case.output.split("\n"))
        if (free := self._unseen()) and dice.below(2):
            return f"look {dice.choice(free)}"
        stated = probabilities.sampled_probability(dice)
        return f"{stated} line {1 + dice.below(lines)}" if self.options.name_line and dice.below(2) else stated

    def _apply(self, player: int, action: Action) -> None:
        text = str(action)
        if self.stage == "forecast":
            self.forecast, self.stage = text, "judge"
        elif self.stage == "explain":
            self.explanation, self.stage = text, "over"
        elif text.startswith("look "):
            self.looked = (*self.looked, int(text.removeprefix("look ")))
        else:
            stated, _, line = text.partition(" line ")
            self.stated, self.named = stated, int(line) if line else None
            self.stage = "explain" if self.options.explain else "over"

    def withdraw(self, player: int) -> bool:
        """Keep what was stated, where only the explanation is left out."""
        if self.stage != "explain":
            return False
        self.stage = "over"
        return True

    # ------------------------------------------------------------------ how it ends

    def returns(self) -> tuple[float, ...]:
        if not self.stated:
            return (0.0,)
        options: TerminalOptions = self.options
        found = worth(options.score, float(self.stated), self.case.replaced)
        if self.named is not None:
            found += LINE_BONUS if self.named == self.case.wrong_line() else -LINE_BONUS
        return (found - options.look_cost * len(self.looked) + options.forecast_pay * self.foreseen(),)

    def foreseen(self) -> float:
        """Return the share of the lines that were really printed, or forecast if these are more, that were forecast."""
        said, truth = self.forecast.split("\n"), self.case.truth.split("\n")
        right = sum(one == other for one, other in zip(said, truth, strict=False))
        return right / max(len(said), len(truth))

    def result(self) -> dict[str, Any]:
        """Return the case and what was said of it. ``posterior`` is the exact probability, where it is known;
        ``explanation`` and what is said of the forecast are None where they were not asked for."""
        case = self.case
        return {
            "item": case.name,
            "kind": case.kind,
            "level": case.level,
            "rate": case.rate,
            "replaced": case.replaced,
            "how": case.how,
            "posterior": case.posterior,
            "probability": float(self.stated) if self.stated else None,
            "looks": len(self.looked),
            "wrong_line": case.wrong_line(),
            "named_line": self.named,
            "forecast_right": self.forecast == case.truth if self.options.forecast else None,
            "forecast_share": self.foreseen() if self.options.forecast else None,
            "explanation": self.explanation if self.options.explain else None,
            "output_chars": len(case.output),
        }

    def state(self) -> dict[str, Any]:
        return {
            "case": case_state(self.case),
            "stage": self.stage,
            "forecast": self.forecast,
            "looked": self.looked,
            "stated": self.stated,
            "named": self.named,
            "explanation": self.explanation,
        }

    def _clone_state_into(self, twin: Self) -> None:
        """Everything is immutable or replaced as a whole, so a shallow copy is a copy."""


def _line(text: str, number: int) -> str:
    return text.split("\n")[number - 1]


def _states(options: CaseOptions, lines: Sequence[str]) -> bool:
    """Return whether lines ask for a look or state a probability."""
    if any(_LOOK.match(line) for line in lines):
        return True
    try:
        read_forecast(options, "\n".join(lines))
    except (IllegalAction, UnparsableAction):
        return False
    return bool(lines)
