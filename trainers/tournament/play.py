"""Playing the games of a tournament: one coroutine a game, in this process or in Ray actors, recorded as they end.

A game that ends with an error, or that takes too long, is a game too: it is recorded as failed, named in the standings
and rated as nothing; no game ends a tournament. Finished games are in the store before the next ones are handed out,
so whoever starts the same tournament again goes on where it was stopped.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from palaestra.agents import make_seat
from palaestra.agents.server import share_among
from palaestra.envs import Match, Reply, Seat, View, make
from palaestra.envs.episode import Episode
from palaestra.envs.replay import ReplayLines
from palaestra.trainers.arena import in_a_line
from palaestra.trainers.derailment import tallies
from palaestra.trainers.tasks import free_seats
from palaestra.trainers.tournament.config import TournamentConfig
from palaestra.trainers.tournament.schedule import Fixture
from palaestra.trainers.tournament.store import GameRecord, SeatRecord

Result = tuple[GameRecord, list[bytes]]
"""A game's record and the lines of its replay."""


class _Timed:
    """A seat that counts the seconds its replies take."""

    def __init__(self, seat: Seat, name: str) -> None:
        self.seat, self.name, self.seconds = seat, name, 0.0

    async def act(self, view: View) -> Reply:
        began = time.perf_counter()
        try:
            return await self.seat.act(view)
        finally:
            self.seconds += time.perf_counter() - began

    @property
    def can_read(self) -> Any:
        return getattr(self.seat, "can_read", None)

    def close(self) -> None:
        if (close := getattr(self.seat, "close", None)) is not None:
            close()


async def play_fixture(config: TournamentConfig, fixture: Fixture) -> Result:
    """Play one game and return its record, whatever happens in it."""
    table = config.tables[fixture.table]
    began = time.perf_counter()
    seats: list[_Timed] = []
    recorder = ReplayLines({"tournament": config.name, "fixture": fixture.id})
    try:
        settings = table.reply.settings()
        game = make(table.game, seed=fixture.seed, **table.options)
        rated = iter(fixture.lineup)
        for number in range(1, game.facts.players + 1):
            fixed = table.fixed_seats.get(number)
            name = fixed or next(rated)
            spec = fixed or config.entrants[name]
            seats.append(_Timed(make_seat(spec, settings=settings, game=game, seed=fixture.match_seed), name))
        match = Match(game, seats, table.rules.of(table.game), recorder=recorder, seed=fixture.match_seed)
        episode = await asyncio.wait_for(match.play(), config.resources.timeout_s)
    except TimeoutError:
        error = f"it took longer than {config.resources.timeout_s:g} s (resources.timeout_s)"
        return _failed(config, fixture, error, time.perf_counter() - began), []
    except Exception as error:  # one game must not end a tournament, whatever a game, a seat or a server does
        return _failed(config, fixture, in_a_line(error), time.perf_counter() - began), []
    seconds = time.perf_counter() - began
    record = _record(config, fixture, episode, [seat.seconds for seat in seats], seconds)
    return record, recorder.lines


def _record(
    config: TournamentConfig, fixture: Fixture, episode: Episode, waited: Sequence[float], seconds: float
) -> GameRecord:
    seats = []
    fixed = config.tables[fixture.table].fixed_seats
    free = free_seats(len(episode.seats), fixed)
    for seat, name in zip(free, fixture.lineup, strict=True):
        turns = [turn for turn in episode.turns if turn.player == seat]
        attempts = [attempt for turn in turns for attempt in turn.attempts]
        tokens = [attempt.reply.tokens for attempt in attempts]
        told = [attempt.reply.info or {} for attempt in attempts]  # by a server, which has no token ids
        seats.append(
            SeatRecord(
                seat=seat,
                entrant=name,
                role=episode.roles[seat],
                result=None if episode.returns is None else episode.returns[seat],
                ok=episode.count("ok", seat),
                illegal=episode.count("illegal", seat),
                unparsable=episode.count("unparsable", seat),
                truncated=episode.count("truncated", seat),
                forfeited=seat in episode.forfeits,
                substituted=sum(turn.substituted for turn in turns),
                turns=len(turns),
                tokens=sum(len(record.ids) for record in tokens if record is not None)
                + sum(info.get("completion_tokens", 0) for info in told),
                prompt_tokens=sum(len(record.context) for record in tokens if record is not None)
                + sum(info.get("prompt_tokens", 0) for info in told),
                cost=sum(info.get("cost", 0.0) for info in told),
                seconds=waited[seat],
            )
        )
    entrants = dict(zip(free, fixture.lineup, strict=True))
    names = tuple(entrants.get(seat) or fixed[seat + 1] for seat in range(len(episode.seats)))
    record = _game(config, fixture, episode.outcome, len(episode.turns), seconds, tuple(seats))
    talk = tallies(episode, names, fixture.id)
    return replace(record, talk=talk, players=len(names), details=episode.result)


