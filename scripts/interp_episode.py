"""`palaestra interp episode`: one decision of a recorded game explained."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from palaestra.scripts.console import console, untrusted
from palaestra.scripts.errors import examples
from palaestra.scripts.interp_folder import folder_for, tell

EXAMPLES = examples("palaestra interp episode runs/quickstart/replays/after/0-0000-0.jsonl --turn 1")


def episode(
    replay: Annotated[Path, typer.Argument(metavar="REPLAY", help="A replay with a language model's turns.")],
    turn: Annotated[int, typer.Option(help="Which one, counted from 1, as `palaestra replay show` does.")],
    model: Annotated[
        str | None, typer.Option(metavar="MODEL", help="Who decides; the model that played, if the replay is a run's.")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where it goes; else the run's folder, or interp-episode-….")
    ] = None,
) -> None:
    """Explain one decision: which earlier words and components drove it, and how much came from others' thoughts."""
    with console(stderr=True).status("opening the model…"):
        from palaestra.interp.episode import explain_replay
        from palaestra.interp.episode_page import write_episode

        opened, found = explain_replay(replay, turn, model)
        folder = folder_for(f"episode-{replay.stem}-{turn}", replay, to)
        page = write_episode(folder, opened, found, f"One decision of {replay.name}.")
    out = console()
    out.print(untrusted(f"{found.decision.chosen!r} over {found.decision.other!r} by {found.margin:.2f} logits"))
    for name, value in found.sources.items():
        if value is not None:
            out.print(untrusted(f"  {value:+.2f} by {name}"))
    tell(page)
