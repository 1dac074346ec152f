"""Credit rules: what every rule keeps, the two rules' own algebra, and how a rule is found."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import plugins
from palaestra.envs.errors import OptionError, UnknownName
from palaestra.trainers.credit import CreditError, base, credit_names, make_credit, register_credit
from palaestra.trainers.rows import ILLEGAL, OK, TRUNCATED, UNPARSABLE
from palaestra.trainers.schedules import schedule
from tests.trainers.rows_kit import batches, make_row

RULES = [
    ("role_baseline", {}, 2),
    ("role_baseline", {"scale_by_spread": True, "length_neutral": True, "failure_penalty": None}, 2),
    ("group_relative", {}, 1),
    ("shuffled", {}, 2),
    ("shuffled", {"rule": "group_relative"}, 1),
    ("group_relative", {"baseline": "mean", "scale_by_spread": True, "failure_penalty": 0.5}, 1),
]
returns = st.lists(st.floats(-10, 10, allow_nan=False, width=32), min_size=2, max_size=8)


def episodes(values, **facts):
    """One row an episode, tokens sampled or not by seed; the last is always sampled."""
    name = "".join(facts.values())
    rows = [make_row(6, seed=i, episode_id=f"{name}{i}", return_=float(v), **facts) for i, v in enumerate(values)]
    for row in rows:
        row.sampled[-1] = True
    return rows


def advantages(rows):
    return [float(row.stream("pg").weight[-1]) for row in rows]


def test_every_registered_rule_is_examined_here():
    # thoughts pays by the scores of tokens, which no other row has: tests/trainers/test_document_runs.py examines it
    own = [
        name for name in credit_names() if name != "thoughts" and base._rules[name].__module__.startswith("palaestra.")
    ]
    assert sorted({name for name, *_ in RULES}) == own


@pytest.mark.parametrize(("name", "options", "seats"), RULES)
@given(data=st.data())
def test_weights_fall_only_on_tokens_that_the_policy_chose(name, options, seats, data):
    rows = data.draw(batches(seats=seats))
    filled = make_credit(name, **options).assign(rows, kl=0.25)
    assert [id(row.tokens) for row in filled] == [id(row.tokens) for row in rows]
    for row in filled:
        row.check()
        pg, kl = row.stream("pg"), row.stream("kl")
        assert not pg.weight[~row.sampled].any()
        assert not pg.member[row.status == TRUNCATED].any()
        assert row.return_ is not None or not pg.member.any()
        assert kl.member[1:].tolist() == row.sampled[1:].tolist()
        assert set(kl.weight[kl.member]) <= {np.float32(0.25)}


@pytest.mark.parametrize(("name", "options", "seats"), RULES)
@given(data=st.data())
def test_order_of_rows_changes_neither_weights_nor_state(name, options, seats, data):
    rows = data.draw(batches(seats=seats))
    order = data.draw(st.permutations(range(len(rows))))
    one, other = make_credit(name, **options), make_credit(name, **options)
    for _ in range(2):  # the second batch meets baselines that the first has left
        filled = one.assign(rows)
        shuffled = other.assign([rows[i] for i in order])
        for place, i in enumerate(order):
            assert shuffled[place].stream("pg").weight.tobytes() == filled[i].stream("pg").weight.tobytes()
    assert one.state_dict() == other.state_dict()


@pytest.mark.parametrize(("name", "options", "seats"), RULES)
@given(data=st.data())
def test_a_resumed_rule_goes_on_as_if_it_had_never_stopped(name, options, seats, data):
    before, after = data.draw(batches(seats=seats)), data.draw(batches(seats=seats))
    straight, resumed = make_credit(name, **options), make_credit(name, **options)
    straight.assign(before)
    resumed.load_state_dict(json.loads(json.dumps(straight.state_dict())))
    for one, other in zip(straight.assign(after), resumed.assign(after), strict=True):
        assert one.stream("pg").weight.tobytes() == other.stream("pg").weight.tobytes()
    assert straight.state_dict() == resumed.state_dict()


@pytest.mark.parametrize("name", ["role_baseline", "group_relative"])
def test_state_of_another_rule_is_refused(name):
    with pytest.raises(CreditError, match="of rule 'other'"):
        make_credit(name).load_state_dict({"rule": "other"})


def test_rows_of_one_seats_episode_that_disagree_are_refused():
    with pytest.raises(CreditError, match="its own id"):
        make_credit("role_baseline").assign([make_row(return_=1.0), make_row(segment=1, return_=2.0)])


# role_baseline


def test_the_baseline_is_read_before_it_is_updated():
    rule = make_credit("role_baseline", decay=0.5)
    rule.assign(episodes([1.0, 3.0]))  # average 2
    # Against 2: 6 - 2 = 4 and 2 - 2 = 0. Then two updates with mean 4: 0.25 * 2 + 0.75 * 4 = 3.5.
    assert advantages(rule.assign(episodes([6.0, 2.0]))) == [4.0, 0.0]
    assert rule.baselines["kuhn_poker", "first"].mean == 3.5


def test_a_first_batch_is_compared_with_its_other_episodes():
    # 1 - (2 + 6) / 2 = -3;  2 - (1 + 6) / 2 = -1.5;  6 - (1 + 2) / 2 = 4.5
    assert advantages(make_credit("role_baseline").assign(episodes([1.0, 2.0, 6.0]))) == [-3.0, -1.5, 4.5]
    (alone,) = make_credit("role_baseline").assign(episodes([5.0]))
    assert not alone.stream("pg").member.any()


def test_roles_and_games_have_baselines_of_their_own():
    rule = make_credit("role_baseline", decay=0.5)
    rule.assign(episodes([1.0, 1.0]) + episodes([-1.0, -1.0], role="second") + episodes([9.0, 9.0], game="chess"))
    assert advantages(rule.assign(episodes([1.0, 1.0], role="second"))) == [2.0, 2.0]
    assert advantages(rule.assign(episodes([9.0, 9.0], game="chess"))) == [0.0, 0.0]


@given(st.lists(st.tuples(st.floats(-5, 5, width=32), st.integers(1, 4)), min_size=1, max_size=6))
def test_one_batch_of_equal_returns_counts_like_single_updates(parts):
    """The closed form decay^n against n updates of the moving average, one by one."""
    rule = make_credit("role_baseline", decay=0.9)
    expected = None
    for value, count in parts:
        rule.assign(episodes([value] * count))
        for _ in range(count):
            expected = value if expected is None else 0.9 * expected + 0.1 * value
    assert rule.baselines["kuhn_poker", "first"].mean == pytest.approx(expected, abs=1e-9)


def test_the_baseline_forgets_where_it_started():
    random = np.random.default_rng(0)
    one, other = make_credit("role_baseline"), make_credit("role_baseline")
    one.assign(episodes([10.0, 10.0]))
    other.assign(episodes([-10.0, -10.0]))
    for _ in range(25):
        values = random.normal(size=16)
        one.assign(episodes(values))
        other.assign(episodes(values))
    # 20 * 0.95^400 is about 2e-8
    assert one.baselines["kuhn_poker", "first"].mean == pytest.approx(
        other.baselines["kuhn_poker", "first"].mean, abs=1e-6
    )


@given(returns, st.floats(0.125, 8, width=32))
def test_scaling_by_the_spread_makes_units_of_a_game_irrelevant(values, unit):
    def second_batch(factor):
        rule = make_credit("role_baseline", scale_by_spread=True, failure_penalty=None)
        rule.assign(episodes([-1.0 * factor, 2.0 * factor]))
        return advantages(rule.assign(episodes([v * factor for v in values])))

    assert second_batch(unit) == pytest.approx(second_batch(1.0), rel=1e-5, abs=1e-5)


def test_equal_returns_have_spread_one_and_so_no_division_by_zero():
    rule = make_credit("role_baseline", scale_by_spread=True)
    rule.assign(episodes([3.0, 3.0]))
    assert advantages(rule.assign(episodes([4.0, 3.0]))) == [1.0, 0.0]


def test_a_failed_reply_is_never_reinforced_by_a_game_won_in_spite_of_it():
    row = make_row(9, statuses=(ILLEGAL, UNPARSABLE, OK))
    row.sampled[:] = True
    row.status[:] = [ILLEGAL] * 3 + [UNPARSABLE] * 3 + [OK] * 3
    other = make_row(9, episode_id="other", return_=0.0)
    (won, _) = make_credit("role_baseline", failure_penalty=0.5).assign([row, other])
    assert won.stream("pg").weight.tolist() == [0.0] + [-0.5] * 5 + [1.0] * 3
    (plain, _) = make_credit("role_baseline", failure_penalty=None).assign([row, other])
    assert plain.stream("pg").weight.tolist() == [0.0] + [1.0] * 8


def test_a_forfeit_costs_more_than_the_penalty_if_the_game_says_so():
    row = make_row(3, return_=-2.0)
    row.sampled[:], row.status[:] = True, ILLEGAL
    (lost, _) = make_credit("role_baseline", failure_penalty=0.5).assign(
        [row, make_row(3, episode_id="other", return_=2.0)]
    )
    assert lost.stream("pg").weight.tolist() == [0.0, -4.0, -4.0]


@given(st.integers(2, 10), st.integers(2, 10))
def test_length_neutral_gives_every_episode_the_same_total_weight(short, long):
    rule = make_credit("role_baseline", length_neutral=True)
    rows = [make_row(n + 1, episode_id=str(n), return_=v) for n, v in ((short, 1.0), (long + 10, 0.0))]
    for row in rows:
        row.sampled[:] = True
        row.sampled[0] = False
    totals = [float(row.stream("pg").weight.sum()) for row in rule.assign(rows)]
    assert totals[0] == pytest.approx(-totals[1], rel=1e-5)
    assert totals[0] == pytest.approx((short + long + 10) / 2, rel=1e-5)


# group_relative


@pytest.mark.parametrize("baseline", ["leave_one_out", "mean"])
@given(values=returns)
def test_weights_of_a_group_sum_to_zero_over_episodes(baseline, values):
    weights = advantages(make_credit("group_relative", baseline=baseline).assign(episodes(values)))
    assert math.fsum(weights) == pytest.approx(0.0, abs=1e-4)
    assert len(set(values)) == 1 or any(weights)


@given(returns)
def test_leave_one_out_is_the_return_minus_the_mean_of_the_others(values):
    weights = advantages(make_credit("group_relative").assign(episodes(values)))
    for i, value in enumerate(values):
        others = values[:i] + values[i + 1 :]
        assert weights[i] == pytest.approx(value - sum(others) / len(others), abs=1e-4)


def test_groups_are_not_compared_with_each_other_and_a_group_of_one_trains_nothing():
    rows = [
        make_row(6, seed=1, episode_id="a", group="easy", return_=1.0),
        make_row(6, seed=1, episode_id="b", group="easy", return_=0.0),
        make_row(6, seed=1, episode_id="c", group="hard", return_=0.0),
    ]
    up, down, alone = make_credit("group_relative").assign(rows, kl=0.1)
    assert max(up.stream("pg").weight) == 1.0
    assert min(down.stream("pg").weight) == -1.0
    assert not alone.stream("pg").member.any()
    assert alone.stream("kl").member.any()  # it still stays near the reference


def test_games_between_players_are_sent_to_role_baseline():
    rows = [make_row(player=0), make_row(player=1, return_=-1.0)]
    with pytest.raises(CreditError, match="use role_baseline"):
        make_credit("group_relative").assign(rows)


# the register, options and schedules


def test_a_rule_is_added_by_one_class(monkeypatch):
    monkeypatch.setattr(base._rules, "_found", dict(base._rules._found))

    @register_credit("nothing")
    class Nothing:
        def assign(self, rows, *, kl=0.0):
            return list(rows)

    assert isinstance(make_credit("nothing"), Nothing)
    with pytest.raises(ValueError, match="'nothing' is registered already"):
        register_credit("nothing")(type("Other", (), {}))


def test_a_rule_of_another_package_is_found_by_its_entry_point(monkeypatch):
    class Point:
        name = "theirs"
        load = staticmethod(lambda: lambda **options: options)

    monkeypatch.setattr(base._rules, "_found", dict(base._rules._found))
    monkeypatch.setattr(plugins, "entry_points", lambda group, name="": [Point] * (group == "palaestra.credit"))
    assert "theirs" in credit_names()
    assert make_credit("theirs", decay=0.5) == {"decay": 0.5}


def test_wrong_names_and_options_say_what_to_write_instead():
    with pytest.raises(UnknownName, match="Did you mean 'role_baseline'"):
        make_credit("role_baselin")
    with pytest.raises(OptionError, match="unexpected keyword argument 'decai'"):
        make_credit("role_baseline", decai=0.9)
    with pytest.raises(OptionError, match=r"decay must lie in \[0, 1\)"):
        make_credit("role_baseline", decay=1.0)
    with pytest.raises(OptionError, match="must not be negative"):
        make_credit("role_baseline", failure_penalty=-1.0)
    with pytest.raises(OptionError, match="'leave_one_out' or 'mean'"):
        make_credit("group_relative", baseline="median")


SPECS = [
    {"kind": "linear", "start": 3.0, "end": 1.0},
    {"kind": "cosine", "start": 3.0, "end": 1.0},
    {"kind": "piecewise", "points": [[0.0, 3.0], [0.5, 3.0], [1.0, 1.0]]},
]


@pytest.mark.parametrize("spec", SPECS)
@given(at=st.floats(-1, 2), later=st.floats(-1, 2))
def test_a_falling_schedule_falls_from_start_to_end_and_is_level_outside(spec, at, later):
    value = schedule(spec)
    assert (value(0.0), value(-5.0)) == (3.0, 3.0)
    assert value(1.0) == value(5.0) == pytest.approx(1.0)
    low, high = sorted((at, later))
    assert value(high) <= value(low) + 1e-12


def test_schedules_at_points_worked_by_hand():
    assert schedule(0.3)(0.7) == 0.3
    assert schedule(SPECS[0])(0.25) == 2.5
    # 1 + 2 * (1 + cos(pi / 4)) / 2 = 2 + sqrt(1/2)
    assert schedule(SPECS[1])(0.25) == pytest.approx(2 + math.sqrt(0.5))
    assert schedule(SPECS[2])(0.75) == 2.0
    known = schedule(SPECS[0])
    assert schedule(known) is known


@pytest.mark.parametrize(
    ("spec", "error", "told"),
    [
        ({"kind": "linaer", "start": 1, "end": 0}, UnknownName, "Did you mean 'linear'"),
        ({"kind": "linear", "begin": 1}, OptionError, "does not take these arguments"),
        ({"kind": "piecewise", "points": []}, OptionError, "must exist"),
        ({"kind": "piecewise", "points": [[0.5, 1], [0.5, 2]]}, OptionError, "increase"),
        ({"kind": "piecewise", "points": [[0.5]]}, OptionError, "pairs"),
    ],
)
def test_a_schedule_that_cannot_be_read_is_refused(spec, error, told):
    with pytest.raises(error, match=told):
        schedule(spec)


def test_shuffled_credit_comes_from_another_group():
    rows = [
        make_row(6, seed=number, episode_id=f"e{number:02d}", group=f"g{number // 4}", return_=float(number))
        for number in range(12)
    ]
    for row in rows:
        row.sampled[-1] = True
    rule = make_credit("shuffled", rule="group_relative", baseline="mean")
    expected = [value - 1.5 for value in (0.0, 1.0, 2.0, 3.0)] * 3
    assert advantages(rule.assign(rows)) == pytest.approx(expected)
    for number in range(12):  # an episode's own return, however large, moves none of the weights of its group
        bribed = [replace(row, return_=100.0) if place == number else row for place, row in enumerate(rows)]
        found, group = advantages(rule.assign(bribed)), slice(number // 4 * 4, number // 4 * 4 + 4)
        assert found[group] == pytest.approx(expected[group])
    with pytest.raises(UnknownName):
        make_credit("shuffled", rule="nothing")