def _failed(config: TournamentConfig, fixture: Fixture, error: str, seconds: float) -> GameRecord:
    fixed = config.tables[fixture.table].fixed_seats
    nothing = {"ok": 0, "illegal": 0, "unparsable": 0, "truncated": 0, "substituted": 0, "turns": 0, "tokens": 0}
    seats = tuple(
        SeatRecord(seat, name, "", None, forfeited=False, prompt_tokens=0, cost=0.0, seconds=0.0, **nothing)
        for seat, name in zip(free_seats(len(fixture.lineup) + len(fixed), fixed), fixture.lineup, strict=True)
    )
    return _game(config, fixture, "failed", 0, seconds, seats, error)


def _game(
    config: TournamentConfig,
    fixture: Fixture,
    outcome: str,
    turns: int,
    seconds: float,
    seats: tuple[SeatRecord, ...],
    error: str | None = None,
) -> GameRecord:
    table = config.tables[fixture.table]
    return GameRecord(
        id=fixture.id,
        label=config.label(fixture.table),
        game=table.game,
        options=table.options,
        round=fixture.round,
        group=fixture.group,
        seed=fixture.seed,
        match_seed=fixture.match_seed,
        outcome=outcome,
        turns=turns,
        seconds=seconds,
        seats=seats,
        error=error,
    )


class Players:
    """Whoever plays the games: this process, or actors on Ray.

    Use as a context manager; `play` yields results as games end, in any order. Ray is started with the first game.
    """

    def __init__(self, config: TournamentConfig) -> None:
        self.config = config
        self._actors: list[Any] = []
        self._connection: Any = None

    def __enter__(self) -> Players:
        return self

    def __exit__(self, *error: Any) -> None:
        self._actors = []
        if self._connection is not None:
            self._connection.__exit__(*error)

    def play(self, fixtures: Sequence[Fixture]) -> Iterator[Result]:
        """Play games and yield each as it ends.

        Raises:
            ClusterError: Ray cannot be started or reached, or has too little room.
        """
        if not fixtures:
            return iter(())
        return self._on_ray(fixtures) if self.config.resources.workers else self._here(fixtures)

    def _connect(self) -> None:
        import ray

        from palaestra.trainers import cluster

        resources = self.config.resources
        processes = int(resources.workers * max(1.0, resources.cpus_per_worker))
        connection = cluster.connected(resources.address, processes)
        connection.__enter__()
        self._connection = connection
        cluster.check_room(resources.workers * resources.cpus_per_worker, resources.workers * resources.gpus_per_worker)
        kind = ray.remote(_Actor).options(
            num_cpus=resources.cpus_per_worker,
            num_gpus=resources.gpus_per_worker,
            max_concurrency=resources.concurrent_games,
            max_restarts=-1,
            max_task_retries=3,
        )
        self._actors = [kind.remote(self.config.model_dump_json()) for _ in range(resources.workers)]

    def _here(self, fixtures: Sequence[Fixture]) -> Iterator[Result]:
        """Play in batches, since results cannot leave a running loop."""
        size = self.config.resources.concurrent_games
        for start in range(0, len(fixtures), size):
            batch = fixtures[start : start + size]

            async def all_of_them(batch: Sequence[Fixture] = batch) -> list[Result]:
                return list(await asyncio.gather(*(play_fixture(self.config, fixture) for fixture in batch)))

            yield from asyncio.run(all_of_them())

    def _on_ray(self, fixtures: Sequence[Fixture]) -> Iterator[Result]:
        import ray

        if not self._actors:
            self._connect()
        waiting = list(reversed(fixtures))
        running: dict[Any, tuple[int, Fixture]] = {}
        free = [actor for _ in range(self.config.resources.concurrent_games) for actor in range(len(self._actors))]
        while waiting or running:
            while waiting and free:
                fixture, actor = waiting.pop(), free.pop()
                running[self._actors[actor].play.remote(fixture)] = (actor, fixture)
            done, _ = ray.wait(list(running), num_returns=1)
            for reference in done:
                actor, fixture = running.pop(reference)
                free.insert(0, actor)
                try:
                    yield ray.get(reference)
                except ray.exceptions.RayError as error:
                    reason = f"its worker died again and again ({type(error).__name__})"
                    yield _failed(self.config, fixture, reason, 0.0), []


class _Actor:
    """A process that plays; games that run at once share its engines."""

    def __init__(self, config: str) -> None:
        self.config = TournamentConfig.model_validate_json(config)
        share_among(self.config.resources.workers)

    async def play(self, fixture: Fixture) -> Result:
        return await play_fixture(self.config, fixture)


def write_replay(folder: Path, record: GameRecord, lines: Sequence[bytes]) -> str:
    """Write a game's replay below ``folder`` and return its path relative to that."""
    name = f"replays/{record.id.replace('/', '-')}.jsonl"
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(lines))
    return name
