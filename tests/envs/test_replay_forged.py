"""Replays with right sums and wrong contents: refused when read, or found when they are verified, never a traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from palaestra.envs import MatchRules, OnFailure, RandomSeat, Scripted, make, play, read_replay, verify
from palaestra.envs.errors import NotAReplay, ReplayMismatch
from palaestra.envs.replay import ReplayWriter
from palaestra.envs.replay_lines import seal
from tests.scripts.cli_kit import call

Forge = Callable[[list[dict[str, Any]]], None]


def recorded(path: Path) -> list[dict[str, Any]]:
    """A game of Kuhn poker: header, turns and end."""
    play(make("kuhn_poker", seed=2), [Scripted("bet"), Scripted("bet")], recorder=ReplayWriter(path))
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def forged(path: Path, forge: Forge) -> Path:
    """The same with changes, sealed anew."""
    lines = recorded(path)
    forge(lines)
    sealed, last = [], ""
    for line in lines:
        line.pop("sum", None)
        last, written = seal(last, line)
        sealed.append(written)
    path.write_bytes(b"".join(sealed))
    return path


def end(**changes: Any) -> Forge:
    return lambda lines: lines[-1].update(changes)


def turn(**changes: Any) -> Forge:
    return lambda lines: lines[1].update(changes)


def header(**changes: Any) -> Forge:
    return lambda lines: lines[0].update(changes)


def status(value: str) -> Forge:
    return lambda lines: lines[1]["attempts"][0].update(status=value)


@pytest.mark.parametrize(
    "forge",
    [
        end(roles=["first"]),
        end(roles=[1, 2]),
        end(returns=["a", "b"]),
        end(returns=[1.0]),
        end(result=[]),
        end(outcome="banana"),
        end(forfeited_by="x"),
        end(forfeited_by=7),
        turn(player=False),
        turn(hash=""),
        turn(attempts=[]),
        status("\x1b[31mboo"),
        header(options={"self": 1}),
        header(seats=["one"]),
    ],
)
def test_what_cannot_be_is_no_replay(tmp_path: Path, forge: Forge) -> None:
    path = forged(tmp_path / "game.jsonl", forge)
    with pytest.raises(NotAReplay, match="no valid replay"):
        read_replay(path)
    shown = call("replay", "show", path)
    assert shown.exit_code != 0
    assert "Traceback" not in shown.output


@pytest.mark.parametrize(
    ("forge", "said"),
    [
        (turn(role="king"), "is first, recorded as king"),
        (end(roles=["second", "first"]), "the roles are"),
        (end(outcome="forfeit", forfeited_by=0, returns=[-2.0, 2.0], result={}), "recorded to have forfeited"),
        (end(forfeited_by=1), "recorded to have forfeited"),
        (end(returns=[5.0, -5.0]), "the returns are"),
        (header(seats=["a", "b", "c"]), "has 2 players, recorded are 3"),
    ],
)
def test_what_did_not_happen_is_found_by_verifying(tmp_path: Path, forge: Forge, said: str) -> None:
    def forge_with_roles(lines: list[dict[str, Any]]) -> None:
        forge(lines)
        if len(lines[0]["seats"]) == 3:
            lines[-1].update(roles=["first", "second", ""], returns=[*lines[-1]["returns"], 0.0])

    path = forged(tmp_path / "game.jsonl", forge_with_roles)
    with pytest.raises(ReplayMismatch, match=said):
        verify(path)


def test_a_game_cannot_send_escape_sequences_to_the_terminal(tmp_path: Path) -> None:
    path = forged(tmp_path / "game.jsonl", header(game="\x1b]0;pwn\x07", seats=["\x1b[2Ja", "b"]))
    shown = call("replay", "show", path)
    assert "\x1b" not in shown.output
    assert "pwn" in shown.output


def test_honest_replays_of_every_kind_of_end_still_verify(tmp_path: Path) -> None:
    forfeit = MatchRules(unparsable=OnFailure(0, "forfeit"))
    games = {
        "finished": (make("tic_tac_toe"), [RandomSeat(), RandomSeat(1)], None),
        "forfeit": (make("tic_tac_toe"), [Scripted("?"), RandomSeat()], forfeit),
        "unfinished": (make("chess"), [RandomSeat(), RandomSeat(1)], MatchRules(max_turns=3)),
        "left": (make("risk", map="small"), [Scripted("?"), RandomSeat(), RandomSeat(1)], forfeit),
    }
    for name, (game, seats, rules) in games.items():
        path = tmp_path / f"{name}.jsonl"
        episode = play(game, seats, rules, recorder=ReplayWriter(path))
        assert verify(path) == len(episode.turns)
