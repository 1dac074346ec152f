"""Counts add up, and intervals are the textbook's."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from palaestra.agents.language_model import ReplySettings
from palaestra.envs import MatchRules, RandomSeat, Scripted, make, play
from palaestra.envs.match import OnFailure
from palaestra.trainers.summary import (
    Score,
    clustered_rate,
    exact_rate,
    mean_interval,
    paired_difference,
    score,
    summarize,
    wilson,
)
from palaestra.trainers.tasks import MatchTask, Played, SeatPlan
from tests.trainers.rows_kit import make_row

LAW = MatchRules(max_turns=8, unparsable=OnFailure(1), illegal=OnFailure(0))
GAMES = {
    "finished": (("1", "2", "3"), ("4", "5")),
    "forfeit": (("1", "what?", "why?"), ("2",)),
    "illegal": (("1",), ("1",)),
    "unfinished": (("1", "3", "8", "6"), ("2", "5", "4", "7")),
}
RULES = {"unfinished": MatchRules(max_turns=6)}


def played(kind: str, *, own: int = 0, group: str = "g", index: int = 0, trained=(True, True)) -> Played:
    episode = play(make("tic_tac_toe"), [Scripted(*replies) for replies in GAMES[kind]], RULES.get(kind, LAW))
    seats = tuple(SeatPlan(policy="p@0", trained=one) for one in trained)
    task = MatchTask(
        index, 0, "tic_tac_toe", {}, 0, 0, MatchRules(), ReplySettings(), seats, group, meta={"own_seat": own}
    )
    return Played(task, episode, 0.0, False)


def test_games_of_every_ending_add_up():
    games = [played(kind) for kind in ("finished", "forfeit", "illegal", "unfinished", "finished")]
    found = summarize(games, [make_row()], {}, iteration=3, seconds_sampling=1, seconds_learning=2)
    assert (found.games, found.finished, found.forfeited, found.unfinished) == (5, 2, 2, 1)
    assert found.forfeit_rate == pytest.approx(0.4)
    assert found.turns == sum(len(one.episode.turns) for one in games)
    assert found.legal_rate + found.illegal_rate + found.unparsable_rate + found.truncated_rate == pytest.approx(1)


def test_rewards_are_means_by_role_over_games_that_have_a_return():
    games = [played("finished"), played("forfeit"), played("unfinished")]
    found = summarize(games, [], {}, iteration=0, seconds_sampling=0, seconds_learning=0)
    roles = games[0].episode.roles
    assert found.reward_by_role == {f"tic_tac_toe/{roles[0]}": 0.0, f"tic_tac_toe/{roles[1]}": 0.0}


def test_only_trained_seats_are_counted():
    one = played("illegal", trained=(True, False))
    found = summarize([one], [], {}, iteration=0, seconds_sampling=0, seconds_learning=0)
    assert found.illegal_rate == 0
    assert len(found.reward_by_role) == 1


def test_an_iteration_without_games_has_numbers_too():
    found = summarize([], [], {"loss/pg": 1}, iteration=0, seconds_sampling=0, seconds_learning=0)
    assert found.games == 0
    assert found.flat()["learner/loss/pg"] == 1.0
    assert all(math.isfinite(value) for value in found.flat().values())


def test_a_score_tells_play_from_forfeit_and_whose_it_was():
    games = [
        played("finished", own=0, group="a"),
        played("finished", own=1, group="a", index=1),
        played("forfeit", own=0, group="b", index=2),
        played("forfeit", own=1, group="b", index=3),
        played("unfinished", own=0, group="c", index=4),
    ]
    found = score(games, "random")
    assert (found.games, found.wins, found.draws, found.losses) == (5, 2, 0, 2)
    assert (found.by_play, found.by_forfeit, found.by_opponents_forfeit, found.unfinished) == (2, 1, 1, 1)
    assert found.by_play + found.by_forfeit + found.by_opponents_forfeit + found.unfinished == found.games
    assert found.result.mean == 0
    assert found.result.n == 2  # pairs, not games: the two games of a pair share their seed
    assert Score.from_json(found.to_json()) == found


def test_who_plays_alone_wins_and_loses_nothing():
    episode = play(make("terminal_surprise", seed=1, score="log"), [RandomSeat(0)])
    task = MatchTask(
        0,
        0,
        episode.game,
        {},
        0,
        0,
        MatchRules(),
        ReplySettings(),
        (SeatPlan(policy="p@0"),),
        "g",
        meta={"own_seat": 0},
    )
    found = score([Played(task, dataclasses.replace(episode, returns=(-1.2,)), 0.0, False)] * 2, "random")
    assert found.result.mean == -1.2
    assert (found.wins, found.draws, found.losses, found.tally) == (0, 0, 0, "–")


@given(st.integers(0, 400), st.integers(1, 400))
def test_wilsons_interval_is_scipys(successes, more):
    trials = successes + more
    found = wilson(successes, trials)
    expected = stats.binomtest(successes, trials).proportion_ci(0.95, method="wilson")
    assert found.low == pytest.approx(expected.low, abs=1e-9)
    assert found.high == pytest.approx(expected.high, abs=1e-9)
    assert found.mean == successes / trials


def test_a_rate_over_games_covers_the_truth_as_often_as_it_says():
    """Replies of a game are alike: Wilson's interval over replies covers a beta-binomial's mean far too seldom."""
    chance = np.random.default_rng(1)
    covered = {"clustered": 0, "replies": 0}
    for _ in range(400):
        games = [(int(chance.binomial(8, rate)), 8) for rate in chance.beta(2, 0.5, 64)]
        replies = wilson(sum(won for won, _ in games), 8 * 64)
        for name, found in (("clustered", clustered_rate(games)), ("replies", replies)):
            covered[name] += found.low <= 0.8 <= found.high
    assert 0.92 <= covered["clustered"] / 400 <= 0.98
    assert covered["replies"] / 400 < 0.85


@pytest.mark.parametrize("trials", [1, 5, 20, 60])
def test_an_exact_rate_covers_at_every_rate_and_is_scipys(trials):
    ends = [exact_rate(won, trials) for won in range(trials + 1)]
    for won, one in enumerate(ends):
        expected = stats.binomtest(won, trials).proportion_ci(0.95, method="exact")
        assert (one.low, one.high) == pytest.approx((expected.low, expected.high), abs=1e-9)
    for rate in np.linspace(0, 1, 301):
        inside = [won for won, one in enumerate(ends) if one.low <= rate <= one.high]
        assert stats.binom.pmf(inside, trials, rate).sum() >= 0.95 - 1e-9


@pytest.mark.parametrize("pairs", [10, 30])
def test_a_paired_difference_covers_where_nearly_all_pairs_are_alike(pairs):
    counts = [(gained, lost) for gained in range(pairs + 1) for lost in range(pairs + 1 - gained)]
    found = [paired_difference(*one, pairs) for one in counts]
    low, high = (np.array([getattr(one, end) for one in found]) for end in ("low", "high"))
    outcomes = np.array([(*one, pairs - sum(one)) for one in counts])
    shares = (0, 0.005, 0.02, 0.1, 0.3, 0.6, 0.9, 0.98, 0.995, 1)
    for gained, lost in ((gained, lost) for gained in shares for lost in shares if gained + lost <= 1):
        chance = stats.multinomial.pmf(outcomes, pairs, [gained, lost, round(1 - gained - lost, 9)])
        inside = (low - 1e-9 <= gained - lost) & (gained - lost <= high + 1e-9)
        assert chance[inside].sum() >= 0.945
    same, turned = paired_difference(3, 1, pairs), paired_difference(1, 3, pairs)
    assert (same.mean, same.low, same.high) == pytest.approx((-turned.mean, -turned.high, -turned.low))


def test_a_rate_over_games_is_wilsons_where_games_tell_nothing_more():
    assert clustered_rate([(8, 8)] * 20) == dataclasses.replace(wilson(20, 20), n=160)
    assert clustered_rate([(1, 2)] * 20) == wilson(20, 40)  # more even than chance: not worth more than the replies
    assert clustered_rate([(5, 8)]) == wilson(5, 8)
    assert math.isnan(clustered_rate([]).mean)


def test_a_pair_that_lacks_a_game_does_not_count_the_worth_of_a_seat():
    """The first seat always wins, and games in the second are cut in half of the pairs: the policy is worth 0."""
    games = []
    for pair in range(8):
        games.append(played("finished", own=0, group=str(pair), index=2 * pair))
        end = "unfinished" if pair % 2 else "finished"
        games.append(played(end, own=1, group=str(pair), index=2 * pair + 1))
    found = score(games, "random")
    assert (found.result.mean, found.result.n) == (0, 4)


def test_no_trials_say_nothing():
    assert (wilson(0, 0).low, wilson(0, 0).high) == (0, 1)
    assert math.isnan(wilson(0, 0).mean)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30))
def test_students_interval_is_scipys(values):
    found = mean_interval(values)
    spread = stats.sem(values)
    assert found.n == len(values)
    if spread > 1e-9:
        low, high = stats.t.interval(0.95, len(values) - 1, loc=found.mean, scale=spread)
        assert (found.low, found.high) == (pytest.approx(low, abs=1e-6), pytest.approx(high, abs=1e-6))


def test_one_value_has_no_width():
    assert mean_interval([2.0]).mean == 2.0
    assert math.isnan(mean_interval([2.0]).low)
    assert mean_interval([]).n == 0
