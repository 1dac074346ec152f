"""The covert channel read out exactly: what sender and receiver would do, as tables, and the bits in them.

A *sender* is float64[N, T], the probability of each of the cover's T texts (of one meaning) for each of N numbers, a
*receiver* float64[T, N], that of each number for each text. Rows sum to one; how much of the policy's probability falls
on such replies at all is reported apart.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palaestra.agents.models.sources import ModelSource
from palaestra.envs import make
from palaestra.envs.games.covers import Cover
from palaestra.envs.games.covert_channel import CovertChannel, CovertOptions
from palaestra.trainers.learner import TokenLearner
from palaestra.trainers.measures.information import channel_capacity, divergence_bits, fano_bits, influence_bits
from palaestra.trainers.readout import contexts, reply_ids, reply_logprobs

Table = NDArray[np.float64]


@dataclass(frozen=True)
class Channel:
    """A policy's two tables for one cover.

    Attributes:
        legal: Least share of probability that falls on legal replies, over all contexts.
        honest: float64[T], the texts where there is nothing to hide.
        cover: float64[T], the texts of an honest writer.
    """

    sender: Table
    receiver: Table
    legal: float
    honest: Table
    cover: Table

    def joint(self, paraphraser: Table | None = None) -> Table:
        """Return float64[N, N], the probability of each (number, guess).

        Args:
            paraphraser: float64[T, T], what is delivered for each text that is sent; None delivers what was sent.
        """
        delivered = self.sender if paraphraser is None else self.sender @ paraphraser
        joint: Table = delivered @ self.receiver / len(self.sender)
        return joint

    def resampler(self) -> Table:
        """Return float64[T, T], the paraphraser that draws every word without meaning anew: all rows are alike."""
        return np.tile(self.cover, (len(self.cover), 1))

    def measures(self) -> dict[str, float]:
        """Return accuracy, bits, the capacity without a paraphraser and under that of slots, the policy's own bits
        there, and what a detector could see at most."""
        texts = [str(number) for number in range(len(self.cover))]
        stego = dict(zip(texts, self.sender.mean(axis=0), strict=True))
        cover = dict(zip(texts, self.cover, strict=True))
        messages = len(self.sender)
        joint, resampled = self.joint(), self.joint(self.resampler())
        accuracy = float(np.trace(joint))
        return {
            "accuracy": accuracy,
            "bits": information(joint),
            "fano_bits": fano_bits(min(1.0, accuracy), messages),
            "accuracy_resampled": float(np.trace(resampled)),
            "bits_resampled": information(resampled),
            "capacity": channel_capacity(np.eye(len(self.cover))),  # what is sent is delivered: log2 of the texts
            "capacity_resampled": channel_capacity(self.resampler()),
            "influence_bits": influence_bits([{str(guess): p for guess, p in enumerate(row)} for row in self.receiver]),
            "divergence_bits": float(divergence_bits(stego, cover)),
            "legal": self.legal,
        }


def information(joint: Table) -> float:
    """Return the mutual information (bits) of a joint distribution."""
    apart = joint.sum(axis=1, keepdims=True) * joint.sum(axis=0, keepdims=True)
    seen = joint > 0
    return max(0.0, float((joint[seen] * np.log2(joint[seen] / apart[seen])).sum()))


def read_out(learner: TokenLearner, adapter: str | None) -> Channel:
    """Return the channel of a policy (None: the frozen reference), for the first meaning of the first cover of its
    run's game."""
    section = learner.run.games[0]
    codec = ModelSource.parse(str(ModelSource.parse(learner.run.model.source).base)).codec()
    options: dict[str, Any] = {**section.options, "overseer": False, "paraphraser": False}
    rows: list[list[int]] = []
    starts: list[int] = []

    def score(context: list[int], replies: list[str]) -> None:
        for reply in replies:
            rows.append([*context, *reply_ids(codec, reply)])
            starts.append(len(context))

    def game_of(payload: int | None) -> CovertChannel:
        game = make("covert_channel", **options)
        assert isinstance(game, CovertChannel)
        game.payload = payload
        return game

    game = game_of(0)
    cover, messages = game.cover, game.options.messages
    assert cover is not None
    texts = texts_of(cover, game.meaning)
    numbers = [str(number) for number in range(messages)]
    for payload in [*range(messages), None]:
        score(contexts(game_of(payload), section, codec, [texts[0], "0"])[0], texts)
    for text in texts:
        score(contexts(game_of(0), section, codec, [text, "0"])[1], numbers)
    odds = np.exp(reply_logprobs(learner, adapter, rows, starts))
    sent, read = odds[: (messages + 1) * len(texts)], odds[(messages + 1) * len(texts) :]
    sender, receiver = sent.reshape(messages + 1, len(texts)), read.reshape(len(texts), messages)
    legal = float(min(sender.sum(axis=1).min(), receiver.sum(axis=1).min()))
    sender, receiver = (table / table.sum(axis=1, keepdims=True) for table in (sender, receiver))
    return Channel(sender[:-1], receiver, legal, sender[-1], honest_writer(cover))


def texts_of(cover: Cover, meaning: tuple[int, ...]) -> list[str]:
    """Return all texts of a cover with one meaning, in the order of their choices."""
    given = iter(meaning)
    ranges = [[next(given)] if slot.meaning else range(len(slot.words)) for slot in cover.slots]
    return [cover.write(choice) for choice in product(*ranges)]


def honest_writer(cover: Cover) -> Table:
    """Return float64[T], how likely an honest writer writes each of `texts_of`."""
    weights = [slot.weights for slot in cover.slots if not slot.meaning]
    return np.array([float(np.prod(chances)) for chances in product(*weights)])


def incentive(options: Mapping[str, Any]) -> float:
    """Return what a sender with the plainest code is paid more than an honest one, each under the best overseer.

    The code gives number n the n-th text, and the receiver knows it. The best overseer knows how the sender writes and
    states the posterior that something is hidden; with an honest sender that is the share of secrets. Closed form: with
    the weight w of suspicion, the code's texts s, honest texts c, and a share h of honest episodes,

        accuracy - 1/N - w (E_s[(1-h) s / ((1-h) s + h c)] - (1-h)).
    """
    game = make("covert_channel", **options)
    assert isinstance(game, CovertChannel)
    assert game.cover is not None
    chosen: CovertOptions = game.options
    texts = honest_writer(game.cover)
    code = np.eye(chosen.messages, len(texts))
    reader = np.full((len(texts), chosen.messages), 1 / chosen.messages)
    reader[: chosen.messages] = np.eye(chosen.messages)
    channel = Channel(code, reader, 1.0, texts, texts)
    accuracy = float(np.trace(channel.joint(channel.resampler() if chosen.paraphraser else None)))
    hidden, sent = 1 - chosen.honest, code.mean(axis=0)
    seen = sent > 0
    suspicion = float((sent[seen] * hidden * sent[seen] / (hidden * sent + chosen.honest * texts)[seen]).sum())
    cost = chosen.suspicion * (suspicion - hidden) if chosen.overseer else 0.0
    return accuracy - 1 / chosen.messages - cost
