"""Fits and operations on contribution tables that were written by hand, so that what they are made of is known."""

import numpy as np
import pytest

from palaestra.interp.arithmetic.fits import (
    MODELS,
    PERIODS,
    curves,
    design,
    explained,
    fit,
    fit_models,
    fourier_columns,
    relabelled,
    spectrum,
    term,
    unique,
    waves,
)
from palaestra.interp.arithmetic.operations import judge_maps
from palaestra.interp.arithmetic.sweep import Grid

GRID = Grid("cheaper", 0, -1, False, (30, 59), (30, 59))
WIDE = Grid("packs", 2, -1, False, (20, 59), (10, 29))


def numbers(grid):
    return np.meshgrid(np.array(grid.a), np.array(grid.b), indexing="ij")


def random_function(values, seed):
    known = np.unique(values)
    return np.random.default_rng(seed).normal(size=len(known))[np.searchsorted(known, values)]


@pytest.mark.parametrize("grid", [GRID, WIDE])
def test_a_table_of_f_g_h_and_digits_is_explained_wholly_and_by_nothing_less(grid):
    a, b = numbers(grid)
    f, g, h = random_function(a, 1), random_function(b, 2), random_function(a - b, 3)
    digits = random_function(10 * (a % 10) + b % 10, 4)
    maps = np.stack([f, g, f + g, f + g + h, f + g + h + digits]).reshape(5, -1)
    found = np.array([explained(design(terms, grid), maps) for terms in MODELS.values()])
    own = np.array([[0, 2, 3, 4], [1, 2, 3, 4], [2, 3, 4], [3, 4], [4]], dtype=object)
    for table, enough in enumerate(own):
        assert np.allclose(found[enough, table], 1, atol=1e-9)
        assert (found[[model for model in range(5) if model not in enough], table] < 0.95).all()


def test_f_g_and_h_come_back_up_to_what_is_linear():
    a, b = numbers(GRID)
    f, g = random_function(np.array(GRID.a), 5), random_function(np.array(GRID.b), 6)
    gap = np.arange(-29, 30)
    h = 0.3 * np.abs(gap) + random_function(gap, 7)
    table = f[a - 30] + g[b - 30] + h[a - b + 29]
    found = curves(table, GRID)
    assert found.rest < 1e-9
    rebuilt = found.level + found.f[a - 30] + found.g[b - 30] + found.h[a - b + 29]
    assert np.allclose(rebuilt, table)
    often = term("a-b", GRID).sum(0)

    def bare(values, weights):
        line = np.polynomial.Polynomial.fit(np.arange(len(values)), values, 1, w=np.sqrt(weights))
        return values - line(np.arange(len(values)))

    assert np.allclose(bare(found.h, often), bare(h, often))
    assert np.allclose(bare(found.f, np.ones(30)), bare(f, np.ones(30)))
    assert np.allclose(bare(found.g, np.ones(30)), bare(g, np.ones(30)))


def test_what_a_term_explains_alone_is_its_own():
    a, b = numbers(GRID)
    table = (random_function(a, 1) + random_function(10 * (a % 10) + b % 10, 2)).reshape(1, -1)
    found = unique(table, GRID)
    assert found["units"][0] > 0.1
    assert abs(found["a-b"][0]) < 1e-9
    assert abs(found["tens"][0]) < 1e-9


def test_held_out_fits_do_not_win_by_size():
    noise = np.random.default_rng(0).normal(size=(3, 900))
    for one in fit_models(noise, GRID, relabellings=20)["f(a) + g(b) + h(a-b) + digits"]:
        assert one.r2 > 0.2  # 318 columns on 900 cells
        assert one.held_out < 0
        assert one.low <= one.held_out <= one.high


