"""Benchmarks: several sides do the same work, in turn, in one process on one machine.

Words. A *case* is a piece of work, such as a hundred games of chess. A *side* is one way to do it, and returns what it
did as *counts*; the case's *units* are the counts that become rates. A *round* runs every side once. An *aim* is about
one side's rate, or about its ratio to another side's.

Rules. Speed is a ratio before it is a number: machines differ, and the same machine differs from minute to minute. So
sides are interleaved, each round begins with another side, a ratio is taken within each round, and what is told is the
median over rounds with the lowest and the highest. A first round, which pays for caches and lazy imports, is not
counted. Sides that claim the same work must report the same counts, or there is no result.

    results/bench-NAME.json    every round's seconds, counts, hardware, versions
    BENCHMARKS.md              rendered from them by `palaestra bench --render`
"""

from __future__ import annotations

import gc
import importlib.metadata
import json
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from typing import Any

from palaestra.envs.errors import PalaestraError
from palaestra.trainers.experiments.framework import hardware, versions

Counts = Mapping[str, int]

SLACK = 0.01
"""Two sides did the same work if their counts differ by no more than this share: a token sampled at a near-tie may end
a reply a little earlier in another batch."""


class BenchmarkError(PalaestraError, RuntimeError):
    """Sides that were to do the same work did not, so their speeds cannot be compared."""


