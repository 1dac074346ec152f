"""Seeds and dice: fixed for ever, different for different parts, and fair."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs.seeding import Dice, derive

parts = st.lists(st.integers() | st.text(alphabet="ab1:\x1f"), max_size=4)


def test_seeds_and_dice_are_the_same_on_every_machine_and_in_every_release() -> None:
    """From the shell: ``printf 'str:episode\\x1fint:3' | b2sum -l 64``, ``printf 7:0 | b2sum -l 64``, ... to 7:5.

    If these change, every replay ever recorded with chance in it is void.
    """
    assert derive("episode", 3) == 0x1093B3359BAA5FFD >> 1
    dice = Dice(7)
    assert [dice.bits() for _ in range(6)] == [
        0xDDA5906B84A43200,
        0x4D12622558F475EB,
        0x10C071D985382955,
        0xAAA6E68B5ADA9A90,
        0x470FF98422CA86B5,
        0x24888DCD3B48C78E,
    ]


@given(parts, parts)
def test_a_seed_depends_on_every_part_its_type_and_its_place(one: list[int | str], other: list[int | str]) -> None:
    assert (derive(*one) == derive(*other)) == (one == other)
    assert 0 <= derive(*one) < 2**63


def test_no_text_passes_for_two_parts() -> None:
    assert derive("a\x1fstr:b") != derive("a", "b")
    assert derive("a\x1f", "b") != derive("a", "\x1fb")


def test_a_number_and_its_text_are_different_parts() -> None:
    assert len({derive(1, 2), derive("1", 2), derive("12"), derive(12), derive(2, 1)}) == 5


@given(st.integers(), st.integers(0, 50))
def test_dice_are_their_seed_and_their_count(seed: int, draws: int) -> None:
    dice = Dice(seed)
    for _ in range(draws):
        dice.bits()
    twin = dice.clone()
    assert (twin.seed, twin.count) == (seed, draws)
    assert [twin.bits() for _ in range(3)] == [Dice(seed, draws + n).bits() for n in range(3)]
    assert dice.count == draws, "a clone's draws are its own"


@pytest.mark.parametrize("n", [1, 2, 3, 6, 7, 2**63 + 1, 2**64 - 1, 2**64])
def test_numbers_lie_below_the_bound(n: int) -> None:
    dice = Dice(1)
    assert all(0 <= dice.below(n) < n for _ in range(200))


@pytest.mark.parametrize("n", [0, -1, 2**64 + 1])
def test_a_bound_that_dice_cannot_draw_below_is_refused(n: int) -> None:
    with pytest.raises(ValueError, match="n must lie between 1 and"):
        Dice(1).below(n)


def chi_squared(counts: Counter[object], expected: dict[object, float]) -> float:
    return sum((counts[key] - value) ** 2 / value for key, value in expected.items())


def test_draws_are_uniform() -> None:
    """Pearson's statistic with k degrees of freedom has mean k and variance 2k; five deviations are never chance."""
    dice, draws = Dice(3), 12_000
    for n in (2, 3, 6, 10):
        counts = Counter[object](dice.below(n) for _ in range(draws))
        assert chi_squared(counts, dict.fromkeys(range(n), draws / n)) < n - 1 + 5 * math.sqrt(2 * (n - 1))
    permutations = Counter[object]()
    for _ in range(draws):
        items = ["a", "b", "c"]
        dice.shuffle(items)
        permutations["".join(items)] += 1
    every = ("abc", "acb", "bac", "bca", "cab", "cba")
    assert chi_squared(permutations, dict.fromkeys(every, draws / 6)) < 5 + 5 * math.sqrt(10)
    weighted = Counter[object](dice.weighted([1, 0, 3]) for _ in range(draws))
    assert weighted[1] == 0
    assert chi_squared(weighted, {0: draws / 4, 2: draws * 3 / 4}) < 1 + 5 * math.sqrt(2)
    mean = sum(dice.random() for _ in range(draws)) / draws
    assert abs(mean - 0.5) < 5 / math.sqrt(12 * draws)


def test_a_large_bound_is_not_biased_by_the_remainder() -> None:
    """For n = 3 * 2**62, plain 64-bit remainders would fall into the lowest third twice as often."""
    dice = Dice(5)
    n = 3 << 62
    low = sum(dice.below(n) < n // 3 for _ in range(3000))
    assert abs(low - 1000) < 5 * math.sqrt(3000 * 2 / 9)


def test_there_is_nothing_to_choose_from_an_empty_list() -> None:
    with pytest.raises(ValueError, match="nothing to choose from"):
        Dice(1).choice([])
