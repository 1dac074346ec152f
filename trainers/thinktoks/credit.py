"""What a thinking token is worth: the log scores of real tokens, leave-one-out over readings of one document.

Words. A *group* is G readings of one document, of which the first may be the *empty thought*, which never thinks. All
readings of a group place the same T real tokens, so what one of them is paid can be compared with the others token by
token. Shapes are [G, T]: ``scores[i, t]`` is the log score (nats) of real token t in reading i, 0 where the document
does not score it, and ``thoughts[i, t]`` how many thinking tokens stand before it.

    R[i, t] = sum over j < H of g^j scores[i, t + j]  -  c thoughts[i, t]
    A[i, t] = R[i, t] - mean over k != i of R[k, t]

R is what the decisions before token t are paid: the next H real tokens (the horizon; Quiet-STaR has 4, RLP 1),
discounted by g a token, less the cost. A is their advantage; the baseline does not depend on reading i, so the
estimate is unbiased (Kool, van Hoof & Welling, 2019), and with H = 1 it is RLP's G / (G - 1) (r - mean r) exactly
(Hatamizadeh et al., 2025, arXiv 2510.01265).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Table = NDArray[np.float64]


def returns(scores: Table, thoughts: NDArray[np.int64], *, cost: float, horizon: int, discount: float = 1.0) -> Table:
    """Return R, float64[G, T].

    Raises:
        ValueError: A horizon below 1, or a document of fewer tokens than the horizon.
    """
    tokens = scores.shape[1]
    if not 1 <= horizon <= tokens:
        raise ValueError(f"a horizon of {horizon} tokens does not fit a document of {tokens}; use 1 to {tokens}")
    if not np.isfinite(scores).all():
        raise ValueError(
            "scores hold NaN or infinity; a model that gives a true token no chance cannot be learned from"
        )
    paid = -cost * thoughts.astype(np.float64)
    for ahead in range(horizon):
        paid[:, : tokens - ahead] += discount**ahead * scores[:, ahead:]
    return paid


def leave_one_out(values: Table) -> Table:
    """Return each reading's value less the mean of the others', float64 of the same shape [G, ...].

    Raises:
        ValueError: A single reading has nothing to be compared with.
    """
    group = len(values)
    if group < 2:
        raise ValueError("a group needs at least 2 readings")
    return (values - values.mean(axis=0)) * (group / (group - 1))


def dearest(states: int, steps: int) -> float:
    """Return the cost of a thought, in nats, below which it pays to think through a chain: ``steps`` thoughts make an
    answer certain that is uniform over ``states`` without them, which gains ln(states), so it is ln(states) / steps."""
    return math.log(states) / steps


def filtered(share: float) -> float:
    """Return the share of long answers after one round of learning from right answers only, from a share before.

    In the mixture of Tsilivis et al. (2025, arXiv 2510.11495) the long form of parity is always right and the short one
    in half of the cases, so p' = p / (p + (1 - p) / 2) = 2 p / (1 + p).
    """
    if not 0 <= share <= 1:
        raise ValueError(f"share {share} is no probability")
    return 2 * share / (1 + share)
