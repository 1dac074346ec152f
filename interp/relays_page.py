"""The page of relays seen from inside."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from palaestra.interp import figures
from palaestra.interp.report import Figure, Fold, Page, Table, Text, bracket


def write_page(found: dict[str, Any], path: Path) -> None:
    """Write the page of what `palaestra.interp.relays.relays` found."""
    cells = list(found["cells"].values())
    page = Page(
        "Who reads a transplanted thought",
        "What a planted error does to answers, joined with which heads read the step that holds it.",
        {**{key: str(value) for key, value in found["plan"].items()}, "cells": str(len(cells))},
    )

    def of(one: dict[str, float] | None) -> str:
        return "-" if one is None else bracket(one["mean"], one["low"], one["high"])

    header = (
        "provider > receiver",
        "accuracy",
        "flips",
        "copied",
        "corrected",
        "effect, nats",
        "use",
        "no head looking",
        "readers",
    )
    rows = []
    for one in cells:
        said, within = one["behaviour"], one["inside"]
        rows.append(
            (
                f"{one['provider']} > {one['receiver']}",
                *(of(said[key]) for key in ("accuracy", "flips", "copied", "corrected")),
                of(within["effect"]),
                "-" if within["use"] is None else f"{within['use']:.2f}",
                of(within["blind"]),
                ", ".join(within["readers"]) or "none",
            )
        )
    note = (
        "Flips: answers that a planted error changes; copied: answers that follow from it; corrected: right answers in "
        "spite of it. Effect: by how much the log-odds of the right answer fall; use: the same in units of these "
        "log-odds (0 not used, 1 a tie, 2 turned round). No head looking: the same when no head "
        "may look at the step; what is left would have come another way. 95 %, bootstrapped over items."
    )
    page.add("Behaviour and inside", Table(header, rows, note=note))
    for one in cells:
        within = one["inside"]
        top = sorted(within["reading"], key=lambda name: -within["reading"][name]["mean"])[:12]
        values = {name: tuple(within["reading"][name][key] for key in ("mean", "low", "high")) for name in top}
        null = max(within["null"].values())
        carriers = [(name, of(value)) for name, value in list(within["carriers"].items())[:12]]
        page.add(
            f"{one['provider']} > {one['receiver']}",
            Text(
                f"{one['items']} items with a planted step. Read by {', '.join(within['readers']) or 'no head'}"
                f"; faintly: {', '.join(within['faint']) or 'none'}. The largest reading of another token: "
                f"{null:.2f} nats."
            ),
            Figure(
                figures.bars("Reading of the step", "nats", values),
                note="Fall of log-odds that is gone when the head looks away.",
            ),
            Fold("Carriers", [Table(("component", "fall by itself, nats"), carriers)]),
        )
    page.write(path)
