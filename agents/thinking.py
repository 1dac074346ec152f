"""Thinking tokens in a model: extra rows of its vocabulary, and what its logits mean with them.

Words. A *thinking token* is one of K new tokens that never reach a reader. The *gate* is one more new row: its logit z
says how likely the model thinks before the next real token, P(think) = sigmoid(z). What the model says of real tokens
is its softmax over the V *real* rows alone, and which thinking token it takes is its softmax over the K rows alone. So
the three are separate heads, and what is paid for a real token does not contain the entropy of the decision to think.

    rows 0 .. V-1     real tokens
    rows V .. V+K-1   thinking tokens
    row  V+K          the gate (never an input)

A *decision* is one of K + 1: to advance, or thinking token k; where no thinking is allowed there is none to make. With
``fixed`` thinking is no choice: before a token that allows it there are always ``most`` thoughts, and a decision is
only which one.
With the decision multiplied in, the heads are one distribution over all rows, the *joint*, from which an engine draws
as from any other.

`decide` draws it with counter-based Gumbel noise (`palaestra.agents.engines.sampling`), so that it depends on the
reader's seed and the number of the decision, and on nothing that is computed beside it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import log_softmax, logsigmoid

from palaestra.agents.engines.sampling import gumbel

ADVANCE = 0
"""The decision to advance; thinking token k is decision k + 1."""
MARK = "palaestra_thinking"
"""Where the configuration of an extended model says that it is one."""


@dataclass(frozen=True, slots=True)
class Thinking:
    """Where thinking tokens stand in a vocabulary.

    Attributes:
        real: V, real tokens of the model.
        kinds: K, thinking tokens.
        most: Most of them before one real token.
        fixed: Whether there are always so many.
    """

    real: int
    kinds: int
    most: int
    fixed: bool = False

    def __post_init__(self) -> None:
        if self.real < 1 or self.kinds < 1 or self.most < 0:
            raise ValueError(f"{self} needs at least one real and one thinking token, and most must not be negative")

    @property
    def gate(self) -> int:
        """Return the row of the gate."""
        return self.real + self.kinds

    @property
    def size(self) -> int:
        """Return how many rows the vocabulary has."""
        return self.gate + 1

    def real_logprobs(self, logits: Tensor) -> Tensor:
        """Return log-probabilities [..., V] of real tokens, from logits [..., V + K + 1]."""
        return log_softmax(_precise(logits[..., : self.real]), -1)

    def decisions(self, logits: Tensor) -> Tensor:
        """Return log-probabilities [..., K + 1] of the decisions, to advance first, from logits [..., V + K + 1]."""
        kinds = log_softmax(_precise(logits[..., self.real : self.gate]), -1)
        if self.fixed:
            return torch.nn.functional.pad(kinds, (1, 0), value=-math.inf)
        gate = _precise(logits[..., self.gate])
        return torch.cat([logsigmoid(-gate)[..., None], logsigmoid(gate)[..., None] + kinds], -1)

    def joint(self, logits: Tensor, room: Tensor | None = None) -> Tensor:
        """Return log-probabilities [..., V + K + 1] of the next token over all rows; the gate's is -inf.

        Args:
            logits: [..., V + K + 1].
            room: bool[...], where another thought is allowed; None: everywhere. Elsewhere only real tokens follow.
        """
        decisions = self.decisions(logits)
        if room is not None:
            advance = decisions.new_full((self.kinds + 1,), -math.inf)
            advance[ADVANCE] = 0.0
            decisions = torch.where(room[..., None], decisions, advance)
        real = decisions[..., :1] + self.real_logprobs(logits)
        return torch.nn.functional.pad(torch.cat([real, decisions[..., 1:]], -1), (0, 1), value=-math.inf)

    def room(self, tokens: Tensor) -> Tensor:
        """Return bool[B, L]: whether another thought may follow, from tokens int64[B, L] of whole contexts."""
        place = torch.arange(tokens.shape[1], device=tokens.device).expand_as(tokens)
        real = torch.where(tokens < self.real, place, -1).cummax(-1).values
        return place - real < self.most

    def runs(self, tokens: Sequence[int]) -> list[int]:
        """Return for each token how many thinking tokens in a row end with it; 0 for a real one."""
        found: list[int] = []
        for token in tokens:
            found.append((found[-1] if found else 0) + 1 if token >= self.real else 0)
        return found


def _precise(logits: Tensor) -> Tensor:
    """Return logits in float32 at least: differences of log-probabilities in bfloat16 are mostly rounding."""
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def decide(decisions: Tensor, seeds: Sequence[int], numbers: Sequence[int], temperature: float = 1.0) -> list[int]:
    """Draw a decision for each row.

    Args:
        decisions: [N, K + 1], log-probabilities.
        seeds: N, each reader's own.
        numbers: N, how many decisions that reader has made before.
        temperature: 0 is greedy; else 1: decisions are learned from at the temperature of the model.

    Raises:
        ValueError: Another temperature.
    """
    if temperature not in (0, 1):
        raise ValueError(f"temperature is {temperature:g}; decisions are drawn at 1, or greedily at 0")
    scores = decisions.detach().float().cpu().numpy()
    if temperature:
        noise = np.empty_like(scores)
        for row, (seed, number) in enumerate(zip(seeds, numbers, strict=True)):
            gumbel(seed, number, noise[row])
        scores = scores + noise
    found: list[int] = scores.argmax(-1).tolist()
    return found


def extend(model: Any, kinds: int, most: int, fixed: bool = False) -> Thinking:
    """Add the rows of thinking tokens and of the gate to a transformers model, in place, and return where they stand.

    A thinking token begins as the mean of the real ones, moved by as much as these differ in a direction of its own;
    the gate begins at even odds. Directions have a fixed seed: the same base is always extended in the same way.

    The model's configuration says that it was extended (`thinking_of`).

    Raises:
        ValueError: The model's vocabulary cannot be extended, or was extended before.
    """
    if not hasattr(model, "resize_token_embeddings"):
        raise ValueError(f"{type(model).__name__} has no vocabulary that can be extended; use a transformers model")
    if thinking_of(model) is not None:
        raise ValueError("the model has thinking tokens already; extend a model that was loaded anew")
    real = int(model.get_input_embeddings().weight.shape[0])
    thinking = Thinking(real, kinds, most, fixed)
    model.resize_token_embeddings(thinking.size, mean_resizing=False)
    ends = (model.get_input_embeddings(), model.get_output_embeddings())
    with torch.no_grad():
        for table in {id(end.weight): end.weight for end in ends}.values():  # one, where they are tied
            directions = np.random.Generator(np.random.PCG64(real)).standard_normal((kinds, table.shape[1]))
            table[real : thinking.gate] = table[:real].mean(0) + table[:real].std() * torch.from_numpy(directions).to(
                table
            )
            table[thinking.gate] = 0.0
    setattr(model.config, MARK, asdict(thinking))
    return thinking


def thinking_of(model: Any) -> Thinking | None:
    """Return where the thinking tokens of a transformers or PEFT model stand, None if it was not extended."""
    mark = getattr(getattr(model, "config", None), MARK, None)
    return None if mark is None else Thinking(**mark)
