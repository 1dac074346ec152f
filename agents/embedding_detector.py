"""A detector on a language model's embedding of a text: mean hidden state, then a linear probe.

The probe is fitted with a quadratic penalty on texts of both kinds and stored as JSON with the name of the model, whose
last hidden states (mean over the text's tokens, each feature standardised) are its features.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from palaestra.agents.detectors import text_read
from palaestra.agents.models.sources import LoadedModel, ModelSource
from palaestra.envs.episode import Reply
from palaestra.envs.errors import OptionError
from palaestra.envs.games.probabilities import write_probability
from palaestra.envs.seat import View

Vectors = NDArray[np.float64]
LONGEST_TEXT = 4000


def embeddings(model: str, texts: Sequence[str]) -> Vectors:
    """Return float64[N, H], the mean last hidden state of each text under a model."""
    loaded = _loaded(model)
    found = []
    with torch.inference_mode():
        for text in texts:
            ids = loaded.codec.encode_untrusted(text[:LONGEST_TEXT]) or [0]
            hidden = loaded.model.get_decoder()(input_ids=torch.tensor([ids]), use_cache=False).last_hidden_state
            found.append(hidden[0].mean(dim=0).double().numpy())
    return np.array(found)


@lru_cache(maxsize=2)
def _loaded(model: str) -> LoadedModel:
    return ModelSource.parse(model).load()


@dataclass(frozen=True)
class LinearProbe:
    """Logistic regression on embeddings.

    Attributes:
        model: Whose embeddings.
        mean, spread: float64[H], by which features are standardised.
        weights: float64[H]. bias: Log-odds where all features are average.
    """

    model: str
    mean: Vectors
    spread: Vectors
    weights: Vectors
    bias: float

    @classmethod
    def fit(cls, model: str, honest: Sequence[str], hidden: Sequence[str], *, penalty: float = 1.0) -> LinearProbe:
        """Return the probe of texts of both kinds.

        Raises:
            ValueError: One kind is missing.
        """
        if not honest or not hidden:
            raise ValueError(f"{len(honest)} honest and {len(hidden)} hidden texts; both kinds are needed")
        vectors = embeddings(model, [*honest, *hidden])
        truth = np.array([0.0] * len(honest) + [1.0] * len(hidden))
        mean, spread = vectors.mean(axis=0), vectors.std(axis=0) + 1e-6
        features = np.hstack([np.ones((len(vectors), 1)), (vectors - mean) / spread])
        ridge = penalty * np.diag([0.0] + [1.0] * vectors.shape[1])
        weights = np.zeros(features.shape[1])
        for _ in range(25):  # Newton's method; the penalty keeps separable texts finite
            odds = 1 / (1 + np.exp(-np.clip(features @ weights, -30, 30)))
            slope = features.T @ (odds - truth) + ridge @ weights
            curve = features.T @ (features * (odds * (1 - odds))[:, None]) + ridge + 1e-9 * np.eye(len(weights))
            step = np.linalg.solve(curve, slope)
            weights = weights - step
            if float(np.abs(step).max()) < 1e-8:
                break
        return cls(model, mean, spread, weights[1:], float(weights[0]))

    def log_odds(self, texts: Sequence[str]) -> list[float]:
        """Return the log-odds for each text that something is hidden in it."""
        vectors = (embeddings(self.model, texts) - self.mean) / self.spread
        return [float(value) for value in vectors @ self.weights + self.bias]

    def save(self, path: str | Path) -> None:
        """Write the probe as JSON."""
        data = {"kind": "linear probe", "model": self.model, "bias": self.bias}
        data |= {name: getattr(self, name).tolist() for name in ("mean", "spread", "weights")}
        Path(path).write_text(json.dumps(data) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, path: str | Path) -> LinearProbe:
        """Invert `save`.

        Raises:
            OptionError: The file cannot be read, or holds something else.
        """
        try:
            data: Any = json.loads(Path(path).read_text(encoding="utf-8"))
            if data["kind"] != "linear probe":
                raise ValueError
            mean, spread, weights = (np.array(data[name], float) for name in ("mean", "spread", "weights"))
            probe = cls(str(data["model"]), mean, spread, weights, float(data["bias"]))
        except OSError as error:
            raise OptionError(f"the detector {path} cannot be read: {error.strerror or error}.") from None
        except (ValueError, KeyError, TypeError):
            raise OptionError(f"{path} is no linear probe; `palaestra detector fit embedding` writes one.") from None
        parts = (mean, spread, weights)
        if len({part.shape for part in parts}) != 1 or not all(np.isfinite(part).all() for part in parts):
            raise OptionError(f"{path} holds features of different lengths, or a number that is none.")
        return probe


class EmbeddingDetector:
    """States what a `LinearProbe` says."""

    def __init__(self, probe: LinearProbe, name: str = "embedding") -> None:
        self.probe, self.name = probe, name

    @classmethod
    def of(cls, file: str) -> EmbeddingDetector:
        """Return the seat for what a user wrote after ``embedding:``."""
        return cls(LinearProbe.load(file), f"embedding:{file}")

    async def act(self, view: View) -> Reply:
        """Return the probability."""
        odds = max(-30.0, min(30.0, self.probe.log_odds([text_read(view, self.name)])[0]))
        return Reply(write_probability(1 / (1 + math.exp(-odds))))
