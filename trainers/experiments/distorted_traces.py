"""Distorted traces: does a policy learn to mend reasoning by being handed reasoning that is wrong?

The game is `recovery`: a reply has begun, and in a share of the games the beginning holds one locally consistent error.
The base, `tiny:recovery`, goes on from whatever stands there, begins again, or checks, each now and then and for no
reason. Every arm has the same model, games an iteration and steps, and all are measured on the same beginnings, drawn
as they play: 30 % right ones, and every kind of error, of which *swapped* steps are trained on nowhere.

*distorted* and *named* are paid by outcome on beginnings of which 40 % are right (an always doubting policy would pay
for that only if doubt cost it anything), *named* also for naming the first wrong step. In *polluter* the policy writes
the errors, too: four games in ten begin right, in the others it plants an error for itself and is paid if it works.
The baselines see right beginnings alone (*clean*), or learn by heart what an oracle writes behind injected errors, the
error itself being context (*taught*).

What is known of such training: by outcome it adds robustness at an equal clean score, on right beginnings alone it
takes some away (arXiv 2512.17079), and supervised correction of injected errors does not carry over to other errors
(2512.02389).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from palaestra.agents.models.sources import ModelSource
from palaestra.agents.models.tiny.recipes import RECOVERY
from palaestra.agents.scripted_recovery import worked
from palaestra.agents.tokens import TextCodec
from palaestra.envs import make
from palaestra.envs.games.recovery import KINDS, Recovery
from palaestra.envs.seeding import Dice
from palaestra.trainers.algorithm import SelfPlay
from palaestra.trainers.config import RunConfig, parse_config
from palaestra.trainers.experiments.framework import Arm, Cell, Experiment, Measure
from palaestra.trainers.experiments.trained_cell import Point, threads, trained_curve
from palaestra.trainers.readout import contexts, reply_ids
from palaestra.trainers.rows import OK, Row, Stream
from palaestra.trainers.tasks import MatchTask, evaluation_tasks, training_tasks

ITERATIONS = {"cpu": 60, "gpu": 200}
GAMES = {"cpu": 128, "gpu": 1024}
CASES = 600
EVERY = 30
CLEAN = 0.4
ADAPTER = "recovery"
TRAINED = ",".join(kind for kind in KINDS if kind != "swapped")
MEASURED = {**RECOVERY, "clean": 0.3}
UNSEEN = 1_000_000
"""Iteration whose games are played to see what a polluter does; no run gets there."""

ARMS = (
    Arm("distorted", f"paid by outcome; {100 * CLEAN:.0f} % of the beginnings are right"),
    Arm("named", "the same, and half as much for naming the first wrong step, or none"),
    Arm("polluter", "the same share is right; the others are written by the policy, paid where its errors work"),
    Arm("clean", "paid by outcome; all beginnings are right"),
    Arm("taught", "cross-entropy on what an oracle writes behind the beginnings of distorted"),
    Arm("shuffled", "as distorted, with advantages dealt out to the wrong episodes", null=True),
)


def config_of(cell: Cell, threads: int) -> RunConfig:
    """Return a cell's run."""
    once = {"reasks": 0}
    options: dict[str, Any] = {**RECOVERY, "kinds": TRAINED, "clean": CLEAN}
    played: list[dict[str, Any]] = [{"options": options}]
    if cell.arm == "named":
        options["localise"] = 0.5
    if cell.arm in ("clean", "polluter"):
        options["clean"] = 1.0
    if cell.arm == "polluter":
        played = [
            {"options": options, "weight": CLEAN},
            {"options": {**RECOVERY, "polluter": True}, "weight": 1 - CLEAN},
        ]
    return parse_config(
        {
            "name": ADAPTER,
            "seed": cell.seed,
            "model": {"source": "tiny:recovery", "lora": {"rank": 16, "alpha": 32}},
            "games": [
                {
                    "game": "recovery",
                    **one,
                    "rules": {"illegal": once, "unparsable": once, "truncated": once},
                    "reply": {"max_tokens": 60, "context": "fresh"},
                }
                for one in played
            ],
            "iterations": ITERATIONS[cell.scale],
            "games_per_iteration": GAMES[cell.scale],
            "credit": {
                "rule": "shuffled" if cell.arm == "shuffled" else "role_baseline",
                "options": {"failure_penalty": 1.0},
                "kl": {"kind": "linear", "start": 0.05, "end": 0.01},
            },
            "loss": {"kl_estimator": "k2"},
            "optimizer": {
                "lr": {"kind": "cosine", "start": 2e-3, "end": 2e-4},
                "betas": (0.9, 0.95),
                "minibatches": 2,
                "token_budget": 8192,
            },
            "resources": {"runners": 0, "threads": threads, "concurrent_games": GAMES[cell.scale]},
            "replays": "none",
            "evaluation": {"pairs": 0},
        },
        "distorted_traces experiment",
    )


