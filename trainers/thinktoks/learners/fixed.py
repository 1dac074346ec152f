"""Learners that never choose: no thoughts, and a fixed number of pauses."""

from __future__ import annotations

from collections.abc import Sequence

from palaestra.agents.reader import Batch, Reading, laid_out
from palaestra.envs.documents.vocabulary import Encoded
from palaestra.trainers.thinktoks.learners.base import (
    Reader,
    Readings,
    Step,
    cross_entropy,
    members,
    register_learner,
)

PAUSE = 0
"""The thinking token that says nothing."""


@register_learner("pause")
class Pause(Readings):
    """The same empty token, ``count`` times, wherever a document allows thinking."""

    def __init__(self, reader: Reader, *, count: int = 1) -> None:
        super().__init__(reader)
        if not 0 <= count <= reader.thinking.most:
            raise ValueError(f"count is {count}, expected 0 to {reader.thinking.most}")
        self.count = count

    def readings(self, documents: Sequence[Encoded], seed: int) -> list[Reading]:
        before = [PAUSE] * self.count
        return [
            laid_out(
                document, [before if open_ else [] for open_ in document.open], self.reader.thinking, self.reader.start
            )
            for document in documents
        ]

    def step(self, documents: Sequence[Encoded], seed: int, progress: float = 1.0) -> Step:
        readings = self.readings(documents, seed)
        batch, scores = self.scores(readings)
        loss = cross_entropy(scores.real, members(readings, documents, batch))
        return Step(loss, self.reader.work(self.computed(batch), gradient=True), {"ce": float(loss.detach())})

    def computed(self, batch: Batch) -> int:
        """Return how many tokens went through the model for the batch that was scored last."""
        return int(batch.attention.sum())


@register_learner("plain")
class Plain(Pause):
    """No thoughts."""

    def __init__(self, reader: Reader) -> None:
        super().__init__(reader, count=0)
