"""Figures of the analysis as inline SVG: heat maps over two numbers, curves, spectra, and steps against gradients."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from palaestra.interp.arithmetic.sweep import Grid
from palaestra.trainers.figures import COLOURS


@contextmanager
def _drawing(
    columns: int, size: tuple[float, float], bottom: float = 0.42, ratios: Sequence[float] | None = None
) -> Iterator[tuple[Any, list[str]]]:
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "palaestra"
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, columns, figsize=size, squeeze=False, width_ratios=ratios)
    text: list[str] = []
    try:
        for axis in axes[0]:
            axis.tick_params(labelsize=7)
        yield axes[0], text
        # fixed margins, in inches: fitting them to the text takes longer than all the rest
        wide, high = size
        figure.subplots_adjust(0.5 / wide, bottom / high, 1 - 0.12 / wide, 1 - 0.26 / high, wspace=0.28)
        buffer = io.StringIO()
        with matplotlib.rc_context({"svg.fonttype": "none"}):  # letters drawn as outlines are most of a page of figures
            figure.savefig(buffer, format="svg", metadata={"Date": None})
        whole = buffer.getvalue()
        text.append(whole[whole.index("<svg") :])
    finally:
        pyplot.close(figure)


def overview(one: NDArray[np.float64], rows: Sequence[tuple[str, float, float]], grid: Grid) -> str:
    """Return the logit difference as a heat map, and beside it how far the effects of layer parts vary.

    Args:
        one: [A, B], blue for yes and red for no, its mean taken off; the line of the tie is drawn in.
        rows: (name, direct, total): deviations in logits, in the order of the model; total is NaN if unknown.
        grid: What was asked.
    """
    with _drawing(2, (13.0, 3.6), 0.95, ratios=(1, 2.9)) as (axes, text):
        _heat(axes[0], one, grid, "logit(yes) - logit(no),")
        axis, at = axes[1], np.arange(len(rows))
        axis.bar(at - 0.2, [one[1] for one in rows], 0.4, color=COLOURS[0], label="direct")
        axis.bar(at + 0.2, [one[2] for one in rows], 0.4, color=COLOURS[1], label="total, estimated")
        axis.set_xticks(at, [one[0] for one in rows], rotation=90, fontsize=6 if len(rows) > 24 else 7)
        axis.set_title("deviation over the grid, logits", fontsize=8, loc="left")
        axis.legend(frameon=False, fontsize=7)
    return text[0]


def _heat(axis: Any, one: NDArray[np.float64], grid: Grid, title: str) -> None:
    margins = grid.margins()
    centred = one - one.mean()
    most = max(float(np.quantile(np.abs(centred), 0.99)), 1e-9)
    extent = (grid.second[0] - 0.5, grid.second[1] + 0.5, grid.first[0] - 0.5, grid.first[1] + 0.5)
    axis.imshow(
        centred, cmap="RdBu", vmin=-most, vmax=most, origin="lower", extent=extent, aspect="auto",
        interpolation="nearest",
    )  # fmt: skip
    if margins.min() < 0 < margins.max():
        axis.contour(np.array(grid.b), np.array(grid.a), margins, levels=[0], colors="black", linewidths=0.7)
    axis.set_title(f"{title} ±{most:.2g}", fontsize=8, loc="left")
    axis.set_xlabel("b", fontsize=7)
    axis.set_ylabel("a", fontsize=7)


def part_panels(one: NDArray[np.float64], found: Mapping[str, Any], grid: Grid) -> str:
    """Return a map, its f(a), g(b) and h(a - b) with decades marked, and its strongest waves.

    Args:
        one: [A, B]
        found: Its curves and spectrum, as in ``arithmetic.json``.
        grid: Where it comes from.
    """
    with _drawing(5, (13.0, 2.3), 0.36) as (axes, text):
        _heat(axes[0], one, grid, "map,")
        gap = np.arange(grid.a[0] - grid.b[-1], grid.a[-1] - grid.b[0] + 1)
        panels = (
            ("f(a)", np.array(grid.a), found["f"]),
            ("g(b)", np.array(grid.b), found["g"]),
            ("h(a - b)", gap, found["h"]),
        )
        height = max(max(np.abs(values).max() for _, _, values in panels), 1e-9) * 1.08
        for axis, colour, (name, across, values) in zip(axes[1:], COLOURS, panels, strict=False):
            for tick in across[across % 10 == 0]:
                axis.axvline(tick - (0.5 if name != "h(a - b)" else 0), color="#cccccc", linewidth=0.5, zorder=0)
            axis.axhline(0, color="#999999", linewidth=0.5)
            axis.plot(across, values, color=colour, linewidth=1, marker="o", markersize=1.8)
            axis.set_ylim(-height, height)
            axis.set_title(name, fontsize=8, loc="left")
        rows = found["spectrum"].items()
        listed = ((value, f"{variable}: {period}") for variable, row in rows for period, value in row.items())
        power = sorted(listed, reverse=True)[:8]
        axes[4].barh([name for _, name in power][::-1], [value for value, _ in power][::-1], color=COLOURS[3])
        axes[4].set_title("R² of single waves", fontsize=8, loc="left")
        axes[4].set_xlim(0, max(0.05, power[0][0] * 1.05 if power else 1))
        axes[4].tick_params(labelsize=6)
    return text[0]


def step_scatter(found: Mapping[str, Any]) -> str:
    """Return steps of the logit difference against what gradients foretell, carries in a colour of their own."""
    carry = np.array(found["carry"])
    step = np.array(found["step"])
    with _drawing(2, (6.4, 2.9)) as (axes, text):
        for axis, by in zip(axes, ("here", "integrated"), strict=True):
            told = np.array(found[by])
            most = float(np.quantile(np.abs(np.concatenate([step, told])), 0.98)) * 1.1 or 1.0
            axis.plot([-most, most], [-most, most], color="#999999", linewidth=0.7, linestyle="--")
            for colour, where, name in ((COLOURS[0], ~carry, "last digit"), (COLOURS[1], carry, "carry")):
                axis.scatter(told[where], step[where], s=7, color=colour, alpha=0.7, label=name)
            axis.set_xlim(-most, most)
            axis.set_ylim(-most, most)
            axis.set_title(f"gradient, {by}", fontsize=8, loc="left")
            axis.set_xlabel("foretold", fontsize=7)
            axis.set_ylabel("step", fontsize=7)
        axes[0].legend(frameon=False, fontsize=7)
    return text[0]
