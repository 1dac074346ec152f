"""Learners whose thoughts are drawn, and paid by what they do for the real tokens after them.

`Thoughts` is what this environment is for: when to think, how long and what is one policy, learned by policy gradient
over groups of readings of one document, the empty thought among them; the same pass learns to predict real tokens.

    loss = - mean over decisions of A log pi(decision)  +  ce  +  demonstrations  -  entropy of the decisions

A are the leave-one-out advantages of `palaestra.trainers.thinktoks.credit`. Readings are used once, so that the ratio
to the policy that drew them is one and no clipping is needed. The empty thought was not drawn: where it does better
than what was, not to think is learned from it, however unlikely it has become (self-imitation, Oh et al., 2018, arXiv
1806.05635); where it does worse nothing is, for that would push a policy that thinks already ever further.

`InformationGain` is RLP (Hatamizadeh et al., 2025, arXiv 2510.01265): one place a document, a thought of a fixed
length, r = log p(x | thought) - log p_ema(x | no thought), advantages G / (G - 1) (r - mean r), and no loss on real
tokens (``ce`` = 0). What r is measured from is the same for a whole group and cancels, so it is not computed; readings
are used once, so PPO's clip never acts. A model that begins from nothing cannot learn to predict by that loss alone;
``ce`` above 0 adds the ordinary one.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palaestra.agents.reader import Batch, Reading, Scores, fitting, laid_out, read, score
from palaestra.envs.documents.vocabulary import Encoded
from palaestra.envs.seeding import Dice, derive
from palaestra.trainers.thinktoks.credit import leave_one_out, returns
from palaestra.trainers.thinktoks.learners.base import (
    Reader,
    Readings,
    Step,
    cross_entropy,
    members,
    register_learner,
)

Scorer = Literal["live", "average", "frozen"]


class Sampled(Readings):
    """What both have in common: groups of readings, and what they are paid.

    Args:
        reader: The model.
        group: G, readings of each document.
        horizon: H, real tokens that a thought is paid for; a document of fewer tokens is refused.
        discount: Per real token.
        scorer: Whose log scores are paid: the model's as it is, a moving average's, or those of the model as it began.
        decay: Of the moving average.
        ce: Weight of the cross-entropy of real tokens.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        group: int = 8,
        horizon: int = 1,
        discount: float = 1.0,
        scorer: Scorer = "live",
        decay: float = 0.999,
        ce: float = 1.0,
    ) -> None:
        super().__init__(reader)
        if reader.model.training:
            raise ValueError(
                "the model is in training mode, in which dropout makes what is learned from another thing "
                "than what was drawn; call eval() first"
            )
        if reader.loops > 1:
            raise ValueError(
                "a model that goes through its layers again has one cache a layer, so no thoughts can be drawn; "
                "use plain, pause, continuous or ponder"
            )
        if group < 2:
            raise ValueError(f"group is {group}; advantages need at least 2 readings")
        if not (
            isinstance(horizon, int) and horizon >= 1 and 0 <= discount <= 1 and 0 <= decay <= 1 and ce >= 0
        ):  # so that NaN is refused, too
            raise ValueError("horizon must be a whole number from 1, discount and decay from 0 to 1, ce not negative")
        if scorer not in ("live", "average", "frozen"):
            raise ValueError(f"scorer is {scorer!r}, expected live, average or frozen")
        self.group, self.horizon, self.discount, self.ce = group, horizon, discount, ce
        self.decay = 1.0 if scorer == "frozen" else decay
        self.average: Any = None if scorer == "live" else copy.deepcopy(reader.model).requires_grad_(False)

    def drawn(self, documents: Sequence[Encoded], seed: int, *, silent_first: bool) -> list[Reading]:
        """Return G readings of each document, one after another; the first without thoughts if asked for."""
        many = [document for document in documents for _ in range(self.group)]
        seeds = [derive(seed, "reading", number) % 2**63 for number in range(len(many))]
        silent = [silent_first and number % self.group == 0 for number in range(len(many))]
        return read(self.reader.model, self.reader.thinking, many, seeds, start=self.reader.start, silent=silent)

    def readings(self, documents: Sequence[Encoded], seed: int) -> list[Reading]:
        """Return greedy readings."""
        return read(
            self.reader.model,
            self.reader.thinking,
            documents,
            [seed] * len(documents),
            start=self.reader.start,
            temperature=0.0,
        )

    def paid(self, batch: Batch, scores: Scores) -> Tensor:
        """Return the log scores [B, L] that thoughts are paid by, without a gradient; an average moves first."""
        if self.average is None:
            return scores.real.detach()
        with torch.no_grad():
            for kept, now in zip(self.average.parameters(), self.reader.model.parameters(), strict=True):
                kept.lerp_(now, 1 - self.decay)
            return score(self.average, self.reader.thinking, batch).real

    def table(self, readings: Sequence[Reading], documents: Sequence[Encoded], paid: Tensor) -> NDArray[np.float64]:
        """Return what the readings [G] of one document are paid, float64[G, T]."""
        values = paid.double().cpu().numpy()
        rows = []
        for line, reading, document in zip(values, readings, documents, strict=True):
            placed = ~reading.thought & (reading.place >= 0)
            rows.append(np.where(document.scored, line[: len(reading)][placed], 0.0))
        return np.array(rows)

    def advantages(
        self, readings: Sequence[Reading], documents: Sequence[Encoded], paid: Tensor, cost: float
    ) -> list[NDArray[np.float64]]:
        """Return A for each reading, float64[T] each."""
        found: list[NDArray[np.float64]] = []
        for first in range(0, len(readings), self.group):
            own = slice(first, first + self.group)
            group, same = readings[own], documents[own]
            thoughts = np.array([reading.thoughts(len(same[0])) for reading in group])
            values = returns(
                self.table(group, same, paid[own]),
                thoughts,
                cost=cost,
                horizon=self.horizon,
                discount=self.discount,
            )
            found += list(leave_one_out(values))
        return found


