"""Surprise: does a model that is paid for saying how likely an output was replaced come to know it?

Two models. `tiny:machine` thinks its way through a program of the machine, digit by digit, and then says the rate, or
how unlikely the output is, or anything; what it has to learn is what the odds that it has just worked out mean. The
exact posterior is the oracle: its Brier score is what is left to chance. `smollm2` sees Python programs. Left free
it states no probability that can be read; so its reply is begun for it ("The probability that it was replaced is"), and
six tokens follow, of which the sentence's end may be cut.

Both are trained on cases of the programs that may be shown, and measured, greedily, before and after, on the same cases
of programs that are held out. They learn in groups (`group_relative`), the first by the Brier score, the second by the
bounded rule with a term for the right side of one half (Damani et al., RLCR, 2025). A reply that states no probability
is counted (``stated``) and in no other number, as on the results card; the rate and the posterior are scored on the
cases in which one was stated.
"""

from __future__ import annotations

import math
from typing import Any

from palaestra.envs import make
from palaestra.envs.games.surprise import worth
from palaestra.trainers.algorithm import SelfPlay
from palaestra.trainers.config import GameSection, RunConfig, parse_config
from palaestra.trainers.experiments.framework import Arm, Cell, Experiment, Measure
from palaestra.trainers.experiments.trained_cell import Point, threads, trained_curve
from palaestra.trainers.measures.surprise import surprise_measures
from palaestra.trainers.tasks import evaluation_tasks

ARMS = (
    Arm("machine", "tiny:machine, the machine's programs of level 1, Brier score"),
    Arm("machine_shuffled", "the same, with advantages dealt out to the wrong episodes", null=True),
    Arm("programs", "smollm2, Python programs, Brier score and the right side"),
    Arm("programs_shuffled", "the same, with advantages dealt out to the wrong episodes", null=True),
)
CASES = {"machine": 1000, "programs": 150}
EVERY = {"machine": 20, "programs": 10}

_MACHINE: dict[str, Any] = {
    "model": {"source": "tiny:machine", "lora": {"rank": 16, "alpha": 32}},
    "game": {
        "options": {"items": "machine", "view": "terse", "level": 1, "part": "shown"},
        "reply": {"max_tokens": 120, "context": "fresh"},
        "group_size": 8,
    },
    "iterations": {"cpu": 160, "gpu": 400},
    "games": {"cpu": 512, "gpu": 2048},
    "lr": {"kind": "cosine", "start": 1e-3, "end": 1e-4},
    # cooling: at a coefficient b a number that pays d more becomes exp(d / b) times as likely. To leave the rate for
    # the posterior pays 0.05 to 0.2; begun colder, the rate, the best single answer, crowds out all others first
    "kl": {"kind": "linear", "start": 0.12, "end": 0.004},
    "token_budget": 16384,
}
_PROGRAMS: dict[str, Any] = {
    "model": {"source": "smollm2", "lora": {"rank": 16, "alpha": 32}},
    "game": {
        "options": {"items": "python", "score": "answer", "level": 1, "mode": "forced", "part": "shown"},
        "reply": {"max_tokens": 6, "context": "fresh"},
        "rules": {"accept_cut": True},
        "group_size": 8,
    },
    "iterations": {"cpu": 20, "gpu": 200},
    "games": {"cpu": 64, "gpu": 256},
    "lr": {"kind": "cosine", "start": 3e-4, "end": 3e-5},
    "kl": 0.01,
    "token_budget": 4096,
}
_ONCE = {"reasks": 0}


def config_of(cell: Cell, threads: int) -> RunConfig:
    """Return a cell's run."""
    kind, _, shuffled = cell.arm.partition("_")
    plan = _MACHINE if kind == "machine" else _PROGRAMS
    options = {"rule": "group_relative"} if shuffled else {}
    return parse_config(
        {
            "name": "surprise",
            "seed": cell.seed,
            "model": plan["model"],
            "games": [
                {
                    "game": "terminal_surprise",
                    **plan["game"],
                    "rules": {
                        **plan["game"].get("rules", {}),
                        "illegal": _ONCE,
                        "unparsable": _ONCE,
                        "truncated": _ONCE,
                    },
                }
            ],
            "iterations": plan["iterations"][cell.scale],
            "games_per_iteration": plan["games"][cell.scale],
            "credit": {"rule": "shuffled" if shuffled else "group_relative", "options": options, "kl": plan["kl"]},
            "optimizer": {"lr": plan["lr"], "minibatches": 2, "token_budget": plan["token_budget"]},
            "resources": {"runners": 0, "threads": threads, "concurrent_games": plan["games"][cell.scale]},
            "replays": "none",
            "evaluation": {"pairs": 0},
        },
        "surprise experiment",
    )


