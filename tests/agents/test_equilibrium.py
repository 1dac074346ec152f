"""The equilibrium seat: unexploitable where that can be computed; no other bid pays better where it can be tried."""

import numpy as np
import pyspiel
import pytest
from open_spiel.python import policy
from open_spiel.python.algorithms import exploitability

from palaestra.agents import check_seat
from palaestra.agents.equilibrium import Equilibrium, bet_probability, bid
from palaestra.agents.seats import make_seat
from palaestra.envs import RandomSeat, make, play
from palaestra.envs.errors import InformationError, OptionError


@pytest.mark.parametrize("alpha", [0.0, 0.2, 1 / 3])
def test_nobody_gains_against_it_at_kuhn_poker(alpha: float) -> None:
    game = pyspiel.load_game("kuhn_poker")
    table = policy.TabularPolicy(game)
    for state, place in table.state_lookup.items():
        bets = bet_probability(int(state[0]), state[1:], alpha)
        table.action_probability_array[place] = [1 - bets, bets]
    assert exploitability.exploitability(game, table) == pytest.approx(0.0, abs=1e-12)


def test_at_the_table_it_bets_as_often_as_it_should() -> None:
    seen: dict[str, list[bool]] = {}
    for seed in range(900):
        game = make("kuhn_poker", seed=seed)
        episode = play(game, [Equilibrium(0.2), Equilibrium(0.2)], record=False)
        history = ""
        for player, action in episode.actions:
            seen.setdefault(f"{game.cards[player]}{history}", []).append(action == "bet")
            history += str(action)[0]
    for state, bets in seen.items():
        expected = bet_probability(int(state[0]), state[1:], 0.2)
        assert abs(np.mean(bets) - expected) < 3.5 * np.sqrt(max(expected * (1 - expected), 1e-9) / len(bets)), state


def test_no_other_bid_pays_better_in_a_first_price_auction() -> None:
    """Against two who bid so, values uniform on 1 to 100: the expected payoff of every bid, by all their values."""
    known = {"kind": "first_price", "players": 3, "reserve": 1, "bids": []}
    others = np.array([bid({**known, "values": [value]}) for value in range(1, 101)])
    for value in (10, 40, 75, 100):
        below = np.array([(others < amount).mean() for amount in range(value + 1)])
        tied = np.array([(others == amount).mean() for amount in range(value + 1)])
        wins = below**2 + below * tied + tied**2 / 3
        payoff = wins * (value - np.arange(value + 1))
        assert payoff[bid({**known, "values": [value]})] > 0.97 * payoff.max()


@pytest.mark.parametrize("kind", ["first_price", "second_price", "ascending"])
def test_it_earns_more_than_chance_and_never_a_loss_in_auctions(kind: str) -> None:
    earned = np.zeros(3)
    for seed in range(30):
        seats = [Equilibrium(), RandomSeat(1), RandomSeat(2)]
        episode = play(make("auction", seed=seed, kind=kind), seats, record=False)
        assert episode.count("ok") == len(episode.turns)
        earned += episode.returns
        assert episode.returns[0] >= 0
    assert earned[0] > max(earned[1:])


def test_in_the_ultimatum_game_it_offers_next_to_nothing_and_takes_anything() -> None:
    episode = play(make("ultimatum", rounds=2), [Equilibrium(), Equilibrium()])
    assert [str(action) for _, action in episode.actions] == ["offer 1", "accept"] * 2


def test_it_refuses_what_it_does_not_know() -> None:
    with pytest.raises(OptionError, match="plays kuhn_poker and auction and ultimatum only"):
        check_seat("equilibrium", "chess")
    with pytest.raises(InformationError, match="plays kuhn_poker, auction, ultimatum only"):
        play(make("tic_tac_toe"), [Equilibrium(), Equilibrium()])
    with pytest.raises(OptionError, match=r"alpha is 0\.5"):
        make_seat("equilibrium:0.5")
