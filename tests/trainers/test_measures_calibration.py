"""Stated probabilities, against identities and closed forms."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.trainers.measures.calibration import (
    accuracy_at_coverage,
    brier,
    calibration_error,
    log_score,
    murphy,
    reliability_bins,
)

PAIRS = st.lists(st.tuples(st.sampled_from([0, 0.1, 0.25, 0.5, 0.8, 1]), st.integers(0, 1)), min_size=1, max_size=60)


@given(PAIRS)
def test_murphys_parts_add_up_to_the_score(pairs: list) -> None:
    p, o = zip(*pairs, strict=True)
    parts = murphy(p, o)
    assert parts.brier == pytest.approx(brier(p, o))
    assert 0 <= parts.resolution <= parts.uncertainty + 1e-12
    assert parts.reliability >= 0


@given(st.lists(st.tuples(st.floats(0, 1), st.integers(0, 1)), min_size=1, max_size=60))
def test_the_parts_of_finely_graded_forecasts_add_up_to_the_score(pairs: list) -> None:
    p, o = zip(*pairs, strict=True)
    parts = murphy(p, o)
    assert parts.brier == pytest.approx(brier(p, o), abs=1e-12)
    assert parts.reliability >= 0


def test_noise_has_no_resolution_and_who_is_calibrated_has_some_and_is_reliable() -> None:
    """Of events with chances spread evenly over 0 to 1 the truth resolves their variance, 1/12."""
    dice = np.random.default_rng(0)
    chance = dice.random(5000)
    happened = (dice.random(5000) < chance).astype(int)
    true, noise = murphy(chance, happened), murphy(dice.random(5000), happened)
    assert true.resolution == pytest.approx(1 / 12, abs=0.01)
    assert true.reliability < 0.002
    assert noise.resolution < 0.002
    assert noise.reliability == pytest.approx(1 / 12, abs=0.01)


@given(st.lists(st.integers(0, 1), min_size=1, max_size=50))
def test_the_base_rate_scores_its_variance_and_no_constant_scores_less(outcomes: list[int]) -> None:
    base = sum(outcomes) / len(outcomes)
    constant = brier([base] * len(outcomes), outcomes)
    assert constant == pytest.approx(base * (1 - base))
    assert all(brier([q] * len(outcomes), outcomes) >= constant - 1e-12 for q in (0, 0.2, 0.5, 0.9, 1))


@pytest.mark.parametrize("truth", [0.03, 0.3, 0.9])
def test_the_truth_is_the_best_forecast(truth: float) -> None:
    """Expected scores over an event of known probability, so that nothing is left to chance."""
    outcomes = [1] * round(1000 * truth) + [0] * round(1000 * (1 - truth))
    grid = [0.01 * step for step in range(1, 100)]
    assert min(grid, key=lambda q: brier([q] * 1000, outcomes)) == pytest.approx(truth)
    assert max(grid, key=lambda q: log_score([q] * 1000, outcomes)) == pytest.approx(truth)


def test_a_certain_error_costs_no_more_than_the_clip() -> None:
    assert log_score([0.0], [1]) == pytest.approx(math.log(1e-3))
    assert log_score([1.0], [1]) == pytest.approx(math.log(1 - 1e-3))


def test_calibrated_and_not() -> None:
    p = [0.2] * 10 + [0.8] * 10
    o = [1] * 2 + [0] * 8 + [1] * 8 + [0] * 2
    assert calibration_error(p, o, bins=2) == pytest.approx(0)
    assert calibration_error([1 - q for q in p], o, bins=2) == pytest.approx(0.6)
    assert calibration_error([0.5] * 20, o) == pytest.approx(0)  # calibrated, and says nothing
    assert murphy([0.5] * 20, o).resolution == 0


@given(PAIRS, st.integers(1, 12))
def test_bins_hold_everything_once_and_keep_equal_forecasts_together(pairs: list, bins: int) -> None:
    p, o = zip(*pairs, strict=True)
    found = reliability_bins(p, o, bins=bins)
    assert sum(one.count for one in found) == len(p)
    assert len(found) <= bins
    assert sum(one.forecast * one.count for one in found) == pytest.approx(sum(p))
    assert sum(one.outcome * one.count for one in found) == pytest.approx(sum(o))
    assert [one.forecast for one in found] == sorted(one.forecast for one in found)


def test_bins_of_many_forecasts_are_even() -> None:
    rng = np.random.default_rng(0)
    p = rng.random(1000)
    counts = [one.count for one in reliability_bins(p.tolist(), (rng.random(1000) < p).astype(int).tolist())]
    assert max(counts) - min(counts) <= 2


def test_the_surest_are_taken_first() -> None:
    p, o = [0.99, 0.9, 0.6, 0.5], [1, 1, 0, 1]
    assert accuracy_at_coverage(p, o, 0.5) == 1.0
    assert accuracy_at_coverage(p, o, 0.75) == pytest.approx(2 / 3)
    assert accuracy_at_coverage(p, o, 1.0) == pytest.approx(2.5 / 4)
    assert accuracy_at_coverage([0.9, 0.1], [1, 1], 0.1) == 0.5  # equally sure: both are taken


@pytest.mark.parametrize(
    ("p", "o"), [([], []), ([0.5], []), ([1.1], [1]), ([math.nan], [1]), ([0.5], [2]), ([-0.1], [0])]
)
def test_what_is_no_forecast_is_refused(p: list, o: list) -> None:
    with pytest.raises(ValueError, match=r"needed|no probability|neither"):
        brier(p, o)
