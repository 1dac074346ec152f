"""Go beyond OpenSpiel's rules: scoring with dead stones, superko, handicap, and the board that settles them."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaestra.agents.mcts import MctsSeat
from palaestra.envs import RandomSeat, make, play
from palaestra.envs.conformance import check_game
from palaestra.envs.errors import IllegalAction, OptionError
from palaestra.envs.games.go import PASS, area_margin
from palaestra.envs.games.go_board import Board, dead_stones, handicap_points, territory
from palaestra.envs.seeding import Dice

LIVING_WALLS = [
    ".X.XO.O..",
    "X.XXO.OOO",
    ".XXOOOO..",
    "XX.XO.O..",
    ".XXXOOO..",
    "X.OXXO...",
    ".XXXXOO..",
    "XX.X.XO..",
    ".X.XXXOO.",
]  # fmt: skip
"""Two living sides; the white stone at C4 in Black's land is dead."""


@given(st.integers(0, 10**6), st.integers(5, 7), st.integers(0, 60))
def test_the_board_plays_as_openspiel_does(seed: int, size: int, moves: int) -> None:
    game, dice = make("go", size=size), Dice(seed)
    board = Board(game.rows())
    for _ in range(moves):
        if game.is_over():
            break
        (player,) = game.players_to_move()
        action = str(game.sample_action(player, dice))
        legal = set(game.legal_actions(player))
        for point, name in enumerate(game.points[:-1]):
            if board.cells[point] == ".":  # whoever is refused here commits suicide, or retakes a ko
                alone = board.copy().play(point, "XO"[player])
                assert alone is not None or name not in legal
        if action != PASS:
            assert board.play(game.points.index(action), "XO"[player]) is not None
        game.apply(player, action)
        assert board.text() == Board(game.rows()).text()


@settings(max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([5, 7]), st.booleans())
def test_area_and_territory_differ_by_the_stones_played(seed: int, size: int, handicap: bool) -> None:
    """Area counts stones that stand, territory those that fell: with S standing of P played, S - (P - S) + ... = P."""
    options = {"size": size, "komi": 0.5, "superko": "illegal", "max_moves": 2 * size * size}
    if handicap and size == 7:
        options["handicap"] = 3
    chinese, japanese = make("go", scoring="chinese", **options), make("go", scoring="japanese", **options)
    dice = Dice(seed)
    while not chinese.is_over():
        (player,) = chinese.players_to_move()
        action = chinese.sample_action(player, dice)
        chinese.apply(player, action)
        japanese.apply(player, action)
    assert chinese.dead() == japanese.dead()
    assert chinese.margin() - japanese.margin() == chinese.played[0] - chinese.played[1]


def test_without_dead_stones_chinese_scoring_is_area() -> None:
    board = [row.replace("O", "X") for row in LIVING_WALLS]
    assert dead_stones(Board(board), "X", 1) == set()
    assert territory(Board(LIVING_WALLS))[0] > 5


@pytest.mark.parametrize("seed", range(5))
def test_a_lonely_stone_in_living_land_is_dead_and_nothing_else(seed: int) -> None:
    board = Board(LIVING_WALLS)
    stone = 3 * 9 + 2  # C4
    assert board.cells[stone] == "O"
    assert dead_stones(board, "X", seed) == {stone}
    assert dead_stones(board, "O", seed) == {stone}


def test_dead_stones_are_taken_off_and_become_prisoners() -> None:
    """On 7 lines Black and White wall off half the board each; then White throws a stone in behind the wall."""
    walls = [m for row in range(1, 8) for m in (f"D{row}", f"E{row}")]
    extra = ["B2", "F2", "B4", "F4", "B6", "F6", PASS, "A1", PASS, PASS]  # A1 is White's, and cannot live
    for scoring, margin in (("area", 28 - 21 - 1 - 1), ("chinese", 28 - 21), ("japanese", None)):
        game = make("go", size=7, komi=0, scoring=scoring)
        for move in walls + extra:
            game.apply(game.players_to_move()[0], move)
        assert game.is_over()
        if scoring == "area":  # A1 stands, and Black's empty points touch it: they are nobody's
            assert game.margin() < margin
            assert game.margin() == area_margin(game.rows())
            continue
        assert game.dead() == ["A1"]
        if scoring == "chinese":
            assert game.margin() == margin
        else:  # Black 28 - 10 stones + 1 prisoner, White 21 - 10
            assert game.margin() == (28 - 10 + 1) - (21 - 10)


