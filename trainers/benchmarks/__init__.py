"""Benchmarks by name; each is one module, and `palaestra.trainers.benchmarks.framework` has the rules."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from palaestra.envs.errors import UnknownName
from palaestra.trainers.benchmarks.framework import Benchmark, run
from palaestra.trainers.benchmarks.render import render

_OFFERED: dict[str, Callable[[], Benchmark]] = {}


def offer(name: str, make: Callable[[], Benchmark]) -> None:
    """Add a benchmark of a room to the right, which is imported when it is asked for."""
    _OFFERED[name] = make


def _all() -> dict[str, Benchmark]:
    from palaestra.trainers.benchmarks.envs import BENCHMARK as ENVS
    from palaestra.trainers.benchmarks.learner import BENCHMARK as LEARNER
    from palaestra.trainers.benchmarks.peers import BENCHMARK as PEERS
    from palaestra.trainers.benchmarks.rollout import BENCHMARK as ROLLOUT
    from palaestra.trainers.benchmarks.thinktoks import BENCHMARK as THINKTOKS

    own = {benchmark.name: benchmark for benchmark in (ENVS, ROLLOUT, LEARNER, THINKTOKS, PEERS)}
    return own | {name: make() for name, make in _OFFERED.items()}


def names() -> list[str]:
    """Return the names of all benchmarks."""
    return list(_all())


def find(name: str) -> Benchmark:
    """Return a benchmark.

    Raises:
        UnknownName: No such benchmark; the nearest is offered.
    """
    known = _all()
    if name not in known:
        raise UnknownName("benchmark", name, known, f"There are {', '.join(known)}.")
    return known[name]


def run_benchmark(
    name: str,
    *,
    root: Path | None = None,
    say: Callable[[str], None] = print,
    quick: bool = False,
    missing: bool = False,
) -> Path:
    """Run a benchmark and return its result file, ``results/bench-NAME.json``.

    Args:
        name: One of `names`.
        root: Folder of ``results``; the working directory if None.
        say: Told what is being measured, line by line.
        missing: Keep the cases that were measured here already.
        quick: Do as little as possible, with untrained models: shows that it works, not how fast it is.
    """
    return run(find(name), root=root or Path.cwd(), say=say, quick=quick, missing=missing)


__all__ = ["find", "names", "offer", "render", "run_benchmark"]
