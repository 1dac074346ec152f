"""A checkpoint is there whole or not at all, whatever moment a process is killed at and however full the disk is."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from palaestra.trainers import checkpoint
from palaestra.trainers.checkpoint import CheckpointError, Checkpoints, TrainingState

ROOT = Path(__file__).parents[2]


class Saves:
    """Stands in for an algorithm: saves tensors filled with a number."""

    def __init__(self, number: int, size: int = 50) -> None:
        self.number, self.size = number, size

    def save_checkpoint(self, folder: str) -> None:
        filled = torch.full((self.size,), float(self.number))
        training = TrainingState(
            {"a": {"x.lora_A.weight": filled}},
            {"a": {"0": {"exp_avg": filled.clone(), "step": torch.tensor(3.0)}}},
            {"a": [{"lr": 0.1, "betas": [0.9, 0.999]}]},
        )
        checkpoint.write(Path(folder), {"iteration": self.number, "versions": {"a": self.number}}, training)


def child(script: str, folder: Path) -> list[str]:
    """Run a script in a process of its own and return what it printed."""
    done = subprocess.run([sys.executable, "-c", script, str(folder)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def number_in(folder: Path) -> int:
    state, training = checkpoint.read(folder)
    assert (training.adapters["a"]["x.lora_A.weight"] == state["iteration"]).all()
    return int(state["iteration"])


def test_what_is_written_is_read(tmp_path):
    Saves(7).save_checkpoint(str(tmp_path / "c"))
    state, training = checkpoint.read(tmp_path / "c")
    assert state["versions"] == {"a": 7}
    assert training.moments["a"]["0"]["step"].shape == ()
    assert training.scalars == {"a": [{"lr": 0.1, "betas": [0.9, 0.999]}]}


def test_the_newest_are_kept_and_latest_is_the_last_saved(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints", keep=2)
    assert checkpoints.latest() is None
    for number in (0, 1, 2, 3):
        checkpoints.save(Saves(number), number)
    assert [number_in(folder) for folder in checkpoints.list()] == [2, 3]
    assert number_in(checkpoints.latest()) == 3
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["00002", "00003", "latest"]


def test_what_a_kill_left_before_the_pointer_moved_is_replaced(tmp_path):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(Saves(0), 0)
    checkpoints.save(Saves(1), 1)
    (checkpoints.folder / "latest").write_text("00000\n")
    checkpoints.save(Saves(1, size=9), 1)
    assert checkpoint.read(checkpoints.latest())[1].adapters["a"]["x.lora_A.weight"].shape == (9,)


@pytest.mark.parametrize("pointer", ["", "00009", "../outside", "/etc", "\x00", "00001/.."])
def test_a_pointer_that_leads_nowhere_is_passed_over(tmp_path, pointer):
    checkpoints = Checkpoints(tmp_path / "checkpoints")
    checkpoints.save(Saves(1), 1)
    (checkpoints.folder / "latest").write_text(pointer)
    assert number_in(checkpoints.latest()) == 1


KILLED = """
import os, shutil, sys
from pathlib import Path
from tests.trainers.test_checkpoint import Checkpoints, Saves, number_in
import torch

torch.set_num_threads(1)
died = {"n": 0, "at": 0}

def watch(event, args):
    if died["at"] and event in ("open", "os.rename", "os.remove", "os.rmdir", "os.mkdir", "os.listdir"):
        died["n"] += 1
        if died["n"] == died["at"]:
            os.kill(os.getpid(), 9)

def kill_at(moment, saved):
    here = Path(sys.argv[1]) / str(moment)
    checkpoints = Checkpoints(here, keep=1)
    checkpoints.save(Saves(2), 2)
    if saved == 5:  # an earlier kill had left it, before the pointer moved
        Saves(5).save_checkpoint(str(here / "00005"))
    child = os.fork()
    if child == 0:
        died["at"] = moment
        checkpoints.save(Saves(saved), saved)
        os._exit(0)
    killed = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -9
    print(saved, killed, number_in(checkpoints.latest()), flush=True)
    checkpoints.save(Saves(9), 9)  # and the next process goes on
    assert number_in(checkpoints.latest()) == 9
    shutil.rmtree(here)
    return killed

