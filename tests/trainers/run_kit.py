"""Small runs for tests: a configuration that takes a second, and a credit rule under which even a blank model learns.

`tiny:blank` is built in an instant but never says anything legal, so the rules of the house train on nothing of it. The
rule ``every_token`` weighs every sampled token by the token itself; its state counts what it saw, so a resumed run that
lost the state would differ.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from palaestra.trainers.config import RunConfig, parse_config
from palaestra.trainers.credit.base import register_credit
from palaestra.trainers.rows import Stream
from palaestra.trainers.summary import Summary


@register_credit("every_token")
class EveryToken:
    """Weighs token t by +1 or -1 according to its parity and to how many rows have been seen."""

    def __init__(self) -> None:
        self.seen = 0

    def assign(self, rows, *, kl: float = 0.0):
        filled = []
        for row in rows:
            sign = np.where((row.tokens + self.seen) % 2, 1.0, -1.0).astype(np.float32)
            streams = {"pg": Stream.of(sign, row.sampled)}
            if kl:
                streams["kl"] = Stream.of(kl, row.sampled)
            filled.append(row.with_streams(**streams))
        self.seen += len(rows)
        return filled

    def state_dict(self) -> dict[str, Any]:
        return {"rule": "every_token", "seen": self.seen}

    def load_state_dict(self, state) -> None:
        self.seen = state["seen"]


def data(**changes: Any) -> dict[str, Any]:
    """Return the data of a run of two iterations that takes about a second; ``changes`` replace sections."""
    game = {
        "game": "kuhn_poker",
        "options": {"view": "terse"},
        "reply": {"max_tokens": 3},
        "rules": {kind: {"reasks": 0, "then": "random"} for kind in ("illegal", "unparsable", "truncated")},
    }
    return {
        "name": "small",
        "model": {"source": "tiny:blank", "lora": {"rank": 2, "alpha": 4}},
        "games": [game],
        "iterations": 2,
        "games_per_iteration": 6,
        "credit": {"rule": "every_token"},
        "optimizer": {"lr": 1e-2},
        "resources": {"runners": 0, "threads": 1},
        "evaluation": {"pairs": 0},
        **changes,
    }


def small(**changes: Any) -> RunConfig:
    """Return a checked configuration; see `data`."""
    return parse_config(data(**changes))


class Watch:
    """Keeps what it is told; calls ``at`` after every iteration."""

    def __init__(self, at=lambda summary: None) -> None:
        self.at = at
        self.said: list[str] = []
        self.scores: dict[str, list[Any]] = {}
        self.summaries: list[Summary] = []

    def planned(self, plan) -> None:
        self.said.append(plan.sentence())

    def began(self, what: str) -> None:
        self.said.append(what)

    def evaluated(self, when: str, scores) -> None:
        self.scores[when] = scores

    def iterated(self, summary: Summary, seconds_left: float) -> None:
        self.summaries.append(summary)
        self.at(summary)


def checkpoint_bytes(folder: Path, iteration: int) -> dict[str, bytes]:
    """Return the files of a checkpoint by name."""
    return {path.name: path.read_bytes() for path in sorted((folder / "checkpoints" / f"{iteration:05d}").iterdir())}


def replay_bytes(folder: Path) -> dict[str, bytes]:
    """Return the training replays by name."""
    return {path.name: path.read_bytes() for path in sorted((folder / "replays" / "train").glob("*.jsonl"))}


def make_learner(**changes: Any):
    """Return a built learner, in this process and without Ray."""
    import gymnasium as gym

    from palaestra.trainers.algorithm import SelfPlayConfig

    config = SelfPlayConfig().self_play(small(**changes))
    config.validate()
    text = gym.spaces.Text(8)
    learner = config.build_learner(spaces={"default_policy": (text, text)})
    learner.build()
    return learner


def play_rows(learner, *, count: int = 6, kl: float = 0.0, **changes: Any):
    """Return weighted rows of games played by an engine on the learner's own model and current weights."""
    import asyncio

    from palaestra.agents.engines.transformers_engine import TransformersEngine
    from palaestra.trainers.algorithm import trained_rows
    from palaestra.trainers.arena import play_tasks
    from palaestra.trainers.base_model import base_model
    from palaestra.trainers.tasks import training_tasks

    config = small(games_per_iteration=count, **changes)
    base = base_model(config)
    engine = TransformersEngine(base.loaded.model)
    versions = {name: f"{name}@0" for name in config.adapter_names()}
    for name, version in versions.items():
        engine.add_policy(version, learner.policy.weights(name).payload())
    tasks = training_tasks(config, 0, versions, None)
    rows = trained_rows(asyncio.run(play_tasks(engine, base.loaded.codec, tasks)))
    return EveryToken().assign(rows, kl=kl)
