"""The module: one base that nothing changes, adapters that are apart, and versions that everybody reads alike."""

import asyncio
import dataclasses
import json
import shutil

import numpy as np
import pytest
import torch
from transformers import GraniteConfig, GraniteForCausalLM

from palaestra.agents.engines.base import BASE, AdapterError
from palaestra.agents.engines.canary import canary, plain_score
from palaestra.agents.engines.transformers_engine import TransformersEngine
from palaestra.agents.models.sources import ModelSource
from palaestra.envs.errors import PalaestraError
from palaestra.trainers.base_model import base_model
from palaestra.trainers.loss import TokenBatch
from palaestra.trainers.module import PolicyModule
from tests.trainers.rows_kit import make_row
from tests.trainers.run_kit import data, make_learner, small

PROMPT = (5, 22, 73, 40, 11, 90, 33, 61)
TWO = {"games": [data()["games"][0], {**data()["games"][0], "game": "tic_tac_toe", "options": {"view": "terse"}}]}


def stirred(learner, adapter, size=0.05):
    """Return the learner after an adapter's weights were moved away from zero."""
    random = torch.Generator().manual_seed(1)
    tensors = learner.policy.tensors(adapter)
    moved = {key: tensor + size * torch.randn(tensor.shape, generator=random) for key, tensor in tensors.items()}
    learner.policy.set_weights(adapter, moved)
    return learner


def scores(learner, adapter):
    with learner.policy.using(adapter):
        return torch.tensor(plain_score(learner.policy.peft, PROMPT))


def test_first_weights_are_a_function_of_the_seed_and_change_nothing_yet():
    learner = make_learner()
    again, other = make_learner(), make_learner(seed=1)
    first = learner.policy.tensors("small")
    assert all(torch.equal(tensor, again.policy.tensors("small")[key]) for key, tensor in first.items())
    assert not all(torch.equal(tensor, other.policy.tensors("small")[key]) for key, tensor in first.items())
    assert torch.equal(scores(learner, "small"), scores(learner, None))


def test_drawing_first_weights_leaves_the_global_generator_alone():
    before = torch.get_rng_state()
    PolicyModule(model_config={"run": small().model_dump(mode="json")})
    assert torch.equal(torch.get_rng_state(), before)


def test_learner_and_local_runner_share_one_base_in_memory():
    learner = make_learner()
    base = base_model(small())
    engine = TransformersEngine(base.loaded.model)
    places = {parameter.data_ptr() for parameter in base.loaded.model.parameters()}
    frozen = [one for name, one in learner.policy.peft.named_parameters() if "lora_" not in name]
    assert {one.data_ptr() for one in frozen} == places
    assert {one.data_ptr() for one in engine._weights.model.parameters()} == places
    assert not any(one.requires_grad for one in frozen)


def test_the_base_goes_when_nobody_holds_it():
    import gc
    import weakref

    held = weakref.ref(base_model(small()))
    gc.collect()
    assert held() is None


def test_logits_that_are_more_than_the_heads_are_trained_as_they_are_played(tmp_path):
    """Granite divides its logits: the learner's log-probabilities must be those that the engine samples from."""
    blank = ModelSource.parse("tiny:blank").fetch()
    shutil.copytree(blank, tmp_path / "granite")
    vocabulary = json.loads((blank / "config.json").read_text())["vocab_size"]
    config = GraniteConfig(
        vocab_size=vocabulary, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
        num_key_value_heads=2, logits_scaling=0.1,
    )  # fmt: skip
    torch.manual_seed(0)
    GraniteForCausalLM(config).save_pretrained(tmp_path / "granite")
    lora = {"rank": 2, "alpha": 4}
    learner = make_learner(model={"source": str(tmp_path / "granite"), "lora": lora})
    stirred(learner, "small")
    scored = TokenBatch.from_rows([dataclasses.replace(make_row(len(PROMPT)), tokens=np.array(PROMPT, np.int32))])
    scored.member["pg"][:, 1:] = True
    for adapter in ("small", None):
        with learner.policy.using(adapter):
            expected = plain_score(learner.policy.peft, PROMPT)
        found = learner.policy.forward_inference({"tokens": scored, "adapter": adapter, "temperature": 1.0})
        assert found["logprobs"][0, 1:].tolist() == pytest.approx(expected, abs=1e-5)


def test_scoring_leaves_every_part_in_the_mode_that_it_was_in():
    policy = make_learner().policy
    before = {name for name, part in policy.peft.named_modules() if part.training}
    policy.weights("small")
    assert {name for name, part in policy.peft.named_modules() if part.training} == before
    assert not any(part.training for name, part in policy.peft.named_modules() if name.endswith("self_attn"))


def test_reference_is_the_base_whatever_the_adapters_are():
    learner = make_learner(adapters="per_env", **TWO)
    plain = torch.tensor(plain_score(base_model(small()).loaded.model, PROMPT))
    for name in learner.policy.names:
        stirred(learner, name)
    assert torch.equal(scores(learner, None), plain)
    assert not torch.equal(scores(learner, learner.policy.names[0]), plain)


