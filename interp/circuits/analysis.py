"""`palaestra interp circuit`: components and edges of a task, and how well circuits of each size carry it.

Everything is found on one half of the pairs and measured on the other. A folder holds what was found, and a run that
was cut short goes on from it:

    plan.json            what was asked, and of which weights and prompts
    nodes.json           scores of components, the first ones measured by patching
    circuit.json         all edges, best first
    points/*.json        one evaluated size each
    scores.safetensors   scores of components by prompt [B, n], of edges [writers, readers]
    summary.json         what is quoted
    index.html           the page

A folder of another plan is not overwritten; what was made of other weights or prompts is made again.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from palaestra.agents.models.disk import replace_text
from palaestra.interp.circuits.circuit import Circuit, discover
from palaestra.interp.circuits.evaluate import SHARES, Curve, Evaluation, evaluate, summed
from palaestra.interp.circuits.run import matrix_of
from palaestra.interp.errors import InterpError
from palaestra.interp.figures import bars, circuit, heat_map, lines
from palaestra.interp.folder import begin, contents_of, save_tensors
from palaestra.interp.importance import Scores, ranked
from palaestra.interp.prompts import Pairs
from palaestra.interp.report import Figure, Page, Table, Text, bracket, number
from palaestra.trainers.experiments.framework import hardware, versions

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

FILES = ("circuit.json", "points/*.json", "nodes.json", "scores.safetensors", "summary.json", "index.html")
"""What a folder holds beside its plan."""
ENOUGH = 0.85
"""Faithfulness from which on the smallest circuit is drawn."""


@dataclass(frozen=True, slots=True)
class CircuitPlan:
    """What is asked.

    Attributes:
        model: Its source.
        task: Name or file of the pairs.
        pairs: How many, half of them to find and half to measure.
        seed: Of the pairs and of random circuits.
        random: Random circuits beside each size.
        steps: Of integrated gradients for edges; 0 for the gradient at the clean prompt.
        by: Order of edges: by magnitude, as for faithful circuits, or by sign, which leaves out what hurts.
    """

    model: str
    task: str
    pairs: int
    seed: int = 0
    random: int = 3
    steps: int = 5
    by: Literal["magnitude", "sign"] = "magnitude"


def steps_of(plan: CircuitPlan) -> int:
    """Return how many steps of progress an analysis has."""
    return 2 + len(SHARES)


def analyse(
    opened: OpenModel, pairs: Pairs, plan: CircuitPlan, folder: Path, on_step: Callable[[], None] = lambda: None
) -> Path:
    """Find and measure circuits, and write the folder; return its page.

    Raises:
        InterpError: The folder holds another plan's results, there are fewer than four pairs, or the metric does not
            differ between clean and corrupt prompts.
    """
    if len(pairs) < 4:
        raise InterpError(f"{len(pairs)} pairs are too few to find a circuit on one half and measure it on the other.")
    begin(folder, asdict(plan), contents_of(opened, pairs), FILES)
    (folder / "points").mkdir(exist_ok=True)
    found, held = pairs[slice(0, len(pairs) // 2)], pairs[slice(len(pairs) // 2, None)]
    nodes = ranked(opened, found, nodes=opened.writers(), count=30)
    replace_text(folder / "nodes.json", json.dumps(nodes.as_json(), indent=1) + "\n")
    on_step()
    whole = _circuit(opened, found, plan, folder / "circuit.json")
    on_step()
    points = []
    for share in SHARES:
        points.append(_point(opened, held, whole, share, plan, folder / "points" / f"{share:g}.json"))
        on_step()
    curve = summed(points)
    save_tensors({"nodes": nodes.by_prompt, "edges": matrix_of(opened, whole)}, folder / "scores.safetensors")
    replace_text(folder / "summary.json", json.dumps(_summary(plan, nodes, whole, curve, len(held)), indent=1) + "\n")
    return _page(opened, plan, nodes, whole, curve, len(held)).write(folder / "index.html")


def _summary(plan: CircuitPlan, nodes: Scores, whole: Circuit, curve: Curve, held: int) -> dict[str, Any]:
    """Return what is quoted of an analysis, and where it was made."""
    return {
        "plan": asdict(plan),
        "held_out": held,
        "clean": whole.facts["clean"],
        "corrupt": whole.facts["corrupt"],
        "edges": whole.out_of,
        "stability": whole.facts["stability"],
        "nodes": {"agreement": nodes.facts["agreement"], "sign_flips": nodes.facts["sign_flips"], "top": nodes.top(10)},
        "curve": curve.as_json(),
        "hardware": hardware(),
        "versions": versions(),
    }


def _circuit(opened: OpenModel, pairs: Pairs, plan: CircuitPlan, path: Path) -> Circuit:
    if path.is_file():
        return Circuit.load(path)
    found = discover(opened, pairs, steps=plan.steps, by=plan.by, stable=1000)
    found.save(path)
    return found


def _point(opened: OpenModel, pairs: Pairs, whole: Circuit, share: float, plan: CircuitPlan, path: Path) -> Evaluation:
    if path.is_file():
        return Evaluation(**json.loads(path.read_text(encoding="utf-8")))
    some = whole.first(max(1, round(share * whole.out_of)))
    # the whole model leaves nothing to chance
    found = evaluate(opened, pairs, some, random=plan.random if share < 1 else 0, complete=share < 1, seed=plan.seed)
    replace_text(path, json.dumps(found.as_json()) + "\n")
    return found


def _page(opened: OpenModel, plan: CircuitPlan, nodes: Scores, whole: Circuit, found: Curve, held: int) -> Page:
    page = Page(
        f"Circuit of {plan.task}",
        "Which components and edges a task runs on, and how much of it circuits of each size carry.",
        {
            "model": plan.model,
            "pairs": f"{plan.pairs}: {plan.pairs - held} to find, {held} to measure; seed {plan.seed}",
            "metric": f"logit difference: {number(whole.facts['clean'])} clean, {number(whole.facts['corrupt'])} "
            "corrupt",
            "edges": f"{whole.out_of:,}, by {whole.method}",
            "ablation": "values of the corrupt prompt, at all places",
        },
    )
    mean, interval = nodes.mean.tolist(), nodes.interval().tolist()
    by_name = {name: (value, low, high) for name, value, (low, high) in zip(nodes.names, mean, interval, strict=True)}
    heads = np.full((len(opened.anatomy.blocks), opened.anatomy.heads + 1), np.nan)
    for layer in range(heads.shape[0]):
        for head in range(opened.anatomy.heads):
            heads[layer, head] = by_name[f"L{layer}.H{head}"][0]
        heads[layer, -1] = by_name[f"L{layer}.mlp"][0]
    page.add(
        "Components",
        Text(
            "What the logit difference loses with a component's value of the corrupt prompt. The 30 largest are "
            f"measured; among these, estimates agree with measurements with r = {nodes.facts['agreement']:.2f} and "
            f"{nodes.facts['sign_flips']} other signs."
        ),
        Figure(
            heat_map(
                "Heads, and MLP in the last column",
                heads,
                across="head",
                up="layer",
                columns=[*map(str, range(opened.anatomy.heads)), "mlp"],
                unit="logits",
            )
        ),
        Figure(
            bars(
                "The 20 largest, with 95 % bootstrap intervals",
                "logits",
                {name: by_name[name] for name in nodes.top(20)},
            )
        ),
    )
    shares = [one.share for one in found.points]
    series = {"circuit": (shares, [one.faithfulness for one in found.points])}
    random = [one for one in found.points if one.random is not None]
    series["worst prompt"] = (shares, [max(-1.0, one.worst) for one in found.points])
    if random:
        series["random circuits"] = ([one.share for one in random], [one.random or 0.0 for one in random])
    bands = {"circuit": ([one.low for one in found.points], [one.high for one in found.points])}
    page.add(
        "Faithfulness by size",
        Figure(
            lines(
                "Share of the logit difference that is kept", "share of edges", "faithfulness", series, bands, log=True
            ),
            "On held-out pairs, everything outside of the circuit carrying the corrupt prompt. The band is a 95 % "
            "bootstrap interval over pairs; the worst prompt is cut at −1.",
        ),
        Table(
            ("edges", "share", "faithfulness", "worst", "random", "best random", "without it"),
            [
                (
                    f"{one.size:,}",
                    f"{one.share:.1%}",
                    bracket(one.faithfulness, one.low, one.high),
                    *(_or_nothing(value) for value in (one.worst, one.random, one.random_best, one.completeness)),
                )
                for one in found.points
            ],
            "Random circuits have as many edges into each layer. Without it: faithfulness of everything else.",
        ),
        Table(
            ("measure", "circuit", "random"),
            [
                ("CMD, linear axis (0 is best)", f"{found.cmd:.3f}", _or_nothing(found.random_cmd)),
                ("CMD, logarithmic axis", f"{found.cmd_log:.3f}", _or_nothing(found.random_cmd_log)),
                ("CPR, capped at 1", f"{found.cpr:.3f}", ""),
            ],
        ),
    )
    enough = next((one for one in found.points if one.faithfulness >= ENOUGH), found.points[-1])
    stable = whole.facts["stability"]
    page.add(
        "The strongest edges",
        Figure(circuit(f"60 strongest of the {enough.size:,} edges that carry {enough.faithfulness:.0%}", whole)),
        Text(
            f"The best {stable['count']:,} edges overlap with those found on resampled prompts by a Jaccard index of "
            f"{bracket(stable['mean'], stable['low'], stable['high'])}."
        ),
    )
    return page


def _or_nothing(value: float | None) -> str:
    return "" if value is None else f"{value + 0.0:.2f}".replace("-0.00", "0.00").replace("-", "−")
