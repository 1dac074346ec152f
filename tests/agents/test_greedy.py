"""Seats that look one move ahead."""

from __future__ import annotations

import chess
import pytest

from palaestra.agents import make_seat
from palaestra.agents.greedy import MATE, gain, winning_move
from palaestra.envs import RandomSeat, make, play
from palaestra.envs.errors import InformationError, OptionError
from palaestra.envs.seeding import Dice


def test_greedy_takes_a_win_at_once_and_nothing_else() -> None:
    game = make("tic_tac_toe")
    for player, action in ((0, "1"), (1, "4"), (0, "2"), (1, "5")):
        game.apply(player, action)
    assert {winning_move(game, 0, Dice(seed)) for seed in range(20)} == {"3"}
    opening = make("tic_tac_toe")
    assert len({winning_move(opening, 0, Dice(seed)) for seed in range(99)}) == 9


@pytest.mark.parametrize(
    ("fen", "move", "worth"),
    [
        ("4k3/8/8/3q4/4P3/8/8/4K3 w - - 0 1", "e4d5", 9),
        ("4k3/P7/8/8/8/8/8/4K3 w - - 0 1", "a7a8q", 8),
        ("1r2k3/P7/8/8/8/8/8/4K3 w - - 0 1", "a7b8n", 5 + 2),
        ("4k3/8/8/3pP3/8/8/8/4K3 w - d6 0 1", "e5d6", 1),
        ("6k1/5ppp/8/8/8/8/8/R3K3 w Q - 0 1", "a1a8", MATE),
        ("4k3/8/8/8/8/8/8/R3K3 w Q - 0 1", "e1c1", 0),
    ],
)
def test_material_counts_what_a_move_takes_and_becomes(fen: str, move: str, worth: int) -> None:
    assert gain(chess.Board(fen), chess.Move.from_uci(move)) == worth


def test_material_beats_chance_and_plays_the_same_again() -> None:
    games = [
        play(make("chess", seed=seed, max_plies=300), [make_seat("material"), RandomSeat()]) for seed in (1, 1, 2, 3)
    ]
    assert games[0].actions == games[1].actions
    assert sum(episode.returns[0] for episode in games if episode.returns) > 0


def test_they_are_refused_where_there_is_nothing_to_look_at() -> None:
    with pytest.raises(InformationError, match="hidden information"):
        play(make("kuhn_poker"), [make_seat("greedy"), RandomSeat()])
    with pytest.raises(InformationError, match="plays chess only"):
        play(make("tic_tac_toe"), [make_seat("material"), RandomSeat()])
    with pytest.raises(OptionError, match="cannot have the parameter"):
        make_seat("greedy:3")
    assert play(make("negotiation"), [make_seat("greedy"), make_seat("fair")]).outcome == "finished"
