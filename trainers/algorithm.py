"""Self-play as an RLlib algorithm: `SelfPlayConfig` and `SelfPlay`.

One iteration is a straight line: make tasks from seeds; runners play them with the current versions; the credit rule
turns episodes into weighted rows; the learners take their steps; every adapter gets a new version, which is published.
The driver holds the little that must survive (`SelfPlay.state`): version numbers and the credit rule's baselines;
weights and optimizers live in the learners.

    from palaestra.trainers import SelfPlayConfig
    algorithm = SelfPlayConfig().self_play(model={"source": "tiny:kuhn"}, games=[{"game": "kuhn_poker"}]).build_algo()
    algorithm.train()

The same class runs under Ray Tune, whose checkpoints are this project's (`palaestra.trainers.checkpoint`): safetensors
and JSON, no pickle. `SelfPlayConfig.self_play` keeps plain data and checks it when the algorithm is built, so a search
space may stand wherever a value may:

    space = SelfPlayConfig().self_play(games=[...], optimizer={"lr": tune.grid_search([1e-4, 1e-3])})
    tune.Tuner(SelfPlay, param_space=space, run_config=tune.RunConfig(stop={"training_iteration": 10})).fit()
"""

from __future__ import annotations

import secrets
import time
import warnings
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Self

import ray
from ray.rllib.algorithms.algorithm import Algorithm
from ray.rllib.algorithms.algorithm_config import AlgorithmConfig
from ray.rllib.core.rl_module.rl_module import RLModuleSpec
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from palaestra.agents.engines.base import BASE
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import write_replay
from palaestra.trainers import checkpoint
from palaestra.trainers.adapters import AdapterWeights
from palaestra.trainers.averages import Averages, policy_of
from palaestra.trainers.cluster import check_room
from palaestra.trainers.config import RunConfig, parse_config
from palaestra.trainers.credit import make_credit
from palaestra.trainers.hindsight.stage import Hindsight
from palaestra.trainers.hindsight.verdict import append, counted
from palaestra.trainers.learner import TokenLearner
from palaestra.trainers.module import PolicyModule
from palaestra.trainers.reviewing import refresh, scored
from palaestra.trainers.rows import Row, rows_from_episode
from palaestra.trainers.runner import ATTEMPTS, HERE, MatchRunner, RunnersLost
from palaestra.trainers.schedules import schedule
from palaestra.trainers.settle import settle
from palaestra.trainers.summary import Summary, summarize
from palaestra.trainers.tasks import MatchTask, Played, training_tasks
from palaestra.trainers.workers import (
    ask_learners,
    learn,
    play_round,
    runner_handles,
    set_training_state,
    training_state,
    weights_of,
)


class SelfPlayConfig(AlgorithmConfig):
    """RLlib's configuration with one section of ours: `self_play`, which takes the fields of `RunConfig`."""

    def __init__(self, algo_class: type[Algorithm] | None = None) -> None:
        super().__init__(algo_class or SelfPlay)
        self.self_play_run: dict[str, Any] = {}
        self.run_folder: str | None = None
        self.env_runner_cls = MatchRunner
        self.enable_env_runner_and_connector_v2 = True
        self.enable_rl_module_and_learner = True
        self.framework_str = "torch"
        self.batch_mode = "complete_episodes"
        self.restart_failed_env_runners = True
        self.ignore_env_runner_failures = True
        self.validate_env_runners_after_construction = True
        self.delay_between_env_runner_restarts_s = 0.0
        self.log_level = "ERROR"

    def self_play(self, run: RunConfig | None = None, *, folder: str | Path | None = None, **sections: Any) -> Self:
        """Set sections of the run, as keyword arguments or as one checked `RunConfig`.

        Args:
            run: A whole configuration; ``sections`` then replace parts of it.
            folder: Run folder for replays and adapters; None keeps nothing on disk.
        """
        self.self_play_run = {**self.self_play_run, **(run.model_dump() if run else {}), **sections}
        if folder is not None:
            self.run_folder = str(Path(folder).resolve())
        return self

    def run_config(self) -> RunConfig:
        """Return the checked configuration.

        Raises:
            ConfigError: A key or value is wrong.
        """
        return parse_config(self.self_play_run, "self_play")

    def validate(self) -> None:
        """Take over what RLlib needs from the run's own sections, then let RLlib check the rest."""
        run = self.run_config()
        resources = run.resources
        self.num_env_runners = resources.runners
        self.create_local_env_runner = resources.runners == 0  # else the driver would hold an engine that never plays
        self.env_runner_health_probe_timeout_s = resources.restart_timeout_s
        self.num_gpus_per_env_runner = resources.gpus_per_runner
        self.num_learners = resources.learners
        self.num_gpus_per_learner = resources.gpus_per_learner
        self.seed = run.seed % 2**31
        super().validate()

    def get_default_learner_class(self) -> type[TokenLearner]:
        """Return the learner that applies token weights."""
        return TokenLearner

    def get_default_rl_module_spec(self) -> RLModuleSpec:
        """Return the module that holds base and adapters."""
        return RLModuleSpec(module_class=PolicyModule, model_config={"run": self.run_config().model_dump(mode="json")})


