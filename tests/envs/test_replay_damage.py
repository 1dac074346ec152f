"""Replays that are torn, edited, tampered with, or met a full disk: nothing is lost, and one sentence says so."""

from __future__ import annotations

import errno
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import warnings
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaestra.envs import Match, RandomSeat, ReplayWriter, Reply, View, make, play, read_replay, resume, verify
from palaestra.envs.conformance.seats import Erratic
from palaestra.envs.errors import (
    EditedReplay,
    MissingReplay,
    NewerReplay,
    NotAReplay,
    ReplayError,
    ReplayMismatch,
    TornReplay,
    UnknownName,
    UnwritableReplay,
)
from palaestra.envs.games.kuhn_poker import KuhnPoker
from palaestra.envs.match import run
from palaestra.envs.replay import rematch
from palaestra.envs.replay_lines import seal
from tests.envs.replay_kit import RULES, changed, one_sentence, recorded

# ---------------------------------------------------------------- killed, torn, edited

PLAYER = """
import asyncio, sys
from palaestra.envs import Match, RandomSeat, ReplayWriter, make

class Stops(RandomSeat):
    async def act(self, view):
        if view._number == 5:
            print("deciding", flush=True)
            await asyncio.sleep(600)
        return await super().act(view)

match = Match(make("tic_tac_toe", seed=1), [Stops(), Stops(1)], recorder=ReplayWriter(sys.argv[1]))
asyncio.run(match.play())
"""


