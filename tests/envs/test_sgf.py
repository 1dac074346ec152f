"""SGF both ways: what is written is read back, files of others are read, and what cannot be played is named."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import RandomSeat, Scripted, make, play
from palaestra.envs.errors import NotationError
from palaestra.envs.games.go import points
from palaestra.envs.match import MatchRules
from palaestra.envs.notation import sgf
from palaestra.envs.notation.sgf import SgfGame, episode_to_sgf, moves_to_sgf, read_sgf, sgf_to_moves

names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=20).map(lambda text: " ".join(text.split()))


@st.composite
def games(draw):
    size = draw(st.integers(5, 19))
    actions = draw(st.lists(st.sampled_from(points(size)), max_size=30))
    moves = tuple((number % 2, action) for number, action in enumerate(actions))
    komi = draw(st.floats(-25, 25, allow_nan=False))
    return SgfGame(size, komi, moves, draw(names), draw(names), draw(st.sampled_from(["", "B+3.5", "W+R", "0"])))


@given(games())
def test_what_is_written_is_read_back(game):
    assert sgf_to_moves(moves_to_sgf(game)) == game


@pytest.mark.parametrize("seed", range(5))
def test_an_episode_is_written_and_its_moves_lead_to_the_same_end(seed):
    episode = play(make("go", size=5, komi=0.5, seed=seed), [RandomSeat(1), RandomSeat(2)])
    read = sgf_to_moves(episode_to_sgf(episode))
    game = make("go", **read.options())
    for player, action in read.moves:
        game.apply(player, action)
    assert game.returns() == episode.returns
    assert (read.black, read.white, read.result) == ("random", "random", episode.result["score"])


def test_forfeits_and_cuts_are_written_as_sgf_has_them():
    resigned = play(make("go"), [Scripted("C3", *["no idea"] * 3), Scripted("D4")])
    assert sgf_to_moves(episode_to_sgf(resigned)).result == "W+F"
    cut = play(make("go"), [RandomSeat(), RandomSeat()], MatchRules(max_turns=3))
    assert sgf_to_moves(episode_to_sgf(cut)).result == "Void"
    with pytest.raises(NotationError, match="an episode of tic_tac_toe cannot"):
        episode_to_sgf(play(make("tic_tac_toe"), [RandomSeat(), RandomSeat()]))


def test_the_main_line_of_a_file_with_everything_is_read():
    """Escapes, a soft line break, comments, marks, lower-case letters of FF[3], two ways to pass, variations."""
    text = r"""junk before (;GaMe[1]FF[3]SZ[9]KM[5.5]PB[Shusaku \[4d\\\]]PW[Gennan
Inseki]C[a \] (;B[aa\]) in a comment]RE[B+2];Black[cc]C[first\
 move];W[gg]LB[aa:1][bb:2](;B[gc];W[](;B[tt];W[])(;B[aa]))(;B[cg];W[aa])) and a second game (;SZ[19])"""
    game = sgf_to_moves(text)
    assert game == SgfGame(
        9,
        5.5,
        ((0, "C7"), (1, "G3"), (0, "G7"), (1, "pass"), (0, "pass"), (1, "pass")),
        "Shusaku [4d\\]",
        "Gennan Inseki",
        "B+2",
    )


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "ends before it is closed"),
        ("hello", "no bracket, semicolon or property at 'hello'"),
        ("(;SZ[9];B[aa]", "ends before it is closed"),
        ("(;SZ[9", "at '\\[9'"),
        ("(;SZ[9]AB[dd][ff];W[aa])", r"placed black stones \(AB\) after 0 moves"),
        ("(;SZ[9];B[aa];AW[bb])", r"placed white stones \(AW\) after 1 moves"),
        ("(;SZ[9]PL[W];W[aa])", r"\(PL\)"),
        ("(;SZ[9];B[aa];B[bb])", "lets Black play move 2, but White is to move"),
        ("(;SZ[9];B[aa]W[bb])", "both players in one node"),
        ("(;SZ[9];B[jj])", "move 1 at 'jj'"),
        ("(;SZ[9];B[aa][bb])", "2 values for the property B"),
        ("(;SZ[9];B[aa]B[bb])", "property B twice"),
        ("(;SZ[21])", "a board of 21 lines"),
        ("(;SZ[9:13])", "'9:13' as SZ"),
        ("(;SZ[9]KM[nan])", "'nan' as KM"),
        ("(;GM[3]SZ[8])", "game number '3'"),
    ],
)
def test_what_cannot_be_played_is_named(text, told):
    with pytest.raises(NotationError, match=told):
        sgf_to_moves(text)


@given(st.text(st.sampled_from("();[]\\BWaSZ9 \n"), max_size=60))
def test_odd_text_is_read_or_refused_and_nothing_else(text):
    with contextlib.suppress(NotationError):
        sgf_to_moves(text)


@pytest.mark.parametrize("handicap", [2, 5, 9])
def test_a_handicap_game_comes_back(handicap):
    episode = play(make("go", size=9, handicap=handicap, max_moves=30), [RandomSeat(1), RandomSeat(2)])
    text = episode_to_sgf(episode)
    assert f"HA[{handicap}]AB[" in text
    read = sgf_to_moves(text)
    assert read.handicap == handicap
    game = make("go", **read.options(), max_moves=30)
    for player, action in read.moves:
        game.apply(player, action)
    assert game.returns() == episode.returns


def test_games_of_a_collection_around_bad_ones_are_read():
    text = "(;SZ[9]PB[a];B[aa])\n\n(;SZ[9]\n;B[jj])\n(;SZ[9;B[aa]\n\n(;SZ[5]PB[d](;B[aa])(;B[bb]))\n(;SZ[21])"
    reading = read_sgf(text)
    assert [game.black for game in reading.parts] == ["a", "d"]
    assert [fault.line for fault in reading.faults] == [3, 5, 8]
    assert "SGF game 2: this SGF has move 1 at 'jj'" in reading.faults[0].why
    assert read_sgf("hello").faults[0].line == 1
    assert read_sgf("").parts == ()


def test_torn_games_are_given_up_before_they_cost_the_square_of_their_number(monkeypatch):
    scanned = 0

    def counted(text, start, end=sgf._end):
        nonlocal scanned
        scanned += len(text) - start
        return end(text, start)

    monkeypatch.setattr(sgf, "_end", counted)
    text = "(;GM[1]SZ[9];B[aa]\n" * 2000
    reading = read_sgf(text)
    assert scanned <= (sgf.MOST_READINGS + 1) * len(text)
    assert reading.parts == ()
    assert "too many games are torn" in reading.faults[-1].why
