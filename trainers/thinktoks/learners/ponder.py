"""Pondering embeddings: PonderLM (Zeng et al., 2025, arXiv 2505.20674).

A model reads a document ``rounds`` times before it speaks. After each time, what it predicts at a token becomes part of
that token's input: P, the probabilities of the ``top`` likeliest real tokens, mixes their embeddings V, and the next
reading has E + P V in the place of the embedding E. The ordinary loss flows through all of it. There are no thoughts in
the context.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from palaestra.agents.reader import Batch, Reading, Scores, scores_of
from palaestra.trainers.thinktoks.learners.base import Reader, register_learner
from palaestra.trainers.thinktoks.learners.fixed import Plain


@register_learner("ponder")
class Ponder(Plain):
    """Pondering at every token.

    Args:
        reader: The model.
        rounds: How often the document is read before it is predicted.
        top: K, real tokens that are mixed.
    """

    def __init__(self, reader: Reader, *, rounds: int = 3, top: int = 100) -> None:
        super().__init__(reader)
        reader.check_head()
        if rounds < 0 or top < 1:
            raise ValueError("rounds must not be negative, top is at least 1")
        self.rounds, self.top = rounds, min(top, reader.thinking.real)

    def scores(self, readings: Sequence[Reading]) -> tuple[Batch, Scores]:
        batch = Batch.of(readings, self.reader.device)
        base, thinking = self.reader.base, self.reader.thinking
        body, head, table = base.get_decoder(), base.get_output_embeddings(), base.get_input_embeddings()
        attention = batch.attention.long()
        given = inputs = table(batch.tokens)
        for _ in range(self.rounds):
            hidden = body(inputs_embeds=inputs, attention_mask=attention, use_cache=False).last_hidden_state
            odds, likeliest = thinking.real_logprobs(head(hidden)).exp().topk(self.top, -1)
            mixed = torch.einsum("btk,btkh->bth", odds.to(inputs.dtype), table(likeliest))
            inputs = given + mixed
        hidden = body(inputs_embeds=inputs, attention_mask=attention, use_cache=False).last_hidden_state
        return batch, scores_of(head(hidden), thinking, batch)

    def computed(self, batch: Batch) -> int:
        return super().computed(batch) * (self.rounds + 1)
