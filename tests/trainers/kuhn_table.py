"""Self-play on Kuhn poker with a 12 × 2 table of logits in place of the network, and everything else as in a real run.

A seat's episode is a row: the token of an information state (2 to 13, observed), the token of the action (0 pass,
1 bet, sampled), and so on. Rows go through the credit rule, `Counts`, `TokenBatch`, `score_hidden` and `token_loss`;
the "hidden state" of a token is its line of the table and the "head" is the identity. Exploitability is OpenSpiel's,
exact.
"""

from dataclasses import dataclass

import numpy as np
import pyspiel
import torch
from open_spiel.python import policy as spiel_policy
from open_spiel.python.algorithms.exploitability import exploitability

from palaestra.trainers.credit import Credit
from palaestra.trainers.loss import Counts, LossSettings, TokenBatch, score_hidden, token_loss
from palaestra.trainers.rows import Row
from palaestra.trainers.schedules import Schedule

GAME = pyspiel.load_game("kuhn_poker")
# Line 3 * h + card of the table holds history h: the first player's are "" and "pb", the second's "p" and "b".
HISTORIES = ("", "pb", "p", "b")
UNIFORM = float(np.log(0.5))


def exact_exploitability(probabilities: np.ndarray) -> float:
    """Return OpenSpiel's exploitability of a policy [12, 2]."""
    table = spiel_policy.TabularPolicy(GAME)
    for number, history in enumerate(HISTORIES):
        for card in range(3):
            table.action_probability_array[table.state_lookup[f"{card}{history}"]] = probabilities[3 * number + card]
    return exploitability(GAME, table)


@dataclass
class Games:
    """N played games as arrays.

    Attributes:
        states: int[N, 3], line of the table at the 1st, 2nd and 3rd action; -1 where the game was over.
        actions: int[N, 3]. returns: float[N], of the first player.
    """

    states: np.ndarray
    actions: np.ndarray
    returns: np.ndarray


def play(probabilities: np.ndarray, games: int, random: np.random.Generator) -> Games:
    """Play ``games`` games of the policy [12, 2] against itself."""
    deal = np.argsort(random.random((games, 3)), axis=1)
    first, second = deal[:, 0], deal[:, 1]
    noise = random.random((games, 3))
    states = np.full((games, 3), -1)
    actions = np.zeros((games, 3), int)
    states[:, 0] = first
    actions[:, 0] = noise[:, 0] < probabilities[states[:, 0], 1]
    states[:, 1] = np.where(actions[:, 0] == 1, 9, 6) + second
    actions[:, 1] = noise[:, 1] < probabilities[states[:, 1], 1]
    again = (actions[:, 0] == 0) & (actions[:, 1] == 1)
    states[again, 2] = 3 + first[again]
    actions[again, 2] = noise[again, 2] < probabilities[states[again, 2], 1]
    high = np.where(first > second, 1.0, -1.0)
    bet_and_called = np.where(actions[:, 1] == 1, 2 * high, 1.0)
    checked = np.where(again, np.where(actions[:, 2] == 1, 2 * high, -1.0), high)
    return Games(states, actions, np.where(actions[:, 0] == 1, bet_and_called, checked))


def rows_of(games: Games, probabilities: np.ndarray) -> list[Row]:
    """Return two rows a game."""
    rows = []
    logs = np.log(probabilities)
    for number, (states, actions, value) in enumerate(zip(games.states, games.actions, games.returns, strict=True)):
        for player, moves in ((0, (0, 2) if states[2] >= 0 else (0,)), (1, (1,))):
            tokens = np.array([x for m in moves for x in (states[m] + 2, actions[m])], np.int32)
            sampled = np.arange(len(tokens)) % 2 == 1
            chosen = np.array([x for m in moves for x in (0.0, logs[states[m], actions[m]])], np.float32)
            rows.append(
                Row(
                    game="kuhn_poker",
                    role=("first", "second")[player],
                    group=str(number),
                    episode_id=str(number),
                    player=player,
                    segment=0,
                    policy="table",
                    return_=float(value if player == 0 else -value),
                    tokens=tokens,
                    sampled=sampled,
                    logprobs=chosen,
                    turns=np.repeat(np.array(moves, np.int32), 2),
                    status=np.zeros(len(tokens), np.int8),
                )
            )
    return rows


@dataclass
class Curve:
    """Exploitability of the last and of the averaged policy, at each ``iteration``."""

    iteration: list[int]
    last: list[float]
    averaged: list[float]


def train(
    credit: Credit,
    settings: LossSettings,
    *,
    kl: Schedule,
    step: Schedule,
    seed: int,
    iterations: int = 300,
    games: int = 128,
    every: int = 10,
) -> Curve:
    """Train the table by self-play and return its curve.

    The averaged policy plays like a mixture of all iterations' policies, later ones weighing more (iteration t weighs
    t, as in CFR+): its probabilities are weighted by the player's own probability of reaching the information state.
    """
    random = np.random.default_rng(seed)
    table = torch.zeros(12, 2, requires_grad=True)
    optimizer = torch.optim.SGD([table], lr=1.0)
    mixed, reached = np.zeros((12, 2)), np.zeros((12, 1))
    curve = Curve([], [], [])
    for iteration in range(iterations):
        progress = iteration / (iterations - 1)
        probabilities = torch.softmax(table.detach().double(), -1).numpy()
        rows = credit.assign(rows_of(play(probabilities, games, random), probabilities), kl=kl(progress))
        batch = TokenBatch.from_rows(rows)
        batch.reference = torch.full(batch.tokens.shape, UNIFORM)
        logprobs, _ = score_hidden(table[(batch.tokens - 2).clamp(min=0)], lambda hidden: hidden, batch)
        loss, _ = token_loss(logprobs, batch, Counts.of(rows), settings)
        optimizer.zero_grad()
        loss.backward()
        optimizer.param_groups[0]["lr"] = step(progress)
        optimizer.step()

        probabilities = torch.softmax(table.detach().double(), -1).numpy()
        reach = np.full((12, 1), iteration + 1.0)
        reach[3:6] *= probabilities[0:3, :1]
        mixed += reach * probabilities
        reached += reach
        if (iteration + 1) % every == 0:
            curve.iteration.append(iteration + 1)
            curve.last.append(exact_exploitability(probabilities))
            curve.averaged.append(exact_exploitability(mixed / reached))
    return curve
