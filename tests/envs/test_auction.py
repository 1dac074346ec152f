"""Auctions: who wins and pays what, what theory says of bids, what stays secret, and who leaves."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import RandomSeat, Reply, Scripted, View, make, play
from palaestra.envs.conformance import check_game
from palaestra.envs.errors import IllegalAction, OptionError, UnparsableAction
from palaestra.envs.games.auction import Auction
from palaestra.envs.seeding import Dice


def sold(kind: str, *bids: int, values: tuple[int, ...] = (), **options) -> Auction:
    """One item, sealed bids (0 passes)."""
    game = Auction(kind=kind, players=len(bids), items=1, **options)
    if values:
        game.values = (values,)
    for player, amount in enumerate(bids):
        game.apply(player, f"bid {amount}" if amount else "pass")
    return game


def test_the_highest_bid_wins_and_pays_itself_or_the_second() -> None:
    first = sold("first_price", 5, 9, 7, values=(10, 12, 8))
    assert first.returns() == (0.0, 3.0, 0.0)
    second = sold("second_price", 5, 9, 7, values=(10, 12, 8))
    assert second.returns() == (0.0, 5.0, 0.0)
    assert second.result()["efficiency"] == 1.0
    assert second.result()["revenue"] == 7
    assert second.result()["bid_over_value"] == pytest.approx([0.5, 0.75, 7 / 8])


def test_a_lonely_bid_pays_the_reserve_under_the_second_price_rule() -> None:
    assert sold("second_price", 0, 9, 0, values=(1, 9, 1), reserve=4).returns() == (0.0, 5.0, 0.0)
    nobody = sold("second_price", 0, 0, 0)
    assert nobody.returns() == (0.0, 0.0, 0.0)
    assert nobody.result()["sales"] == [[-1, 0, [0, 0, 0]]]


def test_ties_are_decided_by_lot() -> None:
    winners = set()
    for seed in range(30):
        game = Auction(players=3, items=1, seed=seed)
        for player in range(3):
            game.apply(player, "bid 7")
        winners.add(game.sales[0].winner)
    assert winners == {0, 1, 2}


def test_ascending_bids_go_on_until_one_is_left() -> None:
    game = Auction(kind="ascending", players=3, items=1)
    game.values = ((10, 12, 8),)
    for player, action in ((0, "bid 3"), (1, "bid 4"), (2, "pass"), (0, "bid 9")):
        assert game.players_to_move() == (player,)
        game.apply(player, action)
    with pytest.raises(IllegalAction):
        game.apply(1, "bid 9")
    game.apply(1, "pass")
    assert game.is_over()
    assert game.returns() == (1.0, 0.0, 0.0)


def test_each_item_begins_with_another_player() -> None:
    game = Auction(kind="ascending", players=3, items=3)
    starters = []
    while not game.is_over():
        starters.append(game.players_to_move()[0])
        for _ in range(3):
            game.apply(game.players_to_move()[0], "pass")
    assert starters == [0, 1, 2]


@given(st.integers(0, 10**6), st.integers(1, 20), st.integers(1, 20))
def test_under_the_second_price_rule_the_own_value_is_never_worse_than_another_bid(
    seed: int, other: int, bid: int
) -> None:
    """Vickrey's theorem, against any bids of the others; ties are left out, since lots differ."""

    def worth(amount: int) -> float:
        game = Auction(kind="second_price", players=2, items=1, seed=seed)
        game.apply(0, f"bid {amount}")
        game.apply(1, f"bid {other}")
        return game.returns()[0]

    value = Auction(kind="second_price", players=2, items=1, seed=seed).values[0][0]
    if other not in (bid, value):
        assert worth(value) >= worth(bid)


class Shade:
    """Bids a share of its value, rounded."""

    def __init__(self, share: float) -> None:
        self.share, self.name = share, f"shade {share}"

    async def act(self, view: View) -> Reply:
        known = view.knowledge()
        amount = round(self.share * known["values"][-1])
        return Reply(f"bid {amount}" if amount >= known["reserve"] else "pass")


