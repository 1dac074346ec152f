"""Kuhn poker with open minds, exactly: closed forms, the game without thoughts, and no reply better than the best."""

from __future__ import annotations

from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest

from palaestra.agents.equilibrium import bet_probability
from palaestra.agents.models.sources import ModelSource
from palaestra.envs.games.kuhn_poker import ACTIONS
from palaestra.trainers.experiments import kuhn_exact, open_minds
from palaestra.trainers.experiments.minds_exact import (
    MindsPolicy,
    Probes,
    exploitability,
    moves_alone,
    silent,
)

TRUTH = np.eye(3)


def equilibrium(alpha: float = 0.2) -> np.ndarray:
    bets = [bet_probability(int(state[0]), state[1:], alpha) for state in kuhn_exact.STATES]
    return np.array([[1 - bet, bet] for bet in bets])


def drawn(seed: int, *, listens: bool = True) -> MindsPolicy:
    """Return a random policy; one that does not listen plays the same whatever the other thinks."""
    chance = np.random.default_rng(seed)
    shape = (3, 3) if listens else (3, 1)
    first, second = chance.dirichlet([0.5] * 3, 3), chance.dirichlet([0.5] * 3, shape)
    moves = chance.dirichlet([0.5] * 2, (2, 3, *shape, 2))
    return MindsPolicy(first, np.broadcast_to(second, (3, 3, 3)), np.broadcast_to(moves, (2, 3, 3, 3, 2, 2)))


def value(one: MindsPolicy, other: MindsPolicy, public: bool) -> float:
    """Return what the first player gets when ``one`` sits there and ``other`` second, by going through all games."""
    total = 0.0
    for (c0, c1), t0, t1 in product(product(range(3), repeat=2), range(3), range(3)):
        if c0 == c1:
            continue
        weight = one.first[c0, t0] * other.second[c1, t0 if public else 0, t1] / 6
        (none, pb), (p, b) = one.moves[0, c0, t0, t1 if public else 0], other.moves[1, c1, t1, t0 if public else 0]
        win = 1 if c0 > c1 else -1
        checked = p[0] * win + p[1] * (pb[0] * -1 + pb[1] * 2 * win)
        total += weight * (none[0] * checked + none[1] * (b[0] + b[1] * 2 * win))
    return total


def test_thoughts_that_say_nothing_leave_the_exploitability_of_the_game() -> None:
    uniform = silent(np.full((12, 2), 0.5))
    chance = np.random.default_rng(0).dirichlet([1, 1], 12)
    for public in (False, True):
        assert exploitability(uniform, public=public) == pytest.approx(0.4583, abs=1e-4)
        assert exploitability(silent(equilibrium()), public=public) == pytest.approx(0, abs=1e-12)
        assert exploitability(silent(chance), public=public) == pytest.approx(kuhn_exact.exploitability(chance))


def test_who_tells_its_card_and_always_bets_loses_more_in_public() -> None:
    """In private K wins 2, Q is even and J folds, of three cards; in public the better card wins 2, the other folds."""
    always = silent(np.tile([0.0, 1.0], (12, 1)))
    telling = MindsPolicy(TRUTH, np.stack([TRUTH] * 3, axis=1), always.moves)
    assert exploitability(telling, public=False) == pytest.approx(1 / 3)
    assert exploitability(telling, public=True) == pytest.approx(1 / 2)


@pytest.mark.parametrize("seed", range(5))
def test_in_private_a_thought_is_a_way_to_roll_dice(seed: int) -> None:
    policy = drawn(seed, listens=False)
    private = exploitability(policy, public=False)
    assert private == pytest.approx(kuhn_exact.exploitability(moves_alone(policy)))
    assert exploitability(policy, public=True) >= private - 1e-12
    with pytest.raises(ValueError, match="answers the other's thoughts"):
        moves_alone(drawn(seed))


@pytest.mark.parametrize("public", [False, True])
def test_nobody_does_better_than_the_best_reply(public: bool) -> None:
    for seed in range(10):
        policy = drawn(seed, listens=public)
        gains = []
        for other in range(40):
            reply = drawn(100 + other, listens=public)
            gains.append((value(reply, policy, public) - value(policy, reply, public)) / 2)
        assert max(gains) <= exploitability(policy, public=public) + 1e-12


@pytest.mark.parametrize("public", [False, True])
def test_a_model_is_read_in_contexts_that_show_what_is_read(public: bool) -> None:
    arm = "public_zero_sum" if public else "private_zero_sum"
    cell = SimpleNamespace(arm=arm, seed=0, scale="cpu")
    codec = ModelSource.parse("tiny:blank").codec()
    probes = Probes(open_minds.config_of(cell, 1).games[0], codec)
    chance = np.random.default_rng(0)
    seen: dict[tuple[int, ...], float] = {}
    logprobs = [seen.setdefault(tuple(row), float(np.log(chance.random() / 3))) for row in probes.rows]
    policy = probes.read(np.array(logprobs))
    assert (np.ptp(policy.moves, axis=3).max() > 0.01) == public
    assert np.ptp(policy.moves, axis=(1, 2, 4)).min() > 0.01
    said = {codec.decode(row[start:]) for row, start in zip(probes.rows, probes.starts, strict=True)}
    assert {*ACTIONS} < said
    assert exploitability(policy, public=public) > 0
