"""Go: coordinates, rules and score against OpenSpiel's, and what a player is shown and told."""

from __future__ import annotations

import pyspiel
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import make
from palaestra.envs.conformance import check_game
from palaestra.envs.errors import IllegalAction, OptionError, UnparsableAction
from palaestra.envs.games.go import PASS, area_margin, points
from palaestra.envs.seeding import Dice


def played(*moves: str, **options):
    game = make("go", **{"size": 5, "komi": 0.5, **options})
    for number, move in enumerate(moves):
        game.apply(number % 2, move)
    return game


def at_random(seed: int, **options):
    game, dice = make("go", **options), Dice(seed)
    while movers := game.players_to_move():
        game.apply(movers[0], game.sample_action(movers[0], dice))
    return game


@pytest.mark.parametrize(
    "options", [{"size": 5}, {"size": 6, "view": "terse", "max_moves": 40}, {"size": 9, "max_moves": 20}]
)
def test_keeps_the_contract(options):
    assert check_game("go", episodes=1, interleaved=3, pairs=8, **options).finished == 1


@pytest.mark.parametrize("size", range(5, 20))
def test_points_are_those_of_openspiel(size):
    state = pyspiel.load_game("go", {"board_size": size}).new_initial_state()
    names = [state.action_to_string(0, number).removeprefix("B ").lower() for number in range(size * size + 1)]
    assert [name.lower() for name in points(size)] == names
    assert not any("I" in name for name in points(size))


@given(st.integers(0, 10**6), st.integers(5, 9), st.sampled_from([0.0, 0.5, 7.5, -3.0]))
def test_the_area_agrees_with_openspiels_result(seed, size, komi):
    game = at_random(seed, size=size, komi=komi)
    margin = area_margin(game.rows()) - komi
    result = game.result()
    assert result["margin"] == margin
    if result["termination"] == "repetition":
        assert (game.returns(), result["score"]) == ((0.0, 0.0), "0")
    else:
        sign = (margin > 0) - (margin < 0)
        assert game.returns() == (sign, -sign)
        assert result["score"] == {1: f"B+{margin:g}", -1: f"W+{-margin:g}", 0: "0"}[sign]


def test_area_is_stones_and_regions_that_touch_one_colour():
    """Black: 5 stones and 5 points at the left; white: 5 stones and 5 at the right; the column between is nobody's."""
    assert area_margin([".X.O."] * 5) == 0
    assert area_margin([".X.O."] * 4 + [".X.OX"]) == 6  # black has one stone more, white 5 points less
    assert area_margin(["....."] * 4 + ["X...."]) == 25
    assert area_margin(["....."] * 5) == 0


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("D4", "D4"),
        ("d4", "D4"),
        ("Black plays D4.", "D4"),
        ("[d4]", "D4"),
        ("not C3 but **E5**", "E5"),
        ("PASS", PASS),
    ],
)
def test_moves_are_read_as_players_write_them(text, action):
    assert make("go", size=5).parse(0, text) == action


@pytest.mark.parametrize("text", ["I4", "D20", "D04x", "the corner", ""])
def test_what_names_no_point_is_unparsable(text):
    with pytest.raises(UnparsableAction):
        make("go", size=9).parse(0, text)


# Black B3, C2, C4 surround C3; white D3's neighbours C3 falls into: the shape of a ko.
KO = ("B3", "E3", "C2", "D2", "C4", "D4", "A1", "C3", "D3")


def test_a_captured_ko_may_not_be_retaken_at_once():
    game = played(*KO)
    assert "Captured stones: 0 of Black, 1 of White" in game.board(1)
    assert "ko or suicide for White: C3" in game.board(1)
    with pytest.raises(IllegalAction, match="suicide, or retakes a ko"):
        game.apply(1, "C3")
    for move, player in (("A5", 1), ("B5", 0)):
        game.apply(player, move)
    game.apply(1, "C3")
    assert "Captured stones: 1 of Black, 1 of White" in game.board(0)


@pytest.mark.parametrize(
    ("move", "told"),
    [("B3", "taken"), ("C3", "suicide"), ("Q16", "outside a board of 5 lines"), ("Z9", "no move")],
)
def test_illegal_moves_name_the_cause_and_change_nothing(move, told):
    game = played("B3", "A1", "C2", "A2", "C4", "A4", "D3")
    before = game.state_hash()
    with pytest.raises(IllegalAction, match=told):
        game.apply(1, move)
    assert game.state_hash() == before


def test_games_end_by_passes_length_or_repetition():
    assert played("C3", PASS, PASS).result() == {
        "score": "B+24.5",
        "margin": 24.5,
        "dead": [],
        "termination": "two passes",
        "moves": 3,
    }
    assert played("C3", "C2", max_moves=2).result()["termination"] == "max_moves"
    repeated = at_random(13, size=5, komi=0.5)
    assert (repeated.result()["termination"], repeated.returns()) == ("repetition", (0.0, 0.0))


def test_a_full_board_is_shown_in_well_under_4000_characters():
    game, dice, longest = make("go", size=19), Dice(1), 0
    while movers := game.players_to_move():
        if game.position.move_number() % 20 == 0:
            longest = max(longest, len(game.observation(movers[0])))
        game.apply(movers[0], game.sample_action(movers[0], dice))
    assert 1000 < longest <= game.facts.max_observation_chars < 4000


@pytest.mark.parametrize(
    ("options", "told"), [({"size": 4}, "5 to 19"), ({"komi": 82}, "komi"), ({"max_moves": 0}, "1 to")]
)
def test_options_out_of_range_are_refused(options, told):
    with pytest.raises(OptionError, match=told):
        make("go", **options)
