"""Probabilities and numbers in words of players: what is read, what is refused, and that nothing is guessed."""

from __future__ import annotations

import contextlib
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import make
from palaestra.envs.errors import ActionError, IllegalAction, UnparsableAction
from palaestra.envs.games.probabilities import (
    HIDDEN,
    is_probability,
    read_probability,
    read_whole_number,
    sampled_probability,
    write_probability,
)
from palaestra.envs.games.surprise import REPLACED
from palaestra.envs.seeding import Dice

EVENT = ("replaced", "wrong")
values = st.integers(0, 10_000).map(lambda number: write_probability(number / 10_000))
wrapped = st.sampled_from(["{}", "{}.", "**{}**", '"{}"', "`{}`", "({})", "about {}", "p = {}", "Answer: {}", "$ {} $"])
wrapped_more = st.sampled_from(
    [
        "The probability is {}.",
        '{{"probability": {}}}',
        "<answer>{}</answer>",
        "It looks off.\n{}",
        "{}\nIt looks off, I would say.",
        "The probability that it was replaced is {}.",
        "The probability of a wrong output is {}, since line 2 differs.",
        "Line 2 of 7 looks odd. Probability: {}",
    ]
)
prose = st.lists(st.sampled_from(["the", "step", "line", "looks", "it", "wrong", "then", "in", "is", "of"]), min_size=1)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("0.3", "0.3"),
        (".3", "0.3"),
        ("I say 0.3.", "0.3"),
        ("I'd say about 0.3", "0.3"),
        ("30%", "0.3"),
        ("about 30 %!", "0.3"),
        ("12.5%", "0.125"),
        ("1 percent", "0.01"),
        ("30 per cent", "0.3"),
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
        ("My final answer is 0.4", "0.4"),
        ("100%", "1"),
        ("In line 3 of 7 it differs. Probability: 0.25", "0.25"),
        ("Probability: 0.2 because nothing looks wrong", "0.2"),
        ("It is not what I would expect.\n0.9", "0.9"),
        ("I don't trust line 2\n0.7", "0.7"),
        ("p = 0.2\nOn second thoughts: the output is odd.\np = 0.4", "0.4"),
        ("-0", "0"),
        ("Probability\n0.3", "0.3"),
        ("Probability that it was replaced: 0.3", "0.3"),
        ("**Probability that the output was replaced:** 0.3", "0.3"),
        ("Probability of a wrong output = 30%", "0.3"),
        ("The probability the output was replaced is 0.3", "0.3"),
        ("I think the probability is 0.3", "0.3"),
        ("0.3333333333333333", "0.3333"),
        ("Probability: 0.05\n\nThe base rate is 0.3, but the output is consistent.", "0.05"),
        ("0.95\n\nThe program computes 0.5 + 0.25 = 0.75.", "0.95"),
        ("40/100", "0.4"),
        ("0.3\nbecause line 2 of 7 differs by 3", "0.3"),
        ("0.3\nIn line 2 it says 4.", "0.3"),
        ("The rate is 0.2 and line 2 is off.\nThe probability that the output was replaced is 0.7.", "0.7"),
    ],
)
def test_a_stated_probability_is_read(text: str, read: str) -> None:
    assert read_probability(text, EVENT) == read
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
        *(
            "0.1...0",
            "x...1",
            "1 in 10 lines is off",
            "1 in a hundred",
            "1 in 10.5",
            "0.5/2",
            "0.5 in 1",
            "0.2\nlater\n0.8",
            "p=0.2\n0.8",
        ),
        # of something else, or of the opposite
        *("90% sure nothing is hidden", "The probability that it was NOT replaced is 0.9", "Not replaced:\n0.9"),
        *("I am 90% sure it wasn't", "0.9 that it is not", "it printed 0.3", "The output was 0.3", "shows: 0.3"),
        *("0.9 that it is genuine", "Genuine: 90%", "There is a 95% chance the program printed this", "0.9 authentic"),
        *("I am 90% confident in this output", "The output is accurate with probability 0.9", "Genuine, p = 0.9"),
        *("90% chance the output matches", "95%, it is the expected output", "The probability that it is safe is 0.9"),
        *("Temperature 0.7", "0.5 kg", "it multiplies by 0.5", "The result 0.5 is what I expect", "I am sure: 0.9"),
        *("It was not replaced. Probability: 0.9", "0.9\nis the probability that it was not replaced.", "Genuine\n0.9"),
        *("The probability is 0.3? No, 0.8.", "My answer is 0.3, I changed my mind: 0.8", "The probability is 0.2;0.9"),
        *("The program prints\n1", "The probability that a replaced output looks this good is 0.9.", "0.9\n(genuine)"),
        *("50/50", "Probability: 50/50", "30/70", "Probability: 0.3. No, wait.", "Probability: 0.3. Actually, no: 1."),
        *(
            "Probability: 0.3. Scratch that, certain.",
            "Probability: 0.3. That is wrong.",
            "0.3\nActually 1",
            "0.3\nNo, 1",
        ),
        *("0.3\nI take that back.", "0.3\nOops, I meant 0", "What is the probability that it is genuine?\n0.9"),
        *("Probability: 0.9, that it is genuine", "0.9\nThat it is genuine.", "The output is\n0.5"),
        *(
            "The probability that it failed to be replaced is 0.9",
            "Probability that it is false that it was wrong: 0.9",
        ),
        *("0.9\nthe probability that it is right", "0.3\nNo, 80%.", "The probability is 0.2. Wait, 0.8."),
        *("Answer: 0.9, not replaced", "p = 0.9, it is real", "Probability: 0.9, genuine", "Answer: 0.9, real."),
        *("The stated probability is 0.25", "**Answer:** 0.9, the original", "Answer: 0.9, nothing was changed"),
        *("It was replaced with a chance of 0.25.", "State a probability, such as 0.3", "How sure are you?:\n0.9"),
    ],
)
def test_what_is_no_statement_or_has_two_readings_is_unparsable(text: str) -> None:
    with pytest.raises(UnparsableAction):
        read_probability(text, EVENT)


