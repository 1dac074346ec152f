"""How fast components and edges are scored: beside a plain forward and backward pass, and beside transformer-lens.

transformer-lens is no dependency; where it is not installed its side is missing. `make oracle` makes an environment
that has it, in which this benchmark runs as well.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from typing import Any

from palaestra.interp.capture import capture
from palaestra.interp.importance import attribute, edges
from palaestra.interp.metrics import logit_difference
from palaestra.interp.opened import OpenModel, open_model
from palaestra.interp.prompts import Pairs
from palaestra.interp.tasks import ioi
from palaestra.trainers.benchmarks.framework import Aim, Benchmark, Case, Counts, Side

PASS, EVERYTHING, NODES, LENS = "forward and backward", "all nodes and edges", "nodes", "transformer-lens"
PASSES = 4
"""In whose time all nodes and edges are to be scored."""
TIMES = 3.0
"""As fast as transformer-lens."""
ORACLE = (
    "it is not installed here; `make oracle`, then `.venv-oracle/bin/python -m palaestra.scripts.main bench interp`"
)


def _forward_backward(opened: OpenModel, pairs: Pairs, batch: int) -> Counts:
    for some in pairs.batches(batch):
        with capture(opened, ["embed"], gradients=True) as kept:
            kept.gradients(logit_difference(opened(some.clean.ids), some.clean).sum())
    return {"prompts": len(pairs)}


def _everything(opened: OpenModel, pairs: Pairs, batch: int) -> Counts:
    found = edges(opened, pairs, batch=batch)
    scores = found.values.sum(-1)  # a writer's edges add up to the writer
    return {"prompts": len(scores), "edges": int(found.allowed.sum()), "nodes": scores.shape[1]}


def _nodes(opened: OpenModel, pairs: Pairs, batch: int) -> Counts:
    found = attribute(opened, pairs, nodes=opened.writers(), method="gradient", by_place=True, batch=batch)
    return {"prompts": len(pairs), "scores": found.values.numel()}


def _lens(opened: OpenModel, pairs: Pairs, source: str) -> Callable[[], Counts]:
    """Return transformer-lens's node attribution of the same pairs, which it takes one at a time."""
    import torch

    lens: Any = importlib.import_module("transformer_lens.model_bridge")
    analysis: Any = importlib.import_module("transformer_lens.tools.analysis")
    from palaestra.agents.models.sources import ModelSource

    folder = ModelSource.parse(source).fetch()
    bridge = lens.TransformerBridge.boot_transformers(str(folder), dtype=torch.float32)
    bridge.eval()

    def run() -> Counts:
        count = 0
        for row in range(len(pairs)):
            one = pairs[slice(row, row + 1)]
            length = int(one.clean.ends[0]) + 1

            def metric(logits: Any, one: Pairs = one) -> Any:
                end = logits[0, -1]
                return end[one.clean.answers[0, 0]] - end[one.clean.foils[0, 0]]

            found = analysis.attribution_patch(bridge, one.corrupt.ids[:, :length], one.clean.ids[:, :length], metric)
            count += len(found.node_scores)
        return {"prompts": len(pairs), "scores": count}

    return run


def _cases(quick: bool) -> Iterator[Case]:
    source = "smollm2"
    opened = open_model(source)
    pairs = ioi(opened, 2 if quick else 16)
    batch = 8
    yield Case(
        "indirect objects, smollm2",
        f"Scores of all {len(opened.writers())} components and of all edges between them, on {len(pairs)} pairs.",
        ("prompts",),
        (
            Side(
                PASS,
                "one forward and backward pass on the clean prompts",
                lambda: _forward_backward(opened, pairs, batch),
            ),
            Side(
                EVERYTHING, "edge attribution; components are sums of edges", lambda: _everything(opened, pairs, batch)
            ),
        ),
        aims=(Aim(EVERYTHING, to=PASS, least=1 / PASSES),),
        compared=("prompts",),
    )
    sides = [Side(NODES, "attribution patching, by place", lambda: _nodes(opened, pairs, batch))]
    there = importlib.util.find_spec("transformer_lens") is not None
    if there:
        sides.append(Side(LENS, "`attribution_patch` at node granularity", _lens(opened, pairs, source)))
    yield Case(
        "nodes by place, smollm2",
        f"Scores of all components at every token of {len(pairs)} pairs.",
        ("prompts",),
        tuple(sides),
        aims=(Aim(NODES, to=LENS, least=TIMES),) if there else (),
        compared=("prompts",),
        missing={} if there else {LENS: ORACLE},
    )


BENCHMARK = Benchmark("interp", "How fast are components and edges of a model scored?", cases=_cases, rounds=5)
