"""Credit for thinking tokens: every decision is paid by what the real tokens after it gained, less what thinking cost.

A *group* is G readings of one document, of which one may be the *empty thought* (`Row.thoughts`). All place the same T
real tokens, so that the pay of a decision is compared token by token with the other readings'
(`palaestra.trainers.thinktoks.credit`, which has the formulas and sources). Real tokens that count are learned by
cross-entropy in all readings.

The empty thought was not drawn. Where it does better than what was, not to think is learned from it, however unlikely
it has become (self-imitation, Oh et al., 2018, arXiv 1806.05635); where it does worse nothing is, for that would push a
policy that thinks already ever further.

A reading with *worked* thoughts is compared with nothing: its decisions are learned as they are, by weights that make
of one batch the mean over drawn decisions of A log pi, plus the mean over shown ones of log pi.

The rule has no state.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palaestra.envs.errors import OptionError
from palaestra.trainers.credit.base import CreditError, register_credit
from palaestra.trainers.rows import Row, Stream
from palaestra.trainers.thinktoks.credit import leave_one_out, returns


@register_credit("thoughts")
class Thoughts:
    """Pay decisions to think; see the module docstring.

    Args:
        cost: Of a thinking token, in nats; the game's own.
        horizon: Real tokens that a decision is paid for.
        discount: Per real token.
        ce: Weight of the cross-entropy of real tokens.
    """

    compares_groups = True
    reads_documents = True

    def __init__(self, cost: float = 0.0, horizon: int = 1, discount: float = 1.0, ce: float = 1.0) -> None:
        if not (cost >= 0 and horizon >= 1 and 0 <= discount <= 1 and ce >= 0):  # so that NaN is refused, too
            raise OptionError(
                f"cost {cost}, horizon {horizon}, discount {discount}, ce {ce}: cost and ce must not be negative, "
                "horizon at least 1, discount from 0 to 1"
            )
        self.cost, self.horizon, self.discount, self.ce = cost, horizon, discount, ce

    def assign(self, rows: Sequence[Row], *, kl: float = 0.0) -> list[Row]:
        """Return the rows with weights.

        Raises:
            CreditError: A row holds no predicted tokens, readings of a group differ in them, or a document is shorter
                than the horizon.
        """
        groups: dict[tuple[str, str], list[int]] = {}
        for number, row in enumerate(rows):
            if row.scores is None:
                raise CreditError(
                    f"the rule thoughts pays for predicted tokens, and {row.game} has none; use it for next_token"
                )
            groups.setdefault((row.game, row.group), []).append(number)
        advantages: dict[int, NDArray[np.float64] | None] = {}
        for numbers in groups.values():
            drawn = [number for number in numbers if rows[number].thoughts != "worked"]
            advantages |= zip(drawn, self._advantages([rows[number] for number in drawn]), strict=True)
        shown = sum(int(row.sampled.sum()) for row in rows if row.thoughts == "worked")
        paid = sum(int(rows[number].sampled.sum()) for number, line in advantages.items() if line is not None)
        filled = []
        for number, row in enumerate(rows):
            if row.thoughts == "worked":  # a stream has one denominator, and these are two means
                filled.append(self._filled(row, np.ones(int(_real(row).sum())), (paid + shown) / max(shown, 1), kl))
            else:
                filled.append(self._filled(row, advantages[number], (paid + shown) / max(paid, 1), kl))
        return filled

    def _advantages(self, group: Sequence[Row]) -> list[NDArray[np.float64] | None]:
        """Return A for each reading, float64[T]; None where there is nothing to compare it with."""
        if len(group) < 2 or any(row.return_ is None for row in group):
            return [None] * len(group)
        scores = [row.scores[_real(row)] for row in group if row.scores is not None]
        if len({len(line) for line in scores}) > 1:
            raise CreditError(f"readings of {group[0].group} differ in their documents; give each document its group")
        thoughts = np.array([np.bincount(_place(row)[_thought(row)], minlength=len(scores[0])) for row in group])
        try:
            paid = returns(
                np.array(scores, np.float64), thoughts, cost=self.cost, horizon=self.horizon, discount=self.discount
            )
        except ValueError as error:
            raise CreditError(f"{group[0].group}: {error}") from None
        found = leave_one_out(paid)
        return [
            np.maximum(line, 0.0) if row.thoughts == "none" else line for row, line in zip(group, found, strict=True)
        ]

    def _filled(self, row: Row, advantage: NDArray[np.float64] | None, scale: float, kl: float) -> Row:
        assert row.scores is not None
        counted = np.nan_to_num(row.scores, nan=0.0) != 0
        weight, members = np.zeros(len(row)), np.zeros(len(row), np.bool_)
        if advantage is not None:
            members = row.sampled
            weight = scale * np.where(members, advantage[np.minimum(_place(row), len(advantage) - 1)], 0.0)
        return row.with_streams(
            pg=Stream.of(weight, members), ce=Stream.of(self.ce, counted), kl=Stream.of(kl, row.sampled)
        )

    def state_dict(self) -> dict[str, Any]:
        """Return an empty state."""
        return {"rule": "thoughts"}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Check that the state is this rule's.

        Raises:
            CreditError: It is another's.
        """
        if state.get("rule") != "thoughts":
            raise CreditError(
                f"the saved credit state is of rule {state.get('rule')!r}, not 'thoughts'; resume with that rule"
            )


def _real(row: Row) -> NDArray[np.bool_]:
    """Return bool[L]: the document's tokens."""
    assert row.scores is not None
    real: NDArray[np.bool_] = ~np.isnan(row.scores)
    return real


def _thought(row: Row) -> NDArray[np.bool_]:
    """Return bool[L]: thinking tokens."""
    thought: NDArray[np.bool_] = row.sampled & ~_real(row)
    return thought


def _place(row: Row) -> NDArray[np.int64]:
    """Return int64[L]: the number of the real token that a token is or stands before."""
    real = _real(row)
    place: NDArray[np.int64] = np.cumsum(real) - real
    return place
