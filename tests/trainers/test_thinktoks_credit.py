"""What a thought is worth, against closed forms: cancellation inside a group, telescoping, and when thinking pays."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from palaestra.trainers.thinktoks.credit import dearest, filtered, leave_one_out, returns

finite = st.floats(-20, 0)
tables = arrays(np.float64, st.tuples(st.integers(2, 6), st.integers(1, 8)), elements=finite)


@given(tables)
def test_advantages_of_a_group_cancel_and_a_constant_changes_nothing(values):
    advantages = leave_one_out(values)
    np.testing.assert_allclose(advantages.sum(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(leave_one_out(values + 3.5), advantages, atol=1e-9)


@given(tables, st.integers(0, 5))
def test_the_baseline_is_the_mean_of_the_others(values, own):
    own %= len(values)
    others = np.delete(values, own, axis=0).mean(axis=0)
    np.testing.assert_allclose(leave_one_out(values)[own], values[own] - others, atol=1e-9)


@given(tables, st.floats(0, 1), st.integers(1, 8), st.floats(0, 1), st.randoms())
def test_returns_are_the_sum_that_is_written(scores, cost, horizon, discount, random):
    group, tokens = scores.shape
    horizon = min(horizon, tokens)
    thoughts = np.array([[random.randrange(4) for _ in range(tokens)] for _ in range(group)])
    found = returns(scores, thoughts, cost=cost, horizon=horizon, discount=discount)
    for reading, token in itertools.product(range(group), range(tokens)):
        ahead = range(min(horizon, tokens - token))
        paid = sum(discount**j * scores[reading, token + j] for j in ahead) - cost * thoughts[reading, token]
        assert found[reading, token] == pytest.approx(paid, abs=1e-9)


def test_with_a_horizon_of_the_whole_document_the_first_token_gets_the_episodes_return():
    scores = np.array([[-1.0, -2.0, -4.0]])
    assert returns(scores, np.array([[2, 0, 0]]), cost=0.5, horizon=3)[0, 0] == -8.0


ZEROS = np.zeros((2, 3))


@pytest.mark.parametrize(
    ("scores", "horizon", "told"),
    [(ZEROS, 0, "horizon of 0"), (ZEROS, 4, "horizon of 4 tokens does not fit"), (ZEROS * np.nan, 1, "NaN")],
)
def test_what_cannot_be_credited_is_refused(scores, horizon, told):
    with pytest.raises(ValueError, match=told):
        returns(scores, np.zeros((2, 3), np.int64), cost=0, horizon=horizon)


def test_a_single_reading_has_nothing_to_be_compared_with():
    with pytest.raises(ValueError, match="at least 2 readings"):
        leave_one_out(ZEROS[:1])


@pytest.mark.parametrize("start", [0.05, 0.2, 1 / 3])
def test_filtering_by_right_answers_doubles_the_odds_of_the_long_form(start):
    """Rounds of sampling, keeping what is right and refitting, against the closed form, as in parity's mixture."""
    chance = np.random.default_rng(0)
    share = exact = start
    for _ in range(4):
        long = chance.random(200_000) < share
        right = long | (chance.random(200_000) < 0.5)
        share, exact = float(long[right].mean()), filtered(exact)
        assert share == pytest.approx(exact, abs=0.01)
    rounds = math.ceil(math.log2((1 - start) / (2 * start)))
    share = start
    for _ in range(rounds):
        share = filtered(share)
    assert share >= 1 / 3 - 1e-12  # where the greedy answer becomes the long form


@pytest.mark.parametrize(("states", "steps"), [(2, 4), (7, 3), (6, 5)])
def test_thinking_stops_where_its_cost_crosses_the_bound(states, steps):
    """A policy over the number of thoughts, trained by leave-one-out groups with the empty thought as one arm."""

    def likeliest(cost):
        chance = np.random.default_rng(1)
        logits = np.zeros(steps + 1)
        for _ in range(1500):
            odds = np.exp(logits - logits.max())
            odds /= odds.sum()
            drawn = np.array([0, *chance.choice(steps + 1, 15, p=odds)])
            scores = np.where(drawn == steps, 0.0, -math.log(states))
            paid = returns(scores[:, None], drawn[:, None], cost=cost, horizon=1)[:, 0]
            for thoughts, advantage in zip(drawn[1:], leave_one_out(paid[:, None])[1:, 0], strict=True):
                logits += 0.02 * advantage * ((np.arange(steps + 1) == thoughts) - odds)
        return int(logits.argmax())

    bound = dearest(states, steps)
    assert likeliest(0.9 * bound) == steps
    assert likeliest(1.1 * bound) == 0
    assert bound == pytest.approx(math.log(states) / steps)
