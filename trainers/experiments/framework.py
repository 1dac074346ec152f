"""Experiments: a claim, its treatment, its matched null arms, and everything needed to run it again.

Words. An *arm* is one way of doing it, a *cell* is one arm with one seed. Cells are independent: each runs in a process
of its own, is resumable, and leaves ``cell.json`` in its folder when it is done. A *measure* is a number that a cell
reports; the experiment's JSON holds, for every arm and measure, all values, their mean and their 95 % interval over
seeds (Student's), beside what is known exactly.

    runs/experiments/NAME/SCALE/ARM-SEED/cell.json    what a cell measured
    results/NAME.json    all cells, with the hardware and the versions that they were measured with; marked partial
                         while cells are missing. Cells that were measured elsewhere, by the same definition of their
                         arm, are kept in it
    RESULTS.md           rendered from results/*.json by `palaestra experiment --render`

A null result, honestly measured, is a result; a number that no command reproduces is not.
"""

from __future__ import annotations

import ast
import hashlib
import importlib
import importlib.metadata
import inspect
import json
import os
import platform
import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

from filelock import FileLock

from palaestra.envs.errors import PalaestraError, UnknownName
from palaestra.trainers.summary import mean_interval

Scale = Literal["cpu", "gpu"]
DECIDES = {"Arm": ("name",), "Measure": ("key",), "Experiment": ("name", "arms", "run", "decides")}
"""What of an entry decides what its cells measure; the rest is said or shown."""
VERSIONS = ("palaestra", "torch", "transformers", "peft", "ray", "open_spiel", "numpy")


class ExperimentError(PalaestraError, RuntimeError):
    """A cell that failed; the others are kept."""


class NotAvailable(PalaestraError):
    """An arm cannot be measured here, such as one whose model fails its own check; recorded with its sentence."""


@dataclass(frozen=True, slots=True)
class Arm:
    """One way of doing it.

    Attributes:
        name: As in its cells' folders.
        sentence: What it is.
        null: Whether it is a control.
        module: The module whose ``run`` makes its cells in place of the experiment's, by its full name; so an arm of
            another kind can be added beside cells that were measured. Nothing is trained in it.
    """

    name: str
    sentence: str
    null: bool = False
    module: str = ""


@dataclass(frozen=True, slots=True)
class Measure:
    """A number that cells report; None, or left out, in arms where there is nothing to measure.

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
            same beginning, up to ``_``, and one for those that have it to themselves.
        run: From a cell to its measures (and ``"curves"``: lists of equal length by name, the first of which is the
            axis, or a list of such where there are several axes); must resume from
            ``cell.folder``, and raises `NotAvailable` where there is nothing to measure.
        incentive: From a cell to what it pays to do what its arm is about, beyond not doing it (in units of return);
            None where nothing is trained. An arm that does not pay is not run unless it is a null arm: that nothing
            was learned would be about the payoff.
        decides: From an arm's name to all that decides its cells beside the code of ``run``'s module, as data whose
            ``repr`` says everything; then the arms stand in a module of their own, and one can be added beside cells
            that were measured.
    """

    name: str
    claim: str
    arms: tuple[Arm, ...]
    measures: tuple[Measure, ...]
    seconds: dict[Scale, float]
    run: Callable[[Cell], dict[str, Any]]
    points: tuple[str, str] | None = None
    incentive: Callable[[Cell], float | None] | None = None
    decides: Callable[[str], object] | None = None

    def arm(self, name: str) -> Arm:
        """Return an arm by name."""
        for arm in self.arms:
            if arm.name == name:
                return arm
        raise UnknownName(f"arm of {self.name}", name, [arm.name for arm in self.arms])

    def runner(self, arm: str) -> Callable[[Cell], dict[str, Any]]:
        """Return what makes an arm's cells."""
        module = self.arm(arm).module
        found: Callable[[Cell], dict[str, Any]] = importlib.import_module(module).run if module else self.run
        return found

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
    """Run one cell to its end, unless it is done, and return what it measured.

    Raises:
        ExperimentError: It was measured by another definition of its arm.
    """
    cell.folder.mkdir(parents=True, exist_ok=True)
    with FileLock(cell.folder / "cell.lock"):  # another cell may begin as this one ends, and train it at the same time
        return _run_alone(experiment, cell)


def _run_alone(experiment: Experiment, cell: Cell) -> dict[str, Any]:
    done = cell.folder / "cell.json"
    if done.is_file():
        measured: dict[str, Any] = json.loads(done.read_text(encoding="utf-8"))
        if not _is_current(experiment, measured):
            raise ExperimentError(
                f"{cell.folder} holds a cell of another definition of arm {cell.arm!r} of {experiment.name}; remove "
                "that folder to measure it anew."
            )
        return measured
    began = time.perf_counter()
    try:
        _check_incentive(experiment, cell)
        found = experiment.runner(cell.arm)(cell)
    except NotAvailable as why:
        found = {"not_available": str(why)}
    made_by = {"definition": definition(experiment, cell.arm), "hardware": hardware(), "versions": versions()}
    measured = {"arm": cell.arm, "seed": cell.seed, **found, **made_by}
    measured["seconds"] = round(time.perf_counter() - began, 1)
    part = cell.folder / "cell.json.part"
    part.write_text(json.dumps(measured) + "\n", encoding="utf-8")
    part.replace(done)
    return measured


