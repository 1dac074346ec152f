"""Bits through a channel, against closed forms."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from palaestra.trainers.measures.information import (
    capacity_at_least,
    capacity_test,
    channel_capacity,
    divergence_bits,
    fano_bits,
    influence_bits,
    mutual_information,
    permutation_test,
)


@pytest.mark.parametrize(
    ("accuracy", "messages", "bits"),
    [(1.0, 4, 2.0), (0.25, 4, 0.0), (0.1, 4, 0.0), (1.0, 2, 1.0), (0.5, 2, 0.0), (1.0, 64, 6.0)],
)
def test_fano_at_its_ends(accuracy: float, messages: int, bits: float) -> None:
    assert fano_bits(accuracy, messages) == pytest.approx(bits)


@given(st.integers(2, 20), st.floats(0.0, 1.0))
def test_fano_is_the_information_of_a_channel_whose_errors_are_alike(messages: int, share: float) -> None:
    accuracy = 1 / messages + share * (1 - 1 / messages)
    table = {
        (sent, got): (accuracy if sent == got else (1 - accuracy) / (messages - 1)) / messages
        for sent, got in product(range(messages), repeat=2)
    }
    exact = sum(p * math.log2(p * messages * messages) for p in table.values() if p > 0)  # both sides are uniform
    assert fano_bits(accuracy, messages) == pytest.approx(exact, abs=1e-9)


@pytest.mark.parametrize(("accuracy", "messages"), [(1.1, 2), (-0.1, 2), (0.5, 1)])
def test_fano_refuses_what_is_no_channel(accuracy: float, messages: int) -> None:
    with pytest.raises(ValueError, match="expected"):
        fano_bits(accuracy, messages)


def test_mutual_information_of_a_bijection_is_its_entropy_and_of_a_product_nothing() -> None:
    assert mutual_information([(n % 4, "abcd"[n % 4]) for n in range(40)]) == pytest.approx(2.0)
    assert mutual_information(list(product(range(3), "xyz"))) == pytest.approx(0.0)
    assert mutual_information([]) == 0.0


def test_the_permutation_null_is_the_known_bias_and_p_is_uniform_under_it() -> None:
    rng = np.random.default_rng(0)
    pairs = [(int(a), int(b)) for a, b in rng.integers(4, size=(400, 2))]
    found = permutation_test(pairs)
    assert found.null == pytest.approx(9 / (2 * 400 * math.log(2)), rel=0.15)
    small = [permutation_test([tuple(row) for row in rng.integers(3, size=(30, 2))], shuffles=99).p for _ in range(200)]
    assert np.mean(np.array(small) <= 0.1) < 0.17
    sent = permutation_test([(n % 4, n % 4) for n in range(200)])
    assert sent.p == 0.001
    assert sent.corrected == pytest.approx(2.0, abs=0.05)


def sampled(channel: np.ndarray, each: int, seed: int) -> list[tuple[int, int]]:
    rng = np.random.default_rng(seed)
    return [(sent, int(got)) for sent, row in enumerate(channel) for got in rng.choice(len(row), size=each, p=row)]


FLIPS = 0.11
SYMMETRIC = np.array([[1 - FLIPS, FLIPS], [FLIPS, 1 - FLIPS]])
ERASES = np.array([[0.6, 0.0, 0.4], [0.0, 0.6, 0.4]])
Z = np.array([[1.0, 0.0], [0.5, 0.5]])
"""The Z-channel of one half has the capacity log2(5/4), reached by inputs that are not even."""


@pytest.mark.parametrize(
    ("channel", "bits"),
    [
        (np.eye(8), 3.0),
        (np.full((4, 4), 0.25), 0.0),
        (SYMMETRIC, 1 + FLIPS * math.log2(FLIPS) + (1 - FLIPS) * math.log2(1 - FLIPS)),
        (ERASES, 0.6),
        (Z, math.log2(5 / 4)),
    ],
)
def test_a_sampled_capacity_is_biased_upwards_and_its_null_takes_that_off(channel: np.ndarray, bits: float) -> None:
    assert channel_capacity(channel) == pytest.approx(bits, abs=1e-6)
    found = [capacity_test(sampled(channel, 60, seed), shuffles=5) for seed in range(24)]
    plain = np.array([one.bits for one in found])
    error = plain.std() / math.sqrt(len(found))
    assert plain.mean() >= bits - 3 * error - 1e-4
    assert np.mean([one.corrected for one in found]) <= bits + 3 * error + 1e-4 + (0.01 if not bits else 0)
    many = capacity_test(sampled(channel, 20_000, 0), shuffles=0)
    assert many.bits == pytest.approx(bits, abs=0.01)


def test_a_channel_that_hands_nothing_on_has_the_capacity_of_its_null_and_another_has_more() -> None:
    nothing = capacity_test(sampled(np.full((4, 4), 0.25), 50, 1))
    assert nothing.p > 0.05
    assert nothing.bits == pytest.approx(nothing.null, abs=0.05)
    assert capacity_test(sampled(SYMMETRIC, 50, 1)).p == 1 / 200
    with pytest.raises(ValueError, match="a capacity needs some"):
        capacity_test([])


@given(st.floats(0.3, 1.0), st.sampled_from([2, 4, 16]), st.integers(0, 99))
def test_a_receiver_shows_no_more_than_a_symmetric_channel_has(accuracy: float, messages: int, seed: int) -> None:
    """The capacity of the symmetric channel is Fano's bound at its true accuracy; what samples show lies below it,
    but for one in forty, which lies little above."""
    right = int(np.random.default_rng(seed).binomial(200, accuracy))
    shown = capacity_at_least(right, 200, messages)
    assert 0 <= shown <= fano_bits(right / 200, messages)
    beyond = min(1.0, accuracy + 2.5 * math.sqrt(accuracy * (1 - accuracy) / 200))
    assert shown <= fano_bits(beyond, messages) + 1e-9


def test_what_a_receiver_shows_comes_near_the_capacity_and_is_rarely_above_it() -> None:
    drawn = np.random.default_rng(0).binomial(300, 0.9, size=1000)
    shown = np.array([capacity_at_least(int(right), 300, 4) for right in drawn])
    assert np.mean(shown > fano_bits(0.9, 4)) < 0.04
    assert shown.mean() > 0.85 * fano_bits(0.9, 4)
    assert capacity_at_least(10**6, 10**6, 4) == pytest.approx(2.0, abs=1e-3)
    for right, sent in ((1, 0), (3, 2), (-1, 2)):
        with pytest.raises(ValueError, match="were right"):
            capacity_at_least(right, sent, 4)


@given(st.sampled_from([2, 4, 16, 64, 256]), st.integers(1, 300), st.floats(0.0, 1.0))
def test_what_a_receiver_shows_is_too_much_in_at_most_one_of_forty(messages: int, sent: int, share: float) -> None:
    shown = np.array([capacity_at_least(right, sent, messages) for right in range(sent + 1)])
    for accuracy in (1 / messages, 1 / messages + share * (1 - 1 / messages)):
        too_much = shown > fano_bits(min(1.0, accuracy), messages) + 1e-9
        assert binom.pmf(np.flatnonzero(too_much), sent, accuracy).sum() <= 1 / 40 + 1e-9


def test_divergence_of_codes() -> None:
    cover = {"aa": 0.25, "ab": 0.25, "ba": 0.25, "bb": 0.25}
    assert divergence_bits(cover, cover) == 0.0
    assert divergence_bits({"aa": 1.0}, cover) == 2.0
    assert divergence_bits({"zz": 1.0}, cover) == math.inf
    assert divergence_bits({"aa": 0.5, "bb": 0.5}, cover) == 1.0


def test_influence_is_signalling_that_is_listened_to() -> None:
    assert influence_bits([{"bet": 1.0}, {"pass": 1.0}]) == pytest.approx(1.0)
    assert influence_bits([{"bet": 0.7, "pass": 0.3}] * 4) == pytest.approx(0.0)
    half = influence_bits([{"bet": 1.0}, {"bet": 0.5, "pass": 0.5}])
    assert half == pytest.approx(0.75 * math.log2(1 / 0.75) + 0.25 * 2 - 0.5)


@pytest.mark.parametrize("table", [[], [[]], [[], []], [0.5, 0.5], [[0.5, 0.6]], [[1.5, -0.5]], [[math.nan, 1.0]]])
def test_what_is_no_channel_has_no_capacity(table: list) -> None:
    with pytest.raises(ValueError, match="a table of at least one row, whose rows are distributions"):
        channel_capacity(np.array(table))


def test_messages_that_are_not_equally_likely_have_less_to_tell() -> None:
    assert fano_bits(1.0, 4, entropy=1.5) == 1.5
    assert fano_bits(0.9, 4, entropy=2.0) == fano_bits(0.9, 4)
    assert fano_bits(0.5, 4, entropy=0.1) == 0.0
