"""Shuffled credit: the null arm of every claim that credit did it.

Weights are those of another rule, but each seat's episode gets the return that a seat's episode of the same role in
another group earned (a cyclic shift by a whole group, in an order that depends on nothing but their names). The updates
are as large as the real ones and mean nothing. Within a group it would not be so: the baseline of an episode would then
hold its own return.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from palaestra.envs.errors import OptionError
from palaestra.trainers.credit.base import by_seat_episode, make_credit, register_credit
from palaestra.trainers.rows import Row


@register_credit("shuffled")
class Shuffled:
    """Another rule on returns that were dealt out anew.

    Args:
        rule: Registered name of that rule.
        options: Its options.
    """

    def __init__(self, rule: str = "role_baseline", **options: Any) -> None:
        self.inner = make_credit(rule, **options)
        if getattr(self.inner, "reads_documents", False):
            raise OptionError(f"{rule} pays by the scores of tokens and not by returns; there is nothing to deal out")

    @property
    def compares_groups(self) -> bool:
        """Return whether the other rule needs groups."""
        return bool(getattr(self.inner, "compares_groups", False))

    def assign(self, rows: Sequence[Row], *, kl: float = 0.0) -> list[Row]:
        """Return the rows with weights that belong to other episodes."""
        by_role: dict[tuple[str, str], list[tuple[str, str, int]]] = {}
        returns = {}
        for seat, parts in by_seat_episode(rows).items():
            returns[seat] = parts[0].return_
            # An unfinished episode neither gives nor gets a return: it trains nothing, as under every rule.
            if parts[0].return_ is not None:
                by_role.setdefault((parts[0].game, parts[0].role), []).append((parts[0].group, *seat))
        dealt = dict(returns)
        for found in by_role.values():
            largest = max(Counter(group for group, *_ in found).values())
            seats = [(episode, player) for _, episode, player in sorted(found)]
            shift = largest if largest < len(seats) else 1
            for seat, other in zip(seats, seats[shift:] + seats[:shift], strict=True):
                dealt[seat] = returns[other]
        swapped = [replace(row, return_=dealt[row.episode_id, row.player]) for row in rows]
        weighted = self.inner.assign(swapped, kl=kl)
        return [replace(new, return_=row.return_) for new, row in zip(weighted, rows, strict=True)]

    def state_dict(self) -> dict[str, Any]:
        """Return the other rule's state."""
        return self.inner.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Invert `state_dict`."""
        self.inner.load_state_dict(state)
