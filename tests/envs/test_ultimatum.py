"""The ultimatum game: who offers, what is paid, how answers are read, what is measured."""

import pytest

from palaestra.envs import RandomSeat, Scripted, make, play
from palaestra.envs.conformance import check_game
from palaestra.envs.errors import IllegalAction, OptionError, UnparsableAction
from palaestra.envs.games.ultimatum import Ultimatum


def say(game: Ultimatum, *texts: str) -> Ultimatum:
    for text in texts:
        (player,) = game.players_to_move()
        game.apply(player, game.parse(player, text))
    return game


def test_an_accepted_offer_is_paid_and_a_rejected_one_is_not() -> None:
    episode = play(make("ultimatum"), [Scripted("offer 3"), Scripted("accept")])
    assert episode.returns == (7.0, 3.0)
    assert episode.result["surplus_share"] == [0.7, 0.3]
    assert episode.result["nash_distance"] == pytest.approx(0.2)
    refused = play(make("ultimatum"), [Scripted("offer 3"), Scripted("reject")])
    assert refused.returns == (0.0, 0.0)
    assert refused.result["agreement_rate"] == 0
    assert refused.result["nash_distance"] is None


def test_the_players_change_roles_or_keep_them() -> None:
    game = say(Ultimatum(rounds=2), "offer 4", "accept")
    assert game.players_to_move() == (1,)
    assert say(game, "offer 1", "accept").coins() == (6 + 1, 4 + 9)
    assert say(Ultimatum(rounds=2, alternate=False), "offer 4", "accept").players_to_move() == (0,)


def test_forfeiting_costs_more_than_rejecting() -> None:
    episode = play(make("ultimatum"), [RandomSeat(), Scripted(*["no idea"] * 3)])
    assert episode.forfeits == (1,)
    assert episode.returns == (0.0, -10.0)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("offer 3", "offer 3"),
        ("I Offer 10.", "offer 10"),
        ("offer 2? No: **offer 5**", "offer 5"),
        ("4 coins", "offer 4"),
        ("I give 4, yes, 4", "offer 4"),
    ],
)
def test_how_an_offer_is_read(text: str, read: str) -> None:
    assert Ultimatum().parse(0, text) == read


@pytest.mark.parametrize("text", ["", "half", "3 or 4", "2.5", "-1"])
def test_what_is_no_offer_is_unparsable(text: str) -> None:
    with pytest.raises(UnparsableAction):
        Ultimatum().parse(0, text)


def test_what_is_not_to_be_done_now_is_illegal() -> None:
    with pytest.raises(IllegalAction):
        say(Ultimatum(), "accept")
    with pytest.raises(IllegalAction):
        say(Ultimatum(), "11")
    with pytest.raises(IllegalAction):
        say(Ultimatum(), "offer 3", "offer 4")


def test_options_are_checked_and_long_games_keep_the_contract() -> None:
    for options in ({"pie": 1}, {"rounds": 0}):
        with pytest.raises(OptionError):
            make("ultimatum", **options)
    assert check_game("ultimatum", episodes=3, interleaved=5, rounds=30, pie=4).finished == 3
