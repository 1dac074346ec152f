"""Probabilities in words of players: what is read, what is refused, and that nothing is guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import make
from palaestra.envs.errors import ActionError, IllegalAction, UnparsableAction
from palaestra.envs.games.probabilities import is_probability, read_probability, sampled_probability, write_probability
from palaestra.envs.seeding import Dice

values = st.integers(0, 10_000).map(lambda number: write_probability(number / 10_000))
wrapped = st.sampled_from(["{}", "{}.", "**{}**", '"{}"', "`{}`", "({})", "about {}", "p = {}", "Answer: {}", "$ {} $"])
wrapped_more = st.sampled_from(
    ["The probability is {}.", '{{"probability": {}}}', "<answer>{}</answer>", "It looks off.\n{}", "I am sure: {}"]
)
prose = st.lists(st.sampled_from(["the", "step", "line", "looks", "it", "wrong", "then", "in", "is", "of"]), min_size=1)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0.3", "0.3"),
        (".3", "0.3"),
        ("I say 0.3.", "0.3"),
        ("30%", "0.3"),
        ("about 30 %!", "0.3"),
        ("12.5%", "0.125"),
        ("1 percent", "0.01"),
        ("30 per cent", "0.3"),
        ("I am 30% sure", "0.3"),
        ("0.3, that is 30%", "0.3"),
        ("3/10", "0.3"),
        ("1 in 10", "0.1"),
        ("a 1 in 10 chance", "0.1"),
        ("3 out of 10.", "0.3"),
        ("1e-3", "0.001"),
        ("0", "0"),
        ("1.", "1"),
        ("**1**", "1"),
        ("It looks off.\n1", "1"),
        ("p = 1", "1"),
        ("P(replaced) = 1", "1"),
        ("The probability that it was replaced is 1.", "1"),
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
    "text",
    [
        *("very likely", "", "0.2 0.3", "0.1.2", "v0.3b", "١", "nan", "inf", "9" * 5000, "0,3", "0.2/0.8", "1:3"),
        *("Line 1 looks wrong", "Step 1: run it", "1 line differs", "look 1", "line 1", "look 0.3", "- 1", "1, 2"),
        *("answer 1 question", "Answer 1: yes", "p = 1 line", "The probability of line 1 being wrong", "from 0 to 1"),
        *("less than 1", "at least 0.5", "p > 0.5", "no more than 30%", "0.5 or more", "0.5+", "up to 1", "over 0.9"),
        *("0.2 or 0.8", "between 0.2 and 0.4", "p = 0.2-0.4", "probability: 0.2 to 0.4", "p = 0.2 or p = 0.8"),
        *("0.3 ± 0.1", "not 0.3", "it isn't 0.3", "odds of 0.3", "3/10 tests passed", "30% of the lines", "–0.2"),
        *("0.1...0", "x...1", "1 in 10 lines is off", "1 in a hundred", "1 in 10.5"),
    ],
)
def test_what_is_no_number_or_has_two_readings_is_unparsable(text: str) -> None:
    with pytest.raises(UnparsableAction):
        read_probability(text)


@pytest.mark.parametrize("text", ["30", "1.01", "-0.2", "−0.2", "101%", "5/4", "1/0", "p = 2"])
def test_a_number_outside_is_illegal(text: str) -> None:
    with pytest.raises(IllegalAction, match="from 0 to 1"):
        read_probability(text)


@given(st.floats(0, 1))
def test_the_canonical_form_reads_as_itself(value: float) -> None:
    text = write_probability(value)
    assert read_probability(text) == text
    assert float(text) == pytest.approx(value, abs=1e-4)


@given(values, wrapped | wrapped_more)
def test_what_stands_around_a_statement_does_not_matter(value: str, around: str) -> None:
    assert read_probability(around.format(value)) == value


@given(st.integers(0, 100), st.sampled_from(["{}%", "{} %", "{} percent", "{} per cent", "{}/100", "{} in 100"]))
def test_shares_of_a_hundred_are_read_as_such(number: int, form: str) -> None:
    assert read_probability(form.format(number)) == write_probability(number / 100)


@given(prose, st.sampled_from("01"), prose)
def test_a_whole_number_amid_words_is_no_statement(before: list[str], number: str, after: list[str]) -> None:
    with pytest.raises(UnparsableAction):
        read_probability(" ".join([*before, number, *after]))


@given(st.sampled_from(["less than", "more than", "at least", "at most", "over", "under", "up to", ">", "<", "not"]),
       values, wrapped)  # fmt: skip
def test_a_bound_is_no_probability(bound: str, value: str, around: str) -> None:
    with pytest.raises(UnparsableAction):
        read_probability(around.format(f"{bound} {value}"))


@given(values, st.sampled_from([" or ", ", or ", "-", " – ", " to ", " and ", " or maybe ", "..."]), values, wrapped)
def test_between_two_values_nothing_is_chosen(one: str, between: str, other: str, around: str) -> None:
    if one != other:
        with pytest.raises(UnparsableAction):
            read_probability(around.format(one + between + other))


@given(st.sampled_from(["look", "line", "look at line", "Line no."]), st.integers(0, 9))
def test_a_command_of_a_game_is_no_probability(command: str, number: int) -> None:
    for game in ("hindsight_bias", "terminal_surprise"):
        with pytest.raises(ActionError):
            make(game).parse(0, f"{command} {number}")


@given(st.integers(0, 10_000))
def test_random_ones_are_canonical(seed: int) -> None:
    assert is_probability(sampled_probability(Dice(seed)))


@given(st.text(max_size=200) | st.text("01.5%/- or", max_size=30))
def test_nothing_else_is_ever_raised(text: str) -> None:
    try:
        read = read_probability(text)
    except (IllegalAction, UnparsableAction):
        return
    assert is_probability(read)
