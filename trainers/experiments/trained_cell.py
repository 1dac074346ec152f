"""Training one cell of an experiment: measured as it goes, saved as it goes, and taken up where it was stopped."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import Tensor

from palaestra.trainers import checkpoint, cluster
from palaestra.trainers.algorithm import SelfPlay, SelfPlayConfig
from palaestra.trainers.checkpoint import Checkpoints
from palaestra.trainers.config import RunConfig
from palaestra.trainers.experiments.framework import Cell, Experiment, run_cell
from palaestra.trainers.learner import TokenLearner

Point = dict[str, Any]


def threads() -> int:
    """Return the torch threads that a cell may use; 0 for all cores."""
    return int(os.environ.get("PALAESTRA_THREADS", "0"))


def trained_curve(
    cell: Cell,
    config: RunConfig,
    measure: Callable[[SelfPlay, list[Point]], Point],
    *,
    every: int,
    save_every: int = 0,
    start: Cell | None = None,
    made: type[SelfPlay] = SelfPlay,
) -> list[Point]:
    """Train a cell to its end and return its curve: a point before, after every ``every`` iterations, and at the end.

    Args:
        cell: Its folder holds checkpoints, ``curve.jsonl``, and at the end the adapter.
        config: The run.
        measure: From the algorithm and the points so far to a point; ``iteration`` is added to it.
        every: Iterations between points.
        save_every: Iterations between checkpoints, a multiple of ``every``; 0 saves with every point.
        start: A trained cell whose adapters this one begins with; the reference is the base all the same.
        made: The algorithm; another one learns from something else than matches of the policy.
    """
    curve_file = cell.folder / "curve.jsonl"
    with algorithm_of(cell, config, made) as (algorithm, checkpoints):
        lines = curve_file.read_text(encoding="utf-8").splitlines() if curve_file.is_file() else []
        curve = [point for line in lines if (point := json.loads(line))["iteration"] <= algorithm.training_iteration]

        def add() -> None:
            curve.append({"iteration": algorithm.training_iteration, **measure(algorithm, curve)})

        if not curve:
            if start is not None:
                _begin_with(algorithm, start)
            add()
        while algorithm.training_iteration < config.iterations:
            algorithm.train()
            last = algorithm.training_iteration == config.iterations
            if algorithm.training_iteration % every == 0 or last:
                add()
            if algorithm.training_iteration % (save_every or every) == 0 or last:
                curve_file.write_text("".join(json.dumps(point) + "\n" for point in curve), encoding="utf-8")
                checkpoints.save(algorithm, algorithm.training_iteration)
        _publish(algorithm, cell.folder)
    return curve


def _publish(algorithm: SelfPlay, folder: Path) -> None:
    """Leave what was trained as PEFT folders, which every command reads."""
    names = algorithm.run.adapter_names()
    for name in names:
        final = folder / ("adapter" if len(names) == 1 else f"adapter-{name}")
        shutil.rmtree(final, ignore_errors=True)
        algorithm.write(algorithm.weights(name), final, name, algorithm.training_iteration)


def _begin_with(algorithm: SelfPlay, trained: Cell) -> None:
    """Give an algorithm that has not begun the adapters of a cell's last checkpoint, and nothing else of it."""
    latest = Checkpoints(trained.folder / "checkpoints", keep=1).latest()
    assert latest is not None, f"{trained.folder} was trained"
    _, state = checkpoint.read(Path(latest))
    for name in algorithm.run.adapter_names():
        algorithm._learners(_set_weights, name=name, tensors=state.adapters[name])
    algorithm.publish()


def _set_weights(learner: TokenLearner, name: str, tensors: Mapping[str, Tensor]) -> None:
    learner.policy.set_weights(name, tensors)


@contextmanager
def algorithm_of(
    cell: Cell, config: RunConfig, made: type[SelfPlay] = SelfPlay
) -> Iterator[tuple[SelfPlay, Checkpoints]]:
    """Run with a cell's algorithm as its last checkpoint left it, or as it starts."""
    checkpoints = Checkpoints(cell.folder / "checkpoints", keep=1)
    checkpoints.folder.mkdir(parents=True, exist_ok=True)
    with cluster.connected():
        algorithm: SelfPlay = SelfPlayConfig(made).self_play(config).build_algo()
        try:
            if (latest := checkpoints.latest()) is not None:
                algorithm.load_checkpoint(str(latest))
            yield algorithm, checkpoints
        finally:
            algorithm.stop()


def beside(cell: Cell, experiment: Experiment, arm: str) -> Cell:
    """Return a cell of another experiment with the same seed and scale, trained here and now if it is not there."""
    folder = cell.folder.parents[2] / experiment.name / cell.scale / f"{arm}-{cell.seed}"
    trained = Cell(experiment.name, arm, cell.seed, cell.scale, folder)
    run_cell(experiment, trained)
    return trained