class Taught(SelfPlay):
    """Learns by cross-entropy what an oracle would have replied, in the games that a run's policy would have played."""

    def training_step(self) -> None:
        """Have the oracle reply, learn, publish."""
        iteration = self.training_iteration
        tasks = training_tasks(self.run, iteration, self.versions(), None)
        codec = ModelSource.parse(self.run.model.source).codec()
        rows = demonstrations(self.run, tasks, codec)
        self._update(rows, iteration / max(1, self.horizon - 1), iteration)
        for name in self.numbers:
            self.numbers[name] += 1
        self.publish(iteration=iteration + 1)


def demonstrations(run: RunConfig, tasks: Sequence[MatchTask], codec: TextCodec) -> list[Row]:
    """Return a row for each task: its beginning is context, and the reply of ``worker:check`` is learned."""
    rows = []
    for task in tasks:
        game = task.begin()
        assert isinstance(game, Recovery)
        text = worked(game.knowledge(game.solver), "check", Dice(task.match_seed))
        (context,) = contexts(game, run.games[task.game_index], codec, [text])
        reply = reply_ids(codec, text)
        length = len(context) + len(reply)
        typed = np.arange(length) >= len(context)
        rows.append(
            Row(
                game=task.game,
                role="solver",
                group=task.group,
                episode_id=f"{task.index:05d}",
                player=0,
                segment=0,
                policy=task.seats[0].policy or "",
                return_=None,
                tokens=np.array([*context, *reply], np.int32),
                sampled=np.zeros(length, np.bool_),
                logprobs=np.zeros(length, np.float32),
                turns=np.zeros(length, np.int32),
                status=np.full(length, OK, np.int8),
                streams={"ce": Stream.of(1.0, typed)},
            )
        )
    return rows


def measure(algorithm: SelfPlay, before: list[Point]) -> Point:
    """Return how the policy does on beginnings that do not depend on the run's seed, and what it plants itself."""
    section = algorithm.run.games[0].model_copy(update={"options": MEASURED})
    tasks = evaluation_tasks(
        section,
        game_index=0,
        pairs=CASES,
        seed=1_000_003,
        policy=algorithm.versions()[ADAPTER],
        opponent="random",
    )
    found = []
    for played in algorithm.play(tasks):
        case = make(played.task.game, seed=played.task.seed, **played.task.options).result()
        legal = played.episode.outcome == "finished"  # a forfeit has no result
        found.append({**case, **(played.episode.result if legal else {}), "legal": legal})
    return {**point(found), **_planted(algorithm)}


