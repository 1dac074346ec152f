"""Runners die, hang and meet bugs; every game that was started is played to its end or ends the run with its cause."""

import dataclasses
import os
import signal
import threading
import time

import pytest
import ray

from palaestra.trainers.algorithm import SelfPlayConfig
from palaestra.trainers.arena import GameFailed
from palaestra.trainers.cluster import ClusterError
from palaestra.trainers.runner import RunnersLost
from palaestra.trainers.tasks import training_tasks
from tests.trainers.run_kit import small

RESOURCES = {"runners": 2, "threads": 1, "sample_timeout_s": 120, "restart_timeout_s": 120}

AGAIN = pytest.mark.filterwarnings("ignore:a runner died:UserWarning")


class Interposed:
    """An engine that does something else from a certain call of `generate` on."""

    def __init__(self, engine, after: int, instead) -> None:
        self._engine, self._after, self._instead = engine, after, instead

    def __getattr__(self, name):
        return getattr(self._engine, name)

    async def generate(self, *args, **kwargs):
        self._after -= 1
        if self._after <= 0:
            self._instead()
        return await self._engine.generate(*args, **kwargs)


def interpose(runner, after: int, instead) -> None:
    runner.engine = Interposed(runner.engine, after, instead)


def die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def hang() -> None:
    time.sleep(100_000)


def stumble() -> None:
    raise ZeroDivisionError("a bug in the engine")


@pytest.fixture(scope="module")
def algorithm(local_ray):
    algorithm = SelfPlayConfig().self_play(small(games_per_iteration=12, resources=RESOURCES)).build_algo()
    yield algorithm
    algorithm.stop()


@pytest.fixture
def tasks(algorithm):
    """Twelve tasks; both runners are back in service when the test is over."""
    algorithm.play(training_tasks(algorithm.run, 5, algorithm.versions(), None)[:2])
    yield training_tasks(algorithm.run, 0, algorithm.versions(), None)
    group = algorithm.env_runner_group
    deadline = time.monotonic() + 120
    while len(group.healthy_env_runner_ids()) < 2 and time.monotonic() < deadline:
        group.probe_unhealthy_env_runners(timeout_seconds=30)
    assert len(group.healthy_env_runner_ids()) == 2


def on_runner(algorithm, number, function, **kwargs):
    [answer] = algorithm.env_runner_group.foreach_env_runner(
        [function], kwargs=[kwargs], remote_worker_ids=[number], local_env_runner=False
    )
    return answer


def pid(runner) -> int:
    return os.getpid()


def actions(played):
    return [(one.task.index, one.episode.actions, one.episode.returns) for one in played]


@pytest.mark.slow
def test_games_of_a_runner_that_dies_in_the_middle_are_played_by_others_and_it_comes_back(algorithm, tasks):
    undisturbed = actions(algorithm.play(tasks))
    before = on_runner(algorithm, 1, pid)
    on_runner(algorithm, 1, interpose, after=7, instead=die)
    with pytest.warns(UserWarning, match="a runner died or gave no answer; 6 games are played again"):
        assert actions(algorithm.play(tasks)) == undisturbed
    group = algorithm.env_runner_group
    deadline = time.monotonic() + 120
    while len(group.healthy_env_runner_ids()) < 2 and time.monotonic() < deadline:
        algorithm.restore_env_runners(group)
    assert on_runner(algorithm, 1, pid) != before
    assert actions(algorithm.play(tasks)) == undisturbed


@pytest.mark.slow
@AGAIN
def test_a_runner_killed_from_outside_between_iterations_costs_nothing(algorithm, tasks):
    undisturbed = actions(algorithm.play(tasks))
    os.kill(on_runner(algorithm, 2, pid), signal.SIGKILL)
    assert actions(algorithm.play(tasks)) == undisturbed


