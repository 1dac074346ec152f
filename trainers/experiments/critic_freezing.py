"""Critic freezing: what becomes of a critic that moves with the policy that it reviews?

Kuhn poker in self-play as in the experiment `hindsight`, with all of the reviewer's replies learned, tried out or not:
what it says must count for itself. The arms differ in who reviews (`palaestra.trainers.hindsight.critic`): the frozen
reference, the policy as it is, the mean of its last snapshots, or a snapshot that has passed a gate.

*Self-approval* is the share of reviewed turns at which the critic, told how the game ended, would have said what the
policy said. True strength is exact. A critic that upvotes itself shows where the one rises and the other does not.
"""

from __future__ import annotations

from typing import Any

from palaestra.trainers.algorithm import SelfPlay
from palaestra.trainers.config import RunConfig
from palaestra.trainers.experiments import hindsight
from palaestra.trainers.experiments.framework import Arm, Cell, Experiment, Measure
from palaestra.trainers.experiments.kuhn import policy_table
from palaestra.trainers.experiments.kuhn_exact import exploitability
from palaestra.trainers.experiments.trained_cell import Point, threads, trained_curve

ITERATIONS = {"cpu": 300, "gpu": 500}
REFRESH = 10
LAST = 50

ARMS = (
    Arm("frozen", "the frozen reference reviews"),
    Arm("gated", f"a snapshot of the policy, at most every {REFRESH} iterations, once it has passed the gate"),
    Arm("average", f"the mean of the policy's last four snapshots, one every {REFRESH} iterations"),
    Arm("live", "the policy reviews itself"),
    Arm("none", "nobody reviews", null=True),
)


def config_of(cell: Cell, threads: int) -> RunConfig:
    """Return a cell's run."""
    arm = "outcome" if cell.arm == "none" else "unverified"
    run = hindsight.config_of(Cell(cell.experiment, arm, cell.seed, cell.scale, cell.folder), threads)
    changes: dict[str, Any] = {"iterations": ITERATIONS[cell.scale]}
    if run.hindsight is not None:
        critic = {"critic": cell.arm, "refresh": REFRESH, "gate": 0}
        changes["hindsight"] = run.hindsight.model_copy(update=critic)
    return run.model_copy(update=changes)


def measure(algorithm: SelfPlay, before: list[Point]) -> Point:
    """Return true strength, and how often the critic approves of the policy."""
    told = algorithm.summary.learner if algorithm.summary else {}
    same, taken = told.get("hindsight/same", 0.0), told.get("hindsight/taken", 0.0)
    return {
        "exploitability": exploitability(algorithm._learner(policy_table, adapter=hindsight.ADAPTER)),
        "approval": same / (same + taken) if same + taken else None,
        "usable": (same + taken) / told["hindsight/reviewed"] if told.get("hindsight/reviewed") else None,
        "refreshed": algorithm.hindsight.critic.number if algorithm.hindsight else 0,
        "legal": algorithm.summary.legal_rate if algorithm.summary else None,
    }


def run(cell: Cell) -> dict[str, Any]:
    """Train one cell, measuring every iteration, and resume where it was stopped."""
    curve = trained_curve(cell, config_of(cell, threads()), measure, every=1, save_every=25)
    last = curve[-LAST:]

    def mean(key: str, points: list[Point]) -> float | None:
        known = [point[key] for point in points if point[key] is not None]
        return sum(known) / len(known) if known else None

    return {
        "start": curve[0]["exploitability"],
        "exploitability": mean("exploitability", last),
        "best": min(point["exploitability"] for point in curve),
        "approval_first": mean("approval", curve[: LAST + 1]),
        "approval": mean("approval", last),
        "usable": mean("usable", last),
        "legal": mean("legal", last),
        "refreshed": curve[-1]["refreshed"],
        "curves": {
            "iteration": [point["iteration"] for point in curve[1::5]],
            "exploitability": [round(point["exploitability"], 4) for point in curve[1::5]],
            "approval": [None if point["approval"] is None else round(point["approval"], 3) for point in curve[1::5]],
        },
    }


EXPERIMENT = Experiment(
    name="critic_freezing",
    claim="A critic that moves with its policy comes to approve of it without its getting stronger; a frozen one, and "
    "one that is refreshed only through a gate, do not.",
    arms=ARMS,
    measures=(
        Measure("start", "exploitability of the start"),
        Measure("exploitability", f"mean of the last {LAST} iterations", 0.0),
        Measure("best", "lowest on the way", 0.0),
        Measure("approval_first", f"self-approval, mean of the first {LAST} iterations"),
        Measure("approval", f"the same of the last {LAST}"),
        Measure("usable", "share of the critic's answers that could be said"),
        Measure("legal", "share of legal replies in the last iterations"),
        Measure("refreshed", "how often the critic was renewed"),
    ),
    seconds={"cpu": 400.0, "gpu": 400.0},
    run=run,
)
