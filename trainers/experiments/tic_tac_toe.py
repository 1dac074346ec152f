"""Tic-tac-toe: does self-play make fewer mistakes, judged by perfect play and by a searching opponent?

Every position of a game is solved by minimax. The *regret* of a move is how much of the position's value it gives away
(0 to 2), averaged over the policy's moves against `mcts`; the loss rate against `mcts` is what that costs. Both are
measured on the same seat-flipped games before and after training, so the untrained arm is the start itself; a second
null arm trains on shuffled advantages: the same updates in size, without their meaning.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from palaestra.envs import make
from palaestra.envs.games.tic_tac_toe import LINES, MARKS
from palaestra.trainers.algorithm import SelfPlay
from palaestra.trainers.config import RunConfig, parse_config
from palaestra.trainers.experiments.framework import Arm, Cell, Experiment, Measure, Scale
from palaestra.trainers.experiments.trained_cell import Point, threads, trained_curve
from palaestra.trainers.summary import score
from palaestra.trainers.tasks import Played, evaluation_tasks

ITERATIONS: dict[Scale, int] = {"cpu": 120, "gpu": 1500}
GAMES: dict[Scale, int] = {"cpu": 128, "gpu": 512}
PAIRS = 100
OPPONENT = "mcts:100"
EVERY = 20

ARMS = (
    Arm("self_play", "role-conditioned baseline, KL to the frozen start"),
    Arm("shuffled_credit", "the same, with advantages dealt out to the wrong episodes", null=True),
)


@cache
def value(squares: str, mover: int) -> int:
    """Return the minimax value of a position (nine characters of X, O and .) for the player to move: 1, 0 or -1."""
    if any(squares[a] != "." and squares[a] == squares[b] == squares[c] for a, b, c in LINES):
        return -1
    free = [cell for cell in range(9) if squares[cell] == "."]
    if not free:
        return 0
    return max(-value(squares[:cell] + MARKS[mover] + squares[cell + 1 :], 1 - mover) for cell in free)


def regrets(played: Sequence[Played]) -> list[float]:
    """Return the minimax regret of every move of the measured policy, in units of the game's returns."""
    found = []
    for one in played:
        squares = "." * 9
        for player, action in one.episode.actions:
            cell = int(str(action)) - 1
            after = squares[:cell] + MARKS[player] + squares[cell + 1 :]
            if player == one.task.meta["own_seat"]:
                found.append(float(value(squares, player) + value(after, 1 - player)))
            squares = after
    return found


def config_of(cell: Cell, threads: int) -> RunConfig:
    """Return a cell's run."""
    rule = "shuffled" if cell.arm == "shuffled_credit" else "role_baseline"
    return parse_config(
        {
            "name": "board",
            "seed": cell.seed,
            "model": {"source": "tiny:board", "lora": {"rank": 32, "alpha": 64}},
            "games": [
                {
                    "game": "tic_tac_toe",
                    "options": {"view": "terse"},
                    "reply": {"max_tokens": 3, "context": "fresh"},
                }
            ],
            "iterations": ITERATIONS[cell.scale],
            "games_per_iteration": GAMES[cell.scale],
            "credit": {"rule": rule, "kl": {"kind": "linear", "start": 0.1, "end": 0.04}},
            "optimizer": {
                "lr": {"kind": "cosine", "start": 1e-3, "end": 1e-4},
                "token_budget": 16384,
                "minibatches": 4,
            },
            "resources": {"runners": 0, "threads": threads, "concurrent_games": GAMES[cell.scale]},
            "replays": "none",
            "evaluation": {"pairs": 0},
        },
        "tic_tac_toe experiment",
    )


def run(cell: Cell) -> dict[str, Any]:
    """Train one cell, measuring at the start, at the end and every so often, and resume where it was stopped."""
    curve = trained_curve(cell, config_of(cell, threads()), _measure, every=EVERY)
    return {
        "regret_start": curve[0]["regret"],
        "regret_end": curve[-1]["regret"],
        "loss_rate_start": curve[0]["loss_rate"],
        "loss_rate_end": curve[-1]["loss_rate"],
        "legal_end": curve[-1]["legal"],
        "curves": {key: [point[key] for point in curve] for key in ("iteration", "regret", "loss_rate")},
    }


def _measure(algorithm: SelfPlay, before: list[Point]) -> Point:
    section = algorithm.run.games[0]
    players = make(section.game, **section.options).facts.players
    tasks = evaluation_tasks(
        section,
        game_index=0,
        pairs=PAIRS,
        seed=1000 + algorithm.run.seed,
        policy=algorithm.versions()["board"],
        opponent=OPPONENT,
    )
    played = algorithm.play(tasks)
    found = regrets(played)
    result = score(played, OPPONENT)
    return {
        "regret": sum(found) / len(found),
        "loss_rate": result.losses / (PAIRS * players),
        "legal": result.legal.mean,
    }


EXPERIMENT = Experiment(
    name="tic_tac_toe",
    claim="Self-play of tiny:board lowers minimax regret per move and the loss rate to mcts, with separate "
    "intervals, within one hour a seed on two CPU cores.",
    arms=ARMS,
    measures=(
        Measure("regret_start", "minimax regret per move of the start, in units of the game's returns", 0.0),
        Measure("regret_end", "the same after training", 0.0, "< 0.02 (gpu scale)"),
        Measure("loss_rate_start", f"share of games that the start loses to {OPPONENT}"),
        Measure("loss_rate_end", "the same after training", None, "< 0.05 (gpu scale)"),
        Measure("legal_end", "share of legal replies after training"),
    ),
    seconds={"cpu": 480.0, "gpu": 3600.0},
    run=run,
)
