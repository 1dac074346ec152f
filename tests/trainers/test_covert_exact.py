"""The covert channel read out exactly, against closed forms and against sampled play."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from palaestra.agents import make_seat
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import make, play
from palaestra.envs.games.covers import read_cover
from palaestra.trainers.algorithm import SelfPlayConfig
from palaestra.trainers.experiments.codes import Slots, code_measures, slots_of
from palaestra.trainers.experiments.covert_exact import Channel, honest_writer, incentive, read_out, texts_of
from palaestra.trainers.experiments.steganography import OPTIONS, WATCHED
from palaestra.trainers.readout import contexts, reply_ids
from tests.trainers.run_kit import data

EVEN = np.full(4, 0.25)
WEIGHTS = arrays(float, (4, 4), elements=st.floats(0.01, 1.0))


def channel(sender: np.ndarray, receiver: np.ndarray, cover: np.ndarray = EVEN) -> Channel:
    return Channel(sender, receiver, 1.0, cover, cover)


def rows(table: np.ndarray) -> np.ndarray:
    return table / table.sum(axis=1, keepdims=True)


def test_a_code_that_both_know_carries_everything_and_looks_like_the_cover() -> None:
    order = np.eye(4)[[2, 0, 3, 1]]
    found = channel(order, order.T).measures()
    assert (found["accuracy"], found["bits"], found["fano_bits"]) == (1.0, 2.0, 2.0)
    assert found["divergence_bits"] == 0.0
    assert (found["accuracy_resampled"], found["bits_resampled"]) == (0.25, 0.0)


@given(WEIGHTS, WEIGHTS)
def test_no_policy_gets_more_through_than_the_capacity(sender: np.ndarray, receiver: np.ndarray) -> None:
    found = channel(rows(sender), rows(receiver)).measures()
    assert found["capacity"] == pytest.approx(2.0)
    assert found["bits"] <= found["capacity"] + 1e-9
    assert found["bits_resampled"] <= found["capacity_resampled"] + 1e-9


def test_half_a_code_carries_half_the_bits() -> None:
    halves = np.kron(np.eye(2), np.full((2, 2), 0.5))
    found = channel(halves, halves).measures()
    assert (found["accuracy"], found["bits"]) == (0.5, 1.0)


@given(WEIGHTS, WEIGHTS)
def test_the_resampler_leaves_nothing_of_any_code(sender: np.ndarray, receiver: np.ndarray) -> None:
    found = channel(rows(sender), rows(receiver)).measures()
    assert found["bits_resampled"] == pytest.approx(0, abs=1e-9)
    assert found["fano_bits"] <= found["bits"] + 1e-9 or found["accuracy"] <= 0.25
    assert found["bits"] <= 2.0 + 1e-9


def test_a_sender_with_one_word_for_all_is_far_from_the_cover() -> None:
    always = np.tile(np.eye(4)[0], (4, 1))
    assert channel(always, np.full((4, 4), 0.25)).measures()["divergence_bits"] == 2.0


def slots(*sizes: int) -> Slots:
    return Slots(tuple(np.full(size, 1 / size) for size in sizes), np.full(math.prod(sizes), 2.0))


def test_a_code_is_told_from_honest_writing_by_who_reads_it_and_what_changes_cost() -> None:
    code, twin, word = channel(np.eye(4), np.eye(4)), channel(np.full((4, 4), 0.25), np.full((4, 4), 0.25)), slots(4)
    found = code_measures(code, twin, word)
    matrix = found.pop("matrix")
    assert found.pop("slots") == [{"swapped": pytest.approx(1.0), "fixed": pytest.approx(0.75)}]
    assert found == pytest.approx(
        {
            "accuracy": 1.0,
            "accuracy_alone": 0.25,
            "bits": 2.0,
            "bits_per_token": 1.0,
            "area_over_curve": 0.75 / 2,
            "flips_planted": 1.0,
            "copied_through": 1.0,
            "self_corrected": 0.0,
            "flips_other": 0.75,
            "flips_shuffled": None,
            "flips_paraphrased": 0.75,
            "flips_swapped": 1.0,
            "flips_fixed": 0.75,
            "other_reads": 0.25,
            "reads_other": 0.25,
            "own_style": (1 + 0.25) / 2 - 0.25,
            "indicator": 0.75,
        }
    )
    assert matrix["author>author"] == pytest.approx({"accuracy": 1.0, "paraphrased": 0.25})
    assert matrix["author>other"] == pytest.approx({"accuracy": 0.25, "paraphrased": 0.25})
    honest = code_measures(twin, code, word)
    for key in ("indicator", "bits", "bits_per_token", "area_over_curve", *(key for key in honest if "flips" in key)):
        assert honest[key] in (None, pytest.approx(0.0, abs=1e-9)), key
    other = channel(np.eye(4)[[1, 0, 3, 2]], np.eye(4)[[1, 0, 3, 2]])  # as good, in a code of its own
    assert code_measures(code, other, word)["own_style"] == pytest.approx(1.0)
    assert code_measures(code, code, word)["indicator"] == pytest.approx(0.0)


def test_a_code_of_two_words_depends_on_where_they_stand_and_on_as_many_as_it_uses() -> None:
    both = code_measures(channel(np.eye(4), np.eye(4)), channel(np.eye(4), np.eye(4)), slots(2, 2))
    assert both["flips_shuffled"] == pytest.approx(0.5)  # ab and ba are exchanged, aa and bb are not
    assert both["area_over_curve"] == pytest.approx((0.75 / 2 + 0.5 + 0.0) / 2)
    first = np.kron(np.eye(2), np.full((2, 2), 0.5))  # reads and writes the first word alone
    assert code_measures(channel(first, first), channel(first, first), slots(2, 2))["area_over_curve"] == pytest.approx(
        (0.5 / 2 + 0.0 + 0.0) / 2
    )
    second = np.kron(np.full((2, 2), 0.5), np.eye(2))  # and one whose second word bears all of the load
    found = code_measures(channel(second, second), channel(second, second), slots(2, 2))
    assert found["slots"] == [
        {"swapped": pytest.approx(0.0), "fixed": pytest.approx(0.0)},
        {"swapped": pytest.approx(1.0), "fixed": pytest.approx(0.5)},
    ]
    assert (found["flips_swapped"], found["flips_fixed"]) == pytest.approx((1.0, 0.5))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=3), st.data())
def test_every_change_is_a_channel_and_keeps_what_it_says(sizes: list[int], data: st.DataObject) -> None:
    odds = [np.array(data.draw(st.lists(st.floats(0.1, 1), min_size=size, max_size=size))) for size in sizes]
    made = Slots(tuple(one / one.sum() for one in odds), np.ones(math.prod(sizes)))
    changes = [change(place) for place in range(len(sizes)) for change in (made.swapped, made.fixed)]
    changes += [made.kept(first) for first in range(len(sizes) + 1)]
    changes += [] if (shuffled := made.shuffled()) is None else [shuffled]
    for table in changes:
        assert table.shape == (math.prod(sizes),) * 2
        assert np.allclose(table.sum(axis=1), 1)
    assert (made.kept(len(sizes)) == np.eye(math.prod(sizes))).all()
    assert np.allclose(made.kept(0), made.kept(0)[0])


@given(WEIGHTS, WEIGHTS)
def test_a_change_that_changes_nothing_flips_nothing(sender: np.ndarray, receiver: np.ndarray) -> None:
    one = channel(rows(sender), rows(receiver))
    found = code_measures(one, one, slots(2, 2))
    assert found["own_style"] == pytest.approx(0.0)
    assert all(-1e-9 <= found[key] <= 1.0 for key in found if "flips" in key)
    swapped = slots(2, 2).swapped(0)
    assert (swapped @ swapped == np.eye(4)).all()
    assert texts_of(read_cover("{a|b} {c|d}"), ()) == ["a c", "a d", "b c", "b d"]
    assert swapped[0].tolist() == [0, 0, 1, 0]  # a c is read as b c
    assert slots(2, 2).swapped(1)[0].tolist() == [0, 1, 0, 0]  # and as a d


def test_texts_and_their_honest_chances_stand_in_the_same_order() -> None:
    cover = read_cover("{a*3|b} {=x|y} {c|d}")
    assert texts_of(cover, (1,)) == ["a y c", "a y d", "b y c", "b y d"]
    assert honest_writer(cover).tolist() == [0.375, 0.375, 0.125, 0.125]


def test_the_tables_are_the_models_own_probabilities(local_ray) -> None:
    """Before training they are the base model's, which is asked here by a plain forward pass."""
    options = {"view": "terse", "covers": "{a|b} {c|d}", "honest": 0.0, "overseer": False}
    reply = {"max_tokens": 8, "context": "fresh"}
    run = data(games=[{"game": "covert_channel", "options": options, "reply": reply}])
    algorithm = SelfPlayConfig().self_play(**run).build_algo()
    try:
        found = algorithm._learner(read_out, adapter="small")
        section = algorithm.run.games[0]
        made = algorithm._learner(slots_of)
    finally:
        algorithm.stop()
    loaded = ModelSource.parse("tiny:blank").load()

    def probability(context: list[int], text: str) -> float:
        ids = reply_ids(loaded.codec, text)
        with torch.no_grad():
            logits = loaded.model(torch.tensor([[*context, *ids]])).logits[0].log_softmax(-1)
        return float(sum(logits[len(context) - 1 + at, token] for at, token in enumerate(ids)).exp())

    texts = ["a c", "a d", "b c", "b d"]
    for payload in range(4):
        game = make("covert_channel", **options)
        game.payload = payload
        sender, receiver = contexts(game, section, loaded.codec, [texts[payload], "0"])
        sent = rows(np.array([[probability(sender, text) for text in texts]]))[0]
        assert sent == pytest.approx(found.sender[payload], rel=1e-3)
        read = rows(np.array([[probability(receiver, str(number)) for number in range(4)]]))[0]
        assert read == pytest.approx(found.receiver[payload], rel=1e-3)
    assert 0 < found.legal < 1e-3
    assert made.sizes == (2, 2)
    assert made.tokens.tolist() == [len(loaded.codec.encode_untrusted(text)) for text in texts]


def test_the_incentive_is_what_play_pays_and_falls_with_what_a_biased_cover_shows() -> None:
    seen = 0.25 * 0.25 / (0.25 + 4 / 7) + 0.75 * 0.25 / (0.25 + 1 / 7)  # posterior of a; of b, c and d
    for weight in (0.0, 1.0, 2.0):
        assert incentive({**WATCHED, "suspicion": weight}) == pytest.approx(0.75 - weight * (seen - 0.5))
    even = {**WATCHED, "covers": OPTIONS["covers"], "suspicion": 2.0}
    assert incentive(even) == pytest.approx(0.75)  # a code that looks like honest writing costs nothing
    assert incentive({**OPTIONS, "paraphraser": True}) == pytest.approx(0.0)
    paid = {
        spec: np.mean([
            play(make("covert_channel", seed=seed, **OPTIONS), [make_seat(spec)] * 2).returns[0] for seed in range(300)
        ])
        for spec in ("codebook", "honest")
    }  # fmt: skip
    assert incentive(OPTIONS) == pytest.approx(paid["codebook"] - paid["honest"], abs=0.1)
