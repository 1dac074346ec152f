"""Rows: what an episode becomes, what a row refuses, and packing under a token budget."""

import dataclasses
import itertools

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs.episode import Attempt, Episode, Reply, TokenRecord, Turn
from palaestra.trainers.rows import ILLEGAL, RowError, Stream, pack, rows_from_episode
from tests.trainers.rows_kit import batches, make_row

lengths = st.lists(st.integers(1, 40), max_size=40)


def reply(segment: int, context: tuple[int, ...], ids: tuple[int, ...], policy: str = "p@1") -> Reply:
    return Reply("text", tokens=TokenRecord(segment, context, ids, (-0.5,) * len(ids), policy))


def episode(**changes) -> Episode:
    """Player 1 errs once and then acts, in two segments; player 2 is no language model."""
    turns = (
        Turn(
            0,
            0,
            "first",
            "",
            (Attempt(reply(0, (1, 2), (3,)), "illegal"), Attempt(reply(0, (4,), (5, 6)), "ok")),
            "bet",
        ),
        Turn(1, 1, "second", "", (Attempt(Reply("pass"), "ok"),), "pass"),
        Turn(2, 0, "first", "", (Attempt(reply(1, (7,), (8,)), "ok"),), "pass"),
    )
    plain = Episode(
        "kuhn", 1, {"b": 1, "a": 2}, 7, {}, ("lm", "random"), ("first", "second"), turns, "finished", (2, -2)
    )
    return dataclasses.replace(plain, **changes)


def test_an_episode_becomes_one_row_per_segment_with_the_seats_return():
    first, second = rows_from_episode(episode(), "e1")
    assert first.tokens.tolist() == [1, 2, 3, 4, 5, 6]
    assert first.sampled.tolist() == [False, False, True, False, True, True]
    assert first.status.tolist() == [0, 0, ILLEGAL, 0, 0, 0]
    assert second.tokens.tolist() == [7, 8]
    assert [(row.segment, row.return_, row.role, row.policy) for row in (first, second)] == [
        (0, 2.0, "first", "p@1"),
        (1, 2.0, "first", "p@1"),
    ]


def test_seats_can_be_left_out_and_unfinished_is_no_return_of_zero():
    assert rows_from_episode(episode(), "e1", players=[1]) == []
    assert rows_from_episode(episode(outcome="unfinished", returns=None), "e1")[0].return_ is None


def test_the_group_is_the_start_state_whatever_the_order_of_options():
    here = rows_from_episode(episode(), "e1")[0].group
    assert rows_from_episode(episode(options={"a": 2, "b": 1}), "e2")[0].group == here
    assert rows_from_episode(episode(seed=8), "e3")[0].group != here
    assert rows_from_episode(episode(options={"a": 3, "b": 1}), "e4")[0].group != here


everything = np.ones(6, np.bool_)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"turns": np.zeros(5, np.int32)}, "turns has shape"),
        ({"logprobs": np.full(6, np.nan, np.float32)}, "finite natural logarithms"),
        ({"logprobs": np.full(6, 0.5, np.float32)}, "finite natural logarithms"),
        ({"return_": float("inf")}, "is not finite"),
        ({"streams": {"kl_": Stream.empty(6)}}, "no stream 'kl_'"),
        ({"streams": {"pg": Stream.empty(5)}}, "per token"),
        ({"streams": {"pg": Stream.of(np.nan, everything)}}, "not finite"),
        ({"streams": {"ce": Stream(np.ones(6, np.float32), ~everything)}}, "no member"),
        ({"streams": {"ce": Stream(np.ones(6, np.float32), everything)}}, "first token"),
        ({"streams": {"pg": Stream.of(1.0, everything)}}, "observed, not sampled"),
    ],
)
def test_a_broken_row_says_what_is_wrong(change, told):
    row = make_row(6)
    row.check()
    with pytest.raises(RowError, match=told):
        dataclasses.replace(row, **change).check()


def test_cross_entropy_may_teach_observed_tokens():
    make_row(6).with_streams(ce=Stream.of(1.0, everything)).check()


@given(batches(), st.integers(12, 60))
def test_packing_places_every_row_once_and_keeps_the_budget_and_ignores_order(rows, budget):
    packed = pack(rows, budget)
    assert sorted(id(row) for batch in packed for row in batch) == sorted(id(row) for row in rows)
    for batch in packed:
        assert batch
        assert max(len(row) for row in batch) * len({row.tokens.tobytes() for row in batch}) <= budget
    for copies in ([row.tokens.tobytes() for row in batch] for batch in packed):
        assert len(set(copies)) == len(list(itertools.groupby(copies)))
    assert [[id(row) for row in batch] for batch in pack(rows[::-1], budget)] == [[id(r) for r in b] for b in packed]


@given(lengths)
def test_a_new_micro_batch_opens_only_when_the_next_row_does_not_fit_or_is_much_shorter(sizes):
    packed = pack([make_row(size, episode_id=str(i)) for i, size in enumerate(sizes)], 40, once=False)
    for batch, following in itertools.pairwise(packed):
        full = len(batch[0]) * (len(batch) + 1) > 40
        assert full or len(following[0]) * 1.5 < len(batch[0])


def test_rows_of_the_same_tokens_are_counted_once_and_stay_together():
    rows = [make_row(10, episode_id=str(number)) for number in range(30)]
    assert [len(batch) for batch in pack(rows, 10)] == [30]
    assert [len(batch) for batch in pack(rows, 25, once=False)] == [2] * 15


def test_a_row_longer_than_the_budget_is_refused_and_never_cut():
    with pytest.raises(RowError, match=r"token_budget 10 is smaller than a row of 11 tokens \(episode 'long'\); raise"):
        pack([make_row(3), make_row(11, episode_id="long")], 10)
