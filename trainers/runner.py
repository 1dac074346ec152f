"""The runner: an RLlib `EnvRunner` that plays matches with the policies it is handed.

Nothing random and nothing worth saving lives in a runner. Which matches to play comes with every call, seeds included;
policies come as immutable versions through Ray's object store, and only those that the runner does not hold yet are
fetched. RLlib may therefore restart a runner at any time: the new one is the same thing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import ray
import torch
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable

from palaestra.agents.engines.base import BASE, Engine
from palaestra.agents.engines.transformers_engine import TransformersEngine
from palaestra.agents.models.sources import ModelSource
from palaestra.trainers.adapters import AdapterWeights
from palaestra.trainers.arena import play_tasks
from palaestra.trainers.config import RunConfig
from palaestra.trainers.module import REFERENCE, dtype_of
from palaestra.trainers.tasks import MatchTask, Played

HERE = ".here"
"""A file with a random name that the driver puts beside replays: a runner that can read it shares the driver's disk."""


class MatchRunner(EnvRunner, Checkpointable):
    """Plays `MatchTask`s with one engine; made by RLlib, in the driver or as a Ray actor."""

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.run_config: RunConfig = config.run_config()
        if self.run_config.resources.threads:
            torch.set_num_threads(self.run_config.resources.threads)
        elif kwargs.get("worker_index"):
            torch.set_num_threads(os.cpu_count() or 1)
        model = ModelSource.parse(self.run_config.model.source).load(dtype=dtype_of(self.run_config.model.dtype))
        self.codec = model.codec
        self.engine: Engine = TransformersEngine(model.model)
        self.reference = BASE
        if model.adapter is not None:
            self.reference = REFERENCE
            self.engine.add_policy(REFERENCE, model.adapter)

    def sample(
        self,
        *,
        tasks: Sequence[MatchTask] = (),
        policies: Mapping[str, ray.ObjectRef] | None = None,
        here: str = "",
        **_: Any,
    ) -> list[Played]:
        """Play the tasks, all at once up to ``concurrent_games``, and return their episodes in order.

        Args:
            tasks: What to play.
            policies: Every policy version that may be named, as references to `AdapterWeights`; others are forgotten.
            here: Content of the driver's `HERE` file, by which a shared disk is recognised.
        """
        self._hold(policies or {})
        playing = play_tasks(
            self.engine,
            self.codec,
            tasks,
            reference=self.reference,
            concurrent=self.run_config.resources.concurrent_games,
            records=lambda path: _shares_disk(Path(path).parent, here),
        )
        return asyncio.run(playing)

    def _hold(self, policies: Mapping[str, ray.ObjectRef]) -> None:
        held = set(self.engine.policies()) - {BASE, REFERENCE}
        for name in held - set(policies):
            self.engine.remove_policy(name)
        for name in sorted(set(policies) - held):
            weights: AdapterWeights = (
                ray.get(policies[name]) if isinstance(policies[name], ray.ObjectRef) else policies[name]
            )
            self.engine.add_policy(name, weights.payload())

    def score(
        self, *, policies: Mapping[str, ray.ObjectRef], policy: str, contexts: list[list[int]]
    ) -> list[list[float]]:
        """Return the log-probabilities of token sequences under a policy; see `Engine.score`."""
        self._hold(policies)

        async def all_of_them() -> list[list[float]]:
            return list(await asyncio.gather(*(self.engine.score(tokens, policy=policy) for tokens in contexts)))

        return asyncio.run(all_of_them())

    # ------------------------------------------------------------------ what RLlib asks of a runner

    def assert_healthy(self) -> None:
        """Raise unless the engine stands."""
        assert self.engine is not None

    def get_spaces(self) -> dict[str, tuple[gym.Space, gym.Space]]:
        """Return placeholder spaces: policies read and write token sequences, which no fixed space describes."""
        text = gym.spaces.Text(max_length=1 << 16)
        return {"default_policy": (text, text), "__env__": (text, text), "__env_single__": (text, text)}

    def get_state(self, components: Any = None, *, not_components: Any = None, **kwargs: Any) -> dict[str, Any]:
        """Return nothing: a runner has no state worth keeping."""
        return {}

    def set_state(self, state: dict[str, Any]) -> None:
        """Ignore: policies come with each call of `sample`."""

    def get_ctor_args_and_kwargs(self) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return what makes the same runner again."""
        return (), {"config": self.config}

    def get_checkpointable_components(self) -> list[tuple[str, Checkpointable]]:
        """Return nothing: there are no parts with a state."""
        return []

    def stop(self) -> None:
        """Close the engine."""
        asyncio.run(self.engine.aclose())


def _shares_disk(folder: Path, here: str) -> bool:
    if not here:
        return False
    try:
        return (folder.parent / HERE).read_text() == here or (folder / HERE).read_text() == here
    except OSError:
        return False
