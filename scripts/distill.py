"""`palaestra distill`: what a run's hindsight found, taught to an adapter by TRL."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palaestra.scripts.console import console, untrusted
from palaestra.scripts.errors import examples

EXAMPLES = examples(
    "palaestra distill runs/quickstart --method sft",
    "palaestra distill runs/quickstart --method dpo --beta 0.3 --epochs 5",
)


def distill(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run with `hindsight:` and recorded games.")],
    method: Annotated[str, typer.Option(help="sft or dpo.")] = "sft",
    epochs: Annotated[float, typer.Option(min=0.01, help="Passes over the pairs.")] = 3.0,
    rate: Annotated[float, typer.Option(min=0, help="Learning rate.")] = 2e-4,
    batch: Annotated[int, typer.Option(min=1, help="Pairs in a step.")] = 8,
    beta: Annotated[float, typer.Option(min=0, help="Of dpo: how strongly the adapter is held to the base.")] = 0.1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
) -> None:
    """Export a run's verified pairs of replies as a data set, and train a LoRA adapter on them with TRL."""
    from palaestra.envs.errors import OptionError
    from palaestra.trainers.distill import METHODS, DistillPlan
    from palaestra.trainers.distill import distill as train_on_pairs

    if method not in METHODS:
        raise OptionError(f"--method is {method!r}, expected sft or dpo.")
    with console(stderr=True).status("distilling…"):
        plan = DistillPlan(method, epochs, rate, batch, beta, seed)
        found = train_on_pairs(run, plan)
    out = console()
    out.print(f"{found.pairs} pairs; loss {found.first:.3f} at first, {found.last:.3f} at last.")
    for path in (*found.data, found.adapter):
        out.print(untrusted(str(path)), soft_wrap=True)
