"""How good the outcome of a bargain is, measured against everything that could have been agreed.

A *gain* is what a player gets beyond what it would have without an agreement; no agreement is the point of zeros.

* *Joint gain* is the sum of all gains, beside its maximum; *efficiency* is their quotient, *surplus share* each
  player's part of the largest joint gain by which nobody loses.
* *Pareto-optimal*: nothing possible is better for one player and at least as good for all others.
* The *Nash product*, gain times gain where none is negative (else 0), beside its maximum: J. F. Nash's bargaining
  solution (Econometrica 18, 1950).
* *Pareto distance* and *Nash distance*: Euclidean distances in the plane of gains, from the outcome to the nearest
  Pareto-optimal point and to the nearest point of maximal Nash product, over the largest joint gain by which nobody
  loses; so they compare across games.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray


def measures(outcome: NDArray[Any], possible: NDArray[Any]) -> dict[str, Any]:
    """Return what there is to say about the outcome of a bargain between two as JSON data.

    Args:
        outcome: The gains, [2], whole numbers or floats.
        possible: The gains of everything that could have been agreed, [agreements, 2].

    ``efficiency`` is 1 where nothing has a positive joint gain and nothing is gained, so it compares across games.
    Shares and distances are None where nobody can gain without the other's loss.
    """
    possible = np.concatenate([possible, np.zeros((1, 2), possible.dtype)])
    joint, best = outcome.sum().item(), possible.sum(axis=1).max().item()
    better = (possible >= outcome).all(axis=1) & (possible > outcome).any(axis=1)
    rational = possible[(possible >= 0).all(axis=1)]
    most = rational.sum(axis=1).max().item()
    products = rational.prod(axis=1)
    solutions = rational[products == products.max()]
    return {
        "gains": outcome.tolist(),
        "joint": joint,
        "max_joint": best,
        "max_joint_rational": most,
        "efficiency": joint / best if best else 1.0 + joint,
        "surplus_share": (outcome / most).tolist() if most else None,
        "pareto_optimal": not bool(better.any()),
        "pareto_distance": _distance(outcome, frontier(possible)) / most if most else None,
        "nash_product": outcome.prod().item() if (outcome >= 0).all() else 0,
        "max_nash_product": products.max().item(),
        "nash_distance": _distance(outcome, solutions) / most if products.max() > 0 else None,
    }


def frontier(possible: NDArray[Any]) -> NDArray[Any]:
    """Return the Pareto-optimal of the gains [agreements, 2], without repetition."""
    ordered = possible[np.lexsort((possible[:, 1], possible[:, 0]))[::-1]]  # falling by the first player, the second
    highest = np.maximum.accumulate(ordered[:, 1])
    optimal: NDArray[Any] = ordered[np.concatenate([[True], ordered[1:, 1] > highest[:-1]])]
    return optimal


def _distance(point: NDArray[Any], points: NDArray[Any]) -> float:
    return float(np.sqrt(((points - point).astype(np.float64) ** 2).sum(axis=1).min()))
