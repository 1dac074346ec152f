"""The whole analysis of one model: sweeps, fits, operations, differences, gradients, patching, and null arms; a folder.

    OUT/arithmetic.json       everything that is said
    OUT/sweeps/ARM/*.safetensors   the maps, written as they are finished; the same call goes on from them
    OUT/index.html            the page (`palaestra.interp.arithmetic.page`)

Three *arms* are swept alike: ``adapter`` (the model as it was named), ``base`` (the same without its adapter) and
``random`` (its architecture with random weights, the null). Only the first is analysed part by part.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from palaestra.agents.models.cache import Say, say_to_stderr
from palaestra.agents.models.disk import replace_text
from palaestra.envs.errors import OptionError, PalaestraError
from palaestra.envs.seeding import derive
from palaestra.interp.arithmetic import sweep as sweeping
from palaestra.interp.arithmetic.base import resolved
from palaestra.interp.arithmetic.differences import foretell, steps
from palaestra.interp.arithmetic.fits import TERMS, curves, fit, fit_models, fourier_columns, spectrum, unique
from palaestra.interp.arithmetic.operations import judge_maps
from palaestra.interp.arithmetic.problems import KINDS, STYLES, kind_named
from palaestra.interp.arithmetic.sweep import Grid, Sweep, default_grids
from palaestra.interp.folder import begin, contents_of
from palaestra.interp.importance.exact import exact, ranked
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs

Result: TypeAlias = dict[str, Any]
"""JSON: what `analyse` returns and ``arithmetic.json`` holds."""
ARMS = ("adapter", "base", "random")


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is done.

    Attributes:
        kinds: Names of the kinds of problem; each is swept as asked and reversed. style: Their wording.
        decades: Tens that each number runs over; costs grow with the square.
        parts: Components, and layer parts, that are shown one by one.
        pairs: Problems with an opposite for patching. patched: Components that are measured by patching.
        stepped: Steps at which gradients are taken. points: Midpoints of their integrals.
        relabellings: Maps with relabelled digits that make the null.
        batch: Prompts in a pass.
        seed: Of everything that is drawn.
    """

    kinds: tuple[str, ...] = ("cheaper", "packs")
    style: str = "plain"
    decades: int = 3
    parts: int = 6
    pairs: int = 32
    patched: int = 10
    stepped: int = 96
    points: int = 6
    relabellings: int = 100
    batch: int = 32
    seed: int = 0

    def __post_init__(self) -> None:
        for name in self.kinds:
            kind_named(name)
        if not self.kinds:
            raise OptionError(f"no kind of problem is named; name some of {', '.join(KINDS)}.")
        if self.style not in STYLES:
            raise OptionError(f"style {self.style!r} is unknown; it is one of {', '.join(STYLES)}.")
        for name, least in (("decades", 2), ("parts", 1), ("pairs", 4), ("patched", 3), ("stepped", 12), ("points", 1),
                            ("relabellings", 19), ("batch", 1)):  # fmt: skip
            if getattr(self, name) < least:
                raise OptionError(f"{name} is {getattr(self, name)}; it must be at least {least}.")


def analyse(opened: OpenModel, plan: Plan, out: Path, say: Say = say_to_stderr) -> Result:
    """Analyse a model, writing ``arithmetic.json`` and the maps into a folder; see the module's docstring.

    Raises:
        InterpError: The folder holds another analysis or cannot be written.
        PalaestraError: The tokenizer or the numbers do not fit.
    """
    described = {"model": opened.name, "plan": json.loads(json.dumps(asdict(plan)))}
    begin(out, described, contents_of(opened), ("arithmetic.json", "summary.json", "index.html", "sweeps/*/*"))
    grids = default_grids(plan.kinds, plan.style, plan.decades)
    progress = _Progress(say)
    begun = time.monotonic()
    arms = {arm: _sweeps(opened, arm, grids, plan, out / "sweeps" / arm, progress) for arm in _arms(opened)}
    main = arms["adapter" if "adapter" in arms else "base"]
    result: Result = {
        **described,
        "teaching": taught(opened.name),
        "arms": {arm: _arm(sweeps, plan) for arm, sweeps in arms.items()},
        "sweeps": [],
    }
    for found in main:
        progress.stage(f"{found.grid.name}: fits")
        twin = next(one for one in main if one.grid == replace(found.grid, reverse=not found.grid.reverse))
        result["sweeps"].append(_described(opened, found, twin, plan, progress))
    result["seconds"] = round(time.monotonic() - begun, 1)
    try:
        replace_text(out / "arithmetic.json", json.dumps(_finite(result), indent=1) + "\n")
    except OSError as error:
        raise PalaestraError(f"{out} could not be written ({error.strerror or error}); free some space.") from None
    return _finite(result)


