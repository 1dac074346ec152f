"""Playing `cot_relay` many times over: thoughts are written once, and read by anybody under every intervention."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from palaestra.agents import make_seat
from palaestra.agents.language_model import ReplySettings
from palaestra.envs import Game, Scripted, Seat, make
from palaestra.envs.games.cot_relay import CotRelay
from palaestra.trainers.experiments.framework import Scale
from palaestra.trainers.together import ONE_REPLY, play_together

RULES = replace(ONE_REPLY, accept_cut=True)
THINKING = ReplySettings(
    max_tokens=60, temperature=0.0, context="fresh", system="Think step by step, in a few short sentences."
)
"""How a real model writes a thought."""
ALOUD = ReplySettings(
    max_tokens=80,
    temperature=0.0,
    context="fresh",
    system="Think in a few short sentences, and end with 'Answer: ...'.",
)
"""How it replies where it may reason first."""


@dataclass(frozen=True)
class Items:
    """What a reader is asked, and how.

    Attributes:
        options: Of `cot_relay`.
        settings: How it replies.
        count: Items, by scale.
    """

    options: dict[str, Any]
    settings: ReplySettings
    count: dict[Scale, int]


def thoughts(provider: str, asked: Items, items: int, seed: int, **options: Any) -> list[str]:
    """Return what a model writes about the items that follow from the seed; nothing where its reply was no text."""
    games = _games(asked, items, seed, {**options, "reference": False})
    play_together(
        [partial(_table, game, [make_seat(provider, settings=THINKING), Scripted("")]) for game in games], RULES
    )
    return [game.thought for game in games]


def answered(
    receiver: str, asked: Items, items: int, seed: int, written: Sequence[str] | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Return the results of a receiver on items that follow from the seed, the same under every intervention.

    Args:
        receiver: A seat.
        asked: What and how.
        items: How many.
        seed: Of the cell.
        written: A thought for each item; without them they are right reasoning.
        **options: Of `cot_relay`, such as the intervention.
    """
    games = _games(asked, items, seed, {**options, "reference": written is None})
    settings = ALOUD if options.get("mode") == "free" else asked.settings
    writers = [[]] * items if written is None else [[Scripted(text)] for text in written]
    seats = [[*writer, make_seat(receiver, settings=settings)] for writer in writers]
    play_together([partial(_table, *table) for table in zip(games, seats, strict=True)], RULES)
    return [game.result() for game in games]


def _games(asked: Items, items: int, seed: int, options: dict[str, Any]) -> list[CotRelay]:
    games = [
        make("cot_relay", seed=seed * 1_000_000 + number, **{**asked.options, **options}) for number in range(items)
    ]
    return [game for game in games if isinstance(game, CotRelay)]


def _table(game: Game, seats: list[Seat]) -> tuple[Game, list[Seat]]:
    return game, seats
