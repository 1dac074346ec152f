"""``report.html`` of a tournament: ratings as a picture and as tables, on one self-contained page."""

from __future__ import annotations

import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from palaestra.agents.models.disk import replace_text
from palaestra.trainers.tournament.config import TournamentConfig
from palaestra.trainers.tournament.standings import Standing


def write_page(path: Path, config: TournamentConfig, found: list[Standing]) -> None:
    """Write the page; names and errors of players are escaped, and the page loads nothing."""
    environment = Environment(
        loader=PackageLoader("palaestra.trainers", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["share"] = lambda value: f"{100 * value:.1f}\u202f%"
    page = environment.get_template("tournament.html").render(
        config=config, standings=found, pictures=[Markup(_picture(standing)) for standing in found]
    )
    replace_text(path, page)


def _picture(standing: Standing) -> str:
    """Return ratings with intervals as inline SVG."""
    import matplotlib

    matplotlib.use("svg")
    matplotlib.rcParams["svg.hashsalt"] = "palaestra"
    from matplotlib import pyplot

    lines = standing.lines[::-1]
    figure, axis = pyplot.subplots(figsize=(7.2, 0.8 + 0.32 * len(lines)), layout="constrained")
    for height, line in enumerate(lines):
        rating = line.rating
        if rating.low == rating.low:
            axis.plot([rating.low, rating.high], [height, height], color="#2563a8", linewidth=2.5, alpha=0.55)
        axis.plot(rating.mean, height, "o", color="#2563a8", markersize=5)
    names = [line.entrant.replace("$", r"\$") for line in lines]
    axis.set_yticks(range(len(lines)), names, fontsize=9)
    axis.set_xlabel("rating (Bradley-Terry, 95 % bootstrap interval over rounds)", fontsize=8)
    axis.tick_params(axis="x", labelsize=8)
    axis.grid(alpha=0.25, axis="x")
    buffer = io.StringIO()
    figure.savefig(buffer, format="svg", metadata={"Date": None})
    pyplot.close(figure)
    text = buffer.getvalue()
    return text[text.index("<svg") :]
