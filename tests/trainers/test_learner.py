"""The learner's step depends on the rows and on nothing else: not on packing, order of rows, or number of learners."""

import dataclasses

import pytest
import torch

from palaestra.agents.engines.canary import plain_score
from palaestra.trainers.base_model import base_model
from palaestra.trainers.checkpoint import CheckpointError
from palaestra.trainers.loss import TokenBatch
from palaestra.trainers.rows import RowError, Stream
from tests.trainers.run_kit import data, make_learner, play_rows, small
from tests.trainers.test_module import TWO, stirred


def tensors_after(rows, **changes):
    learner = make_learner(**changes)
    report = learner.update_rows(rows, progress=0.0, iteration=0)
    return learner.policy.tensors("small"), report


@pytest.fixture(scope="module")
def rows():
    learner = make_learner()
    return play_rows(learner, count=8, kl=0.05)


def gradients(learner, rows, monkeypatch):
    """Return the summed gradient that the optimizer was handed."""
    found = {}
    optimizer = learner.get_optimizer("default_policy", "small")

    def step():
        found.update({index: one.grad.clone() for index, one in enumerate(learner.policy.parameters_of("small"))})

    monkeypatch.setattr(optimizer, "step", step)
    learner.update_rows(rows, progress=0.0, iteration=0)
    return found


@pytest.mark.parametrize("denominator", ["tokens", "rows"])
def test_micro_batches_give_the_gradient_of_one_batch(rows, monkeypatch, denominator):
    loss = {"denominator": denominator, "entropy": 0.01}
    narrow = {"lr": 1e-2, "max_grad_norm": 1e9, "token_budget": max(len(row) for row in rows)}
    wide = {**narrow, "token_budget": 100_000}
    one = gradients(stirred(make_learner(optimizer=wide, loss=loss), "small"), rows, monkeypatch)
    many = gradients(stirred(make_learner(optimizer=narrow, loss=loss), "small"), rows, monkeypatch)
    assert one
    scale = max(gradient.abs().max() for gradient in one.values())
    for index, gradient in one.items():
        torch.testing.assert_close(many[index], gradient, rtol=1e-4, atol=float(scale) * 1e-5)


def test_copies_of_a_row_add_up_as_rows_that_are_computed_one_by_one(rows, monkeypatch):
    """Same tokens, other weights: the oracle computes every row in a micro-batch of its own."""
    copied = [
        dataclasses.replace(row, episode_id=f"{row.episode_id}-{copy}").with_streams(
            pg=Stream.of(1.0 - copy, row.sampled), kl=Stream.of(0.1 * copy, row.sampled)
        )
        for row in rows[:4]
        for copy in range(3)
    ]
    settings = {"lr": 1e-2, "max_grad_norm": 1e9}
    together = gradients(stirred(make_learner(optimizer=settings), "small"), copied, monkeypatch)
    monkeypatch.setattr("palaestra.trainers.learner.pack", lambda rows, budget: [[row] for row in rows])
    alone = gradients(stirred(make_learner(optimizer=settings), "small"), copied, monkeypatch)
    scale = max(float(gradient.abs().max()) for gradient in alone.values())
    assert scale > 0
    for index, gradient in alone.items():
        torch.testing.assert_close(together[index], gradient, rtol=1e-4, atol=scale * 1e-5)


def test_a_row_beyond_the_budget_is_one_sentence(rows):
    learner = make_learner(optimizer={"token_budget": 16})
    assert max(len(row) for row in rows) > 16
    with pytest.raises(RowError, match="token_budget 16"):
        learner.update_rows(rows, progress=0.0, iteration=0)


def test_the_same_rows_give_the_same_bits(rows):
    first, second = tensors_after(rows), tensors_after(rows)
    assert all(torch.equal(tensor, second[0][key]) for key, tensor in first[0].items())
    assert first[1] == second[1]


