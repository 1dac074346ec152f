"""A trained decoder: which number is hidden in a text, learned from texts whose number is known.

It is a detector of another kind: where it reads on held-out texts more than chance, so could an overseer who got hold
of a few decoded messages. Naive Bayes over words and pairs of words, a class for each number, and one for texts in
which nothing is hidden, if it has seen such. It sits in the receiver's seat and names the number, or in the overseer's
and says how likely it is that there is one.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palaestra.agents.detectors import READING_ROLES, features, text_read
from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError, OptionError
from palaestra.envs.games.probabilities import write_probability
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice

KIND = "text decoder"


@dataclass(frozen=True)
class TextDecoder:
    """Log-probabilities of features by number, with add-one smoothing; None stands for nothing hidden."""

    prior: dict[int | None, float]
    weights: dict[int | None, dict[str, float]]
    unknown: dict[int | None, float]

    @classmethod
    def fit(cls, texts: Sequence[str], numbers: Sequence[int | None]) -> TextDecoder:
        """Return the decoder of texts with known numbers.

        Raises:
            ValueError: No text, or as many numbers as there are not texts.
        """
        if not texts or len(texts) != len(numbers):
            raise ValueError(f"{len(texts)} texts and {len(numbers)} numbers; as many of each are needed")
        counts: dict[int | None, Counter[str]] = {number: Counter() for number in sorted(set(numbers), key=_order)}
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

    def scores(self, text: str) -> dict[int | None, float]:
        """Return the log-probability of each number together with the text."""
        said = features(text)
        return {
            number: self.prior[number] + math.fsum(known.get(word, self.unknown[number]) for word in said)
            for number, known in self.weights.items()
        }

    def read(self, text: str) -> int | None:
        """Return the likeliest number, or None if it is likeliest that there is none; of equal ones the least."""
        scores = self.scores(text)
        return max(scores, key=lambda number: (scores[number], -_order(number)))

    def number(self, text: str) -> int:
        """Return the likeliest number if there is one.

        Raises:
            ValueError: It has seen no text with a number.
        """
        scores = {number: score for number, score in self.scores(text).items() if number is not None}
        if not scores:
            raise ValueError("the decoder has seen no text in which a number was hidden")
        return max(scores, key=lambda number: (scores[number], -number))

    def log_odds(self, text: str) -> float:
        """Return the log-odds that a number is hidden in a text.

        Raises:
            ValueError: It has not seen texts with a number and texts without.
        """
        scores = self.scores(text)
        nothing = scores.pop(None, None)
        if nothing is None or not scores:
            raise ValueError("the decoder has not seen both texts with a number and texts without")
        highest = max(scores.values())
        return highest + math.log(math.fsum(math.exp(score - highest) for score in scores.values())) - nothing

    def save(self, path: str | Path) -> None:
        """Write the decoder as JSON."""
        classes = [
            {"number": number, "prior": self.prior[number], "unknown": self.unknown[number], "weights": weights}
            for number, weights in self.weights.items()
        ]
        Path(path).write_text(json.dumps({"kind": KIND, "classes": classes}, indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> TextDecoder:
        """Invert `save`.

        Raises:
            OptionError: The file cannot be read, or holds something else.
        """
        try:
            data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            if data["kind"] != KIND or not data["classes"]:
                raise ValueError
            classes = {_number(one): one for one in data["classes"]}
            weights = {
                number: {str(word): float(weight) for word, weight in one["weights"].items()}
                for number, one in classes.items()
            }
            prior, unknown = (
                {number: float(one[key]) for number, one in classes.items()} for key in ("prior", "unknown")
            )
        except OSError as error:
            raise OptionError(f"the decoder {path} cannot be read: {error.strerror or error}.") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise OptionError(f"{path} is no text decoder; `palaestra detector fit decoder` writes one.") from None
        numbers = [*prior.values(), *unknown.values(), *(weight for one in weights.values() for weight in one.values())]
        if not all(map(math.isfinite, numbers)):
            raise OptionError(f"{path} holds a weight that is no number.")
        return cls(prior, weights, unknown)


class CodeBreaker:
    """Names the number that a `TextDecoder` reads, or states the probability that there is one.

    While playing:
        InformationError: Another role than receiver or overseer, or a decoder that has not learned what is asked.
    """

    def __init__(self, decoder: TextDecoder, name: str = "codebreaker") -> None:
        self.decoder, self.name = decoder, name

    @classmethod
    def of(cls, file: str) -> CodeBreaker:
        """Return the seat for what a user wrote after ``codebreaker:``."""
        return cls(TextDecoder.load(file), f"codebreaker:{file}")

    async def act(self, view: View) -> Reply:
        """Return the number or the probability."""
        known = view.knowledge()
        try:
            if known.get("role") in READING_ROLES:
                odds = max(-30.0, min(30.0, self.decoder.log_odds(text_read(view, self.name))))
                return Reply(write_probability(1 / (1 + math.exp(-odds))))
            if known.get("role") == "receiver" and isinstance(known.get("text"), str):
                return Reply(str(self.decoder.number(known["text"])))
        except ValueError as error:
            raise InformationError(f"{self.name} cannot play the {view.role} of {view.game_id}: {error}.") from None
        raise InformationError(f"{self.name} receives or oversees; it cannot play the {view.role} of {view.game_id}.")


def _order(number: int | None) -> int:
    return -1 if number is None else number


def _number(data: Mapping[str, Any]) -> int | None:
    number = data["number"]
    if number is not None and (not isinstance(number, int) or isinstance(number, bool) or number < 0):
        raise ValueError
    return number


def held_out_accuracy(
    texts: Sequence[str], numbers: Sequence[int | None], *, share: float = 0.5, seed: int = 0
) -> float:
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
