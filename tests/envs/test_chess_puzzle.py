"""Puzzles: the collection is sound, files are read around their faults, and each kind of task is judged."""

import chess
import pytest

from palaestra.envs import make
from palaestra.envs.conformance import check_game
from palaestra.envs.errors import IllegalAction, OptionError
from palaestra.envs.games.chess_puzzle import ChessPuzzle, _read, mates_in, mates_within
from palaestra.envs.notation.epd import read_epd

BACK_RANK = "6k1/5ppp/8/8/8/8/5PPP/3R2K1 w - -"
TWO_ROOKS = '7k/8/8/8/8/8/R7/1R4K1 w - - bm Ra7; dm 2; id "ladder";'


def solve(text: str, *moves: str, **options) -> ChessPuzzle:
    game = make("chess_puzzle", puzzles=text, **options)
    for move in moves:
        game.apply(0, game.parse(0, move))
    return game


@pytest.mark.parametrize("number", range(40))
def test_every_puzzle_of_the_collection_has_one_solution(number: int) -> None:
    puzzle = _read("")[number]
    board = chess.Board(puzzle.fen)
    assert mates_in(board, puzzle.mate)
    assert puzzle.mate == 1 or not mates_in(board, puzzle.mate - 1)
    right = []
    for move in board.legal_moves:
        after = board.copy()
        after.push(move)
        if mates_within(after, puzzle.mate - 1):
            right.append(move.uci())
    assert tuple(right) == puzzle.best


def test_the_collection_is_what_comes_without_a_file() -> None:
    assert len(_read("")) == 40
    assert {make("chess_puzzle", seed=seed).puzzle for seed in range(200)} == set(_read(""))


def test_a_best_move_solves_and_another_does_not() -> None:
    text = f"{BACK_RANK} bm Rd8#;"
    assert solve(text, "Rd8").returns() == (1.0,)
    assert solve(text, "h3").returns() == (0.0,)
    assert solve(text, "Rd8").result()["solved"]


def test_a_mate_in_two_is_played_out_against_the_longest_defence() -> None:
    game = solve(TWO_ROOKS, "Ra7")
    assert not game.is_over()
    assert game.recap(0) == "Played so far: Ra7 Kg8"
    assert [event.content for event in game.log] == ["Black answers Kg8."]
    game.apply(0, game.parse(0, "Rb8"))
    assert game.returns() == (1.0,)
    assert "Give mate within 2 moves" in game.prompt(0)


def test_another_way_to_mate_in_time_is_right_too() -> None:
    assert solve(TWO_ROOKS, "Rb7", "Ra8").returns() == (1.0,)
    assert solve(TWO_ROOKS, "Ra3").returns() == (0.0,)


def test_a_line_is_followed_and_its_answers_are_played() -> None:
    pgn = '[Event "line"]\n[FEN "7k/8/8/8/8/8/R7/1R4K1 w - - 0 1"]\n\n1. Ra7 Kg8 2. Rb8# *\n'
    assert solve(pgn, "Ra7", "Rb8").returns() == (1.0,)
    missed = solve(pgn, "Ra7", "Rb6")
    assert missed.returns() == (0.0,)
    assert solve(pgn, "Ra7", "Rb6", partial=True).returns() == (0.5,)
    assert missed.result()["puzzle"] == "line"


def test_a_move_to_avoid() -> None:
    text = f'{BACK_RANK} am Rd7; id "not that";'
    assert solve(text, "Rd7").returns() == (0.0,)
    assert solve(text, "h3").returns() == (1.0,)
    assert "One natural move is a mistake" in solve(text).prompt(0)


def test_faults_of_a_file_are_told_by_line_and_the_rest_is_read() -> None:
    bad = ("nonsense", f"{BACK_RANK} bm Qh5;", f'{BACK_RANK} id "x";')
    text = "\n".join(["# a comment", f"{BACK_RANK} bm Rd8#;", *bad, "", TWO_ROOKS])
    reading = read_epd(text)
    assert [puzzle.mate for puzzle in reading.parts] == [0, 2]
    assert [fault.line for fault in reading.faults] == [3, 4, 5]
    assert "nothing of what is to be found" in str(reading.faults[2])
    _read.cache_clear()
    with pytest.warns(UserWarning, match="puzzles: line 3: .*; line 4: .*; line 5: .*; the rest is read"):
        assert make("chess_puzzle", puzzles=text).facts.max_turns == 2


def test_a_long_mate_without_its_line_is_a_fault_like_others() -> None:
    text = f"\ufeff{BACK_RANK} bm Rd8#;\n{BACK_RANK} dm 9;\n% a comment"
    reading = read_epd(text)
    assert len(reading.parts) == 1
    assert [(fault.line, fault.why) for fault in reading.faults] == [(2, "a mate in 9 needs its line; give pv")]


def test_a_pgn_is_known_by_its_headers_wherever_they_stand() -> None:
    text = f'\ufeff; from a collection\n[Event "back rank"]\n[SetUp "1"]\n[FEN "{BACK_RANK} 0 1"]\n\n1. Rd8# 1-0\n'
    _read.cache_clear()
    assert make("chess_puzzle", puzzles=text).puzzle.name == "back rank"


def test_a_puzzle_of_chess960_castles_as_there() -> None:
    fen = "4k3/8/8/8/8/8/8/1R1K2R1 w GB - 0 1"
    text = f'[Event "960"]\n[Variant "Chess960"]\n[SetUp "1"]\n[FEN "{fen}"]\n\n1. O-O *\n'
    game = make("chess_puzzle", puzzles=text)
    game.apply(0, game.parse(0, "O-O"))
    assert game.returns() == (1.0,)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("nonsense", "puzzles: line 1:"),
        ("8/8/8/8/8/8/8/8 w - - bm e4;", "line 1: "),
        (f"{BACK_RANK} dm 9;", "a mate in 9 needs its line"),
        ('[Event "x"]\n\n*', "no game of this PGN has a move"),
        ('[Event "x"]\n\n1. e5 *', "line 3: PGN game 1: illegal san"),
        ("x" * 1_000_001, "expected at most 1000000"),
    ],
)
def test_a_file_without_a_puzzle_is_refused(text: str, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        make("chess_puzzle", puzzles=text)


def test_illegal_moves_change_nothing() -> None:
    game = solve(TWO_ROOKS)
    before = game.state_hash()
    with pytest.raises(IllegalAction):
        game.apply(0, game.parse(0, "Rc3"))
    with pytest.raises(IllegalAction):
        game.apply(0, "a2b3")
    assert game.state_hash() == before


@pytest.mark.parametrize("view", ["board", "fen", "pieces"])
def test_the_contract_holds(view: str) -> None:
    assert check_game("chess_puzzle", episodes=4, interleaved=6, pairs=60, view=view).finished == 4
