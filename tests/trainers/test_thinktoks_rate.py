"""Where a thought brings nothing, the rate of thinking goes to 0, and where it brings more than it costs it goes to 1.

The learner, its model and its policy gradient are the real ones; only what the scorer pays is written down here, so
that it is known what each thought brings.
"""

import numpy as np
import torch

from palaestra.trainers.thinktoks.learners.sampled import Thoughts
from palaestra.trainers.thinktoks.measures import odds_of
from palaestra.trainers.thinktoks.models import Shape
from palaestra.trainers.thinktoks.training import Lesson, Plan, make_reader

PLAN = Plan(
    (Lesson("chain", {"group": "s3", "length": 2, "where": "every"}),),  # before "=" and before the answer
    "thoughts",
    shape=Shape(layers=1, width=16, heads=2),
    kinds=2,
    most=1,
    documents=8,
)


class Known(Thoughts):
    """Pays ``gain`` nats for an answer that was thought about, and for all else the same with a thought as without."""

    def __init__(self, reader, *, gain: float, cost: float) -> None:
        super().__init__(reader, group=4, cost=cost, ce=0.0)
        self.gain = gain

    def paid(self, batch, scores):
        found = torch.zeros(batch.tokens.shape)
        behind = batch.thought[:, :-1] & ~batch.thought[:, 1:]
        last = batch.place[:, 1:] == batch.place.max()  # the answer
        found[:, 1:] = self.gain * (behind & last)
        return found


def rates(gain: float, cost: float, steps: int = 80, then: tuple[float, float] | None = None) -> tuple[float, float]:
    """Return the probability of thinking before "=" and before the answer after so many steps, from even odds.

    With ``then``, as many steps follow at another gain and cost.
    """
    reader = make_reader(PLAN)
    learner = Known(reader, gain=gain, cost=cost)
    optimizer = torch.optim.Adam(reader.model.parameters(), lr=0.02)

    def odds() -> np.ndarray:
        documents = PLAN.drawn(10_000)
        readings = learner.readings(documents, 0)
        return np.mean([odds_of(reader, *one)[-2:] for one in zip(readings, documents, strict=True)], axis=0)

    assert abs(odds() - 0.5).max() < 0.1
    for step in range(steps if then is None else 2 * steps):
        if step == steps and then is not None:
            assert odds()[1] > 0.99
            learner.gain, learner.cost = then
        optimizer.zero_grad()
        learner.step(PLAN.drawn(step), step).loss.backward()
        optimizer.step()
    easy, hard = odds().tolist()
    return easy, hard


def test_thinking_ends_where_it_brings_nothing_and_stays_where_it_pays():
    easy, hard = rates(gain=1.0, cost=0.3)
    assert easy < 0.01
    assert hard > 0.99


def test_thinking_ends_everywhere_where_it_costs_more_than_it_brings():
    assert max(rates(gain=0.3, cost=1.0)) < 0.01


def test_a_habit_of_thinking_ends_when_it_no_longer_pays():
    """Not to think is then hardly ever drawn; it is learned from the empty thought."""
    assert rates(gain=1.0, cost=0.1, then=(0.0, 0.3))[1] < 0.05


def test_thoughts_that_bring_and_cost_nothing_are_neither_learned_nor_unlearned():
    """The null arm: what ended the thoughts above was their cost, not the training."""
    assert min(rates(gain=0.0, cost=0.0)) > 0.4