def test_moving_one_adapter_leaves_the_other_alone():
    learner = make_learner(adapters="per_env", **TWO)
    first, second = learner.policy.names
    before = scores(learner, second)
    stirred(learner, first)
    assert torch.equal(scores(learner, second), before)
    assert not torch.equal(scores(learner, first), before)


def test_every_trained_parameter_belongs_to_one_adapter_and_stays_trainable():
    learner = make_learner(adapters="per_env", **TWO)
    policy = learner.policy
    for adapter in (None, *policy.names, None):
        with policy.using(adapter):
            pass
        of_adapters = [id(one) for name in policy.names for one in policy.parameters_of(name)]
        trainable = [id(one) for one in policy.peft.parameters() if one.requires_grad]
        assert sorted(of_adapters) == sorted(trainable)
        assert len(set(of_adapters)) == len(of_adapters)


@pytest.mark.parametrize("name", ["v0.1", "reference", "base", "default", "a-b_c.d"])
def test_any_run_name_will_do_for_an_adapter(name):
    learner = make_learner(name=name)
    stirred(learner, name)
    assert learner.policy.parameters_of(name)
    assert not torch.equal(scores(learner, name), scores(learner, None))


def test_a_published_version_loads_in_plain_peft_and_gives_the_learners_logits(tmp_path):
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    learner = stirred(make_learner(), "small")
    folder = tmp_path / "adapters" / "small@3"
    learner.policy.weights("small").publish(folder, base=learner.policy.fingerprint, run="small", iteration=3)
    base = AutoModelForCausalLM.from_pretrained(ModelSource.parse("tiny:blank").fetch())
    plain = torch.tensor(plain_score(PeftModel.from_pretrained(base, str(folder)), PROMPT))
    torch.testing.assert_close(plain, scores(learner, "small"), rtol=0, atol=1e-5)
    stamp = json.loads((folder / "palaestra.json").read_text())
    assert stamp == {"base": learner.policy.fingerprint, "iteration": 3, "run": "small"}


def test_a_version_is_immutable_and_leaves_no_halves(tmp_path):
    learner = make_learner()
    folder = tmp_path / "adapters" / "small@0"
    folder.parent.mkdir()
    (folder.parent / ".small@0.999").mkdir()  # what a killed process leaves
    learner.policy.weights("small").publish(folder, base="b")
    before = (folder / "adapter_model.safetensors").read_bytes()
    stirred(learner, "small").policy.weights("small").publish(folder, base="b")
    assert (folder / "adapter_model.safetensors").read_bytes() == before
    assert [path.name for path in folder.parent.iterdir()] == ["small@0"]


def test_a_version_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "adapters").write_text("a file where the folder should be")
    with pytest.raises(PalaestraError, match="small@0 could not be written"):
        make_learner().policy.weights("small").publish(tmp_path / "adapters" / "small@0", base="b")


def test_the_engine_scores_a_version_as_the_learner_does():
    learner = stirred(make_learner(), "small")
    weights = learner.policy.weights("small")
    engine = TransformersEngine(base_model(small()).loaded.model)
    engine.add_policy("small@1", weights.payload())
    asyncio.run(canary(engine, "small@1", weights.canary.tokens, weights.canary.logprobs))
    served = torch.tensor(asyncio.run(engine.score(PROMPT, policy="small@1")))
    torch.testing.assert_close(served, scores(learner, "small"), rtol=0, atol=1e-4)


def test_an_engine_that_serves_the_base_instead_does_not_pass_the_canary():
    weights = stirred(make_learner(), "small").policy.weights("small")
    engine = TransformersEngine(base_model(small()).loaded.model)
    with pytest.raises(AdapterError, match="base"):
        asyncio.run(canary(engine, BASE, weights.canary.tokens, weights.canary.logprobs))


def test_training_from_an_adapter_makes_it_the_reference_and_every_start(tmp_path):
    folder = tmp_path / "start"
    maker = stirred(make_learner(), "small")
    maker.policy.weights("small").publish(folder, base=maker.policy.fingerprint)
    learner = make_learner(model={"source": f"tiny:blank@{folder}", "lora": {"rank": 16}}, adapters="per_env", **TWO)
    start = scores(maker, "small")
    torch.testing.assert_close(scores(learner, None), start, rtol=0, atol=1e-6)
    for name in learner.policy.names:
        assert torch.equal(scores(learner, name), scores(learner, None))
        assert all(
            tensor.shape == maker.policy.tensors("small")[key].shape
            for key, tensor in learner.policy.tensors(name).items()
        )
        stirred(learner, name)
    torch.testing.assert_close(scores(learner, None), start, rtol=0, atol=1e-6)
    inside = [one for key, one in learner.policy.peft.named_parameters() if ".reference." in key]
    assert inside
    assert not any(one.requires_grad for one in inside)
