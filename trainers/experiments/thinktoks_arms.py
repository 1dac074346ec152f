"""The arms of the experiment `thinktoks`: what each trains, as data.

A *way* is an arm of each group of documents: a learner, its options, and what it stands for. `plan_of` makes one of
them a plan; a cell's definition holds that plan, so that ways can be added beside cells that were measured.

All learners read the same documents in the same order. In equal steps they do not compute the same: the learner that is
shown worked thoughts computes least, so that no rival has less to learn with (test, on what was measured); a pause is
so cheap that it takes twice the steps.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, NamedTuple

from palaestra.envs.documents.groups import GroupName, group
from palaestra.trainers.experiments.framework import Arm, Cell, Scale
from palaestra.trainers.thinktoks.credit import dearest
from palaestra.trainers.thinktoks.models import Shape
from palaestra.trainers.thinktoks.training import Lesson, Plan

LENGTH = 8
SWEEP = (1, 2, 3, 4, 6, 8, 12)
STEPS: dict[Scale, int] = {"cpu": 1600, "gpu": 8000}
DOCUMENTS = 64
HELD_OUT = 256
SHAPE = Shape(layers=2, width=64, heads=4)
WIDE = Shape(layers=4, width=256, heads=8)
"""For S5, whose 120 elements make a larger table."""
RANK = 16
ADAPTER_RATE = 1e-3
LOOPS = 9
"""As much computing as four readings with eight thoughts each, drawn and then learned from."""
COST = 0.02
RATE = 3e-3
LOOPED_RATE = 1e-3
"""Of what goes through its layers many times: the deeper, the lower."""
RATES = (LOOPED_RATE, RATE)
"""That the sweep tries."""
MORE = 4
"""Times the steps of the null that trains longer."""
THINKING: dict[str, Any] = {"group": 4, "cost": COST}
SHOWN: dict[str, Any] = {**THINKING, "demonstrated": 0.05, "until": 0.7, "begin": 0.7}
BOTH: dict[str, Any] = {**SHOWN, "begin": 0.0}
TAUGHT: dict[str, Any] = {**SHOWN, "until": 1.0, "begin": 1.0}
LATER = 2
"""Times the steps where it is asked whether thinking ends: a habit of which a learner is sure goes slowly at first."""
ENDING: dict[str, Any] = {**SHOWN, "until": SHOWN["until"] / LATER, "begin": SHOWN["begin"] / LATER}
COSTS = (0.02, 0.205, 0.245)
"""Of a thought: far below, and 9 % below and above what pays, ln 6 / 8 = 0.224."""
TEXT = {"length": 64, "begin": "word"}
TEXT_STEPS: dict[Scale, int] = {"cpu": 400, "gpu": 4000}
TEXT_DOCUMENTS = 8
TEXT_MOST = 2
TOO_DEAR = 1.3
"""Times the cost at which thinking through a whole word pays nothing."""


class Way(NamedTuple):
    """An arm of each group: a learner, its options, and what it stands for; ``null`` marks the controls."""

    arm: str
    learner: str
    options: dict[str, Any]
    sentence: str
    null: bool = False
    times: int = 1
    """Times the steps."""
    first: str = ""
    """Way whose trained model it begins as; empty for one that begins from nothing."""


WAYS = (
    Way("plain", "plain", {}, "no thoughts", null=True),
    Way("longer", "plain", {}, f"no thoughts, {MORE} times as many steps", null=True, times=MORE),
    Way(
        "looped",
        "plain",
        {},
        f"no thoughts; every token goes through the layers {LOOPS} times, at a learning rate of {LOOPED_RATE:g}",
        null=True,
    ),
    Way("pause", "pause", {"count": LENGTH}, f"{LENGTH} empty tokens before the answer, twice as many steps", times=2),
    Way("ponder", "ponder", {"rounds": 3}, "embeddings mixed of own predictions, three times"),
    Way("continuous", "continuous", {"count": LENGTH}, f"{LENGTH} hidden states before the answer"),
    Way(
        "rlp",
        "rlp",
        {"group": 4, "length": LENGTH, "ce": 1.0},
        "thoughts of a fixed length, information gain beside cross-entropy",
    ),
    Way("quiet", "quiet", {"group": 4, "length": LENGTH, "horizon": 1}, "the same with a mixing head"),
    Way("thoughts", "thoughts", THINKING, "thinking tokens by policy gradient, from nothing"),
    Way("growing", "thoughts", THINKING, "the same, on words that grow from one element"),
    Way("after", "thoughts", THINKING, "the same, begun as the model that continuous left", first="continuous"),
    Way(
        "shown",
        "thoughts",
        SHOWN,
        "worked thoughts beside one document in twenty and no reinforcement at first, then reinforcement alone",
    ),
    Way("both", "thoughts", BOTH, "the same worked thoughts, beside reinforcement from the first step"),
    Way(
        "taught",
        "thoughts",
        TAUGHT,
        "the same worked thoughts to the end and never reinforcement, so that thoughts are imitated alone",
        null=True,
    ),
    Way(
        "dear",
        "thoughts",
        ENDING,
        f"as shown and {LATER} times as long, at {TOO_DEAR:g} times the cost at which thinking pays nothing",
        null=True,
        times=LATER,
    ),
)
SWEPT = Way(
    "sweep",
    "plain",
    {},
    f"no thoughts, words of {', '.join(map(str, SWEEP))} elements, the better of two rates",
    null=True,
)


def _of(*names: str) -> tuple[Way, ...]:
    return tuple(way for way in WAYS if way.arm in names)


GROUPS: dict[str, tuple[str, tuple[Way, ...]]] = {
    "s3": ("S3", (SWEPT, *WAYS)),
    # a second group costs as much as the first and says little more of the other learners
    "z7": ("Z7", (SWEPT, *_of("plain", "longer", "looped", "thoughts", "shown", "taught", "dear"))),
    "costs": (
        "S3, thinking allowed before the sign, too",
        (
            Way("plain", "plain", {}, f"no thoughts, {LATER} times as many steps", null=True, times=LATER),
            *(
                Way(f"c{cost:g}", "thoughts", {**ENDING, "cost": cost}, f"as dear, a thought at {cost:g} nats", times=2)
                for cost in COSTS
            ),
        ),
    ),
    "text": (
        "natural text",
        (
            *_of("plain", "looped"),
            Way("pause", "pause", {"count": 1}, "one empty token before each character", null=True),
            Way(
                "thoughts", "thoughts", THINKING, "thinking tokens by policy gradient, before each character", null=True
            ),
        ),
    ),
    "s5": ("S5", _of("plain", "longer", "looped", "thoughts", "shown")),
    "smollm2": ("smollm2 with a LoRA adapter, S3", _of("plain", "longer", "thoughts", "shown")),
}
"""Of each group of arms: what it reads, and its ways."""
LARGE = ("s5", "smollm2")
"""Groups that take a GPU."""

ARMS = tuple(
    Arm(f"{name}_{way.arm}", f"{words}: {way.sentence}", way.null)
    for name, (words, ways) in GROUPS.items()
    for way in ways
)


def way_of(arm: str) -> Way:
    """Return the way of an arm."""
    group_, _, name = arm.partition("_")
    return next(way for way in GROUPS[group_][1] if way.arm == name)


def plan_of(cell: Cell) -> Plan:
    """Return what a cell trains; of a sweep, at its length and rate."""
    name, _, arm = cell.arm.partition("_")
    way = way_of(cell.arm)
    options = way.options
    if arm == "dear":
        options = {**options, "cost": TOO_DEAR * dearest(group(group_of(name)).size, LENGTH)}
    text = name == "text"
    return Plan(
        lessons=_lessons(name, arm),
        learner=way.learner,
        options=options,
        model="smollm2" if name == "smollm2" else None,
        rank=RANK if name == "smollm2" else 0,
        shape=_shape(name, arm),
        kinds=group("s5").size if name == "s5" else 8,
        most=TEXT_MOST if text else LENGTH,
        steps=(TEXT_STEPS if text else STEPS)[cell.scale] * way.times,
        documents=TEXT_DOCUMENTS if text else DOCUMENTS,
        held_out=HELD_OUT // 4 if text else HELD_OUT,
        rate=LOOPED_RATE if arm == "looped" else ADAPTER_RATE if name == "smollm2" else RATE,
        seed=cell.seed,
    )


def sweep_of(cell: Cell, length: int, rate: float) -> Plan:
    """Return one training of a sweep."""
    lesson = Lesson("chain", {"group": group_of(cell.arm.partition("_")[0]), "length": length})
    return dataclasses.replace(plan_of(cell), lessons=(lesson,), rate=rate)


def decided(arm: str) -> object:
    """Return all that decides an arm's cells, but for the seed."""
    plans = [plan_of(Cell("thinktoks", arm, 0, scale, Path())) for scale in STEPS]
    return plans, way_of(arm).first, (SWEEP, RATES) if way_of(arm) is SWEPT else ()


def group_of(name: str) -> GroupName:
    """Return the group whose words a group of arms reads."""
    return "s3" if name in ("costs", "smollm2") else name  # type: ignore[return-value]


def _shape(name: str, arm: str) -> Shape:
    shape = WIDE if name == "s5" else SHAPE
    return dataclasses.replace(shape, loops=LOOPS) if arm == "looped" else shape


def _lessons(name: str, arm: str) -> tuple[Lesson, ...]:
    if name == "text":
        # the last one is what is measured, and no step is spent on it
        return (Lesson("text", {**TEXT, "part": "first"}), Lesson("text", {**TEXT, "part": "rest"}, share=0.0))
    if name == "costs":
        return (Lesson("chain", {"group": "s3", "length": LENGTH, "where": "every"}),)
    over = group_of(name)
    whole = Lesson("chain", {"group": over, "length": LENGTH}, share=float(LENGTH) if arm == "growing" else 1.0)
    growing = [Lesson("chain", {"group": over, "length": length}) for length in range(1, LENGTH)]
    return (*growing, whole) if arm == "growing" else (whole,)