def read(folder: Path) -> Result:
    """Return what `analyse` wrote.

    Raises:
        PalaestraError: The folder holds no finished analysis.
    """
    try:
        found: Result = json.loads((folder / "arithmetic.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise PalaestraError(
            f"{folder} holds no finished analysis of arithmetic; `palaestra interp arithmetic MODEL --to {folder}` "
            "makes one."
        ) from None
    return found


def _arms(opened: OpenModel) -> list[str]:
    return [arm for arm in ARMS if arm != "adapter" or hasattr(opened.model, "peft_config")]


@contextmanager
def _as_arm(opened: OpenModel, arm: str, seed: int) -> Iterator[OpenModel]:
    if arm == "random":
        yield randomised(opened, seed)
    else:
        without = hasattr(opened.model, "peft_config") and arm == "base"
        with opened.model.disable_adapter() if without else nullcontext():
            yield opened


def randomised(opened: OpenModel, seed: int) -> OpenModel:
    """Return a model of the same architecture with random weights, as transformers initialises them: the null."""
    from transformers import AutoModelForCausalLM

    inner = opened.model.get_base_model() if hasattr(opened.model, "peft_config") else opened.model
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive(seed, "random weights") % 2**31)
        auto: Any = AutoModelForCausalLM
        model = auto.from_config(inner.config)
    model.to(device=opened.device, dtype=opened.dtype).eval().requires_grad_(False)
    return OpenModel(model, opened.codec, f"{opened.name}, random weights")


def _sweeps(
    opened: OpenModel, arm: str, grids: Sequence[Grid], plan: Plan, folder: Path, progress: _Progress
) -> list[Sweep]:
    missing = [grid for grid in grids if sweeping.load(grid, folder) is None]
    whole = arm != "random" and arm == _arms(opened)[0]
    progress.stage(f"{arm}: sweeps", sum(math.prod(grid.shape) for grid in missing) * (2 if whole else 1))
    if missing:
        with _as_arm(opened, arm, plan.seed) as model:
            for grid in missing:
                found = sweeping.sweep(model, grid, total=whole, batch=plan.batch, on_prompts=progress.advance)
                sweeping.save(found, folder)
    return [one for grid in grids if (one := sweeping.load(grid, folder)) is not None]


def _arm(sweeps: Sequence[Sweep], plan: Plan) -> list[Result]:
    """Return how each sweep went, and how its logit difference and layer parts are described."""
    listed = []
    for found in sweeps:
        names, maps = found.rows("direct")
        parts = [k for k, name in enumerate(names) if sweeping.layer_part(name) == name and name != "constant"]
        verdicts = judge_maps(
            ("logit difference", *(names[k] for k in parts)),
            np.concatenate([found.difference[None], maps[parts]]),
            found.difference,
            found.grid,
            seed=plan.seed,
            relabellings=plan.relabellings,
        )
        models = fit_models(found.difference.reshape(1, -1), found.grid, seed=plan.seed, relabellings=plan.relabellings)
        ordered = {one.name for one in verdicts[1:] if one.fit is not None and one.fit.p <= 0.05}
        listed.append(
            {
                "sweep": found.grid.name,
                "accuracy": found.accuracy(),
                "cells": int((found.grid.margins() != 0).sum()),
                "deviation": float(found.difference.std()),
                "operation": verdicts[0].operation,
                "fit": asdict(verdicts[0].fit) if verdicts[0].fit else None,
                "towards": verdicts[0].towards,
                "models": {name: asdict(fits[0]) for name, fits in models.items()},
                "parts": len(parts),
                "ordered_parts": len(ordered),
            }
        )
    return listed


