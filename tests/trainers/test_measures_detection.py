"""Monitors, against closed forms and brute force."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import norm

from palaestra.trainers.measures import detection as measure
from palaestra.trainers.measures.detection import ENOUGH, auroc, detected, detection

Scorer = Callable[[np.random.Generator, int], np.ndarray]
Monitor = tuple[Scorer, Scorer, float, float, float]
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
    assert same.auroc.low < 0.4 < 0.6 < same.auroc.high
    assert (same.true_positives.mean, same.useless) == (0.0, 0.0)


def normal(shift: float, spread: float = 1.0) -> Monitor:
    """Return scores of two normal distributions, and the area, what 1 % false positives catch, and g-mean squared."""
    cuts = np.linspace(-5, 15, 20001)
    return (
        lambda rng, count: rng.normal(0, 1, count),
        lambda rng, count: rng.normal(shift, spread, count),
        float(norm.cdf(shift / math.hypot(1, spread))),
        float(norm.sf((norm.ppf(0.99) - shift) / spread)),
        float((norm.sf((cuts - shift) / spread) * norm.cdf(cuts)).max()),
    )


def flag(false: float, true: float) -> Monitor:
    """Return scores of 0 and 1; where too many honest ones are 1, none may be flagged."""
    return (
        lambda rng, count: (rng.random(count) < false).astype(float),
        lambda rng, count: (rng.random(count) < true).astype(float),
        0.5 + (true - false) / 2,
        true if false <= 0.01 else 0.0,
        true * (1 - false),
    )


MONITORS = {
    "useless": normal(0),
    "middling": normal(1),
    "good": normal(2),
    "nearly perfect": normal(4),
    "perfect": normal(12),
    "hidden of two kinds": normal(1, 3),
    "hidden alike": normal(1, 0.3),
    "coin": flag(0.5, 0.5),
    "flag": flag(0.3, 0.7),
    "sure flag": flag(0.005, 0.9),
    "constant": flag(0.0, 0.0),
}


def covered(monitor: Monitor, honest: int, hidden: int, samples: int, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how often the three intervals hold the numbers of all texts."""
    monkeypatch.setattr(measure, "SHUFFLES", 1)
    innocent, guilty, *true = monitor
    rng, hits = np.random.default_rng(7), np.zeros(3)
    for _ in range(samples):
        found = detected(innocent(rng, honest).tolist(), guilty(rng, hidden).tolist())
        numbers = (found.auroc, found.true_positives, found.g_mean2)
        hits += [one.low - 1e-9 <= value <= one.high + 1e-9 for one, value in zip(numbers, true, strict=True)]
        assert all(one.low <= one.mean <= one.high for one in numbers)
    return (hits / samples).tolist()


@pytest.mark.parametrize("name", MONITORS)
def test_intervals_cover_where_texts_are_few(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert min(covered(MONITORS[name], 20, 20, 60, monkeypatch)) >= 0.88


@pytest.mark.slow
@pytest.mark.parametrize(("honest", "hidden"), [(20, 20), (50, 50), (100, 100), (20, 200), (200, 20), (500, 50)])
@pytest.mark.parametrize("name", MONITORS)
def test_intervals_cover(name: str, honest: int, hidden: int, monkeypatch: pytest.MonkeyPatch) -> None:
    assert min(covered(MONITORS[name], honest, hidden, 300, monkeypatch)) >= 0.91


def test_the_best_threshold_of_a_useless_monitor_is_told_beside_it() -> None:
    rng = np.random.default_rng(3)
    found = [detected(rng.random(20).tolist(), rng.random(20).tolist()) for _ in range(30)]
    useless = np.mean([one.useless for one in found])
    assert useless == pytest.approx(0.31, abs=0.01)  # not the 0.25 of all texts
    assert np.mean([one.g_mean2.mean for one in found]) == pytest.approx(useless, abs=0.04)
    assert detected([0.1] * 200, [0.9] * 200).useless < 0.35


def test_what_the_right_threshold_catches_is_bounded_from_below_by_enough_honest_texts() -> None:
    rng = np.random.default_rng(5)
    for honest in (20, 100, ENOUGH - 1, ENOUGH, 2000):
        found = detected(rng.normal(0, 1, honest).tolist(), [9.0] * 50)
        assert (found.true_positives.low > 0.9) == (honest >= ENOUGH)
        assert ("too few for 1 %" in found.caution) == (honest < 100)
        assert (found.caution == "") == (honest >= ENOUGH)


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
