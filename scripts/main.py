"""The `palaestra` command: one module a subcommand.

Nothing heavy is imported before a subcommand needs it, so that help, `envs` and `replay` start at once. Usage reporting
of Ray, vLLM and the hub is switched off here (`root`), before anything could import them. Errors become one sentence in
`palaestra.scripts.errors`.
"""

from __future__ import annotations

import os
import sys
import warnings
from typing import Annotated

import typer

from palaestra.scripts import (
    adapters,
    bench,
    card,
    detector,
    distill,
    doctor,
    envs,
    evaluate,
    experiment,
    interp,
    items,
    models,
    play,
    replay,
    report,
    thoughts,
    tournament,
    train,
)
from palaestra.scripts.errors import CommandGroup, examples, show_warning
from palaestra.trainers import quiet

app = typer.Typer(
    name="palaestra",
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    epilog=examples(
        "palaestra play tic_tac_toe --seats human,mcts",
        "palaestra train configs/quickstart.yaml",
        "palaestra COMMAND --help",
    ),
)

INTERRUPTED = 130
"""Exit status after Ctrl-C, as shells have it."""

_LEARN, _LOOK = "Play and train", "Look and check"
app.command("play", rich_help_panel=_LEARN, epilog=play.EXAMPLES)(play.play)
app.command("train", rich_help_panel=_LEARN, epilog=train.TRAIN_EXAMPLES)(train.train)
app.command("resume", rich_help_panel=_LEARN, epilog=train.RESUME_EXAMPLES)(train.resume)
app.command("evaluate", rich_help_panel=_LEARN, epilog=evaluate.EXAMPLES)(evaluate.evaluate)
app.add_typer(adapters.app, name="adapters", rich_help_panel=_LEARN)
app.command("distill", rich_help_panel=_LEARN, epilog=distill.EXAMPLES)(distill.distill)
app.command("tournament", rich_help_panel=_LEARN, epilog=tournament.EXAMPLES)(tournament.tournament)
app.command("envs", rich_help_panel=_LOOK, epilog=envs.EXAMPLES)(envs.envs)
app.add_typer(replay.app, name="replay", rich_help_panel=_LOOK)
app.command("card", rich_help_panel=_LEARN, epilog=card.EXAMPLES)(card.card)
app.add_typer(detector.app, name="detector", rich_help_panel=_LEARN)
app.command("items", rich_help_panel=_LOOK, epilog=items.EXAMPLES)(items.items)
app.command("report", rich_help_panel=_LOOK, epilog=report.EXAMPLES)(report.report)
app.command("thoughts", rich_help_panel=_LOOK, epilog=thoughts.EXAMPLES)(thoughts.thoughts)
app.add_typer(models.app, name="models", rich_help_panel=_LOOK)
app.add_typer(interp.app, name="interp", rich_help_panel=_LOOK)
app.command("experiment", rich_help_panel=_LOOK, epilog=experiment.EXAMPLES)(experiment.experiment)
app.command("bench", rich_help_panel=_LOOK, epilog=bench.EXAMPLES)(bench.bench)
app.command("doctor", rich_help_panel=_LOOK, epilog=doctor.EXAMPLES)(doctor.doctor)


def _version(asked: bool) -> None:
    if asked:
        from importlib.metadata import version

        typer.echo(f"palaestra {version('palaestra')}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """A reinforcement-learning gym where everything is an environment for a language model."""
    quiet.set_environment()
    quiet.silence_warnings()
    warnings.showwarning = show_warning


def run() -> None:
    """Run the command, and after Ctrl-C leave at once.

    An interrupt may have stopped compiled threads half-way, of Ray at its start or of a search; taking the interpreter
    down around them can end in a crash. By then all is written and Ray's processes are gone.
    """
    try:
        app()
    except SystemExit as done:
        if done.code == INTERRUPTED:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(INTERRUPTED)
        raise


if __name__ == "__main__":
    run()
