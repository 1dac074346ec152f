"""Liars: the contract, what beliefs are worth, and stalemate told from silence."""

from __future__ import annotations

from statistics import fmean

import pytest

from palaestra.agents import make_seat
from palaestra.envs import Scripted, entry, make, play
from palaestra.envs.conformance import CLAUSES, check_game
from palaestra.envs.errors import ActionError, OptionError, PalaestraError, UnparsableAction
from palaestra.trainers.measures.beliefs import beliefs


@pytest.mark.parametrize("options", [{}, {"numbers": 2, "questions": 0}, {"numbers": 100, "questions": 20}])
def test_the_contract_holds(options: dict) -> None:
    large = options.get("numbers") == 100  # no two of a few hundred openings look alike
    check_game("liars", episodes=5, clauses=set(CLAUSES) - ({"privacy"} if large else set()), **options)


def test_thoughts_are_public_by_default() -> None:
    assert entry("liars").visibility == "public"


def test_what_beliefs_are_worth_by_hand() -> None:
    game = make("liars", seed=1, numbers=4, questions=0)
    game.secrets = (2, 3)
    episode_returns = play(game, [Scripted("3 1"), Scripted("0 0.4")]).returns
    # The first is certain and right: 1. The second puts 0.4 on 0 and 0.2 on each other number, of which 2 is true.
    second = 1 - (0.4**2 + 0.8**2 + 0.2**2 + 0.2**2) / 2
    assert episode_returns == pytest.approx((1 - second, second - 1))


def results(first: str, second: str, episodes: int = 120) -> list[dict]:
    return [
        play(make("liars", seed=seed, questions=3), [make_seat(first), make_seat(second)]).result
        for seed in range(episodes)
    ]


def test_equal_beliefs_are_exactly_a_tie() -> None:
    for seed in range(40):
        game = make("liars", seed=seed, questions=3)
        gap = abs(play(game, [make_seat("decoder"), make_seat("decoder")]).returns[0])
        assert gap == 0 or gap > 1e-6


def test_who_is_read_loses_and_two_decoders_are_a_stalemate() -> None:
    duped = beliefs(results("decoder", "candid"))  # each takes the other's answers for their opposite
    assert not duped.stalemate
    assert all(one.on_truth < one.chance for one in duped.readings)
    mutual = beliefs(results("decoder", "decoder"))
    assert mutual.stalemate
    assert all(one.on_truth > 2 * one.chance for one in mutual.readings)
    silent = beliefs(results("babbler", "babbler"))
    assert not silent.stalemate
    assert silent.payoff.mean == pytest.approx(0)
    assert all(one.on_truth == pytest.approx(1 / 8, abs=0.01) for one in silent.readings)
    unequal = beliefs(results("fibber", "candid"))  # the one lies and believes a candid one
    assert unequal.payoff.low > 0
    assert not unequal.stalemate


def test_babbling_is_an_equilibrium_against_whoever_cannot_read_it() -> None:
    for other in ("candid", "fibber", "decoder"):
        assert fmean(one["worth"][0] - one["worth"][1] for one in results("babbler", other)) >= -0.01


def test_lies_are_counted() -> None:
    assert {tuple(one["lies"]) for one in results("candid", "fibber", 20)} == {(0, 3)}


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("3 0.6", "3 0.6"),
        ("I say 3, with 60%", "3 0.6"),
        ("number 7: 1/2", "7 0.5"),
        ("5, p = 1", "5 1"),
        ("3 1 in 10", "3 0.1"),
        ("They said yes to question 2.\n3 0.6", "3 0.6"),
    ],
)
def test_a_belief_is_read(text: str, action: str) -> None:
    assert make("liars", questions=0).parse(0, text) == action


@pytest.mark.parametrize(
    "text",
    [
        *("not 3 0.6", "I do not think it is 3. 0.6", "2 things: it is 0.6", "Round 2: 0.5", "3", "0.6", ""),
        *("3 or 4 0.6", "3 0.6 or so", "3 not 0.6", "3 0.6\nbut who knows"),
    ],
)
def test_what_says_more_than_a_belief_is_unparsable(text: str) -> None:
    with pytest.raises(UnparsableAction):
        make("liars", questions=0).parse(0, text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("yes", "yes"),
        ("**No.**", "no"),
        ("Hm.\nAnswer: yes", "yes"),
        ("No, it is odd.", "no"),
        ("Yes, I know it is.", "yes"),
    ],
)
def test_a_yes_or_no_is_read(text: str, read: str) -> None:
    assert make("liars").parse(0, text) == read


@pytest.mark.parametrize("text", ["not yes", "yes or no", "I won't say no", "no way to tell", "Yes. Or no.", ""])
def test_what_is_neither_yes_nor_no_is_refused(text: str) -> None:
    with pytest.raises(UnparsableAction):
        make("liars").parse(0, text)


@pytest.mark.parametrize(
    "text",
    ["", "3", "9 0.5", "3 1.5", "3 very sure", "three 0.5", "0.5", "3 or 4, 0.5", "3 in 10", "3 line 1", "3 < 0.5"],
)
def test_what_is_no_belief_is_refused(text: str) -> None:
    game = make("liars", questions=0)
    with pytest.raises(ActionError):
        game.check(0, game.parse(0, text))


def test_bad_options_and_games_are_sentences() -> None:
    with pytest.raises(OptionError, match="numbers is 1"):
        make("liars", numbers=1)
    with pytest.raises(PalaestraError, match="plays liars only"):
        play(make("kuhn_poker"), [make_seat("candid"), make_seat("random")])
    with pytest.raises(ValueError, match="at least 2"):
        beliefs([])
