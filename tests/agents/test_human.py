"""The person at the terminal, through a real pseudo-terminal: moves, help, completion, and every way to leave."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import select
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from prompt_toolkit.completion import CompleteEvent
from prompt_toolkit.document import Document
from prompt_toolkit.input import create_pipe_input
from prompt_toolkit.output import DummyOutput

from palaestra.agents.human import HumanSeat, PlayerLeft, _Moves, visible
from palaestra.envs import Match, RandomSeat, Scripted, make, play, read_replay, verify

PLAY = """
import sys
from palaestra.agents.human import HumanSeat, PlayerLeft
from palaestra.envs import ReplayWriter, Scripted, make, play
game, path, *replies = sys.argv[1:]
try:
    episode = play(make(game), [HumanSeat(), Scripted(*replies)], recorder=ReplayWriter(path))
    print("the end:", episode.returns)
except PlayerLeft as left:
    sys.exit(str(left))
"""
SECONDS = 30
"""A terminal that shows nothing for so long has hung."""


def at_terminal(steps: list[tuple[str, bytes | int]], *arguments: str) -> tuple[int, str]:
    """Play in a child process: wait until the screen shows a pattern anew, then send keys or a signal; and so on.

    Keys must wait for a prompt: before it, the terminal itself would take Ctrl-D for the end of the input.

    Return exit status and screen.
    """
    child, terminal = pty.fork()
    if child == 0:
        environment = {**os.environ, "TERM": "xterm", "PROMPT_TOOLKIT_NO_CPR": "1"}
        os.execve(sys.executable, [sys.executable, "-c", PLAY, *arguments], environment)
    screen, start = b"", 0
    try:
        while select.select([terminal], [], [], SECONDS)[0]:
            try:
                shown = os.read(terminal, 4096)
            except OSError:  # Linux says so when the child has closed its end
                shown = b""
            if not shown:
                return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), screen.decode()
            screen += shown
            if steps and re.search(steps[0][0].encode(), screen[start:], re.DOTALL):
                start = len(screen)
                _, sent = steps.pop(0)
                os.kill(child, sent) if isinstance(sent, int) else os.write(terminal, sent)
        raise AssertionError(f"nothing happens after {screen.decode()[-300:]!r}")
    except BaseException:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        raise


def test_a_game_is_played_with_help_and_completion(tmp_path):
    path = tmp_path / "game.jsonl"
    steps = [
        (r"\)>", b"?\r"),
        (r"Legal moves.*\)>", b"pa\t"),
        ("pa.*ss", b"\r"),  # the terminal may draw the completion apart from what was typed
        (r"says bet.*\)>", b"the lot\r"),
        (r"unparsable.*\)>", b"bet\r"),
    ]
    status, screen = at_terminal(steps, "kuhn_poker", str(path), "bet")
    assert status == 0, screen
    assert "Legal moves: pass, bet" in screen
    assert "Your reply was unparsable" in screen
    assert "the end:" in screen
    assert [action for _, action in read_replay(path).episode.actions] == ["pass", "bet", "bet"]


@pytest.mark.parametrize(
    ("leave", "status", "told"),
    [(b"\x04", 1, "player 1 left tic_tac_toe at its turn 2"), (b"\x03", 130, ""), (signal.SIGINT, 130, "")],
    ids=["Ctrl-D", "Ctrl-C", "SIGINT"],
)
def test_leaving_keeps_the_turns_played(tmp_path, leave, status, told):
    path = tmp_path / "game.jsonl"
    found, screen = at_terminal([(r"\)>", b"5\r"), (r"O takes square 1.*\)>", leave)], "tic_tac_toe", str(path), "1")
    assert found in (status, -signal.SIGINT if status == 130 else status)
    assert ("KeyboardInterrupt" in screen) == (status == 130)
    assert told in screen
    assert verify(path) == 2


def test_other_matches_go_on_while_a_person_thinks():
    async def both():
        with create_pipe_input() as keyboard:
            person = HumanSeat(input=keyboard, output=DummyOutput())
            waiting = asyncio.ensure_future(Match(make("kuhn_poker"), [person, Scripted("pass", "pass")]).play())
            others = [await Match(make("kuhn_poker"), [RandomSeat(), RandomSeat()]).play() for _ in range(20)]
            assert not waiting.done()
            keyboard.send_text("pass\r")
            return others, await waiting

    others, own = asyncio.run(both())
    assert len(others) == 20
    assert own.actions == [(0, "pass"), (1, "pass")]


def test_two_people_at_one_terminal_are_asked_one_after_the_other():
    async def rounds():
        with create_pipe_input() as keyboard:
            keyboard.send_text("Rock\rPaper\r")
            seats = [HumanSeat(name, input=keyboard, output=DummyOutput()) for name in ("ann", "bob")]
            return await Match(make("openspiel/matrix_rps"), seats).play()

    assert asyncio.run(rounds()).actions == [(0, "Rock"), (1, "Paper")]


def test_input_that_ends_is_a_player_who_leaves():
    with create_pipe_input() as keyboard:
        keyboard.close()
        with pytest.raises(PlayerLeft, match="player 1 left kuhn_poker at its turn 1"):
            play(make("kuhn_poker"), [HumanSeat(input=keyboard, output=DummyOutput()), RandomSeat()])


def test_nobody_writes_on_somebody_elses_screen():
    assert visible("a\x1b[2Jb\r\u202ec\td\n") == "a\\x1b[2Jb\\x0d\\x202ec\td\n"


def test_the_module_that_needs_a_terminal_is_loaded_by_nobody_else():
    code = "import sys, palaestra.agents, palaestra.envs; sys.exit('prompt_toolkit' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(__file__).parent, check=False).returncode == 0


@pytest.mark.parametrize("game", ["chess", "chess_puzzle", "tic_tac_toe"])
def test_what_is_listed_and_completed_is_written_as_the_game_says_and_can_be_read(game: str) -> None:
    """Chess asks for moves such as Nf3, so that is what TAB must know, beside g1f3."""
    table = make(game)
    spelled, legal = table.spelled_actions(0), table.legal_actions(0)
    assert [table.parse(0, word) for word in spelled] == list(legal)
    known = _Moves(tuple(dict.fromkeys((*spelled, *legal))))
    for word in (*spelled, *legal):
        found = known.get_completions(Document(word[:-1]), CompleteEvent())
        assert word in {one.text for one in found}
    if game == "chess":
        assert [one.text for one in known.get_completions(Document("Nf"), CompleteEvent())] == ["Nf3"]
