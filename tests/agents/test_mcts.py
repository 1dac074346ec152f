"""The seat that searches: it wins what can be won, plays the same by the same seed, and says where it cannot play."""

from __future__ import annotations

import pytest

from palaestra.agents.mcts import MctsSeat, UnsearchableGame
from palaestra.envs import MatchRules, RandomSeat, make, play
from palaestra.envs.errors import InformationError, OptionError
from palaestra.envs.games.spiel_twins import NoTwin


def position(name, *moves, **options):
    game = make(name, **options)
    for move in moves:
        (mover,) = game.players_to_move()
        game.apply(mover, move)
    return game


@pytest.mark.parametrize("seed", range(8))
def test_takes_a_win_and_prevents_a_loss(seed):
    seat = MctsSeat(300)
    assert seat.best_action(position("tic_tac_toe", "1", "5", "2", "9"), seed) == "3"  # three in the upper row
    assert seat.best_action(position("tic_tac_toe", "1", "5", "2"), seed) == "3"  # or X has it
    stacked = position("openspiel/connect_four", "x3", "o0", "x3", "o0", "x3", "o1")
    assert seat.best_action(stacked, seed) == "x3"


@pytest.mark.parametrize("seed", range(3))
def test_mates_in_one(seed):
    game = make("chess", fen="7k/8/6K1/8/8/8/8/R7 w - - 0 1")
    after = game.clone()
    after.apply(0, MctsSeat(300).best_action(game, seed))
    assert after.returns() == (1.0, -1.0)


def test_captures_what_stands_in_atari():
    game = position("go", "C3", "B3", "A1", "C2", "E1", "D3", "E5", size=5, komi=0.5, max_moves=14)
    assert MctsSeat(2000).best_action(game) == "C4"


def test_never_loses_tic_tac_toe_to_random_play():
    for seed in range(6):
        for seats in ([MctsSeat(400), RandomSeat(1)], [RandomSeat(1), MctsSeat(400)]):
            episode = play(make("tic_tac_toe", seed=seed), seats)
            assert episode.returns[[seat.name for seat in seats].index("mcts:400")] >= 0


@pytest.mark.parametrize("name", ["tic_tac_toe", "go", "chess", "openspiel/pig", "openspiel/breakthrough"])
def test_the_same_seed_plays_the_same_game(name):
    first, again, other = (
        play(make(name, seed=1), [MctsSeat(8), MctsSeat(8)], MatchRules(max_turns=4), seed=seed) for seed in (5, 5, 6)
    )
    assert first.actions == again.actions
    assert len(first.actions) == 4
    assert first.count("ok") == 4
    if name in ("go", "chess"):
        assert other.actions != first.actions


@pytest.mark.parametrize(
    ("name", "error", "told"),
    [
        ("kuhn_poker", InformationError, "which kuhn_poker hides from its players"),
        ("openspiel/leduc_poker", InformationError, "hides"),
        ("openspiel/goofspiel", UnsearchableGame, "players move at once"),
        ("openspiel/2048", UnsearchableGame, "rewards moves on the way"),
    ],
)
def test_games_that_cannot_be_searched_say_why(name, error, told):
    game = make(name)
    with pytest.raises(error, match=told):
        play(game, [MctsSeat(4) for _ in range(game.facts.players)])


def test_a_perfect_information_game_without_a_twin_says_so():
    from palaestra.envs.games.tic_tac_toe import TicTacToe

    class OwnGame(TicTacToe):
        id = "own_game"

    with pytest.raises(NoTwin, match="own_game has no counterpart in OpenSpiel"):
        play(OwnGame(), [MctsSeat(4), MctsSeat(4)])


def test_settings_that_make_no_sense_are_refused():
    with pytest.raises(OptionError, match="mcts with 0 simulations"):
        MctsSeat(0)
