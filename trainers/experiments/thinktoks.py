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

Reinforcement alone begins from random thoughts; arms give it help: words that grow longer, a model that was trained
with continuous thoughts, and worked thoughts beside one document in twenty. These are shown before reinforcement begins
(`shown`), beside it (`both`), or without any (`taught`), which says what is imitation's doing. One more arm is shown
them and then charged more than thinking can pay (`dearest`), under which it must end.
"""

from __future__ import annotations

import dataclasses
import json
import math
from typing import Any

import torch

from palaestra.envs.documents.groups import group
from palaestra.trainers.checkpoint import Checkpoints
from palaestra.trainers.experiments.framework import Cell, Experiment, Measure, NotAvailable
from palaestra.trainers.experiments.thinktoks_arms import (
    ARMS,
    LARGE,
    LENGTH,
    RATES,
    SWEEP,
    decided,
    group_of,
    plan_of,
    sweep_of,
    way_of,
)
from palaestra.trainers.experiments.trained_cell import beside, threads
from palaestra.trainers.thinktoks.learners.base import Readings
from palaestra.trainers.thinktoks.measures import account
from palaestra.trainers.thinktoks.training import Plan, Training

EVERY = 100
"""Steps between points of a curve."""


def run(cell: Cell) -> dict[str, Any]:
    """Train one cell and measure it, or sweep over the length of words."""
    if number := threads():
        torch.set_num_threads(number)
    name = cell.arm.partition("_")[0]
    if name in LARGE and cell.scale == "cpu":
        raise NotAvailable(f"{name} takes a GPU: palaestra experiment thinktoks --scale gpu")
    if cell.arm.endswith("_sweep"):
        return _sweep(cell)
    plan = plan_of(cell)
    training, curve = trained(cell, plan)
    if plan.rank:
        training.publish(cell.folder / "adapter")
    last = curve[-1]
    answer = last["easy"] if name == "text" else last["hard"]  # nothing is hard in text
    found: dict[str, Any] = {
        **dict.fromkeys(measure.key for measure in MEASURES),
        "answer": answer,
        "of_chance": None if name == "text" else answer / math.log(group(group_of(name)).size),
        "bits": last["loss"] / math.log(2),
        "thoughts_per_token": last["rate"],
        "thoughts": last["hard_thoughts"],
        "easy_thoughts": last["easy_thoughts"],
        "work": last["work"] / 1e6,
        "skipped": last["skipped"],
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
    training = Training(plan, "cuda" if cell.scale == "gpu" and torch.cuda.is_available() else "cpu")
    if (latest := checkpoints.latest()) is not None:
        training.load_checkpoint(str(latest))
    elif first := way_of(cell.arm).first:
        before = beside(cell, EXPERIMENT, f"{cell.arm.partition('_')[0]}_{first}")
        begun, _ = trained(before, plan_of(before))
        training.learner.reader.model.load_state_dict(begun.learner.reader.model.state_dict())
        training.work = begun.work
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
    chance = math.log(group(group_of(cell.arm.partition("_")[0])).size)
    answers = []
    for length in SWEEP:
        tried = []
        for rate in RATES:
            part = dataclasses.replace(cell, folder=cell.folder / f"{length}-{rate:g}")
            part.folder.mkdir(parents=True, exist_ok=True)
            tried.append(trained(part, sweep_of(cell, length, rate))[1][-1]["hard"])
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
    Measure("skipped", "steps left out because their gradient was not finite", 0.0),
    Measure("work", "million tokens times layers computed, backward passes counted twice"),
)

EXPERIMENT = Experiment(
    name="thinktoks",
    claim=f"On words of {LENGTH} elements a model that is shown worked thoughts beside one document in twenty brings "
    "the answer below 0.1 nats (S3 with all of three seeds, Z7 with two of three), where the same model without "
    "thoughts, and one that computes as much without them, stay near chance; reinforcement finds no thoughts from "
    "nothing, keeps those that pay, and ends those that cost more than they can.",
    arms=ARMS,
    measures=MEASURES,
    seconds={"cpu": 180.0, "gpu": 600.0},
    run=run,
    decides=decided,
    points=("thoughts_per_token", "bits"),
)