def point(found: Sequence[dict[str, Any]]) -> Point:
    """Return the measures of cases, results of `Recovery` with ``legal``; a forfeited game is not right, and names
    nothing. A measure of which there is no case is None."""
    clean = [one for one in found if one["kind"] == "clean"]
    wrong = [one for one in found if one["kind"] != "clean"]
    errors = [one for one in wrong if one["place"] is not None]
    return {
        "clean": _mean([one["right"] for one in clean]),
        "robust": _mean([one["right"] for one in wrong]),
        **{kind: _mean([one["right"] for one in wrong if one["kind"] == kind]) for kind in KINDS},
        **{f"step_{place + 1}": _mean([one["right"] for one in errors if one["place"] == place]) for place in PLACES},
        "copied": _mean([one["legal"] and one["copied"] for one in wrong if one["copied"] is not None]),
        "localised": _mean([one["legal"] and one["localised"] for one in errors]),
        "alarm": _mean([one["legal"] and one["alarm"] for one in clean]),
        "length_clean": _mean([one["characters"] for one in clean if one["legal"]]),
        "length_wrong": _mean([one["characters"] for one in wrong if one["legal"]]),
        "legal": _mean([one["legal"] for one in found]),
    }


def _planted(algorithm: SelfPlay) -> Point:
    """Return the share of the policy's own beginnings that hold an error, None where it writes none."""
    if len(algorithm.run.games) == 1:
        return {"planted": None, "deceived": None}
    tasks = [task for task in training_tasks(algorithm.run, UNSEEN, algorithm.versions(), None) if task.game_index]
    ended = [one.episode.result for one in algorithm.play(tasks) if one.episode.outcome == "finished"]
    return {
        "planted": _mean([one["kind"] != "clean" for one in ended]),
        "deceived": _mean([not one["right"] for one in ended]),
    }


def _mean(values: Sequence[Any]) -> float | None:
    return math.fsum(values) / len(values) if values else None


def run(cell: Cell) -> dict[str, Any]:
    """Train one cell, measuring it every so often, and resume where it was stopped."""
    made = Taught if cell.arm == "taught" else SelfPlay
    curve = trained_curve(cell, config_of(cell, threads()), measure, every=EVERY, made=made)
    first, last = curve[0], curve[-1]
    return {
        "clean_start": first["clean"],
        "robust_start": first["robust"],
        **{key: value for key, value in last.items() if key != "iteration"},
        "curves": {
            key: [None if one[key] is None else round(one[key], 4) for one in curve]
            for key in ("iteration", "clean", "robust", "localised")
        },
    }


PLACES = range(RECOVERY["steps"] - 1)

EXPERIMENT = Experiment(
    name="distorted_traces",
    claim="Outcome reward on distorted beginnings gains at least 5 points of robust accuracy over training on clean "
    "ones, at an equal clean score; with shuffled credit it does not.",
    arms=ARMS,
    measures=(
        Measure("clean_start", "share of right answers on right beginnings before training"),
        Measure("robust_start", "the same on distorted beginnings, all kinds alike"),
        Measure("clean", "share of right answers on right beginnings after training", 1.0, "distorted >= clean - 0.01"),
        Measure("robust", "the same on distorted beginnings", 1.0, "distorted >= clean + 0.05"),
        Measure("noise", "recovery where a step is garbled", 1.0),
        Measure("dropped", "where a step is left out", 1.0),
        Measure("swapped", "where two steps are swapped, which nobody was trained on", 1.0),
        Measure("carried", "where a wrong result is carried on", 1.0),
        Measure("claim", "where another player doubts a right beginning", 1.0),
        *(Measure(f"step_{place + 1}", f"where step {place + 1} is the first wrong one", 1.0) for place in PLACES),
        Measure("copied", "share of errors whose consequence is the answer", 0.0),
        Measure("localised", "share of errors whose first wrong step is named", 1.0, "> 0.8 (named)"),
        Measure("alarm", "share of right beginnings in which a step is called wrong", 0.0),
        Measure("length_clean", "characters of a reply to a right beginning"),
        Measure("length_wrong", "characters of a reply to a distorted one"),
        Measure("legal", "share of replies that hold an answer"),
        Measure("planted", "share of the polluter's beginnings that hold an error"),
        Measure("deceived", "share of them that the solver answers wrongly"),
    ),
    seconds={"cpu": 300.0, "gpu": 300.0},
    run=run,
)
