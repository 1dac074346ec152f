"""Group-relative credit: an episode's return, minus that of other episodes from the same start, on every sampled token.

Words. A *group* is G episodes of one game that started from the same state (same seed and options). It is for games
with a single seat: between two players of one game a group's mean is about 0 whatever the policy does.

Invariants, each with a test: the advantages of a group sum to zero over its episodes (not over tokens), unless a failed
reply has its own penalty; a group of one is no member of ``pg``, because it has nothing to be compared with; adding a
constant to all returns changes nothing.

With ``baseline="leave_one_out"`` the advantage of episode i is R_i - mean of R_j over j != i: the baseline is
independent of R_i, so the estimate is unbiased (Kool, van Hoof & Welling 2019). With ``"mean"`` it is R_i - mean of all
R: the same, times (G - 1) / G. ``scale_by_spread`` divides by the group's standard deviation over G - 1, as in GRPO
(Shao et al. 2024); it weighs easy and hard starts more than middling ones, hence is off by default (Liu et al. 2025,
"Dr. GRPO").

The rule has no state.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Literal

from palaestra.envs.errors import OptionError
from palaestra.trainers.credit.base import CreditError, by_seat_episode, fill, register_credit
from palaestra.trainers.rows import Row


@register_credit("group_relative")
class GroupRelative:
    """Compare episodes that started alike; see the module docstring.

    Args:
        baseline: ``"leave_one_out"`` or ``"mean"``.
        scale_by_spread: Divide by the group's standard deviation (by 1 where all returns are equal).
        failure_penalty: Illegal and unparsable replies weigh at most minus this; None for no such rule.
    """

    compares_groups = True

    def __init__(
        self,
        baseline: Literal["leave_one_out", "mean"] = "leave_one_out",
        scale_by_spread: bool = False,
        failure_penalty: float | None = None,
    ) -> None:
        if baseline not in ("leave_one_out", "mean"):
            raise OptionError(f"baseline must be 'leave_one_out' or 'mean', found {baseline!r}")
        if failure_penalty is not None and failure_penalty < 0:
            raise OptionError(f"failure_penalty must not be negative, found {failure_penalty}; null switches it off")
        self.baseline = baseline
        self.scale_by_spread = scale_by_spread
        self.failure_penalty = failure_penalty

    def assign(self, rows: Sequence[Row], *, kl: float = 0.0) -> list[Row]:
        """Return the rows with weights.

        Raises:
            CreditError: An episode has rows of two seats.
        """
        groups: dict[tuple[str, str], list[float]] = {}
        seats: dict[str, int] = {}
        for (episode_id, player), parts in by_seat_episode(rows).items():
            if seats.setdefault(episode_id, player) != player:
                raise CreditError(
                    f"group_relative compares episodes of one seat, but episode {episode_id!r} trains several; "
                    "use role_baseline for games between players"
                )
            if parts[0].return_ is not None:
                groups.setdefault((parts[0].game, parts[0].group), []).append(parts[0].return_)

        filled = []
        for row in rows:
            advantage = None if row.return_ is None else self._advantage(row.return_, groups[row.game, row.group])
            filled.append(fill(row, advantage, kl=kl, failure_penalty=self.failure_penalty))
        return filled

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {"rule": "group_relative"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Check that the state is this rule's.

        Raises:
            CreditError: It is another's.
        """
        if state.get("rule") != "group_relative":
            raise CreditError(
                f"the saved credit state is of rule {state.get('rule')!r}, not 'group_relative'; resume with that rule"
            )

    def _advantage(self, value: float, group: list[float]) -> float | None:
        size = len(group)
        if size < 2:
            return None
        mean = math.fsum(group) / size
        advantage = value - mean
        if self.baseline == "leave_one_out":
            advantage *= size / (size - 1)
        if self.scale_by_spread:
            spread = math.sqrt(math.fsum((other - mean) ** 2 for other in group) / (size - 1))
            advantage /= spread if spread > 1e-6 else 1.0
        return advantage
