"""Hindsight: what is it worth to ask a frozen reference what should have been said?

Kuhn poker in self-play, in which every strength is exact. The reference is `tiny:kuhn-told`, which has read finished
random games with the result told first: told that a game ended well, it says what somebody who got that would have
said. It never moves. The arms differ in what is made of it, and in nothing else.

Three axes: episodes, *all* tokens that were sampled (reviews and continuations of trials included), and seconds. The
claim is about tokens, so one arm spends what trials cost on more ordinary games. Each use has its null: verified
replies are learned at each other's turns, and sizes of token credit are dealt out at random: within their game, or,
since the first token decides a reply here, over all games among tokens at the same place of their replies.

Before anything is trained the reference's uplift is measured (`palaestra.trainers.hindsight.gate`): what it gains by
hindsight on games that are not trained on, with its interval.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from palaestra.trainers.algorithm import SelfPlay
from palaestra.trainers.config import RunConfig, parse_config
from palaestra.trainers.experiments.framework import Arm, Cell, Experiment, Measure
from palaestra.trainers.experiments.kuhn import policy_table
from palaestra.trainers.experiments.kuhn_exact import Averaged, exploitability
from palaestra.trainers.experiments.trained_cell import Point, threads, trained_curve
from palaestra.trainers.hindsight.gate import measure as measure_uplift

ITERATIONS = {"cpu": 150, "gpu": 300}
GAMES = 128
LAST = 25
TARGET = 0.12
"""Exploitability of the averaged policy that counts as strong."""
MORE = 4
"""Times as many games as spend about the tokens of verified hindsight."""
GATE = 256
ADAPTER = "hindsight"

ARMS = (
    Arm("outcome", "the game's result alone"),
    Arm("verified", "and the reference's replies, those that did better when they were tried out"),
    Arm("unverified", "and all of its replies"),
    Arm("judge", "and a score a turn: how much more a winner would have said so than a loser"),
    Arm("tokens", "the result falls on tokens by the reference's likelihoods with right and wrong hindsight"),
    Arm("more_games", f"the result alone, {MORE} times as many games"),
    Arm("tokens_shuffled", "the same sizes, dealt out at random over the tokens of their game", null=True),
    Arm("tokens_by_place", "the same sizes, dealt out over all games among tokens at one place of replies", null=True),
    Arm("shuffled", "verified replies, learned at each other's turns", null=True),
)


def config_of(cell: Cell, threads: int) -> RunConfig:
    """Return a cell's run."""
    reply = {"max_tokens": 8, "context": "fresh"}
    asks = {"use": cell.arm, "form": "reply", "share": 0.5, "pairs": 8, "weight": 0.2, "gate": GATE, "reply": reply}
    return parse_config(
        {
            "name": ADAPTER,
            "seed": cell.seed,
            "model": {"source": "tiny:kuhn-told", "lora": {"rank": 16, "alpha": 32}},
            "games": [{"game": "kuhn_poker", "options": {"view": "terse"}, "reply": reply}],
            "iterations": ITERATIONS[cell.scale],
            "games_per_iteration": GAMES * (MORE if cell.arm == "more_games" else 1),
            "credit": {
                "rule": "role_baseline",
                "options": {"failure_penalty": 1.0},
                "kl": {"kind": "piecewise", "points": [[0, 1.0], [0.4, 0.5], [0.7, 0.2], [1, 0.05]]},
            },
            "loss": {"kl_estimator": "k2"},
            "optimizer": {"lr": {"kind": "cosine", "start": 1e-3, "end": 5e-5}, "minibatches": 4, "token_budget": 8192},
            "resources": {"runners": 0, "threads": threads, "concurrent_games": 1024},
            "replays": "none",
            "hindsight": None if cell.arm in ("outcome", "more_games") else asks,
            "evaluation": {"pairs": 0},
        },
        "hindsight experiment",
    )


