"""`palaestra experiment`: a research claim, run with its null arms."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from palaestra.scripts.console import console, table, untrusted
from palaestra.scripts.errors import examples

EXAMPLES = examples(
    "palaestra experiment",
    "palaestra experiment kuhn --seeds 3 --jobs 2",
    "palaestra experiment --render",
)


def experiment(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="An experiment; without one, they are listed."),
    ] = None,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds of every arm.")] = 3,
    scale: Annotated[
        Literal["cpu", "gpu"], typer.Option(help="Size: up to an hour a cell on a CPU, hours in all; or larger.")
    ] = "cpu",
    jobs: Annotated[int, typer.Option(min=1, help="Cells that run at once.")] = 1,
    missing: Annotated[
        bool, typer.Option("--missing", help="Only cells that results/NAME.json does not hold yet.")
    ] = False,
    render: Annotated[
        bool, typer.Option("--render", help="Write RESULTS.md from results/*.json, and run nothing.")
    ] = False,
) -> None:
    """Run an experiment: treatment and matched null arms, each (arm, seed) a cell that is kept when done."""
    from palaestra.trainers import experiments

    out = console()
    if render:
        out.print(untrusted(str(experiments.render())), soft_wrap=True)
    elif name is None:
        rows = table("experiment", "claim")
        for known in experiments.names():
            rows.add_row(untrusted(known, "cyan"), untrusted(experiments.find(known).claim))
        out.print(rows)
    else:
        path = experiments.run_experiment(
            name,
            seeds=seeds,
            scale=scale,
            jobs=jobs,
            missing=missing,
            say=lambda line: out.print(untrusted(line), soft_wrap=True),
        )
        out.print(untrusted(f"{path}; `palaestra experiment --render` writes RESULTS.md."), soft_wrap=True)
