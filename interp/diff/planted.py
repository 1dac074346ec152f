"""How often the diff finds what was planted: many organisms, beside what simpler rankings find.

Each organism is measured under all rankings on the same texts, which training did not see:

    told          effect of switching on the log-probability of the planted token (the behaviour is known)
    blind         effect of switching on the divergence of next-token distributions (nothing is known)
    screen        first-order estimate of ``told`` from one backward pass
    activation    root mean square of what each module adds to its output (a null that sees activations only)
    norm          Frobenius norm of the weights' change (a null that sees weights only)
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from palaestra.agents.models.disk import replace_text
from palaestra.interp.capture import capture
from palaestra.interp.diff.pair import Pair
from palaestra.interp.diff.switching import screen, switch
from palaestra.interp.errors import InterpError
from palaestra.interp.metrics import log_probability
from palaestra.interp.organisms.planted import planted, with_decoys
from palaestra.interp.prompts import Prompts
from palaestra.trainers.summary import wilson

BASES = ("tiny:kuhn", "tiny:encoded", "tiny:relay-uses", "tiny:covert", "tiny:machine")
DECOYS = (0.0, 0.3, 1.0)
RANKINGS = ("told", "blind", "screen", "activation", "norm")
CHANGED = 1.0
"""Nats that the planted token must have gained; an organism that learnt nothing has nothing to find."""


def one_organism(base: str, seed: int, decoys: Iterable[float]) -> dict[str, Any]:
    """Train an organism and return where each ranking puts the planted module (1 is first; ties count as worst), among
    decoys of each size."""
    made = planted(base, seed)
    found: dict[str, Any] = {"base": base, "seed": seed, "module": made.module, "gained": made.gained, "decoys": {}}
    if abs(made.gained) < CHANGED:
        return found
    for share in decoys:
        one = with_decoys(made, share)
        told, blind = switch(one.pair, one.prompts, log_probability), switch(one.pair, one.prompts)
        scores = {
            "told": dict(zip(told.names, told.effect.mean(0).abs().tolist(), strict=True)),
            "blind": dict(zip(blind.names, blind.effect.mean(0).tolist(), strict=True)),
            "screen": {k: abs(float(v.mean())) for k, v in screen(one.pair, one.prompts, log_probability).items()},
            "activation": added_activation(one.pair, one.prompts),
            "norm": {name: float(f"{size:.3g}") for name, size in one.pair.sizes().items()},
        }
        found["decoys"][f"{share:g}"] = {
            "modules": len(one.pair.modules),
            "ranks": {
                name: sum(value >= by[made.module] for other, value in by.items() if other != made.module) + 1
                for name, by in scores.items()
            },
            "reported": made.module in told.reported(),
            "shift": float((told.after - told.before).mean()),
        }
    return found


def added_activation(pair: Pair, prompts: Prompts) -> dict[str, float]:
    """Return the root mean square of what each adapted module adds to its output in the trained model."""
    names = {name: f"{name}.delta" for name in pair.modules if f"{name}.delta" in pair.opened.components}
    with pair.after() as opened, capture(opened, names.values()) as kept:
        opened(prompts.ids)
    real = prompts.real()
    return {name: float(kept[delta][real].pow(2).mean().sqrt()) for name, delta in names.items()}


def measure(
    count: int = 40,
    *,
    decoys: Iterable[float] = DECOYS,
    bases: Iterable[str] = BASES,
    folder: Path = Path("runs/interp/planted"),
    results: Path = Path("results/interp/diff-planted.json"),
    say: Callable[[str], None] = print,
) -> Path:
    """Train ``count`` organisms, rank among decoys of each size, and write shares with Wilson's intervals.

    Organisms that are done are kept in ``folder``, so the same call goes on. Seeds whose organism did not change its
    behaviour are passed over; how many is in the result.
    """
    chosen, sizes = list(bases), [f"{one:g}" for one in decoys]
    good: list[dict[str, Any]] = []
    seed = passed = 0
    began = time.perf_counter()
    while len(good) < count:
        path = folder / f"{seed}.json"
        if path.is_file():
            one = json.loads(path.read_text(encoding="utf-8"))
        else:
            one = one_organism(chosen[seed % len(chosen)], seed, map(float, sizes))
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, json.dumps(one) + "\n")
        seed += 1
        if one["decoys"]:
            good.append(one)
            left = (time.perf_counter() - began) / len(good) * (count - len(good))
            ranks = ", ".join(f"{size}: {found['ranks']['told']}" for size, found in one["decoys"].items())
            say(f"{len(good)} of {count}: {one['module']}, rank by size of decoys {ranks}; about {left:.0f} s left")
        else:
            passed += 1
        if passed > 2 * count:
            raise InterpError(f"{passed} organisms did not change their behaviour; train them longer.")
    arms = {size: _shares(good, size) for size in sizes}
    _write(results, arms, chosen, count, passed, sorted(one["module"] for one in good))
    return results


def _shares(good: list[dict[str, Any]], size: str) -> dict[str, Any]:
    cells = [one["decoys"][size] for one in good]
    first = {}
    for ranking in RANKINGS:
        hits = sum(one["ranks"][ranking] == 1 for one in cells)
        first[ranking] = {"first": hits, **asdict(wilson(hits, len(cells)))}
    return {
        "first": first,
        "chance": sum(1 / one["modules"] for one in cells) / len(cells),
        "reported": sum(one["reported"] for one in cells),
    }


def _write(path: Path, arms: dict[str, Any], bases: list[str], count: int, passed: int, modules: list[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    data = {
        "what": "share of planted organisms whose module each ranking puts first, by size of decoys",
        "command": f"palaestra interp diff-check --count {count}",
        "bases": bases,
        "organisms": count,
        "passed_over": passed,
        "modules": modules,
        "torch": torch.__version__,
        "arms": arms,
    }
    replace_text(path, json.dumps(data, indent=1) + "\n")