@pytest.mark.slow
def test_against_the_equilibrium_of_the_first_price_rule_no_other_share_pays_more() -> None:
    """Two risk-neutral bidders bid half their value (Vickrey); bids are whole, so a coarse grid leaves room."""

    def worth(share: float) -> float:
        total = 0.0
        for seed in range(60):
            for seats in ([Shade(share), Shade(0.5)], [Shade(0.5), Shade(share)]):
                game = make("auction", players=2, items=20, max_value=200, seed=seed)
                episode = play(game, seats)
                assert episode.returns is not None
                total += episode.returns[0 if seats[0].share == share else 1]
        return total

    best = worth(0.5)
    assert best > max(worth(0.2), worth(0.8), worth(1.0))


def test_values_and_sealed_bids_stay_secret_until_they_are_told() -> None:
    game = Auction(players=3, items=2)
    game.apply(0, "bid 7")
    assert "7" not in "".join(game.board(player).partition("worth")[0] for player in (1, 2))
    assert not game.log
    game.apply(1, "pass")
    game.apply(2, "bid 2")
    assert "Item 1: Player 1 pays 7. Bids: Player 1 7, Player 3 2." in game.recap(1)


def test_who_leaves_gets_the_worst_and_the_others_bid_on() -> None:
    episode = play(make("auction"), [Scripted(*["um"] * 3), RandomSeat(1), RandomSeat(2)])
    assert episode.outcome == "finished"
    assert episode.forfeits == (0,)
    assert episode.returns is not None
    assert episode.returns[0] == -20.0
    assert len(episode.result["sales"]) == 3
    duel = play(make("auction", players=2), [Scripted(*["um"] * 3), RandomSeat(1)])
    assert duel.outcome == "forfeit"
    assert duel.returns == (-20.0, 0.0)


@pytest.mark.parametrize(
    ("text", "read"),
    [("bid 7", "bid 7"), ("I bid [12].", "bid 12"), ("7", "bid 7"), ("up to 9 coins", "bid 9"), ("Pass!", "pass")],
)
def test_how_a_bid_is_read(text: str, read: str) -> None:
    assert Auction().parse(0, text) == read


@pytest.mark.parametrize("text", ["", "a lot", "3 or 4", "7.5", "-3"])
def test_what_is_no_bid_is_unparsable(text: str) -> None:
    with pytest.raises(UnparsableAction):
        Auction().parse(0, text)


@pytest.mark.parametrize(
    "options", [{"players": 1}, {"items": 0}, {"max_value": 1}, {"reserve": 21}, {"kind": "dutch"}]
)
def test_impossible_auctions_are_refused(options: dict) -> None:
    with pytest.raises(OptionError):
        make("auction", **options)


@pytest.mark.parametrize("options", [{"kind": "ascending"}, {"kind": "second_price", "players": 6, "max_value": 4}])
def test_other_kinds_keep_the_contract_too(options: dict) -> None:
    assert check_game("auction", episodes=4, interleaved=5, pairs=100, **options).withdrawals


@given(st.integers(0, 10**6), st.sampled_from(["first_price", "second_price", "ascending"]), st.integers(2, 6))
def test_random_auctions_add_up(seed: int, kind: str, players: int) -> None:
    game = Auction(kind=kind, players=players, seed=seed, items=4)
    dice = Dice(seed)
    while not game.is_over():
        player = game.players_to_move()[0]
        game.apply(player, game.sample_action(player, dice))
    result = game.result()
    won = sum(game.values[item][winner] for item, (winner, *_) in enumerate(result["sales"]) if winner >= 0)
    assert sum(result["surplus"]) == won - result["revenue"]
    assert 0 <= result["efficiency"] <= 1
    assert all(price <= max(bids) for winner, price, bids in result["sales"] if winner >= 0)
