"""A case of surprise as a task for a chain of thought: is this what the program printed?

The output was replaced in one case of two. Right reasoning goes through the output line by line, saying of each whether
it is what the program printed, and, where it is not, what should stand there; so a share of it knows a share of the
output.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from palaestra.envs.games.chains import Wording
from palaestra.envs.games.surprise import Case, CaseOptions, case_state, draw_case, longest_case
from palaestra.envs.seeding import Dice

NAMES = ("right", "wrong")
HARDEST = 3
EVEN = 0.5


@dataclass(frozen=True, slots=True)
class Verdict:
    """A program of the item set, an output, and the question whether it printed that."""

    case: Case

    @classmethod
    def draw(cls, level: int, dice: Dice) -> Verdict:
        """Return a random Python program of a level from 1 to 3, its output replaced as likely as not."""
        return cls(draw_case(CaseOptions(items="python", level=level, rate=EVEN), dice))

    @property
    def chance(self) -> float:
        """Return the share of right answers of who guesses."""
        return 1 / len(NAMES)

    @property
    def answer(self) -> int:
        """Return the number of the right answer."""
        return int(self.case.replaced)

    def name(self, state: int) -> str:
        """Return an answer as a player writes it."""
        return NAMES[state]

    def names(self) -> list[str]:
        """Return all answers as players write them."""
        return list(NAMES)

    def told(self, wording: Wording = "story") -> str:
        """Return the case and its question; tersely the case alone."""
        if wording == "terse":
            return self.case.shown(terse=True)
        asked = "Is the output right or wrong?" if wording == "restated" else "Is that what it printed, right or wrong?"
        return f"{self.case.shown(terse=False)}\n{asked}"

    def reasoning(self, wording: Wording = "story") -> list[str]:
        """Return right reasoning, a line for each line of the output, and one for the end; tersely only verdicts."""
        shown, real = self.case.output.split("\n"), self.case.truth.split("\n")
        lines = []
        for place in range(max(len(shown), len(real))):
            there = shown[place] if place < len(shown) else None
            due = real[place] if place < len(real) else None
            verdict = NAMES[there != due]
            what = f"line {place + 1} " + ("is too many" if due is None else f"should be {due or 'empty'}")
            lines.append(f"{verdict}." if wording == "terse" else f"{what}: {verdict}.")
        return lines if wording == "terse" else [*lines, f"the whole: {self.name(self.answer)}."]

    def follows(self, verdicts: Sequence[str]) -> str:
        """Return the answer that follows from verdicts on lines: one wrong line makes the whole wrong."""
        return max(verdicts, key=NAMES.index)

    def state(self) -> dict[str, Any]:
        """Return the case as JSON data."""
        return case_state(self.case)

    def known(self) -> dict[str, Any]:
        """Return what a player is told, as data."""
        return {"task": "surprise", "program": self.case.program, "output": self.case.output}


LONGEST_TOLD = longest_case(CaseOptions(items="python")) + 100