def _described(opened: OpenModel, found: Sweep, twin: Sweep, plan: Plan, progress: _Progress) -> Result:
    grid = found.grid
    gap = float(np.abs(found.direct.sum(0) - found.difference).max())
    kinds = {
        which: _maps(*found.rows(which), twin.rows(which)[1], found, plan)
        for which in ("direct", "total")
        if len(found.rows(which)[0])
    }
    parts = [name for name in kinds["direct"] if sweeping.layer_part(name) == name and name != "constant"]
    shown = sorted(parts, key=lambda name: -kinds["direct"][name]["share"])[: plan.parts]
    progress.stage(f"{grid.name}: gradients", plan.stepped * (plan.points + 2))
    foretold = foretell(
        opened,
        grid,
        shown[:3],
        count=plan.stepped,
        points=plan.points,
        batch=plan.batch,
        seed=plan.seed,
        on_prompts=progress.advance,
    )
    progress.stage(f"{grid.name}: patching")
    return {
        "grid": {**asdict(grid), "name": grid.name, "example": grid.problems()[1].text},
        "accuracy": found.accuracy(),
        "sum_error": gap,
        "maps": kinds,
        "shown": shown,
        "curves": {
            which: {name: _curves(found, which, name) for name in _largest(kinds[which], plan.parts)} for which in kinds
        },
        "gradients": {
            "agreement": foretold.as_json(),
            "points": foretold.points,
            "steps": {
                "step": foretold.step[0].tolist(),
                "here": foretold.here[0].tolist(),
                "integrated": foretold.integrated[0].tolist(),
                "carry": foretold.carry.tolist(),
            },
        },
        "causes": _causes(opened, grid, plan),
    }


def _largest(maps: Result, count: int) -> list[str]:
    names = [name for name in maps if name != "constant"]
    return sorted(names, key=lambda name: -maps[name]["share"])[:count]


def _maps(
    names: tuple[str, ...], maps: NDArray[np.float64], twins: NDArray[np.float64], found: Sweep, plan: Plan
) -> dict[str, Result]:
    """Return, by component and layer part, everything that is said of one map, the logit difference's included."""
    grid = found.grid
    flat = maps.reshape(len(names), -1)
    verdicts = judge_maps(names, maps, found.difference, grid, seed=plan.seed, relabellings=plan.relabellings)
    models = fit_models(flat, grid, seed=plan.seed, relabellings=plan.relabellings)
    waves = fit(fourier_columns(grid), flat, grid, seed=plan.seed, relabellings=plan.relabellings)
    alone = unique(flat, grid)
    listed: dict[str, Result] = {}
    for k, verdict in enumerate(verdicts):
        listed[verdict.name] = {
            "share": verdict.share,
            "deviation": float(flat[k].std()),
            "mean": float(flat[k].mean()),
            "towards": verdict.towards,
            "operation": verdict.operation,
            "fit": asdict(verdict.fit) if verdict.fit else None,
            "candidates": {name: [one.held_out, one.null, one.p] for name, one in verdict.candidates.items()},
            "models": {name: asdict(fits[k]) for name, fits in models.items()},
            "fourier": asdict(waves[k]),
            "unique": {name: float(alone[name][k]) for name in TERMS},
            "steps": asdict(steps(maps[k], grid)),
            "with_reverse": _correlation(flat[k], twins[k].ravel()),
        }
    return listed


def _correlation(a: NDArray[np.float64], b: NDArray[np.float64]) -> float:
    if a.std() < 1e-9 or b.std() < 1e-9:
        return math.nan
    return float(np.corrcoef(a, b)[0, 1])