class SelfPlay(Algorithm):
    """Trains LoRA policies by playing them against themselves, their past and others."""

    config: SelfPlayConfig

    @classmethod
    def get_default_config(cls) -> SelfPlayConfig:
        """Return an empty configuration."""
        return SelfPlayConfig()

    def setup(self, config: AlgorithmConfig) -> None:
        """Start runners and learners and publish version 0 of every adapter."""
        self._handles: dict[int, Any] = {}
        settled = settle(config.run_config())
        config = config.copy(copy_frozen=False).self_play(settled)
        config.validate()
        config.freeze()
        needs = settled.resources
        if ray.is_initialized():
            # RLlib counts a CPU for every remote process, except for a learner that has a GPU.
            learner_cpus = needs.learners if not needs.gpus_per_learner else 0
            gpus = needs.runners * needs.gpus_per_runner + needs.learners * needs.gpus_per_learner
            check_room(needs.runners + learner_cpus, gpus)
        super().setup(config)
        self._handles = runner_handles(self.env_runner_group)
        self.run = self.config.run_config()
        self.credit = make_credit(self.run.credit.rule, **self.run.credit.options)
        self.hindsight = Hindsight(self.run) if self.run.hindsight else None
        self.numbers = dict.fromkeys(self.run.adapter_names(), 0)
        self.horizon = self.run.iterations
        self.folder = Path(self.config.run_folder) if self.config.run_folder else None
        self.here = secrets.token_hex(8)
        if self.folder:
            (self.folder / "replays").mkdir(parents=True, exist_ok=True)
            (self.folder / "replays" / HERE).write_text(self.here)
        self.fingerprint = str(self._learner(lambda learner: learner.policy.fingerprint))
        self.references: dict[str, ray.ObjectRef] = {}
        self.summary: Summary | None = None
        self.averages = Averages(self.run.games)
        self._follow()
        self.publish()

    # ------------------------------------------------------------------ one iteration

    def training_step(self) -> None:
        """Play, assign credit, learn, publish; the result is in ``summary`` and in RLlib's metrics."""
        began = time.perf_counter()
        iteration = self.training_iteration
        progress = iteration / max(1, self.horizon - 1)
        replays = str(self.folder / "replays" / "train") if self.folder and self.run.replays == "all" else None
        tasks = training_tasks(self.run, iteration, self.versions(), replays)
        waves = self.hindsight.play(self.play, self.score, tasks, iteration) if self.hindsight else []
        played = [one for wave in waves for one in wave.played] if self.hindsight else self.play(tasks)
        sampled = time.perf_counter()
        kl = schedule(self.run.credit.kl)(progress)
        rows = self.credit.assign(trained_rows(played), kl=kl)
        found: dict[str, float] = {}
        if self.hindsight:
            rows = self.hindsight.learn(waves, rows, iteration, progress)
            verdicts = [verdict for wave in waves for verdict in wave.verdicts]
            found = {**counted(verdicts), "hindsight/tokens": float(sum(wave.tokens for wave in waves))}
            if self.folder:
                append(self.folder / "reviews.jsonl", iteration, verdicts)
        report = {**self._update(rows, progress, iteration), **found}
        learned = time.perf_counter()
        for name in self.numbers:
            self.numbers[name] += 1
        self._follow()
        self.publish(iteration=iteration + 1)
        if self.hindsight:
            report["hindsight/tokens"] += self._refresh_critic(iteration + 1)
        self.summary = summarize(
            played,
            rows,
            report,
            iteration=iteration,
            seconds_sampling=sampled - began,
            seconds_learning=learned - sampled,
        )
        for key, value in self.summary.flat().items():
            self.metrics.log_value(("self_play", key), value, window=1)

    def play(self, tasks: Sequence[MatchTask]) -> list[Played]:
        """Play tasks on the runners and return them in order; a dead or silent runner's games go to the others.

        Raises:
            RunnersLost: No game was finished in `ATTEMPTS` rounds in a row.
            GameFailed: A game, a seat or the engine raised an error.
        """
        done: dict[int, Played] = {}
        fruitless = 0
        while len(done) < len(tasks) and fruitless < ATTEMPTS:
            left = [task for task in tasks if task.index not in done]
            call = {"policies": self.references, "here": self.here}
            timeout_s = self.run.resources.sample_timeout_s
            found = play_round(self.env_runner_group, self._handles, left, self.folder, timeout_s, **call)
            done |= {played.task.index: played for played in found}
            fruitless = 0 if found else fruitless + 1
            if (missing := len(tasks) - len(done)) and fruitless < ATTEMPTS:
                warnings.warn(f"a runner died or gave no answer; {missing} games are played again", stacklevel=2)
                self.restore_env_runners(self.env_runner_group)
        if len(done) < len(tasks):
            raise RunnersLost(
                f"{len(tasks) - len(done)} of {len(tasks)} games could not be played: runners died or gave no answer "
                f"within {self.run.resources.sample_timeout_s:g} s, {ATTEMPTS} times in a row. See that the machine "
                "has memory left; `palaestra resume` then goes on from the last checkpoint."
            )
        for played in done.values():
            if played.task.replay and not played.replay_written:
                write_replay(played.episode, played.task.replay, meta=played.task.meta)
        return [done[task.index] for task in tasks]

    def score(self, contexts: Sequence[list[int]], policy: str = BASE) -> list[list[float] | None]:
        """Return a policy's log-probabilities of token sequences, all but each one's first token, in nats; by default
        the frozen reference's. None for a sequence that does not fit the model.

        Raises:
            RunnersLost: Runners died, and the others could not answer in `ATTEMPTS` rounds.
        """
        return scored(
            self.env_runner_group,
            contexts,
            policy=policy,
            policies=self.references,
            timeout_s=self.run.resources.sample_timeout_s,
            restore=self.restore_env_runners,
        )

    def restore_env_runners(self, env_runner_group: EnvRunnerGroup) -> list[int]:
        """Take runners that Ray has started again back into service; there is no state to give them.

        While others are alive nobody waits for a dead one; with none left, the run waits ``restart_timeout_s``.
        """
        wait = 0.1 if env_runner_group.healthy_env_runner_ids() else self.run.resources.restart_timeout_s
        return list(env_runner_group.probe_unhealthy_env_runners(timeout_seconds=wait))

    def _update(self, rows: list[Row], progress: float, iteration: int) -> dict[str, float]:
        reference = ray.put(rows) if self.learner_group.is_remote else rows
        return dict(self._learners(learn, rows=reference, progress=progress, iteration=iteration)[0])

    def _learners(self, function: Any, **kwargs: Any) -> list[Any]:
        """Return what ``function`` gives for every learner.

        Raises:
            LearnersLost: A remote learner died.
        """
        return ask_learners(self.learner_group, function, **kwargs)

    # ------------------------------------------------------------------ versions

    def versions(self) -> dict[str, str]:
        """Return the current version of each adapter, such as ``{"kuhn": "kuhn@3"}``."""
        return {name: f"{name}@{number}" for name, number in self.numbers.items()}

    def weights(self, name: str) -> AdapterWeights:
        """Return one adapter's current weights."""
        weights: AdapterWeights = self._learner(weights_of, name=name)
        return weights

    def publish(self, iteration: int = 0) -> None:
        """Put the current version of every adapter into the object store and, with a run folder, on disk."""
        self.references = {}
        for name, version in self.versions().items():
            weights = self.weights(name)
            self._refer(version, weights)
            if self.folder:
                self.write(weights, self.folder / "adapters" / version, name, iteration)
        for game, average in self.averages.weights().items():
            self._refer(policy_of(game, iteration), average)
        if self.hindsight and (critic := self.hindsight.critic.weights()) is not None:
            self._refer(self.hindsight.critic.policy, critic)

    def _follow(self) -> None:
        """Move the averages towards the policies."""
        for game in self.averages.games:
            self.averages.follow(game, self.weights(self.run.adapter_of(game)))

    def _refer(self, policy: str, weights: AdapterWeights) -> None:
        """Have the runners know a policy."""
        self.references[policy] = ray.put(weights) if self.env_runner_group.num_remote_env_runners() else weights

    def _refresh_critic(self, iteration: int) -> int:
        """Let a critic that moves follow the policy, if it is time and it may; return the tokens that this took."""
        if self.hindsight is None or not self.hindsight.critic.due(iteration):
            return 0
        weights = self.weights(self.run.adapter_names()[0])
        candidate = f"candidate@{iteration}"
        tokens = refresh(self.hindsight, weights, candidate, play=self.play, score=self.score, refer=self._refer)
        self.references.pop(candidate, None)
        return tokens

    def write(self, weights: AdapterWeights, folder: Path, name: str, iteration: int) -> None:
        """Write weights of adapter ``name`` as a PEFT folder that says where it comes from and how it was asked."""
        sections = [section for index, section in enumerate(self.run.games) if self.run.adapter_of(index) == name]
        weights.publish(
            folder,
            base=self.fingerprint,
            model=str(ModelSource.parse(self.run.model.source).base),
            run=self.run.name,
            iteration=iteration,
            games=[section.model_dump(mode="json") for section in sections],
        )

    def _learner(self, function: Any, **kwargs: Any) -> Any:
        """Return what ``function`` gives for the first learner; all learners hold the same weights."""
        return self._learners(function, **kwargs)[0]

    def cleanup(self) -> None:
        """End the run's processes; a runner that does not answer is killed, since RLlib would wait for it for ever."""
        if self._handles:
            alive = set(self.env_runner_group.foreach_env_runner("number", local_env_runner=False, timeout_seconds=5.0))
            for number in self._handles.keys() - alive:
                ray.kill(self._handles[number], no_restart=True)
        super().cleanup()

    # ------------------------------------------------------------------ state

    def state(self) -> dict[str, Any]:
        """Return what the driver must keep, as JSON data."""
        return {
            "config": self.run.model_dump(mode="json"),
            "iteration": self.training_iteration,
            "horizon": self.horizon,
            "versions": dict(self.numbers),
            "credit": self.credit.state_dict(),
            **({"critic": self.hindsight.critic.number} if self.hindsight else {}),
        }

    def save_checkpoint(self, checkpoint_dir: str) -> None:
        """Write adapters, optimizers and the driver's state into a folder."""
        training = self._learner(training_state)
        critic = self.hindsight.critic.tensors() if self.hindsight else {}
        training = replace(training, adapters={**training.adapters, **self.averages.tensors(), **critic})
        checkpoint.write(Path(checkpoint_dir), self.state(), training)

    def load_checkpoint(self, checkpoint_dir: str) -> None:
        """Invert `save_checkpoint`.

        Raises:
            CheckpointError: It is damaged, or was made by a run with other adapters.
        """
        state, training = checkpoint.read(Path(checkpoint_dir))
        if sorted(state["versions"]) != sorted(self.numbers):
            raise checkpoint.CheckpointError(
                f"checkpoint {checkpoint_dir} holds the adapters {', '.join(sorted(state['versions']))}, but this run "
                f"trains {', '.join(sorted(self.numbers))}; resume it with the configuration that it was made with."
            )
        self._learners(set_training_state, state=training)
        self._iteration = state["iteration"]
        # Schedules are those that the run began with, also if it is prolonged.
        self.horizon = int(state.get("horizon", self.run.iterations))
        self.numbers = {name: int(number) for name, number in state["versions"].items()}
        self.credit.load_state_dict(state["credit"])
        policies = {game: self.weights(self.run.adapter_of(game)) for game in self.averages.games}
        self.averages.load(training.adapters, policies)
        if self.hindsight:
            like = self.weights(self.run.adapter_names()[0])
            self.hindsight.critic.load(int(state.get("critic", 0)), training.adapters, like)
        group = self.env_runner_group
        if group.num_remote_env_runners():
            group.foreach_env_runner("renew", local_env_runner=False)
        else:
            group.local_env_runner.renew()
        self.publish(iteration=self._iteration)


def trained_rows(played: Sequence[Played]) -> list[Row]:
    """Return the rows of the seats that are trained, without weights; other seats' tokens are context only."""
    rows = []
    for one in played:
        trained = [player for player, plan in enumerate(one.task.seats) if plan.trained]
        found = rows_from_episode(one.episode, f"{one.task.index:05d}", players=trained)
        rows += [replace(row, thoughts=one.task.seats[row.player].thoughts) for row in found]
    return rows
