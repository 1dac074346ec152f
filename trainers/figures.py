"""Figures as inline SVG, the same bytes for the same numbers."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from palaestra.trainers.measures.calibration import reliability_bins

COLOURS = ("#2563a8", "#c2552d", "#4d8f4a", "#8457a3", "#7a7a7a")


class _Drawing:
    """An axis to draw on; ``text`` is the figure once it is finished."""

    axis: Any
    text = ""


@contextmanager
def drawing(title: str, across: str, up: str, size: tuple[float, float]) -> Iterator[_Drawing]:
    """Draw a figure on one axis, whose SVG is ``text`` behind the ``with`` block; text in it is escaped."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "palaestra"
    from matplotlib import pyplot

    found = _Drawing()
    figure, axis = pyplot.subplots(figsize=size, layout="constrained")
    axis.set_title(title, fontsize=10, loc="left")
    axis.set_xlabel(across, fontsize=8)
    axis.set_ylabel(up, fontsize=8)
    axis.tick_params(labelsize=8)
    axis.grid(alpha=0.25)
    found.axis = axis
    try:
        yield found
        buffer = io.StringIO()
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        text = buffer.getvalue()
        found.text = text[text.index("<svg") :]
    finally:
        pyplot.close(figure)


def curves(title: str, unit: str, iterations: Sequence[int], series: Mapping[str, Sequence[float]]) -> str:
    """Return one panel: a line for each name, a point for each iteration."""
    with drawing(title, "iteration", unit, (5.4, 3.0)) as found:
        axis = found.axis
        for colour, (name, values) in zip(COLOURS * 4, series.items(), strict=False):
            axis.plot(iterations, values, color=colour, label=name, marker="o", markersize=2.5, linewidth=1.5)
        if unit.startswith("share"):
            axis.set_ylim(-0.03, 1.03)
        if len(series) > 1:
            axis.legend(frameon=False, fontsize=8)
    return found.text


def reliability(title: str, forecasts: Mapping[str, tuple[Sequence[float], Sequence[int]]]) -> str:
    """Return a reliability diagram: how often it happened against what was said, in groups of equal counts.

    Args:
        title: Stands above.
        forecasts: By name, probabilities and outcomes (0 or 1); the area of a dot is the share of the cases in it.
    """
    with drawing(title, "probability that was stated", "share that happened", (4.2, 4.0)) as found:
        axis = found.axis
        axis.plot([0, 1], [0, 1], color="#7a7a7a", linestyle="--", linewidth=1, label="calibrated")
        for colour, (name, (stated, happened)) in zip(COLOURS, forecasts.items(), strict=False):
            bins = reliability_bins(stated, happened)
            across, up = [one.forecast for one in bins], [one.outcome for one in bins]
            areas = [12 + 240 * one.count / len(stated) for one in bins]
            axis.plot(across, up, color=colour, linewidth=1.2, marker="o", markersize=3, label=name)
            axis.scatter(across, up, s=areas, color=colour, alpha=0.6)
        axis.set_xlim(-0.04, 1.04)
        axis.set_ylim(-0.04, 1.04)
        axis.legend(frameon=False, fontsize=8, loc="upper left")
    return found.text
