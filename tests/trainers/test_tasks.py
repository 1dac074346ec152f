"""Tasks are pure functions of (seed, iteration, episode), and shares add up."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.agents.engines.base import BASE
from palaestra.trainers.config import ConfigError
from palaestra.trainers.settle import settle
from palaestra.trainers.tasks import SeatPlan, evaluation_tasks, games_of, split, training_tasks
from tests.trainers.run_kit import data, small


def several(weights, games, **changes):
    game = data()["games"][0]
    return small(games=[{**game, "weight": weight} for weight in weights], games_per_iteration=games, **changes)


@given(st.lists(st.floats(0.01, 100), min_size=1, max_size=5), st.integers(1, 60), st.integers(0, 9))
def test_games_get_their_share_to_within_one(weights, games, iteration):
    config = several(weights, games)
    counts = Counter(games_of(config, iteration))
    assert sum(counts.values()) == games
    for index, weight in enumerate(weights):
        assert abs(counts[index] - games * weight / sum(weights)) < 1


def test_a_game_with_a_small_share_is_played_in_some_iterations():
    config = several([0.5, 0.5], 1)
    assert {games_of(config, iteration)[0] for iteration in range(4)} == {0, 1}


def test_tasks_depend_on_nothing_but_seed_iteration_and_number():
    config = several([1, 2], 9)
    versions = {"small": "small@3"}
    assert training_tasks(config, 3, versions, None) == training_tasks(config, 3, versions, None)
    seeds = {
        (seed, iteration, task.index): (task.seed, task.match_seed)
        for seed in (0, 1)
        for iteration in (0, 1)
        for task in training_tasks(several([1, 2], 9, seed=seed), iteration, versions, None)
    }
    assert len(set(seeds.values())) == len(seeds)


def test_a_group_shares_its_start_but_not_its_dice():
    game = {**data()["games"][0], "group_size": 4}
    tasks = training_tasks(small(games=[game], games_per_iteration=8), 0, {"small": "small@0"}, None)
    assert [len({task.seed for task in tasks[start : start + 4]}) for start in (0, 4)] == [1, 1]
    assert len({task.seed for task in tasks}) == 2
    assert len({task.match_seed for task in tasks}) == 8


@pytest.mark.parametrize(("opponent", "seat"), [("base", SeatPlan(policy=BASE)), ("random", SeatPlan(seat="random"))])
def test_against_others_one_seat_is_trained_and_both_seats_get_their_turn(opponent, seat):
    game = {**data()["games"][0], "opponents": {opponent: 1.0}}
    tasks = training_tasks(small(games=[game], games_per_iteration=32), 0, {"small": "small@0"}, None)
    own = SeatPlan(policy="small@0", trained=True)
    assert all(sorted(task.seats, key=str) == sorted((own, seat), key=str) for task in tasks)
    assert {task.seats.index(own) for task in tasks} == {0, 1}


def test_opponents_are_drawn_by_weight():
    game = {**data()["games"][0], "opponents": {"self": 3, "random": 1, "base": 0}}
    tasks = training_tasks(small(games=[game], games_per_iteration=400), 0, {"small": "small@0"}, None)
    against_random = sum(any(plan.seat == "random" for plan in task.seats) for task in tasks)
    assert 70 < against_random < 130  # 100 expected, standard deviation 8.7
    assert not any(plan.policy == BASE for task in tasks for plan in task.seats)


def test_evaluation_flips_seats_over_the_same_start_and_does_not_depend_on_the_policy():
    section = small().games[0]

    def tasks(policy):
        return evaluation_tasks(section, game_index=0, pairs=3, seed=5, policy=policy, opponent="random")

    before, after = tasks("small@0"), tasks("small@9")
    assert len(before) == 6
    for first, second in zip(before[::2], before[1::2], strict=True):
        assert (first.seed, first.match_seed, first.group) == (second.seed, second.match_seed, second.group)
        assert [first.meta["own_seat"], second.meta["own_seat"]] == [0, 1]
    assert [(task.seed, task.match_seed) for task in before] == [(task.seed, task.match_seed) for task in after]


@given(st.integers(0, 40), st.integers(1, 7))
def test_splitting_places_every_task_once(count, parts):
    tasks = list(range(count))
    dealt = split(tasks, parts)
    assert sorted(task for part in dealt for task in part) == tasks
    assert max(map(len, dealt)) - min(map(len, dealt)) <= 1


def judged(**changes):
    contest = {"game": "contest", "fixed_seats": {3: "base", 4: "random"}, "reply": {"max_tokens": 6}}
    return {**data()["games"][0], **contest, "options": {"max_answer": 40}, **changes}


def test_fixed_seats_are_never_trained_nor_measured():
    for opponents in ({"self": 1.0}, {"random": 1.0}):
        config = small(games=[judged(opponents=opponents)], games_per_iteration=12)
        for task in training_tasks(config, 0, {"small": "small@0"}, None):
            assert task.seats[2:] == (SeatPlan(policy=BASE), SeatPlan(seat="random"))
            own = SeatPlan(policy="small@0", trained=True)
            other = own if "self" in opponents else SeatPlan(seat="random")
            assert sorted(task.seats[:2], key=str) == sorted((own, other), key=str)
    tasks = evaluation_tasks(config.games[0], game_index=0, pairs=3, seed=0, policy="small@1", opponent="random")
    assert [task.meta["own_seat"] for task in tasks] == [0, 1] * 3
    assert {task.seats[2] for task in tasks} == {SeatPlan(policy=BASE)}
    assert [task.index for task in tasks] == list(range(6))


@pytest.mark.parametrize(
    ("seats", "told"),
    [
        ({5: "base"}, "contest has seats 1 to 4, not 5"),
        ({1: "base", 2: "base", 3: "base", 4: "base"}, "no seat is left to train"),
        ({3: "judgy"}, "fixed_seats: unknown seat 'judgy'"),
    ],
)
def test_fixed_seats_that_cannot_be_are_refused(seats, told):
    with pytest.raises(ConfigError, match=told):
        settle(small(games=[judged(fixed_seats=seats)]))
