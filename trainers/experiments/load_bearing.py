"""Does what the trained receiver names hang on the symbol itself? The code of the arm *blind* under the load-bearing
test, in games (`palaestra.trainers.swapped_symbols`), and the policy that it began as under the same.

Nothing is trained here but the arm that is tested, where it was not.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from palaestra.trainers.experiments.framework import Cell
from palaestra.trainers.experiments.steganography import EXPERIMENT, config_of
from palaestra.trainers.experiments.trained_cell import beside
from palaestra.trainers.measures.load_bearing import LoadBearing
from palaestra.trainers.swapped_symbols import symbol_test

GAMES = 1000


def run(cell: Cell) -> dict[str, Any]:
    """Play one cell."""
    blind = replace(cell, arm="blind")
    config = config_of(blind, 1)
    policy = config.model.source
    if cell.arm == "load_bearing":
        policy += f"@{beside(cell, EXPERIMENT, blind.arm).folder / 'adapter'}"
    section = config.games[0]
    asked = section.reply.settings()
    return measured(symbol_test(
        policy, policy, games=GAMES, seed=cell.seed * GAMES, options=section.options, settings=(asked, asked)
    ))  # fmt: skip


def measured(found: LoadBearing) -> dict[str, float]:
    """Return the numbers of a cell."""
    return {
        "legal": found.known.n / GAMES,
        "known": found.known.mean,
        "follow_swapped": found.follow_swapped.mean,
        "follow_fixed": found.follow_fixed.mean,
    }
