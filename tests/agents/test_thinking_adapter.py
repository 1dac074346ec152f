"""Thinking tokens as an ordinary adapter: the joint distribution, rows that PEFT trains, saves and loads, refusals."""

from __future__ import annotations

import copy
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file

from palaestra.agents import thinking_adapter
from palaestra.agents.engines.base import Sampling
from palaestra.agents.engines.sampling import Sampler
from palaestra.agents.models.adapters import STAMP, WrongBase
from palaestra.agents.models.cache import ModelError
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.thinking import Thinking, decide, extend, thinking_of
from palaestra.agents.thinking_adapter import load, prepare, recorded, save, token_fields
from tests.agents.thinkers import LORA, make_bases, trained

BASES = ["tied", "scaled", "untied"]


@pytest.fixture(scope="module")
def bases():
    return make_bases()


def answers(model) -> torch.Tensor:
    with torch.no_grad():
        return model(input_ids=torch.tensor([[1, 2, 260, 262, 3, 4]])).logits


# ---------------------------------------------------------------- the joint distribution


@st.composite
def vocabularies(draw):
    thinking = Thinking(draw(st.integers(1, 6)), draw(st.integers(1, 4)), 2, draw(st.booleans()))
    rows = st.lists(st.floats(-30, 30), min_size=thinking.size, max_size=thinking.size)
    return thinking, torch.tensor(draw(st.lists(rows, min_size=1, max_size=3)), dtype=torch.float64)


@given(vocabularies())
def test_the_joint_is_the_decision_times_what_follows_it(case):
    """The definition, number by number: sigma(z) and two softmaxes; it sums to one, and the gate is never drawn."""
    thinking, logits = case
    joint = thinking.joint(logits).exp()
    assert torch.allclose(joint.sum(-1), torch.ones(len(logits), dtype=torch.float64))
    for row, line in zip(joint.tolist(), logits.tolist(), strict=True):
        think = 1.0 if thinking.fixed else 1 / (1 + math.exp(-line[thinking.gate]))
        weights = [math.exp(value) for value in line]
        real, kinds = sum(weights[: thinking.real]), sum(weights[thinking.real : thinking.gate])
        due = [(1 - think) * weight / real for weight in weights[: thinking.real]]
        due += [think * weight / kinds for weight in weights[thinking.real : thinking.gate]]
        assert row == pytest.approx([*due, 0.0], abs=1e-9)


@given(vocabularies())
def test_where_there_is_no_room_only_real_tokens_follow(case):
    thinking, logits = case
    room = torch.arange(len(logits)) % 2 == 0
    joint = thinking.joint(logits, room)
    assert torch.equal(joint[room], thinking.joint(logits)[room])
    assert torch.allclose(joint[~room][:, : thinking.real], thinking.real_logprobs(logits)[~room])
    assert (joint[~room][:, thinking.real :] == -math.inf).all()


def test_drawing_from_the_joint_is_deciding_and_then_drawing():
    """Frequencies of both ways; with 20,000 draws five standard deviations of one are at most 0.018."""
    thinking, draws = Thinking(4, 3, 2), 20_000
    logits = torch.tensor([0.3, -1.0, 0.8, 0.1, 0.5, -0.4, 1.2, 0.2])
    rows = logits.expand(draws, -1)
    sampler, seeds = Sampler(), range(draws)
    once, _ = sampler.draw(thinking.joint(rows), [Sampling(1, seed=seed) for seed in seeds], [0] * draws)
    decisions = decide(thinking.decisions(rows), seeds, [1] * draws)
    real, _ = sampler.draw(thinking.real_logprobs(rows), [Sampling(1, seed=seed) for seed in seeds], [2] * draws)
    twice = [real[at] if made == 0 else thinking.real + made - 1 for at, made in enumerate(decisions)]
    first, second = (np.bincount(tokens, minlength=thinking.size) / draws for tokens in (once, twice))
    assert np.abs(first - second).max() < 0.018
    assert np.abs(first - thinking.joint(logits).exp().numpy()).max() < 0.018


@given(st.lists(st.integers(0, 9), max_size=12))
def test_runs_are_counted_from_the_last_real_token(tokens):
    thinking = Thinking(6, 4, 2)
    for place, run in enumerate(thinking.runs(tokens)):
        assert all(token >= 6 for token in tokens[place - run + 1 : place + 1])
        assert place - run < 0 or tokens[place - run] < 6


def test_a_model_is_extended_once_and_says_so(bases):
    model = copy.deepcopy(bases["untied"])
    assert thinking_of(model) is None
    assert extend(model, 3, 2) == thinking_of(model) == Thinking(260, 3, 2)
    with pytest.raises(ValueError, match="has thinking tokens already"):
        extend(model, 3, 2)


# ---------------------------------------------------------------- training


