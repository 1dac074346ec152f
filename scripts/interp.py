"""`palaestra interp`: opening a model and its adapters, one subcommand an analysis."""

from __future__ import annotations

import typer

from palaestra.scripts import (
    interp_arithmetic,
    interp_atlas,
    interp_circuit,
    interp_diff,
    interp_episode,
    interp_reasoning,
    interp_relays,
    interp_teach,
)
from palaestra.scripts.errors import CommandGroup, examples

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    help="Open a model: what matters in it, what training changed, and why.",
    epilog=examples(
        "palaestra interp episode runs/quickstart/replays/after/0-0000-0.jsonl --turn 1",
        "palaestra interp circuit smollm2 --task ioi",
    ),
)
app.command("circuit", epilog=interp_circuit.EXAMPLES)(interp_circuit.circuit)
app.command("episode", epilog=interp_episode.EXAMPLES)(interp_episode.episode)
app.command("arithmetic", epilog=interp_arithmetic.EXAMPLES)(interp_arithmetic.arithmetic)
app.command("atlas", epilog=interp_atlas.ATLAS_EXAMPLES)(interp_atlas.atlas)
app.command("atlas-check", epilog=interp_atlas.CHECK_EXAMPLES)(interp_atlas.atlas_check)
app.command("diff", epilog=interp_diff.EXAMPLES)(interp_diff.diff)
app.command("diff-check", epilog=interp_diff.CHECK_EXAMPLES)(interp_diff.diff_check)
app.command("reasoning", epilog=interp_reasoning.EXAMPLES)(interp_reasoning.reasoning)
app.command("relays", epilog=interp_relays.EXAMPLES)(interp_relays.relays)
app.command("teach", epilog=interp_teach.EXAMPLES)(interp_teach.teach)
