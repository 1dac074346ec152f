"""How surprised a model really is: -log p of what a program is said to have printed, under the model's own weights.

What a model *says* of an output is a reply that it was asked for. What it *computes* stands in its probabilities: asked
what the program prints, how likely is it to write just that? The two need not agree, and where they do, that alone is
no introspection: a program that is hard is hard for others, too (see `measures.surprise.introspection`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from palaestra.agents import make_seat
from palaestra.agents.language_model import LanguageModelSeat
from palaestra.envs import make
from palaestra.envs.errors import OptionError
from palaestra.envs.games.terminal_surprise import TerminalSurprise
from palaestra.trainers.measures.detection import auroc
from palaestra.trainers.measures.surprise import introspection, rank_correlation

TOGETHER = 16


@dataclass(frozen=True, slots=True)
class OwnSurprise:
    """What a model computed, beside what was said.

    Attributes:
        kept, replaced: Mean of -log p (nats an output) where the output was kept, and where it was replaced.
        auroc: How well -log p tells replaced outputs from kept ones; NaN if only one of them was seen.
        said: Rank correlation of the stated probabilities with -log p; None where fewer than 4 were stated.
        introspection: The same given the twin's -log p; None without a twin.
    """

    kept: float
    replaced: float
    auroc: float
    said: float | None
    introspection: float | None


def is_local_model(spec: str) -> bool:
    """Return whether a seat is a model whose probabilities can be read."""
    return isinstance(make_seat(spec), LanguageModelSeat)


def own_surprise(spec: str, options: Mapping[str, Any], cases: int, seed: int) -> list[float]:
    """Return -log p (nats) of the output of each case, its end included, behind the question what the program prints.

    Args:
        spec: A model of this machine, with or without an adapter.
        options: Of `terminal_surprise`.
        cases: How many, from ``seed`` on, as in `surprise_card`.

    Raises:
        OptionError: The seat is no model of this machine.
    """
    seat = make_seat(spec)
    if not isinstance(seat, LanguageModelSeat):
        raise OptionError(f"{spec} is no model of this machine, so its probabilities cannot be read; name a model.")
    from palaestra.trainers.config import GameSection
    from palaestra.trainers.readout import contexts, reply_ids

    section = GameSection(game=TerminalSurprise.id)
    asked = {**options, "forecast": True, "looks": 0, "explain": False}

    asks: list[tuple[list[int], list[int]]] = []
    for number in range(cases):
        game = make(section.game, seed=seed + number, **asked)
        assert isinstance(game, TerminalSurprise)
        output = game.case.output
        asks.append((contexts(game, section, seat.codec, [output, "0.5"])[0], reply_ids(seat.codec, output)))

    async def one(context: list[int], reply: list[int], gate: asyncio.Semaphore) -> float:
        async with gate:
            scores = await seat.engine.score([*context, *reply], policy=seat.policy)
        return -sum(scores[-len(reply) :])

    async def everything() -> list[float]:
        gate = asyncio.Semaphore(TOGETHER)
        return list(await asyncio.gather(*(one(*ask, gate) for ask in asks)))

    return asyncio.run(everything())


def compared(
    own: Sequence[float], replaced: Sequence[bool], stated: Sequence[float | None], twin: Sequence[float] | None = None
) -> OwnSurprise:
    """Return what -log p tells of the cases, and how what was stated goes with it.

    Args:
        own: -log p of each output.
        replaced: Whether it was.
        stated: The probability that was stated; None where none was.
        twin: -log p under a model of like kind.
    """
    kept, wrong = ([one for one, was in zip(own, replaced, strict=True) if was == which] for which in (False, True))
    told = [number for number, said in enumerate(stated) if said is not None]
    said = [float(stated[number] or 0.0) for number in told]
    mine = [own[number] for number in told]
    enough = len(told) >= 4
    return OwnSurprise(
        kept=sum(kept) / len(kept) if kept else float("nan"),
        replaced=sum(wrong) / len(wrong) if wrong else float("nan"),
        auroc=auroc(kept, wrong) if kept and wrong else float("nan"),
        said=rank_correlation(said, mine) if enough else None,
        introspection=introspection(said, mine, [twin[number] for number in told]) if enough and twin else None,
    )
