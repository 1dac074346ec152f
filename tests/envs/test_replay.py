"""Replays: what is written is what happened, comes back the same, and can be gone on from."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from palaestra.envs import (
    RandomSeat,
    ReplayWriter,
    Reply,
    TokenRecord,
    View,
    make,
    play,
    read_replay,
    resume,
    verify,
    write_replay,
)
from palaestra.envs.conformance.seats import Erratic
from palaestra.envs.errors import ReplayError
from palaestra.envs.match import run
from palaestra.envs.replay import game_at
from tests.envs.broken_games import Morra, Talk
from tests.envs.replay_kit import RULES, recorded

# ---------------------------------------------------------------- what is written is what happened


@pytest.mark.parametrize("game", ["tic_tac_toe", "kuhn_poker", "negotiation"])
@pytest.mark.parametrize("seed", range(4))
def test_an_episode_comes_back_from_its_file_and_goes_into_an_equal_one(game: str, seed: int, tmp_path: Path) -> None:
    path, again = tmp_path / "a" / "b" / "game.jsonl", tmp_path / "again.jsonl"
    episode = recorded(path, game, seed, meta={"run": "x", "iteration": 3})
    replay = read_replay(path)
    assert replay.episode == episode
    assert (replay.complete, replay.match_seed, replay.meta) == (True, 99, {"run": "x", "iteration": 3})
    write_replay(episode, again, meta={"run": "x", "iteration": 3}, sync=True)
    assert again.read_bytes() == path.read_bytes()
    assert verify(path) == len(episode.turns) > 0


def test_an_episode_played_without_record_is_written_as_if_recorded(tmp_path: Path) -> None:
    seats = [Erratic(4), Erratic(4, salt=1)]
    episode = play(make("tic_tac_toe", seed=4), seats, RULES, seed=99, record=False)
    assert episode.turns[0].observation == ""
    recorded(tmp_path / "a.jsonl")
    write_replay(episode, tmp_path / "b.jsonl")
    assert (tmp_path / "a.jsonl").read_bytes() == (tmp_path / "b.jsonl").read_bytes()


def test_tokens_and_log_probabilities_come_back_to_the_last_bit(replay_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "game.jsonl"
    path.write_bytes(replay_bytes)
    reply = read_replay(path).episode.turns[1].attempts[0].reply
    assert reply.tokens == TokenRecord(0, (1, 2, 3), (1, 5), (-0.1, -0.30000000000000004), "model@17")
    assert reply.content == "<think>é\u2028ß 🂡</think>pass"
    assert reply.info == {"value": 0.25}


def test_text_that_utf8_cannot_hold_is_recorded_nevertheless(tmp_path: Path) -> None:
    class Mutters:
        name = "mutters"

        async def act(self, view: View) -> Reply:
            return Reply("<think>two halves \ud83d\ude00</think>half a pair \ud83d and a null \x00")

    path = tmp_path / "talk.jsonl"
    episode = play(Talk(), [Mutters(), Mutters()], recorder=ReplayWriter(path))
    assert read_replay(path).episode == episode
    assert episode.turns[0].attempts[0].thought == "two halves ??"
    assert episode.actions[0][1] == "half a pair ? and a null \x00"
    assert verify(path, factory=Talk) == 4


def test_simultaneous_turns_cut_between_two_players_are_gone_on_with(tmp_path: Path) -> None:
    path, again = tmp_path / "morra.jsonl", tmp_path / "again.jsonl"
    play(Morra(), [RandomSeat(), RandomSeat(1)], recorder=ReplayWriter(path))
    for turns in range(7):
        seats = [RandomSeat(), RandomSeat(1)]
        run(resume(path, seats, turn=turns, factory=Morra, recorder=ReplayWriter(again)).play())
        assert again.read_bytes() == path.read_bytes()


def test_one_writer_can_record_one_match_after_the_other(tmp_path: Path) -> None:
    writer = ReplayWriter(tmp_path / "game.jsonl")
    for _ in range(2):
        play(make("kuhn_poker"), [RandomSeat(), RandomSeat()], recorder=writer)
        assert verify(tmp_path / "game.jsonl") > 0


def test_hindsight_finds_the_game_as_it_stood(tmp_path: Path) -> None:
    episode = recorded(tmp_path / "game.jsonl")
    for turn in range(len(episode.turns) + 1):
        game = game_at(episode, turn)
        if turn:
            assert game.state_hash() == episode.turns[turn - 1].state_hash
    assert game.is_over()
    for outside in (-1, len(episode.turns) + 1):
        with pytest.raises(ReplayError, match=f"cannot be taken up after {outside}"):
            game_at(episode, outside)
        with pytest.raises(ReplayError, match=f"game.jsonl has .* cannot be taken up after {outside}"):
            resume(tmp_path / "game.jsonl", [RandomSeat(), RandomSeat()], turn=outside)


def test_a_match_may_go_on_in_the_file_that_it_was_read_from(tmp_path: Path) -> None:
    path = tmp_path / "game.jsonl"
    recorded(path)
    whole = path.read_bytes()
    path.write_bytes(b"".join(whole.splitlines(keepends=True)[:4]))
    run(resume(path, [Erratic(4), Erratic(4, salt=1)], recorder=ReplayWriter(path)).play())
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]


def test_going_on_in_the_same_file_never_leaves_fewer_turns_than_there_were(tmp_path: Path) -> None:
    """Whatever breaks while the recorded turns are played again, the file still holds them."""
    path = tmp_path / "game.jsonl"
    recorded(path)
    whole = path.read_bytes()
    writer = ReplayWriter(path)
    match = resume(path, [Erratic(4), Erratic(4, salt=1)], recorder=writer)
    original = writer._write
    writes = []

    def stops(data: dict[str, Any]) -> None:
        writes.append(data)
        if len(writes) == 4:
            raise KeyboardInterrupt
        original(data)

    writer._write = stops  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        run(match.play())
    assert path.read_bytes() == whole
    assert list(tmp_path.iterdir()) == [path]
