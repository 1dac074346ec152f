"""`make test-all`: every group of tests this machine can run, one after another, then a table of what ran and why not.

A *group* is a command and what it needs. Pytest groups are told apart by marker, so a test belongs to exactly one. A
need that is not met makes the group *not run*, with the reason and the cure; a group that runs must pass, and must have
selected at least one test: a group that turns out empty has failed. The minutes of a group are two to three times what
it takes on two cores: they end what hangs, and measure nothing.

    python tests/groups.py [NAME ...]     run these groups only
    python tests/groups.py --list         the groups and whether they can run here
"""

import argparse
import os
import platform
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import xml.etree.ElementTree as ElementTree
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
BIN = Path(sys.executable).parent

Need = Callable[[], str | None]
"""Returns why the group cannot run here, or None."""


def program(*names: str) -> Need:
    def reason() -> str | None:
        places = os.pathsep.join([os.environ.get("PATH", ""), "/usr/games"])
        if any(shutil.which(name, path=places) for name in names):
            return None
        return f"{names[0]} is not installed; `make system` installs it on Debian"

    return reason


def all_of(*needs: Need) -> Need:
    return lambda: next((why for need in needs if (why := need()) is not None), None)


def vllm_can_run() -> str | None:
    if sys.platform != "linux" or platform.machine() != "x86_64":
        return f"vLLM's CPU build is for Linux on x86_64, this is {sys.platform} on {platform.machine()}"
    if sys.version_info >= (3, 14):
        return "vLLM has no build for this Python; use 3.11 to 3.13"
    gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return None if gib >= 8 else f"vLLM wants 8 GiB of memory, this machine has {gib:.0f}"


def nvidia() -> str | None:
    try:
        done = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, timeout=30, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired):
        return "no NVIDIA device"
    return None if done.returncode == 0 and "GPU" in done.stdout else "no NVIDIA device"


@dataclass(frozen=True)
class Group:
    """`marker` selects pytest tests, or `command` is run as it stands and counts as one test. `flags` go to pytest."""

    name: str
    minutes: float
    marker: str | None = None
    command: Sequence[str] = ()
    need: Need = lambda: None
    prepare: Sequence[str] = ()
    flags: Sequence[str] = ()
    python: str = str(BIN / "python")


# A test may be slow and need a peer as well; it then belongs to the peer's group.
# One process more than cores, for tests also wait: for Ray, for terminals, for programs that hang.
SPREAD = ("-n", str(min(4, (os.cpu_count() or 2) + 1)), "--dist")
OTHERS = " or ".join(("openspiel_all", "oracle", "experiment", "browser", "programs", "vllm", "gpu"))
GROUPS = (
    Group("lint", 6, command=("make", "lint")),
    Group("default", 15, marker="", flags=(*SPREAD, "loadfile")),
    Group("slow", 25, marker=f"slow and not ({OTHERS})", flags=(*SPREAD, "loadfile")),
    Group("openspiel-all", 8, marker="openspiel_all", flags=(*SPREAD, "worksteal")),
    Group("experiment", 12, marker="experiment", flags=(*SPREAD, "load")),
    Group("browser", 5, marker="browser", need=program("chromium", "chromium-browser", "google-chrome")),
    Group("programs", 6, marker="programs", need=all_of(program("stockfish"), program("gnugo"))),
    Group("oracle", 6, marker="oracle", prepare=("make", "oracle"), python=".venv-oracle/bin/python"),
    Group("vllm", 8, marker="vllm", need=vllm_can_run, prepare=("make", "vllm"), python=".venv-vllm/bin/python"),
    Group("gpu", 8, marker="gpu", need=nvidia),
)


@dataclass
class Outcome:
    group: Group
    ran: bool
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0.0
    why: str = ""
    skips: list[str] = field(default_factory=list)


def run_bounded(command: Sequence[str], seconds: float) -> int | None:
    """Exit status, or None if it ran past its time; the whole process group ends with it."""
    process = subprocess.Popen(command, cwd=ROOT, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        return process.wait(timeout=seconds)
    except BaseException as stopped:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        if isinstance(stopped, subprocess.TimeoutExpired):
            return None
        raise


def read_report(path: Path, outcome: Outcome) -> None:
    """Counts and reasons for skips from pytest's JUnit file."""
    for suite in ElementTree.parse(path).getroot().iter("testsuite"):
        broken = int(suite.get("failures", 0)) + int(suite.get("errors", 0))
        outcome.failed += broken
        outcome.skipped += int(suite.get("skipped", 0))
        outcome.passed += int(suite.get("tests", 0)) - broken - int(suite.get("skipped", 0))
        outcome.skips += [skip.get("message", "") for skip in suite.iter("skipped")]


def run_group(group: Group) -> Outcome:
    if reason := group.need():
        return Outcome(group, ran=False, why=reason)
    print(f"\n=== {group.name} ===", flush=True)
    if group.prepare and run_bounded(group.prepare, 20 * 60) != 0:
        return Outcome(group, ran=True, failed=1, why=f"`{' '.join(group.prepare)}` failed, see above")
    outcome = Outcome(group, ran=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = list(group.command) or [group.python, "-m", "pytest", "-q", "--durations=3", f"--junitxml={report}"]
        if group.marker:
            command += ["-m", group.marker]
        command += group.flags
        status = run_bounded(command, group.minutes * 60)
        outcome.seconds = time.monotonic() - started
        if group.command:
            outcome.passed, outcome.failed = int(status == 0), int(status != 0)
        elif report.exists():
            read_report(report, outcome)
    if status is None:
        outcome.failed += not outcome.failed
        outcome.why = f"ran past its {group.minutes:g} minutes"
    elif status == 5:
        outcome.failed += 1
        outcome.why = f"no test is selected by -m {group.marker!r}"
    elif status != 0:
        outcome.failed += not outcome.failed
        outcome.why = f"exit status {status}, see above"
    elif outcome.skips:
        outcome.why = "skipped: " + "; ".join(sorted(set(outcome.skips)))
    return outcome


def table(outcomes: Sequence[Outcome]) -> str:
    rows = [("group", "ran / not run", "passed", "failed", "skipped", "seconds", "why")]
    for outcome in outcomes:
        counts = [str(outcome.passed), str(outcome.failed), str(outcome.skipped), f"{outcome.seconds:.0f}"]
        state = "not run" if not outcome.ran else "FAILED" if outcome.failed else "ran"
        rows.append((outcome.group.name, state, *(counts if outcome.ran else [""] * 4), outcome.why))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    lines = [
        " | ".join([*(cell.ljust(width) for cell, width in zip(row, widths, strict=False)), row[-1]]) for row in rows
    ]
    return "\n".join([lines[0], "-" * len(lines[0]), *lines[1:]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help="groups to run; all of them if none is named")
    parser.add_argument("--list", action="store_true", help="say which groups can run here, and stop")
    options = parser.parse_args()
    if unknown := set(options.names) - {group.name for group in GROUPS}:
        parser.error(f"no group {sorted(unknown)}; there are {', '.join(group.name for group in GROUPS)}")
    os.environ["PATH"] += f"{os.pathsep}/usr/games"
    chosen = [group for group in GROUPS if not options.names or group.name in options.names]
    if options.list:
        print("\n".join(f"{group.name:14} {group.need() or 'can run'}" for group in chosen))
        return 0
    outcomes = [run_group(group) for group in chosen]
    print("\n" + table(outcomes))
    passed, failed, skipped = (sum(getattr(one, key) for one in outcomes) for key in ("passed", "failed", "skipped"))
    print(f"\n{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
