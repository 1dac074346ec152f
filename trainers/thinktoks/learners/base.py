"""The one interface of all ways to predict the next token, with thoughts or without.

Words. A *learner* turns documents into a loss, and reads documents when it is measured. All learners see the same
documents; what differs is what a model computes before it predicts. *Work* is counted in tokens times layers: one for
each that is computed without a gradient, three with (Kaplan et al., 2020, arXiv 2001.08361: a backward pass costs two
forward ones). Layers that are gone through again count again.

Cross-entropy is the mean over the real tokens that a document scores, in nats; thinking tokens are no part of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palaestra.agents.models.heads import head_is_plain
from palaestra.agents.reader import Batch, Reading, Scores, score
from palaestra.agents.thinking import Thinking
from palaestra.envs.documents.vocabulary import Encoded


@dataclass(frozen=True)
class Reader:
    """A model whose vocabulary was extended, and how it begins a context.

    Attributes:
        model: A causal language model of transformers, or a PEFT model around one. What requires a gradient is trained.
        thinking: Where its thinking tokens stand.
        start: Tokens that every context begins with.
        fingerprint: Of the base on disk that the model is an adapter of; empty for a model that is trained whole.
    """

    model: Any
    thinking: Thinking
    start: tuple[int, ...]
    fingerprint: str = ""

    @property
    def base(self) -> Any:
        """Return the model of transformers."""
        return self.model.get_base_model() if hasattr(self.model, "get_base_model") else self.model

    @property
    def layers(self) -> int:
        """Return how many layers a token goes through."""
        body = self.base.get_decoder()
        # a looped body has its layers in the list once for each time that a token goes through them
        return (
            len(body.layers) if hasattr(body, "layers") else int(self.base.config.get_text_config().num_hidden_layers)
        )

    @property
    def loops(self) -> int:
        """Return how often a token goes through the same layers."""
        layers = getattr(self.base.get_decoder(), "layers", [None])
        return len(layers) // len({id(layer) for layer in layers})

    @property
    def device(self) -> torch.device:
        return next(self.model.parameters()).device

    def check_head(self) -> None:
        """Find out whether the model's logits are its head applied to its last hidden states.

        Raises:
            ValueError: They are scaled or capped, so that a learner that applies the head itself would be wrong.
        """
        if not head_is_plain(self.base):
            raise ValueError(
                f"{type(self.base).__name__} does more to its logits than its head does; use plain, pause, thoughts or "
                "rlp"
            )

    def work(self, tokens: int, *, gradient: bool) -> int:
        """Return the work of computing so many tokens."""
        return tokens * self.layers * (3 if gradient else 1)


@dataclass
class Step:
    """What one batch of documents comes to.

    Attributes:
        loss: A number with a gradient.
        work: What it has cost; see the module docstring.
        metrics: Numbers to log, means over the batch.
    """

    loss: Tensor
    work: int
    metrics: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Read:
    """A document as a learner reads it when it is measured.

    Attributes:
        logprobs: float64[T], log-probability of each real token, in nats.
        thoughts: int64[T], what was computed before each: thinking tokens, latent ones or pauses.
    """

    logprobs: NDArray[np.float64]
    thoughts: NDArray[np.int64]


class Learner(Protocol):
    """A way to learn next-token prediction.

    Attributes:
        reader: The model that is trained.
    """

    reader: Reader

    def step(self, documents: Sequence[Encoded], seed: int, progress: float = 1.0) -> Step:
        """Return the loss of a batch.

        Args:
            documents: At least one.
            seed: Fixes everything that is drawn.
            progress: Share of the training that is done.
        """
        ...

    def read(self, documents: Sequence[Encoded], seed: int) -> list[Read]:
        """Read documents as the learner does when it is measured, without a gradient."""
        ...

    def modules(self) -> list[torch.nn.Module]:
        """Return what is trained beside the model, such as a mixing head."""
        ...


class Readings:
    """Learners whose thoughts are tokens in a reading; a subclass says how documents are read.

    Args:
        reader: The model.
    """

    def __init__(self, reader: Reader) -> None:
        self.reader = reader

    def modules(self) -> list[torch.nn.Module]:
        return []

    def readings(self, documents: Sequence[Encoded], seed: int) -> list[Reading]:
        """Return how documents are read when the learner is measured."""
        raise NotImplementedError

    def scores(self, readings: Sequence[Reading]) -> tuple[Batch, Scores]:
        """Return readings as tensors, with what the model says along them."""
        batch = Batch.of(readings, self.reader.device)
        return batch, score(self.reader.model, self.reader.thinking, batch)

    @torch.no_grad()
    def read(self, documents: Sequence[Encoded], seed: int) -> list[Read]:
        readings = self.readings(documents, seed)
        return told(readings, self.scores(readings)[1].real)


def told(readings: Sequence[Reading], real: Tensor) -> list[Read]:
    """Return readings with the log-probabilities [B, L] of their real tokens."""
    table = real.detach().double().cpu().numpy()
    found = []
    for line, reading in zip(table, readings, strict=True):
        placed = ~reading.thought & (reading.place >= 0)
        found.append(Read(line[: len(reading)][placed], reading.thoughts(int(placed.sum()))))
    return found


def members(readings: Sequence[Reading], documents: Sequence[Encoded], batch: Batch) -> Tensor:
    """Return bool[B, L]: the real tokens that their documents score."""
    table = np.zeros(tuple(batch.tokens.shape), np.bool_)
    for line, reading, document in zip(table, readings, documents, strict=True):
        placed = ~reading.thought & (reading.place >= 0)
        line[: len(reading)][placed] = document.scored
    return torch.from_numpy(table).to(batch.tokens.device)


def cross_entropy(real: Tensor, scored: Tensor) -> Tensor:
    """Return the mean loss of scored tokens, from log-probabilities and membership [B, L].

    Raises:
        ValueError: The batch scores no token.
    """
    count = int(scored.sum())
    if not count:
        raise ValueError("no token of the batch is scored; there is nothing to learn from")
    return -torch.where(scored, real, 0.0).sum() / count


Make = Callable[..., Learner]
_makers: dict[str, Make] = {}


def register_learner(name: str) -> Callable[[Make], Make]:
    """Register the decorated class as a learner; its constructor takes a `Reader` and options by keyword."""

    def register(maker: Make) -> Make:
        if _makers.setdefault(name, maker) is not maker:
            raise ValueError(f"a learner named {name!r} is registered already; choose another name")
        return maker

    return register


def makers() -> dict[str, Make]:
    """Return all registered learners by name."""
    return dict(sorted(_makers.items()))
