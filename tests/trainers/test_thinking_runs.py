"""Adapters with thinking tokens on the road of every other: scored as they are played, published and resumed."""

import asyncio
import json

import numpy as np
import pytest
import torch

from palaestra.agents.engines.canary import canary
from palaestra.agents.engines.transformers_engine import TransformersEngine
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.thinking import Thinking
from palaestra.agents.thinking_adapter import recorded, save
from palaestra.trainers.base_model import base_model
from palaestra.trainers.checkpoint import read
from palaestra.trainers.loss import TokenBatch
from palaestra.trainers.rows import Stream
from palaestra.trainers.run import resume, train
from tests.agents.thinkers import trained
from tests.trainers.rows_kit import make_row
from tests.trainers.run_kit import Watch, data, make_learner, play_rows, small

KINDS, MOST = 3, 2
LORA = {"rank": 2, "alpha": 4}


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """The source of an adapter that thinks, on a base of 260 tokens."""
    loaded = ModelSource.parse("tiny:blank").load()
    folder = tmp_path_factory.mktemp("thinker") / "adapter"
    save(trained(loaded.model, KINDS, MOST), folder, loaded.fingerprint)
    return f"tiny:blank@{folder}"


def model_of(start):
    return {"source": start, "lora": LORA}


def learner_of(start, **changes):
    return make_learner(model=model_of(start), **changes)


def stirred(learner, adapter="small"):
    noise = torch.Generator().manual_seed(1)
    tensors = learner.policy.tensors(adapter)
    moved = {key: tensor + 0.1 * torch.randn(tensor.shape, generator=noise) for key, tensor in tensors.items()}
    learner.policy.set_weights(adapter, moved)
    return learner


def batch_of(tokens) -> TokenBatch:
    row = make_row(len(tokens))
    row = type(row)(**{**{name: getattr(row, name) for name in row.__slots__}, "tokens": np.array(tokens, np.int32)})
    batch = TokenBatch.from_rows([row])
    batch.member["pg"][:, 1:] = True
    return batch


PROMPT = (5, 22, 260, 262, 40, 261, 90, 33)  # never more than two thoughts in a row


def test_the_learner_scores_thoughts_as_the_engine_draws_them(start):
    learner = stirred(learner_of(start))
    engine = TransformersEngine(base_model(small(model=model_of(start))).loaded.model)
    weights = learner.policy.weights("small")
    assert weights.thinking == Thinking(260, KINDS, MOST)
    engine.add_policy("small@1", weights.payload())
    engine.add_policy("reference@0", ModelSource.parse(start).adapter_folder())
    asyncio.run(canary(engine, "small@1", weights.canary.tokens, weights.canary.logprobs, base=weights.canary.base))
    for adapter, policy in (("small", "small@1"), (None, "reference@0")):
        asked = {"tokens": batch_of(PROMPT), "adapter": adapter, "temperature": 1.0}
        found = learner.policy.forward_inference(asked)
        served = torch.tensor(asyncio.run(engine.score(PROMPT, policy=policy)))
        torch.testing.assert_close(found["logprobs"][0, 1:], served, rtol=0, atol=1e-4)
        assert torch.isfinite(found["entropy"]).all()


@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_rows_that_were_played_have_thoughts_and_a_ratio_of_one(start, temperature):
    learner = stirred(learner_of(start))
    games = [{**data()["games"][0], "reply": {"max_tokens": 6, "temperature": temperature}}]
    rows = play_rows(learner, model=model_of(start), games=games)
    thoughts = sum(int((row.tokens[row.sampled] >= 260).sum()) for row in rows)
    assert thoughts > 3
    for row in rows:
        row = row.with_streams(pg=Stream.of(1.0, row.sampled))
        found = learner.policy.forward_inference(
            {"tokens": TokenBatch.from_rows([row]), "adapter": "small", "temperature": temperature}
        )["logprobs"][0]
        sampled = torch.from_numpy(row.sampled)
        torch.testing.assert_close(found[sampled], torch.from_numpy(row.logprobs)[sampled], rtol=0, atol=1e-4)


def test_an_update_moves_matrices_and_rows_of_thoughts_and_nothing_else(start):
    learner = learner_of(start)
    before = learner.policy.tensors("small")
    reference = {name: one.clone() for name, one in learner.policy.peft.named_parameters() if ".reference" in name}
    assert any("trainable_tokens_delta" in name for name in reference)
    learner.update_rows(play_rows(learner, kl=0.1, model=model_of(start)), progress=0.0, iteration=0)
    after = learner.policy.tensors("small")
    moved = {key for key, tensor in after.items() if not torch.equal(tensor, before[key])}
    assert any("trainable_tokens_delta" in key for key in moved)
    assert any("lora_" in key for key in moved)
    assert not any("weight" in key and "lora_" not in key for key in after)  # no table came whole
    for name, one in learner.policy.peft.named_parameters():
        if name in reference:
            assert torch.equal(one, reference[name])
            assert not one.requires_grad


@pytest.mark.slow
def test_a_run_that_was_stopped_goes_on_as_if_it_had_not_been(start, tmp_path, local_ray):
    whole = train(small(model=model_of(start)), tmp_path / "whole", Watch())
    train(small(model=model_of(start), iterations=1), tmp_path / "parts", Watch())
    config = tmp_path / "parts" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("iterations: 1", "iterations: 2"), encoding="utf-8")
    parts = resume(tmp_path / "parts", Watch())
    (_, one), (_, other) = (read(folder / "checkpoints" / "00002") for folder in (whole, parts))
    for key, tensor in one.adapters["small"].items():
        assert torch.equal(tensor, other.adapters["small"][key])
    version = whole / "adapters" / "small@2"
    assert recorded(version) == Thinking(260, KINDS, MOST)
    assert json.loads((version / "palaestra.json").read_text(encoding="utf-8"))["thinking"]["kinds"] == KINDS
    assert ModelSource.parse(f"tiny:blank@{whole}").load().adapter is not None