def test_sampled_and_trained_policy_agree_before_the_first_step(rows):
    _, report = tensors_after(rows)
    assert abs(report["kl_old"]) < 1e-6
    assert report["clip_low"] == report["clip_high"] == 0
    assert report["tokens"] > 0


def test_the_divergence_from_the_reference_starts_at_zero_and_grows(rows):
    learner = make_learner(optimizer={"lr": 0.02})
    first = learner.update_rows(rows, progress=0.0, iteration=0)
    second = learner.update_rows(rows, progress=0.0, iteration=1)
    assert first["kl_reference"] == 0
    assert first["loss/kl"] == 0
    assert second["kl_reference"] > 1e-6
    assert second["loss/kl"] > 0


def test_reference_log_probabilities_are_the_base_models(rows):
    learner = stirred(make_learner(), "small")
    tokens = TokenBatch.from_rows(rows[:3])
    batch = {"tokens": tokens, "adapter": None, "temperature": 1.0}
    with torch.no_grad():
        found = learner.policy.forward_inference(batch)["logprobs"]
    model = base_model(small()).loaded.model
    for row, line in zip(rows[:3], found, strict=True):
        expected = torch.tensor([0.0, *plain_score(model, row.tokens.tolist())])
        where = torch.from_numpy(row.sampled)
        torch.testing.assert_close(line[: len(row)][where], expected[where], rtol=0, atol=1e-4)


def test_from_an_adapter_the_divergence_starts_at_zero_too(tmp_path):
    maker = stirred(make_learner(), "small")
    maker.policy.weights("small").publish(tmp_path / "start", base=maker.policy.fingerprint)
    model = {"source": f"tiny:blank@{tmp_path / 'start'}"}
    learner = make_learner(model=model)
    report = learner.update_rows(play_rows(learner, kl=0.1, model=model), progress=0.0, iteration=0)
    assert report["kl_reference"] == 0
    assert abs(report["kl_old"]) < 1e-6


def test_each_optimizer_moves_its_own_adapter_and_nobody_moves_the_base():
    changes = {"adapters": "per_env", **TWO}
    learner = make_learner(**changes)
    rows = play_rows(learner, count=4, **changes)
    first, second = learner.policy.names
    assert {row.policy for row in rows} == {f"{first}@0", f"{second}@0"}
    base = {name: one.clone() for name, one in learner.policy.peft.named_parameters() if "lora_" not in name}
    before = {name: learner.policy.tensors(name) for name in (first, second)}
    learner.update_rows([row for row in rows if row.policy == f"{first}@0"], progress=0.0, iteration=0)
    moved = {
        name: any(not torch.equal(tensor, before[name][key]) for key, tensor in learner.policy.tensors(name).items())
        for name in (first, second)
    }
    assert moved == {first: True, second: False}
    learner.update_rows(rows, progress=0.0, iteration=1)
    assert any(not torch.equal(t, before[second][key]) for key, t in learner.policy.tensors(second).items())
    now = dict(learner.policy.peft.named_parameters())
    assert all(torch.equal(now[name], tensor) for name, tensor in base.items())


def test_a_batch_without_members_takes_no_step():
    learner = make_learner()
    rows = [dataclasses.replace(row, streams={}) for row in play_rows(learner)]
    before = learner.policy.tensors("small")
    report = learner.update_rows(rows, progress=0.0, iteration=0)
    assert report["steps"] == 0
    assert all(torch.equal(tensor, before[key]) for key, tensor in learner.policy.tensors("small").items())


@pytest.mark.parametrize("opponent", ["base", "random"])
def test_only_the_tokens_of_trained_seats_become_rows(opponent):
    games = [{**data()["games"][0], "opponents": {opponent: 1.0}}]
    rows = play_rows(make_learner(games=games), count=12, games=games)
    assert {row.policy for row in rows} == {"small@0"}
    assert len({(row.episode_id, row.player) for row in rows}) == len({row.episode_id for row in rows})
    assert {row.player for row in rows} == {0, 1}


