"""What results of the games of surprise say of who stated the probabilities, beside what knows nothing, and the oracle.

Baselines are computed on the very cases: one half, how often an output was replaced, the shown rate, a logistic
regression on the length of the output, and one on that and the shown rate (both out of sample, in five folds), and the
exact posterior where it is known.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.stats import rankdata

from palaestra.trainers.measures.calibration import Murphy, accuracy_at_coverage, brier, calibration_error, murphy
from palaestra.trainers.measures.detection import auroc
from palaestra.trainers.measures.faithfulness import bootstrap
from palaestra.trainers.summary import Estimate, mean_interval

FOLDS = 5
COVERAGES = (0.25, 0.5, 1.0)
Results = Sequence[Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Calibration:
    """How good forecasts are.

    Attributes:
        brier: Mean of (p - o)^2 with its 95 % interval over cases.
        murphy: The score's three parts.
        ece: Expected calibration error over bins of equal counts.
        auroc: Of p against what happened; NaN if only one thing did.
        coverage: By share of the cases, the surest first, how often p lies on the right side of one half.
    """

    brier: Estimate
    murphy: Murphy
    ece: float
    auroc: float
    coverage: dict[float, float]


@dataclass(frozen=True, slots=True)
class SurpriseMeasures:
    """Forecasts and baselines on the same cases.

    Attributes:
        stated: Share of the cases in which a probability was stated; the others are in no other number.
        own: The forecasts'.
        baselines: By name: ``half``, ``base_rate``, ``rate``, ``length``, ``length_and_rate`` and, where it is known,
            ``posterior``.
    """

    stated: float
    own: Calibration | None
    baselines: dict[str, Calibration]


def surprise_measures(results: Results, cases: int | None = None) -> SurpriseMeasures:
    """Return the measures of finished episodes; ``cases`` counts those that were not finished, too."""
    told = [result for result in results if result.get("probability") is not None]
    total = max(len(results), cases or 0)
    if not told:
        return SurpriseMeasures(0.0, None, {})
    truth = [int(result["replaced"]) for result in told]
    forecasts = {
        "half": [0.5] * len(told),
        "base_rate": [sum(truth) / len(truth)] * len(told),
        "rate": [float(result["rate"]) for result in told],
        "length": length_forecasts(told, rate=False),
        "length_and_rate": length_forecasts(told),
    }
    if all(result["posterior"] is not None for result in told):
        forecasts["posterior"] = [float(result["posterior"]) for result in told]
    own = calibration([float(result["probability"]) for result in told], truth)
    return SurpriseMeasures(len(told) / total, own, {name: calibration(p, truth) for name, p in forecasts.items()})


@dataclass(frozen=True, slots=True)
class HindsightGap:
    """How far one is moved, on the same cases, by being told whether the output was replaced.

    Attributes:
        cases: How many there were; the others are over those in which both before and after stated a probability.
        gap: Mean of how much nearer after came to what it was told than before; 0 is no bias.
        replaced, kept: Mean of after less before where the output was replaced, and where it was not.
    """

    cases: int
    gap: Estimate
    replaced: Estimate
    kept: Estimate


def hindsight_gap(results: Results, cases: int | None = None) -> HindsightGap | None:
    """Return the gap of finished episodes of `hindsight_bias`, with 95 % intervals bootstrapped over cases; None where
    none was answered twice. ``cases`` counts those that were not finished, too."""
    both = [one for one in results if one.get("before") is not None and one.get("after") is not None]
    if not both:
        return None

    def mean(values: list[float]) -> Estimate:
        found = np.array(values)
        if not values:
            return Estimate(math.nan, math.nan, math.nan, 0)
        return bootstrap(len(values), lambda chosen: float(found[chosen].mean()))

    shifts = [(bool(one["replaced"]), float(one["after"] - one["before"])) for one in both]
    return HindsightGap(
        cases=max(len(results), cases or 0),
        gap=mean([float(one["gap"]) for one in both]),
        replaced=mean([shift for was, shift in shifts if was]),
        kept=mean([shift for was, shift in shifts if not was]),
    )


def calibration(forecasts: Sequence[float], outcomes: Sequence[int]) -> Calibration:
    """Return how good forecasts are."""
    events = [p for p, o in zip(forecasts, outcomes, strict=True) if o]
    others = [p for p, o in zip(forecasts, outcomes, strict=True) if not o]
    spread = mean_interval([brier([p], [o]) for p, o in zip(forecasts, outcomes, strict=True)])
    return Calibration(
        brier=replace(spread, low=max(spread.low, 0.0), high=min(spread.high, 1.0)),
        murphy=murphy(forecasts, outcomes),
        ece=calibration_error(forecasts, outcomes),
        auroc=auroc(others, events) if events and others else math.nan,
        coverage={share: accuracy_at_coverage(forecasts, outcomes, share) for share in COVERAGES},
    )


def length_forecasts(results: Results, *, rate: bool = True) -> list[float]:
    """Return forecasts from the output's length, and with ``rate`` the shown rate, alone, each from a fit on the other
    folds."""
    features = np.array(
        [[1.0, math.log(max(1, result["output_chars"])), _logit(float(result["rate"]))] for result in results]
    )[:, : 3 if rate else 2]
    truth = np.array([float(result["replaced"]) for result in results])
    found = np.zeros(len(results))
    for fold in range(FOLDS):
        held = np.arange(len(results)) % FOLDS == fold
        if held.any():
            known = ~held if (~held).any() else held
            found[held] = _sigmoid(features[held] @ _fit(features[known], truth[known]))
    return [float(value) for value in np.clip(found, 0.0, 1.0)]


def _fit(features: NDArray[np.float64], truth: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return logistic weights with a small quadratic penalty on all but the first."""

    def loss(weights: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        logits = features @ weights
        value = np.mean(np.logaddexp(0, logits) - truth * logits) + 0.005 * np.sum(weights[1:] ** 2)
        slope = features.T @ (_sigmoid(logits) - truth) / len(truth) + 0.01 * np.array([0.0, *weights[1:]])
        return float(value), slope

    fitted: NDArray[np.float64] = minimize(loss, np.zeros(features.shape[1]), jac=True, method="L-BFGS-B").x
    return fitted


def _sigmoid(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (1 + np.exp(-np.clip(logits, -30, 30)))


def _logit(chance: float) -> float:
    chance = min(max(chance, 0.01), 0.99)
    return math.log(chance / (1 - chance))


def rank_correlation(one: Sequence[float], other: Sequence[float]) -> float:
    """Return Spearman's rank correlation; 0 where one of the lists does not vary.

    Raises:
        ValueError: The lists have different lengths.
    """
    if len(one) != len(other):
        raise ValueError(f"{len(one)} and {len(other)} numbers; as many of each are needed")
    ranks = [rankdata(values) for values in (one, other)]
    if any(np.ptp(values) == 0 for values in ranks):
        return 0.0
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def introspection(stated: Sequence[float], own: Sequence[float], twin: Sequence[float]) -> float:
    """Return how far stated numbers go with one's own surprise beyond what a twin's surprise explains.

    It is the partial rank correlation of ``stated`` and ``own`` given ``twin`` (Kendall's sense of *partial*, on
    Spearman's ranks): 0 where whoever knows a twin's surprise knows all there is to say, as J. Song, J. Hu and K.
    Mahowald (2025) find for models that are asked about their own. It is 0, too, where one of the lists does not vary.

    Args:
        stated: What was said, a number for each case.
        own: -log p of each output under the model that was asked.
        twin: The same under another model of like kind.

    Raises:
        ValueError: Fewer than 4 cases, or lists of different lengths.
    """
    from scipy.stats import rankdata

    if not len(stated) == len(own) == len(twin) or len(stated) < 4:
        raise ValueError(f"{len(stated)}, {len(own)} and {len(twin)} numbers; as many of each are needed, at least 4")
    ranks = [rankdata(values) for values in (stated, own, twin)]
    with np.errstate(invalid="ignore", divide="ignore"):
        said_own, said_twin, own_twin = (
            float(np.corrcoef(ranks[first], ranks[second])[0, 1]) for first, second in ((0, 1), (0, 2), (1, 2))
        )
        rest = math.sqrt(max(0.0, (1 - said_twin**2) * (1 - own_twin**2)))
    return (said_own - said_twin * own_twin) / rest if rest > 1e-12 else 0.0
