"""Thinktoks: does a model that may think while it predicts learn what one that may not does not?

Words of T elements of a group, then "=" and their product: the answer takes a running state that nobody writes down.
Everything begins from nothing (two layers, no pre-training) and reads the same documents in the same order; T is where
the models without thoughts stay at chance, which the sweep shows, at the better of two learning rates. Z7 and S3 are
solvable, so that the gap is one of what is learned in so many steps, not of what can be expressed.

The null arms are the same model without thoughts, the same with four times as many steps, and one that goes through its
layers so often that it computes as much as the thinking learner does with all of its thoughts. The other learners take
the same steps and not the same compute: what each has computed stands in ``work``, in millions of tokens times layers.

*Costs* are swept over the same words of S3, where thinking is allowed before "=", too. A word is worth thinking through
while a thought costs less than ln |G| / T, so that held-out bits go up, and thoughts down, where c crosses that.
*Text* is the control: natural text, which asks for little that takes steps, measured on paragraphs that nobody read in
training; there thinking should end.

Reinforcement alone begins from random thoughts; three arms give it help: words that grow longer, a model that was
trained with continuous thoughts, and worked thoughts beside one document in twenty. One more has that last help and a
cost above what thinking can pay (`dearest`), under which it must end.
"""

from __future__ import annotations

import json
import math
from typing import Any, NamedTuple

import torch

from palaestra.envs.documents.groups import GroupName, group
from palaestra.trainers.checkpoint import Checkpoints
from palaestra.trainers.experiments.framework import Arm, Cell, Experiment, Measure
from palaestra.trainers.experiments.trained_cell import beside, threads
from palaestra.trainers.thinktoks.credit import dearest
from palaestra.trainers.thinktoks.learners.base import Readings
from palaestra.trainers.thinktoks.measures import account
from palaestra.trainers.thinktoks.models import Shape
from palaestra.trainers.thinktoks.training import Lesson, Plan, Training

LENGTH = 8
SWEEP = (1, 2, 3, 4, 6, 8, 12)
STEPS = {"cpu": 1600, "gpu": 8000}
EVERY = 100
DOCUMENTS = 64
HELD_OUT = 256
SHAPE = Shape(layers=2, width=64, heads=4)
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
LATER = 2
"""Times the steps where it is asked whether thinking ends: a habit of which a learner is sure goes slowly at first."""
ENDING: dict[str, Any] = {**SHOWN, "until": SHOWN["until"] / LATER, "begin": SHOWN["begin"] / LATER}
COSTS = (0.02, 0.205, 0.245)
"""Of a thought: far below, and 9 % below and above what pays, ln 6 / 8 = 0.224."""
TEXT = {"length": 64, "begin": "word"}
TEXT_STEPS = {"cpu": 400, "gpu": 4000}
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
    Way("pause", "pause", {"count": LENGTH}, f"{LENGTH} empty tokens before the answer"),
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
    Way("shown", "thoughts", SHOWN, "the same, with worked thoughts beside one document in twenty at first"),
    Way(
        "dear",
        "thoughts",
        ENDING,
        f"as shown and {LATER} times as long, at {TOO_DEAR:g} times the cost at which thinking pays nothing",
        null=True,
        times=LATER,
    ),
)
COST_WAYS = (
    *(way for way in WAYS if way.arm == "plain"),
    *(
        Way(f"c{cost:g}", "thoughts", {**ENDING, "cost": cost}, f"as dear, a thought at {cost:g} nats", times=LATER)
        for cost in COSTS
    ),
)
TEXT_WAYS = (
    *(way for way in WAYS if way.arm in ("plain", "looped")),
    Way("pause", "pause", {"count": 1}, "one empty token before each character", null=True),
    Way("thoughts", "thoughts", THINKING, "thinking tokens by policy gradient, before each character", null=True),
)
LEARNERS = ("pause", "ponder", "continuous", "rlp", "quiet", "growing", "after")
"""Ways that are tried on S3 alone, because a second group costs as much as the first and says little more of them."""
SWEPT = Way(
    "sweep",
    "plain",
    {},
    f"no thoughts, words of {', '.join(map(str, SWEEP))} elements, the better of two rates",
    null=True,
)

