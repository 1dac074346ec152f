"""Thoughts that are hidden states: Coconut (Hao et al., 2024, arXiv 2412.06769).

Wherever a document allows it there are ``count`` latent thoughts. The input at a latent thought is the last hidden
state, after the final norm, at the token before it; the supervised gradient flows through all of them, and latent
thoughts are no part of the loss. They are computed one after another, so a document with n of them takes n + 1 passes;
documents with many places to think are refused.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from palaestra.agents.reader import Batch, Reading, Scores, scores_of
from palaestra.trainers.thinktoks.learners.base import Reader, register_learner
from palaestra.trainers.thinktoks.learners.fixed import Pause

MOST_LATENT = 64


@register_learner("continuous")
class Continuous(Pause):
    """Latent thoughts, a fixed number of them.

    Args:
        reader: The model.
        count: Latent thoughts at a place.

    Raises:
        ValueError: A document has more than `MOST_LATENT` of them.
    """

    def __init__(self, reader: Reader, *, count: int = 4) -> None:
        super().__init__(reader, count=count)
        reader.check_head()
        self._computed = 0

    def scores(self, readings: Sequence[Reading]) -> tuple[Batch, Scores]:
        batch = Batch.of(readings, self.reader.device)
        body = self.reader.base.get_decoder()
        attention = batch.attention.long()
        inputs = self.reader.base.get_input_embeddings()(batch.tokens)
        slots = [np.flatnonzero(reading.thought) for reading in readings]
        passes = max((len(own) for own in slots), default=0)
        if passes > MOST_LATENT:
            raise ValueError(
                f"a document has {passes} latent thoughts, more than {MOST_LATENT}, and each takes a pass of its own; "
                "use a smaller count or documents with fewer places to think"
            )
        self._computed = int(batch.attention.sum())
        for number in range(passes):
            rows = [row for row, own in enumerate(slots) if number < len(own)]
            columns = [int(slots[row][number]) for row in rows]
            until = max(columns)  # nothing later is needed yet
            hidden = self._hidden(body, inputs[:, :until], attention[:, :until])
            self._computed += int(batch.attention[:, :until].sum())
            place = (torch.tensor(rows), torch.tensor(columns))
            inputs = inputs.index_put(place, hidden[place[0], place[1] - 1].to(inputs.dtype))
        logits = self.reader.base.get_output_embeddings()(self._hidden(body, inputs, attention))
        return batch, scores_of(logits, self.reader.thinking, batch)

    @staticmethod
    def _hidden(body: torch.nn.Module, inputs: Tensor, attention: Tensor) -> Tensor:
        found: Tensor = body(inputs_embeds=inputs, attention_mask=attention, use_cache=False).last_hidden_state
        return found

    def computed(self, batch: Batch) -> int:
        return self._computed
