"""`palaestra bench`: how fast the parts are, beside the loop they are compared with."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from palaestra.scripts.console import console, untrusted
from palaestra.scripts.errors import examples

EXAMPLES = examples("palaestra bench envs", "palaestra bench rollout", "palaestra bench --render")


def _interp() -> Any:
    from palaestra.interp.benchmark import BENCHMARK

    return BENCHMARK


def bench(
    name: Annotated[
        str | None,
        typer.Argument(metavar="NAME", help="A benchmark; without one, they are listed."),
    ] = None,
    render: Annotated[
        bool, typer.Option("--render", help="Write BENCHMARKS.md from results/*.json, and run nothing.")
    ] = False,
    missing: Annotated[
        bool, typer.Option("--missing", help="Measure only what the result lacks, if it was made on this machine.")
    ] = False,
) -> None:
    """Measure speed: envs (games a second), rollout (tokens a second in play), learner (tokens a second trained),
    thinktoks (tokens a second read with thoughts), interp (prompts a second whose components are scored), peers (steps
    a second beside other libraries, which are installed into a throw-away environment)."""
    from palaestra.trainers import benchmarks

    benchmarks.offer("interp", _interp)

    out = console()
    if render:
        out.print(untrusted(str(benchmarks.render())), soft_wrap=True)
    elif name is None:
        for known in benchmarks.names():
            out.print(untrusted(known, "cyan"))
    else:
        path = benchmarks.run_benchmark(
            name, say=lambda line: out.print(untrusted(line), soft_wrap=True), missing=missing
        )
        out.print(untrusted(f"{path}; `palaestra bench --render` writes BENCHMARKS.md."), soft_wrap=True)
