"""``BENCHMARKS.md`` and its pictures, rendered from ``results/bench-*.json``: no figure there is typed by hand."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from palaestra.trainers.experiments.render import COLOURS

HEAD = """# Benchmarks

Rendered from `results/bench-*.json` by `palaestra bench --render`; do not edit. The sides of a case do the same work,
in turn, in one process, after a round that is not counted. Every figure is the median over rounds with
[lowest, highest]; a ratio is taken within each round, so what slows the whole machine for a while does not enter it.
Aims that are missed stay here.
"""
MANY = 4
"""From so many cases on, rates differ by orders of magnitude, and the picture is one panel on a logarithmic axis."""


def render(root: Path | None = None) -> Path:
    """Write ``BENCHMARKS.md`` and one SVG per benchmark; return the page."""
    root = root or Path.cwd()
    pages = [HEAD]
    for path in sorted((root / "results").glob("bench-*.json")):
        data = json.loads(path.read_text(encoding="utf-8"))
        if "benchmark" in data:
            pages.append(_section(data, f"results/{_picture(data, path.with_suffix('.svg')).name}"))
    page = root / "BENCHMARKS.md"
    page.write_text("\n".join(pages), encoding="utf-8")
    return page


def _section(data: dict[str, Any], picture: str) -> str:
    cases = data["cases"]
    sides = _sides(data)
    lines = [f"## {data['benchmark']}", "", data["question"], ""]
    if data["quick"]:
        lines += ["**A quick run:** it shows that the benchmark works, not how fast anything is.", ""]
    units = cases[0]["units"]
    for unit in units:
        lines += [f"| {unit} a second | " + " | ".join(sides) + " |", "|---|" + "---:|" * len(sides)]
        for case in cases:
            cells = [_cell(case, side, unit) for side in sides]
            lines.append(f"| {case['case']} | " + " | ".join(cells) + " |")
        lines.append("")
    lines += ["| case | figure | found | aim | met |", "|---|---|---:|---:|---|"]
    for case in cases:
        for aim in case["aims"]:
            figure = f"{aim['side']} / {aim['to']}" if aim["to"] else f"{aim['unit']} a second, {aim['side']}"
            least = "" if aim["least"] is None else f"≥ {_number(aim['least'])}"
            met = {None: "", True: "yes", False: "**no**"}[aim["met"]]
            lines.append(f"| {case['case']} | {figure} | {_spread(aim)} | {least} | {met} |")
    lines += ["", f"![{units[0]} a second]({picture})", ""]
    lines += [f"* *{name}*: {sentence}." for name, sentence in sides.items()]
    for case in cases:
        lines.append(f"* {case['case']}: {case['sentence']}.{_work(case)}")
        lines += [f"  {side} cannot play it: {why}" for side, why in case.get("missing", {}).items()]
    hardware = data["hardware"]
    gpu = f", {hardware['gpu']}" if "gpu" in hardware else ""
    lines += [
        "",
        f"`{data['command']}`: {data['rounds']} rounds, {data['minutes']:g} min on {hardware['cores']} cores of "
        f"{hardware['cpu']}{gpu} (load before: {hardware['load_before']:g}), Python {hardware['python']}; "
        + ", ".join(f"{name} {version}" for name, version in data["versions"].items())
        + ".",
        "",
    ]
    return "\n".join(lines)


def _cell(case: dict[str, Any], side: str, unit: str) -> str:
    if side in case["sides"]:
        return _spread(case["sides"][side]["rates"][unit])
    return "cannot be played, see below" if side in case.get("missing", {}) else "none"


def _sides(data: dict[str, Any]) -> dict[str, str]:
    """Return all sides by name with their sentences, in the order of first appearance."""
    return {name: side["sentence"] for case in data["cases"] for name, side in case["sides"].items()}


def _work(case: dict[str, Any]) -> str:
    """Return what was counted: once if the sides agree, else side by side."""
    sides = case["sides"]
    every = [side["counts"] for side in sides.values()]
    if all(counts == every[0] for counts in every):
        return f" Each side: {_counts(every[0])}."
    told = (
        f"{name} {_counts(side['counts'])}" + (f" ({side['part']})" if side["part"] else "")
        for name, side in sides.items()
    )
    return " " + "; ".join(told) + "."


def _counts(counts: dict[str, int]) -> str:
    return ", ".join(f"{value:,} {name}" for name, value in counts.items())


def _spread(value: dict[str, Any]) -> str:
    return f"{_number(value['median'])} [{_number(value['low'])}, {_number(value['high'])}]"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _picture(data: dict[str, Any], path: Path) -> Path:
    """Draw a bar for each case and side, with its spread."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "palaestra"
    from matplotlib import pyplot

    cases, sides = data["cases"], list(_sides(data))
    together = len(cases) >= MANY
    panels = [cases] if together else [[case] for case in cases]
    height = 0.8 + 0.17 * (len(sides) + 1) * max(map(len, panels))
    figure, axes = pyplot.subplots(
        1, len(panels), figsize=(7.5 if together else 4.2 * len(panels), height), squeeze=False, layout="constrained"
    )
    unit = cases[0]["units"][0]
    for axis, shown in zip(axes[0], panels, strict=True):
        labels: dict[float, str] = {}
        for row, case in enumerate(shown):
            for place, (colour, name) in enumerate(zip(COLOURS * 2, sides, strict=False)):
                if name not in case["sides"]:
                    continue
                rate = case["sides"][name]["rates"][unit]
                at = row * (len(sides) + 1) + place
                error = [[rate["median"] - rate["low"]], [rate["high"] - rate["median"]]]
                axis.barh(at, rate["median"], xerr=error, color=colour, error_kw={"linewidth": 0.8})
                labels[at] = f"{case['case']}, {name}" if together else name
        axis.set_yticks(list(labels), labels=list(labels.values()), fontsize=7)
        axis.invert_yaxis()
        axis.set_xlabel(f"{unit} a second")
        axis.grid(axis="x", alpha=0.25)
        if together:
            axis.set_xscale("log")
        else:
            axis.set_title(shown[0]["case"], fontsize=9)
    figure.savefig(path, metadata={"Date": None})
    pyplot.close(figure)
    return path