sys.addaudithook(watch)
for saved in (3, 5):
    moment = 1
    while kill_at(moment, saved):
        moment += 1
"""


def test_killed_at_any_moment_of_saving_a_whole_checkpoint_is_there(tmp_path):
    lines = [line.split() for line in child(KILLED, tmp_path)]
    for saved in ("3", "5"):
        moments = [(killed, found) for number, killed, found in lines if number == saved]
        assert len(moments) > 10, "too few moments to kill at"
        assert moments[0] == ("True", "2")
        assert moments[-1] == ("False", saved)
        assert {found for _, found in moments} <= {"2", saved}


FULL = """
import resource, sys
from pathlib import Path
from tests.trainers.test_checkpoint import Checkpoints, CheckpointError, Saves, number_in
import signal

signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
checkpoints = Checkpoints(Path(sys.argv[1]))
checkpoints.save(Saves(1), 1)
for most in (0, 200, 3000, 100_000):
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))
    try:
        checkpoints.save(Saves(2, size=100_000), 2)
    except CheckpointError as error:
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        print(error)
    assert number_in(checkpoints.latest()) == 1
    assert sorted(path.name for path in checkpoints.folder.iterdir()) == ["00001", "latest"]
checkpoints.save(Saves(2, size=100_000), 2)
assert number_in(checkpoints.latest()) == 2
"""


def test_on_a_full_disk_the_previous_checkpoint_stands_and_saving_works_again_after_space_is_made(tmp_path):
    told = child(FULL, tmp_path / "c")
    assert len(told) == 4
    assert all("checkpoint 2 could not be written" in line and "free some space" in line for line in told)


def damage(folder: Path, how: str) -> None:
    state, tensors = folder / "state.json", folder / "tensors.safetensors"
    match how:
        case "torn tensors":
            tensors.write_bytes(tensors.read_bytes()[:-20])
        case "no tensors":
            tensors.unlink()
        case "random tensors":
            tensors.write_bytes(bytes(range(256)) * 20)
        case "torn state":
            state.write_text(state.read_text()[:-30])
        case "no schema":
            state.write_text("{}")
        case "a list":
            state.write_text("[]")
        case "no optimizer":
            state.write_text(json.dumps({"schema": 1, "iteration": 1}))


@pytest.mark.parametrize(
    "how",
    ["torn tensors", "no tensors", "random tensors", "torn state", "no schema", "a list", "no optimizer"],
)
def test_a_damaged_checkpoint_is_one_sentence_with_a_cure(tmp_path, how):
    Saves(1).save_checkpoint(str(tmp_path / "00001"))
    damage(tmp_path / "00001", how)
    with pytest.raises(CheckpointError, match=r"cannot be read.*delete that folder") as told:
        checkpoint.read(tmp_path / "00001")
    assert "\n" not in str(told.value)


def test_after_deleting_a_damaged_checkpoint_the_one_before_it_is_the_latest(tmp_path):
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(Saves(1), 1)
    damaged = checkpoints.save(Saves(2), 2)
    for file in damaged.iterdir():
        file.unlink()
    damaged.rmdir()
    assert number_in(checkpoints.latest()) == 1


def test_a_newer_schema_is_refused_in_one_sentence(tmp_path):
    Saves(1).save_checkpoint(str(tmp_path / "c"))
    state = json.loads((tmp_path / "c" / "state.json").read_text())
    (tmp_path / "c" / "state.json").write_text(json.dumps({**state, "schema": checkpoint.SCHEMA + 1}))
    with pytest.raises(CheckpointError, match=r"schema 2.*install a newer palaestra"):
        checkpoint.read(tmp_path / "c")
