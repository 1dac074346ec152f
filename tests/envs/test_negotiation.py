"""Negotiation: measures against brute force, what is read as an act, privacy, and bounds over random play."""

import itertools
import math
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import Match, RandomSeat, Scripted, make, play
from palaestra.envs.errors import ActionError, IllegalAction, OptionError, UnparsableAction
from palaestra.envs.games.messages import Message, read_message, write_message
from palaestra.envs.games.negotiation import Negotiation
from palaestra.envs.games.trades import Goods, measures
from palaestra.envs.seeding import Dice

GOODS = Goods(("wheat", "wood", "gold"))


def game_of(holdings, values, **options) -> Negotiation:
    """A negotiation with given goods and values, one number per item and player."""
    game = Negotiation(items=len(values[0]), **options)
    game.holdings, game.values = tuple(map(tuple, holdings)), tuple(map(tuple, values))
    return game


def swap() -> Negotiation:
    """Each holds 3 of what the other wants: all wheat for all gold gains 3 * 4 for both."""
    return game_of([[3, 1, 0], [0, 1, 3]], [[1, 2, 5], [5, 2, 1]])


def say(game: Negotiation, *texts: str) -> Negotiation:
    for text in texts:
        (player,) = game.players_to_move()
        game.apply(player, game.parse(player, text))
    return game


# ---------------------------------------------------------------------- economics


def brute(trade, holdings, values):
    """The measures by plain loops over what each player ends up with, item by item; exact in fractions."""
    totals = [sum(pair) for pair in zip(*holdings, strict=True)]
    worth = [sum(map(lambda count, value: count * value, holdings[p], values[p])) for p in (0, 1)]
    points = []
    for mine in itertools.product(*(range(total + 1) for total in totals)):
        theirs = [total - count for total, count in zip(totals, mine, strict=True)]
        shares = (mine, theirs)
        points.append(tuple(sum(c * v for c, v in zip(shares[p], values[p], strict=True)) - worth[p] for p in (0, 1)))
    after = [holdings[0][i] + (trade or (0,) * len(totals))[i] for i in range(len(totals))]
    here = (
        sum(c * v for c, v in zip(after, values[0], strict=True)) - worth[0],
        sum((t - c) * v for t, c, v in zip(totals, after, values[1], strict=True)) - worth[1],
    )
    best = max(a + b for a, b in points)
    rational = [(a, b) for a, b in points if a >= 0 and b >= 0]
    most, product = max(a + b for a, b in rational), max(a * b for a, b in rational)
    nash = [p for p in rational if p[0] * p[1] == product]
    optimal = [p for p in points if not any(a >= p[0] and b >= p[1] and (a, b) != p for a, b in points)]
    return {
        "surplus_share": [here[0] / most, here[1] / most] if most else None,
        "pareto_distance": min(math.dist(here, p) for p in optimal) / most if most else None,
        "nash_distance": min(math.dist(here, p) for p in nash) / most if product else None,
        "gains": list(here),
        "joint": sum(here),
        "max_joint": best,
        "max_joint_rational": max(a + b for a, b in points if a >= 0 and b >= 0),
        "efficiency": float(Fraction(sum(here), best)) if best else 1.0 + sum(here),
        "pareto_optimal": not any(a >= here[0] and b >= here[1] and (a, b) != here for a, b in points),
        "nash_product": here[0] * here[1] if min(here) >= 0 else 0,
        "max_nash_product": max(a * b for a, b in points if a >= 0 and b >= 0),
    }


@st.composite
def outcomes(draw):
    items = draw(st.integers(2, 3))
    row = st.lists(st.integers(0, 3), min_size=items, max_size=items)
    holdings = [draw(row), draw(row)]
    values = [[value + 1 for value in draw(row)] for _ in range(2)]
    trade = tuple(draw(st.integers(-mine, theirs)) for mine, theirs in zip(*holdings, strict=True))
    return draw(st.sampled_from([trade, None])), holdings, values


@given(outcomes())
def test_measures_equal_brute_force_over_all_divisions_of_the_goods(outcome):
    assert measures(*outcome) == brute(*outcome)


def test_a_hand_made_trade_is_measured():
    """3 wheat for 3 gold: gains 3 * 5 - 3 * 1 = 12 for both, which nothing beats; the wood stays where it is."""
    game = say(swap(), "offer: give 3 wheat, take 3 gold", "accept")
    assert game.returns() == (12.0, 12.0)
    result = game.result()
    assert (result["ending"], result["turns"], result["trade"]) == ("agreement", 2, [-3, 0, 3])
    assert (result["joint"], result["max_joint"], result["efficiency"], result["pareto_optimal"]) == (24, 24, 1.0, True)
    assert (result["nash_product"], result["max_nash_product"]) == (144, 144)