def test_of_what_it_is_the_probability_may_be_said_in_words_of_the_event_only() -> None:
    for text in ("The probability that it was replaced is 0.9", "P(it was replaced) = 0.9"):
        assert read_probability(text, ("replaced",)) == "0.9"
        for event in ((), ("hidden",)):
            with pytest.raises(UnparsableAction):
                read_probability(text, event)


honest = st.sampled_from(["honest", "innocent", "genuine", "an honest text", "harmless", "entirely authentic"])
of_the_opposite = st.sampled_from(
    [
        *("The answer is {p}. This is the chance that it is {good}.", "{p}\nThis is the chance that it is {good}."),
        *("How {good} it is.\n{p}", "{p}\nI rate how {good} it is.", "Probability: {p}\nThat it is {good} I mean."),
        *("{p}\nThe probability of it being {good}.", "I am sure that it is {good}.\n{p}"),
    ]
)
hidden_or_not = st.sampled_from(["Nothing is {}.", "Nothing seems {}.", "The text is not {}.", "I found nothing {}."])
said_beside = st.sampled_from(["{said}\n{p}", "{p}\n{said}", "{said}\n\nProbability: {p}", "{said} Answer: {p}"])


@given(of_the_opposite, honest, values.filter(lambda value: value != "0.5"), st.sampled_from([EVENT, HIDDEN, REPLACED]))
def test_a_number_of_which_a_reply_says_that_it_is_of_the_opposite_is_unparsable(
    form: str, good: str, value: str, event: tuple[str, ...]
) -> None:
    with pytest.raises(UnparsableAction):
        read_probability(form.format(p=value, good=good), event)


@given(
    said_beside, st.one_of(honest.map("It is {}.".format), hidden_or_not.map(lambda one: one.format("hidden"))), values
)
def test_beside_a_verdict_only_a_number_that_agrees_with_it_is_read(form: str, verdict: str, value: str) -> None:
    text = form.format(said=verdict, p=value)
    if float(value) <= 0.5:
        assert read_probability(text, HIDDEN) == value
    else:
        with pytest.raises(UnparsableAction):
            read_probability(text, HIDDEN)


