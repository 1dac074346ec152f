"""Monitors, against closed forms and brute force."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.trainers.measures.detection import auroc, detected, detection

SCORES = st.lists(st.integers(0, 6).map(float), min_size=1, max_size=30)


@given(SCORES, SCORES)
def test_the_area_is_the_chance_of_the_right_order(honest: list[float], hidden: list[float]) -> None:
    wins = [1.0 if bad > good else 0.5 if bad == good else 0.0 for bad in hidden for good in honest]
    assert auroc(honest, hidden) == pytest.approx(np.mean(wins))
    assert auroc(honest, hidden) == pytest.approx(1 - auroc(hidden, honest))


@given(SCORES, SCORES, st.sampled_from([0.0, 0.01, 0.2, 0.5]))
def test_no_lower_threshold_keeps_the_false_positives(honest: list[float], hidden: list[float], most: float) -> None:
    found = detection(honest, hidden, most_false=most)
    assert found.false_positives <= most
    best = max(
        np.mean(np.array(hidden) >= cut)
        for cut in [*honest, *hidden, math.inf, *(math.nextafter(one, math.inf) for one in honest)]
        if np.mean(np.array(honest) >= cut) <= most
    )
    assert found.true_positives == pytest.approx(best)


@given(SCORES, SCORES)
def test_the_best_threshold_is_the_best_of_all(honest: list[float], hidden: list[float]) -> None:
    good, bad = np.array(honest), np.array(hidden)
    best = max((bad >= cut).mean() * (good < cut).mean() for cut in [*honest, *hidden])
    assert detection(honest, hidden).g_mean2 == pytest.approx(best)


def test_intervals_hold_the_numbers_and_shrink() -> None:
    rng = np.random.default_rng(1)
    widths = []
    for count in (40, 640):
        honest, hidden = rng.normal(0, 1, count), rng.normal(1, 1, count)
        found = detected(honest.tolist(), hidden.tolist())
        assert found.found == detection(honest, hidden)
        assert (found.honest, found.hidden) == (count, count)
        for one in (found.auroc, found.g_mean2):
            assert one.low < one.mean < one.high
        assert found.auroc.low < 0.7602 < found.auroc.high  # P(N(1, 1) > N(0, 1)), the normal's at 1 / sqrt 2
        widths.append(found.auroc.high - found.auroc.low)
    assert widths[0] / widths[1] == pytest.approx(4, rel=0.3)
    same = detected([0.5] * 20, [0.5] * 20)
    assert (same.auroc.low, same.auroc.high, same.true_positives.high) == (0.5, 0.5, 0.0)


def test_a_perfect_monitor_and_a_coin() -> None:
    perfect = detection([0.1] * 100, [0.9] * 50)
    assert (perfect.auroc, perfect.true_positives, perfect.g_mean2) == (1.0, 1.0, 1.0)
    rng = np.random.default_rng(0)
    coin = detection(rng.random(4000).tolist(), rng.random(4000).tolist())
    assert coin.auroc == pytest.approx(0.5, abs=0.02)
    assert coin.true_positives == pytest.approx(0.01, abs=0.01)
    assert coin.g_mean2 == pytest.approx(0.25, abs=0.02)


@pytest.mark.parametrize(("honest", "hidden"), [([], [1.0]), ([1.0], []), ([math.nan], [1.0])])
def test_missing_scores_are_refused(honest: list[float], hidden: list[float]) -> None:
    with pytest.raises(ValueError, match=r"needed|NaN"):
        detection(honest, hidden)
