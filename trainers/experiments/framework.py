"""Experiments: a claim, its treatment, its matched null arms, and everything needed to run it again.

Words. An *arm* is one way of doing it, a *cell* is one arm with one seed. Cells are independent: each runs in a process
of its own, is resumable, and leaves ``cell.json`` in its folder when it is done. A *measure* is a number that a cell
reports; the experiment's JSON holds, for every arm and measure, all values, their mean and their 95 % interval over
seeds (Student's), beside what is known exactly.

    runs/experiments/NAME/SCALE/ARM-SEED/cell.json    what a cell measured
    results/NAME.json    all cells, hardware, versions; marked partial while cells are missing. Cells that were measured
                         elsewhere, by the same source, are kept in it
    RESULTS.md           rendered from results/*.json by `palaestra experiment --render`

A null result, honestly measured, is a result; a number that no command reproduces is not.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.metadata
import inspect
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from palaestra.envs.errors import PalaestraError, UnknownName
from palaestra.trainers.summary import mean_interval

Scale = Literal["cpu", "gpu"]
VERSIONS = ("palaestra", "torch", "transformers", "peft", "ray", "open_spiel", "numpy")


class ExperimentError(PalaestraError, RuntimeError):
    """A cell that failed; the others are kept."""


class NotAvailable(PalaestraError):
    """An arm cannot be measured here, such as one whose model fails its own check; recorded with its sentence."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of doing it; ``null`` marks the controls."""

    name: str
    sentence: str
    null: bool = False


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that every cell reports.

    Attributes:
        key: Its name in ``cell.json``.
        sentence: What it is, with unit and direction.
        exact: Closed form or oracle value, where one is known.
        aim: What the experiment hopes for, such as ``"< 0.10"``.
    """

    key: str
    sentence: str
    exact: float | None = None
    aim: str = ""


@dataclass(frozen=True, slots=True)
class Cell:
    """One arm with one seed, and the folder it works in."""

    experiment: str
    arm: str
    seed: int
    scale: Scale
    folder: Path


@dataclass(frozen=True, slots=True)
class Experiment:
    """A claim that can be run.

    Attributes:
        name: As on the command line.
        claim: What would be true if it worked, in one sentence.
        arms: Treatment first.
        measures: What the table shows.
        seconds: Planned seconds of a cell, by scale, on two CPU cores or on one GPU.
        points: Two measures by which arms are drawn as points, across and up; a panel for all arms whose names have the
            same beginning, up to ``_``.
        run: From a cell to its measures (and ``"curves"``: lists of equal length by name); must resume from
            ``cell.folder``, and raises `NotAvailable` where there is nothing to measure.
    """

    name: str
    claim: str
    arms: tuple[Arm, ...]
    measures: tuple[Measure, ...]
    seconds: dict[Scale, float]
    run: Callable[[Cell], dict[str, Any]]
    points: tuple[str, str] | None = None

    def arm(self, name: str) -> Arm:
        """Return an arm by name."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise UnknownName(f"arm of {self.name}", name, [arm.name for arm in self.arms])

    def plan(self, seeds: int, scale: Scale, jobs: int) -> str:
        """Return the planned cost as a sentence: arms × seeds × seconds."""
        cells = len(self.arms) * seeds
        minutes = cells * self.seconds[scale] / 60 / max(1, jobs)
        return (
            f"{self.name}: {len(self.arms)} arms x {seeds} seeds x about {self.seconds[scale] / 60:.0f} min = {cells} "
            f"cells, about {minutes:.0f} min with {jobs} at a time"
        )


def cells_of(experiment: Experiment, seeds: int, scale: Scale, root: Path) -> list[Cell]:
    """Return all cells, seed by seed, so that an interrupted experiment has whole seeds."""
    base = root / "runs" / "experiments" / experiment.name / scale
    return [
        Cell(experiment.name, arm.name, seed, scale, base / f"{arm.name}-{seed}")
        for seed in range(seeds)
        for arm in experiment.arms
    ]


