"""`palaestra report`: what a run did, on one page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palaestra.scripts.console import console, untrusted
from palaestra.scripts.errors import examples

EXAMPLES = examples("palaestra report runs/quickstart")


def report(run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")]) -> None:
    """Write a run's report.html: curves, before against after, annotated games. Works while it trains."""
    with console(stderr=True).status("reading the run…"):
        from palaestra.scripts.interp_diff import fill_report
        from palaestra.trainers.report import write_report

        fill_report()
        page = write_report(run)
    console().print(untrusted(str(page)), soft_wrap=True)
