"""Many matches at once in this process, so that a model's seats are answered in batches."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from palaestra.envs import Episode, Game, Match, MatchRules, OnFailure
from palaestra.envs.seat import Seat

TOGETHER = 64
ONE_REPLY = MatchRules(illegal=OnFailure(0), unparsable=OnFailure(0), truncated=OnFailure(0))
"""Who answers something else than an action has no second try: what is measured is the first answer."""

Table = Callable[[], tuple[Game, Sequence[Seat]]]


def play_together(
    tables: Sequence[Table], rules: MatchRules = ONE_REPLY, *, told: Callable[[], None] = lambda: None
) -> list[Episode]:
    """Play a match at each table, at most `TOGETHER` at once, and return the episodes in order.

    Args:
        tables: Each makes a game and its seats when its turn comes.
        told: Called after each match.
    """

    async def one(table: Table, gate: asyncio.Semaphore) -> Episode:
        async with gate:
            game, seats = table()
            episode = await Match(game, seats, rules).play()
        told()
        return episode

    async def everything() -> list[Episode]:
        gate = asyncio.Semaphore(TOGETHER)
        return list(await asyncio.gather(*(one(table, gate) for table in tables)))

    return asyncio.run(everything())
