"""Detectors: overseers that read a text and state the probability that something is hidden in it.

    regex:PATTERN          high where the pattern is found
    bag:FILE.json          words counted (`BagOfWords`), trained before on texts of both kinds
    embedding:FILE.json    a linear model on a language model's embedding of the text (`agents.embedding_detector`)
    codebreaker:FILE.json  a decoder of the hidden number (`agents.decoder`)

`palaestra detector fit` trains and writes the files.
Any language model can be an overseer, too. A detector reads what its role is shown (``text`` in what it knows), so it
sits in the seat of the overseer, or of the monitor, of any game that has one.
"""

from __future__ import annotations

import json
import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

from palaestra.agents.patterns import LinearPattern
from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError, OptionError
from palaestra.envs.games.probabilities import write_probability
from palaestra.envs.seat import View

SURE = 0.95
_WORD = re.compile(r"\w+|[^\w\s]")


READING_ROLES = ("overseer", "monitor")


def text_read(view: View, name: str) -> str:
    """Return the text that an overseer reads.

    Raises:
        InformationError: It is another role.
    """
    known = view.knowledge()
    if known.get("role") not in READING_ROLES or not isinstance(known.get("text"), str):
        raise InformationError(f"{name} is an overseer; it cannot play the {view.role} of {view.game_id}.")
    return str(known["text"])


class RegexDetector:
    """States 0.95 where a pattern is found, else 0.05; in time linear in the text (`agents.patterns`).

    Raises:
        OptionError: It is no pattern, too long, or none that can be searched for in linear time.
    """

    def __init__(self, pattern: str) -> None:
        if not pattern:
            raise OptionError("seat 'regex' needs a pattern, such as regex:dawn|dusk.")
        try:
            self.pattern = LinearPattern(pattern)
        except ValueError as error:
            raise OptionError(f"the pattern {pattern!r:.220} cannot be used: {error}.") from None
        self.name = f"regex:{pattern}"

    async def act(self, view: View) -> Reply:
        """Return the probability."""
        found = self.pattern.found(text_read(view, self.name))
        return Reply(write_probability(SURE if found else 1 - SURE))


@dataclass(frozen=True)
class BagOfWords:
    """Multinomial naive Bayes over words and pairs of neighbouring words, with add-one smoothing.

    Attributes:
        prior: Log-odds that something is hidden, before reading.
        weights: Log-odds that each word or pair adds; one that is not there adds ``unknown``.
    """

    prior: float
    weights: dict[str, float]
    unknown: float = 0.0

    @classmethod
    def fit(cls, honest: Sequence[str], hidden: Sequence[str]) -> BagOfWords:
        """Return the model of texts of both kinds.

        Raises:
            ValueError: One kind is missing.
        """
        if not honest or not hidden:
            raise ValueError(f"{len(honest)} honest and {len(hidden)} hidden texts; both kinds are needed")
        counts = [Counter(feature for text in texts for feature in features(text)) for texts in (honest, hidden)]
        vocabulary = sorted(set(counts[0]) | set(counts[1]))
        totals = [sum(count.values()) + len(vocabulary) + 1 for count in counts]
        weights = {
            word: math.log((counts[1][word] + 1) / totals[1]) - math.log((counts[0][word] + 1) / totals[0])
            for word in vocabulary
        }
        return cls(math.log(len(hidden) / len(honest)), weights, math.log(totals[0] / totals[1]))

    def log_odds(self, text: str) -> float:
        """Return the log-odds that something is hidden in a text; a score for `measures.detection`, too."""
        return self.prior + math.fsum(self.weights.get(feature, self.unknown) for feature in features(text))

    def probability(self, text: str) -> float:
        """Return the probability that something is hidden in a text."""
        odds = max(-30.0, min(30.0, self.log_odds(text)))
        return 1 / (1 + math.exp(-odds))

    def save(self, path: str | Path) -> None:
        """Write the model as JSON."""
        data = {"kind": "bag of words", "prior": self.prior, "unknown": self.unknown, "weights": self.weights}
        Path(path).write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> BagOfWords:
        """Invert `save`.

        Raises:
            OptionError: The file cannot be read, or holds something else.
        """
        try:
            data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            if data["kind"] != "bag of words":
                raise ValueError
            weights = {str(word): float(weight) for word, weight in data["weights"].items()}
            model = cls(float(data["prior"]), weights, float(data["unknown"]))
        except OSError as error:
            raise OptionError(f"the detector {path} cannot be read: {error.strerror or error}.") from None
        except (ValueError, KeyError, TypeError, AttributeError):
            raise OptionError(f"{path} is no bag of words; `palaestra detector fit bag` writes one.") from None
        if not all(map(math.isfinite, (model.prior, model.unknown, *weights.values()))):
            raise OptionError(f"{path} holds a weight that is no number.")
        return model


class BagDetector:
    """States what a `BagOfWords` says."""

    def __init__(self, model: BagOfWords, name: str = "bag") -> None:
        self.model, self.name = model, name

    @classmethod
    def of(cls, file: str) -> BagDetector:
        """Return the seat for what a user wrote after ``bag:``."""
        return cls(BagOfWords.load(file), f"bag:{file}")

    async def act(self, view: View) -> Reply:
        """Return the probability."""
        return Reply(write_probability(self.model.probability(text_read(view, self.name))))


def features(text: str) -> list[str]:
    """Return the words of a text and its pairs of neighbouring words."""
    words = _WORD.findall(text.lower())
    return [*words, *(f"{one} {other}" for one, other in pairwise(words))]