@register_learner("thoughts")
class Thoughts(Sampled):
    """When to think, how long, and what: one policy.

    Args:
        reader: The model.
        cost: c, of a thinking token, in nats.
        demonstrated: Share of documents whose worked thoughts are shown and learned, where they have some.
        until: Share of the training after which none are shown any more: as long as some are, thinking does not end
            where it does not pay.
        begin: Share of the training after which thoughts are drawn and paid; until then documents are read with the
            thoughts that are shown, the others without any.
        entropy: Coefficient of the decisions' entropy.
        **shared: As for `Sampled`.
    """

    def __init__(
        self,
        reader: Reader,
        *,
        cost: float = 0.0,
        demonstrated: float = 0.0,
        until: float = 1.0,
        begin: float = 0.0,
        entropy: float = 0.0,
        **shared: Any,
    ) -> None:
        super().__init__(reader, **shared)
        if not (cost >= 0 and entropy >= 0 and all(0 <= share <= 1 for share in (demonstrated, until, begin))):
            raise ValueError("cost and entropy must not be negative, demonstrated, until and begin lie in [0, 1]")
        self.cost, self.demonstrated, self.until = cost, demonstrated, until
        self.begin, self.entropy = begin, entropy

    def step(self, documents: Sequence[Encoded], seed: int, progress: float = 1.0) -> Step:
        shown = self._demonstrations(documents, seed) if progress < self.until else [None] * len(documents)
        thinking, start = self.reader.thinking, self.reader.start
        if progress < self.begin:
            many = [document for document, thoughts in zip(documents, shown, strict=True) if thoughts is None]
            readings = [laid_out(document, [[]] * len(document), thinking, start) for document in many]
        else:
            readings = self.drawn(documents, seed, silent_first=True)
            for number, document in enumerate(documents):
                readings[number * self.group] = laid_out(document, [[]] * len(document), thinking, start)
            many = [document for document in documents for _ in range(self.group)]
        drawn = len(many)
        for document, thoughts in zip(documents, shown, strict=True):
            if thoughts is not None:
                readings.append(laid_out(document, thoughts, thinking, start))
                many.append(document)
        batch, scores = self.scores(readings)
        ce = cross_entropy(scores.real, members(readings, many, batch))
        loss = self.ce * ce
        tokens = int(batch.attention.sum())
        work = self.reader.work(tokens, gradient=True)
        metrics = {"ce": float(ce.detach())}
        if drawn < len(many):
            loss = loss - mean_of(scores.decision[drawn:], batch.decided[drawn:])
        if progress >= self.begin:
            paid = self.paid(batch, scores)
            advantages = self.advantages(readings[:drawn], many[:drawn], paid, self.cost)
            for number in range(0, drawn, self.group):
                advantages[number] = np.maximum(advantages[number], 0.0)
            weight = weights(readings[:drawn], advantages, batch)[:drawn]
            decision, decided = scores.decision[:drawn], batch.decided[:drawn]
            loss = loss - mean_of(weight * decision, decided)
            if self.entropy:
                # the policy gradient of -log pi, whose mean is the entropy: it needs no second head; where decisions
                # were drawn, which those of the empty thought were not
                chosen = decided & (torch.arange(drawn, device=decided.device) % self.group > 0)[:, None]
                surprise = decision.detach()
                loss = loss + self.entropy * mean_of((surprise - mean_of(surprise, chosen)) * decision, chosen)
            own = sum(len(reading) for reading in readings[:drawn])
            work += self.reader.work(own, gradient=False)
            work += self.reader.work(tokens, gradient=False) if self.average is not None else 0
            thoughts = [reading.thought.sum() for number, reading in enumerate(readings[:drawn]) if number % self.group]
            metrics["thoughts"] = float(np.mean(thoughts))
        return Step(loss, work, metrics)

    def _demonstrations(self, documents: Sequence[Encoded], seed: int) -> list[list[list[int]] | None]:
        """Return the thoughts that are shown, for the documents that were chosen for it."""
        dice = Dice(derive(seed, "demonstrated"))
        return [
            fitting(document, self.reader.thinking)
            if dice.random() < self.demonstrated and any(document.worked)
            else None
            for document in documents
        ]