def test_a_killed_process_loses_at_most_the_turn_in_flight(tmp_path: Path) -> None:
    path = tmp_path / "game.jsonl"
    with subprocess.Popen([sys.executable, "-c", PLAYER, str(path)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "deciding\n"
        os.kill(process.pid, signal.SIGKILL)
    replay = read_replay(path)
    assert (len(replay.episode.turns), replay.complete, replay.episode.outcome) == (5, False, "unfinished")
    assert verify(path) == 5
    episode = run(resume(path, [RandomSeat(), RandomSeat(1)], recorder=ReplayWriter(path)).play())
    assert episode == play(make("tic_tac_toe", seed=1), [RandomSeat(), RandomSeat(1)])
    assert read_replay(path).complete


def test_a_file_cut_anywhere_gives_every_whole_turn_or_one_clear_error(replay_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl"
    lines = replay_bytes.splitlines(keepends=True)
    ends = itertools.accumulate(map(len, lines))
    for length in {*range(0, len(replay_bytes), 37), *(end + near for end in ends for near in (-2, -1, 0, 1))}:
        if length >= len(replay_bytes):
            continue
        path.write_bytes(replay_bytes[:length])
        whole = replay_bytes[:length].count(b"\n")
        if whole == 0:
            with pytest.raises(TornReplay) as caught:
                read_replay(path)
            assert one_sentence(caught.value)
            continue
        with warnings.catch_warnings(record=True) as given_warnings:
            warnings.simplefilter("always")
            replay = read_replay(path)
        left = length - sum(map(len, lines[:whole]))
        if left == len(lines[whole]) - 1:  # only the newline is missing
            whole, left = whole + 1, 0
        assert len(replay.episode.turns) == min(whole - 1, len(lines) - 2)
        assert replay.complete == (whole == len(lines))
        torn = left > 0
        assert [str(w.message) for w in given_warnings] == [
            f"replay cut.jsonl: the last line is torn and is dropped; all {whole - 1} turns before it are intact"
        ] * torn
        assert all(w.filename == __file__ for w in given_warnings), "the warning points at who reads"


@given(data=st.data())
@settings(max_examples=400)
def test_one_edited_character_anywhere_is_found(
    data: st.DataObject, replay_bytes: bytes, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.getbasetemp() / "edited.jsonl"
    position = data.draw(st.integers(0, len(replay_bytes) - 2), label="position")
    edit = data.draw(st.sampled_from(["replace", "insert", "delete"]), label="edit")
    byte = data.draw(st.sampled_from(b' \n\r\t"0129eE.,:{}[]\\aZ\x00\x80\xef\xff'), label="byte").to_bytes(1, "big")
    end = position if edit == "insert" else position + 1
    edited = replay_bytes[:position] + (b"" if edit == "delete" else byte) + replay_bytes[end:]
    if edited == replay_bytes:
        return
    path.write_bytes(edited)
    with pytest.raises(ReplayError) as caught:
        read_replay(path)
    line = replay_bytes[:position].count(b"\n") + 1
    assert one_sentence(caught.value)
    assert f"line {line}:" in str(caught.value) or line == 1 or (edit != "insert" and replay_bytes[position] == 10)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b'"logprobs":[-0.1,', b'"logprobs":[-0.10,'),
        (b"-0.30000000000000004", b"-0.30000000000000005"),
        (b'{"type":"turn"', b'{ "type":"turn"'),
        (b'{"type":"turn"', b' {"type":"turn"'),
        (b',"sum":', b' ,"sum":'),
        (b'"player":0', b'"player":-0'),
        ("é".encode(), b"\\u00e9"),
    ],
)
def test_an_edit_that_json_would_not_notice_is_found(
    old: bytes, new: bytes, replay_bytes: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "edited.jsonl"
    lines = replay_bytes.splitlines(keepends=True)
    assert old in lines[1]
    lines[1] = lines[1].replace(old, new, 1)
    path.write_bytes(b"".join(lines))
    with pytest.raises(EditedReplay, match="line 2: it was changed after it was written; restore"):
        read_replay(path)


# ---------------------------------------------------------------- tampered with by somebody who knows the sums


def test_verify_names_the_first_turn_that_differs(tmp_path: Path) -> None:
    path = tmp_path / "game.jsonl"
    play(make("tic_tac_toe", seed=8), [RandomSeat(), RandomSeat(1)], recorder=ReplayWriter(path))
    turns = read_replay(path).episode.turns
    whole = path.read_bytes()
    for number in range(len(turns)):
        path.write_bytes(whole)
        free = set("123456789") - {str(turn.action) for turn in turns[: number + 1]}
        other = min(free) if free else str(turns[0].action)
        with changed(path, number + 1, lambda data, other=other: data.update(action=other)):
            assert read_replay(path).complete
            with pytest.raises(ReplayMismatch, match=rf"replay game.jsonl, turn {number + 1}: ") as caught:
                verify(path)
            assert caught.value.turn == number
            assert one_sentence(caught.value)


@pytest.mark.parametrize(
    ("line", "change", "error", "said"),
    [
        (0, {"opening_hash": "0" * 16}, ReplayMismatch, "opening state differs"),
        (0, {"seed": 3}, ReplayMismatch, "opening state differs"),
        (0, {"version": 7}, NewerReplay, "recorded with kuhn_poker version 7, this is version 0; install"),
        (0, {"schema": 2}, NewerReplay, "schema 2, but this release reads up to 1; install a newer palaestra"),
        (0, {"game": "kuhn_pokr"}, UnknownName, "Did you mean 'kuhn_poker'"),
        (0, {"seed": "3"}, NotAReplay, "values of the wrong type"),
        (0, {"schema": "x"}, NotAReplay, "values of the wrong type"),
        (0, {"options": {"seed": 3}}, NotAReplay, "options are not those of a game"),
        (0, {"options": "x"}, NotAReplay, "options are not those of a game"),
        (0, {"rules": {"visibility": "all"}}, NotAReplay, "is 'all', expected"),
        (0, {"rules": {"thought": ["", ""]}}, NotAReplay, "cannot be told apart"),
        (0, {"type": "turn"}, NotAReplay, "its first line is no header"),
        (1, {"hash": "0" * 16}, ReplayMismatch, "turn 1: state hash .* does not match the recorded 0000"),
        (1, {"action": "fold"}, ReplayMismatch, "turn 1: action 'fold' is refused now"),
        (1, {"player": 1}, ReplayMismatch, "turn 1: action 'pass' is refused now"),
        (1, {"player": 2}, NotAReplay, "played by nobody"),
        (1, {"turn": 1}, NotAReplay, "turns are out of order"),
        (2, {"type": "end"}, NotAReplay, "turns are out of order"),
        (2, {"attempts": [{}]}, NotAReplay, "no valid replay"),
        (2, {"action": {"kind": "code"}}, NotAReplay, "not a part"),
        (3, {"returns": [2.0, -2.0]}, ReplayMismatch, r"after turn 2: the returns are .*, recorded \(2.0, -2.0\)"),
        (3, {"result": {"winner": 1}}, ReplayMismatch, "after turn 2: the result is"),
        (3, {"outcome": "forfeit", "forfeited_by": 0}, ReplayMismatch, "after turn 2: player 0 is recorded to have"),
    ],
)
def test_whatever_is_changed_with_sums_made_anew_is_found_and_said(
    line: int, change: dict[str, Any], error: type[Exception], said: str, replay_bytes: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "game.jsonl"
    path.write_bytes(replay_bytes)
    with changed(path, line, lambda data: data.update(change)), pytest.raises(error, match=said) as caught:
        verify(path)
    assert one_sentence(caught.value) or error is UnknownName or "after turn 2" in str(caught.value)


@pytest.mark.parametrize(
    ("line", "change", "said"),
    [
        (0, {"opening_hash": "0" * 16}, "opening state differs"),
        (0, {"seed": 3}, "opening state differs"),
        (1, {"hash": "0" * 16}, "turn 1: state hash .* does not match"),
    ],
)
def test_play_does_not_go_on_from_a_state_that_was_not_recorded(
    line: int, change: dict[str, Any], said: str, replay_bytes: bytes, tmp_path: Path
) -> None:
    path = tmp_path / "game.jsonl"
    path.write_bytes(replay_bytes)
    with changed(path, line, lambda data: data.update(change)), pytest.raises(ReplayMismatch, match=said):
        resume(path, [RandomSeat(), RandomSeat()], turn=1)


def test_a_replay_recorded_as_finished_must_be_over(replay_bytes: bytes, tmp_path: Path) -> None:
    path = tmp_path / "game.jsonl"
    lines = [json.loads(line) for line in replay_bytes.splitlines()]
    sums, sealed = "", b""
    for data in (lines[0], lines[1], lines[3]):
        del data["sum"]
        sums, raw = seal(sums, data)
        sealed += raw
    path.write_bytes(sealed)
    with pytest.raises(ReplayMismatch, match="not over, but recorded as finished"):
        verify(path)


def test_a_rule_that_has_changed_is_found_with_the_turn(
    replay_bytes: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "game.jsonl"
    path.write_bytes(replay_bytes)
    real = KuhnPoker.state
    monkeypatch.setattr(KuhnPoker, "state", lambda self: {**real(self), "pot": len(self.history) // 2})
    with pytest.raises(ReplayMismatch) as caught:
        verify(path)
    assert caught.value.turn == 0


# ---------------------------------------------------------------- bad files and bad disks


@pytest.mark.parametrize(
    ("content", "error", "said"),
    [
        (b"", TornReplay, "game.jsonl is empty; record it again."),
        (b'{"type":"header","sch', TornReplay, "ends inside its first line, so nothing can be recovered"),
        (b"hello", NotAReplay, "game.jsonl is no replay"),
        (b"hello\n", NotAReplay, "game.jsonl is no replay"),
        (b"[1, 2]\n", NotAReplay, "game.jsonl is no replay"),
        (b'{"type": "turn"}\n', NotAReplay, "game.jsonl is no replay"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", NotAReplay, "game.jsonl is no replay"),
        (b"\n\n", NotAReplay, "game.jsonl is no replay"),
        (b"[" * 100_000 + b"\n", NotAReplay, "game.jsonl is no replay"),
        (b'{"type":"header","schema":1,"sum":"0123456789abcdef"}\n', EditedReplay, "line 1: it was changed"),
    ],
)
def test_a_file_that_is_no_replay_says_so_in_one_sentence(
    content: bytes, error: type[ReplayError], said: str, tmp_path: Path
) -> None:
    path = tmp_path / "game.jsonl"
    path.write_bytes(content)
    with pytest.raises(error, match=said) as caught:
        read_replay(path)
    assert one_sentence(caught.value)


def test_a_missing_file_a_folder_and_a_forbidden_place_say_so_in_one_sentence(tmp_path: Path) -> None:
    for path, said in (
        (tmp_path / "none.jsonl", "does not exist; check"),
        (tmp_path, "cannot be read .Is a directory"),
    ):
        with pytest.raises(MissingReplay, match=said) as caught:
            read_replay(path)
        assert one_sentence(caught.value)
        assert isinstance(caught.value, FileNotFoundError)
    (tmp_path / "file").touch()
    with pytest.raises(UnwritableReplay, match=r"cannot be created \(File exists\); record to another place"):
        recorded(tmp_path / "file" / "game.jsonl")


def test_a_full_device_says_so_and_closes_the_seats() -> None:
    with pytest.raises(UnwritableReplay, match=r"/dev/full could not be written on \(No space left on device\)") as got:
        recorded(Path("/dev/full"))
    assert one_sentence(got.value)


def test_a_disk_that_fills_up_in_mid_game_keeps_every_turn_before(tmp_path: Path) -> None:
    path = tmp_path / "game.jsonl"
    recorded(path)
    whole = path.read_bytes()
    room = whole.index(b"\n", len(whole) // 2) - 7
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (room, before[1]))
    try:
        with pytest.raises(UnwritableReplay, match=os.strerror(errno.EFBIG)) as caught:
            recorded(path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
        signal.signal(signal.SIGXFSZ, ignored)
    assert one_sentence(caught.value)
    assert str(path) in str(caught.value)
    assert "`palaestra replay resume FILE`" in str(caught.value)
    with pytest.warns(UserWarning, match="torn and is dropped"):
        assert verify(path) == whole[:room].count(b"\n") - 1
    with pytest.warns(UserWarning, match="torn and is dropped"):
        match = resume(path, [Erratic(4), Erratic(4, salt=1)], recorder=ReplayWriter(path))
    run(match.play())
    assert path.read_bytes() == whole


def test_a_device_that_takes_a_few_bytes_at_a_time_gets_them_all(tmp_path: Path) -> None:
    class Slow:
        def __init__(self, file: Any) -> None:
            self.file = file

        def write(self, data: memoryview) -> int:
            return int(self.file.write(data[:7]))

        def close(self) -> None:
            self.file.close()

    class SlowWriter(ReplayWriter):
        def _put(self, line: bytes) -> None:
            if not isinstance(self._file, Slow):
                self._file = Slow(self._file)  # type: ignore[assignment]
            super()._put(line)

    recorded(tmp_path / "fast.jsonl")
    play(
        make("tic_tac_toe", seed=4),
        [Erratic(4), Erratic(4, salt=1)],
        RULES,
        recorder=SlowWriter(tmp_path / "slow.jsonl"),
        seed=99,
    )
    assert (tmp_path / "slow.jsonl").read_bytes() == (tmp_path / "fast.jsonl").read_bytes()


def test_what_json_cannot_hold_is_named_and_leaves_a_readable_file(tmp_path: Path) -> None:
    class Notes(RandomSeat):
        async def act(self, view: View) -> Reply:
            return Reply(view.legal_actions()[0], info={"value": float("nan") if view._number == 2 else 0.0})

    path = tmp_path / "game.jsonl"
    with pytest.raises(UnwritableReplay, match=r"but the turn does not \(.*not JSON compliant\)"):
        play(make("tic_tac_toe"), [Notes(), Notes()], recorder=ReplayWriter(path))
    assert verify(path) == 2


def test_a_record_that_ends_early_cannot_be_played_without_seats(tmp_path: Path) -> None:
    path = tmp_path / "game.jsonl"
    recorded(path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:3]))
    with pytest.raises(ReplayError, match="turn 3 is not in the record; go on from it with seats that can play"):
        run(rematch(read_replay(path).episode).play())


def test_a_replay_runs_nothing_that_is_written_in_it(tmp_path: Path) -> None:
    """The only names looked up are registered games and their declared options."""
    path = tmp_path / "game.jsonl"
    recorded(path)
    whole = path.read_bytes()
    for change in ({"game": "os:system"}, {"game": "palaestra.envs.games.kuhn_poker:KuhnPoker"}, {"options": {"x": 1}}):
        path.write_bytes(whole)
        with changed(path, 0, lambda data, change=change: data.update(change)), pytest.raises(UnknownName):
            verify(path)


def test_a_match_records_nothing_it_was_not_told_to() -> None:
    episode = run(Match(make("kuhn_poker"), [RandomSeat(), RandomSeat()], record=False).play())
    assert {(turn.observation, turn.state_hash) for turn in episode.turns} == {("", "")}