ARMS = tuple(
    Arm(f"{name}_{way.arm}", f"{words}: {way.sentence}", way.null)
    for name, words, ways in (
        ("s3", "S3", (SWEPT, *WAYS)),
        ("z7", "Z7", (SWEPT, *(way for way in WAYS if way.arm not in LEARNERS))),
        ("costs", "S3, thinking allowed before the sign, too", COST_WAYS),
        ("text", "natural text", TEXT_WAYS),
    )
    for way in ways
)


def plan_of(cell: Cell) -> Plan:
    """Return what a cell trains."""
    name, _, arm = cell.arm.partition("_")
    way = _way(cell)
    options = way.options
    if arm == "dear":
        options = {**options, "cost": TOO_DEAR * dearest(group(_group(name)).size, LENGTH)}
    text = name == "text"
    return Plan(
        lessons=_lessons(name, arm),
        learner=way.learner,
        options=options,
        shape=Shape(SHAPE.layers, SHAPE.width, SHAPE.heads, loops=LOOPS) if arm == "looped" else SHAPE,
        kinds=8,
        most=TEXT_MOST if text else LENGTH,
        steps=(TEXT_STEPS if text else STEPS)[cell.scale] * way.times,
        documents=TEXT_DOCUMENTS if text else DOCUMENTS,
        held_out=HELD_OUT // 4 if text else HELD_OUT,
        rate=LOOPED_RATE if arm == "looped" else RATE,
        seed=cell.seed,
    )


def _way(cell: Cell) -> Way:
    name, _, arm = cell.arm.partition("_")
    return next(way for way in {"costs": COST_WAYS, "text": TEXT_WAYS}.get(name, WAYS) if way.arm == arm)


def _group(name: str) -> GroupName:
    return "s3" if name == "costs" else name  # type: ignore[return-value]


def _lessons(name: str, arm: str) -> tuple[Lesson, ...]:
    if name == "text":
        # the last one is what is measured, and no step is spent on it
        return (Lesson("text", {**TEXT, "part": "first"}), Lesson("text", {**TEXT, "part": "rest"}, share=0.0))
    if name == "costs":
        return (Lesson("chain", {"group": "s3", "length": LENGTH, "where": "every"}),)
    whole = Lesson("chain", {"group": name, "length": LENGTH}, share=float(LENGTH) if arm == "growing" else 1.0)
    growing = [Lesson("chain", {"group": name, "length": length}) for length in range(1, LENGTH)]
    return (*growing, whole) if arm == "growing" else (whole,)


def run(cell: Cell) -> dict[str, Any]:
    """Train one cell and measure it, or sweep over the length of words."""
    if number := threads():
        torch.set_num_threads(number)
    if cell.arm.endswith("_sweep"):
        return _sweep(cell)
    plan = plan_of(cell)
    training, curve = trained(cell, plan)
    last = curve[-1]
    name = cell.arm.partition("_")[0]
    answer = last["easy"] if name == "text" else last["hard"]  # nothing is hard in text
    found: dict[str, Any] = {
        **dict.fromkeys(measure.key for measure in MEASURES),
        "answer": answer,
        "of_chance": None if name == "text" else answer / math.log(group(_group(name)).size),
        "bits": last["loss"] / math.log(2),
        "thoughts_per_token": last["rate"],
        "thoughts": last["hard_thoughts"],
        "easy_thoughts": last["easy_thoughts"],
        "work": last["work"] / 1e6,
        "curves": {
            "step": [point["step"] for point in curve],
            "answer": [round(point["easy" if name == "text" else "hard"], 4) for point in curve],
            "thoughts_per_token": [round(point["rate"], 3) for point in curve],
        },
    }
    learner = training.learner
    if isinstance(learner, Readings) and plan.learner in ("thoughts", "rlp", "quiet"):
        spent = account(learner, plan.measured())
        found |= {"without": spent.without["none"], "random": spent.without["random"], "other": spent.without["other"]}
        found["odds"] = spent.odds
        found["shuffled"] = spent.without["shuffled"]
        found["saved"] = None if math.isnan(spent.saved) else spent.saved
        found["held_bits"] = spent.held.corrected if spent.held else 0.0
        found |= {"sure": spent.by_entropy[0], "unsure": spent.by_entropy[-1]}
        deciles = list(range(1, len(spent.by_entropy) + 1))
        found["curves"] = [found["curves"], {"decile_of_entropy": deciles, "thoughts_by_entropy": spent.by_entropy}]
    return found


