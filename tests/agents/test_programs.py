"""Chess and Go programs as seats: the real ones play, and made-up ones crash, hang and talk nonsense."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from palaestra.agents import make_seat
from palaestra.agents.programs import GtpSeat, ProgramFailed, UciSeat
from palaestra.agents.programs.pool import _pools
from palaestra.envs import RandomSeat, make, play
from palaestra.envs.errors import InformationError, OptionError
from palaestra.envs.match import run

HANDSHAKE = """
import sys, time, random
def say(*words): print(*words, flush=True)
for line in sys.stdin:
    word = line.split()[0] if line.split() else ""
    if word == "uci": say("uciok")
    elif word == "isready": say("readyok")
    elif word == "go": {go}
    elif word == "quit": break
"""
GTP = """
import sys, time
def say(text): print("=", text, "\\n", flush=True)
for line in sys.stdin:
    word = line.split()[0]
    if word == "list_commands": say("play genmove")
    elif word == "genmove": {go}
    else: say("")
"""


def program(folder: Path, template: str, go: str) -> str:
    path = folder / "program.py"
    path.write_text(template.replace("{go}", go))
    return f"{sys.executable} {path}"


@pytest.mark.parametrize(
    ("go", "said"),
    [
        ("sys.exit(3)", "failed"),
        ("time.sleep(60)", r"gave no answer in 1 s"),
        ("say('bestmove a1a8')", "failed"),
        ("say('bestmove hello')", "failed"),
    ],
    ids=["crash", "hang", "illegal", "nonsense"],
)
def test_a_chess_program_that_fails_twice_is_killed_and_named(tmp_path: Path, go: str, said: str) -> None:
    command = program(tmp_path, HANDSHAKE, go)
    with pytest.raises(ProgramFailed, match=said):
        play(make("chess"), [make_seat(f"uci:{command};timeout=1"), RandomSeat()])
    assert not _pools


def test_a_chess_program_that_plays_is_asked_every_move(tmp_path: Path) -> None:
    command = program(tmp_path, HANDSHAKE, "say('bestmove', random.choice(['h2h3', 'h3h4', 'h4h5', 'h5h6']))")
    with pytest.raises(ProgramFailed):  # sooner or later its move is illegal
        play(make("chess"), [UciSeat(command), RandomSeat()])


def test_a_crash_is_mended_by_a_fresh_copy(tmp_path: Path) -> None:
    once = f"open({str(tmp_path / 'crashed')!r}, 'x'), sys.exit(1)"
    go = f"say('bestmove e2e4') if __import__('os').path.exists({str(tmp_path / 'crashed')!r}) else ({once})"
    command = program(tmp_path, HANDSHAKE, go)
    episode = play(make("chess", max_plies=1), [UciSeat(command), RandomSeat()])
    assert episode.actions == [(0, "e2e4")]


@pytest.mark.parametrize(
    ("go", "said"),
    [
        ("sys.exit(3)", "failed"),
        ("time.sleep(60)", "gave no answer in 1 s"),
        ("say('Z99')", "no point of the board"),
        ("print('? cannot', flush=True), print(flush=True)", "cannot"),
        ("[print('x' * 1000, flush=True) for _ in range(100)]", "does not end"),
    ],
    ids=["crash", "hang", "nonsense", "refusal", "flood"],
)
def test_a_go_program_that_fails_twice_is_killed_and_named(tmp_path: Path, go: str, said: str) -> None:
    command = program(tmp_path, GTP, go)
    with pytest.raises(ProgramFailed, match=said):
        play(make("go", size=5), [make_seat(f"gtp:{command};timeout=1"), RandomSeat()])
    assert not _pools


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_go_program_behind_a_script_is_killed_with_the_script(tmp_path: Path) -> None:
    script = tmp_path / "engine.sh"
    script.write_text(f"sleep 300 &\necho $! >> {tmp_path / 'pids'}\nwait\n")
    with pytest.raises(ProgramFailed, match=r"gave no answer in 0\.5 s"):
        play(make("go", size=5), [make_seat(f"gtp:sh {script};timeout=0.5"), RandomSeat()])
    started = [int(pid) for pid in (tmp_path / "pids").read_text().split()]
    assert len(started) == 2
    for _ in range(200):  # the signal is sent; on a busy machine they die a moment later
        if not any(map(alive, started)):
            return
        time.sleep(0.05)
    raise AssertionError(f"of the processes {started}, {list(filter(alive, started))} outlived the game")


def test_a_go_program_whose_pipe_outlives_it_is_given_up(tmp_path: Path) -> None:
    script = tmp_path / "engine.sh"
    script.write_text("setsid sleep 3 &\nexit 0\n")
    with pytest.raises(ProgramFailed, match=r"gave no answer in 0\.5 s|failed"):
        play(make("go", size=5), [make_seat(f"gtp:sh {script};timeout=0.5"), RandomSeat()])


def test_a_resignation_is_a_pass(tmp_path: Path) -> None:
    command = program(tmp_path, GTP, "say('resign')")
    episode = play(make("go", size=5, max_moves=4), [GtpSeat(command), RandomSeat()])
    assert [action for player, action in episode.actions if player == 0] == ["pass", "pass"]


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ("uci:no-such-program", "there is no program 'no-such-program'; install it"),
        ("uci:", "a program needs a command"),
        ("uci:cat;speed=3", "no parameter 'speed'"),
        ("uci:cat;nodes=many", "nodes=many is no number"),
        ("uci:cat;nodes", "'nodes' is no parameter; write key=value"),
        ("gtp:cat;timeout=0", "too small"),
        ("uci:'cat", "cannot be read"),
    ],
)
def test_a_wrong_seat_says_what_is_wrong(spec: str, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        make_seat(spec)


def test_they_play_their_own_game_only() -> None:
    with pytest.raises(InformationError, match="plays chess only"):
        play(make("tic_tac_toe"), [UciSeat("cat"), RandomSeat()])
    with pytest.raises(InformationError, match="plays go only"):
        play(make("tic_tac_toe"), [GtpSeat("cat"), RandomSeat()])


@pytest.mark.programs
def test_stockfish_beats_chance_and_answers_the_same_again() -> None:
    games = [
        play(make("chess", seed=seed), [make_seat("stockfish:nodes=2000"), RandomSeat(seed)]) for seed in (1, 1, 2)
    ]
    assert all(episode.returns == (1.0, -1.0) for episode in games)
    assert games[0].actions == games[1].actions
    info = games[0].turns[0].attempts[0].reply.info
    assert info is not None
    assert info["nodes"] > 0
    assert not _pools


@pytest.mark.programs
def test_stockfish_is_weakened_by_elo() -> None:
    seat = make_seat("stockfish:elo=1350;nodes=500")
    assert seat.name == "stockfish:elo=1350;nodes=500"
    episode = play(make("chess", max_plies=10), [seat, make_seat("stockfish:skill=0;depth=1")])
    assert len(episode.turns) == 10


@pytest.mark.programs
def test_gnu_go_beats_chance() -> None:
    for seed in range(3):
        episode = play(make("go", size=7, seed=seed), [make_seat("gnugo"), RandomSeat(seed)])
        assert episode.returns == (1.0, -1.0)
        assert not episode.count("illegal", 0)


@pytest.mark.programs
def test_many_games_share_a_few_copies() -> None:
    import asyncio

    from palaestra.envs import Match

    async def all_at_once() -> list:
        seats = [[make_seat("stockfish:nodes=200"), RandomSeat(seed)] for seed in range(12)]
        return await asyncio.gather(*(Match(make("chess", max_plies=6), pair).play() for pair in seats))

    assert [len(episode.turns) for episode in run(all_at_once())] == [6] * 12
    assert not _pools
