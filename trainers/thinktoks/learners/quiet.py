"""Thoughts with a mixing head, after Quiet-STaR (Zelikman et al., 2024, arXiv 2403.09629).

Wherever a document allows it there is a thought of a fixed length. A head reads the hidden states before and after it,
h_b and h_a, and says how much of the latter counts: w = sigmoid(MLP([h_b; h_a])), and the next token is predicted from
(1 - w) h_b + w h_a. A thought is paid what the mixed prediction of the next H tokens gains over a reading without
thoughts, less the mean over the document's other readings, and negative payments are dropped.

    loss = (ce without thoughts + ce mixed) / 2 - beta mean max(0, R - mean of the others' R) log pi(thought)

Not as there: a thought stays in the context of what follows, as everywhere in this environment, where Quiet-STaR gives
each position's thought a branch of its own; it has neither start nor end tokens; and beta is 1, since the loss is a
mean over decisions here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from palaestra.agents.reader import Batch, Reading, Scores, laid_out, scores_of
from palaestra.envs.documents.vocabulary import Encoded
from palaestra.trainers.thinktoks.learners.base import (
    Reader,
    Step,
    cross_entropy,
    members,
    register_learner,
)
from palaestra.trainers.thinktoks.learners.sampled import Sampled, mean_of, weights


class MixingHead(torch.nn.Module):
    """How much of a thought counts: from hidden states [..., 2 H] to w [..., 1] in [0, 1]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.body = torch.nn.Sequential(
            torch.nn.Linear(2 * width, width), torch.nn.ReLU(), torch.nn.Linear(width, 1), torch.nn.Sigmoid()
        )

    def forward(self, before: Tensor, after: Tensor) -> Tensor:
        """Return before and after, mixed."""
        w: Tensor = self.body(torch.cat([before, after], -1))
        return (1 - w) * before + w * after


@register_learner("quiet")
class Quiet(Sampled):
    """Thoughts of a fixed length with a mixing head.

    Args:
        reader: The model.
        length: Thinking tokens of a thought.
        beta: Weight of the policy gradient.
        **shared: As for `Sampled`; the horizon is 4 unless given, the scorer is live.
    """

    def __init__(self, reader: Reader, *, length: int = 4, beta: float = 1.0, horizon: int = 4, **shared: Any) -> None:
        if not 1 <= length <= reader.thinking.most:
            raise ValueError(f"length is {length}, expected 1 to {reader.thinking.most}")
        if not beta >= 0 or shared.get("scorer", "live") != "live":
            raise ValueError("beta must not be negative, and the scorer is always live")
        fixed = dataclasses.replace(reader.thinking, most=length, fixed=True)
        super().__init__(dataclasses.replace(reader, thinking=fixed), horizon=horizon, **shared)
        self.beta = beta
        reader.check_head()
        table = reader.base.get_input_embeddings().weight
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            self.head = MixingHead(int(table.shape[1])).to(table)

    def modules(self) -> list[torch.nn.Module]:
        return [self.head]

    def scores(self, readings: Sequence[Reading]) -> tuple[Batch, Scores]:
        """Score readings; real tokens behind a thought are predicted from the mixed states."""
        batch = Batch.of(readings, self.reader.device)
        base = self.reader.base
        hidden = base.get_decoder()(
            input_ids=batch.tokens, attention_mask=batch.attention.long(), use_cache=False
        ).last_hidden_state
        real_before = torch.from_numpy(_before(readings, batch.tokens.shape[1])).to(hidden.device)
        before = hidden.gather(1, real_before[..., None].expand_as(hidden))
        mixed = torch.where(batch.thought[..., None], self.head(before, hidden), hidden)
        logits = base.get_output_embeddings()(mixed)
        decisions = base.get_output_embeddings()(hidden)  # what to think is no mixture
        found = scores_of(decisions, self.reader.thinking, batch)
        return batch, Scores(scores_of(logits, self.reader.thinking, batch).real, found.decision)

    def step(self, documents: Sequence[Encoded], seed: int, progress: float = 1.0) -> Step:
        readings = self.drawn(documents, seed, silent_first=False)
        many = [document for document in documents for _ in range(self.group)]
        empty = [
            laid_out(document, [[]] * len(document), self.reader.thinking, self.reader.start) for document in documents
        ]
        batch, scores = self.scores(readings)
        bare, without = self.scores(empty)
        plain = cross_entropy(without.real, members(empty, documents, bare))
        ce = cross_entropy(scores.real, members(readings, many, batch))
        # what a reading without thoughts gets is the same for a whole group, and cancels in the advantage
        gained = [np.maximum(values, 0.0) for values in self.advantages(readings, many, scores.real.detach(), 0.0)]
        advantage = weights(readings, gained, batch)
        gradient = -mean_of(advantage * scores.decision, batch.decided)
        loss = self.ce * (plain + ce) / 2 + self.beta * gradient
        tokens = int(batch.attention.sum())
        work = self.reader.work(tokens + int(bare.attention.sum()), gradient=True)
        return Step(loss, work + self.reader.work(tokens, gradient=False), {"ce": float(ce.detach())})


def _before(readings: Sequence[Reading], length: int) -> np.ndarray:
    """Return int64[B, L]: for each token the column of the last token, itself included, that is no thought."""
    table = np.zeros((len(readings), length), np.int64)
    for line, reading in zip(table, readings, strict=True):
        columns = np.where(reading.thought, 0, np.arange(len(reading)))
        line[: len(reading)] = np.maximum.accumulate(columns)
    return table
