"""A run is the same on one machine and on a cluster, whose workers get Palaestra as a wheel."""

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from palaestra.trainers import cluster
from palaestra.trainers.cluster import ClusterError, wheel

ROOT = Path(__file__).parents[2]


def test_what_is_shipped_holds_every_room_and_its_data(tmp_path):
    packed = zipfile.ZipFile(wheel(tmp_path))
    names = packed.namelist()
    [metadata] = [name for name in names if name.endswith("/METADATA")]
    assert b"Name: palaestra" in packed.read(metadata)
    assert b"Requires-Dist" not in packed.read(metadata)  # the workers have what it needs
    rooms = ("envs", "agents", "trainers", "interp", "scripts")
    tracked = subprocess.run(["git", "ls-files", *rooms], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert {f"palaestra/{line}" for line in tracked.split() if (ROOT / line).is_file()} <= set(names)


def test_a_wheel_that_cannot_be_built_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(ClusterError, match=r"cannot be packed for the cluster"):
        wheel(tmp_path)


@pytest.mark.parametrize(
    ("error", "address", "said"),
    [
        (Exception("The current node timed out during startup.\n\nThis could be"), None, "The current node timed out"),
        (PermissionError(13, "Permission denied", "/tmp/ray"), None, "Permission denied"),
        (TypeError(), None, "cannot be started on this machine: TypeError. Its logs"),
        (ConnectionError("ray cluster gone."), "auto", "cluster at 'auto' cannot be joined: ray cluster gone. Check"),
    ],
)
def test_a_ray_that_does_not_start_is_one_sentence(error, address, said, monkeypatch):
    import ray

    def fails(**options):
        raise error

    monkeypatch.setattr(ray, "init", fails)
    monkeypatch.setattr(ray, "is_initialized", lambda: False)
    monkeypatch.setattr(cluster, "wheel", lambda folder: folder)
    with pytest.raises(ClusterError) as caught, cluster.connected(address):
        pass
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


RUN = """
import json, os, sys, threading
import ray
from ray.cluster_utils import Cluster

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
cluster.add_node(num_cpus=1)

from palaestra.trainers import algorithm, run
from palaestra.trainers.config import parse_config

def where(runner):
    import palaestra.envs, palaestra.trainers.runner
    node = ray.get_runtime_context().get_node_id()
    return palaestra.envs.__file__, palaestra.trainers.runner.__file__, node, os.getcwd()

class Watch(run.Silence):
    def iterated(self, summary, left):
        print(json.dumps({"games": summary.games}), flush=True)

seen = []
publish = algorithm.SelfPlay.publish
def spy(self, *args, **kwargs):
    if not seen:
        seen.append(self.env_runner_group.foreach_env_runner(where, local_env_runner=False))
    return publish(self, *args, **kwargs)
algorithm.SelfPlay.publish = spy

data = json.loads(sys.argv[1])
data["resources"] = {"runners": 2, "threads": 1, "address": cluster.address}
folder = run.train(parse_config(data), sys.argv[2], Watch())
print(json.dumps({"seen": seen[0], "adapter": (folder / "adapter" / "adapter_model.safetensors").is_file()}))
cluster.shutdown()
"""


@pytest.mark.slow
def test_two_nodes_and_a_strange_working_directory_play_with_the_shipped_wheel(tmp_path):
    import json

    from tests.trainers.run_kit import data

    game = {**data()["games"][0], "reply": {"max_tokens": 3}}
    plan = json.dumps(data(games=[game], credit={"rule": "role_baseline"}))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", RUN, plan, "run"], cwd=elsewhere, capture_output=True, text=True, timeout=500,
        env={**os.environ, "PYTHONPATH": ""}, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    *iterations, last = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    assert [one["games"] for one in iterations] == [6, 6]
    assert last["adapter"]
    assert len({node for *_, node, _ in last["seen"]}) == 2
    for envs, runner, _, folder in last["seen"]:
        assert "py_modules_files" in envs, "the worker imported another palaestra than the one it was sent"
        assert "py_modules_files" in runner
        assert not Path(folder).is_relative_to(ROOT)
    replays = list((elsewhere / "run" / "replays" / "train").glob("*.jsonl"))
    assert len(replays) == 12


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "no-such-host.invalid:6379"])
def test_a_cluster_that_does_not_answer_is_one_sentence_at_once(address):
    with pytest.raises(ClusterError, match=rf"the Ray cluster at '{address}' cannot be reached"):
        cluster._knock(address)
