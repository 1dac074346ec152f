"""The figures of an analysis that are worth quoting, as a small JSON file and as Markdown tables made of it.

``summary.json`` is written beside ``arithmetic.json``; pages quote it through `markdown`, so that no figure is typed.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from palaestra.agents.models.disk import replace_text
from palaestra.envs.errors import PalaestraError
from palaestra.interp.arithmetic.analysis import ARMS, Result
from palaestra.interp.arithmetic.fits import MODELS

SHARE = 0.01
"""Layer parts of a smaller share of the variance, in both maps, are left out."""


def summary(found: Result) -> Result:
    """Return what is quoted, from what `palaestra.interp.arithmetic.analysis.analyse` returned."""
    sweeps = []
    for one in found["sweeps"]:
        name = one["grid"]["name"]
        sweeps.append(
            {
                "name": name,
                "example": one["grid"]["example"],
                "sum_error": one["sum_error"],
                "arms": {
                    arm: _arm(next(row for row in found["arms"][arm] if row["sweep"] == name))
                    for arm in ARMS
                    if arm in found["arms"]
                },
                "parts": _parts(one["maps"]),
                "patching": {key: one["causes"].get(key) for key in ("rows", "pairs", "null", "agreement", "clean")},
                "gradients": one["gradients"]["agreement"]["logit difference"],
            }
        )
    return {key: found[key] for key in ("model", "plan", "teaching", "seconds")} | {"sweeps": sweeps}


def write_summary(found: Result, folder: Path) -> Path:
    """Write ``summary.json`` and return its path.

    Raises:
        PalaestraError: It cannot be written.
    """
    path = folder / "summary.json"
    try:
        replace_text(path, json.dumps(_rounded(summary(found)), indent=1) + "\n")
    except OSError as error:
        raise PalaestraError(f"{path} could not be written ({error.strerror or error}); free some space.") from None
    return path


def _arm(row: Result) -> Result:
    models = {model: row["models"][model]["held_out"] for model in MODELS}
    kept = ("accuracy", "cells", "deviation", "operation", "fit", "ordered_parts", "parts")
    return {key: row[key] for key in kept} | {"models": models}


def _parts(maps: Result) -> Result:
    from palaestra.interp.arithmetic.sweep import layer_part

    listed = {}
    for name, direct in maps["direct"].items():
        total = maps.get("total", {}).get(name)
        if layer_part(name) != name or max(direct["share"], total["share"] if total else 0) < SHARE:
            continue
        listed[name] = {
            which: {key: row[key] for key in ("operation", "share", "towards", "fit", "with_reverse")}
            for which, row in (("direct", direct), ("total", total))
            if row
        }
    return listed


def _rounded(value: object) -> object:
    if isinstance(value, dict):
        return {key: _rounded(one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        return [_rounded(one) for one in value]
    return float(f"{value:.6g}") if isinstance(value, float) else value


def markdown(found: Result) -> str:
    """Return tables: accuracy, what the logit difference does in each arm, layers, patching, gradients.

    The last three are of questions as asked; turned round they are in the JSON file.
    """
    asked = {**found, "sweeps": [one for one in found["sweeps"] if not one["name"].endswith("reversed")]}
    return "\n\n".join([*_accuracy(found), _arms(found), _layers(asked), _patching(asked), _gradients(asked)]) + "\n"


def _accuracy(found: Result) -> list[str]:
    if not found["teaching"]:
        return []
    kinds = list(found["teaching"]["after"]["accuracy"])
    rows = [
        [when, *(_percents(found["teaching"][when]["accuracy"][kind]) for kind in kinds)]
        for when in ("before", "after")
    ]
    return [_table(["right on held-out numbers", *kinds], rows)]


def _arms(found: Result) -> str:
    rows = []
    for one in found["sweeps"]:
        for arm, row in one["arms"].items():
            does = row["operation"] + (f", {_r2(row['fit'])}" if row["fit"] else "")
            models = [f"{value:.2f}" for value in row["models"].values()]
            order = f"{row['ordered_parts']} of {row['parts']}"
            rows.append([one["name"], arm, f"{100 * row['accuracy']:.1f} %", does, *models[2:], order])
    header = ["question", "arm", "right", "what logit(yes) - logit(no) does, held-out R²", *list(MODELS)[2:]]
    return _table([*header, "parts that know the order"], rows)


def _layers(found: Result) -> str:
    rows = []
    for one in found["sweeps"]:
        for name, part in one["parts"].items():
            cells = [one["name"], f"`{name}`"]
            for which in ("direct", "total"):
                row = part.get(which)
                if row is None or row["operation"] == "constant":
                    cells += ["–", "–"]
                    continue
                fit = f", {_r2(row['fit'])}" if row["fit"] else ""
                cells += [row["operation"] + fit, f"{100 * row['share']:.0f} %"]
            turned = part["direct"]["with_reverse"]
            rows.append([*cells, "–" if turned is None else f"{turned:.2f}"])
    return _table(["question", "part", "directly", "share", "through later layers", "share", "turned round"], rows)


def _patching(found: Result) -> str:
    rows = []
    for one in found["sweeps"]:
        listed = list(one["patching"]["rows"].items())[:5]
        for name, row in listed:
            rows.append([one["name"], f"`{name}`", *(_bracket(row.get(which)) for which in ("both", "a", "b"))])
        if listed:
            null = one["patching"]["null"]
            rows.append(
                [one["name"], f"largest of {len(null['components'])} at random", f"{null['largest']:.2f}", "", ""]
            )
    return _table(["question", "component", "both numbers exchanged", "only a", "only b"], rows)


def _gradients(found: Result) -> str:
    rows = []
    for one in found["sweeps"]:
        cells = [one["name"]]
        for by in ("here", "here carry", "integrated", "integrated carry"):
            row = one["gradients"][by]
            shown = row["correlation"] is not None
            cells.append(f"{row['correlation']:.2f} [{row['low']:.2f}, {row['high']:.2f}]" if shown else "–")
        rows.append(cells)
    header = ["question", "gradient here, last digit", "here, carries", "integrated, last digit", "integrated, carries"]
    return _table(header, rows)


def _table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in [list(header), ["---"] * len(header), *map(list, rows)]]
    return "\n".join(lines)


def _percents(one: Result) -> str:
    return f"{100 * one['mean']:.1f} % [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def _bracket(one: Result | None) -> str:
    return "–" if one is None else f"{one['mean']:.2f} [{one['low']:.2f}, {one['high']:.2f}]"


def _r2(fit: Result) -> str:
    return f"{fit['held_out']:.2f} [{fit['low']:.2f}, {fit['high']:.2f}]"
