"""What was read of a file that anybody may have written: the good parts, and for each bad one its line and why."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Generic, TypeVar

from palaestra.envs.errors import NotationError

T = TypeVar("T")

SHOWN = 3
"""Faults that are named one by one in a warning."""


@dataclass(frozen=True)
class Fault:
    """A part of a file that cannot be read.

    Attributes:
        line: Counted from 1.
        why: What is wrong, and what to do about it.
    """

    line: int
    why: str

    def __str__(self) -> str:
        return f"line {self.line}: {self.why}"


@dataclass(frozen=True)
class Reading(Generic[T]):
    """The parts of a file in order, and the faults."""

    parts: tuple[T, ...]
    faults: tuple[Fault, ...] = ()

    def or_warn(self, what: str) -> tuple[T, ...]:
        """Return the parts, and warn of the faults.

        Raises:
            NotationError: There is no part.
        """
        told = "; ".join(map(str, self.faults[:SHOWN]))
        more = f"; and {len(self.faults) - SHOWN} more" if len(self.faults) > SHOWN else ""
        if not self.parts:
            raise NotationError(f"{what}: {told}{more}" if told else f"{what}: it is empty.")
        if told:
            warnings.warn(f"{what}: {told}{more}; the rest is read.", stacklevel=3)
        return self.parts
