"""Reading a policy exactly: the probability of every reply that matters, token by token, without sampling.

`contexts` plays a game with the run's own settings between seats that type what they are told, and keeps what each was
shown; `reply_logprobs` scores replies behind such contexts with the learner's own weights.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from palaestra.agents.engines.base import BASE, Completion, Sampling
from palaestra.agents.language_model import LanguageModelSeat
from palaestra.agents.tokens import TextCodec
from palaestra.envs import Game, Match
from palaestra.trainers.config import GameSection
from palaestra.trainers.learner import TokenLearner
from palaestra.trainers.loss import TokenBatch


class _Recorder:
    """An engine that says what it is told to and remembers what it was shown."""

    vocab_size = 0
    context_length = 1 << 20

    def __init__(self, codec: TextCodec, script: Sequence[str]) -> None:
        self.codec = codec
        self.script = list(script)
        self.contexts: list[list[int]] = []

    async def generate(
        self, context: Sequence[int], sampling: Sampling, *, policy: str = BASE, session: str | None = None
    ) -> Completion:
        self.contexts.append(list(context))
        ids = reply_ids(self.codec, self.script[len(self.contexts) - 1])
        return Completion(tuple(ids), (0.0,) * len(ids), "stop", policy, len(context))

    def release(self, session: str) -> None: ...


def reply_ids(codec: TextCodec, text: str) -> list[int]:
    """Return the tokens of a reply, its stop token included."""
    return [*codec.encode_untrusted(text), codec.stop_ids[0]]


def contexts(game: Game, section: GameSection, codec: TextCodec, script: Sequence[str]) -> list[list[int]]:
    """Return the context of every reply of a match in which the seats type ``script`` one after the other.

    The game may have been changed by hand (other cards, another secret); it is played to its end, or to that of the
    script, which must then be where the game ends.
    """
    engine = _Recorder(codec, script)
    settings = section.reply.settings()
    seats: list[Any] = [
        LanguageModelSeat(engine, codec, settings=settings)  # type: ignore[arg-type]
        for _ in range(game.facts.players)
    ]
    asyncio.run(Match(game, seats, section.rules.of(section.game), record=False).play())
    return engine.contexts


def reply_logprobs(
    learner: TokenLearner, adapter: str | None, rows: Sequence[Sequence[int]], starts: Sequence[int]
) -> NDArray[np.float64]:
    """Return float64[n], the log-probability (nats) of the part of each row that begins at its start, under one of the
    trained adapters or, for None, the frozen reference."""
    longest = max(map(len, rows))
    tokens = torch.zeros((len(rows), longest), dtype=torch.int64)
    attention = torch.zeros((len(rows), longest), dtype=torch.bool)
    member = torch.zeros((len(rows), longest), dtype=torch.bool)
    for line, (row, start) in enumerate(zip(rows, starts, strict=True)):
        tokens[line, : len(row)] = torch.tensor(row)
        attention[line, : len(row)] = True
        member[line, start : len(row)] = True
    nothing = torch.zeros_like(member)
    batch = TokenBatch(tokens, attention, torch.zeros(tokens.shape), {}, {"pg": member, "ce": nothing, "kl": nothing})
    outputs = learner.policy.forward_inference({"tokens": batch, "adapter": adapter, "temperature": 1.0})
    found: NDArray[np.float64] = outputs["logprobs"].double().sum(-1).numpy()
    return found
