"""`palaestra interp relays`: what a transplanted thought does to answers, and which components read it."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from palaestra.scripts.console import console, table, untrusted
from palaestra.scripts.errors import examples
from palaestra.scripts.interp_folder import folder_for, run_of, tell

EXAMPLES = examples(
    "palaestra interp relays tiny:relay-uses tiny:relay-half tiny:relay-ignores",
    "palaestra interp relays smollm2 --task arithmetic --provider reference --provider smollm2 --items 20",
)


def relays(
    receivers: Annotated[list[str], typer.Argument(metavar="MODEL...", help="Who reads thoughts and answers.")],
    provider: Annotated[
        list[str] | None, typer.Option(help="Whose thoughts: reference (right reasoning) or a model; repeatable.")
    ] = None,
    task: Annotated[str, typer.Option(help="cups (tiny models) or arithmetic (real models).")] = "cups",
    items: Annotated[int, typer.Option(min=2, help="How many.")] = 100,
    batch: Annotated[int, typer.Option(min=1, help="Prompts a pass.")] = 16,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    to: Annotated[
        Path | None,
        typer.Option(help="Folder; cells that are there are kept. Else that of the first model that is a run's."),
    ] = None,
) -> None:
    """Hand thoughts with a planted error to models: do answers go by it, and which heads read its step?"""
    from palaestra.interp.relays import REFERENCE
    from palaestra.interp.relays import relays as measure

    folder = folder_for("relays", next(filter(run_of, receivers), receivers[0]), to)
    found = measure(
        receivers, folder, providers=provider or [REFERENCE], task=task, items=items, batch=batch, seed=seed, say=_say
    )
    _show(found)
    tell(folder / "index.html")


def _say(line: str) -> None:
    console(stderr=True).print(untrusted(line, "dim"))


def _show(found: dict[str, Any]) -> None:
    shown = table("provider > receiver", "right", "flips", "copied", "use", "read by", right=range(1, 5))
    for one in found["cells"].values():
        said, within = one["behaviour"], one["inside"]
        shown.add_row(
            untrusted(f"{one['provider']} > {one['receiver']}"),
            *(f"{100 * said[key]['mean']:.0f} %" for key in ("accuracy", "flips", "copied")),
            "-" if within["use"] is None else f"{within['use']:.2f}",
            ", ".join(within["readers"]) or "none",
        )
    console().print(shown)
    console().print("Use: 0 where a planted error leaves the log-odds of the answer alone, 1 a tie, 2 turned round.")
