"""A trained decoder: which number is hidden in a text, learned from texts whose number is known.

It is a detector of another kind: where it reads on held-out texts more than chance, so could an overseer who got hold
of a few decoded messages. Naive Bayes over words and pairs of words, a class for each number.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from palaestra.agents.detectors import features
from palaestra.envs.seeding import Dice


@dataclass(frozen=True)
class TextDecoder:
    """Log-probabilities of features by number, with add-one smoothing."""

    prior: dict[int, float]
    weights: dict[int, dict[str, float]]
    unknown: dict[int, float]

    @classmethod
    def fit(cls, texts: Sequence[str], numbers: Sequence[int]) -> TextDecoder:
        """Return the decoder of texts with known numbers.

        Raises:
            ValueError: No text, or as many numbers as there are not texts.
        """
        if not texts or len(texts) != len(numbers):
            raise ValueError(f"{len(texts)} texts and {len(numbers)} numbers; as many of each are needed")
        counts: dict[int, Counter[str]] = {number: Counter() for number in sorted(set(numbers))}
        for text, number in zip(texts, numbers, strict=True):
            counts[number].update(features(text))
        size = len(set().union(*counts.values())) + 1
        totals = {number: sum(count.values()) + size for number, count in counts.items()}
        weights = {
            number: {word: math.log((seen + 1) / totals[number]) for word, seen in count.items()}
            for number, count in counts.items()
        }
        share = Counter(numbers)
        prior = {number: math.log(share[number] / len(numbers)) for number in counts}
        return cls(prior, weights, {number: -math.log(total) for number, total in totals.items()})

    def read(self, text: str) -> int:
        """Return the likeliest number; of equally likely ones the least."""
        said = features(text)
        scores = {
            number: self.prior[number] + math.fsum(known.get(word, self.unknown[number]) for word in said)
            for number, known in self.weights.items()
        }
        return max(scores, key=lambda number: (scores[number], -number))


def held_out_accuracy(texts: Sequence[str], numbers: Sequence[int], *, share: float = 0.5, seed: int = 0) -> float:
    """Return how often a decoder that was trained on the other texts reads the number of those held out.

    Args:
        share: Which share is held out.

    Raises:
        ValueError: Nothing is left to train on, or to read.
    """
    order = list(range(len(texts)))
    Dice(seed).shuffle(order)
    cut = round(share * len(order))
    held, known = order[:cut], order[cut:]
    if not held or not known:
        raise ValueError(f"of {len(texts)} texts {len(held)} are held out; both parts must have some")
    decoder = TextDecoder.fit([texts[place] for place in known], [numbers[place] for place in known])
    return sum(decoder.read(texts[place]) == numbers[place] for place in held) / len(held)
