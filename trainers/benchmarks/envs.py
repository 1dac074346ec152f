"""How fast games go: random seats through the match, with and without recording, beside the raw engine's loop.

A *step* is one accepted action of one player. Every game is played with its default options, one match after the other
in one event loop, by `RandomSeat`s that draw a legal action from the seed of their turn; so all sides play the same
games.
"""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

from palaestra.envs import Match, RandomSeat, ReplayWriter, game_ids, make
from palaestra.envs.episode import Episode
from palaestra.envs.game import Game
from palaestra.trainers.benchmarks.framework import Aim, Benchmark, Case, Counts, Side
from palaestra.trainers.benchmarks.raw_games import RawLoop, raw_loop

BRIDGED = ("openspiel/backgammon", "openspiel/connect_four", "openspiel/leduc_poker")
"""Games of the bridge that stand for all of them: much chance, none, and hidden cards."""

LEAST = {"tic_tac_toe": 20_000.0, "chess": 3_000.0}
"""Aims, in steps a second with recording off."""

STEPS = 10_000
OFF, MEMORY, DISK, RAW = "recording off", "in memory", "to disk", "raw engine"


def match_of(game: Game, **options: object) -> Match:
    """Return a match of random seats."""
    return Match(game, [RandomSeat(player) for player in range(game.facts.players)], **options)  # type: ignore[arg-type]


def first_games(name: str, steps: int) -> list[tuple[Game, Episode]]:
    """Play games with seeds 0, 1, ... until they have at least ``steps`` steps; return them as they ended."""

    async def play() -> list[tuple[Game, Episode]]:
        played: list[tuple[Game, Episode]] = []
        done = 0
        while done < steps:
            game = make(name, seed=len(played))
            played.append((game, await match_of(game, record=False).play()))
            done += len(played[-1][1].turns)
        return played

    return asyncio.run(play())


def play_all(name: str, games: int, options: Callable[[int], dict[str, object]]) -> Counts:
    """Play the first ``games`` games through the match; ``options`` gives a match's options by its seed."""

    async def play() -> int:
        steps = 0
        for seed in range(games):
            steps += len((await match_of(make(name, seed=seed), **options(seed)).play()).turns)
        return steps

    return {"steps": asyncio.run(play()), "games": games}


def play_to_disk(name: str, games: int) -> Counts:
    """Play with a replay file for each game."""
    with tempfile.TemporaryDirectory(prefix="palaestra-bench-") as folder:
        return play_all(name, games, lambda seed: {"recorder": ReplayWriter(Path(folder) / f"{seed}.jsonl")})


def play_raw(loop: RawLoop, games: int) -> Counts:
    """Play with the raw engine."""
    return {"steps": loop.run(), "games": games}


def case_of(name: str, steps: int) -> Case:
    """Return the case of one game."""
    played = first_games(name, steps)
    games = len(played)
    sides = [
        Side(
            OFF, "the match, keeping actions and replies", partial(play_all, name, games, lambda _: {"record": False})
        ),
        Side(
            MEMORY,
            "the match with observation texts and a state hash at every turn",
            partial(play_all, name, games, lambda _: {"record": True}),
        ),
        Side(
            DISK,
            "the same, with a replay file a game, written turn by turn (without fsync)",
            partial(play_to_disk, name, games),
        ),
    ]
    aims = [Aim(DISK, to=OFF)]
    if name in LEAST:
        aims.insert(0, Aim(OFF, least=LEAST[name]))
    loop = raw_loop(played)
    if loop is not None:
        sides.append(
            Side(RAW, "the engine's own loop over the same games, without a match", partial(play_raw, loop, games))
        )
        aims.append(Aim(OFF, to=RAW))
    engine = f"the raw engine is {loop.engine}" if loop else "a game of our own, without a raw engine"
    return Case(name, engine, ("steps", "games"), tuple(sides), tuple(aims))


def cases(quick: bool) -> Iterator[Case]:
    """Yield a case for each registered game and some of the bridge's."""
    for name in (*game_ids(), *BRIDGED):
        yield case_of(name, 20 if quick else STEPS)


BENCHMARK = Benchmark(
    name="envs",
    question="How many games and steps a second do random players reach, and what do match and recording cost?",
    cases=cases,
    rounds=7,
)