@register_learner("rlp")
class InformationGain(Sampled):
    """RLP: thoughts of a fixed length at one place a document.

    Args:
        reader: The model.
        length: Thinking tokens of a thought.
        **shared: As for `Sampled`; ``ce`` is 0 unless given.
    """

    def __init__(self, reader: Reader, *, length: int = 4, ce: float = 0.0, **shared: Any) -> None:
        if not 1 <= length <= reader.thinking.most:
            raise ValueError(f"length is {length}, expected 1 to {reader.thinking.most}")
        fixed = dataclasses.replace(reader.thinking, most=length, fixed=True)
        super().__init__(dataclasses.replace(reader, thinking=fixed), ce=ce, **shared)

    def step(self, documents: Sequence[Encoded], seed: int, progress: float = 1.0) -> Step:
        dice = Dice(derive(seed, "place"))
        narrowed = [one_place(document, dice) for document in documents]
        readings = self.drawn(narrowed, seed, silent_first=False)
        many = [document for document in narrowed for _ in range(self.group)]
        batch, scores = self.scores(readings)
        advantage = weights(readings, self.advantages(readings, many, self.paid(batch, scores), 0.0), batch)
        loss = -mean_of(advantage * scores.decision, batch.decided)
        ce = cross_entropy(scores.real, members(readings, many, batch))
        if self.ce:
            loss = loss + self.ce * ce
        tokens = int(batch.attention.sum())
        work = self.reader.work(tokens, gradient=True) + self.reader.work(tokens, gradient=False)
        work += self.reader.work(tokens, gradient=False) if self.average is not None else 0
        return Step(loss, work, {"ce": float(ce.detach())})


def mean_of(values: Tensor, which: Tensor) -> Tensor:
    """Return the mean of values [B, L] where ``which`` is true; 0 where it never is."""
    return torch.where(which, values, 0.0).sum() / max(1, int(which.sum()))


def weights(readings: Sequence[Reading], advantages: Sequence[NDArray[np.float64]], batch: Batch) -> Tensor:
    """Return the advantage of each token's decision, float32[B, L]; readings beyond the advantages weigh 0."""
    table = np.zeros(tuple(batch.tokens.shape), np.float32)
    for line, reading, values in zip(table, readings, advantages, strict=False):
        line[: len(reading)] = np.where(reading.place >= 0, values[reading.place], 0.0)
    return torch.from_numpy(table).to(batch.tokens.device)


def one_place(document: Encoded, dice: Dice) -> Encoded:
    """Return a document that allows thinking at one of its places only, drawn at random."""
    places = np.flatnonzero(document.open)
    open_ = np.zeros_like(document.open)
    if len(places):
        open_[places[dice.below(len(places))]] = True
    return dataclasses.replace(document, open=open_)
