"""A small machine with chance in it, whose odds are known exactly: the oracle of "was this output replaced?".

The machine has one register that holds a digit. A program is a first digit and instructions, each of which changes the
register modulo 10; at the end the digit is printed.

    add K   adds K            mul K   multiplies by K         roll K   adds 1 to K, each equally likely

A replaced output is one that the *same* program printed from *another* first digit, each of the nine others equally
likely. With rate r, the output o, p(o) its probability and c(o) that of a replaced one,

    P(replaced | o) = r c(o) / (r c(o) + (1 - r) p(o))
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, NamedTuple

from palaestra.envs.seeding import Dice

DIGITS = 10
Verb = Literal["add", "mul", "roll"]
SIGNS: dict[Verb, str] = {"add": "+", "mul": "*", "roll": "r"}
MULTIPLIERS = (2, 3, 5, 7)
MOST_ROLL = 4
MOST_INSTRUCTIONS = 12


class Instruction(NamedTuple):
    verb: Verb
    number: int


@dataclass(frozen=True, slots=True)
class Program:
    """A first digit and what is done to it."""

    first: int
    instructions: tuple[Instruction, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.first < DIGITS or not 1 <= len(self.instructions) <= MOST_INSTRUCTIONS:
            raise ValueError(f"a program is a digit and 1 to {MOST_INSTRUCTIONS} instructions")
        for verb, number in self.instructions:
            if verb not in ("add", "mul", "roll") or not 1 <= number < DIGITS:
                raise ValueError(f"{verb} {number} is no instruction of the machine")

    @classmethod
    def draw(cls, dice: Dice, length: int) -> Program:
        """Return a random program of some instructions, at least one of which is a roll."""
        known: tuple[Verb, ...] = ("add", "mul", "roll")
        verbs: list[Verb] = ["roll", *(dice.choice(known) for _ in range(length - 1))]
        dice.shuffle(verbs)
        numbers = {"add": tuple(range(1, DIGITS)), "mul": MULTIPLIERS, "roll": tuple(range(2, MOST_ROLL + 1))}
        return cls(dice.below(DIGITS), tuple(Instruction(verb, dice.choice(numbers[verb])) for verb in verbs))

    def odds(self, first: int | None = None) -> tuple[float, ...]:
        """Return the probability of each digit to be printed, from ``first`` if another digit is meant."""
        now = [0.0] * DIGITS
        now[self.first if first is None else first] = 1.0
        for verb, number in self.instructions:
            after = [0.0] * DIGITS
            steps = range(1, number + 1) if verb == "roll" else (number,)
            for digit, chance in enumerate(now):
                for step in steps:
                    place = digit * step if verb == "mul" else digit + step
                    after[place % DIGITS] += chance / len(steps)
            now = after
        return tuple(now)

    def replaced_odds(self) -> tuple[float, ...]:
        """Return the probability of each digit where the output was replaced."""
        others = [self.odds(first) for first in range(DIGITS) if first != self.first]
        return tuple(sum(chances) / len(others) for chances in zip(*others, strict=True))

    def run(self, dice: Dice, first: int | None = None) -> int:
        """Return a digit as the machine prints it."""
        return dice.weighted(self.odds(first))

    def posterior(self, output: int, rate: float) -> float:
        """Return the probability that ``output`` was replaced; ``rate`` where neither could have printed it."""
        real, replaced = (1 - rate) * self.odds()[output], rate * self.replaced_odds()[output]
        return replaced / (real + replaced) if real + replaced else rate

    def words(self) -> str:
        """Return the program, an instruction a line."""
        return "\n".join([f"set {self.first}", *(f"{verb} {number}" for verb, number in self.instructions), "print"])

    def terse(self) -> str:
        """Return the program in a few characters, such as ``4r3+5*7``; `read_terse` inverts it."""
        return f"{self.first}" + "".join(f"{SIGNS[verb]}{number}" for verb, number in self.instructions)


def read_terse(text: str) -> Program:
    """Invert `Program.terse`.

    Raises:
        ValueError: It is no program.
    """
    if not re.fullmatch(r"\d([+*r][1-9]){1,12}", text, re.ASCII):
        raise ValueError(f"{text[:40]!r} is no program of the machine, such as 4r3+5*7")
    verbs = {sign: verb for verb, sign in SIGNS.items()}
    parts = (Instruction(verbs[sign], int(number)) for sign, number in re.findall(r"([+*r])([1-9])", text[1:]))
    return Program(int(text[0]), tuple(parts))
