"""Clauses that need whole matches: interleaving, and the way from a match to a replay and back."""

from __future__ import annotations

import tempfile
from asyncio import gather
from pathlib import Path

from palaestra.envs.conformance.common import Examination
from palaestra.envs.conformance.seats import Erratic
from palaestra.envs.errors import PalaestraError
from palaestra.envs.match import Match, MatchRules, OnFailure, run
from palaestra.envs.registry import Visibility
from palaestra.envs.replay import ReplayLines, ReplayWriter, read_replay, resume, verify, write_replay
from palaestra.envs.seeding import Dice, derive

LONGEST = 80
"""Turns after which the matches of these clauses are cut; whole games are played elsewhere."""


def examine_interleaving(exam: Examination, games: int) -> None:
    """Play matches one after the other, then all at once in another order; the records must be the same bytes."""
    if "interleaving" not in exam.clauses:
        return
    alone = {seed: run(_record(exam, seed)) for seed in range(games)}
    order = list(range(games))
    Dice(derive("conformance", "order")).shuffle(order)

    async def at_once() -> list[list[bytes]]:
        return list(await gather(*(_record(exam, seed) for seed in order)))

    for seed, lines in zip(order, run(at_once()), strict=True):
        if lines != alone[seed]:
            same = [one == other for one, other in zip(lines, alone[seed], strict=False)]
            number = [*same, False].index(False) + 1
            message = f"played among {games} matches, line {number} of its record differs from the match alone"
            exam.breach("interleaving", f"seed {seed}", f"{message}; is something shared between games?")
        exam.report.interleaved += 1


def _match(exam: Examination, seed: int, rules: MatchRules, recorder: ReplayLines) -> Match:
    game = exam.make(seed)
    seats = [Erratic(salt=player) for player in range(game.facts.players)]
    return Match(game, seats, rules, recorder=recorder, seed=derive("conformance", "match", seed))


async def _record(exam: Examination, seed: int) -> list[bytes]:
    recorder = ReplayLines()
    await _match(exam, seed, _rules(seed), recorder).play()
    return recorder.lines


def _rules(seed: int) -> MatchRules:
    """Return other rules of conduct for every seed; most let a game with failures go on."""
    then = OnFailure(1, "random" if seed % 3 else "forfeit")
    visibility: Visibility = "public" if seed % 2 else "private"
    return MatchRules(visibility=visibility, max_turns=LONGEST, illegal=then, unparsable=then, truncated=then)


def examine_replays(exam: Examination, seeds: list[int]) -> None:
    """Record matches to files; read, verify, write and resume them without a difference."""
    if "replay" not in exam.clauses:
        return
    with tempfile.TemporaryDirectory() as folder:
        for seed in seeds:
            where = f"seed {seed}"
            path, again = Path(folder, "recorded.jsonl"), Path(folder, "again.jsonl")
            episode = run(_match(exam, seed, _rules(seed), ReplayWriter(path)).play())
            written = path.read_bytes()
            try:
                if read_replay(path).episode != episode:
                    exam.breach("replay", where, "what is read from the file is not the episode that was played")
                verify(path, factory=exam.factory)
                write_replay(episode, again, factory=exam.factory)
                same = again.read_bytes() == written
                seats = [Erratic(salt=player) for player in range(len(episode.seats))]
                half = len(episode.turns) // 2
                run(resume(path, seats, turn=half, factory=exam.factory, recorder=ReplayWriter(again)).play())
            except PalaestraError as error:
                if getattr(error, "clause", None) == "replay":
                    raise
                exam.breach("replay", where, f"the record cannot be played again: {error}")
            if not same:
                exam.breach("replay", where, "played again from its replies, the record is another")
            if again.read_bytes() != written:
                exam.breach("replay", where, f"resumed after {half} turns, the record is another")
            exam.report.replays += 1
