"""The runner: an RLlib `EnvRunner` that plays matches with the policies it is handed.

Nothing random and nothing worth saving lives in a runner. Which matches to play comes with every call, seeds included;
policies come as immutable versions through Ray's object store, and only those that the runner does not hold yet are
fetched. RLlib may therefore restart a runner at any time: the new one is the same thing.
"""

from __future__ import annotations

import asyncio
import os
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import ray
import torch
from ray.rllib.env.env_runner import EnvRunner
from ray.rllib.utils.checkpoints import Checkpointable

from palaestra.agents.document_reader import DocumentReader
from palaestra.agents.engines.base import BASE, ContextOverflow, Engine
from palaestra.agents.engines.canary import canary
from palaestra.agents.engines.transformers_engine import TransformersEngine
from palaestra.agents.vocabularies import ModelVocabulary
from palaestra.envs.errors import PalaestraError
from palaestra.trainers.adapters import AdapterWeights
from palaestra.trainers.arena import in_a_line, play_tasks
from palaestra.trainers.base_model import base_model
from palaestra.trainers.config import RunConfig
from palaestra.trainers.module import REFERENCE
from palaestra.trainers.tasks import MatchTask, Played

MOST_ROWS = 512
"""Sequences of one step of the engine: as many as there are games, until longer batches save no time."""
HERE = ".here"
"""A file with a random name that the driver puts beside replays: a runner that can read it shares the driver's disk."""
ATTEMPTS = 3
"""Rounds in a row in which runners finished nothing before the run is ended with a sentence."""


class RunnersLost(PalaestraError, RuntimeError):
    """Runners died or stalled and could not be replaced."""


@dataclass(frozen=True, slots=True)
class Failed:
    """Why a runner could not play: one sentence for the user, and the traceback for whoever mends it."""

    sentence: str
    details: str


class MatchRunner(EnvRunner, Checkpointable):
    """Plays `MatchTask`s with one engine; made by RLlib, in the driver or as a Ray actor."""

    def __init__(self, *, config: Any, **kwargs: Any) -> None:
        super().__init__(config=config, **kwargs)
        self.run_config: RunConfig = config.run_config()
        resources = self.run_config.resources
        if resources.threads:
            torch.set_num_threads(resources.threads)
        elif kwargs.get("worker_index"):
            torch.set_num_threads(os.cpu_count() or 1)
        on_gpu = resources.gpus_per_runner > 0 and torch.cuda.is_available()
        self.base = base_model(self.run_config, "cuda" if on_gpu else "cpu")
        self.codec = self.base.loaded.codec
        self.renew()

    def renew(self) -> None:
        """Make a new engine, which knows no version: after a checkpoint was loaded, a name may mean other weights."""
        rows = min(self.run_config.resources.concurrent_games, MOST_ROWS)
        self.engine: Engine = TransformersEngine(self.base.loaded.model, max_rows=rows, tokenizer=self.codec.tokenizer)
        self.reader = DocumentReader(self.base.loaded.model, ModelVocabulary(self.codec).start)
        self.reference = BASE
        if self.base.loaded.adapter is not None:
            self.reference = REFERENCE
            self.engine.add_policy(REFERENCE, self.base.loaded.adapter)
            self.reader.add_policy(REFERENCE, self.base.loaded.adapter)

    def sample(
        self,
        *,
        tasks: Sequence[MatchTask] = (),
        policies: Mapping[str, ray.ObjectRef] | None = None,
        here: str = "",
        **_: Any,
    ) -> list[Played] | Failed:
        """Play the tasks, all at once up to ``concurrent_games``, and return their episodes in order.

        An error is returned, not raised: RLlib would take the runner for broken and start it anew, again and again.

        Args:
            tasks: What to play.
            policies: Every policy version that may be named, as references to `AdapterWeights`; others are forgotten.
            here: Content of the driver's `HERE` file, by which a shared disk is recognised.
        """
        try:
            return asyncio.run(_play(self, tasks, policies or {}, here))
        except Exception as error:
            return Failed(in_a_line(error), traceback.format_exc())

    def score(
        self, *, policies: Mapping[str, ray.ObjectRef], policy: str, contexts: list[list[int]]
    ) -> list[list[float] | None]:
        """Return the log-probabilities of token sequences under a policy, `BASE` for the frozen reference; see
        `Engine.score`. None for one that does not fit the model."""
        return asyncio.run(_score(self, policies, policy, contexts))

    def number(self) -> int:
        """Return RLlib's number for this runner, from 1; 0 in the driver."""
        return int(self.worker_index)

    def handle(self) -> Any:
        """Return the actor's own handle, by which the driver can end it if it hangs."""
        return ray.get_runtime_context().current_actor

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


# Coroutines stand outside the class: with one inside, Ray would take it for an asyncio actor and run every call in a
# loop of its own.


async def _play(
    runner: MatchRunner, tasks: Sequence[MatchTask], policies: Mapping[str, ray.ObjectRef], here: str
) -> list[Played]:
    await _hold(runner.engine, runner.reader, policies)
    return await play_tasks(
        runner.engine,
        runner.codec,
        tasks,
        reader=runner.reader,
        reference=runner.reference,
        concurrent=runner.run_config.resources.concurrent_games,
        records=lambda path: _shares_disk(Path(path).parent, here),
    )


async def _score(
    runner: MatchRunner, policies: Mapping[str, ray.ObjectRef], policy: str, contexts: list[list[int]]
) -> list[list[float] | None]:
    await _hold(runner.engine, runner.reader, policies)
    asked = runner.reference if policy == BASE else policy

    async def one(tokens: list[int]) -> list[float] | None:
        try:
            return await runner.engine.score(tokens, policy=asked)
        except ContextOverflow:
            return None

    return list(await asyncio.gather(*map(one, contexts)))


async def _hold(engine: Engine, reader: DocumentReader, policies: Mapping[str, ray.ObjectRef]) -> None:
    """Serve these versions and no others; a new one must first answer its canary."""
    held = set(engine.policies()) - {BASE, REFERENCE}
    for name in held - set(policies):
        engine.remove_policy(name)
        reader.remove_policy(name)
    for name in sorted(set(policies) - held):
        given = policies[name]
        weights: AdapterWeights = ray.get(given) if isinstance(given, ray.ObjectRef) else given
        engine.add_policy(name, weights.payload())
        reader.add_policy(name, weights.payload())
        if weights.canary is not None:
            seen = weights.canary
            await canary(engine, name, seen.tokens, seen.logprobs, base=seen.base)


def _shares_disk(folder: Path, here: str) -> bool:
    if not here:
        return False
    try:
        return (folder.parent / HERE).read_text() == here or (folder / HERE).read_text() == here
    except (OSError, UnicodeDecodeError):
        return False
