"""`palaestra interp circuit`: which components and edges a task runs on."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palaestra.scripts.console import console
from palaestra.scripts.errors import examples
from palaestra.scripts.interp_folder import folder_for, tell

EXAMPLES = examples(
    "palaestra interp circuit smollm2 --task ioi", "palaestra interp circuit ./model --task pairs.jsonl"
)


def circuit(
    model: Annotated[
        str, typer.Argument(metavar="MODEL", help="As for `palaestra play`: smollm2, smollm2@RUN, a folder.")
    ],
    task: Annotated[
        str, typer.Option(help="`ioi`, or a file of pairs: clean, corrupt, answer and foil on each line.")
    ] = "ioi",
    pairs: Annotated[int, typer.Option(min=4, help="How many; half to find the circuit, half to measure it.")] = 32,
    steps: Annotated[int, typer.Option(min=0, help="Of integrated gradients for edges; 0 for a single gradient.")] = 5,
    random: Annotated[int, typer.Option(min=0, help="Random circuits beside each size.")] = 3,
    by: Annotated[str, typer.Option(help="Order of edges: magnitude or sign.")] = "magnitude",
    seed: Annotated[int, typer.Option(min=0, help="Of the pairs and of random circuits.")] = 0,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where it goes; else the run's folder, or interp-circuit.")
    ] = None,
) -> None:
    """Find the circuit of a task, and measure how much circuits of each size carry; goes on where it was stopped."""
    from rich.progress import Progress

    from palaestra.envs.errors import UnknownName

    if by not in ("magnitude", "sign"):
        raise UnknownName("order", by, ["magnitude", "sign"], "Edges are ordered by magnitude or by sign.")
    out = console(stderr=True)
    with out.status("opening the model…"):
        from palaestra.interp.circuits.analysis import CircuitPlan, analyse, steps_of
        from palaestra.interp.opened import open_model
        from palaestra.interp.tasks import TASKS, from_file, ioi

        opened = open_model(model)
        if task not in TASKS and not Path(task).is_file():
            raise UnknownName("task", task, TASKS, "Name a task or a file of pairs.")
        made = ioi(opened, pairs, seed) if task == "ioi" else from_file(opened, Path(task))
        plan = CircuitPlan(model, task, len(made), seed, random, steps, "sign" if by == "sign" else "magnitude")
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        going = bar.add_task("circuits", total=steps_of(plan))
        page = analyse(opened, made, plan, folder_for("circuit", model, to), lambda: bar.advance(going))
    tell(page)
