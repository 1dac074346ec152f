"""Matrix games: tables by name and of one's own, what is told when, and tables that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import Scripted, make, play
from palaestra.envs.conformance import check_game
from palaestra.envs.errors import OptionError
from palaestra.envs.games.matrix_game import KNOWN, read_table


@pytest.mark.parametrize("name", KNOWN)
def test_the_contract_holds_for_every_table(name: str) -> None:
    check_game("matrix_game", payoffs=name, rounds=2)


@pytest.mark.parametrize(
    ("name", "utility"),
    [
        ("matching_pennies", "zero_sum"),
        ("rock_paper_scissors", "zero_sum"),
        ("prisoners_dilemma", "general_sum"),
        ("coordination", "identical"),
        ("5,5 6,4 / 7,3 0,10", "constant_sum"),
    ],
)
def test_the_facts_say_how_payoffs_hang_together(name: str, utility: str) -> None:
    assert make("matrix_game", payoffs=name).facts.utility == utility


def test_both_get_what_the_table_says_and_rounds_add_up() -> None:
    game = make("matrix_game", payoffs="prisoners_dilemma", rounds=3)
    seats = [Scripted("cooperate", "I defect", "defect"), Scripted("cooperate", "cooperate", "Defect.")]
    episode = play(game, seats)
    assert episode.returns == (3 + 5 + 1, 3 + 0 + 1)
    assert episode.result["frequency"] == [
        {"cooperate": 1 / 3, "defect": 2 / 3},
        {"cooperate": 2 / 3, "defect": 1 / 3},
    ]


def test_each_reads_the_table_from_its_own_side() -> None:
    game = make("matrix_game", payoffs="1,2 3,4 / 5,6 7,8")
    assert "A, B: 3, 4" in game.prompt(0)
    assert "A, B: 6, 5" in game.prompt(1)


def test_a_choice_is_told_when_both_have_chosen() -> None:
    game = make("matrix_game", rounds=2)
    before = game.observation(1)
    game.apply(0, "heads")
    assert game.observation(1) == before
    assert game.players_to_move() == (1,)
    game.apply(1, "tails")
    assert "Round 1: Player 1 heads, Player 2 tails." in game.observation(0)


CELL = st.tuples(st.integers(-9, 9), st.integers(-9, 9))


@given(st.lists(st.lists(CELL, min_size=3, max_size=3), min_size=3, max_size=3))
def test_a_table_of_ones_own_comes_back(cells: list[list[tuple[int, int]]]) -> None:
    text = " / ".join(" ".join(f"{one},{other}" for one, other in row) for row in cells)
    assert [[tuple(map(int, cell)) for cell in row] for row in read_table(text).cells] == cells


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"payoffs": "matching_penies"}, "is no table"),
        ({"payoffs": "1,1 2,2"}, "is no table"),
        ({"payoffs": "1,1 2,2 / 3,3"}, "is no table"),
        ({"payoffs": "1 2 / 3 4"}, "is no pair of numbers"),
        ({"payoffs": "1,1 nan,0 / 0,0 1,1"}, "has no bounds"),
        ({"actions": ("a", "A")}, "expected 2 different names"),
        ({"actions": ("a", "b c")}, "cannot name an action"),
        ({"rounds": 0}, "expected 1 to 1000"),
    ],
)
def test_what_is_no_table_is_refused(options: dict, said: str) -> None:
    with pytest.raises(OptionError, match=said):
        make("matrix_game", **options)
