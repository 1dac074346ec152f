"""`palaestra tournament`: who is stronger, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palaestra.scripts.console import console, untrusted
from palaestra.scripts.errors import examples

if TYPE_CHECKING:
    from palaestra.trainers.tournament.run import Progress
    from palaestra.trainers.tournament.standings import Standing

EXAMPLES = examples(
    "palaestra tournament configs/tournaments/ladder.yaml",
    "palaestra tournament configs/tournaments/ladder.yaml --set groups=8 --set resources.workers=0",
    "palaestra tournament configs/tournaments/ladder.yaml --set entrants.mine=smollm2@runs/quickstart",
)


def tournament(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file; configs/tournaments/ has some.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Replace a value of the file; repeatable.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Where all is kept; runs/NAME if not given.")] = None,
    save: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the standings there, too, with the hardware.")
    ] = None,
) -> None:
    """Let seats play each other over seat-flipped groups, and rate them with intervals.

    Started again after Ctrl-C or a crash it goes on; finished games are not played again. Ratings and every game are in
    one SQLite file, the pictures in report.html.
    """
    from palaestra.trainers.tournament.config import load_tournament

    checked = load_tournament(config, overrides or ())
    with console(stderr=True).status("starting…"):
        from palaestra.trainers.tournament.run import check, hold
        from palaestra.trainers.tournament.standings import save_standings

        check(checked)
    where = folder or Path("runs", checked.name)
    with _Live() as live:
        found = hold(checked, where, live.told)
    if save is not None:
        save_standings(save, checked, found)
    out = console()
    for standing in found:
        out.print()
        out.print(standings_table(standing))
        for error in standing.errors:
            out.print(untrusted(f"Could not be played: {error}", "red"))
    out.print()
    out.print(untrusted(f"Report: {where / 'report.html'}"))
    out.print(untrusted(f"Games and ratings: {checked.store or where / 'arena.sqlite'}"))


def standings_table(standing: Standing) -> Any:
    """Return a standing as a table for the terminal."""
    from rich.table import Table

    table = Table(title=f"{standing.label}, {standing.games} games", title_justify="left", box=None, pad_edge=False)
    names = "entrant,rating,95 %,next,points,seats,illegal,unparsable,cut,forfeits,gifts,tokens,s/turn"
    for index, name in enumerate(names.split(",")):
        table.add_column(name, justify="right" if index else "left", no_wrap=True)
    for index, line in enumerate(standing.lines):
        following = standing.lines[index + 1].entrant if index + 1 < len(standing.lines) else None
        sure = "" if following is None else "better" if standing.decided[line.entrant, following] else "open"
        table.add_row(
            untrusted(line.entrant),
            f"{line.rating.mean:.0f}",
            "" if math.isnan(line.rating.low) else f"{line.rating.low:.0f} to {line.rating.high:.0f}",
            sure,
            f"{line.score.mean:.0%}",
            f"{line.seats}",
            f"{line.illegal:.0%}",
            f"{line.unparsable:.0%}",
            f"{line.truncated:.0%}",
            f"{line.forfeits:.0%}",
            f"{line.gifts:.0%}",
            f"{line.tokens:.0f}",
            f"{line.seconds:.3f}",
        )
    return table


class _Live:
    """A bar in a terminal, a line a round elsewhere."""

    def __enter__(self) -> _Live:
        from rich.progress import BarColumn, Progress, TextColumn

        self.out = console(stderr=True)
        self.bar = Progress(
            TextColumn("{task.description}"), BarColumn(), TextColumn("{task.fields[left]}"), console=self.out,
            transient=True, disable=not self.out.is_terminal,
        )  # fmt: skip
        self.task = self.bar.add_task("starting", total=None, left="")
        self.bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self.bar.stop()

    def told(self, progress: Progress, found: Sequence[Standing]) -> None:
        """Show progress, and the order after a round."""
        from palaestra.scripts.console import duration

        left = "" if progress.seconds_left is None else f"{duration(progress.seconds_left)} left"
        failed = f", {progress.failed} failed" if progress.failed else ""
        text = f"round {progress.round} of {progress.rounds}, {progress.games} games{failed}"
        self.bar.update(self.task, description=text, completed=progress.round - 1, total=progress.rounds, left=left)
        if found:
            order = "  ".join(f"{line.entrant} {line.rating.mean:.0f}" for line in found[0].lines)
            self.out.print(untrusted(f"{text}: {order}", "dim"))
