"""What holds for every test: reproducible properties, no usage reporting, no hub, and one name for every module.

Hypothesis runs derandomized, so the same tree gives the same result; deadlines are off because wall-clock is not a
property. Tests never ask the network for a model. The package is only ever imported as `palaestra.*`: a module that
was also imported by its folder's name (`envs.game`) would exist twice, with two of every class, so a session that
ends with such a module in `sys.modules` has failed.
"""

import os
import signal
import sys
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
os.environ.setdefault("VLLM_NO_USAGE_STATS", "1")
os.environ.setdefault("DO_NOT_TRACK", "1")
os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Tests run side by side. Threads of one matrix product that wait for each other on cores which others use spin there:
# the same tests take up to seven times as long.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell without job control starts background jobs with Ctrl-C ignored, and children inherit that: tests that press
# Ctrl-C must not depend on how they were started.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "palaestra", derandomize=True, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("palaestra")

ROOMS = ("envs", "agents", "trainers", "interp", "scripts")


def imported_twice() -> list[str]:
    """Modules of a room that were imported by folder instead of by package."""
    return sorted(name for name in sys.modules if name.split(".")[0] in ROOMS)


_twice: set[str] = set()


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    _twice.update(imported_twice())
    if (tell := getattr(session.config, "workeroutput", None)) is not None:  # one of several processes of pytest-xdist
        tell["twice"] = sorted(_twice)
    elif _twice:
        session.exitstatus = pytest.ExitCode.INTERNAL_ERROR
        reporter = session.config.pluginmanager.getplugin("terminalreporter")
        names = sorted(_twice)
        reporter.write_line(
            f"ERROR: imported by folder: {', '.join(names)}; write `from palaestra.{names[0]}` instead.", red=True
        )


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any) -> None:
    """A process of pytest-xdist has ended: take over what it found."""
    _twice.update(getattr(node, "workeroutput", {}).get("twice", ()))