def test_a_step_that_is_not_finite_is_skipped_and_counted(rows, monkeypatch):
    learner = make_learner()
    before = learner.policy.tensors("small")
    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", lambda *args: torch.tensor(float("nan")))
    report = learner.update_rows(rows, progress=0.0, iteration=0)
    assert report["skipped_steps"] == 1
    assert all(torch.equal(tensor, before[key]) for key, tensor in learner.policy.tensors("small").items())


def test_epochs_and_minibatches_are_steps_and_see_every_row_once_an_epoch(rows):
    learner = make_learner(optimizer={"epochs": 2, "minibatches": 3, "lr": 1e-3})
    seen = [part for epoch in range(2) for part in learner._minibatches(rows, 0, epoch)]
    assert [len(part) for part in seen].count(0) == 0
    for epoch in (seen[:3], seen[3:]):
        assert sorted(id(row) for part in epoch for row in part) == sorted(map(id, rows))
    assert [id(row) for row in seen[0]] != [id(row) for row in seen[3]]
    assert learner.update_rows(rows, progress=0.0, iteration=0)["steps"] == 6


def test_the_learning_rate_follows_its_schedule(rows):
    learner = make_learner(optimizer={"lr": {"kind": "linear", "start": 1.0, "end": 0.0}})
    assert [learner.update_rows(rows, progress=at, iteration=0)["lr"] for at in (0.0, 0.25, 1.0)] == [1.0, 0.75, 0.0]


def test_training_state_goes_over_to_a_new_learner_bit_by_bit(rows):
    first = make_learner()
    first.update_rows(rows, progress=0.0, iteration=0)
    second = make_learner(seed=5)
    second.set_training_state(first.training_state())
    for learner in (first, second):
        learner.run = first.run
        learner.update_rows(rows, progress=0.5, iteration=1)
    state, other = first.training_state(), second.training_state()
    assert state.scalars == other.scalars
    for number, named in state.moments["small"].items():
        assert all(torch.equal(tensor, other.moments["small"][number][key]) for key, tensor in named.items())
    assert all(torch.equal(t, other.adapters["small"][key]) for key, t in state.adapters["small"].items())


def test_another_rank_is_refused_in_one_sentence_and_changes_nothing():
    state = make_learner().training_state()
    other = make_learner(model={"source": "tiny:blank", "lora": {"rank": 3}})
    before = other.policy.tensors("small")
    with pytest.raises(CheckpointError, match=r"small.*does not fit.*LoRA settings"):
        other.set_training_state(state)
    assert all(torch.equal(tensor, before[key]) for key, tensor in other.policy.tensors("small").items())


def test_rows_are_scored_at_the_temperature_that_sampled_them():
    games = [{**data()["games"][0], "reply": {"max_tokens": 3, "temperature": 0.5}}]
    learner = make_learner(games=games)
    rows = play_rows(learner, games=games)
    assert abs(learner.update_rows(rows, progress=0.0, iteration=0)["kl_old"]) < 1e-6
    other = make_learner()
    assert other.update_rows(rows, progress=0.0, iteration=0)["kl_old"] > 1e-3


@pytest.mark.slow
def test_two_learners_take_the_step_of_one(local_ray):
    from palaestra.trainers.algorithm import SelfPlayConfig

    def trained(learners):
        resources = {"runners": 0, "learners": learners, "threads": 1}
        config = SelfPlayConfig().self_play(small(resources=resources, credit={"rule": "every_token", "kl": 0.05}))
        algorithm = config.build_algo()
        try:
            for _ in range(2):
                algorithm.train()
            return algorithm.weights("small").tensors, algorithm.summary.learner
        finally:
            algorithm.stop()

    (one, said), (two, said_by_two) = trained(0), trained(2)
    for key, tensor in one.items():
        torch.testing.assert_close(two[key], tensor, rtol=1e-3, atol=1e-5)
    for key, value in said.items():
        assert said_by_two[key] == pytest.approx(value, rel=1e-3, abs=1e-6), key
