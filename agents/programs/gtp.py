"""Go programs that speak GTP, such as GNU Go (Farnebäck, Specification of the Go Text Protocol, version 2).

    gtp:gnugo --mode gtp --level 1             any program
    gnugo, gnugo:level=5                       the one that is installed

The program is told the whole game before each move, so any copy of it can answer. Suicide and repetition are judged by
our rules: a program that knows others may name a point that is not playable here, which costs a re-ask like anybody's.
Its own resignation is answered by a pass.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import subprocess
import threading
from collections.abc import Mapping, Sequence

from palaestra.agents.programs import pool as programs
from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.games.go import Go
from palaestra.envs.seat import View
from palaestra.envs.seeding import derive

PARAMETERS = ("level", "timeout")
GNUGO_RULES = {
    # Here dead stones count as alive, so it must go on until they are captured.
    "area": ("--chinese-rules", "--capture-all-dead"),
    "chinese": ("--chinese-rules",),
    "japanese": ("--japanese-rules",),
}
LONGEST_ANSWER = 10_000


class _Engine:
    """One running copy; a command and its answer are lines of text."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            start_new_session=True,  # so that what a wrapper script has started can be killed with it
        )
        self._killed = threading.Event()
        self._talking = threading.Lock()
        self._read = b""

    def tell(self, command: str) -> str:
        """Send a command and return the answer to it.

        Raises:
            EOFError: The program is gone.
            ValueError: It refused the command, or its answer is none.
        """
        assert self.process.stdin is not None
        with self._talking:
            self.process.stdin.write(f"{command}\n".encode())
            lines: list[str] = []
            length = 0
            while True:
                line = self._line(command)
                length += len(line)
                if length > LONGEST_ANSWER:
                    raise ValueError(f"its answer to {command!r} does not end")
                if line.strip():
                    lines.append(line.strip())
                elif lines:
                    break
        if not lines[0].startswith("="):
            raise ValueError(f"it answered {lines[0][:80]!r} to {command!r}")
        return "\n".join([lines[0][1:].strip(), *lines[1:]])

    def _line(self, command: str) -> str:
        """Return the next line; looks up now and then, because whoever holds the pipe may outlive the program."""
        assert self.process.stdout is not None
        output = self.process.stdout.fileno()
        poll = select.poll()
        poll.register(output, select.POLLIN)
        while b"\n" not in self._read:
            if self._killed.is_set():
                raise EOFError(f"it was killed at {command!r}")
            if not poll.poll(200):
                continue
            if not (more := os.read(output, 1 << 16)):
                raise EOFError(f"it ended at {command!r}")
            self._read += more
            if len(self._read) > LONGEST_ANSWER and b"\n" not in self._read:
                raise ValueError(f"its answer to {command!r} does not end")
        line, _, self._read = self._read.partition(b"\n")
        return line.decode(errors="replace")

    def best(self, setup: Sequence[str], color: str, seed: int) -> str:
        """Return the move it generates after the commands of ``setup``."""
        if "set_random_seed" in self.known():
            self.tell(f"set_random_seed {seed % (1 << 31)}")
        for command in setup:
            self.tell(command)
        return self.tell(f"genmove {color}").strip().lower()

    def known(self) -> set[str]:
        """Return the commands it knows."""
        if not hasattr(self, "_known"):
            self._known = set(self.tell("list_commands").split())
        return self._known

    def kill(self) -> None:
        """End the process and what it has started; whoever waits for an answer is told within a moment."""
        self._killed.set()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        with self._talking:  # a pipe that somebody is still reading must not be closed under it
            for stream in (self.process.stdin, self.process.stdout):
                if stream is not None:
                    with contextlib.suppress(OSError):
                        stream.close()


class GtpSeat:
    """Plays the program's move.

    Args:
        command: Its command line.
        timeout: Seconds after which it is killed.
        rules: What is added to the command for a game's ``scoring``.

    Raises:
        OptionError: There is no such program.

    While playing:
        InformationError: The game is not Go.
        ProgramFailed: It crashed, hung or answered nonsense, twice.
    """

    def __init__(
        self, command: str, *, timeout: float = 60.0, name: str = "", rules: Mapping[str, tuple[str, ...]] | None = None
    ) -> None:
        self.command = programs.command_line(command)
        self.timeout = timeout
        self.name = name or f"gtp:{command}"
        self.rules = dict(rules or {})
        self._pools: dict[tuple[str, ...], programs.Pool[_Engine]] = {}

    @classmethod
    def of(cls, argument: str) -> GtpSeat:
        """Return the seat for what a user wrote after ``gtp:``."""
        command, values = programs.parameters(argument)
        timeout = programs.number(values, "timeout", 60.0, least=0.1)
        programs.refuse_unknown("gtp", values, PARAMETERS[1:])
        return cls(command, timeout=timeout or 60.0, name=f"gtp:{argument}")

    @classmethod
    def gnugo(cls, argument: str) -> GtpSeat:
        """Return GNU Go with what a user wrote after ``gnugo:``."""
        _, values = programs.parameters(f";{argument}" if argument else "")
        level = programs.number(values, "level", 1, least=0)
        timeout = programs.number(values, "timeout", 60.0, least=0.1)
        programs.refuse_unknown("gnugo", values, PARAMETERS)
        name = f"gnugo:{argument}" if argument else "gnugo"
        command = f"gnugo --mode gtp --level {int(level or 0)}"
        return cls(command, timeout=timeout or 60.0, name=name, rules=GNUGO_RULES)

    async def act(self, view: View) -> Reply:
        """Return the program's move."""
        if view.game_id != "go":
            raise InformationError(f"{self.name} plays go only; seat it there, not at {view.game_id}.")
        game = view.clone_game()
        assert isinstance(game, Go)
        setup, color = _told(game, view.player)
        command = (*self.command, *self.rules.get(game.options.scoring, ()))
        if command not in self._pools:
            made = self._new_pool
            self._pools[command] = programs.join(("gtp", *command), lambda: made(list(command)))
        seed = derive(view.seed, "program")
        pool = self._pools[command]
        return Reply(await pool.ask(lambda engine: _checked(engine.best(setup, color, seed), game), self.timeout))

    def _new_pool(self, command: list[str]) -> programs.Pool[_Engine]:
        return programs.Pool(self.name, lambda: _Engine(command))

    def close(self) -> None:
        """Give up the program."""
        while self._pools:
            command, _ = self._pools.popitem()
            programs.leave(("gtp", *command))


def _told(game: Go, player: int) -> tuple[list[str], str]:
    """Return the commands that set a position up, and the colour to move."""
    setup = [f"boardsize {game.options.size}", "clear_board", f"komi {game.options.komi:g}"]
    setup += [f"play B {point}" for point in game.placed()]
    first = 1 if game.placed() else 0
    setup += [f"play {'BW'[(number + first) % 2]} {move}" for number, move in enumerate(game.moves())]
    return setup, "BW"[player]


def _checked(answer: str, game: Go) -> str:
    """Return the program's answer as a move of ours."""
    if answer in ("pass", "resign"):
        return "pass"
    move = answer.upper()
    if move not in game.points:
        raise ValueError(f"it answered {answer[:40]!r}, which is no point of the board")
    return move