def measure(algorithm: SelfPlay, before: list[Point]) -> Point:
    """Return how good the current policy's forecasts are, greedily, on cases that do not depend on the run's seed."""
    section = algorithm.run.games[0]
    options = {**section.options, "part": "held_out"}
    reply = section.reply.model_copy(update={"temperature": 0.0})
    greedy = section.model_copy(update={"reply": reply, "options": options})
    kind = "machine" if section.options["items"] == "machine" else "programs"
    return point(forecasts(algorithm, greedy, CASES[kind]))


def point(found: list[dict[str, Any]]) -> Point:
    """Return the measures of cases, one result each; all but ``stated`` are None if no probability was stated."""
    measured = surprise_measures(found)
    own, baselines = measured.own, measured.baselines
    told = [one for one in found if one["probability"] is not None]
    known = [(one["probability"], one["posterior"]) for one in told if one["posterior"] is not None]
    return {
        "brier": own and own.brier.mean,
        "rate": own and baselines["rate"].brier.mean,
        "oracle": baselines["posterior"].brier.mean if "posterior" in baselines else None,
        "distance": _mean([(said - exact) ** 2 for said, exact in known]),
        "ece": own and own.ece,
        "auroc": own.auroc if own and own.auroc == own.auroc else None,
        "right_side": own and own.coverage[1.0],
        "stated": measured.stated,
        "worth": _mean([worth("answer", one["probability"], one["replaced"]) for one in told]),
    }


def forecasts(algorithm: SelfPlay, section: GameSection, cases: int) -> list[dict[str, Any]]:
    """Return the results of cases; ``probability`` is None where none was stated."""
    tasks = evaluation_tasks(
        section, game_index=0, pairs=cases, seed=1_000_003, policy=algorithm.versions()["surprise"], opponent="random"
    )
    found = []
    for played in algorithm.play(tasks):
        case = make(played.task.game, seed=played.task.seed, **played.task.options).result()
        found.append({**case, "probability": played.episode.result.get("probability")})  # a forfeit has no result
    return found


def run(cell: Cell) -> dict[str, Any]:
    """Train one cell and measure it before and after."""
    kind = cell.arm.partition("_")[0]
    curve = trained_curve(cell, config_of(cell, threads()), measure, every=EVERY[kind])
    first, last = curve[0], curve[-1]
    oracle = last["oracle"]  # None where it is not known, or where nothing was stated
    return {
        "brier_start": first["brier"],
        "brier": last["brier"],
        "brier_rate": last["rate"],
        "brier_oracle": oracle,
        "above_oracle": None if oracle is None else last["brier"] / oracle - 1,
        "regret": None if oracle is None else last["distance"] / oracle,
        **{key: last[key] for key in ("ece", "auroc", "right_side", "stated")},
        "auroc_start": first["auroc"],
        "stated_start": first["stated"],
        "curves": {
            key: [None if one[key] is None else round(one[key], 4) for one in curve]
            for key in ("iteration", "brier", "stated")
        },
    }


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None


EXPERIMENT = Experiment(
    name="surprise",
    claim="Paid by a proper score, tiny:machine comes within 5 % of the exact posterior's Brier score, and smollm2 "
    "forecasts better than before and than shuffled credit makes it.",
    arms=ARMS,
    measures=(
        Measure("brier_start", "Brier score before training, of what was stated; 0 is perfect"),
        Measure("brier", "the same after training"),
        Measure("brier_rate", "Brier score of the shown rate where a probability was stated"),
        Measure("brier_oracle", "Brier score of the exact posterior there"),
        Measure("above_oracle", "Brier score after training over the posterior's, less 1", 0.0, "< 0.05 (machine)"),
        Measure("regret", "mean square distance to the posterior over the latter's Brier score", 0.0, "< 0.05"),
        Measure("ece", "expected calibration error after training"),
        Measure("auroc_start", "AUROC of the forecasts before training"),
        Measure("auroc", "AUROC of the forecasts after training"),
        Measure("right_side", "share on the right side of one half after training"),
        Measure("stated_start", "share of replies that state a probability before training"),
        Measure("stated", "the same after training"),
    ),
    seconds={"cpu": 1200.0, "gpu": 1800.0},
    run=run,
)
