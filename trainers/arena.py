"""The arena: plays `MatchTask`s with one engine, all at once; what a runner and `palaestra evaluate` have in common.

Every task ends as an episode, or its failure ends them all (`GameFailed`): a batch never comes back smaller than it
was handed in. The same tasks make the same coroutines in the same order, and the engine starts with nothing cached, so
the same tokens are computed together and the same bits come out, in a new process as in an old one.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path

from palaestra.agents import make_seat
from palaestra.agents.document_reader import DocumentReader, ReadingSeat, reading_seed, seats
from palaestra.agents.engines.base import BASE, ContextOverflow, Engine
from palaestra.agents.language_model import LanguageModelSeat
from palaestra.agents.tokens import TextCodec
from palaestra.envs import Match, ReplayWriter, Seat
from palaestra.envs.errors import PalaestraError
from palaestra.envs.games.next_token import NextToken
from palaestra.trainers.tasks import MatchTask, Played


class GameFailed(PalaestraError, RuntimeError):
    """A match ended with an error in a game, a seat or the engine."""

    @classmethod
    def of(cls, task: MatchTask, error: Exception) -> GameFailed:
        """Return the sentence about an error in a task's match."""
        return cls(
            f"game {task.index} ({task.game}, seed {task.seed}, match seed {task.match_seed}) ended with an error, and "
            f"the others of its batch were stopped: {in_a_line(error)}"
        )


def in_a_line(error: Exception) -> str:
    """Return a user's sentence as it is, and a bug with its kind and place."""
    if isinstance(error, PalaestraError):
        return str(error)
    frames = traceback.extract_tb(error.__traceback__)
    where = f" ({Path(frames[-1].filename).name}, line {frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {' '.join(str(error).split())}{where}"


def _readings(
    reader: DocumentReader | None, codec: TextCodec, tasks: Sequence[MatchTask], reference: str
) -> dict[int, ReadingSeat]:
    """Return the seats of tasks whose documents a policy reads: all at once, by policy, scorer and temperature."""
    alike: dict[tuple[str, str, str, float], list[MatchTask]] = {}
    for task in tasks:
        if task.game == NextToken.id and (policy := task.seats[0].policy) is not None:
            named = reference if policy == BASE else policy
            against = reference if task.against == BASE else task.against
            alike.setdefault((named, task.scorer, against, task.reply.temperature), []).append(task)
    found: dict[int, ReadingSeat] = {}
    for (policy, scorer, against, temperature), same in alike.items():
        if reader is None:
            raise GameFailed(f"{NextToken.id} is read in batches, and no reader was given; have one made for the model")
        games = [_begun(task) for task in same]
        try:
            reader.check(policy, games[0], codec)
            sitting = seats(
                reader,
                policy,
                [game.encoded for game in games],
                [reading_seed(task.match_seed) for task in same],
                thoughts=[task.seats[0].thoughts for task in same],
                scored_by=scorer,
                reference=against,
                temperature=temperature,
            )
        except Exception as error:
            raise GameFailed.of(same[0], error) from error
        found |= {task.index: seat for task, seat in zip(same, sitting, strict=True)}
    return found


def _begun(task: MatchTask) -> NextToken:
    """Return a task's game at its beginning, with its document."""
    try:
        game = task.begin()
    except Exception as error:
        raise GameFailed.of(task, error) from error
    assert isinstance(game, NextToken)
    return game


async def play_tasks(
    engine: Engine,
    codec: TextCodec,
    tasks: Sequence[MatchTask],
    *,
    reader: DocumentReader | None = None,
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
        reader: Reads documents for the same policies; needed for games of them.
        reference: The engine's name for the frozen reference, which tasks call `BASE`.
        concurrent: Matches that are played at once.
        records: Whether a replay at this path is to be written here.
        told: Called with every game as it ends.

    Raises:
        GameFailed: One of them ended with an error; the others were stopped.
    """
    engine.forget()
    reading = _readings(reader, codec, tasks, reference)
    slots = asyncio.Semaphore(concurrent)
    began = time.perf_counter()

    def seat(task: MatchTask, player: int) -> Seat:
        plan = task.seats[player]
        if plan.policy is None:
            return make_seat(plan.seat, settings=task.reply)
        if task.index in reading:
            return reading[task.index]
        policy = reference if plan.policy == BASE else plan.policy
        return LanguageModelSeat(engine, codec, policy=policy, settings=task.reply)

    async def play(task: MatchTask) -> Played:
        recorded = task.replay is not None and records(task.replay)
        match = Match(
            task.begin(),
            [seat(task, player) for player in range(len(task.seats))],
            task.rules,
            record=task.replay is not None,
            recorder=ReplayWriter(task.replay, meta=task.meta) if recorded and task.replay else None,
            seed=task.match_seed,
        )
        try:
            episode = await match.play()
        except ContextOverflow:
            if not task.spare:
                raise
            episode = match.stopped()
        return Played(task, episode, time.perf_counter() - began, recorded)

    async def one(task: MatchTask) -> Played:
        async with slots:
            try:
                played = await play(task)
            except Exception as error:
                raise GameFailed.of(task, error) from error
            told(played)
            return played

    playing = [asyncio.ensure_future(one(task)) for task in tasks]
    try:
        return list(await asyncio.gather(*playing))
    finally:
        for game in playing:
            game.cancel()
        await asyncio.gather(*playing, return_exceptions=True)
