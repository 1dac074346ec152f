"""Maps over two numbers as sums of simple functions: f(a) + g(b) + h(a - b) + digits, and Fourier series.

Words. A *term* is a family of functions, given by the columns of a matrix over the cells of the grid: one column for
every value of a (``a``), of b (``b``), of a - b (``a-b``), for every pair of the numbers' tens and of their units
(``tens``, ``units``), for every pair of units where the tens are equal (``carry``). A *fit* is least squares on some
terms; all maps of a sweep are fitted at once.

R² is told in two ways. *In sample*, which is 1 for a map that is a sum of the terms whatever the noise in others; and
*held out*, each cell predicted by a fit without its fifth of the cells, with a bootstrap interval over rows and columns
of the grid, which a model with too many columns does not win.

*Null.* A model that treats numbers as mere symbols also depends on digits; so f(a) + g(b) fits even a random model.
What a random model does not know is the *order* of the digits. The null relabels them: one random permutation of the
tens and one of the units, the same in both numbers, so that equality stays and order goes. R² of ``a-b`` or of a
Fourier series beyond what relabelled maps reach is evidence of arithmetic.

*Gauge.* Functions of a, b and a - b share constants and whatever is linear: s (a - b) = s a - s b. Curves are given
with mean 0, and h without a linear part.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from palaestra.interp.arithmetic.sweep import Grid

Matrix = NDArray[np.float64]
TERMS = ("a", "b", "a-b", "tens", "units", "carry")
MODELS: dict[str, tuple[str, ...]] = {
    "f(a)": ("a",),
    "g(b)": ("b",),
    "f(a) + g(b)": ("a", "b"),
    "f(a) + g(b) + h(a-b)": ("a", "b", "a-b"),
    "f(a) + g(b) + h(a-b) + digits": TERMS,
}
"""Nested but for the second."""
PERIODS = (2.0, 2.5, 10 / 3, 5.0, 10.0, 20.0, 25.0, 50.0, 100.0)
"""The first five are all there is to a function of the units digit."""
FOLDS = 5
RELABELLINGS = 100
RESAMPLES = 300


@dataclass(frozen=True, slots=True)
class Fit:
    """How well terms describe one map.

    Attributes:
        r2: In sample.
        held_out, low, high: On held-out cells, with its 95 % interval; below 0 where the fit is worse than the mean.
        null: The 95 % quantile of the in-sample R² over relabelled maps.
        p: Share of relabelled maps, this one counted, that are fitted at least as well.
    """

    r2: float
    held_out: float
    low: float
    high: float
    null: float
    p: float


def term(name: str, grid: Grid) -> Matrix:
    """Return the columns of a term over the cells: [A B, columns]."""
    a, b = (one.ravel() for one in np.meshgrid(np.array(grid.a), np.array(grid.b), indexing="ij"))
    if name == "a":
        return _one_hot(a)
    if name == "b":
        return _one_hot(b)
    if name == "a-b":
        return _one_hot(a - b)
    if name == "tens":
        return _one_hot(10 * (a // 10) + b // 10)
    if name == "units":
        return _one_hot(10 * (a % 10) + b % 10)
    if name == "carry":
        return _one_hot(10 * (a % 10) + b % 10) * (a // 10 == b // 10)[:, None]
    raise ValueError(f"there is no term {name!r}; there are {', '.join(TERMS)}")


def _one_hot(values: NDArray[np.int64]) -> Matrix:
    known = np.unique(values)
    return (values[:, None] == known[None]).astype(float)


def design(names: Sequence[str], grid: Grid) -> Matrix:
    """Return an orthonormal basis of what the terms can say, without the constant: [A B, rank]."""
    return basis(np.concatenate([term(name, grid) for name in names], 1))


def basis(columns: Matrix) -> Matrix:
    """Return an orthonormal basis of the columns, without the constant."""
    centred = columns - columns.mean(0)
    values, vectors = np.linalg.eigh(centred.T @ centred)  # much faster than a decomposition of the tall matrix
    if not len(values) or values[-1] < 1e-18:
        return np.zeros((len(columns), 0))
    kept = values > 1e-10 * values[-1]
    return centred @ (vectors[:, kept] / np.sqrt(values[kept]))


def explained(space: Matrix, maps: Matrix) -> Matrix:
    """Return R² of each map: [K] from an orthonormal basis [n, r] and maps [K, n]; 0 for a map without variance."""
    centred = maps - maps.mean(1, keepdims=True)
    whole = (centred**2).sum(1)
    part = ((centred @ space) ** 2).sum(1)
    return np.divide(part, whole, out=np.zeros_like(part), where=_varies(whole, maps))


def _varies(whole: Matrix, maps: Matrix) -> NDArray[np.bool_]:
    """Return which maps are more than one number with rounding."""
    return whole > 1e-10 * np.maximum((maps**2).sum(1), 1e-12)


def predicted(columns: Matrix, maps: Matrix, seed: int = 0) -> Matrix:
    """Return each cell's value as a fit without its fold says: [K, n].

    Args:
        columns: [n, c] of terms; a small ridge settles what they share.
        maps: [K, n].
        seed: Of the folds.
    """
    n = len(columns)
    fold = np.random.default_rng(seed).permutation(n) % FOLDS
    found = np.empty_like(maps)
    for number in range(FOLDS):
        train, test = fold != number, fold == number
        x, y = columns[train], maps[:, train]
        level, middle = y.mean(1, keepdims=True), x.mean(0)
        x = x - middle
        gram = x.T @ x
        gram[np.diag_indices_from(gram)] += 1e-3 * max(float(np.trace(gram)) / max(1, len(gram)), 1e-12)
        weights = np.linalg.solve(gram, x.T @ (y - level).T)
        found[:, test] = level + ((columns[test] - middle) @ weights).T
    return found


def held_out(maps: Matrix, guesses: Matrix, shape: tuple[int, int], seed: int = 0) -> Matrix:
    """Return R² of guesses with its bootstrap interval over rows and columns of the grid: [K, 3]."""
    rows, columns = shape
    errors = ((maps - guesses) ** 2).reshape(-1, rows, columns)
    values = maps.reshape(-1, rows, columns)
    left, right = _resamples(rows, columns, seed)

    def weighted(what: Matrix) -> Matrix:
        return np.einsum("sa,kab,sb->ks", left, what, right, optimize=True) / (left.sum(1) * right.sum(1))[None]

    mean = weighted(values)
    spread = weighted(values**2) - mean**2
    varies = _varies((values.reshape(len(maps), -1).var(1)) * maps.shape[1], maps)[:, None] & (spread > 0)
    score = 1 - np.divide(weighted(errors), spread, out=np.ones_like(spread), where=varies)
    return np.stack([score[:, 0], *np.quantile(score[:, 1:], [0.025, 0.975], axis=1)], 1)


@lru_cache(maxsize=16)
def _resamples(rows: int, columns: int, seed: int) -> tuple[Matrix, Matrix]:
    """Return how often each row and each column is drawn, once all, then in resamples: [1 + RESAMPLES, ...] each."""
    generator = np.random.default_rng(seed)
    sides = []
    for size in (rows, columns):
        drawn = [np.bincount(generator.integers(size, size=size), minlength=size) for _ in range(RESAMPLES)]
        sides.append(np.array([np.ones(size), *drawn], dtype=float))
    return sides[0], sides[1]


def relabelled(grid: Grid, count: int, seed: int = 0) -> NDArray[np.int64]:
    """Return where each cell takes its value from when digits change their meaning: [count, A B]."""
    generator = np.random.default_rng(seed)
    tens = sorted({one // 10 for one in (*grid.a, *grid.b)})
    found = []
    for _ in range(count):
        units = generator.permutation(10)
        ranks = {one: generator.permutation(len(side)) for one, side in _sides(grid).items()}
        shared = generator.permutation(len(tens))
        where = []
        for side, numbers in (("a", grid.a), ("b", grid.b)):
            own = _sides(grid)[side]
            if grid.first == grid.second:
                to = {ten: tens[shared[index]] for index, ten in enumerate(tens)}
            else:  # different decades cannot be relabelled alike
                to = {ten: own[ranks[side][index]] for index, ten in enumerate(own)}
            where.append(np.array([10 * to[one // 10] + units[one % 10] - numbers[0] for one in numbers]))
        found.append((where[0][:, None] * len(grid.b) + where[1][None]).ravel())
    return np.array(found)


def _sides(grid: Grid) -> dict[str, list[int]]:
    return {"a": sorted({one // 10 for one in grid.a}), "b": sorted({one // 10 for one in grid.b})}


def fit(columns: Matrix, maps: Matrix, grid: Grid, *, seed: int = 0, relabellings: int = RELABELLINGS) -> list[Fit]:
    """Fit all maps by the same columns.

    Args:
        columns: [A B, c]
        maps: [K, A B]
        grid: Where they come from.
        seed: Of folds, bootstrap and relabellings.
        relabellings: How many make the null.
    """
    space = basis(columns)
    r2 = explained(space, maps)
    told = held_out(maps, predicted(columns, maps, seed), grid.shape, seed)
    nulls = np.array([explained(space, maps[:, where]) for where in relabelled(grid, relabellings, seed)])
    p = (1 + (nulls >= r2[None] - 1e-9).sum(0)) / (1 + relabellings)
    limits = np.quantile(nulls, 0.95, axis=0)
    return [
        Fit(float(r2[k]), float(told[k, 0]), float(told[k, 1]), float(told[k, 2]), float(limits[k]), float(p[k]))
        for k in range(len(maps))
    ]


def fit_models(maps: Matrix, grid: Grid, *, seed: int = 0, relabellings: int = RELABELLINGS) -> dict[str, list[Fit]]:
    """Return, for each of `MODELS`, how well it describes each map [K, A B]."""
    found = {}
    for name, terms in MODELS.items():
        columns = np.concatenate([term(one, grid) for one in terms], 1)
        found[name] = fit(columns, maps, grid, seed=seed, relabellings=relabellings)
    return found


def unique(maps: Matrix, grid: Grid) -> dict[str, Matrix]:
    """Return what each term explains that all others together do not: in-sample R² by term, [K]."""
    whole = explained(design(TERMS, grid), maps)
    return {
        name: whole - explained(design([one for one in TERMS if one != name], grid), maps) for name in TERMS
    }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Curves:
    """A map as level + f(a) + g(b) + h(a - b), and what is left.

    Attributes:
        level: Its mean.
        f, g: [A], [B], of mean 0.
        h: [A + B - 1], for a - b from its lowest on; of mean 0 over the cells and without linear part.
        rest: Root mean square of what is left, in the map's units.
    """

    level: float
    f: Matrix
    g: Matrix
    h: Matrix
    rest: float


def curves(one: Matrix, grid: Grid) -> Curves:
    """Fit f, g and h to a map [A, B] by least squares, in the gauge of the module's docstring."""
    a, b = (np.array(side, dtype=float) for side in (grid.a, grid.b))
    y = one.ravel() - one.mean()
    sizes = [len(a), len(b), len(a) + len(b) - 1]
    columns = np.concatenate([term(name, grid) for name in ("a", "b", "a-b")], 1)
    weights = np.linalg.lstsq(columns, y, rcond=None)[0]
    f, g, h = np.split(weights, np.cumsum(sizes)[:2])
    gap = np.arange(sizes[2]) + (a[0] - b[-1])
    often = term("a-b", grid).sum(0)
    centre = gap - np.average(gap, weights=often)
    slope = float((often * centre * h).sum() / (often * centre**2).sum())
    h = h - slope * gap
    f, g = f + slope * a, g - slope * b
    h = h - np.average(h, weights=often)
    rest = y - columns @ weights
    return Curves(float(one.mean()), f - f.mean(), g - g.mean(), h, float(np.sqrt((rest**2).mean())))


