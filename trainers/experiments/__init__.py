"""Experiments by name; each is one module, and `palaestra.trainers.experiments.framework` has the rules."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path

from palaestra.envs.errors import UnknownName
from palaestra.trainers.experiments.framework import Experiment, Scale, run_cells
from palaestra.trainers.experiments.render import render

_MODULES = (
    "critic_freezing",
    "distorted_traces",
    "encoded_reasoning",
    "faithfulness",
    "hindsight",
    "kuhn",
    "open_minds",
    "principles",
    "steganography",
    "surprise",
    "thinktoks",
    "tic_tac_toe",
)


def _all() -> dict[str, Experiment]:
    found: list[Experiment] = [import_module(f"{__name__}.{name}").EXPERIMENT for name in _MODULES]
    return {one.name: one for one in found}


def names() -> list[str]:
    """Return the names of all experiments."""
    return list(_all())


def find(name: str) -> Experiment:
    """Return an experiment.

    Raises:
        UnknownName: No such experiment; the nearest is offered.
    """
    known = _all()
    if name not in known:
        raise UnknownName("experiment", name, known, f"There are {', '.join(known)}.")
    return known[name]


def run_experiment(
    name: str,
    *,
    seeds: int = 3,
    scale: Scale = "cpu",
    jobs: int = 1,
    root: Path | None = None,
    say: Callable[[str], None] = print,
    missing: bool = False,
) -> Path:
    """Run an experiment's missing cells; return its result file. States the planned cost first."""
    experiment = find(name)
    say(experiment.plan(seeds, scale, jobs))
    return run_cells(experiment, seeds=seeds, scale=scale, jobs=jobs, root=root or Path.cwd(), say=say, missing=missing)


__all__ = ["find", "names", "render", "run_experiment"]
