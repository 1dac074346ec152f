"""Which operation does a component perform? Candidates, how well each foretells its map, and the simplest that does.

A candidate is a set of columns over the grid (`palaestra.interp.arithmetic.fits`). All are judged by R² on held-out
cells, so that a table with a hundred entries does not win by its size. The *verdict* is the candidate with the fewest
columns among those within `CLOSE` of the best; it is withheld where the map hardly varies, or where the best candidate
speaks of the order of numbers and is not better than on maps with relabelled digits.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from palaestra.interp.arithmetic.fits import RELABELLINGS, Fit, Matrix, fit, term, waves
from palaestra.interp.arithmetic.sweep import Grid, Map

CLOSE = 0.03
"""Held-out R² that a simpler candidate may lack."""
LEAST = 0.3
"""Held-out R² below which no operation is named."""
FAINT = 1e-3
"""Share of the logit difference's variance below which a map is called constant."""
ALPHA = 0.05


@dataclass(frozen=True, slots=True)
class Candidate:
    """An operation.

    Attributes:
        name: As in tables.
        columns: From a grid to [A B, c].
        ordered: Whether it speaks of the order or size of numbers, so that relabelled digits are its null.
    """

    name: str
    columns: Callable[[Grid], Matrix]
    ordered: bool


def _margins(grid: Grid) -> Matrix:
    return grid.margins().ravel()


def _spline(values: NDArray[np.float64], knots: int) -> Matrix:
    """Return hinges at quantiles: what is piecewise linear in ``values``."""
    at = np.unique(np.quantile(values, np.linspace(0, 1, knots + 2)[1:-1]))
    scale = max(float(np.abs(values).max()), 1e-9)
    return np.concatenate([values[:, None], np.maximum(values[:, None] - at[None], 0)], 1) / scale


def _sign(grid: Grid) -> Matrix:
    return np.sign(_margins(grid))[:, None]


def _linear(grid: Grid) -> Matrix:
    margins = _margins(grid)
    return (margins / max(float(np.abs(margins).max()), 1e-9))[:, None]


def _units_of_difference(grid: Grid) -> Matrix:
    return waves("a-b", (2.0, 2.5, 10 / 3, 5.0, 10.0), grid)


def _terms(*names: str) -> Callable[[Grid], Matrix]:
    return lambda grid: np.concatenate([term(name, grid) for name in names], 1)


def _digit(side: int, place: int) -> Callable[[Grid], Matrix]:
    def columns(grid: Grid) -> Matrix:
        value = np.meshgrid(np.array(grid.a), np.array(grid.b), indexing="ij")[side].ravel() // place % 10
        return (value[:, None] == np.unique(value)[None]).astype(float)

    return columns


CANDIDATES: tuple[Candidate, ...] = (
    Candidate("linear in the margin", _linear, True),
    Candidate("sign of the margin", _sign, True),
    Candidate("graded comparison", lambda grid: _spline(_margins(grid), 8), True),
    Candidate("size of the margin, unsigned", lambda grid: _spline(np.abs(_margins(grid)), 6), True),
    Candidate("reads the tens of a", _digit(0, 10), False),
    Candidate("reads the units of a", _digit(0, 1), False),
    Candidate("reads the tens of b", _digit(1, 10), False),
    Candidate("reads the units of b", _digit(1, 1), False),
    Candidate("reads a", _terms("a"), False),
    Candidate("reads b", _terms("b"), False),
    Candidate("reads a and b, adds", _terms("a", "b"), False),
    Candidate("any function of a - b", _terms("a-b"), True),
    Candidate("last digit of a - b", _units_of_difference, True),
    Candidate("table of both tens", _terms("tens"), False),
    Candidate("table of both units", _terms("units"), False),
    Candidate("table of tens, units where tens are equal", _terms("tens", "carry"), False),
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one map does.

    Attributes:
        name: The component.
        share: Its variance over the grid, as a share of the logit difference's.
        towards: Correlation of the map with the sign of the margin: how far it votes for the right answer.
        operation: The verdict; ``constant`` or ``none found`` where there is none.
        fit: Of the named candidate; None without one.
        candidates: Of all, by name.
    """

    name: str
    share: float
    towards: float
    operation: str
    fit: Fit | None
    candidates: dict[str, Fit]


def judge_maps(
    names: tuple[str, ...], maps: NDArray[np.float64], difference: Map, grid: Grid, *, seed: int = 0,
    relabellings: int = RELABELLINGS,
) -> list[Verdict]:  # fmt: skip
    """Return a verdict for each map.

    Args:
        names: K components. maps: [K, A, B].
        difference: [A, B], of which the shares are taken.
        grid: Where the maps come from.
        seed: Of folds and relabellings. relabellings: How many make the null.
    """
    flat = maps.reshape(len(names), -1)
    listed = {
        one.name: (one, columns.shape[1], fit(columns, flat, grid, seed=seed, relabellings=relabellings))
        for one in CANDIDATES
        for columns in [one.columns(grid)]
    }
    right = np.sign(grid.margins()).ravel()
    whole = max(float(difference.var()), 1e-12)
    found = []
    for k, name in enumerate(names):
        share = float(flat[k].var()) / whole
        fits = {label: fits[k] for label, (_, _, fits) in listed.items()}
        sizes = {label: size for label, (_, size, _) in listed.items()}
        ordered = {label: one.ordered for label, (one, _, _) in listed.items()}
        operation = _choose(fits, sizes, ordered) if share >= FAINT else "constant"
        varies = flat[k].std() > 0 and right.std() > 0 and share >= 1e-9
        towards = float(np.corrcoef(flat[k], right)[0, 1]) if varies else 0.0
        found.append(Verdict(name, share, towards, operation, fits.get(operation), fits))
    return found


def _choose(fits: dict[str, Fit], sizes: dict[str, int], ordered: dict[str, bool]) -> str:
    best = max(one.held_out for one in fits.values())
    if best < LEAST:
        return "none found"
    near = sorted((sizes[name], -one.held_out, name) for name, one in fits.items() if one.held_out >= best - CLOSE)
    for _, _, name in near:
        if not ordered[name] or fits[name].p <= ALPHA:
            return name
    return "none found"
