"""Bargaining over packages: points by hand, log-rolling, discount, breakdown, reading, privacy, and random play."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import RandomSeat, Scripted, make, play
from palaestra.envs.conformance import CLAUSES, check_game
from palaestra.envs.errors import IllegalAction, OptionError, UnparsableAction
from palaestra.envs.games.bargaining import Bargaining
from palaestra.envs.games.messages import Message, read_message
from palaestra.envs.games.packages import Packages, Preferences, all_packages
from palaestra.envs.seeding import Dice

FORM = Packages(("price", "delivery", "warranty"), 5)


def opposed(**options) -> Bargaining:
    """Price matters most to player 1, warranty to player 2, who want opposite ends; both want delivery late."""
    game = Bargaining(**options)
    game.preferences = (
        Preferences((60, 20, 20), (True, True, False), 5),
        Preferences((20, 20, 60), (False, True, True), 5),
    )
    game.fallbacks = (30, 20)
    return game


def say(game: Bargaining, *texts: str) -> Bargaining:
    for text in texts:
        (player,) = game.players_to_move()
        game.apply(player, game.parse(player, text))
    return game


def test_points_rise_evenly_to_the_weight_at_the_better_end() -> None:
    own = Preferences((60, 40), (True, False), 5)
    assert own.points(0) == (0, 15, 30, 45, 60)
    assert own.points(1) == (40, 30, 20, 10, 0)
    assert own.worth((4, 1)) == 90
    assert Preferences((5, 95), (True, True), 4).points(0) == (0, 2, 3, 5)
    packages = all_packages(2, 5)
    assert own.worths(packages).tolist() == [own.worth(tuple(package)) for package in packages]


def test_a_package_pays_what_it_is_worth_above_the_fallback() -> None:
    game = say(opposed(), "offer: price E, delivery E, warranty E", "accept")
    assert game.returns() == (60 + 20 - 30, 20 + 60 - 20)
    result = game.result()
    assert (result["ending"], result["package"], result["turns"]) == ("agreement", [4, 4, 4], 2)
    # halfway: (60 + 20) / 2 for the price, 40 for the delivery both want late, (20 + 60) / 2 for the warranty
    assert (result["joint"], result["max_joint"], result["log_rolling"]) == (110, 110, 1.0)
    halfway = say(opposed(), "offer: price C, delivery E, warranty C", "accept").result()
    assert (halfway["log_rolling"], halfway["joint"]) == (0.0, 70)
    assert not halfway["pareto_optimal"]
    assert say(opposed(), "offer: price C, delivery A, warranty C", "accept").result()["log_rolling"] == -1.0


def test_an_agreement_below_the_fallback_is_a_loss() -> None:
    game = say(opposed(), "offer: price E, delivery A, warranty A", "accept")
    assert game.returns() == (50.0, -20.0)
    assert game.result()["nash_product"] == 0


def test_measures_equal_brute_force() -> None:
    game = say(opposed(), "offer: price D, delivery C, warranty D", "accept")
    points = []
    for package in itertools.product(range(5), repeat=3):
        sides = zip(game.preferences, game.fallbacks, strict=True)
        points.append(tuple(own.worth(package) - low for own, low in sides))
    here = tuple(map(int, game.returns()))
    optimal = [p for p in points if not any(a >= p[0] and b >= p[1] and (a, b) != p for a, b in points)]
    rational = [p for p in points if min(p) >= 0]
    product = max(a * b for a, b in rational)
    most = max(a + b for a, b in rational)
    result = game.result()
    assert result["pareto_distance"] == pytest.approx(min(math.dist(here, p) for p in optimal) / most)
    nash = [p for p in rational if p[0] * p[1] == product]
    assert result["nash_distance"] == pytest.approx(min(math.dist(here, p) for p in nash) / most)
    assert result["surplus_share"] == pytest.approx([here[0] / most, here[1] / most])
    assert result["max_nash_product"] == product


def test_every_turn_before_the_agreement_costs_a_part() -> None:
    game = say(opposed(discount=0.5), "hello", "offer: price E, delivery E, warranty E", "accept")
    assert game.returns() == (50 * 0.25, 60 * 0.25)
    assert game.result()["efficiency"] == 0.25
    assert "Every turn before the agreement leaves 0.5 of your gain." in game.prompt(0)


def test_talks_break_down_as_often_as_declared() -> None:
    ended = 0
    for seed in range(400):
        game = Bargaining(seed=seed, breakdown=0.25, max_turns=2)
        say(game, "hello")
        ended += game.ending == "breakdown"
    assert abs(ended / 400 - 0.25) < 3.5 * math.sqrt(0.25 * 0.75 / 400)
    broken = next(g for g in (say(Bargaining(seed=s, breakdown=0.9), "hello") for s in range(9)) if g.is_over())
    assert broken.returns() == (0.0, 0.0)
    assert [event.content for event in broken.log if event.kind == "admin"] == ["The talks break down."]


def test_a_forfeit_is_worse_than_walking_away() -> None:
    episode = play(make("bargaining"), [Scripted("", "", ""), Scripted()])
    assert (episode.outcome, episode.returns) == ("forfeit", (-10.0, 0.0))


@pytest.mark.parametrize("seed", range(30))
def test_points_have_what_the_options_promise(seed: int) -> None:
    game = make("bargaining", seed=seed, issues=2 + seed % 4, levels=2 + seed % 5, log_rolling=15 + seed)
    assert game._potential() >= 15 + seed
    for own in game.preferences:
        assert sum(own.weights) == 100
        assert all(weight >= 5 and weight % 5 == 0 for weight in own.weights)
    worths = [own.worths(all_packages(len(game.issues), game.options.levels)) for own in game.preferences]
    assert ((worths[0] > game.fallbacks[0]) & (worths[1] > game.fallbacks[1])).any()


def test_weights_are_uniform_over_all_that_sum_to_the_whole() -> None:
    game = make("bargaining", issues=2, log_rolling=0)
    counts = np.bincount([game._draw([True, True], game.dice).weights[0] // 5 for _ in range(3800)], minlength=20)[1:]
    assert len(counts) == 19
    assert ((counts - 200.0) ** 2 / 200).sum() < 45  # chi-squared with 18 degrees of freedom: p = 0.0004


@pytest.mark.parametrize(
    ("text", "talk", "terms"),
    [
        ("offer: price A, delivery C, warranty B", "", (0, 2, 1)),
        ("Offer: warranty b, price a and delivery: c.", "", (0, 2, 1)),
        ("I propose price A, delivery C, warranty B", "", (0, 2, 1)),
        ("I offer to price at A, delivery at level C; warranty = B", "", (0, 2, 1)),
        ("I need a low price.\nMy counter-offer: price A, delivery C, warranty B", "I need a low price.", (0, 2, 1)),
        ("price A, delivery C, warranty B", "price A, delivery C, warranty B", None),
        ("I like price A", "I like price A", None),
    ],
)
def test_packages_are_read_where_an_offer_is_meant(text: str, talk: str, terms: tuple | None) -> None:
    assert read_message(text, FORM) == Message(talk, terms and "offer", terms)


@pytest.mark.parametrize(
    ("text", "told", "error"),
    [
        ("offer: price A, delivery C", "says nothing of warranty", IllegalAction),
        ("offer: price A, delivery C, colour B", "no issue 'colour'; the issues are price, delivery", IllegalAction),
        ("offer: price F, delivery C, warranty B", "price has no level 'F'; the levels are A, B", IllegalAction),
        ("offer: price A, delivery C, warranty B, price B", "names price twice", IllegalAction),
        ("offer: all for me", "not a complete offer", UnparsableAction),
        ("accept", "no offer by the other player", IllegalAction),
        ("", "empty; talk, or write 'offer: price A", UnparsableAction),
    ],
)
def test_what_is_refused_and_what_the_player_is_told(text: str, told: str, error: type[Exception]) -> None:
    game = make("bargaining")
    before = game.state_hash()
    with pytest.raises(error, match=told):
        say(game, text)
    assert game.state_hash() == before


@pytest.mark.parametrize(
    "options",
    [
        {"issues": 1}, {"issues": 7}, {"levels": 10}, {"discount": 0.0}, {"discount": 1.1}, {"breakdown": 1.0},
        {"alike": 1.5}, {"log_rolling": 61}, {"issues": 6, "levels": 9}, {"max_fallback": -1},
    ],
)  # fmt: skip
def test_impossible_options_are_refused(options: dict) -> None:
    with pytest.raises(OptionError):
        make("bargaining", **options)


def test_points_that_cannot_be_drawn_are_an_error_of_the_options() -> None:
    with pytest.raises(OptionError, match="no points were found"):
        make("bargaining", issues=2, levels=2, log_rolling=60, alike=1.0)


def views(game: Bargaining, player: int) -> list:
    news = [event for event in game.log if event.visible_to(player)]
    return [game.observation(player), game.knowledge(player), game.legal_actions(player), news]


@given(st.integers(0, 200), st.sampled_from(["words", "terse"]), st.sampled_from([0, 1]), st.integers(0, 10))
def test_nothing_a_player_sees_depends_on_the_others_secrets(seed: int, view: str, player: int, turns: int) -> None:
    game = Bargaining(seed=seed, view=view, max_turns=10)
    other = game.clone()
    preferences, fallbacks = list(game.preferences), list(game.fallbacks)
    old = preferences[1 - player]
    preferences[1 - player] = Preferences(old.weights[::-1], tuple(not up for up in old.rising), old.levels)
    fallbacks[1 - player] += 1
    other.preferences, other.fallbacks = tuple(preferences), tuple(fallbacks)
    dice = Dice(seed)
    for _ in range(turns):
        if game.is_over():
            break
        (mover,) = game.players_to_move()
        action = game.sample_action(mover, dice)
        game.apply(mover, action)
        other.apply(mover, action)
    assert views(game, player) == views(other, player)
    assert views(game, 1 - player) != views(other, 1 - player)


def test_a_terse_view_is_one_line() -> None:
    game = opposed(view="terse")
    assert game.observation(0) == "60,20,-20 30 1/12 -"
    say(game, "offer: price E, delivery E, warranty A")
    assert game.board(1) == "-20,20,60 20 2/12 <EEA"
    assert game.board(0) == "60,20,-20 30 2/12 >EEA"


def test_lies_about_points_and_fallback_are_counted() -> None:
    talk = "My points are price 60, delivery 50. My fallback is 45. Price matters most to me."
    result = say(opposed(), talk, "walk away").result()
    assert result["deception"] == [
        {"claims": 4, "false": 2, "mean_error": (30 + 15) / 3, "mean_absolute_error": 15.0},
        None,
    ]


@pytest.mark.parametrize(
    "options", [{}, {"breakdown": 0.1, "discount": 0.9, "view": "terse"}, {"issues": 5, "levels": 4, "max_talk": 0}]
)
def test_the_contract_holds(options: dict) -> None:
    clauses = set(CLAUSES) - {"privacy"}  # knowing the same in two states is rare here; smaller games are compared
    assert check_game("bargaining", episodes=3, interleaved=5, clauses=clauses, **options).finished == 3


@given(
    st.integers(0, 10**6), st.integers(2, 4), st.integers(2, 5), st.integers(2, 14), st.sampled_from([0, 12, 280]),
    st.sampled_from(["words", "terse"]), st.sampled_from([1.0, 0.9]),
)  # fmt: skip
def test_facts_hold_for_any_options(seed, issues, levels, max_turns, max_talk, view, discount) -> None:
    game = make("bargaining", seed=seed, issues=issues, levels=levels, max_turns=max_turns, max_talk=max_talk,
                view=view, discount=discount)  # fmt: skip
    dice = Dice(seed)
    while not game.is_over():
        (player,) = game.players_to_move()
        for seat in (0, 1):
            assert len(game.observation(seat)) <= game.facts.max_observation_chars
        for example in game.legal_actions(player):
            game.clone().apply(player, example)
        game.apply(player, game.sample_action(player, dice))
    assert all(game.facts.min_return <= value <= game.facts.max_return for value in game.returns())


def test_random_games_end_in_every_way() -> None:
    endings = set()
    for seed in range(120):
        game = make("bargaining", seed=seed, max_turns=6, breakdown=0.1)
        endings.add(play(game, [RandomSeat(), RandomSeat(1)], record=False).result["ending"])
    assert endings == {"agreement", "walk away", "turn limit", "breakdown"}