def run(cell: Cell) -> dict[str, Any]:
    """Train one cell, measuring every iteration, and resume where it was stopped."""
    averaged = Averaged()

    def measure(algorithm: SelfPlay, before: list[Point]) -> Point:
        for point in before[1 + averaged.count :]:  # of an earlier run
            averaged.add(np.array(point["policy"]))
        return _point(algorithm, averaged, before)

    curve = trained_curve(cell, config_of(cell, threads()), measure, every=1, save_every=25)
    strong = next((point for point in curve[1:] if point["averaged"] <= TARGET), None)
    last = curve[-LAST:]
    return {
        "uplift": curve[0]["uplift"],
        "start": curve[0]["last"],
        **{f"{axis}_to_target": strong and strong[axis] for axis in AXES},
        "averaged": sum(point["averaged"] for point in last) / len(last),
        "last_iterate": sum(point["last"] for point in last) / len(last),
        "accepted": curve[-1]["accepted"],
        **{axis: curve[-1][axis] for axis in AXES},
        "intervals": {"uplift": curve[0]["interval"]},
        "curves": {
            "kilotokens": [round(point["tokens"] / 1000, 2) for point in curve[::5]],
            "averaged": [round(point["averaged"], 4) for point in curve[::5]],
            "last": [round(point["last"], 4) for point in curve[::5]],
        },
    }


def _point(algorithm: SelfPlay, averaged: Averaged, before: list[Point]) -> Point:
    table = algorithm._learner(policy_table, adapter=ADAPTER)
    if not before:
        uplift = _uplift(algorithm)
        zero = dict.fromkeys(AXES, 0.0)
        start = exploitability(table)
        return {"last": start, "averaged": start, "accepted": 0.0, "policy": table.tolist(), **zero, **uplift}
    averaged.add(table)
    summary = algorithm.summary
    assert summary is not None
    asked = summary.learner
    spent = {
        "episodes": summary.games,
        "tokens": summary.sampled_tokens + asked.get("hindsight/tokens", 0.0),
        "seconds": summary.seconds_sampling + summary.seconds_learning,
    }
    found: Point = {
        "last": exploitability(table),
        "averaged": exploitability(averaged.policy()),
        "accepted": before[-1]["accepted"] + asked.get("hindsight/accepted", 0.0),
        "policy": table.round(6).tolist(),
    }
    return {**found, **{axis: before[-1][axis] + value for axis, value in spent.items()}}


def _uplift(algorithm: SelfPlay) -> Point:
    if algorithm.run.hindsight is None:
        return {"uplift": None, "interval": None}
    found = measure_uplift(algorithm.run, algorithm.play, algorithm.score)
    low, high = (None if math.isnan(bound) else bound for bound in (found.low, found.high))
    return {"uplift": found.mean, "interval": [low, high, found.turns]}


AXES = ("episodes", "tokens", "seconds")

EXPERIMENT = Experiment(
    name="hindsight",
    claim="In Kuhn poker verified hindsight of a frozen reference halves the sampled tokens that self-play takes to an "
    f"exploitability of {TARGET}; replies learned at each other's turns do not.",
    arms=ARMS,
    measures=(
        Measure("uplift", "what the reference gains a reviewed turn by hindsight, before training", None, "> 0"),
        Measure("start", "exploitability of the start"),
        Measure(
            "tokens_to_target",
            f"sampled tokens until the averaged policy has {TARGET}, reviews and trials included",
            None,
            "verified < outcome / 2",
        ),
        Measure("episodes_to_target", "training games until then"),
        Measure("seconds_to_target", "seconds of playing and learning until then"),
        Measure("averaged", f"exploitability of the averaged policy, mean of the last {LAST} iterations", 0.0),
        Measure("last_iterate", f"exploitability of the last policy, mean of the last {LAST} iterations", 0.0),
        Measure("accepted", "claims that were learned"),
        Measure("tokens", "sampled tokens in all"),
        Measure("episodes", "training games in all"),
        Measure("seconds", "seconds of playing and learning in all"),
    ),
    seconds={"cpu": 300.0, "gpu": 300.0},
    run=run,
)
