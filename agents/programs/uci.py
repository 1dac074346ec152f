"""Chess programs that speak UCI, such as Stockfish, through python-chess.

    uci:/usr/games/stockfish;nodes=20000       any program, and what it may spend on a move
    stockfish                                  the one that is installed
    stockfish:elo=1500;nodes=5000              weakened by its own rating
    stockfish:skill=3;movetime=0.05

Parameters: ``nodes`` (10,000 if nothing else is said), ``depth``, ``movetime`` (seconds), ``elo`` (`UCI_Elo`),
``skill`` (`Skill Level`), ``timeout`` (seconds after which it is taken to hang). With a limit of nodes or depth on one
thread the answer is the same every time; with a limit of time, or weakened Stockfish, which draws from the clock, not.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import signal
import time
from typing import Any

import chess
import chess.engine

from palaestra.agents.programs import pool as programs
from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError, OptionError
from palaestra.envs.seat import View

CHESS = ("chess", "chess_puzzle")
"""Games that are played on a `chess.Board`."""
PARAMETERS = ("nodes", "depth", "movetime", "elo", "skill", "timeout")


class _Engine:
    """One running copy."""

    def __init__(self, command: list[str], options: dict[str, Any], timeout: float) -> None:
        # In a session of its own, so that what a wrapper script has started can be killed with it.
        self.engine = chess.engine.SimpleEngine.popen_uci(command, timeout=timeout, start_new_session=True)
        try:
            known = self.engine.options
            fixed: dict[str, Any] = {"Threads": 1} if "Threads" in known else {}
            self.engine.configure({**fixed, **options})
        except Exception:
            self.kill()
            raise

    def best(self, board: chess.Board, limit: chess.engine.Limit) -> tuple[chess.Move, dict[str, Any]]:
        """Return the move it plays, and what it says about it."""
        try:
            played = self.engine.play(board, limit, game=object(), info=chess.engine.INFO_ALL)
        except (asyncio.CancelledError, concurrent.futures.CancelledError):  # of python-chess's own loop, not of ours
            raise EOFError("it ended while it was thinking") from None
        if played.move is None or not board.is_legal(played.move):
            raise ValueError(f"it answered {played.move} to {board.fen()}")
        info: dict[str, Any] = {key: played.info[key] for key in ("depth", "nodes") if key in played.info}
        if (score := played.info.get("score")) is not None:
            info["score"] = str(score.relative)
        return played.move, info

    def kill(self) -> None:
        """End the process and what it has started.

        Waits for that, because python-chess's loop must see it before it is closed.
        """
        transport = self.engine.transport
        with contextlib.suppress(ProcessLookupError):
            os.killpg(transport.get_pid(), signal.SIGKILL)
        waited = time.monotonic() + 2
        while transport.get_returncode() is None and time.monotonic() < waited:
            time.sleep(0.005)
        self.engine.close()


class UciSeat:
    """Plays the program's move.

    Args:
        command: Its command line.
        limit: What it may spend on a move.
        options: UCI options set before the first move.
        timeout: Seconds after which it is killed.

    Raises:
        OptionError: There is no such program.

    While playing:
        InformationError: The game is not chess.
        ProgramFailed: It crashed, hung or answered nonsense, twice.
    """

    def __init__(
        self,
        command: str,
        *,
        limit: chess.engine.Limit | None = None,
        options: dict[str, Any] | None = None,
        timeout: float = 60.0,
        name: str = "",
    ) -> None:
        self.command = programs.command_line(command)
        self.limit = limit or chess.engine.Limit(nodes=10_000)
        self.options = options or {}
        self.timeout = timeout
        self.name = name or f"uci:{command}"
        self._key = ("uci", *self.command, *sorted(self.options.items()))
        self._pool: programs.Pool[_Engine] | None = None

    @classmethod
    def of(cls, argument: str, *, command: str = "") -> UciSeat:
        """Return the seat for what a user wrote after ``uci:``, or after ``stockfish:`` where the command is known."""
        written = argument
        given, values = programs.parameters(f"{command};{argument}" if command and argument else command or argument)
        nodes = programs.number(values, "nodes", None, least=1)
        depth = programs.number(values, "depth", None, least=1)
        movetime = programs.number(values, "movetime", None, least=0.001)
        timeout = programs.number(values, "timeout", 60.0 + (movetime or 0), least=0.1)
        options: dict[str, Any] = {}
        if (elo := programs.number(values, "elo", None, least=1)) is not None:
            options |= {"UCI_LimitStrength": True, "UCI_Elo": int(elo)}
        if (skill := programs.number(values, "skill", None, least=0)) is not None:
            options["Skill Level"] = int(skill)
        programs.refuse_unknown(command or "uci", values, PARAMETERS)
        if nodes is None and depth is None and movetime is None:
            nodes = 10_000
        limit = chess.engine.Limit(
            time=movetime, depth=None if depth is None else int(depth), nodes=None if nodes is None else int(nodes)
        )
        shown = f"{command}:{written}" if command and written else command or f"uci:{written}"
        return cls(given, limit=limit, options=options, timeout=timeout or 60.0, name=shown)

    async def act(self, view: View) -> Reply:
        """Return the program's move in UCI, and in ``info`` depth, nodes and score as it reports them."""
        if view.game_id not in CHESS:
            raise InformationError(f"{self.name} plays chess only; seat it there, not at {view.game_id}.")
        board: chess.Board = view.clone_game().position  # type: ignore[attr-defined]
        if self._pool is None:
            self._pool = programs.join(self._key, self._new_pool)
        move, info = await self._pool.ask(lambda engine: engine.best(board, self.limit), self.timeout)
        return Reply(move.uci(), info=info)

    def _new_pool(self) -> programs.Pool[_Engine]:
        return programs.Pool(self.name, lambda: _Engine(self.command, self.options, self.timeout))

    def close(self) -> None:
        """Give up the program."""
        if self._pool is not None:
            self._pool = None
            programs.leave(self._key)


def strength(argument: str) -> UciSeat:
    """Return Stockfish with what a user wrote after ``stockfish:``."""
    try:
        return UciSeat.of(argument, command="stockfish")
    except OptionError as error:
        raise OptionError(f"seat stockfish: {error}") from None
