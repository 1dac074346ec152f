"""The package list: every folder with an `__init__.py` inside a room, as a package of the `palaestra` namespace.

A subpackage that nobody listed would import from an editable install and be missing from the wheel, so nobody lists
them by hand. Everything else about the package is in pyproject.toml; tests/project/test_packaging.py builds a wheel
and compares it with what git tracks.
"""

from pathlib import Path

from setuptools import setup

ROOMS = ("envs", "agents", "trainers", "interp", "scripts")


def packages() -> list[str]:
    """`envs/games/__init__.py` gives `palaestra.envs.games`."""
    root = Path(__file__).parent
    markers = sorted(path.relative_to(root) for room in ROOMS for path in (root / room).rglob("__init__.py"))
    return [".".join(("palaestra", *marker.parent.parts)) for marker in markers]


setup(packages=packages())