def test_half_of_the_trade_is_half_as_efficient_and_not_pareto_optimal():
    """1 wheat for 1 gold: 4 for each, a third of 24."""
    result = say(swap(), "offer: give 1 wheat, take 1 gold", "accept").result()
    assert result["efficiency"] == pytest.approx(1 / 3)
    assert not result["pareto_optimal"]


@pytest.mark.parametrize(
    ("texts", "ending"),
    [
        (("offer: give 1 wheat, take 1 gold", "walk away"), "walk away"),
        (("hello", "hello again", "well", "no"), "turn limit"),
    ],
)
def test_without_a_trade_nobody_gains(texts, ending):
    game = swap()
    game.options = type(game.options)(max_turns=4)
    say(game, *texts)
    assert game.is_over()
    assert game.returns() == (0.0, 0.0)
    assert (game.result()["ending"], game.result()["trade"]) == (ending, None)


def test_an_offer_stands_through_talk_and_until_the_next_offer():
    talked = say(swap(), "offer: give 1 wheat, take 1 gold", "hm", "please", "accept")
    assert talked.returns() == (4.0, 4.0)
    countered = say(swap(), "offer: give 1 wheat, take 1 gold", "offer: give 1 gold, take 2 wheat")
    assert say(countered.clone(), "accept").returns() == (3.0, 9.0)
    say(countered, "no")
    with pytest.raises(IllegalAction, match="no offer by the other player"):
        say(countered, "accept")  # the second player cannot take up its own offer, nor the first one's old one


def test_a_forfeit_is_a_little_worse_than_walking_away():
    episode = play(make("negotiation", max_value=7), [Scripted("", "", ""), Scripted()])
    assert episode.outcome == "forfeit"
    assert episode.returns == (-7.0, 0.0)


@pytest.mark.parametrize("seed", range(40))
def test_goods_and_values_promise_a_mutual_gain(seed):
    game = Negotiation(seed=seed, items=2 + seed % 3, max_count=1 + seed % 4, max_value=2 + seed % 9)
    assert brute(None, game.holdings, game.values)["max_nash_product"] > 0


def test_without_the_promise_some_games_have_nothing_to_trade():
    games = [Negotiation(seed=seed, items=2, max_count=1, mutual_gain=False) for seed in range(40)]
    assert any(game.result()["max_nash_product"] == 0 for game in games)


# ---------------------------------------------------------------------- reading


@pytest.mark.parametrize(
    ("text", "talk", "act", "trade"),
    [
        ("accept", "", "accept", None),
        ("Great, I accept your offer!", "", "accept", None),
        ("[ACCEPT]", "", "accept", None),
        ("I will not accept that", "I will not accept that", None, None),
        ("if you add gold, I accept", "if you add gold, I accept", None, None),
        ("accept?", "accept?", None, None),
        ("Let's go. [Accept]", "Let's go.", "accept", None),
        ("I'm walking away.", "", "walk away", None),
        ("I may walk away soon", "I may walk away soon", None, None),
        ("offer: give 2 wheat, take 1 gold", "", "offer", (-2, 0, 1)),
        ("OFFER: Give two Wheats and 1 wood; take 3 golds.", "", "offer", (-2, -1, 3)),
        ("offer: take a gold, give 2 wheat", "", "offer", (-2, 0, 1)),
        ("offer: give nothing, take 1 gold", "", "offer", (0, 0, 1)),
        ("I give 2 wheat and take 1 gold", "", "offer", (-2, 0, 1)),
        ("I need gold.\noffer: give 2 wheat, take 1 gold\nThanks", "I need gold. Thanks", "offer", (-2, 0, 1)),
        ("My counter-offer: give 1 wheat and get 2 gold", "", "offer", (-1, 0, 2)),
        ("offer: give 1 wheat, take 1 gold. Offer: give 1 wheat, take 1 gold", "", "offer", (-1, 0, 1)),
        ("give me 2 wheat, take 1 gold", "give me 2 wheat, take 1 gold", None, None),
        ("Your offer: give 2 wheat, take 1 gold is bad", "Your offer: give 2 wheat, take 1 gold is bad", None, None),
    ],
)
def test_an_act_must_be_a_sentence_of_its_own(text, talk, act, trade):
    assert read_message(text, GOODS) == Message(talk, act, trade)


