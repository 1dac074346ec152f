"""Running the command: in this process (`call`), as a process of its own (`spawn`), at a terminal (`Terminal`)."""

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time
from pathlib import Path

from typer.testing import CliRunner, Result

from palaestra.scripts.main import app

GOLDENS = Path(__file__).parents[1] / "replays"
PROGRAM = [sys.executable, "-c", "from palaestra.scripts.main import app; app(prog_name='palaestra')"]


def call(*args: str | Path, stdin: str = "") -> Result:
    """Run the command in this process; an exception that it lets out is a bug, and is raised here."""
    result = CliRunner().invoke(app, [str(arg) for arg in args], input=stdin, prog_name="palaestra")
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def spawn(*args: str | Path, program: list[str] = PROGRAM, **options) -> subprocess.CompletedProcess[str]:
    """Run the command as a process, without a terminal."""
    return subprocess.run(
        [*program, *map(str, args)], capture_output=True, text=True, stdin=subprocess.DEVNULL, check=False, **options
    )


def one_sentence(result, command: str) -> str:
    """Return what was said on stderr, which must be one line about this command and no traceback."""
    assert result.exit_code if isinstance(result, Result) else result.returncode, result.stdout
    lines = result.stderr.strip().splitlines()
    assert len(lines) == 1, result.stderr
    assert lines[0].startswith(f"{command}: "), lines[0]
    return lines[0].removeprefix(f"{command}: ")


class Terminal:
    """The command at a pseudo-terminal; a context manager that leaves no process behind."""

    def __init__(self, *args: str | Path, cwd: Path) -> None:
        self.pid, self.handle = pty.fork()
        if self.pid == 0:
            os.chdir(cwd)
            os.environ.update(TERM="xterm", COLUMNS="100", LINES="40", PROMPT_TOOLKIT_NO_CPR="1")
            os.execv(PROGRAM[0], [*PROGRAM, *map(str, args)])
        self.shown = ""

    def __enter__(self) -> "Terminal":
        return self

    def __exit__(self, *error: object) -> None:
        try:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass
        os.close(self.handle)

    def until(self, pattern: str, seconds: float = 60) -> str:
        """Read until the pattern was shown; the limit only keeps a broken test from hanging."""
        end = time.monotonic() + seconds
        while not (found := re.search(pattern, self.text())):
            assert time.monotonic() < end, f"{pattern!r} was not shown:\n{self.text()}"
            assert self._read(), f"the command ended without showing {pattern!r}:\n{self.text()}"
        return found[0]

    def type(self, text: str) -> None:
        os.write(self.handle, text.encode())

    def end(self, seconds: float = 60) -> int:
        """Read to the end and return the exit status; the limit is as in `until`."""
        end = time.monotonic() + seconds
        while self._read():
            assert time.monotonic() < end, f"the command did not end:\n{self.text()}"
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])

    def text(self) -> str:
        """Return what was shown, without colours and cursor movements."""
        return re.sub(r"\x1b(\[[0-9;?]*[A-Za-z]|\][^\x07]*\x07|[=>])", "", self.shown).replace("\r", "")

    def _read(self) -> bool:
        ready, _, _ = select.select([self.handle], [], [], 1)
        if not ready:
            return True
        try:
            data = os.read(self.handle, 65536)
        except OSError:  # how Linux says that the other side is closed
            return False
        self.shown += data.decode(errors="replace")
        return bool(data)
