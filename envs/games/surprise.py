"""What games of surprise share: an item is drawn, its output is replaced with a stated chance, and forecasts are paid.

A *case* is one item as it is shown: a program, what it is said to have printed, with which chance that was replaced,
and whether it was. Cases come from item sets (`palaestra.envs.items.item_set`) or from the machine
(`palaestra.envs.items.machine`), for which the exact probability that the output was replaced is known.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, Literal

from palaestra.envs.errors import UnparsableAction
from palaestra.envs.games.probabilities import read_probability
from palaestra.envs.grammar import shorten
from palaestra.envs.items.item_set import LONGEST_OUTPUT, LONGEST_PROGRAM, Part, chosen_items, in_part
from palaestra.envs.items.machine import DIGITS, Program
from palaestra.envs.options import within
from palaestra.envs.seeding import Dice

RATES = (0.1, 0.25, 0.5, 0.75, 0.9)
LENGTHS = {1: (2, 3), 2: (3, 4), 3: (5, 6)}
"""Instructions of the machine's programs, by level."""
LONGEST_FILE = 4_000_000
FLOOR = 0.01
REPLACED = ("replaced", "replacement", "wrong", "altered", "changed", "swapped", "tampered", "forged", "fake")
"""Words for what is asked of an output."""
_LIST = re.compile(r"[01](?:\)|\.\s+(?=\S))")
"""The number of a list's first item, where a forced reply has to go on with a probability."""
Score = Literal["brier", "log", "answer"]


FORCED = "The probability that it was replaced is"
"""Beginning of a forced reply."""


@dataclass(frozen=True)
class CaseOptions:
    """Which cases, and what a forecast is worth.

    Attributes:
        items: ``python`` programs, ``shell`` pipelines, recorded ``session`` lines, ``mixed`` (all three), or the
            ``machine``.
        file: An item set of one's own, a JSON object a line (at the command line ``@FILE``); empty for the one that is
            shipped.
        level: 1 to 3; 0 for all.
        part: Which programs, told apart by their text: ``shown``, to train on; ``held_out``, a quarter, to measure what
            was trained; or ``all``.
        rate: With which chance an output is replaced, which is shown; none draws it anew for each episode.
        score: What a forecast p of the truth o (1 if replaced) is worth, from 0 to 1: ``brier`` is 1 - (p - o)^2,
            ``log`` the logarithm of the probability of what is true, clipped at 0.01 and scaled; ``answer`` is the mean
            of ``brier`` and of whether p is on the right side of one half (the sum is that of Damani et al., RLCR,
            2025).
        view: ``words`` explains everything, ``terse`` shows what is needed in a few characters.
        mode: ``forced``: the reply has begun with "The probability that it was replaced is", for models that would
            rather talk; ``free``: it is the player's own from its first word.
    """

    items: Literal["mixed", "python", "shell", "session", "machine"] = "mixed"
    file: str = ""
    level: int = 0
    part: Part = "all"
    rate: float | None = None
    score: Score = "brier"
    view: Literal["words", "terse"] = "words"
    mode: Literal["free", "forced"] = "free"

    @property
    def begun(self) -> str:
        """Return the beginning of a reply that states a forecast; nothing unless it is forced."""
        return FORCED if self.mode == "forced" else ""

    def __post_init__(self) -> None:
        within(self, level=(0, 3))
        if self.rate is not None:
            within(self, rate=(0, 1))
        if len(self.file) > LONGEST_FILE:
            raise ValueError(f"file has {len(self.file)} characters, expected at most {LONGEST_FILE}")
        if self.items != "machine":
            chosen_items(self.items, self.level, self.file, self.part)
        elif self.file:
            raise ValueError("the machine draws its own programs; leave file out, or choose other items")