def _curves(found: Sweep, which: str, name: str) -> Result:
    names, maps = found.rows(which)
    one = maps[names.index(name)]
    fitted = curves(one, found.grid)
    power = spectrum(one.reshape(1, -1), found.grid)
    return {
        "f": fitted.f.tolist(),
        "g": fitted.g.tolist(),
        "h": fitted.h.tolist(),
        "rest": fitted.rest,
        "spectrum": {
            variable: {f"{at:.3g}": float(value[0]) for at, value in row.items()} for variable, row in power.items()
        },
    }


def _causes(opened: OpenModel, grid: Grid, plan: Plan) -> Result:
    """Measure by patching what components do for the right answer: from a problem with the opposite answer.

    The components are those of largest estimated effect; as many drawn at random are the null.
    """
    nodes = [name for name in opened.writers() if opened.component(name).kind in ("head", "mlp")]
    found: Result = {"rows": {}, "pairs": {}}
    chosen: list[str] = []
    for which in ("both", "a", "b"):
        clean, corrupt = sweeping.opposites(grid, plan.pairs, derive(plan.seed, grid.name, which) % 2**32, which)
        found["pairs"][which] = len(clean)
        if len(clean) < 4:
            continue
        pairs = sweeping.pairs_of(opened, clean, corrupt)
        if which == "both":
            scores = ranked(opened, pairs, nodes=nodes, count=plan.patched, batch=plan.batch)
            chosen = scores.top(plan.patched)
            measured = scores.only(chosen)
            found |= {"agreement": scores.facts["agreement"], "sign_flips": scores.facts["sign_flips"]}
            found["clean"], found["corrupt"] = float(scores.clean.mean()), float(scores.corrupt.mean())
            found["null"] = _null(opened, pairs, [one for one in nodes if one not in chosen], plan)
        else:
            measured = exact(opened, pairs, nodes=chosen, batch=plan.batch)
        for name, mean, (low, high) in zip(
            measured.names, measured.mean.tolist(), measured.interval(seed=plan.seed).tolist(), strict=True
        ):
            found["rows"].setdefault(name, {})[which] = {"mean": mean, "low": low, "high": high}
    return found


def _null(opened: OpenModel, pairs: Pairs, others: list[str], plan: Plan) -> Result:
    generator = np.random.default_rng(plan.seed)
    drawn = [others[int(k)] for k in generator.choice(len(others), size=min(plan.patched, len(others)), replace=False)]
    effects = exact(opened, pairs, nodes=drawn, batch=plan.batch).mean.abs()
    return {"components": drawn, "largest": float(effects.max()), "mean": float(effects.mean())}


def taught(source: str) -> Result | None:
    """Return how the adapter of a model source was taught; None where no ``teaching.json`` lies beside it."""
    from palaestra.agents.models.sources import ModelSource

    try:
        folder = ModelSource.parse(resolved(source)).adapter_folder()
        if folder is None:
            return None
        found: Result = json.loads((folder.parent / "teaching.json").read_text(encoding="utf-8"))
        return {name: found[name] for name in ("plan", "before", "after", "seconds")}
    except (PalaestraError, OSError, ValueError, KeyError, TypeError):
        return None


def _finite(value: Any) -> Any:
    """Return JSON with null in place of NaN, which JSON does not have."""
    if isinstance(value, dict):
        return {str(key): _finite(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


class _Progress:
    """Says what is being done, and how long it will still take, every ten seconds."""

    def __init__(self, say: Say) -> None:
        self._say = say
        self._name, self._total, self._done = "", 0, 0
        self._begun = self._shown = time.monotonic()

    def stage(self, name: str, total: int = 0) -> None:
        """Begin a stage of ``total`` units; 0 where it is not known."""
        self._name, self._total, self._done = name, total, 0
        self._begun = self._shown = time.monotonic()
        self._say(f"{name}{f' ({total} prompts)' if total else ''}")

    def advance(self, count: int) -> None:
        """Note that so many units are done."""
        self._done += count
        now = time.monotonic()
        if now - self._shown >= 10 and self._total:
            self._shown = now
            left = (now - self._begun) / self._done * max(0, self._total - self._done)
            self._say(f"{self._name}: {min(self._done, self._total)} of {self._total}, {left:.0f} s left")
