"""How fast rows are trained on: `TokenLearner.update_rows` beside a bare forward and backward pass.

The *bare* pass is what a page of PyTorch would do: the same base with the same adapter, the same rows in the same
micro-batches, made into tensors beforehand; the model's own forward with logits for every token, their cross-entropy,
backward. It clips nothing, takes no optimizer step and reports nothing. Rows come from games that the model itself has
played against itself.

Tokens are those of the rows, observed ones included and padding not. A second side has a KL weight on every sampled
token, for which the learner must also score the rows under the frozen reference; it is told and not judged, because
the bare pass does not do that.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import gymnasium as gym
import torch

from palaestra.agents.engines.transformers_engine import TransformersEngine
from palaestra.agents.language_model import ReplySettings
from palaestra.agents.models.sources import ModelSource
from palaestra.trainers.benchmarks.framework import Aim, Benchmark, Case, Counts, Side
from palaestra.trainers.benchmarks.rollout import Rollout, play
from palaestra.trainers.learner import TokenLearner
from palaestra.trainers.loss import TokenBatch
from palaestra.trainers.rows import Row, Stream, pack, rows_from_episode

NAME = "bench"
LEARNER, WITH_KL, BARE = "learner", "learner with KL", "bare"
KL = 0.05


@dataclass(frozen=True, slots=True)
class Training:
    """Rows to be trained on: the games they come from, and the token budget of a micro-batch."""

    rollout: Rollout
    token_budget: int
    lora: dict[str, Any] = field(default_factory=lambda: {"rank": 16, "alpha": 32})


def make_learner(training: Training) -> TokenLearner:
    """Return a learner as a run would build it, without the run: no Ray is started."""
    from palaestra.trainers.algorithm import SelfPlayConfig

    rollout = training.rollout
    config = SelfPlayConfig().self_play(
        name=NAME,
        model={"source": rollout.source, "lora": training.lora},
        games=[
            {
                "game": rollout.game,
                "options": rollout.options,
                "reply": {"max_tokens": rollout.reply.max_tokens, "temperature": rollout.reply.temperature},
            }
        ],
        optimizer={"token_budget": training.token_budget, "lr": 1e-5},
        resources={"runners": 0},
    )
    text = gym.spaces.Text(max_length=1 << 16)
    learner: TokenLearner = config.build_learner(spaces={"default_policy": (text, text)})
    return learner


def play_rows(training: Training, learner: TokenLearner) -> list[Row]:
    """Let the learner's model play, and return the rows, each with an advantage of 1 or -1 on all sampled tokens."""
    version = f"{NAME}@0"
    engine = TransformersEngine(learner.policy.peft)
    engine.add_policy(version, learner.policy.weights(NAME).payload())
    codec = ModelSource.parse(training.rollout.source).codec()
    episodes = play(training.rollout.tasks(version), engine, codec)
    rows = [row for number, episode in enumerate(episodes) for row in rows_from_episode(episode, f"{number:05d}")]
    return [row.with_streams(pg=Stream.of(1 - 2 * (number % 2), row.sampled)) for number, row in enumerate(rows)]


def learn(learner: TokenLearner, rows: Sequence[Row]) -> Counts:
    """One update of one optimizer step."""
    report = learner.update_rows(rows, progress=0.0, iteration=0)
    return {"tokens": sum(map(len, rows)), "sampled": int(report["tokens"])}


def bare(learner: TokenLearner, batches: Sequence[TokenBatch]) -> Counts:
    """Forward, cross-entropy over full logits, backward, for every micro-batch."""
    model, policy = learner.policy.peft, learner.policy
    parameters = policy.parameters_of(NAME)
    for parameter in parameters:
        parameter.grad = None
    tokens = sampled = 0
    for batch in batches:
        logits = model(input_ids=batch.tokens, attention_mask=batch.attention.long(), use_cache=False).logits
        labels = batch.tokens.masked_fill(~batch.attention, -100)
        loss = torch.nn.functional.cross_entropy(logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten())
        loss.backward()
        tokens += int(batch.attention.sum())
        sampled += int(batch.member["pg"].sum())
    assert all(parameter.grad is not None for parameter in parameters)
    return {"tokens": tokens, "sampled": sampled}


def case_of(training: Training) -> Case:
    """Build the learner, play, and return the case; the sides share model, adapter and rows."""
    learner = make_learner(training)
    rows = play_rows(training, learner)
    with_kl = [row.with_streams(kl=Stream.of(KL, row.sampled)) for row in rows]
    batches = [TokenBatch.from_rows(micro) for micro in pack(rows, training.token_budget, once=False)]
    sides = (
        Side(LEARNER, "`TokenLearner.update_rows`: loss, metrics, clipping, AdamW", lambda: learn(learner, rows)),
        Side(WITH_KL, "the same, and a KL to the frozen reference", lambda: learn(learner, with_kl)),
        Side(BARE, "forward with full logits, cross-entropy, backward", lambda: bare(learner, batches)),
    )
    padding = 1 - sum(map(len, rows)) / sum(batch.tokens.numel() for batch in batches)
    sentence = (
        f"{len(rows)} rows of {training.rollout.game}, {len({row.tokens.tobytes() for row in rows})} of them distinct "
        f"(the learner computes copies once), the longest of {max(map(len, rows))} tokens, in {len(batches)} "
        f"micro-batches of at most {training.token_budget:,} tokens ({padding:.0%} padding), LoRA rank "
        f"{training.lora['rank']} on all linear layers, {torch.get_num_threads()} threads"
    )
    aims = (Aim(LEARNER, BARE, 0.85), Aim(WITH_KL, BARE))
    return Case(training.rollout.source, sentence, ("tokens",), sides, aims, compared=("sampled",))


TERSE_KUHN = {"view": "terse"}
TINY = Training(
    Rollout("tiny:kuhn", "kuhn_poker", ReplySettings(max_tokens=8), games=256, alone=0, options=TERSE_KUHN), 2048
)
SMOLLM2 = Training(
    Rollout(
        "smollm2",
        "negotiation",
        ReplySettings(max_tokens=16, temperature=0.8),
        games=8,
        alone=0,
        options={"view": "terse", "items": 2, "max_count": 2},
        max_turns=6,
    ),
    1024,
)
QUICK = Training(
    Rollout("tiny:blank", "kuhn_poker", ReplySettings(max_tokens=4), games=6, alone=0, options=TERSE_KUHN), 256
)


def cases(quick: bool) -> Iterator[Case]:
    """Yield a case for each model."""
    for training in (QUICK,) if quick else (TINY, SMOLLM2):
        yield case_of(training)


BENCHMARK = Benchmark(
    name="learner",
    question="How many tokens a second does the learner train on?",
    cases=cases,
    rounds=5,
)