@dataclass(frozen=True, slots=True)
class Case:
    """An item as it is shown.

    Attributes:
        name: The item's id; of the machine its program.
        kind, level: As in the item set; ``machine`` for the machine.
        program, output: What is shown.
        truth: What was printed; equal to ``output`` unless it was replaced (the machine may print the same twice).
        rate: The chance of a replacement, as shown.
        replaced: Whether it was.
        how: How the wrong output came about; empty if it was not replaced.
        posterior: The exact probability that ``output`` was replaced; None where it is not known.
    """

    name: str
    kind: str
    level: int
    program: str
    output: str
    truth: str
    rate: float
    replaced: bool
    how: str
    posterior: float | None

    def shown(self, terse: bool) -> str:
        """Return program and output as a player sees them."""
        if terse:
            program = f"{self.name}>" if self.kind == "machine" else f"{self.program}\n"
            return f"{self.rate:g} {program}{self.output}"
        return f"The program:\n{_barred(self.program)}\nThe output:\n{_barred(self.output)}"

    def said(self) -> str:
        """Return the program alone."""
        return f"The program:\n{_barred(self.program)}"

    def wrong_line(self) -> int | None:
        """Return the number of the first line, from 1, in which the output is not what was printed."""
        shown, real = self.output.split("\n"), self.truth.split("\n")
        differ = (number for number, (one, other) in enumerate(zip(shown, real, strict=False), start=1) if one != other)
        return next(differ, None) if self.replaced else None


def read_forecast(options: CaseOptions, text: str) -> str:
    """Return the probability that a reply states that the output was replaced, in its canonical form.

    Raises:
        UnparsableAction, IllegalAction: As `read_probability`.
    """
    said = text.removeprefix(options.begun).strip()
    if options.begun and _LIST.match(said):
        raise UnparsableAction(f"{shorten([said], 60)!r} begins a list; go on with one probability.")
    return read_probability(f"{options.begun} {said}", REPLACED)


def draw_case(options: CaseOptions, dice: Dice) -> Case:
    """Return the case that the dice give."""
    rate = dice.choice(RATES) if options.rate is None else options.rate
    replaced = dice.random() < rate
    if options.items == "machine":
        return _machine_case(options, rate, replaced, dice)
    item = dice.choice(chosen_items(options.items, options.level, options.file, options.part))
    wrong = dice.choice(item.wrong)
    output, how = (wrong.output, wrong.how) if replaced else (item.output, "")
    return Case(item.id, item.kind, item.level, item.program, output, item.output, rate, replaced, how, None)


def _machine_case(options: CaseOptions, rate: float, replaced: bool, dice: Dice) -> Case:
    level = options.level or 1 + dice.below(3)
    length = dice.choice(LENGTHS[level])
    program = Program.draw(dice, length)
    while not in_part(program.terse(), options.part):
        program = Program.draw(dice, length)
    other = (program.first + 1 + dice.below(DIGITS - 1)) % DIGITS
    truth, wrong = program.run(dice), program.run(dice, other)
    output = wrong if replaced else truth
    posterior = program.posterior(output, rate)
    how = "other_input" if replaced else ""
    return Case(
        program.terse(), "machine", level, program.words(), str(output), str(truth), rate, replaced, how, posterior
    )


def worth(score: Score, stated: float, replaced: bool) -> float:
    """Return what a forecast is worth, from 0 to 1; see `CaseOptions.score`."""
    truth = float(replaced)
    brier = 1 - (stated - truth) ** 2
    if score == "log":
        right = min(max(stated if replaced else 1 - stated, FLOOR), 1 - FLOOR)
        return 1 - math.log(right) / math.log(FLOOR)
    if score == "answer":
        side = 0.5 if stated == 0.5 else float((stated > 0.5) == replaced)
        return (brier + side) / 2
    return brier


def case_state(case: Case) -> dict[str, Any]:
    """Return a case as JSON data."""
    return {name: getattr(case, name) for name in case.__slots__}


def longest_case(options: CaseOptions) -> int:
    """Return an upper bound on the characters of `Case.shown`."""
    if options.items == "machine":
        return 300
    return 2 * (LONGEST_PROGRAM + LONGEST_OUTPUT) + 200


def _barred(text: str) -> str:
    """Return a text with a bar before every line, so that none of it looks like the game's own."""
    return "\n".join(f"| {line}" for line in text.split("\n"))