@dataclass(frozen=True, slots=True)
class Side:
    """One way to do the work.

    Attributes:
        name: Column of the table.
        sentence: What it does, so that a reader could do it, too.
        run: Does the work and returns what it did.
        part: If it does only a part of the work, because the whole would take too long: which; else empty.
    """

    name: str
    sentence: str
    run: Callable[[], Counts]
    part: str = ""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is hoped for: ``side``'s rate, divided by that of ``to`` if given, is at least ``least``.

    Without ``least`` the figure is told and not judged.
    """

    side: str
    to: str | None = None
    least: float | None = None


@dataclass(frozen=True, slots=True)
class Case:
    """A piece of work, who does it, and what is hoped for.

    Attributes:
        name: Row of the table.
        sentence: What the work is.
        units: Names of the counts that become rates; aims are about the first.
        compared: Names of the counts that must agree between sides that do the whole work; the units are among them.
        missing: Sides that cannot do the work at all, and why.
    """

    name: str
    sentence: str
    units: tuple[str, ...]
    sides: tuple[Side, ...]
    aims: tuple[Aim, ...] = ()
    compared: tuple[str, ...] = ()
    missing: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Benchmark:
    """A question about speed.

    Attributes:
        name: As on the command line.
        question: What is measured, in one sentence.
        cases: From ``quick`` to the cases, made one after the other, as each may hold a model.
        rounds: Counted rounds; a quick run has two.
    """

    name: str
    question: str
    cases: Callable[[bool], Iterator[Case]]
    rounds: int


def run(benchmark: Benchmark, *, root: Path, say: Callable[[str], None], quick: bool, missing: bool = False) -> Path:
    """Measure all cases and write ``results/bench-NAME.json``; with ``missing`` those that it holds already, measured
    with the same hardware and versions, stay as they are."""
    path = root / "results" / f"bench-{benchmark.name}.json"
    kept, before = _kept(path) if missing and not quick else ({}, 0.0)
    load = os.getloadavg()[0]
    began = time.perf_counter()
    rounds = 2 if quick else benchmark.rounds
    cases = [kept.get(case.name) or measure(case, rounds, say) for case in benchmark.cases(quick)]
    whole = {
        "benchmark": benchmark.name,
        "question": benchmark.question,
        "command": f'run_benchmark("{benchmark.name}", quick=True)' if quick else f"palaestra bench {benchmark.name}",
        "quick": quick,
        "rounds": rounds,
        "minutes": round(before + (time.perf_counter() - began) / 60, 1),
        "cases": cases,
        "hardware": {**hardware(), "load_before": round(load, 1)},
        "versions": _versions(),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_text(json.dumps(whole, indent=1) + "\n", encoding="utf-8")
    part.replace(path)
    return path


def _versions() -> dict[str, str]:
    return {**versions(), "chess": importlib.metadata.version("chess")}


def _kept(path: Path) -> tuple[dict[str, dict[str, Any]], float]:
    """Return the cases of a result file by name, and the minutes they took; none if they were measured with other
    hardware or versions."""
    whole = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    here = {key: value for key, value in whole.get("hardware", {}).items() if key != "load_before"} == hardware()
    if not here or whole.get("versions") != _versions() or whole.get("quick"):
        return {}, 0.0
    return {str(case["case"]): case for case in whole["cases"]}, float(whole["minutes"])


def measure(case: Case, rounds: int, say: Callable[[str], None]) -> dict[str, Any]:
    """Run all sides ``rounds`` times, and once before, and return the case as JSON data.

    Raises:
        BenchmarkError: The sides did not do the same work.
    """
    seconds: dict[str, list[float]] = {side.name: [] for side in case.sides}
    counts: dict[str, list[Counts]] = {side.name: [] for side in case.sides}
    for number, side in _turns(case, rounds, say):
        gc.collect()
        began = time.perf_counter()
        done = side.run()
        took = time.perf_counter() - began
        if number:
            seconds[side.name].append(took)
            counts[side.name].append(done)
    for done_by_side in zip(*counts.values(), strict=True):
        _same_work(case, dict(zip(counts, done_by_side, strict=True)))
    rates = {
        side.name: {
            unit: [done[unit] / took for done, took in zip(counts[side.name], seconds[side.name], strict=True)]
            for unit in case.units
        }
        for side in case.sides
    }
    return {
        "case": case.name,
        "sentence": case.sentence,
        "units": list(case.units),
        "sides": {
            side.name: {
                "sentence": side.sentence,
                "part": side.part,
                "counts": dict(counts[side.name][-1]),
                "seconds": [_short(value) for value in seconds[side.name]],
                "rates": {unit: spread(values) for unit, values in rates[side.name].items()},
            }
            for side in case.sides
        },
        "missing": dict(case.missing),
        "aims": [_judged(aim, case.units[0], rates) for aim in case.aims],
    }


def _turns(case: Case, rounds: int, say: Callable[[str], None]) -> Iterator[tuple[int, Side]]:
    """Yield (round, side), each round beginning with another side; round 0 does not count."""
    gc.collect()
    gc.freeze()  # libraries stay: collecting them again and again would take longer than many a side does
    try:
        for number in range(rounds + 1):
            say(f"{case.name}: " + (f"round {number} of {rounds}" if number else "warming up"))
            first = number % len(case.sides)
            yield from ((number, side) for side in (*case.sides[first:], *case.sides[:first]))
    finally:
        gc.unfreeze()


def spread(values: Sequence[float]) -> dict[str, float]:
    """Return median, lowest and highest with four digits."""
    return {"median": _short(median(values)), "low": _short(min(values)), "high": _short(max(values))}


def _judged(aim: Aim, unit: str, rates: Mapping[str, Mapping[str, Sequence[float]]]) -> dict[str, Any]:
    values = rates[aim.side][unit]
    if aim.to is not None:
        values = [mine / other for mine, other in zip(values, rates[aim.to][unit], strict=True)]
    found = spread(values)
    met = None if aim.least is None else found["median"] >= aim.least
    return {"side": aim.side, "to": aim.to, "unit": unit, "least": aim.least, **found, "met": met}


def _same_work(case: Case, counts: Mapping[str, Counts]) -> None:
    for unit in (*case.units, *case.compared):
        found = {side.name: counts[side.name][unit] for side in case.sides if not side.part}
        if found and max(found.values()) - min(found.values()) > SLACK * max(found.values()):
            raise BenchmarkError(
                f"{case.name}: the sides did different work ({unit}: "
                + ", ".join(f"{name} {count}" for name, count in found.items())
                + "), so their speeds cannot be compared; nothing was written."
            )


def _short(value: float) -> float:
    return float(f"{value:.4g}")