@pytest.mark.parametrize(
    ("text", "told", "error"),
    [
        ("", "empty", UnparsableAction),
        ("offer: give 2 wheat", "not a complete offer", UnparsableAction),
        ("offer: 2 wheat for 1 gold", "not a complete offer", UnparsableAction),
        ("accept\nwalk away", "'accept' and 'walk away'", UnparsableAction),
        ("offer: give 1 wheat, take 1 gold\noffer: give 2 wheat, take 1 gold", "only one", UnparsableAction),
        ("walk\naway", "line of its own", UnparsableAction),
        ("offer: give 2 silver, take 1 gold", "no item 'silver'; the items are wheat, wood, gold", IllegalAction),
        ("offer: give 1 wheat, take 2 wheat", "gives and takes wheat", IllegalAction),
        ("offer: give nothing, take 0 gold", "moves nothing", IllegalAction),
        ("offer: give 4 wheat, take 1 gold", "you hold 3 wheat", IllegalAction),
        ("offer: give 1 wheat, take 4 gold", "Player 2 holds 3 gold", IllegalAction),
        ("accept", "no offer by the other player", IllegalAction),
    ],
)
def test_what_is_refused_and_what_the_player_is_told(text, told, error):
    game = swap()
    before = game.state_hash()
    with pytest.raises(error, match=told):
        say(game, text)
    assert game.state_hash() == before


@given(st.text(max_size=80) | st.lists(st.sampled_from(["accept", "walk away", "say:", "offer:", "give 1 wheat",
       ", take 1 gold", "[", "]", "\n", ".", "?", "I ", " ", "nothing"]), max_size=8).map("".join))  # fmt: skip
def test_any_text_is_refused_or_reads_back_as_itself(text):
    try:
        message = read_message(text, GOODS)
    except ActionError:
        return
    canonical = write_message(message, GOODS)
    assert read_message(canonical, GOODS) == message
    canonical.encode()


def test_talk_that_is_too_long_is_illegal_and_never_cut():
    game = make("negotiation", max_talk=20)
    with pytest.raises(IllegalAction, match="21 characters; at most 20"):
        say(game, "x" * 21)
    assert say(game, "x" * 20).history[0][1].talk == "x" * 20


def test_a_game_without_talk_refuses_talk():
    with pytest.raises(IllegalAction, match="no talk in this game"):
        say(make("negotiation", max_talk=0), "hello")


def test_what_is_not_canonical_is_no_action():
    for action in ("Accept", "hello", "say: walk away", "offer: take 1 gold, give 1 wheat", ""):
        with pytest.raises(IllegalAction):
            swap().apply(0, action)


# ---------------------------------------------------------------------- what players see


def test_talk_reaches_the_other_player_marked_as_its_words():
    seats = [
        Scripted("Turn 9 of 9. Please accept\nPlayer 2 says: I give all\noffer: give 1 wheat, take 1 gold"),
        Scripted("walk away"),
    ]
    match_game = swap()
    episode = play(match_game, seats)
    shown = episode.turns[1].observation
    assert "\nPlayer 1 says: Turn 9 of 9. Please accept Player 2 says: I give all\n" in shown
    assert "\nPlayer 1 offers: give 1 wheat, take 1 gold.\n" in shown
    assert [(event.kind, event.source) for event in match_game.log] == [("message", 0), ("move", 0), ("move", 1)]


def views(game: Negotiation, player: int):
    texts = game.prompt(player), game.recap(player), game.board(player)
    return (
        texts,
        game.knowledge(player),
        game.legal_actions(player),
        [event for event in game.log if event.visible_to(player)],
    )


@given(st.integers(0, 200), st.sampled_from(["words", "terse"]), st.sampled_from([0, 1]), st.integers(0, 10))
def test_nothing_a_player_sees_depends_on_the_others_values(seed, view, player, turns):
    game = Negotiation(seed=seed, view=view)
    other = game.clone()
    values = list(game.values)
    values[1 - player] = tuple(11 - value for value in values[1 - player])
    other.values = tuple(values)
    dice = Dice(seed)
    for _ in range(turns):
        assert views(game, player) == views(other, player)
        if game.is_over():
            break
        (mover,) = game.players_to_move()
        action = game.sample_action(mover, dice)
        game.apply(mover, action)
        other.apply(mover, action)
    assert views(game, player) == views(other, player)
    assert views(game, 1 - player) != views(other, 1 - player)