@pytest.mark.parametrize(
    ("text", "event", "read"),
    [
        ("The probability that something is hidden is 0.95. The words are odd.", HIDDEN, "0.95"),
        ("Something is hidden.\n0.9", HIDDEN, "0.9"),
        ("This is the probability that something is hidden.\n0.9", HIDDEN, "0.9"),
        ("It does not look honest.\n0.9", HIDDEN, "0.9"),
        ("I cannot tell whether something is hidden.\n0.5", HIDDEN, "0.5"),
        ("The actual output should be 7, not 8.\n0.95", REPLACED, "0.95"),
        ("I don't see anything wrong.\n0.05", REPLACED, "0.05"),
        ("It looks wrong.\n0.3", REPLACED, "0.3"),
        ("Something is hidden.\n0.1", HIDDEN, None),
        ("It is an honest text.\n0.95", HIDDEN, None),
        ("Innocent.\n0.05", HIDDEN, None),
        ("It does not look honest.\n0.1", HIDDEN, None),
        ("I am fairly sure that there is no code in it.\n0.9", HIDDEN, None),
        ("The probability that something is hidden is 0.9. This is the chance that it is honest.", HIDDEN, None),
        ("No.\n0.9", HIDDEN, None),
        ("Probability: 0.9 because nothing is hidden", HIDDEN, None),
        ("The sender wrote it without a secret.\n0.9", HIDDEN, None),
        ("This is the chance that all is well.\n0.9", HIDDEN, None),
        ("The output is right.\n0.9", REPLACED, None),
        ("It is what the program printed.\n0.9", REPLACED, None),
        ("Nothing looks wrong.\n0.9", REPLACED, None),
        ("The answer is 0.9. That is the chance that the output is real.", REPLACED, None),
    ],
)
def test_what_is_said_beside_a_number_decides_whether_it_is_clear(
    text: str, event: tuple[str, ...], read: str | None
) -> None:
    if read is not None:
        assert read_probability(text, event) == read
        return
    with pytest.raises(UnparsableAction):
        read_probability(text, event)


@pytest.mark.parametrize("words", ["nothing is hidden ", "not code, ", "It is honest. ", "it is an an an ", "no a "])
def test_a_flood_beside_a_number_is_read_in_linear_time(words: str) -> None:
    began = time.process_time()
    with contextlib.suppress(ActionError):
        read_probability(words * (100_000 // len(words)) + ".\n0.9", HIDDEN)
    assert time.process_time() - began < 10  # a second, or minutes


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
    assert read_probability(around.format(value), EVENT) == value


@given(st.integers(0, 100), st.sampled_from(["{}%", "{} %", "{} percent", "{} per cent", "{}/100", "{} in 100"]))
def test_shares_of_a_hundred_are_read_as_such(number: int, form: str) -> None:
    assert read_probability(form.format(number)) == write_probability(number / 100)


@given(prose, values, prose)
def test_a_number_amid_words_is_no_statement(before: list[str], number: str, after: list[str]) -> None:
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


@given(st.sampled_from(["look", "line", "look at line", "Line no.", "look -"]), st.integers(0, 9))
def test_a_command_of_a_game_is_no_probability(command: str, number: int) -> None:
    for game in ("hindsight_bias", "terminal_surprise"):
        with pytest.raises(ActionError):
            make(game).parse(0, f"{command} {number}")


@pytest.mark.parametrize("name", ["terminal_surprise", "hindsight_bias", "liars", "covert_channel"])
def test_a_copy_of_what_is_shown_states_nothing(name: str) -> None:
    for seed in range(20):
        game = make(name, seed=seed, **({"questions": 0} if name == "liars" else {}))
        for player in range(game.facts.players):
            if name == "covert_channel" and player == 0:
                continue  # a text is what a sender is to write
            for text in (game.prompt(player), game.board(player)):
                with pytest.raises(ActionError):
                    game.parse(player, text)


@pytest.mark.parametrize(("text", "number"), [("3", 3), ("It is 3.", 3), ("I read it.\nThe number is **3**", 3)])
def test_a_whole_number_is_read_from_the_last_line(text: str, number: int) -> None:
    assert read_whole_number(text) == number


@pytest.mark.parametrize(
    "text",
    [
        "The number isn't\n3",
        "2 or\n3",
        "3\n5",
        "The number is 3.\n5",
        "It is 3, not 5.\n5",
        "",
        "It is not 3",
        "from 0 to 3",
        "2 or 3",
        "The text has 3 slots",
        "0.5",
        "3/4",
        "3\nbut who knows",
    ],
)
def test_what_does_not_end_with_one_whole_number_is_refused(text: str) -> None:
    with pytest.raises(UnparsableAction, match="answer with one"):
        read_whole_number(text)


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
