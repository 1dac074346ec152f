"""The arena: plays `MatchTask`s with one engine, all at once; what a runner and `palaestra evaluate` have in common."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence

from palaestra.agents import make_seat
from palaestra.agents.engines.base import BASE, Engine
from palaestra.agents.language_model import LanguageModelSeat
from palaestra.agents.tokens import TextCodec
from palaestra.envs import Match, MatchRules, ReplayWriter, Seat, make
from palaestra.trainers.tasks import MatchTask, Played


async def play_tasks(
    engine: Engine,
    codec: TextCodec,
    tasks: Sequence[MatchTask],
    *,
    reference: str = BASE,
    concurrent: int = 64,
    records: Callable[[str], bool] = lambda path: True,
    told: Callable[[Played], None] = lambda played: None,
) -> list[Played]:
    """Play tasks and return them in order.

    Args:
        engine: Serves every policy version that the tasks name.
        codec: The tokenizer of the engine's model.
        tasks: What to play.
        reference: The engine's name for the frozen reference, which tasks call `BASE`.
        concurrent: Matches that are played at once.
        records: Whether a replay at this path is to be written here.
        told: Called with every game as it ends.
    """
    slots = asyncio.Semaphore(concurrent)
    began = time.perf_counter()

    def seat(task: MatchTask, player: int) -> Seat:
        plan = task.seats[player]
        if plan.policy is None:
            return make_seat(plan.seat)
        policy = reference if plan.policy == BASE else plan.policy
        return LanguageModelSeat(engine, codec, policy=policy, settings=task.reply)

    async def one(task: MatchTask) -> Played:
        async with slots:
            recorded = task.replay is not None and records(task.replay)
            match = Match(
                make(task.game, seed=task.seed, **task.options),
                [seat(task, player) for player in range(len(task.seats))],
                MatchRules.from_json(task.rules),
                recorder=ReplayWriter(task.replay, meta=task.meta) if recorded and task.replay else None,
                seed=task.match_seed,
            )
            played = Played(task, await match.play(), time.perf_counter() - began, recorded)
            told(played)
            return played

    return list(await asyncio.gather(*(one(task) for task in tasks)))
