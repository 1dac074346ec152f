"""Scorers of `palaestra/NextToken-v0` by a model: one that stays as it is, or the moving average of one that learns.

    scorer = Frozen(model, thinking, start)
    env = gymnasium.make("palaestra/NextToken-v0", task="text", scorer=scorer, potential=True)

A *live* scorer needs no object: without one the action's own distribution is paid.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from palaestra.agents.thinking import Thinking


class Frozen:
    """Log scores of a causal model, which is copied, so that training goes on beside it.

    Args:
        model: A causal language model of transformers, or a PEFT model around one.
        thinking: Where its thinking tokens stand.
        start: Tokens that every context begins with, of which those beyond the documents' vocabulary are never due.
        words: V, tokens of the documents' vocabulary; by default all that the model has.
    """

    def __init__(self, model: Any, thinking: Thinking, start: Sequence[int], words: int | None = None) -> None:
        if not start:
            raise ValueError("a context begins with at least one token, such as the model's first")
        self.model = copy.deepcopy(model).requires_grad_(False).eval()
        self.thinking, self.start = thinking, tuple(start)
        self.words = thinking.real if words is None else words

    @torch.no_grad()
    def __call__(self, tokens: NDArray[np.int64], thought: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Return log-probabilities float64[V] of the next real token.

        Args:
            tokens: int64[n], thinking token k as V + k.
            thought: bool[n], which of them are thoughts.
        """
        own = np.where(thought, tokens - self.words + self.thinking.real, tokens)
        context = torch.tensor([[*self.start, *own.tolist()]], device=self.model.device)
        logits = self.model(input_ids=context, use_cache=False).logits[0, -1]
        found: NDArray[np.float64] = self.thinking.real_logprobs(logits)[: self.words].double().cpu().numpy()
        return found - np.log(np.exp(found).sum())


class Average(Frozen):
    """The same of a moving average: `follow` after every step of the learner.

    Args:
        decay: Share that is kept at every step.
        model, thinking, start, words: As for `Frozen`.
    """

    def __init__(
        self, model: Any, thinking: Thinking, start: Sequence[int], words: int | None = None, *, decay: float = 0.999
    ) -> None:
        super().__init__(model, thinking, start, words)
        if not 0 <= decay <= 1:
            raise ValueError(f"decay is {decay}, expected 0 to 1")
        self.decay = decay

    @torch.no_grad()
    def follow(self, model: Any) -> None:
        """Move towards the learner: average <- decay x average + (1 - decay) x model."""
        for kept, now in zip(self.model.parameters(), model.parameters(), strict=True):
            kept.lerp_(now.to(kept.dtype), 1 - self.decay)