def run_cell(experiment: Experiment, cell: Cell) -> dict[str, Any]:
    """Run one cell to its end, unless it is done, and return what it measured."""
    done = cell.folder / "cell.json"
    if done.is_file():
        measured: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        return measured
    cell.folder.mkdir(parents=True, exist_ok=True)
    began = time.perf_counter()
    try:
        found = experiment.run(cell)
    except NotAvailable as why:
        found = {"not_available": str(why)}
    measured = {"arm": cell.arm, "seed": cell.seed, **found, "hardware": hardware(), "versions": versions()}
    measured["seconds"] = round(time.perf_counter() - began, 1)
    part = cell.folder / "cell.json.part"
    part.write_text(json.dumps(measured) + "\n", encoding="utf-8")
    part.replace(done)
    return measured


def run_cells(
    experiment: Experiment,
    *,
    seeds: int,
    scale: Scale,
    jobs: int,
    root: Path,
    say: Callable[[str], None],
    missing: bool = False,
) -> Path:
    """Run every cell that is not done, ``jobs`` at a time, and write ``results/NAME.json`` after each.

    Args:
        experiment, seeds, scale: What is run.
        jobs: Cells that run at once.
        root: Folder that holds ``runs`` and ``results``.
        say: Told of progress.
        missing: Leave out cells that ``results/NAME.json`` holds already, such as from another machine.

    Raises:
        ExperimentError: Cells failed; what the others measured is kept.
    """
    cells = cells_of(experiment, seeds, scale, root)
    threads = max(1, (os.cpu_count() or 1) // max(1, jobs))
    failed: list[str] = []
    known = {(cell["arm"], cell["seed"]) for cell in recorded(experiment, scale, root)} if missing else set()
    waiting = []
    for cell in cells:
        if (cell.folder / "cell.json").is_file() or (cell.arm, cell.seed) in known:
            say(f"{cell.arm}, seed {cell.seed}: done before")
        else:
            waiting.append(cell)
    ended: list[Cell] = []
    began = time.perf_counter()

    def one(cell: Cell) -> None:
        name = f"{cell.arm}, seed {cell.seed}"
        cell.folder.mkdir(parents=True, exist_ok=True)
        log = cell.folder / "log.txt"
        command = [
            sys.executable,
            "-m",
            "palaestra.trainers.experiments.cell",
            cell.experiment,
            cell.arm,
            str(cell.seed),
        ]
        environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "PALAESTRA_THREADS": str(threads)}
        with log.open("a", encoding="utf-8") as file:
            done = subprocess.run(
                [*command, cell.scale, str(root)], stdout=file, stderr=subprocess.STDOUT, env=environment, check=False
            )
        if done.returncode:
            last = (log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no output"])[-1]
            failed.append(f"{name}: {last} (whole log: {log})")
            say(f"{name}: failed")
        else:
            say(f"{name}: done")
        write_results(experiment, seeds=seeds, scale=scale, root=root)
        ended.append(cell)
        if left := len(waiting) - len(ended):
            minutes = (time.perf_counter() - began) / len(ended) * left / 60
            say(f"{len(cells) - left} of {len(cells)} cells; about {minutes:.0f} min left")

    with ThreadPoolExecutor(max_workers=jobs) as pool:
        list(pool.map(one, waiting))
    path = write_results(experiment, seeds=seeds, scale=scale, root=root)
    if failed:
        raise ExperimentError(
            f"{len(failed)} of {len(cells)} cells of {experiment.name} failed; the first: {failed[0]}"
        )
    return path


def write_results(experiment: Experiment, *, seeds: int, scale: Scale, root: Path) -> Path:
    """Gather the finished cells into ``results/NAME.json`` (``NAME-gpu.json`` at GPU scale)."""
    cells = cells_of(experiment, seeds, scale, root)
    here = {"hardware": hardware(), "versions": versions()}
    found = {(cell["arm"], cell["seed"]): cell for cell in recorded(experiment, scale, root)}
    for cell in cells:
        if (path := cell.folder / "cell.json").is_file():
            found[cell.arm, cell.seed] = {**here, **json.loads(path.read_text(encoding="utf-8"))}
    seeds = max([seeds, *(seed + 1 for _, seed in found)])
    cells = cells_of(experiment, seeds, scale, root)
    done = [found[key] for cell in cells if (key := (cell.arm, cell.seed)) in found]
    arms: dict[str, Any] = {}
    for arm in experiment.arms:
        mine = [cell for cell in done if cell["arm"] == arm.name]
        measures = {}
        for measure in experiment.measures:
            values = [cell[measure.key] for cell in mine if cell.get(measure.key) is not None]
            measures[measure.key] = {"values": values, **_rounded(asdict(mean_interval(values)))}
        arms[arm.name] = {
            "sentence": arm.sentence,
            "null": arm.null,
            "seeds": [cell["seed"] for cell in mine],
            "not_available": sorted({cell["not_available"] for cell in mine if "not_available" in cell}),
            "seconds": [cell["seconds"] for cell in mine],
            "measures": measures,
            "curves": {str(cell["seed"]): cell["curves"] for cell in mine if "curves" in cell},
        }
    whole = {
        "experiment": experiment.name,
        "claim": experiment.claim,
        "scale": scale,
        "definition": definition(experiment),
        "command": f"palaestra experiment {experiment.name} --seeds {seeds} --scale {scale}",
        "partial": len(done) < len(cells),
        "cells": len(cells),
        "cells_done": len(done),
        "measures": [asdict(measure) for measure in experiment.measures],
        "points": experiment.points,
        "arms": arms,
        "measured": [{key: value for key, value in cell.items() if key != "curves"} for cell in done],
        **here,
    }
    path = _results_file(experiment, scale, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
    return path


def _results_file(experiment: Experiment, scale: Scale, root: Path) -> Path:
    return root / "results" / (f"{experiment.name}.json" if scale == "cpu" else f"{experiment.name}-{scale}.json")


def definition(experiment: Experiment) -> str:
    """Return 16 hex digits over the code of the experiment's module, without comments and docstrings: cells of another
    one are not comparable."""
    tree = ast.parse(inspect.getsource(sys.modules[experiment.run.__module__]))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            node.body = [line for line in node.body if not _is_remark(line)] or [ast.Pass()]
    return hashlib.blake2b(ast.unparse(tree).encode(), digest_size=8).hexdigest()


def _is_remark(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def recorded(experiment: Experiment, scale: Scale, root: Path) -> list[dict[str, Any]]:
    """Return the cells that ``results/NAME.json`` holds, none if they were measured by another definition."""
    path = _results_file(experiment, scale, root)
    if not path.is_file():
        return []
    whole = json.loads(path.read_text(encoding="utf-8"))
    if whole.get("definition") != definition(experiment):
        return []
    curves = {name: arm["curves"] for name, arm in whole["arms"].items()}
    return [
        {**cell, "curves": own} if (own := curves[cell["arm"]].get(str(cell["seed"]))) else cell
        for cell in whole["measured"]
    ]


def hardware() -> dict[str, Any]:
    """Return what a reader needs to know of this machine."""
    model = platform.processor() or platform.machine()
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    except OSError:
        pass
    found: dict[str, Any] = {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version()}
    import torch

    if torch.cuda.is_available():
        found["gpu"] = torch.cuda.get_device_name(0)
    return found


def versions() -> dict[str, str]:
    """Return the installed versions that results depend on."""
    found = {}
    for name in VERSIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _rounded(data: dict[str, Any]) -> dict[str, Any]:
    """Return floats with 5 digits and NaN as null, so that result files are stable and valid JSON."""
    return {
        key: (None if value != value else round(value, 5)) if isinstance(value, float) else value
        for key, value in data.items()
    }


def names_of(experiments: Sequence[Experiment]) -> list[str]:
    """Return the experiments' names."""
    return [experiment.name for experiment in experiments]
