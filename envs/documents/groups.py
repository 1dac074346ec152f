"""Small groups as multiplication tables: whose word problems need a running state.

Products read from left to right: ``table[a][b]`` is a, then b. Z2 and Z7 are abelian, S3 is solvable and not abelian,
S5 is not solvable, so that no circuit of constant depth with the usual gates follows it (Barrington, 1989).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from itertools import permutations
from typing import Literal

GroupName = Literal["z2", "z7", "s3", "s5"]
LETTERS = "abcdefghijkl"


@dataclass(frozen=True, slots=True)
class Group:
    """A finite group; elements are numbers, 0 the neutral one."""

    name: GroupName
    table: tuple[tuple[int, ...], ...]

    @property
    def size(self) -> int:
        return len(self.table)

    def product(self, word: tuple[int, ...]) -> int:
        """Return the product of a word from left to right; 0 for the empty one."""
        state = 0
        for element in word:
            state = self.table[state][element]
        return state

    def write(self, element: int) -> str:
        """Return an element as a letter, or, in a group of more than 12, as two."""
        if self.size <= len(LETTERS):
            return LETTERS[element]
        return LETTERS[element // len(LETTERS)] + LETTERS[element % len(LETTERS)]


@cache
def group(name: GroupName) -> Group:
    """Return a group by its name."""
    if name[0] == "z":
        order = int(name[1:])
        return Group(name, tuple(tuple((a + b) % order for b in range(order)) for a in range(order)))
    elements = list(permutations(range(int(name[1:]))))
    number = {element: place for place, element in enumerate(elements)}
    return Group(
        name, tuple(tuple(number[tuple(second[image] for image in first)] for second in elements) for first in elements)
    )
