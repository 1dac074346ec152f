"""Seats by name: a wrong name, parameter or table is found before a model is loaded or a game begins."""

import pytest

from palaestra.agents import check_seat, seat_names
from palaestra.envs.errors import OptionError, UnknownName
from tests.shipped import GAMES


@pytest.mark.parametrize("game", sorted(GAMES))
@pytest.mark.parametrize("seat", ["fair", "conceder:0.5", "tit-for-tat"])
def test_negotiators_sit_down_at_negotiations_only(seat, game):
    if game in ("negotiation", "bargaining"):
        check_seat(seat, game)
    else:
        with pytest.raises(OptionError, match=rf"plays negotiation and bargaining only; seat it there, not at {game}"):
            check_seat(seat, game)


@pytest.mark.parametrize("seat", ["random", "random:7", "mcts:20", "tiny:blank"])
def test_other_seats_sit_down_anywhere(seat):
    check_seat(seat)
    check_seat(seat, "tic_tac_toe")


@pytest.mark.parametrize(
    ("spec", "told"),
    [("mcts:abc", "'abc'; it is a number"), ("conceder:x", "'x'; it is a number"), ("conceder:-1", "beta is -1")],
)
def test_a_parameter_that_does_not_fit_is_refused(spec, told):
    with pytest.raises(OptionError, match=told):
        check_seat(spec)


def test_an_unknown_name_is_answered_with_the_nearest_or_with_all():
    with pytest.raises(UnknownName, match="Did you mean 'random'"):
        check_seat("randm")
    with pytest.raises(UnknownName) as caught:
        check_seat("qqqq")
    assert all(name in str(caught.value) for name in seat_names())
