"""Processes of outside programs, shared by the seats of one process, killed when they hang.

A *program* answers one position at a time and is told the whole position each time, so it does not matter which copy
of it answers. A *pool* keeps at most as many copies as there are processors, starts one when all are busy, and ends
them when no seat uses it any more. A copy that crashes, hangs or answers nonsense is killed, and the question is put
to a fresh one once; if that fails too, `ProgramFailed` says how.
"""

from __future__ import annotations

import asyncio
import os
import shlex
import shutil
import threading
from collections.abc import Callable, Sequence
from typing import Generic, Protocol, TypeVar

from palaestra.envs.errors import OptionError, PalaestraError

Answer = TypeVar("Answer")

USUAL_FOLDERS = ("/usr/games", "/usr/local/games")
"""Where Debian puts chess and Go programs, which is not on every path."""


class ProgramFailed(PalaestraError, RuntimeError):
    """An outside program crashed, hung or answered nonsense, twice."""


class Program(Protocol):
    """One running copy. Every method is called from one thread at a time."""

    def kill(self) -> None:
        """End the process at once; whoever waits for its answer gets an exception."""
        ...


ProgramT = TypeVar("ProgramT", bound=Program)


class Pool(Generic[ProgramT]):
    """Copies of one program.

    Args:
        name: For messages.
        start: Starts a copy; raises an exception whose text says why it cannot.
        size: Most copies at a time; None for the number of processors.
    """

    def __init__(self, name: str, start: Callable[[], ProgramT], size: int | None = None) -> None:
        self.name = name
        self.users = 0
        self._start = start
        self._idle: list[ProgramT] = []
        self._lock = threading.Lock()
        self._free = threading.BoundedSemaphore(size or os.cpu_count() or 1)

    async def ask(self, question: Callable[[ProgramT], Answer], timeout: float) -> Answer:
        """Return a copy's answer.

        Args:
            question: Asks a copy and waits; raises whatever is wrong with the answer.
            timeout: Seconds after which a copy is taken to hang; the time in which all copies are busy does not count.

        Raises:
            ProgramFailed: Two copies failed.
        """
        return await asyncio.to_thread(self._ask, question, timeout)

    def _ask(self, question: Callable[[ProgramT], Answer], timeout: float) -> Answer:
        with self._free:
            why = ""
            for _ in range(2):
                hung = threading.Event()
                program = None
                try:
                    program = self._take()
                    guard = threading.Timer(timeout, _kill, (program, hung))
                    guard.start()
                    try:
                        answer = question(program)
                    finally:
                        guard.cancel()
                except PalaestraError:
                    raise
                except Exception as error:  # a stranger's program may fail in any way
                    why = f"gave no answer in {timeout:g} s" if hung.is_set() else f"failed ({_line(error)})"
                    if program is not None:
                        program.kill()
                else:
                    with self._lock:
                        self._idle.append(program)
                    return answer
        raise ProgramFailed(f"the program {self.name} {why}, and so did a fresh copy of it; it was killed.")

    def _take(self) -> ProgramT:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return self._start()

    def close(self) -> None:
        """End all idle copies."""
        with self._lock:
            idle, self._idle = self._idle, []
        for program in idle:
            program.kill()


def _kill(program: Program, hung: threading.Event) -> None:
    hung.set()
    program.kill()


def _line(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:200]


_pools: dict[tuple[object, ...], Pool[Program]] = {}
_pools_lock = threading.Lock()


def join(key: tuple[object, ...], make: Callable[[], Pool[ProgramT]]) -> Pool[ProgramT]:
    """Return the pool of a program, made at its first use; leave it by `leave`."""
    with _pools_lock:
        pool: Pool[ProgramT] = _pools.setdefault(key, make())  # type: ignore[arg-type, assignment]
        pool.users += 1
        return pool


def leave(key: tuple[object, ...]) -> None:
    """Give up the use of a pool; the last one ends its processes."""
    with _pools_lock:
        pool = _pools.get(key)
        if pool is None:
            return
        pool.users -= 1
        if pool.users <= 0:
            del _pools[key]
            pool.close()


def command_line(command: str) -> list[str]:
    """Return a command as a list of arguments, its program found.

    Raises:
        OptionError: There is no such program.
    """
    try:
        parts = shlex.split(command)
    except ValueError as error:
        raise OptionError(f"the command {command!r} cannot be read: {error}.") from None
    if not parts:
        raise OptionError("a program needs a command, such as uci:stockfish or gtp:gnugo --mode gtp.")
    places = os.pathsep.join([os.environ.get("PATH", ""), *USUAL_FOLDERS])
    found = shutil.which(parts[0], path=places)
    if found is None:
        cure = f"install it (Debian: apt install {parts[0]}) or give its path"
        raise OptionError(f"there is no program {parts[0]!r}; {cure}.")
    return [found, *parts[1:]]


def parameters(argument: str) -> tuple[str, dict[str, str]]:
    """Split ``"COMMAND;key=value;key=value"`` into the command and the parameters.

    Raises:
        OptionError: A parameter without a value.
    """
    command, *rest = [part.strip() for part in argument.split(";")]
    values: dict[str, str] = {}
    for part in rest:
        key, sign, value = part.partition("=")
        if not sign or not key.strip():
            raise OptionError(f"{part!r} is no parameter; write key=value, and ; between them.")
        values[key.strip()] = value.strip()
    return command, values


def number(values: dict[str, str], key: str, default: float | None, *, least: float) -> float | None:
    """Take a number out of the parameters.

    Raises:
        OptionError: It is none, or too small.
    """
    if key not in values:
        return default
    text = values.pop(key)
    try:
        value = float(text)
    except ValueError:
        raise OptionError(f"{key}={text} is no number.") from None
    if not value >= least:
        raise OptionError(f"{key}={text} is too small; give at least {least:g}.")
    return value


def refuse_unknown(name: str, values: dict[str, str], known: Sequence[str]) -> None:
    """Raise OptionError if parameters are left."""
    if values:
        raise OptionError(f"{name} has no parameter {next(iter(values))!r}; it has {', '.join(known)}.")
