"""Shuffled credit: the null arm of every claim that credit did it.

Weights are those of `role_baseline`, but each seat's episode gets the advantage that another seat's episode of the same
role earned (a cyclic shift in an order that depends on nothing but their names). The updates are as large as the real
ones and mean nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from palaestra.trainers.credit.base import by_seat_episode, register_credit
from palaestra.trainers.credit.role_baseline import RoleBaseline
from palaestra.trainers.rows import Row


@register_credit("shuffled")
class Shuffled(RoleBaseline):
    """`RoleBaseline` with returns dealt to the next episode of the same game and role; takes the same options."""

    def assign(self, rows: Sequence[Row], *, kl: float = 0.0) -> list[Row]:
        """Return the rows with weights that belong to other episodes."""
        by_role: dict[tuple[str, str], list[tuple[str, int]]] = {}
        returns = {}
        for seat, parts in by_seat_episode(rows).items():
            returns[seat] = parts[0].return_
            # An unfinished episode neither gives nor gets a return: it trains nothing, as under every rule.
            if parts[0].return_ is not None:
                by_role.setdefault((parts[0].game, parts[0].role), []).append(seat)
        dealt = dict(returns)
        for seats in by_role.values():
            for seat, other in zip(seats, seats[1:] + seats[:1], strict=True):
                dealt[seat] = returns[other]
        swapped = [replace(row, return_=dealt[row.episode_id, row.player]) for row in rows]
        weighted = super().assign(swapped, kl=kl)
        return [replace(new, return_=row.return_) for new, row in zip(weighted, rows, strict=True)]