@pytest.mark.slow
@AGAIN
def test_a_runner_that_hangs_is_given_up_and_its_games_go_to_the_others(algorithm, tasks, monkeypatch):
    undisturbed = actions(algorithm.play(tasks))
    resources = algorithm.run.resources.model_copy(update={"sample_timeout_s": 8.0})
    monkeypatch.setattr(algorithm, "run", algorithm.run.model_copy(update={"resources": resources}))
    on_runner(algorithm, 2, interpose, after=3, instead=hang)
    assert actions(algorithm.play(tasks)) == undisturbed


@pytest.mark.slow
def test_a_bug_ends_the_batch_with_its_cause_and_not_with_fewer_episodes(algorithm, tasks):
    on_runner(algorithm, 1, interpose, after=4, instead=stumble)
    with pytest.raises(GameFailed, match=r"kuhn_poker, seed .*ZeroDivisionError: a bug in the engine") as told:
        algorithm.play(tasks)
    assert "\n" not in str(told.value)
    assert any("in stumble" in note for note in told.value.__notes__)
    on_runner(algorithm, 1, lambda runner: runner.renew())
    assert len(algorithm.play(tasks)) == 12


@pytest.mark.slow
def test_a_game_that_cannot_be_made_and_a_replay_that_cannot_be_written_are_sentences(algorithm, tasks, tmp_path):
    broken = [*tasks[:5], dataclasses.replace(tasks[5], options={"view": "tersely"}), *tasks[6:]]
    with pytest.raises(GameFailed, match=r"game 5 .*view"):
        algorithm.play(broken)
    (tmp_path / "file").write_text("")
    unwritable = [dataclasses.replace(tasks[0], replay=str(tmp_path / "file" / "x" / "0.jsonl"))]
    with pytest.raises(Exception, match=r"replay .*cannot be created"):
        algorithm.play(unwritable)


class Deadly:
    """Stands where a version's weights should be, and kills whoever reads it."""

    canary = None

    def payload(self):
        os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
@AGAIN
def test_when_all_runners_die_again_and_again_the_run_ends_with_a_sentence(algorithm, tasks, monkeypatch):
    monkeypatch.setattr(algorithm, "references", {**algorithm.references, "small@78": ray.put(Deadly())})
    with pytest.raises(RunnersLost, match=r"12 of 12 games could not be played.*palaestra resume"):
        algorithm.play(tasks)


@pytest.mark.slow
def test_a_runner_that_serves_the_base_in_place_of_a_version_is_found_out(algorithm, tasks, monkeypatch):
    weights = algorithm.weights("small")
    moved = {key: tensor + 0.05 for key, tensor in weights.tensors.items()}
    lying = dataclasses.replace(weights, tensors=moved)  # its canary is that of other weights
    monkeypatch.setattr(algorithm, "references", {"small@77": ray.put(lying)})
    with pytest.raises(GameFailed, match=r"small@77.*canary"):
        algorithm.play(tasks)


def test_more_processes_than_ray_can_ever_hold_are_refused_and_not_waited_for(local_ray):
    config = SelfPlayConfig().self_play(small(resources={"runners": 4000}))
    with pytest.raises(ClusterError, match=r"asks for 4000 CPUs, but Ray has \d+ in all; lower resources.runners"):
        config.build_algo()
    config = SelfPlayConfig().self_play(small(resources={"runners": 1, "gpus_per_runner": 64}))
    with pytest.raises(ClusterError, match=r"asks for 64 GPUs"):
        config.build_algo()


def wait_for_ever(runner) -> None:
    hang()


@pytest.mark.slow
def test_stopping_does_not_wait_for_a_runner_that_hangs(local_ray):
    other = SelfPlayConfig().self_play(small(resources={"runners": 1, "threads": 1})).build_algo()
    other._handles[1].apply.remote(wait_for_ever)
    stopping = threading.Thread(target=other.stop, daemon=True)
    stopping.start()
    stopping.join(timeout=120)
    assert not stopping.is_alive()
