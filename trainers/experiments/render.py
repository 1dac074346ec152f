"""``RESULTS.md`` and its pictures, rendered from ``results/*.json``: no figure there is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HEAD = """# Results

Rendered from `results/*.json` by `palaestra experiment --render`; do not edit. A section begins with the claim that was
put to the test; the table says how far it holds. Every row is one arm; *null* marks controls. Numbers are means over
seeds with 95 % intervals (Student's), so two or three seeds give wide ones, and one none; all values stand in the JSON.
"""
SHORTEST = 1.0
"""Seconds; a cell that took less was not trained: it was not available, or its checkpoint was read again."""
COLOURS = ("#2563a8", "#c2552d", "#4d8f4a", "#8457a3", "#7a7a7a", "#b8860b")


def render(root: Path | None = None) -> Path:
    """Write ``RESULTS.md`` and one SVG per experiment with curves; return the page."""
    root = root or Path.cwd()
    pages = [HEAD]
    for path in sorted((root / "results").glob("*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if "experiment" in data:
            picture = _picture(data, path.with_suffix(".svg"))
            pages.append(_section(data, f"results/{picture.name}" if picture else None))
    page = root / "RESULTS.md"
    page.write_text("\n".join(pages), encoding="utf-8")
    return page


def _section(data: dict[str, Any], picture: str | None) -> str:
    measures = data["measures"]
    lines = [f"## {data['experiment']}", "", data["claim"], ""]
    if data["partial"]:
        lines += [f"**Partial:** {data['cells_done']} of {data['cells']} cells are done.", ""]
    lines += ["| arm | seeds | " + " | ".join(measure["key"] for measure in measures) + " |"]
    lines += ["|---|---|" + "---|" * len(measures)]
    remarks: list[str] = []
    for name, arm in data["arms"].items():
        cells = [_number(arm["measures"][measure["key"]]) for measure in measures]
        if missing := arm.get("not_available"):
            cells = ["not available"] + ["" for _ in cells[1:]]
            remarks += [f"* arm `{name}` is not available: {sentence.rstrip('.')}." for sentence in missing]
        lines.append(f"| {name}{' (null)' if arm['null'] else ''} | {len(arm['seeds'])} | " + " | ".join(cells) + " |")
    known = ["" if measure["exact"] is None else f"{measure['exact']:g}" for measure in measures]
    if any(known):
        lines.append("| *exact* | | " + " | ".join(known) + " |")
    aims = [measure["aim"] for measure in measures]
    if any(aims):
        lines.append("| *aim* | | " + " | ".join(aims) + " |")
    lines += ["", *(f"* `{measure['key']}`: {measure['sentence']}." for measure in measures)]
    lines += [f"* arm `{name}`: {arm['sentence']}." for name, arm in data["arms"].items()] + remarks
    lines += _matrices(data.get("measured", []))
    if picture:
        lines += ["", f"![curves of {data['experiment']}]({picture})"]
    seconds = [value for arm in data["arms"].values() for value in arm["seconds"]]
    whole = [value for value in seconds if value >= SHORTEST]
    took = f", {sum(whole) / len(whole) / 60:.1f} min a cell" if whole else ""
    if 0 < len(whole) < len(seconds):
        left = len(seconds) - len(whole)
        took += f" ({left} that took less than a second, not available or only read again from checkpoints, left out)"
    lines += [
        "",
        f"`{data['command']}` on {_machines(data)}{took}; "
        + ", ".join(f"{name} {version}" for name, version in data["versions"].items())
        + ".",
        "",
    ]
    return "\n".join(lines)


def _machines(data: dict[str, Any]) -> str:
    """Return where the cells were measured; by the file as a whole, where cells do not say."""
    said = data["hardware"] if isinstance(data["hardware"], list) else [data["hardware"]]
    machines = [cell["hardware"] for cell in data.get("measured", []) if "hardware" in cell] or said
    models: dict[int, set[str]] = {}
    for one in machines:
        models.setdefault(one["cores"], set()).add(one["cpu"])
    found = [f"{cores} cores of {' and '.join(sorted(names))}" for cores, names in sorted(models.items())]
    gpus = sorted({one["gpu"] for one in machines if "gpu" in one})
    return ", ".join([" and ".join(found), *gpus])


def _matrices(cells: list[dict[str, Any]]) -> list[str]:
    """Return a table of every cell's matrix: how often each receiver is right with each provider's thoughts."""
    lines = []
    for cell in cells:
        for pair, found in (cell.get("matrix") or {}).items():
            provider, _, receiver = pair.partition(">")
            paraphrased = found.get("paraphrased")  # exact, where a code is changed; else a line of its own
            changed = "" if paraphrased is None else f"{paraphrased:.3f}"
            right = _number({"mean": found["accuracy"], "low": found.get("low"), "high": found.get("high")})
            items = found.get("items", "exact")
            lines.append(f"| {cell['arm']}, {cell['seed']} | {provider} | {receiver} | {right} | {changed} | {items} |")
    if not lines:
        return []
    head = ["", "Receivers with providers' thoughts, share right (95 % bootstrap over items, or exact):", ""]
    return [
        *head,
        "| arm, seed | provider | receiver | right | paraphrased | items |",
        "|---|---|---|---|---|---|",
        *lines,
    ]


def _number(value: dict[str, Any]) -> str:
    if value["mean"] is None:
        return "not measured"
    if value["low"] is None:
        return f"{value['mean']:.3f}"
    return f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]"


def _picture(data: dict[str, Any], path: Path) -> Path | None:
    """Draw a panel per curve: a colour for each arm, thin lines for seeds, a thick one for their mean. Where arms are
    points, too, there is a row of panels for all arms whose names have the same beginning, and the points are last."""
    curves = {name: arm["curves"] for name, arm in data["arms"].items() if arm["curves"]}
    if not curves:
        return None
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "palaestra"
    from matplotlib import pyplot

    rows: dict[str, dict[str, Any]] = {}
    for name, seeds in curves.items():
        rows.setdefault(_row(name, data["arms"]) if data.get("points") else "", {})[name] = seeds
    panels = {name: _panels(own) for name, own in rows.items()}
    columns = max(map(len, panels.values())) + bool(data.get("points"))
    figure, axes = pyplot.subplots(
        len(rows), columns, figsize=(5.2 * columns, 3.4 * len(rows)), squeeze=False, layout="constrained"
    )
    for line, (name, own) in zip(axes, rows.items(), strict=True):
        _curves(line, panels[name], own)
        for unused in line[len(panels[name]) :]:
            unused.set_axis_off()
        if data.get("points"):
            own_arms = {arm: found for arm, found in data["arms"].items() if _row(arm, data["arms"]) == name}
            _scatter(line[-1], name, own_arms, *data["points"])
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path


def _row(arm: str, arms: dict[str, Any]) -> str:
    """Return what the names of several arms begin with, up to ``_``; an empty text for an arm that stands alone."""
    beginning = arm.partition("_")[0]
    return beginning if sum(one.partition("_")[0] == beginning for one in arms) > 1 else ""


def _panels(curves: dict[str, Any]) -> list[tuple[str, str]]:
    """Return (axis, key) of all curves, in order; arms may have axes of their own, and more than one."""
    found: dict[tuple[str, str], None] = {}
    for seeds in curves.values():
        for one in _sets(next(iter(seeds.values()))):
            axis, *keys = one
            found |= dict.fromkeys((axis, key) for key in keys)
    return list(found)


def _sets(curves: Any) -> list[dict[str, Any]]:
    """Return the sets of curves of a cell, each with an axis of its own, which is first."""
    return curves if isinstance(curves, list) else [curves]


def _curves(axes: Any, panels: list[tuple[str, str]], curves: dict[str, Any]) -> None:
    from matplotlib import pyplot

    colours = (
        COLOURS
        if len(curves) <= len(COLOURS)
        else [pyplot.cm.nipy_spectral(at / len(curves)) for at in range(len(curves))]
    )
    for panel, (axis, key) in zip(axes, panels, strict=False):
        for colour, (name, seeds) in zip(colours, curves.items(), strict=False):
            own = [one for curve in seeds.values() for one in _sets(curve) if next(iter(one)) == axis and key in one]
            if not own:
                continue
            longest = max(len(curve[axis]) for curve in own)
            whole = [curve for curve in own if len(curve[axis]) == longest]
            for curve in own:
                panel.plot(
                    curve[axis], [_mean([value]) for value in curve[key]], color=colour, alpha=0.25, linewidth=0.8
                )
            mean = [_mean([curve[key][at] for curve in whole]) for at in range(longest)]
            panel.plot(whole[0][axis], mean, color=colour, linewidth=1.8, label=name)
        panel.set_xlabel(axis)
        panel.set_title(key.replace("_", " "))
        panel.grid(alpha=0.25)
    shown: list[str] = []
    for panel in axes[: len(panels)]:
        if (names := panel.get_legend_handles_labels()[1]) != shown:
            panel.legend(frameon=False, fontsize=8)
            shown = names


def _scatter(panel: Any, beginning: str, arms: dict[str, Any], across: str, up: str) -> None:
    """Draw seeds as small points, their mean as a large one with its arm's name beside it."""
    own = {name.removeprefix(f"{beginning}_"): arm["measures"] for name, arm in arms.items()}
    known = {arm: (one[across]["values"], one[up]["values"]) for arm, one in own.items()}
    drawn = {arm: one for arm, one in known.items() if one[0] and len(one[0]) == len(one[1])}
    if not drawn:
        return
    panel.set_axis_on()
    for number, (arm, seeds) in enumerate(drawn.items()):
        measures = own[arm]
        colour = COLOURS[number % len(COLOURS)]
        mean = measures[across]["mean"], measures[up]["mean"]
        panel.scatter(*seeds, color=colour, s=8, alpha=0.4)
        panel.scatter(*mean, color=colour, s=30)
        panel.annotate(arm, mean, xytext=(4, 3), textcoords="offset points", fontsize=7, color=colour)
    panel.set_xlabel(across.replace("_", " "))
    panel.set_title(f"{beginning}: {up.replace('_', ' ')}".removeprefix(": "))
    panel.grid(alpha=0.25)


def _mean(values: list[float | None]) -> float:
    """Return the mean of those that were measured, NaN (a gap in the line) if none was."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else float("nan")