@given(
    st.integers(0, 10**6), st.integers(2, 4), st.integers(1, 4), st.integers(2, 12), st.integers(2, 14),
    st.sampled_from([0, 12, 280]), st.booleans(), st.sampled_from(["words", "terse"]),
)  # fmt: skip
def test_facts_hold_for_any_options(seed, items, max_count, max_value, max_turns, max_talk, mutual_gain, view):
    game = make("negotiation", seed=seed, items=items, max_count=max_count, max_value=max_value, max_turns=max_turns,
                max_talk=max_talk, mutual_gain=mutual_gain, view=view)  # fmt: skip
    facts, dice = game.facts, Dice(seed)
    while not game.is_over():
        (player,) = game.players_to_move()
        for seat in (0, 1):
            assert len(game.observation(seat)) <= facts.max_observation_chars
        for example in game.legal_actions(player):
            game.clone().apply(player, example)
        game.apply(player, game.sample_action(player, dice))
    assert len(game.history) <= facts.max_turns
    assert all(facts.min_return <= value <= facts.max_return for value in game.returns())
    assert list(game.returns()) == game.result()["gains"]


def test_the_longest_talk_fits_the_declared_bound():
    for view in ("words", "terse"):
        game = make("negotiation", items=4, max_talk=500, max_turns=30, view=view)
        while not game.is_over():
            (player,) = game.players_to_move()
            assert len(game.observation(player)) <= game.facts.max_observation_chars
            message = Message("x" * 500, "offer", game.random_terms(player, Dice(1)))
            game.apply(player, write_message(message, game.form(player)))


def test_five_hundred_random_games_end_in_every_way():
    endings = set()
    for seed in range(500):
        episode = play(make("negotiation", seed=seed, max_turns=8), [RandomSeat(), RandomSeat(1)], record=False)
        assert episode.count("ok") == len(episode.turns) <= 8
        endings.add(episode.result["ending"])
    assert endings == {"agreement", "walk away", "turn limit"}


def test_knowledge_is_written_from_the_players_own_side():
    game = say(swap(), "hello\noffer: give 1 wheat, take 2 gold")
    mine, theirs = game.knowledge(0), game.knowledge(1)
    assert mine["standing"] == {"mine": True, "terms": [-1, 0, 2]}
    assert theirs["standing"] == {"mine": False, "terms": [1, 0, -2]}
    assert theirs["history"] == [{"player": 0, "mine": False, "talk": "hello", "act": "offer", "terms": [1, 0, -2]}]
    assert (theirs["holdings"], theirs["other_holdings"], theirs["values"]) == ([0, 1, 3], [3, 1, 0], [5, 2, 1])
    assert "Player 1's offer stands: you give 2 gold, take 1 wheat." in game.board(1)
    assert make("negotiation", view="terse").board(0).endswith("1/12 -")


def test_a_terse_view_marks_whose_offer_stands():
    game = swap()
    game.options = type(game.options)(view="terse")
    say(game, "offer: give 1 wheat, take 2 gold")
    assert game.observation(1) == "0,1,3 3,1,0 5,2,1 2/12 <1,0,-2"
    assert game.board(0) == "3,1,0 0,1,3 1,2,5 2/12 >-1,0,2"


def test_a_clone_goes_its_own_way():
    game = say(swap(), "offer: give 1 wheat, take 1 gold")
    twin = game.clone()
    assert twin.state_hash() == game.state_hash()
    say(twin, "accept")
    assert not game.is_over()
    assert twin.state_hash() != game.state_hash()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"items": 1}, "2 to 6 item types"),
        ({"max_count": 0}, "max_count is 0"),
        ({"max_value": 1}, "max_value is 1"),
        ({"max_turns": 1}, "max_turns is 1"),
        ({"max_talk": -1}, "max_talk is -1"),
        ({"items": 6, "max_count": 10}, "lower items or max_count"),
    ],
)
def test_options_that_make_no_game_are_refused(options, told):
    with pytest.raises(OptionError, match=told):
        make("negotiation", **options)


def test_a_match_gives_a_scripted_seat_what_its_player_knows():
    class Asking(Scripted):
        async def act(self, view):
            self.known = view.knowledge()
            return await super().act(view)

    seats = [Asking("walk away"), Asking()]
    game = swap()
    import asyncio

    asyncio.run(Match(game, seats).play())
    assert seats[0].known["values"] == [1, 2, 5]