def trained(cell: Cell, plan: Plan) -> tuple[Training, list[dict[str, Any]]]:
    """Train a plan to its end, saving as it goes, and return it with its curve."""
    checkpoints = Checkpoints(cell.folder / "checkpoints", keep=1)
    curve_file = cell.folder / "curve.json"
    training = Training(plan)
    if (latest := checkpoints.latest()) is not None:
        training.load_checkpoint(str(latest))
    elif first := _way(cell).first if not cell.arm.endswith("_sweep") else "":
        before = beside(cell, EXPERIMENT, f"{cell.arm.partition('_')[0]}_{first}")
        model = trained(before, plan_of(before))[0].learner.reader.model
        training.learner.reader.model.load_state_dict(model.state_dict())
    saved = json.loads(curve_file.read_text(encoding="utf-8")) if curve_file.is_file() else []
    curve = [point for point in saved if point["step"] <= training.taken] or [training.measure()]
    while training.taken < plan.steps:
        training.take()
        if training.taken % EVERY == 0 or training.taken == plan.steps:
            curve.append(training.measure())
            curve_file.write_text(json.dumps(curve) + "\n", encoding="utf-8")
            checkpoints.save(training, training.taken)
    return training, curve


def _sweep(cell: Cell) -> dict[str, Any]:
    name = cell.arm.partition("_")[0]
    chance = math.log(group(name).size)
    answers = []
    for length in SWEEP:
        tried = []
        for rate in RATES:
            part = Cell(cell.experiment, cell.arm, cell.seed, cell.scale, cell.folder / f"{length}-{rate:g}")
            part.folder.mkdir(parents=True, exist_ok=True)
            plan = Plan(
                (Lesson("chain", {"group": name, "length": length}),),
                "plain",
                shape=SHAPE,
                kinds=8,
                most=LENGTH,
                steps=STEPS[cell.scale],
                documents=DOCUMENTS,
                held_out=HELD_OUT,
                rate=rate,
                seed=cell.seed,
            )
            tried.append(trained(part, plan)[1][-1]["hard"])
        answers.append(min(tried))
    whole = answers[SWEEP.index(LENGTH)]
    return {
        **dict.fromkeys(measure.key for measure in MEASURES),
        "answer": whole,
        "of_chance": whole / chance,
        "curves": {"length": list(SWEEP), "answer_by_length": [round(value, 4) for value in answers]},
    }


MEASURES = (
    Measure(
        "answer", "cross-entropy of the answer after training, in nats; in text of a character", None, "< 0.1 (shown)"
    ),
    Measure("of_chance", "the same over ln |G|, what a guess pays", None, "> 0.8 (plain, looped)"),
    Measure("bits", "held-out cross-entropy of a real token that counts, in bits"),
    Measure("thoughts_per_token", "thoughts for each of these"),
    Measure("thoughts", "thoughts before the answer", None, "0 (dear)"),
    Measure("easy_thoughts", "thoughts before a token that takes no steps, where they are allowed", None, "near 0"),
    Measure("odds", "probability of a first thought, where it is allowed; the counts are of likeliest decisions"),
    Measure("sure", "thoughts in the tenth of the places where the model is surest without them"),
    Measure("unsure", "thoughts in the tenth where it is least sure"),
    Measure("without", "cross-entropy of the answer with the thoughts left out"),
    Measure("random", "with thoughts drawn at random in their place"),
    Measure("shuffled", "with the thoughts of a place in another order"),
    Measure("other", "with another document's thoughts in their place"),
    Measure("saved", "nats that a thinking token saves"),
    Measure("held_bits", "bits of the last thought about the answer, less the permutation null"),
    Measure("work", "million tokens times layers computed, backward passes counted twice"),
)

EXPERIMENT = Experiment(
    name="thinktoks",
    claim=f"On words of {LENGTH} elements a model that learns to think brings the answer below 0.1 nats, where the "
    "same model without thoughts, and one that computes as much without them, stay near chance; and it stops thinking "
    "where that costs more than it can pay.",
    arms=ARMS,
    measures=MEASURES,
    seconds={"cpu": 180.0, "gpu": 600.0},
    run=run,
    points=("thoughts_per_token", "bits"),
)
