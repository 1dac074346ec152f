"""What the driver asks of its workers: games of the runners, steps and weights of the learners.

What is sent to a worker is a function of this module and plain arguments, and an error of a worker comes back as a
sentence of ours.
"""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import ray
from ray.rllib.core.learner.learner_group import LearnerGroup
from ray.rllib.env.env_runner_group import EnvRunnerGroup

from palaestra.envs.errors import PalaestraError
from palaestra.trainers.adapters import AdapterWeights
from palaestra.trainers.arena import GameFailed
from palaestra.trainers.learner import TokenLearner
from palaestra.trainers.runner import Failed, MatchRunner
from palaestra.trainers.tasks import MatchTask, Played, split


class LearnersLost(PalaestraError, RuntimeError):
    """A learner process died."""


# ---------------------------------------------------------------------- runners


def play_round(
    group: EnvRunnerGroup,
    handles: Mapping[int, Any],
    tasks: Sequence[MatchTask],
    folder: Path | None,
    timeout_s: float,
    **call: Any,
) -> list[Played]:
    """Have all runners that are alive play a share of the tasks each; return what was finished.

    Args:
        group: Of the runners; without remote ones the driver's own plays.
        handles: Remote runners' actors, by RLlib's number: those that neither answer nor are dead are killed.
        tasks: What to play.
        folder: Of the run, for the details of a failure.
        timeout_s: Seconds that a runner may take.
        **call: More for `MatchRunner.sample`.

    Raises:
        GameFailed: A game, a seat or the engine raised an error.
    """
    if group.num_remote_env_runners() == 0:
        return _played(group.local_env_runner.sample(tasks=tasks, **call), folder)
    healthy = sorted(group.healthy_env_runner_ids())
    if not healthy:
        return []
    silent = set(healthy)
    found: list[Played] = []
    answers = group.foreach_env_runner(
        [_sample] * len(healthy),
        kwargs=[{"tasks": part, **call} for part in split(tasks, len(healthy))],
        remote_worker_ids=healthy,
        local_env_runner=False,
        timeout_seconds=timeout_s,
    )
    for number, answer in answers:
        silent.discard(number)
        found += _played(answer, folder)
    for number in silent & set(group.healthy_env_runner_ids()):  # no answer, and no news of its death either
        ray.kill(handles[number], no_restart=False)
        group.foreach_env_runner("ping", remote_worker_ids=[number], local_env_runner=False, timeout_seconds=5.0)
    return found


def runner_handles(group: EnvRunnerGroup) -> dict[int, Any]:
    """Return each remote runner's actor handle by RLlib's number for it."""
    return {
        number: handle
        for number in group.healthy_env_runner_ids()
        for handle in group.foreach_env_runner("handle", remote_worker_ids=[number], local_env_runner=False)
    }


def _sample(runner: MatchRunner, **call: Any) -> tuple[int, list[Played] | Failed]:
    return runner.number(), runner.sample(**call)


def _played(answer: list[Played] | Failed, folder: Path | None) -> list[Played]:
    """Return a runner's games, or raise what kept it from playing them."""
    if isinstance(answer, list):
        return answer
    error = GameFailed(answer.sentence)
    error.add_note(answer.details)
    if folder:
        with contextlib.suppress(OSError):  # the sentence stands without it
            (folder / "failure.log").write_text(answer.details, encoding="utf-8")
    raise error


# ---------------------------------------------------------------------- learners


def ask_learners(group: LearnerGroup, function: Any, **kwargs: Any) -> list[Any]:
    """Return what ``function`` gives for every learner.

    Raises:
        LearnersLost: A remote learner died.
    """
    results = []
    for answer in group.foreach_learner(function, **kwargs):
        if not answer.ok:
            error = answer.get()
            cause = getattr(error, "cause", None)
            if isinstance(cause, Exception):
                raise cause from error
            raise LearnersLost(
                f"a learner was lost ({' '.join(str(error).split())[:300]}); see that the machine has memory left; "
                "`palaestra resume` then goes on from the last checkpoint."
            ) from error
        results.append(answer.get())
    return results


def learn(learner: TokenLearner, rows: Any, progress: float, iteration: int) -> Mapping[str, float]:
    """Have a learner take its steps on rows, or on a reference to them; return what it reports."""
    if isinstance(rows, ray.ObjectRef):
        rows = ray.get(rows)
    return learner.update_rows(rows, progress=progress, iteration=iteration)


def weights_of(learner: TokenLearner, name: str) -> AdapterWeights:
    """Return one adapter's weights."""
    return learner.policy.weights(name)


def training_state(learner: TokenLearner) -> Any:
    """Return what a checkpoint must hold of a learner."""
    return learner.training_state()


def set_training_state(learner: TokenLearner, state: Any) -> None:
    """Invert `training_state`."""
    learner.set_training_state(state)
