"""What thoughts do: what they save, where they are spent, what they hold, and whether any other would do as well.

All on documents that were read with thoughts as tokens, in nats. The question behind each measure: does the model need
*these* thoughts, or only a longer context? So the same documents are scored again with their thoughts left out
(``none``), drawn at random (``random``), put in another order (``shuffled``), and taken from another document that has
as many at this place (``other``). A gain that thoughts made is lost under all four.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from palaestra.agents.reader import Batch, Reading, laid_out
from palaestra.agents.thinking import ADVANCE, Thinking
from palaestra.envs.documents.vocabulary import Encoded
from palaestra.trainers.measures.information import Permuted, permutation_test
from palaestra.trainers.thinktoks.learners.base import Reader, Readings, told

CHANGES = ("none", "random", "shuffled", "other")
Thoughts = list[list[int]]
"""For each real token, the thinking tokens before it, by their numbers."""


def thoughts_of(reading: Reading, thinking: Thinking, tokens: int) -> Thoughts:
    """Return the thoughts of a reading of so many real tokens."""
    found: Thoughts = [[] for _ in range(tokens)]
    for token, place in zip(reading.tokens[reading.thought], reading.place[reading.thought], strict=True):
        found[int(place)].append(int(token) - thinking.real)
    return found


def changed(thoughts: Sequence[Thoughts], change: str, kinds: int, seed: int) -> list[Thoughts]:
    """Return the thoughts of documents, changed in one of the ways of `CHANGES`.

    ``shuffled`` puts a place's thoughts in an order drawn at random; ``other`` takes them from the next document, as
    many as there are here, begun anew where it has fewer; where it has none, they are left out.
    """
    rng = np.random.default_rng(seed)

    def one(document: int, place: int, own: list[int]) -> list[int]:
        if change == "none" or not own:
            return []
        if change == "random":
            drawn: list[int] = rng.integers(0, kinds, len(own)).tolist()
            return drawn
        if change == "shuffled":
            return [own[index] for index in rng.permutation(len(own))]
        donor = thoughts[(document + 1) % len(thoughts)]
        given = donor[place] if place < len(donor) else []
        return [given[index % len(given)] for index in range(len(own))] if given else []

    if change not in CHANGES:
        raise ValueError(f"change {change!r} is none of {', '.join(CHANGES)}")
    return [[one(document, place, own) for place, own in enumerate(places)] for document, places in enumerate(thoughts)]


@dataclass(frozen=True)
class Account:
    """What thoughts were worth on some documents.

    Attributes:
        loss: Mean loss of hard tokens, with the thoughts as they are: those that count, take steps, and before which
            thinking is allowed; where no token takes any, as in text, of all that count before which it is.
        odds: Mean probability of a first thought, where thinking is allowed; a likeliest decision is not to think long
            before that is small.
        without: The same under each of `CHANGES`.
        thoughts: Thinking tokens in all. saved: nats that each of them saved, all scored tokens counted: the loss under
            that one of `CHANGES` which does best, less that with them, over their number; nan where there were none. A
            model that never learned to do without thoughts fails without them, which is no merit of theirs.
        by_entropy: Mean thoughts a place, by decile of the entropy of what is predicted there without thoughts; fewer
            parts where there are fewer than ten places; places of equal entropy count alike.
        held: Bits of the last thought before a token about the state that the token needs, with a permutation null;
            None where no token needs one. Less its null, what is known fully is a little too low: a null of n readings
            is subtracted from what cannot be above the state's entropy.
    """

    loss: float
    odds: float
    without: dict[str, float]
    thoughts: int
    saved: float
    by_entropy: list[float]
    held: Permuted | None


@torch.no_grad()
def account(learner: Readings, documents: Sequence[Encoded], seed: int = 0) -> Account:
    """Read documents with a learner whose thoughts are tokens, and measure what the thoughts do."""
    thinking, start = learner.reader.thinking, learner.reader.start
    readings = learner.readings(documents, seed)
    thoughts = [
        thoughts_of(reading, thinking, len(document)) for reading, document in zip(readings, documents, strict=True)
    ]
    as_read = losses_of(learner, readings)
    losses = {}
    for change in CHANGES:
        again = changed(thoughts, change, thinking.kinds, seed)
        losses[change] = losses_of(
            learner,
            [laid_out(document, places, thinking, start) for document, places in zip(documents, again, strict=True)],
        )
    scored, open_ = (np.concatenate([getattr(document, name) for document in documents]) for name in ("scored", "open"))
    state = np.concatenate([document.state for document in documents])
    odds = [odds_of(learner.reader, *one) for one in zip(readings, documents, strict=True)]
    counts = np.array([len(own) for places in thoughts for own in places])
    last = np.array([own[-1] if own else -1 for places in thoughts for own in places])
    where = scored & open_
    if (takes_steps := where & np.concatenate([document.hard for document in documents])).any():
        where = takes_steps
    total = int(counts.sum())
    gained = min(float((values - as_read)[scored].sum()) for values in losses.values())
    needs = (state >= 0) & open_ & (counts > 0)
    pairs = list(zip(last[needs].tolist(), state[needs].tolist(), strict=True))
    return Account(
        loss=float(as_read[where].mean()),
        odds=float(np.concatenate(odds)[open_].mean()),
        without={change: float(values[where].mean()) for change, values in losses.items()},
        thoughts=total,
        saved=gained / total if total else float("nan"),
        by_entropy=by_decile(_entropies(learner, documents)[open_], counts[open_]),
        held=permutation_test(pairs, shuffles=199, seed=seed) if pairs else None,
    )


@torch.no_grad()
def odds_of(reader: Reader, reading: Reading, document: Encoded) -> NDArray[np.float64]:
    """Return float64[T]: the probability of a first thought before each real token, wherever it is allowed."""
    batch = Batch.of([reading], reader.device)
    logits = reader.model(input_ids=batch.tokens, use_cache=False).logits[0]
    first = np.searchsorted(reading.place, np.arange(len(document)))
    advance = reader.thinking.decisions(logits[torch.from_numpy(first - 1).to(logits.device)])[:, ADVANCE]
    return 1 - np.exp(advance.double().cpu().numpy())


def by_decile(values: NDArray[np.float64], counts: NDArray[np.int64]) -> list[float]:
    """Return the mean count in each tenth of the places, in the order of their values."""
    _, alike = np.unique(values, return_inverse=True)
    fair = (np.bincount(alike, counts) / np.bincount(alike))[alike]  # whose value is equal has no order
    parts = np.array_split(np.argsort(values, kind="stable"), min(10, len(values)))
    return [float(fair[part].mean()) for part in parts if len(part)]


def losses_of(learner: Readings, readings: Sequence[Reading]) -> NDArray[np.float64]:
    """Return the loss of every real token, of all documents in a row."""
    found = []
    for first in range(0, len(readings), 64):
        part = readings[first : first + 64]
        found += [-read.logprobs for read in told(part, learner.scores(part)[1].real)]
    return np.concatenate(found)


def _entropies(learner: Readings, documents: Sequence[Encoded]) -> NDArray[np.float64]:
    """Return the entropy, in nats, of what is predicted at every real token without thoughts."""
    reader = learner.reader
    found = []
    for document in documents:
        tokens = torch.tensor([[*reader.start, *document.ids.tolist()]], device=reader.device)
        logprobs = reader.thinking.real_logprobs(reader.model(input_ids=tokens, use_cache=False).logits[0])
        entropy = -(logprobs.exp() * logprobs).sum(-1)
        found.append(entropy[len(reader.start) - 1 : -1].double().cpu().numpy())
    return np.concatenate(found)
