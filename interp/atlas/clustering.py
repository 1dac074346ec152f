"""Whether points fall into groups, and into how many.

Groups are those of k-means on points of length one. The number is chosen by *stability* (Ben-Hur et al. 2002; Lange et
al. 2004): two random subsamples are grouped, every point is given to the nearest centre of each, and the two groupings
are compared by the adjusted Rand index. The smallest number that is as good as perfectly stable is taken, because finer
groups are found one level down; where there is none, the most stable one.

Stability alone says little: an oblong cloud is cut in the same place again and again. So groups must first be tighter
than in two *nulls*: the same features with every column shuffled (the same entries, nothing in common), and a single
normal cloud of the same covariance (no groups; Liu et al. 2008, SigClust). Tighter means than every draw, and by
`SIGMAS` standard deviations of the draws, because several numbers are tried at every node of a tree, and by a part that
is worth a group (`MARGIN`).
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from palaestra.interp.atlas.space import VARIANCE, Array, Space, unit
from palaestra.interp.atlas.tokens import Ints

MOST_GROUPS = 8
PAIRS = 10
"""Pairs of subsamples."""
PART = 0.8
"""Of the points in a subsample."""
STABLE, VERY_STABLE = 0.9, 0.95
NULLS = 19
"""Draws of each null."""
SIGMAS = 3.0
MARGIN = 0.95
"""Of the sum of squares within groups in the nulls, what may be left within groups."""
LEAST = 12
"""Points of the smallest group."""


@dataclass(frozen=True, slots=True)
class Count:
    """What was found for one number of groups.

    Attributes:
        groups: Their number.
        stability: Mean adjusted Rand index of pairs of subsamples; None where it was not asked for, because the groups
            are not tight enough or too small.
        low: Lower end of its 95 % interval (t, over pairs).
        tightness: Part of the sum of squares that is between groups.
        shuffled, normal: What tightness had to exceed in either null.
        smallest: Points of the smallest group.
        accepted: Stable, tighter than both nulls, and no group too small.
    """

    groups: int
    stability: float | None
    low: float | None
    tightness: float
    shuffled: float
    normal: float
    smallest: int
    accepted: bool

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return asdict(self)


@dataclass(frozen=True, slots=True, eq=False)
class Grouping:
    """The search for groups.

    Attributes:
        labels: int64 [n]; all 0 where nothing was accepted.
        counts: Each number that was tried, up to the first that is very stable.
        groups: The number; 1 where nothing was accepted.
    """

    labels: Ints
    counts: tuple[Count, ...]
    groups: int


def group(features: Array, space: Space, *, most: int = MOST_GROUPS, least: int = LEAST, seed: int = 0) -> Grouping:
    """Look for groups among features [n, p]; see the module's text."""
    points = space.points(features)
    most = min(most, len(points) // max(1, least))
    counts: list[Count] = []
    nulls = _nulls(features, space, seed)
    best, chosen = 0.0, Grouping(np.zeros(len(points), dtype=np.int64), (), 1)
    for number in range(2, most + 1):
        labels, tightness = fit(points, number, seed)
        shuffled, normal = (
            _bar([fit(one, number, seed, starts=2)[1] for one in nulls[name]]) for name in ("shuffled", "normal")
        )
        smallest = int(np.bincount(labels).min())
        mean = low = None
        if tightness > max(shuffled, normal) and smallest >= least:
            found = stability(points, number, seed=seed)
            mean = float(found.mean())
            low = mean - 2.26 * float(found.std(ddof=1)) / np.sqrt(len(found))
        accepted = mean is not None and mean >= STABLE
        counts.append(Count(number, mean, low, tightness, shuffled, normal, smallest, accepted))
        if accepted and mean is not None and mean > best:
            best, chosen = mean, Grouping(labels, (), number)
            if mean >= VERY_STABLE:
                break
    return replace(chosen, counts=tuple(counts))


def _bar(tightness: list[float]) -> float:
    sure = max(*tightness, float(np.mean(tightness) + SIGMAS * np.std(tightness)))
    return max(sure, 1 - MARGIN * (1 - float(np.mean(tightness))))


def fit(points: Array, groups: int, seed: int, *, starts: int = 6) -> tuple[Ints, float]:
    """Return labels [n] and the part of the sum of squares that is between groups."""
    from sklearn.cluster import KMeans

    found = KMeans(groups, n_init=starts, random_state=seed).fit(points)
    total = ((points - points.mean(0)) ** 2).sum()
    return found.labels_.astype(np.int64), float(1 - found.inertia_ / max(total, 1e-12))


def stability(points: Array, groups: int, *, pairs: int = PAIRS, seed: int = 0) -> Array:
    """Return the adjusted Rand indices of pairs of groupings: [pairs]."""
    from sklearn.cluster import KMeans
    from sklearn.metrics import adjusted_rand_score

    generator = np.random.default_rng(seed)
    size = max(groups + 1, int(PART * len(points)))
    found = []
    for pair in range(pairs):
        both = []
        for one in range(2):
            part = generator.choice(len(points), min(size, len(points)), replace=False)
            model = KMeans(groups, n_init=4, random_state=2 * pair + one).fit(points[part])
            both.append(model.predict(points))
        found.append(adjusted_rand_score(*both))
    return np.array(found)


def _nulls(features: Array, space: Space, seed: int) -> dict[str, list[Array]]:
    from sklearn.decomposition import PCA

    generator = np.random.default_rng(seed)
    scores = features @ space.basis.T
    spread = scores.std(0)
    shuffled, normal = [], []
    size = min(features.shape[0] - 1, features.shape[1], 30)
    for _ in range(NULLS):
        mixed = generator.permuted(features, axis=0)
        pca = PCA(size, random_state=seed).fit(mixed)
        kept = int(np.searchsorted(np.cumsum(pca.explained_variance_ratio_), VARIANCE)) + 1
        shuffled.append(unit(pca.transform(mixed)[:, :kept]))
        normal.append(unit(generator.normal(size=scores.shape) * spread))
    return {"shuffled": shuffled, "normal": normal}
