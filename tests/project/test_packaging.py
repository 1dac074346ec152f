"""The wheel holds what git tracks: every module, every data file, `py.typed`, under the names people import."""

import subprocess
import sys
import tomllib
import zipfile
from email import message_from_bytes
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("envs", "agents", "trainers", "interp", "scripts")


def tracked(*paths: str) -> list[str]:
    listing = subprocess.run(["git", "ls-files", "-z", *paths], cwd=ROOT, capture_output=True, check=True)
    return [name for name in listing.stdout.decode().split("\0") if name and (ROOT / name).exists()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory) -> zipfile.ZipFile:
    """Built from a copy of the tracked files, so that nothing lying about in the tree can hide an omission."""
    source = tmp_path_factory.mktemp("source")
    for name in tracked(*ROOMS, "pyproject.toml", "setup.py", "README.md", "LICENSE"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    build = "from setuptools.build_meta import build_wheel; build_wheel('dist')"
    done = subprocess.run([sys.executable, "-c", build], cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    (path,) = (source / "dist").glob("*.whl")
    return zipfile.ZipFile(path)


def test_the_wheel_holds_what_git_tracks(wheel):
    expected = {f"palaestra/{name}" for name in tracked(*ROOMS)}
    shipped = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert shipped == expected, f"missing {sorted(expected - shipped)}, stray {sorted(shipped - expected)}"
    assert len(expected) > 2 * len(ROOMS)


def test_every_room_is_typed(wheel):
    assert {f"palaestra/{room}/py.typed" for room in ROOMS} <= set(wheel.namelist())


def test_the_wheel_says_what_pyproject_says(wheel):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (name,) = (name for name in wheel.namelist() if name.endswith("dist-info/METADATA"))
    metadata = message_from_bytes(wheel.read(name))
    assert (metadata["Name"], metadata["Version"]) == ("palaestra", project["version"])
    assert set(metadata.get_all("Provides-Extra")) == set(project["optional-dependencies"])


def test_the_core_has_neither_torch_nor_ray():
    core = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert not [line for line in core if line.startswith(("torch", "ray", "transformers", "peft", "vllm"))]


def test_constraints_pin_every_direct_dependency_once():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = [line.split("==")[0] for line in (ROOT / "constraints.txt").read_text().splitlines() if line[:1] != "#"]
    assert len(pins) == len(set(pins))
    extras = project["optional-dependencies"]
    asked = [*project["dependencies"], *(line for name, lines in extras.items() if name != "vllm" for line in lines)]
    names = {line.partition("[")[0].partition(">")[0].lower().replace("_", "-") for line in asked} - {"palaestra"}
    assert names <= set(pins), f"not pinned in constraints.txt: {sorted(names - set(pins))}"
