"""Probabilities in words of players: what is read, what is refused, and that nothing is guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.games.probabilities import is_probability, read_probability, sampled_probability, write_probability
from palaestra.envs.seeding import Dice


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0.3", "0.3"),
        (".3", "0.3"),
        ("I say 0.3.", "0.3"),
        ("30%", "0.3"),
        ("about 30 %!", "0.3"),
        ("3/10", "0.3"),
        ("1e-3", "0.001"),
        ("0", "0"),
        ("1.", "1"),
        ("100%", "1"),
        ("In line 3 of 7 it differs. Probability: 0.25", "0.25"),
        ("p=0.2, or rather p = 0.4", "0.4"),
        ("0.5 and again 0.5", "0.5"),
        ("-0", "0"),
    ],
)
def test_a_stated_probability_is_read(text: str, read: str) -> None:
    assert read_probability(text) == read
    assert is_probability(read)


@pytest.mark.parametrize(
    "text", ["very likely", "", "between 0.2 and 0.4", "0.2 0.3", "0.1.2", "v0.3b", "١", "nan", "inf", "9" * 5000]
)
def test_what_is_no_number_or_two_is_unparsable(text: str) -> None:
    with pytest.raises(UnparsableAction):
        read_probability(text)


@pytest.mark.parametrize("text", ["30", "1.01", "-0.2", "101%", "5/4", "1/0", "p = 2"])
def test_a_number_outside_is_illegal(text: str) -> None:
    with pytest.raises(IllegalAction, match="from 0 to 1"):
        read_probability(text)


@given(st.floats(0, 1))
def test_the_canonical_form_reads_as_itself(value: float) -> None:
    text = write_probability(value)
    assert read_probability(text) == text
    assert float(text) == pytest.approx(value, abs=1e-4)


@given(st.integers(0, 10_000))
def test_random_ones_are_canonical(seed: int) -> None:
    assert is_probability(sampled_probability(Dice(seed)))


@given(st.text(max_size=200))
def test_nothing_else_is_ever_raised(text: str) -> None:
    try:
        read = read_probability(text)
    except (IllegalAction, UnparsableAction):
        return
    assert is_probability(read)
