"""`palaestra models`: the base models that need no hub, and where they are."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palaestra.scripts.console import console, table, untrusted
from palaestra.scripts.errors import CommandGroup, examples

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    help="The base models: list them, get them, find them.",
    epilog=examples("palaestra models list", "palaestra models fetch smollm2", "palaestra models path tiny:kuhn"),
)
Model = Annotated[str, typer.Argument(metavar="MODEL", help="A model, such as smollm2, tiny:kuhn or a hub id.")]


@app.command("list", epilog=examples("palaestra models list"))
def list_models() -> None:
    """List the models that need no hub, and whether they are on this machine."""
    from palaestra.agents.models import sources

    rows = table("model", "parameters", "here", "", right=(1,))
    for model in sources.list_models():
        here = "no" if model.folder is None else size(model.folder)
        rows.add_row(untrusted(model.name, "cyan"), f"{model.parameters:,}", here, untrusted(model.summary, "dim"))
    out = console()
    out.print(rows)
    out.print(untrusted("A local folder or a hub id such as org/name is a model, too; @ADAPTER may follow.", "dim"))


@app.command(epilog=examples("palaestra models fetch smollm2", "palaestra models fetch tiny:kuhn"))
def fetch(
    model: Model,
    accept_terms: Annotated[
        bool, typer.Option("--accept-terms", help="You have read the model's terms of use, if any, and agree.")
    ] = False,
) -> None:
    """Download or build a model, unless it is here, and print its folder."""
    from palaestra.agents.models import sources

    typer.echo(sources.fetch(model, accept_terms=accept_terms))


@app.command(epilog=examples("palaestra models path smollm2"))
def path(model: Model) -> None:
    """Print the folder of a model that is on this machine."""
    from palaestra.agents.models import sources

    typer.echo(sources.path(model))


def size(folder: Path) -> str:
    """Return how much room a folder takes."""
    return f"{sum(path.stat().st_size for path in folder.rglob('*') if path.is_file()) / 1e6:.0f} MB"
