"""Seats by name: a wrong name, parameter or table is found before a model is loaded or a game begins."""

import pytest

from palaestra.agents import check_seat, seat_names
from palaestra.agents.seats import seats_of
from palaestra.envs.errors import OptionError, PalaestraError, UnknownName
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


PLAIN = (
    "human",
    "greedy",
    "material",
    "swapper",
    "fixer",
    "candid",
    "fibber",
    "decoder",
    "babbler",
    "whisperer",
    "tracker",
)


@pytest.mark.parametrize("seat", [*PLAIN, "parrot", "leaner", "posterior", "clairvoyant", "tracer", "fair"])
def test_a_parameter_where_there_is_none_is_refused(seat):
    check_seat(seat)
    with pytest.raises(OptionError, match="it has none"):
        check_seat(f"{seat}:3")


def test_who_searches_is_refused_before_a_game_that_cannot_be_searched_begins():
    check_seat("mcts", "open_minds", {"inner": "tic_tac_toe", "think_first": False})
    for game, options in (("mafia", {}), ("open_minds", {"inner": "tic_tac_toe"})):
        with pytest.raises(PalaestraError, match="has no counterpart in OpenSpiel"):
            check_seat("mcts", game, options)


def test_a_router_is_not_seated_where_models_read():
    check_seat("router:tiny:kuhn", "kuhn_poker")
    with pytest.raises(OptionError, match="a router talks, and at next_token a model reads"):
        check_seat("router:tiny:kuhn", "next_token")


def test_a_games_page_can_name_who_was_written_for_it():
    assert {"posterior", "rate", "anchored", "tracer"} == set(seats_of("hindsight_bias"))
    assert seats_of("tic_tac_toe") == []


def test_an_unknown_name_is_answered_with_the_nearest_or_with_all():
    with pytest.raises(UnknownName, match="Did you mean 'random'"):
        check_seat("randm")
    with pytest.raises(UnknownName) as caught:
        check_seat("qqqq")
    assert all(name in str(caught.value) for name in seat_names())
