"""A resumed run is the uninterrupted run: weights, optimizer, baselines, seeds and replays, bit by bit."""

import contextlib
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from palaestra.envs.errors import PalaestraError
from palaestra.trainers.run import resume, train
from tests.trainers.run_kit import Watch, checkpoint_bytes, replay_bytes, small

ROOT = Path(__file__).parents[2]
KEEP_ALL = {"every": 1, "keep": 99}


def go_back(folder: Path, copy: Path, iteration: int) -> Path:
    """Return a copy of a run folder as a kill during iteration ``iteration`` would have left it."""
    shutil.copytree(folder, copy)
    for path in (copy / "checkpoints").glob("[0-9]*"):
        if int(path.name) > iteration:
            shutil.rmtree(path)
    (copy / "checkpoints" / "latest").write_text(f"{iteration:05d}\n")
    for path in (copy / "replays" / "train").glob("*.jsonl"):
        if int(path.name.partition("-")[0]) > iteration:
            path.unlink()
        elif int(path.name.partition("-")[0]) == iteration:
            path.write_bytes(path.read_bytes()[:400])  # games in flight
    return copy


def same(first: Path, second: Path, iterations: int) -> None:
    """Assert that two runs are the same in all that matters."""
    assert checkpoint_bytes(first, iterations) == checkpoint_bytes(second, iterations)
    assert replay_bytes(first) == replay_bytes(second)
    for version in (first / "adapters").iterdir():
        for file in version.iterdir():
            assert file.read_bytes() == (second / "adapters" / version.name / file.name).read_bytes(), file
    numbers = [(first / "metrics.jsonl").read_text(), (second / "metrics.jsonl").read_text()]
    untimed = [
        [{key: value for key, value in json.loads(line).items() if "seconds" not in key} for line in text.splitlines()]
        for text in numbers
    ]
    assert untimed[0] == untimed[1]


@pytest.mark.parametrize("runners", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_resumed_and_uninterrupted_runs_are_bit_equal(tmp_path, local_ray, runners):
    game = {
        "game": "kuhn_poker",
        "reply": {"max_tokens": 3},
        "opponents": {"self": 2, "base": 1, "random": 1},
        "rules": {kind: {"reasks": 1, "then": "random"} for kind in ("illegal", "unparsable", "truncated")},
    }
    config = small(
        iterations=3,
        games_per_iteration=8,
        checkpoint=KEEP_ALL,
        resources={"runners": runners, "threads": 1},
        credit={"rule": "every_token", "kl": {"kind": "linear", "start": 0.1, "end": 0.0}},
        games=[game],
    )
    straight = train(config, tmp_path / "straight")
    again = go_back(straight, tmp_path / "again", 1)
    resume(again)
    assert checkpoint_bytes(straight, 3) != checkpoint_bytes(straight, 1)
    same(straight, again, 3)


@pytest.mark.slow
@pytest.mark.parametrize(("bytes_", "what"), [(300, "replay"), (20_000, "adapter|checkpoint")])
def test_a_full_disk_ends_the_run_with_a_sentence_and_resuming_loses_nothing(tmp_path, local_ray, bytes_, what):
    straight = train(small(iterations=3, checkpoint=KEEP_ALL), tmp_path / "straight")
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(summary):
        resource.setrlimit(resource.RLIMIT_FSIZE, (bytes_, unlimited[1]))

    try:
        with pytest.raises(PalaestraError, match=what) as told:
            train(small(iterations=3, checkpoint=KEEP_ALL), tmp_path / "full", Watch(fill))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert "\n" not in str(told.value)
    resume(tmp_path / "full")
    same(straight, tmp_path / "full", 3)


SCRIPT = """
import sys
import tests.trainers.run_kit
from palaestra.trainers.run import open_run
open_run(sys.argv[1]).execute()
print("done", flush=True)
"""


def made(folder: Path, **changes) -> Path:
    """Make a run folder that holds its configuration and nothing else."""
    folder.mkdir()
    (folder / "config.yaml").write_text(yaml.safe_dump(small(**changes).model_dump(mode="json")))
    return folder


@contextlib.contextmanager
def in_a_process(folder: Path):
    """Have a run go on in a process of its own; what it says is in ``said.txt``."""
    with (folder.parent / "said.txt").open("w") as said:
        process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, str(folder)], cwd=ROOT, stdout=said, stderr=said, start_new_session=True
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()


def to_its_end(folder: Path) -> None:
    with in_a_process(folder) as process:
        process.wait(timeout=300)
    assert "done" in (folder.parent / "said.txt").read_text()


def wait_until(true) -> None:
    deadline = time.monotonic() + 240
    while not true() and time.monotonic() < deadline:
        time.sleep(0.005)


@pytest.mark.slow
def test_killed_at_seeded_moments_a_run_still_ends_as_the_uninterrupted_one(tmp_path):
    plan = {
        "iterations": 8,
        "games_per_iteration": 8,
        "checkpoint": KEEP_ALL,
        "resources": {"runners": 1, "threads": 1},
    }
    straight, killed = made(tmp_path / "straight", **plan), made(tmp_path / "killed", **plan)
    to_its_end(straight)
    dice = random.Random(7)
    for reached in (1, 5):
        with in_a_process(killed) as process:
            wait_until(lambda reached=reached: (killed / "adapters" / f"small@{reached}").is_dir())
            time.sleep(dice.random() * 0.3)
            assert process.poll() is None, "it was over before it could be killed"
    to_its_end(killed)
    same(straight, killed, 8)


@pytest.mark.slow
def test_a_terminals_ctrl_c_reaches_ray_too_and_the_run_still_ends_in_order(tmp_path):
    folder = made(
        tmp_path / "r",
        iterations=5000,
        checkpoint={"every": 5000, "keep": 2},
        resources={"runners": 1, "threads": 1},
    )
    with in_a_process(folder) as process:
        wait_until((folder / "metrics.jsonl").is_file)
        os.killpg(process.pid, signal.SIGINT)  # a terminal signals the whole group
        process.wait(timeout=120)
    said = (tmp_path / "said.txt").read_text()
    assert "Interrupted: stopped after iteration" in said, said
    done = len((folder / "metrics.jsonl").read_text().splitlines())
    assert (folder / "checkpoints" / f"{done:05d}").is_dir()
