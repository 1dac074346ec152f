"""`palaestra train` and `palaestra resume`: a run, watched."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palaestra.scripts.console import console, untrusted
from palaestra.scripts.errors import examples

if TYPE_CHECKING:
    from palaestra.trainers.run import Watcher

TRAIN_EXAMPLES = examples(
    "palaestra train configs/quickstart.yaml",
    "palaestra train configs/quickstart.yaml --set iterations=20 --set optimizer.lr=1e-4 --set name=longer",
    "palaestra train configs/quickstart.yaml --folder /scratch/run-7",
)
RESUME_EXAMPLES = examples("palaestra resume runs/quickstart")


def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG", help="A YAML file; configs/ has examples.")],
    overrides: Annotated[
        list[str] | None, typer.Option("--set", metavar="A.B=C", help="Replace a value of the file; repeatable.")
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="Run folder; runs/NAME if not given.")] = None,
) -> None:
    """Train an adapter by self-play, and write a report.

    Ctrl-C stops after the iteration in progress, a second Ctrl-C at once; `palaestra resume` goes on either way.
    """
    from palaestra.trainers.config import load_config

    checked = load_config(config, overrides or ())
    with console(stderr=True).status("loading torch and Ray…"):
        from palaestra.trainers.run import train as train_run

    _watched(checked.iterations, lambda watcher: train_run(checked, folder, watcher))


def resume(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="A run folder.")],
) -> None:
    """Go on with a run that was stopped or killed, from its last checkpoint."""
    with console(stderr=True).status("loading torch and Ray…"):
        from palaestra.trainers.run import open_run
        from palaestra.trainers.run import resume as resume_run

        opened = open_run(run)
    if opened.finished():
        console().print("The run is finished; its report is written anew. More `iterations` in its config.yaml go on.")
    _watched(opened.config.iterations, lambda watcher: resume_run(run, watcher))


def _watched(iterations: int, execute: Callable[[Watcher], Path]) -> None:
    from palaestra.scripts.live import Progress

    with Progress(iterations) as progress:
        folder = execute(progress)
        progress.began("writing the report")
        from palaestra.scripts.interp_diff import fill_report
        from palaestra.trainers.report import write_report

        fill_report()
        page = write_report(folder)
    _conclude(folder, page)


def _conclude(folder: Path, page: Path) -> None:
    """Print before against after, and where everything is."""
    import json

    from palaestra.scripts.live import scores_table
    from palaestra.trainers.summary import Score

    out = console()
    measured = folder / "evaluation.json"
    if measured.is_file():
        times = json.loads(measured.read_text(encoding="utf-8"))
        for index in range(len(next(iter(times.values()), []))):
            out.print()
            out.print(scores_table({when: _score(Score, scores[index]) for when, scores in times.items()}))
        out.print()
    here = _shown(folder)
    out.print(untrusted(f"Report: {_shown(page)}"))
    adapters = sorted(path.name for path in folder.glob("adapter*") if (path / "adapter_config.json").is_file())
    for name in adapters:
        out.print(untrusted(f"Adapter: {here}/{name} (a PEFT folder)"))
    out.print(untrusted(f"Replays: {here}/replays; `palaestra replay show FILE` shows one"))


def _score(kind: Any, data: dict[str, Any]) -> Any:
    """Return a score; what could not be measured was saved as null."""
    numbers = {key: {k: float("nan") if v is None else v for k, v in data[key].items()} for key in ("legal", "result")}
    return kind.from_json({**data, **numbers})


def _shown(path: Path) -> str:
    """Return a path as short as it can be written here."""
    here = Path.cwd()
    return str(path.relative_to(here)) if path.is_relative_to(here) else str(path)
