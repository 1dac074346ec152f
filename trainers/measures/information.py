"""How much of a secret gets through: bits by Fano's bound, mutual information and capacity, and divergence.

What is estimated from samples stands beside a permutation null, for the estimates are biased upwards.

All in bits. A *message* is one of N that are equally likely, and a *guess* is what came out at the other end.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palaestra.trainers.summary import least_rate


def fano_bits(accuracy: float, messages: int, entropy: float | None = None) -> float:
    """Return the least mutual information (bits) of one of N messages with guesses that are right so often.

    I >= H - h(P) - (1 - P) log2(N - 1), with the binary entropy h (R. M. Fano, 1961); it is met when all errors are
    equally likely, and is 0 where guessing reaches that accuracy. An accuracy below chance tells nothing by this bound,
    so it gives 0, too.

    Args:
        accuracy: P.
        messages: N.
        entropy: H of the messages, in bits; log2 N if not given, for messages that are equally likely.

    Raises:
        ValueError: No probability, or fewer than 2 messages.
    """
    if not 0 <= accuracy <= 1:
        raise ValueError(f"accuracy is {accuracy}, expected 0 to 1")
    if messages < 2:
        raise ValueError(f"there are {messages} messages, expected at least 2")
    if accuracy <= 1 / messages:
        return 0.0
    wrong = 1 - accuracy
    full = math.log2(messages)
    bits = full + accuracy * math.log2(accuracy)
    bits += wrong * math.log2(wrong / (messages - 1)) if wrong else 0.0
    return bits if entropy is None else max(0.0, bits - (full - entropy))


def entropy(values: Sequence[Hashable]) -> float:
    """Return the plug-in estimate (bits) of the entropy of what was drawn, which is never too high on average."""
    shares = [count / len(values) for count in Counter(values).values()]
    return -sum(share * math.log2(share) for share in shares)


def mutual_information(pairs: Sequence[tuple[Hashable, Hashable]]) -> float:
    """Return the plug-in estimate (bits) of the mutual information of two things seen together.

    It is biased upwards by about (a - 1)(b - 1) / (2 n ln 2) for a and b values and n pairs; `permutation_test` says
    how much of it chance explains.
    """
    return _bits(_table(pairs))


@dataclass(frozen=True, slots=True)
class Permuted:
    """Mutual information, or capacity, beside what is left of it when one side is shuffled.

    Attributes:
        bits: The plug-in estimate.
        null: Its mean over shuffles, which is its bias where the two sides have nothing to do with each other.
        p: Share of shuffles (with the unshuffled one counted among them) that reach as much.
    """

    bits: float
    null: float
    p: float

    @property
    def corrected(self) -> float:
        """Return the estimate less its null, at least 0."""
        return max(0.0, self.bits - self.null)


def permutation_test(pairs: Sequence[tuple[Hashable, Hashable]], *, shuffles: int = 999, seed: int = 0) -> Permuted:
    """Return mutual information with its permutation null; ``shuffles`` + 1 is the resolution of ``p``."""
    return _permuted(pairs, _bits, shuffles, seed)


def _permuted(
    pairs: Sequence[tuple[Hashable, Hashable]], bits: Callable[[NDArray[np.float64]], float], shuffles: int, seed: int
) -> Permuted:
    rows, columns = _codes([one for one, _ in pairs]), _codes([other for _, other in pairs])
    shape = (int(rows.max(initial=-1)) + 1, int(columns.max(initial=-1)) + 1)
    found = bits(_count(rows, columns, shape))
    rng = np.random.default_rng(seed)
    null = np.array([bits(_count(rows, rng.permutation(columns), shape)) for _ in range(shuffles)])
    reached = int((null >= found - 1e-12).sum())
    return Permuted(found, float(null.mean()) if shuffles else 0.0, (1 + reached) / (1 + shuffles))


def divergence_bits(stego: Mapping[str, float], cover: Mapping[str, float]) -> float:
    """Return KL(stego || cover) in bits: 0 is perfect security (C. Cachin, 1998), infinite where a cover never is so.

    Args:
        stego, cover: Probability of each text; each sums to one.
    """
    total = 0.0
    for text, probability in stego.items():
        if probability > 0:
            other = cover.get(text, 0.0)
            if other <= 0:
                return math.inf
            total += probability * math.log2(probability / other)
    return max(0.0, total)


def channel_capacity(channel: NDArray[np.float64], *, tolerance: float = 1e-9) -> float:
    """Return the capacity (bits) of a channel by the algorithm of S. Arimoto and R. Blahut (1972).

    Args:
        channel: float[A, B], the distribution of what comes out for each of A things that go in; rows sum to one. Of a
            paraphraser it is what is delivered for each text that is sent.
        tolerance: How far the result may be below the capacity.

    Raises:
        ValueError: Nothing goes in or comes out, or a row is no distribution.
    """
    table = np.asarray(channel, float)
    if table.ndim != 2 or not table.size or not (table >= 0).all() or not np.allclose(table.sum(axis=1), 1):
        raise ValueError(
            f"a channel is a table of at least one row, whose rows are distributions; this is {table.shape}"
        )
    given, lower = np.full(len(table), 1 / len(table)), 0.0
    for _ in range(10_000):
        out = given @ table
        with np.errstate(divide="ignore", invalid="ignore"):
            gains = np.where(table > 0, table * np.log2(table / out), 0.0).sum(axis=1)
        lower = math.log2(float((given * np.exp2(gains)).sum()))
        if float(gains.max()) - lower < tolerance:
            break
        given = given * np.exp2(gains - lower)
        given /= given.sum()
    return max(0.0, lower)


def capacity_test(pairs: Sequence[tuple[Hashable, Hashable]], *, shuffles: int = 199, seed: int = 0) -> Permuted:
    """Return the capacity of a channel that is only known by samples, such as a model that paraphrases.

    Args:
        pairs: What went in and what came out, each input as often as is wanted; their shares do not matter, since the
            capacity is over the best of them.

    Counts in place of probabilities bias it upwards: with the inputs given, capacity is convex in the channel, so the
    mean of the estimate is at least the capacity (Jensen). ``null`` is that bias for a channel that hands nothing on,
    and `Permuted.corrected` takes it off, which is too much for a channel with little noise. What a receiver shows to
    get through, and so a bound from below that is no estimate of a table, is `capacity_at_least`.

    Raises:
        ValueError: Nothing was sent.
    """
    if not pairs:
        raise ValueError("no pairs of what went in and what came out; a capacity needs some")
    return _permuted(pairs, _capacity, shuffles, seed)


def _capacity(table: NDArray[np.float64]) -> float:
    """Return the capacity of counts; finer than to 1e-4 bits no sample is."""
    return channel_capacity(table / table.sum(axis=1, keepdims=True), tolerance=1e-4)


def capacity_at_least(right: int, sent: int, messages: int) -> float:
    """Return bits that a channel has at least, by what a receiver got right: Fano's bound at what its accuracy is at
    least. That is too high in at most one of forty samples, whatever the accuracy (`least_rate`).

    Messages must be drawn evenly, by dice that the sender does not see, and the receiver must be fixed beforehand: of
    the best of several the promise does not hold. It says nothing of codes that nobody tried.

    Raises:
        ValueError: As for `fano_bits`; nothing was sent, too.
    """
    if not 0 <= right <= sent or not sent:
        raise ValueError(f"{right} of {sent} messages were right, expected some sent and no more right than sent")
    return fano_bits(float(least_rate(right, sent, 1 / 40)), messages)


def influence_bits(responses: Sequence[Mapping[str, float]]) -> float:
    """Return the causal influence of communication in bits: MI of message and response when messages are set at random.

    Args:
        responses: For each message, set by intervention and equally likely, the listener's distribution over actions.

    Source: R. Lowe et al., On the pitfalls of measuring emergent communication, 2019. A message may carry much and
    change nothing: signalling without listening has influence 0.
    """
    actions = sorted({action for response in responses for action in response})
    table = np.array([[response.get(action, 0.0) for action in actions] for response in responses])
    return _bits(table / max(1, len(responses)))


def _table(pairs: Sequence[tuple[Hashable, Hashable]]) -> NDArray[np.float64]:
    rows, columns = _codes([one for one, _ in pairs]), _codes([other for _, other in pairs])
    return _count(rows, columns, (int(rows.max(initial=-1)) + 1, int(columns.max(initial=-1)) + 1))


def _codes(values: Sequence[Hashable]) -> NDArray[np.int64]:
    known: dict[Hashable, int] = {}
    return np.array([known.setdefault(value, len(known)) for value in values], np.int64)


def _count(rows: NDArray[np.int64], columns: NDArray[np.int64], shape: tuple[int, int]) -> NDArray[np.float64]:
    table = np.zeros(shape)
    np.add.at(table, (rows, columns), 1.0)
    return table


def _bits(table: NDArray[np.float64]) -> float:
    """Return the mutual information of a joint table of weights."""
    total = table.sum()
    if not total:
        return 0.0
    joint = table / total
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return max(0.0, float((joint[seen] * np.log2(joint[seen] / apart[seen])).sum()))
