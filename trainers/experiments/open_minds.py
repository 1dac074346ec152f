"""Open minds: what becomes of a thought that others read?

Kuhn poker, before which both players think once: a thought of two signs, which at first names the own card in two of
three games. The 2 x 2 design: thoughts are private or public, and the payoff is the game's own (zero-sum) or common
(both get what the first player gets). Everything else is the same: base, cards, moves, credit, seeds. A thought that
nobody reads is worth nothing, so the private arms are the null; read by an opponent it should say less, read by a
partner more.

The policy is read out exactly: the bits between card and named card, how much a named card that is set at random moves
the other player's first move, and how far it can be exploited by a player who may name any card and, in public, reads
what is named (`minds_exact`).
"""

from __future__ import annotations

from functools import lru_cache
from itertools import product
from statistics import fmean
from typing import Any

from palaestra.agents.models.sources import ModelSource
from palaestra.trainers.algorithm import SelfPlay
from palaestra.trainers.config import GameSection, RunConfig, parse_config
from palaestra.trainers.experiments.covert_exact import information
from palaestra.trainers.experiments.framework import Arm, Cell, Experiment, Measure
from palaestra.trainers.experiments.minds_exact import Probes, exploitability
from palaestra.trainers.experiments.trained_cell import Point, threads, trained_curve
from palaestra.trainers.learner import TokenLearner
from palaestra.trainers.measures.information import influence_bits
from palaestra.trainers.readout import reply_logprobs
from palaestra.trainers.tasks import training_tasks

ITERATIONS = {"cpu": 120, "gpu": 600}
GAMES = {"cpu": 256, "gpu": 1024}
EVERY = 20
UNSEEN = 1_000_000
"""Iteration whose games are played to measure returns; no run gets there."""

ARMS = (
    Arm("public_common", "both read the other's thought and get the same"),
    Arm("public_zero_sum", "both read the other's thought and play against each other"),
    Arm("private_common", "nobody reads a thought; both get the same", null=True),
    Arm("private_zero_sum", "nobody reads a thought; both play against each other", null=True),
)


def config_of(cell: Cell, threads: int) -> RunConfig:
    """Return a cell's run."""
    visibility, _, payoff = cell.arm.partition("_")
    return parse_config(
        {
            "name": "minds",
            "seed": cell.seed,
            "model": {"source": "tiny:minds", "lora": {"rank": 16, "alpha": 32}},
            "games": [
                {
                    "game": "open_minds",
                    "options": {
                        "inner_options": {"view": "terse"},
                        "view": "terse",
                        "payoff": "common" if payoff == "common" else "own",
                    },
                    "rules": {"visibility": visibility},
                    "reply": {"max_tokens": 32},
                }
            ],
            "iterations": ITERATIONS[cell.scale],
            "games_per_iteration": GAMES[cell.scale],
            "credit": {"rule": "role_baseline", "options": {"failure_penalty": 1.0}, "kl": 0.05},
            "loss": {"kl_estimator": "k2"},
            "optimizer": {"lr": {"kind": "cosine", "start": 1e-3, "end": 1e-4}, "minibatches": 4, "token_budget": 8192},
            "resources": {"runners": 0, "threads": threads, "concurrent_games": GAMES[cell.scale]},
            "replays": "none",
            "evaluation": {"pairs": 0},
        },
        "open_minds experiment",
    )


@lru_cache(maxsize=4)
def _probes(source: str, section_json: str) -> Probes:
    return Probes(GameSection.model_validate_json(section_json), ModelSource.parse(source).codec())


def read_out(learner: TokenLearner, adapter: str) -> dict[str, float | None]:
    """Return bits that thoughts tell of the own card, bits by which they move the other, how far the policy can be
    exploited (None where both get the same), and the least legal mass."""
    run = learner.run
    probes = _probes(str(ModelSource.parse(run.model.source).base), run.games[0].model_dump_json())
    policy = probes.read(reply_logprobs(learner, adapter, probes.rows, probes.starts))
    heard = [policy.moves[1, card, card, :, decision] for card, decision in product(range(3), range(2))]
    moved = [influence_bits([{"pass": float(row[0]), "bet": float(row[1])} for row in rows]) for rows in heard]
    zero_sum, public = run.games[0].options["payoff"] == "own", run.games[0].rules.visibility == "public"
    return {
        "first_bits": information(policy.first / 3),
        "second_bits": fmean(information(policy.second[:, named] / 3) for named in range(3)),
        "influence_bits": fmean(moved),
        "exploitability": exploitability(policy, public=public) if zero_sum else None,
        "legal": policy.legal,
    }


def measure(algorithm: SelfPlay, before: list[Point]) -> Point:
    """Return the readout, and the mean return of the first player in games of the policy with itself."""
    found: Point = algorithm._learner(read_out, adapter="minds")
    played = algorithm.play(training_tasks(algorithm.run, UNSEEN, algorithm.versions(), None))
    returns = [one.episode.returns[0] for one in played if one.episode.returns is not None]
    return {**found, "return": fmean(returns)}


def run(cell: Cell) -> dict[str, Any]:
    """Train one cell, reading it out every so often, and resume where it was stopped."""
    curve = trained_curve(cell, config_of(cell, threads()), measure, every=EVERY)
    first, last = curve[0], curve[-1]
    return {
        "first_bits_start": first["first_bits"],
        **{key: last[key] for key in ("first_bits", "second_bits", "influence_bits", "return", "legal")},
        "exploitability_start": first["exploitability"],
        "exploitability": last["exploitability"],
        "return_start": first["return"],
        "curves": {
            key: [None if point[key] is None else round(point[key], 4) for point in curve]
            for key in ("iteration", "first_bits", "second_bits", "influence_bits", "exploitability", "return")
        },
    }


EXPERIMENT = Experiment(
    name="open_minds",
    claim="A thought that a partner reads comes to tell more of the own card than one that nobody reads, and a thought "
    "that an opponent reads less.",
    arms=ARMS,
    measures=(
        Measure("first_bits_start", "bits between the first player's card and the card it names, before training"),
        Measure("first_bits", "the same after training; 1.58 tells all", None, "common > private > zero-sum"),
        Measure("second_bits", "the same for the second player"),
        Measure("influence_bits", "bits by which a card named at random moves the second player's first move"),
        Measure("exploitability_start", "half of NashConv before training, thoughts included (zero-sum arms)"),
        Measure("exploitability", "the same after training; a best response reads public thoughts", 0.0),
        Measure("return_start", "mean return of the first player before training"),
        Measure("return", "the same after training; a common payoff can reach 1.5, by moves alone, too"),
        Measure("legal", "least share of probability on legal replies"),
    ),
    seconds={"cpu": 900.0, "gpu": 900.0},
    run=run,
)
