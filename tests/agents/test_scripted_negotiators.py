"""The scripted negotiators: they agree, on good trades, without memory, and never to their loss."""

import itertools

import numpy as np
import pytest

from palaestra.agents.scripted_negotiators import NEGOTIATORS, Conceder, Fair, Greedy, TitForTat
from palaestra.agents.seats import make_seat
from palaestra.envs import RandomSeat, ReplayWriter, make, play, resume
from palaestra.envs.errors import InformationError

GAMES = 30


TABLES = ("negotiation", "bargaining")


def results(first, second, game="negotiation", **options):
    episodes = [play(make(game, seed=seed, **options), [first, second], record=False) for seed in range(GAMES)]
    assert all(episode.count("ok") == len(episode.turns) for episode in episodes)
    return [episode.result for episode in episodes]


def share(found, part: str, whole: str) -> float:
    return sum(result[part] for result in found) / sum(result[whole] for result in found)


@pytest.mark.parametrize("pair", list(itertools.product(NEGOTIATORS, repeat=2)), ids="-".join)
@pytest.mark.parametrize("game", TABLES)
def test_no_pair_breaks_a_rule_or_makes_a_losing_deal(game, pair):
    found = results(*(NEGOTIATORS[name]() for name in pair), game=game)
    assert all(min(result["gains"]) >= 0 for result in found)
    assert any(result["agreement"] for result in found)


def test_two_fair_players_always_reach_the_nash_solution():
    """Both tell the truth and believe it, so the second player's first offer is the solution."""
    found = results(Fair(), Fair())
    assert all(result["nash_product"] == result["max_nash_product"] for result in found)
    assert all(result["pareto_optimal"] and result["nash_distance"] == 0 for result in found)
    assert {result["turns"] for result in found} == {3}
    assert all(honest["false"] == 0 for result in found for honest in result["deception"])


def test_two_fair_players_settle_packages_as_well_as_rounding_lets_them():
    """They tell weights and directions; points between are rounded, so a neighbour can take the solution's place."""
    found = results(Fair(), Fair(), "bargaining")
    assert all(result["nash_product"] >= 0.97 * result["max_nash_product"] for result in found)
    assert np.mean([result["nash_distance"] for result in found]) < 0.05
    assert {result["turns"] for result in found} == {3}
    assert all(honest["false"] == 0 for result in found for honest in result["deception"])
    assert np.mean([result["log_rolling"] for result in found]) > 0.8


@pytest.mark.parametrize("game", TABLES)
def test_two_conceders_nearly_always_agree_and_efficiently(game):
    found = results(Conceder(), Conceder(), game)
    assert np.mean([result["agreement"] for result in found]) > 0.85
    assert share(found, "joint", "max_joint_rational") > 0.75


@pytest.mark.parametrize("game", TABLES)
def test_holding_out_against_a_conceder_pays_the_one_and_costs_the_other(game):
    concessions = results(Conceder(beta=4.0), Conceder(beta=0.2), game)
    gains = np.mean([result["gains"] for result in concessions], axis=0)
    assert gains[1] > gains[0] > 0


def test_greedy_players_leave_much_on_the_table():
    greedy = share(results(Greedy(), Greedy()), "joint", "max_joint_rational")
    assert greedy < share(results(Conceder(), Conceder()), "joint", "max_joint_rational")


def test_fair_players_without_talk_still_trade():
    found = results(Fair(), Fair(), max_talk=0)
    assert np.mean([result["agreement"] for result in found]) > 0.6


@pytest.mark.parametrize("game", TABLES)
def test_random_players_are_beaten(game):
    found = results(Greedy(), RandomSeat(), game)
    gains = np.mean([result["gains"] for result in found], axis=0)
    assert gains[0] > max(5, gains[1] + 10)


@pytest.mark.parametrize("kind", [Conceder, TitForTat, Fair])
def test_a_resumed_negotiator_goes_on_as_it_would_have(kind, tmp_path):
    path = tmp_path / "game.jsonl"
    episode = play(make("negotiation", seed=7), [kind(), Greedy()], recorder=ReplayWriter(path))
    assert len(episode.turns) >= 3
    import asyncio

    again = asyncio.run(resume(path, [kind(), Greedy()], turn=2).play())
    assert again.actions == episode.actions


def test_negotiators_are_seats_by_name():
    assert set(NEGOTIATORS) == {"greedy", "conceder", "tit-for-tat", "fair"}
    assert isinstance(make_seat("fair").seat, Fair)
    seat = make_seat("conceder:0.5").seat
    assert isinstance(seat, Conceder)
    assert seat.beta == 0.5


def test_a_negotiator_refuses_another_game():
    with pytest.raises(InformationError, match="'fair' seat plays negotiation and bargaining only"):
        play(make("tic_tac_toe"), [Fair(), Fair()])
