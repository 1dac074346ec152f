"""Figures of interp as inline SVG: heat maps, bars and curves with intervals, circuits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike

from palaestra.interp.importance.edges import ARROW
from palaestra.trainers.figures import COLOURS, drawing

if TYPE_CHECKING:
    from palaestra.interp.circuits.circuit import Circuit


def heat_map(
    title: str,
    values: ArrayLike,
    *,
    across: str,
    up: str,
    columns: Sequence[str] | None = None,
    rows: Sequence[str] | None = None,
    unit: str = "",
) -> str:
    """Return a matrix as colours, blue above 0 and red below, white at 0.

    Args:
        title: Stands above.
        values: [rows, columns], first row at the top.
        across, up: What the axes are.
        columns, rows: Names on the axes; numbers if not given.
        unit: Of the values, beside the scale.
    """
    matrix = np.asarray(values, dtype=float)
    size = (min(11.0, 2.2 + 0.28 * matrix.shape[1]), min(11.0, 1.4 + 0.22 * matrix.shape[0]))
    with drawing(title, across, up, (max(4.2, size[0]), max(2.2, size[1]))) as found:
        axis = found.axis
        most = float(np.nanmax(np.abs(matrix))) or 1.0
        image = axis.imshow(matrix, cmap="RdBu", vmin=-most, vmax=most, aspect="auto", interpolation="nearest")
        axis.grid(visible=False)
        if columns is not None:
            axis.set_xticks(range(len(columns)), columns, rotation=90 if max(map(len, columns)) > 2 else 0, fontsize=7)
        if rows is not None:
            axis.set_yticks(range(len(rows)), rows, fontsize=7)
        bar = axis.figure.colorbar(image, ax=axis, fraction=0.05)
        bar.set_label(unit, fontsize=8)
        bar.ax.tick_params(labelsize=7)
    return found.text


def bars(title: str, unit: str, values: Mapping[str, tuple[float, float, float]]) -> str:
    """Return horizontal bars with intervals, first one on top: (mean, low, high) by name."""
    names = list(values)
    mean, low, high = (np.array([values[name][one] for name in names]) for one in range(3))
    with drawing(title, unit, "", (6.0, 0.9 + 0.2 * len(names))) as found:
        axis = found.axis
        places = np.arange(len(names))[::-1]
        axis.barh(places, mean, color=[COLOURS[0] if one >= 0 else COLOURS[1] for one in mean], height=0.7)
        axis.errorbar(
            mean, places, xerr=[np.maximum(mean - low, 0), np.maximum(high - mean, 0)], fmt="none", ecolor="#1d2430",
            elinewidth=0.8,
        )  # fmt: skip
        axis.set_yticks(places, names, fontsize=7)
    return found.text


def lines(
    title: str,
    across: str,
    up: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float]]],
    bands: Mapping[str, tuple[Sequence[float], Sequence[float]]] | None = None,
    *,
    log: bool = False,
) -> str:
    """Return lines, each of (x, y), with bands of (low, high) around those that have one; ``log`` is of the x axis."""
    with drawing(title, across, up, (5.8, 3.4)) as found:
        axis = found.axis
        for colour, (name, (x, y)) in zip(COLOURS * 4, series.items(), strict=False):
            axis.plot(x, y, color=colour, label=name, marker="o", markersize=3, linewidth=1.5)
            if bands and name in bands:
                axis.fill_between(x, *bands[name], color=colour, alpha=0.15, linewidth=0)
        if log:
            axis.set_xscale("log")
            places = sorted({float(one) for x, _ in series.values() for one in x if one > 0})
            if places and places[-1] < 100 * places[0]:  # powers of ten alone would name one of them
                axis.set_xticks(places, [f"{one:g}" for one in places])
                axis.minorticks_off()
        if len(series) > 1:
            axis.legend(frameon=False, fontsize=8)
    return found.text


def circuit(title: str, found: Circuit, most: int = 60) -> str:
    """Return a drawing of a circuit of edges: components by layer from the bottom up, an edge as wide as its score."""
    shown = found.first(most)
    ends = [name.split(ARROW) for name in shown.members]
    nodes = dict.fromkeys(one for pair in ends for one in (pair[0], _node(pair[1])))
    levels: dict[float, list[str]] = {}
    for name in nodes:
        levels.setdefault(_height(name), []).append(name)
    heights = sorted(levels)
    at = {
        name: ((number + 0.5) / len(levels[height]), level)
        for level, height in enumerate(heights)
        for number, name in enumerate(sorted(levels[height]))
    }
    with drawing(title, "", "", (8.0, 1.2 + 0.42 * len(heights))) as picture:
        axis = picture.axis
        axis.axis("off")
        widest = max((abs(one) for one in shown.scores), default=1.0) or 1.0
        for (writer, reader), score in zip(ends, shown.scores, strict=True):
            (x0, y0), (x1, y1) = at[writer], at[_node(reader)]
            colour = COLOURS[0] if score >= 0 else COLOURS[1]
            arrow = {"arrowstyle": "-", "color": colour, "alpha": 0.55, "linewidth": 0.4 + 3 * abs(score) / widest}
            arrow["connectionstyle"] = f"arc3,rad={0.08 if x0 <= x1 else -0.08}"
            axis.annotate("", (x1, y1), (x0, y0), arrowprops=arrow)
        for name, (x, y) in at.items():
            box = {"boxstyle": "round,pad=0.25", "facecolor": "#ffffff", "edgecolor": "#7a7a7a", "linewidth": 0.6}
            axis.text(x, y, name, fontsize=6.5, ha="center", va="center", bbox=box)
        axis.set_xlim(0, 1)
        axis.set_ylim(-0.6, len(heights) - 0.4)
    return picture.text


def _node(reader: str) -> str:
    """Return the component that a reader belongs to; groups of keys and values stand for themselves."""
    layer, dot, rest = reader.partition(".")
    return f"{layer}.{rest.partition('.')[0]}" if dot else reader


def _height(name: str) -> float:
    if name == "logits":
        return float("inf")
    if "." not in name:
        return -1.0
    layer, _, rest = name.partition(".")
    return int(layer[1:]) + (0.5 if rest == "mlp" else 0.0)
