"""Packages: one level for each of several issues, and what they are worth to whoever has points for them.

A player's points for an issue rise evenly from 0 at its worst level to its *weight* at the best; which end is best is
its *direction*. The weights sum to 100, so the best package of all is worth 100 points, and trading an issue that
matters little for one that matters much (log-rolling) is to the gain of both.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palaestra.envs.errors import IllegalAction
from palaestra.envs.games.messages import Terms

TOTAL = 100
LETTERS = "ABCDEFGHI"
_LEVEL = re.compile(r"(?:an? |the )?([a-z]+)\s*(?:[:=]|at|is|level)?\s*(?:level )?([a-z])", re.IGNORECASE)


@dataclass(frozen=True)
class Preferences:
    """What packages are worth to one player.

    Attributes:
        weights: Points of the best level of each issue; they sum to `TOTAL`.
        rising: Of each issue, whether the last level is the best; else the first is.
        levels: How many levels an issue has.
    """

    weights: tuple[int, ...]
    rising: tuple[bool, ...]
    levels: int

    def points(self, issue: int) -> tuple[int, ...]:
        """Return the points of an issue's levels; between the ends they are rounded, halves up."""
        steps = self.levels - 1
        ranks = range(self.levels) if self.rising[issue] else range(steps, -1, -1)
        return tuple((2 * self.weights[issue] * rank + steps) // (2 * steps) for rank in ranks)

    def worth(self, terms: Terms) -> int:
        """Return the points of a package."""
        return sum(self.points(issue)[level] for issue, level in enumerate(terms))

    def worths(self, packages: NDArray[np.int64]) -> NDArray[np.int64]:
        """Return the points of packages int64[packages, issues], as int64[packages]."""
        table = np.array([self.points(issue) for issue in range(len(self.weights))], np.int64)
        return np.asarray(table[np.arange(len(self.weights)), packages].sum(axis=1), np.int64)


def all_packages(issues: int, levels: int) -> NDArray[np.int64]:
    """Return every package, int64[levels ** issues, issues], in a fixed order."""
    grid = np.meshgrid(*[np.arange(levels)] * issues, indexing="ij")
    return np.stack([axis.reshape(-1) for axis in grid], axis=1).astype(np.int64)


class Packages:
    """Offers of packages: ``price A, delivery C``, every issue with a level, in any order."""

    def __init__(self, issues: Sequence[str], levels: int) -> None:
        self.issues = issues
        self.letters = LETTERS[:levels]

    @property
    def example(self) -> str:
        """Return an offer that shows the form."""
        levels = len(self.letters)
        return self.write(tuple((2 * issue) % levels for issue in range(len(self.issues))))

    def write(self, terms: Terms) -> str:
        """Return a package in words."""
        return ", ".join(f"{issue} {self.letters[level]}" for issue, level in zip(self.issues, terms, strict=True))

    def read(self, body: str, headed: bool, certain: bool) -> Terms | None:
        """Return the package that a body names, or None if it names none; without "I offer" before it, it is talk.

        Raises:
            IllegalAction: An offer is meant, but an issue or a level does not exist, or an issue is named twice or not.
        """
        if not headed:
            return None
        chosen: dict[str, int] = {}
        for part in re.split(r"\s*(?:[,;&+]|\band\b)\s*", body):
            found = _LEVEL.fullmatch(part)
            if found is None:
                return None
            issue, letter = found[1].lower(), found[2].upper()
            if not certain and issue not in self.issues:
                return None
            if issue not in self.issues:
                raise IllegalAction(f"there is no issue {found[1]!r}; the issues are {', '.join(self.issues)}.")
            if letter not in self.letters:
                raise IllegalAction(f"{issue} has no level {letter!r}; the levels are {', '.join(self.letters)}.")
            if chosen.setdefault(issue, self.letters.index(letter)) != self.letters.index(letter):
                raise IllegalAction(f"the offer names {issue} twice, at different levels.")
        if missing := [issue for issue in self.issues if issue not in chosen]:
            raise IllegalAction(f"the offer says nothing of {missing[0]}; it must name a level of every issue.")
        return tuple(chosen[issue] for issue in self.issues)
