"""Trades between two players with additive values, and how good one is for both.

A *trade* is a vector of integers over the item types, written from one player's side: what it receives, negative what
it gives. It is *feasible* if nobody gives more than it holds. A player's *gain* is its own value of what it receives.

Measures of an outcome are taken over all feasible trades, found by enumeration (no trade at all is one of them):

* joint gain, the sum of both gains, beside its maximum; *efficiency* is their quotient;
* *Pareto-optimal*: no feasible trade is better for one player and at least as good for the other;
* the *Nash product*, gain times gain where neither is negative (else 0), beside its maximum. It is J. F. Nash's
  bargaining solution (Econometrica 18, 1950) with no trade as the disagreement point.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Trade: TypeAlias = tuple[int, ...]


def feasible_trades(mine: Sequence[int], theirs: Sequence[int]) -> NDArray[np.int64]:
    """Return all feasible trades from the side of the holder of ``mine``, int64[trades, items], in a fixed order."""
    ranges = [np.arange(-own, other + 1) for own, other in zip(mine, theirs, strict=True)]
    grid = np.meshgrid(*ranges, indexing="ij")
    return np.stack([axis.reshape(-1) for axis in grid], axis=1).astype(np.int64)


def gains(trades: NDArray[np.int64], values: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    """Return both players' gains, int64[trades, 2], for trades written from the side of player 0."""
    first, second = (np.asarray(worth, np.int64) for worth in values)
    return np.stack([trades @ first, -(trades @ second)], axis=1)


def measures(trade: Trade | None, holdings: Sequence[Sequence[int]], values: Sequence[Sequence[int]]) -> dict[str, Any]:
    """Return what there is to say about an outcome as JSON data; ``trade`` is from the side of player 0, None for none.

    ``efficiency`` is 1 where no trade has a positive joint gain and none is made, so it compares across games;
    ``max_joint_rational`` is the maximum over trades by which neither player loses.
    """
    possible = gains(feasible_trades(holdings[0], holdings[1]), values)
    outcome = gains(np.asarray([trade or (0,) * len(holdings[0])], np.int64), values)[0]
    joint, best = int(outcome.sum()), int(possible.sum(axis=1).max())
    better = (possible >= outcome).all(axis=1) & (possible > outcome).any(axis=1)
    rational = possible[(possible >= 0).all(axis=1)]
    return {
        "gains": [int(gain) for gain in outcome],
        "joint": joint,
        "max_joint": best,
        "max_joint_rational": int(rational.sum(axis=1).max()),
        "efficiency": joint / best if best else 1.0 + joint,
        "pareto_optimal": not bool(better.any()),
        "nash_product": int(outcome.prod()) if (outcome >= 0).all() else 0,
        "max_nash_product": int(rational.prod(axis=1).max()),
    }
