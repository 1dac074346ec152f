"""How a text is read as an action: whatever is written around it, the last one named counts, none is guessed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs.errors import UnparsableAction
from palaestra.envs.grammar import last_action, shorten

SQUARES = tuple("123456789")
MOVES = ("e4", "Nf3", "bxc3", "Bxc3", "O-O", "O-O-O", "e8=Q", "e8=N", "Qh5#", "Rd1+", "take 2 from 1")
WRAPPINGS = [
    "{}",
    "[{}]",
    "({}).",
    "**{}**",
    "`{}`",
    "'{}'",
    '"{}"!',
    "#{}",
    "I play {}.",
    "Move: {}\n",
    "{},",
    "\n\t{}",
]


@pytest.mark.parametrize("wrapping", WRAPPINGS)
@pytest.mark.parametrize("action", MOVES)
def test_what_stands_around_an_action_does_not_matter(action: str, wrapping: str) -> None:
    assert last_action(wrapping.format(action), MOVES) == action


@pytest.mark.parametrize("action", [move for move in MOVES if move.lower() != "bxc3"])
def test_case_and_space_do_not_matter_where_they_decide_nothing(action: str) -> None:
    assert last_action(f"I go {action.upper()}", MOVES) == action
    assert last_action(action.lower().replace(" ", " \n "), MOVES) == action


@given(st.lists(st.sampled_from(SQUARES), min_size=1, max_size=6), st.data())
def test_the_last_action_named_is_the_one_that_counts(said: list[str], data: st.DataObject) -> None:
    glue = [data.draw(st.sampled_from([" ", " or rather ", ", no: ", "\n", "; "])) for _ in said]
    text = "Well" + "".join(between + square for between, square in zip(glue, said, strict=True))
    assert last_action(text + ".", SQUARES) == said[-1]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", SQUARES),
        ("no idea", SQUARES),
        ("12", SQUARES),
        ("x5", SQUARES),
        ("5x", SQUARES),
        ("-5", SQUARES),
        ("2*3", SQUARES),
        ("5_", SQUARES),
        ("e8=Q", ("e8", "Q")),
        ("Qh5#", ("Qh5",)),
        ("Rd1+", ("Rd1",)),
        ("O-O-O", ("O-O",)),
        ("be4", ("e4",)),
    ],
)
def test_no_action_is_found_inside_a_longer_word(text: str, words: tuple[str, ...]) -> None:
    with pytest.raises(UnparsableAction, match=r"no action found in .*; answer with one of: "):
        last_action(text, words)


def test_of_two_words_the_longer_is_meant() -> None:
    assert last_action("I castle O-O-O", MOVES) == "O-O-O"
    assert last_action("I bet 5!", ("bet", "bet 5", "5")) == "bet 5"


@pytest.mark.parametrize("text", ["BXC3", "I play bXc3 now"])
def test_two_actions_that_differ_in_case_only_are_not_guessed(text: str) -> None:
    with pytest.raises(UnparsableAction, match="can mean 'bxc3' or 'Bxc3'; write it exactly"):
        last_action(text, MOVES)
    assert last_action(text, MOVES, legal=["Bxc3", "e4"]) == "Bxc3"
    assert last_action("Bxc3", MOVES, legal=["bxc3"]) == "Bxc3", "written exactly, it is read exactly"


@pytest.mark.parametrize("text", ["1 2 3", "so 1 2 3!", "9 9 1 2 3"])
def test_two_actions_that_overlap_are_not_guessed(text: str) -> None:
    with pytest.raises(UnparsableAction, match="'1 2 3' can be read in two ways"):
        last_action(text, ("1 2", "2 3", "3", "9 9"))
    assert last_action(text + ", I mean 9 9", ("1 2", "2 3", "3", "9 9")) == "9 9"


@pytest.mark.parametrize(
    ("text", "action"), [("paſs", "pass"), ("ＰＡＳＳ", None), ("PASS", "pass"), ("\u212aing", "king")]
)
def test_letters_that_only_look_alike_in_unicode_are_read_or_refused_but_break_nothing(
    text: str, action: str | None
) -> None:
    if action is None:
        with pytest.raises(UnparsableAction):
            last_action(text, ("pass", "king"))
    else:
        assert last_action(text, ("pass", "king")) == action


@given(st.text(max_size=60), st.lists(st.text(min_size=1, max_size=6), max_size=5))
def test_any_text_names_a_word_of_the_game_or_is_unparsable_with_a_short_reason(text: str, words: list[str]) -> None:
    try:
        found, reason = last_action(text, words), ""
    except UnparsableAction as error:
        found, reason = None, error.reason
    assert (found in words) != bool(reason)
    assert len(reason) < 700
    assert "\n" not in reason


@given(st.lists(st.text(min_size=1, max_size=6), min_size=1, max_size=5), st.data())
def test_an_action_written_exactly_is_read_as_itself(words: list[str], data: st.DataObject) -> None:
    action = data.draw(st.sampled_from(words))
    assert last_action(action, words) == action


def test_signs_of_regular_expressions_in_actions_mean_themselves() -> None:
    words = ("a.b", "(x)", "[y", "c|d", "\\w")
    assert [last_action(f"say {word} now", words) for word in words] == list(words)
    with pytest.raises(UnparsableAction):
        last_action("say axb now", words)


@given(st.lists(st.text(max_size=30), max_size=20), st.integers(1, 50))
def test_a_list_for_a_player_is_one_line_of_bounded_length(items: list[str], limit: int) -> None:
    text = shorten(items, limit)
    assert len(text) <= limit
    assert len(text.splitlines()) <= 1
    assert text.endswith("…") or text == " ".join(", ".join(items).split())