def waves(variable: str, periods: Sequence[float], grid: Grid) -> Matrix:
    """Return cosine and sine of a variable (``a``, ``b``, ``a-b``, ``a+b``) at periods: [A B, 2 periods]."""
    a, b = (one.ravel() for one in np.meshgrid(np.array(grid.a), np.array(grid.b), indexing="ij"))
    value = {"a": a, "b": b, "a-b": a - b, "a+b": a + b}[variable]
    angle = 2 * np.pi * value[:, None] / np.array(periods)[None]
    return np.concatenate([np.cos(angle), np.sin(angle)], 1)


def spectrum(maps: Matrix, grid: Grid) -> dict[str, dict[float, Matrix]]:
    """Return in-sample R² of single waves, by variable and period, of maps without their trend linear in a and b: [K].

    Periods longer than the variable's range are left out: they could not be told from a trend.
    """
    a, b = (one.ravel() for one in np.meshgrid(np.array(grid.a), np.array(grid.b), indexing="ij"))
    trend = basis(np.stack([a, b], 1).astype(float))
    centred = maps - maps.mean(1, keepdims=True)
    flat = centred - (centred @ trend) @ trend.T
    found: dict[str, dict[float, Matrix]] = {}
    for variable in ("a", "b", "a-b", "a+b"):
        length = {"a": grid.shape[0], "b": grid.shape[1]}.get(variable, sum(grid.shape) - 1)
        found[variable] = {
            period: explained(basis(_without(waves(variable, [period], grid), trend)), flat)
            for period in PERIODS
            if period <= length
        }
    return found


def fourier_columns(grid: Grid) -> Matrix:
    """Return a Fourier model: a trend linear in a and b, and all waves of a, b, a - b and a + b that fit the grid."""
    a, b = (one.ravel() for one in np.meshgrid(np.array(grid.a), np.array(grid.b), indexing="ij"))
    listed = [np.stack([a / 10, b / 10], 1)]
    for variable in ("a", "b", "a-b", "a+b"):
        length = {"a": grid.shape[0], "b": grid.shape[1]}.get(variable, sum(grid.shape) - 1)
        listed.append(waves(variable, [one for one in PERIODS if one <= length], grid))
    return np.concatenate(listed, 1)


def _without(columns: Matrix, space: Matrix) -> Matrix:
    centred = columns - columns.mean(0)
    return centred - space @ (space.T @ centred)