@pytest.mark.parametrize("kind", BASES)
def test_only_matrices_and_new_rows_learn(bases, kind):
    """After a step real rows are where they were, new ones are not, and both ends of a tied model moved together."""
    peft = trained(bases[kind])
    before = {name: tensor.clone() for name, tensor in peft.named_parameters()}
    learning = [parameter for parameter in peft.parameters() if parameter.requires_grad]
    peft(input_ids=torch.tensor([[1, 260, 261, 2, 262, 3]])).logits.logsumexp(-1).sum().backward()
    torch.optim.SGD(learning, lr=0.1).step()
    moved = {name for name, tensor in peft.named_parameters() if not torch.equal(tensor, before[name])}
    rows = [name for name in moved if "trainable_tokens_delta" in name]
    assert len(rows) == (2 if kind == "untied" else 1)
    assert all("lora_" in name or name in rows for name in moved)
    assert peft.get_input_embeddings().weight[:260].equal(bases[kind].get_input_embeddings().weight)
    same = peft.get_input_embeddings().weight.equal(peft.get_output_embeddings().weight)
    assert same == (kind != "untied")


def test_a_head_with_a_bias_is_refused(bases):
    model = copy.deepcopy(bases["untied"])
    model.lm_head = torch.nn.Linear(64, 260, bias=True)
    extend(model, 3, 2)
    with pytest.raises(ValueError, match="has a bias"):
        token_fields(model)


def test_a_model_without_thinking_tokens_has_no_rows_to_train(bases):
    with pytest.raises(ValueError, match="no thinking tokens"):
        token_fields(bases["tied"])


# ---------------------------------------------------------------- saving and loading


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("name", ["default", "other"])
def test_what_was_saved_answers_bit_for_bit(bases, kind, name, tmp_path):
    peft = trained(bases[kind])
    if name == "other":
        peft.add_adapter(name, LoraConfig(**LORA, **token_fields(peft.get_base_model())))
        peft.set_adapter(name)
    place = save(peft, tmp_path, "a base", name, iteration=3)
    assert torch.equal(answers(load(copy.deepcopy(bases[kind]), place).eval()), answers(peft))
    plain = copy.deepcopy(bases[kind])
    extend(plain, 3, 2)
    assert torch.equal(answers(PeftModel.from_pretrained(plain, str(place)).eval()), answers(peft))
    assert json.loads((place / STAMP).read_text()) == {
        "base": "a base",
        "iteration": 3,
        "thinking": {"real": 260, "kinds": 3, "most": 2, "fixed": False},
    }
    assert recorded(place) == Thinking(260, 3, 2)


def test_the_folder_holds_rows_and_no_table_even_where_peft_sees_that_the_vocabulary_grew(tmp_path):
    loaded = ModelSource.parse("tiny:blank").load()
    loaded.model.name_or_path = str(loaded.folder)
    place = save(trained(loaded.model), tmp_path, loaded.fingerprint)
    shapes = {tuple(tensor.shape) for tensor in load_file(place / "adapter_model.safetensors").values()}
    assert max(shape[0] for shape in shapes) < 260
    assert (4, 128) in shapes


def test_a_source_with_a_thinking_adapter_extends_its_base(tmp_path):
    loaded = ModelSource.parse("tiny:blank").load()
    peft = trained(loaded.model)
    save(peft, tmp_path / "a", loaded.fingerprint)
    found = ModelSource.parse(f"tiny:blank@{tmp_path / 'a'}").load()
    assert thinking_of(found.model) == Thinking(260, 3, 2)
    assert found.adapter is not None
    assert torch.equal(answers(PeftModel.from_pretrained(found.model, str(found.adapter)).eval()), answers(peft))
    assert thinking_of(ModelSource.parse("tiny:blank").load().model) is None


def test_adapters_of_other_kinds_and_other_bases_are_refused(bases, tmp_path):
    place = save(trained(bases["untied"]), tmp_path / "a", "another base")
    for kinds, most in ((4, 2), (3, 5)):
        model = copy.deepcopy(bases["untied"])
        extend(model, kinds, most)
        with pytest.raises(WrongBase, match=f"3 thinking tokens .* at most 2 .* extended with {kinds} .* most {most} "):
            prepare(model, place)
    larger = copy.deepcopy(bases["untied"])
    larger.resize_token_embeddings(300)
    with pytest.raises(WrongBase, match="a base of 260 tokens, this one has 300"):
        load(larger, place)
    with pytest.raises(WrongBase, match="trained on another base"):
        ModelSource.parse(f"tiny:blank@{place}").load()


@pytest.mark.parametrize(
    "change",
    [{"kinds": 4}, {"kinds": "3"}, {"real": 260.0}, {"most": -1}, {"fixed": "no"}, {"further": 1}, {"real": 261}],
)
def test_a_record_that_contradicts_the_rows_is_refused(bases, tmp_path, change):
    place = save(trained(bases["untied"]), tmp_path, "a base")
    record = json.loads((place / STAMP).read_text())
    record["thinking"] |= change
    (place / STAMP).write_text(json.dumps(record))
    with pytest.raises(ModelError, match="disagree on the thinking tokens"):
        recorded(place)


def test_ordinary_adapters_have_no_record(tmp_path: Path, bases):
    get_peft_model(copy.deepcopy(bases["untied"]), LoraConfig(**LORA)).save_pretrained(str(tmp_path))
    assert thinking_adapter.recorded(tmp_path) is None
    model = copy.deepcopy(bases["untied"])
    prepare(model, tmp_path)
    assert thinking_of(model) is None