def _check_incentive(experiment: Experiment, cell: Cell) -> None:
    arm = experiment.arm(cell.arm)
    paid = None if experiment.incentive is None or arm.module else experiment.incentive(cell)
    if paid is not None and paid <= 0 and not arm.null:
        raise NotAvailable(f"it pays {paid:.3g} more than not doing it, so what is not learned would say nothing")


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
            measured = json.loads(path.read_text(encoding="utf-8"))
            if _is_current(experiment, measured):
                found[cell.arm, cell.seed] = {"definition": definition(experiment, cell.arm), **here, **measured}
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
        "command": f"palaestra experiment {experiment.name} --seeds {seeds} --scale {scale}",
        "partial": len(done) < len(cells),
        "cells": len(cells),
        "cells_done": len(done),
        "measures": [asdict(measure) for measure in experiment.measures],
        "points": experiment.points,
        "arms": arms,
        "measured": [{key: value for key, value in cell.items() if key != "curves"} for cell in done],
        "hardware": _apart([cell["hardware"] for cell in done if "hardware" in cell]) or here["hardware"],
        "versions": _versions_of([cell["versions"] for cell in done if "versions" in cell]) or here["versions"],
    }
    path = _results_file(experiment, scale, root)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
    return path


def _apart(machines: list[dict[str, Any]]) -> Any:
    """Return the machine that cells were measured on, a list of all that differ, or None for no cell."""
    found = list({json.dumps(one, sort_keys=True): one for one in machines}.values())
    return found[0] if len(found) == 1 else found or None


def _versions_of(cells: list[dict[str, str]]) -> dict[str, str]:
    """Return the version of every package that cells were measured with, or all that differ, as ``1.0 and 1.1``."""
    names = {name: None for cell in cells for name in cell}
    return {name: " and ".join(sorted({cell[name] for cell in cells if name in cell})) for name in names}


def _results_file(experiment: Experiment, scale: Scale, root: Path) -> Path:
    return root / "results" / (f"{experiment.name}.json" if scale == "cpu" else f"{experiment.name}-{scale}.json")


def definition(experiment: Experiment, arm: str | None = None) -> str:
    """Return 16 hex digits over the code that decides an arm's cells; cells of another one are not comparable.

    That is the experiment's module without comments, docstrings, what only says or shows what was measured (claims,
    sentences, aims, points, planned seconds), and the entries of other arms, so that an arm can be added beside cells
    that were measured. An entry is an ``Arm("name", ...)`` in a tuple or list; one that is made in another way, such as
    in a comprehension, counts for all arms. An experiment that says what `decides` has that in the place of entries. An
    arm with a module of its own is defined by that.

    Args:
        arm: None for the whole module, the entries of all arms included.
    """
    known = arm in {one.name for one in experiment.arms}
    run = experiment.runner(arm) if arm is not None and known else experiment.run
    tree = ast.parse(inspect.getsource(sys.modules[run.__module__]))
    for node in ast.walk(tree):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)):
            node.body = [line for line in node.body if not _is_remark(line)] or [ast.Pass()]
        elif isinstance(node, (ast.Tuple, ast.List)) and arm is not None:
            node.elts = [one for one in node.elts if _named_arm(one) in (None, arm)]
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in DECIDES:
            decides = DECIDES[node.func.id]
            node.args = node.args[: len(decides)]
            node.keywords = [one for one in node.keywords if one.arg in decides]
    code = ast.unparse(tree)
    if experiment.decides is not None and run is experiment.run:
        code += repr([experiment.decides(one.name) for one in experiment.arms if arm in (None, one.name)])
    return hashlib.blake2b(code.encode(), digest_size=8).hexdigest()


def _named_arm(node: ast.expr) -> str | None:
    """Return the name of the arm that an expression such as ``Arm("name", ...)`` makes."""
    match node:
        case ast.Call(func=ast.Name(id="Arm"), args=[ast.Constant(value=str(name)), *_]):
            return name
    return None


def _is_current(experiment: Experiment, measured: dict[str, Any]) -> bool:
    """Say whether a cell was measured by its arm as it is defined now; one from before cells said by what, is taken to
    be."""
    if measured["arm"] not in {arm.name for arm in experiment.arms}:
        return False
    return "definition" not in measured or measured["definition"] == definition(experiment, measured["arm"])


def _is_remark(line: ast.stmt) -> bool:
    return isinstance(line, ast.Expr) and isinstance(line.value, ast.Constant) and isinstance(line.value.value, str)


def recorded(experiment: Experiment, scale: Scale, root: Path) -> list[dict[str, Any]]:
    """Return the cells that ``results/NAME.json`` holds, without those that were measured by another definition."""
    path = _results_file(experiment, scale, root)
    if not path.is_file():
        return []
    whole = json.loads(path.read_text(encoding="utf-8"))
    found = []
    for cell in whole.get("measured", []):  # the first files had none
        # files from before each cell said by which definition it was measured say it once, over the whole module
        if "definition" not in cell and whole.get("definition") != definition(experiment):
            continue
        if _is_current(experiment, cell):
            curves = whole["arms"][cell["arm"]]["curves"].get(str(cell["seed"]))
            mine = {"definition": definition(experiment, cell["arm"]), **cell}
            found.append({**mine, "curves": curves} if curves else mine)
    return found


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