def test_superko_refuses_what_brings_a_position_back() -> None:
    drawn = repeats = 0
    for seed in range(60):
        game, dice = make("go", size=5, superko="illegal", max_moves=150), Dice(seed)
        seen = {Board(game.rows()).text()}
        while not game.is_over():
            (player,) = game.players_to_move()
            for name in set(game.points[:-1]) - set(game.legal_actions(player)):
                after = Board(game.rows())
                point = game.points.index(name)
                if after.cells[point] == "." and after.play(point, "XO"[player]) is not None:
                    repeats += after.text() in seen
            action = game.sample_action(player, dice)
            game.apply(player, action)
            position = Board(game.rows()).text()
            assert action == PASS or position not in seen
            seen.add(position)
        drawn += game.ending() == "repetition"
    assert drawn == 0
    assert repeats > 5


def test_a_repeating_move_is_refused_with_its_reason() -> None:
    game, dice = make("go", size=5, superko="illegal"), Dice(1)
    while not game.is_over():
        (player,) = game.players_to_move()
        rows = game.rows()
        hidden = [n for n in set(game.points[:-1]) - set(game.legal_actions(player))
                  if Board(rows).cells[game.points.index(n)] == "."]  # fmt: skip
        if hidden:
            with pytest.raises(IllegalAction, match="it is suicide, or brings a position back"):
                game.apply(player, hidden[0])
            return
        game.apply(player, game.sample_action(player, dice))
    raise AssertionError("no such move came up")


def test_mcts_plays_by_superko_too() -> None:
    game = make("go", size=5, superko="illegal", komi=0.5, max_moves=80)
    episode = play(game, [MctsSeat(20), RandomSeat(1)], record=False)
    assert episode.count("ok") == len(episode.turns)


@pytest.mark.parametrize(
    ("size", "stones", "points"),
    [
        (19, 2, "D4 Q16"),
        (19, 3, "D4 Q16 D16"),
        (9, 4, "C3 G7 G3 C7"),
        (9, 5, "C3 G7 G3 C7 E5"),
        (13, 9, "D4 K10 K4 D10 D7 K7 G4 G10 G7"),
    ],
)
def test_handicap_stones_stand_on_the_star_points(size: int, stones: int, points: str) -> None:
    game = make("go", size=size, handicap=stones)
    assert sorted(game.placed()) == sorted(points.split())
    assert game.players_to_move() == (1,)
    assert sum(row.count("X") for row in game.rows()) == stones
    assert game.moves() == []
    assert "Move 1, White to play. Last move: -. Captured stones: 0 of Black, 0 of White." in game.board(1)
    game.apply(1, "A1")
    assert game.moves() == ["A1"]


@pytest.mark.parametrize(("size", "stones"), [(5, 2), (9, 1), (9, 10), (7, 5), (10, 5)])
def test_other_handicaps_are_refused(size: int, stones: int) -> None:
    with pytest.raises(OptionError, match=f"handicap is {stones}, but on {size} lines it is 0"):
        make("go", size=size, handicap=stones)
    assert handicap_points(7, 4)


@pytest.mark.parametrize(
    "options", [{"scoring": "chinese", "superko": "illegal"}, {"scoring": "japanese", "size": 7, "handicap": 2}]
)
def test_the_contract_holds(options: dict) -> None:
    assert check_game("go", episodes=2, interleaved=3, pairs=40, **{"size": 5, **options}).finished == 2
