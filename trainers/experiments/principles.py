"""Principles: does it matter what a reviewer is told to go by, and whether its answer is held to a form?

A chat model plays Kuhn poker with itself and reviews its own turns, in words: was that a mistake, what could have been
recognised then, and what should have been said. Nothing is trained. The games and the turns are the same for every arm,
and what the reviewer proposes is tried out in clones of the game as it would be in a run (`verified`).

The arms differ in the file of principles that the reviewer is shown, the null among them in one of the same length
about something else, and one in that the reviewer may answer as it likes.
"""

from __future__ import annotations

import math
from typing import Any

from palaestra.trainers.config import RunConfig, parse_config
from palaestra.trainers.experiments.framework import Arm, Cell, Experiment, Measure
from palaestra.trainers.experiments.trained_cell import algorithm_of, threads
from palaestra.trainers.hindsight.ask import OWN_PRINCIPLES
from palaestra.trainers.hindsight.gate import measure

GAMES = {"cpu": 96, "gpu": 1024}
ELSEWHERE = """version: 1
Judge the bread by how it smells when it leaves the oven, not by how dark the crust is.
A good dough may rise slowly and a bad one may rise fast.
Name one thing that could have been kneaded then, and the loaf that follows from it.
If the loaf was as good as any other, say that it was well baked.
Never use what was only bought later: another baker's flour, salt or yeast.
"""

ARMS = (
    Arm("principles", "with the file of principles that comes with Palaestra"),
    Arm("none", "without any"),
    Arm("elsewhere", "with a file of the same length about baking bread", null=True),
    Arm("free", "with the principles, and not held to the form of an answer"),
)


def config_of(cell: Cell, threads: int) -> RunConfig:
    """Return the run whose gate asks the reviewer."""
    reply = {"max_tokens": 4, "temperature": 0.7, "context": "fresh", "system": "Answer with one word: pass or bet."}
    file: str | None = None if cell.arm == "none" else "own"
    if cell.arm == "elsewhere":
        path = cell.folder / "elsewhere.txt"
        path.write_text(ELSEWHERE, encoding="utf-8")
        file = str(path)
    once = {"reasks": 0}
    return parse_config(
        {
            "name": "principles",
            "seed": cell.seed,
            "model": {"source": "smollm2", "lora": {"rank": 4}},
            "games": [
                {
                    "game": "kuhn_poker",
                    "options": {"view": "brief"},
                    "reply": reply,
                    "rules": {"accept_cut": True, "illegal": once, "unparsable": once, "truncated": once},
                }
            ],
            "games_per_iteration": GAMES[cell.scale],
            "hindsight": {
                "form": "full",
                "share": 1.0,
                "pairs": 6,
                "gate": GAMES[cell.scale],
                "principles": file,
                "structured": cell.arm != "free",
                "reply": {"max_tokens": 96, "temperature": 0.7, "context": "fresh"},
            },
            "resources": {"runners": 0, "threads": threads, "concurrent_games": 64},
            "replays": "none",
            "evaluation": {"pairs": 0},
        },
        "principles experiment",
    )


def run(cell: Cell) -> dict[str, Any]:
    """Let one reviewer review, and try out what it proposes."""
    config = config_of(cell, threads())
    with algorithm_of(cell, config) as (algorithm, _):
        found = measure(algorithm.run, algorithm.play, algorithm.score)
    counts = {key.removeprefix("hindsight/"): value for key, value in found.counts.items()}

    def share(*whys: str) -> float | None:
        return sum(counts.get(why, 0.0) for why in whys) / found.turns if found.turns else None

    unread = share("unparsable", "truncated", "too_long", "illegal")
    return {
        "reviewed": found.turns,
        "read": None if unread is None else 1 - unread,
        "no_mistake": share("no_mistake"),
        "same": share("same"),
        "not_legal": share("not_legal"),
        "leak": share("leak"),
        "tried": share("accepted", "rejected"),
        "accepted": share("accepted"),
        "uplift": found.mean,
        "tokens": found.tokens,
        "intervals": {
            "uplift": [*(None if math.isnan(bound) else bound for bound in (found.low, found.high)), found.turns]
        },
    }


EXPERIMENT = Experiment(
    name="principles",
    claim="A chat model's reviews can be read when they are held to a form, and seldom else; told "
    "principles it finds more mistakes than without any, and better replies than told of something else.",
    arms=ARMS,
    measures=(
        Measure("reviewed", "turns that were reviewed"),
        Measure("read", "share of reviews that could be read", 1.0),
        Measure("no_mistake", "share that found no mistake"),
        Measure("same", "share that proposed what had been said"),
        Measure("not_legal", "share that proposed what was not legal", 0.0),
        Measure("leak", "share that used what could not be known"),
        Measure("tried", "share whose proposal was tried out"),
        Measure("accepted", "share whose proposal stood the trial"),
        Measure("uplift", "what the reviewer gains a reviewed turn by hindsight", None, "> 0"),
        Measure("tokens", "sampled tokens of games, reviews and trials"),
    ),
    seconds={"cpu": 400.0, "gpu": 300.0},
    run=run,
    decides=lambda arm: OWN_PRINCIPLES.read_text(encoding="utf-8") if arm in ("principles", "free") else "",
)