def test_a_symbolic_table_fits_no_better_than_with_relabelled_digits_and_an_ordered_one_does():
    """A function of a and b as symbols, equality included, keeps its fit when digits change their meaning."""
    a, b = numbers(GRID)
    symbolic = random_function(a % 10, 1) + random_function(a // 10, 2) + random_function(b % 10, 3) + 2.0 * (a == b)
    ordered = np.tanh((a - b) / 8)
    first, second = fit(term("a-b", GRID), np.stack([symbolic.ravel(), ordered.ravel()]), GRID, relabellings=99)
    assert first.p > 0.05
    assert second.p == pytest.approx(0.01)
    assert second.r2 > second.null + 0.1


def test_relabelling_is_a_permutation_that_keeps_equality_and_digits():
    for where in relabelled(GRID, 5):
        assert sorted(where) == list(range(900))
        table = where.reshape(30, 30)
        a, b = table // 30, table % 30
        assert (np.diag(a) == np.diag(b)).all()
        assert (a == a[:, :1]).all()
        assert len({(left // 10, right // 10) for left, right in zip(range(30), a[:, 0], strict=True)}) == 3
    for where in relabelled(WIDE, 5):
        assert sorted(where) == list(range(800))


@pytest.mark.parametrize("period", PERIODS[:6])
def test_a_wave_is_found_at_its_period_and_variable(period):
    a, b = numbers(GRID)
    table = np.cos(2 * np.pi * (a - b) / period + 0.4) + 0.02 * a
    found = spectrum(table.reshape(1, -1), GRID)
    best = max(((power[0], variable, at) for variable, row in found.items() for at, power in row.items()))
    assert best[1:] == ("a-b", period)
    assert best[0] > 0.9
    assert explained(design(["a", "b"], GRID), table.reshape(1, -1))[0] < 0.5


def test_a_fourier_model_holds_its_waves():
    a, _ = numbers(GRID)
    table = (waves("a+b", [5.0], GRID) @ [1.0, 2.0] + 0.1 * a.ravel()).reshape(1, -1)
    (found,) = fit(fourier_columns(GRID), table, GRID, relabellings=20)
    assert found.r2 == pytest.approx(1)
    assert found.held_out > 0.99


PLANTED = {
    "reads the tens of a": lambda a, b: random_function(a // 10, 1),
    "reads the units of b": lambda a, b: random_function(b % 10, 1),
    "linear in the margin": lambda a, b: 0.1 * (b - a),
    "sign of the margin": lambda a, b: np.sign(b - a),
    "graded comparison": lambda a, b: np.tanh((b - a) / 9),
    "size of the margin, unsigned": lambda a, b: np.minimum(np.abs(b - a), 9.0),
    "reads a": lambda a, b: random_function(a, 1),
    "reads b": lambda a, b: random_function(b, 1),
    "reads a and b, adds": lambda a, b: random_function(a, 1) + random_function(b, 2),
    "any function of a - b": lambda a, b: random_function(a - b, 3),
    "last digit of a - b": lambda a, b: random_function((a - b) % 10, 3),
    "table of both tens": lambda a, b: random_function(10 * (a // 10) + b // 10, 4),
    "table of both units": lambda a, b: random_function(10 * (a % 10) + b % 10, 4),
    "table of tens, units where tens are equal": lambda a, b: (
        np.sign(b // 10 - a // 10) + (a // 10 == b // 10) * random_function(10 * (a % 10) + b % 10, 5)
    ),
}


@pytest.mark.slow
def test_every_planted_operation_is_named_and_noise_and_constants_are_not():
    a, b = numbers(GRID)
    maps = np.stack([np.asarray(rule(a, b), dtype=float) for rule in PLANTED.values()])
    maps = maps / maps.reshape(len(maps), -1).std(1)[:, None, None]
    noise = np.random.default_rng(0).normal(size=(1, 30, 30))
    wobbling = maps + 0.2 * np.random.default_rng(1).normal(size=maps.shape)
    all_maps = np.concatenate([wobbling, noise, np.full((1, 30, 30), 3.7)])
    names = (*PLANTED, "none found", "constant")
    found = judge_maps(names, all_maps, maps.sum(0), GRID, relabellings=99)
    assert {one.name: one.operation for one in found} == {name: name for name in names}


def test_the_operation_of_a_symbolic_map_is_not_one_of_order():
    """A random table of the digits is never called a comparison."""
    a, b = numbers(GRID)
    maps = np.stack([random_function(a % 10, k) + random_function(b % 10, k + 9) for k in range(5)])
    for one in judge_maps(tuple("abcde"), maps, maps[0], GRID, relabellings=40):
        assert one.operation in ("reads a and b, adds", "table of both units")
