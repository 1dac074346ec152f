"""Teaching an adapter: what it learns with, that a cut run goes on bit for bit, and what is refused."""

import dataclasses
import json

import pytest
import torch

from palaestra.agents.models.sources import ModelSource
from palaestra.agents.models.tiny.recipes import Training
from palaestra.envs.errors import OptionError, PalaestraError
from palaestra.interp import teaching
from palaestra.interp.arithmetic import base
from palaestra.interp.arithmetic import teaching as lessons
from palaestra.interp.arithmetic.analysis import taught
from palaestra.interp.arithmetic.teaching import TeachingPlan, last_logits, teach
from palaestra.interp.opened import open_model
from tests.interp.arithmetic_kit import SMALL

PLAN = TeachingPlan(kinds=("cheaper",), style="terse", steps=6, batch=8, rate=1e-2, rank=2, judged=16)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("PALAESTRA_CACHE", str(tmp_path / "cache"))
    return base.deals(lambda line: None, SMALL, None)


def run(folder, out, plan=PLAN, said=None):
    loaded = ModelSource.parse(str(folder)).load()
    return teach(loaded, loaded.codec.tokenizer, plan, out, ([] if said is None else said).append)


def test_a_cut_run_goes_on_bit_for_bit(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(teaching, "KEEP_SECONDS", 0.0)
    whole = run(folder, tmp_path / "whole")
    loss = lessons.loss_of

    def cut(model, tokenizer, plan, number):
        if number == 4:
            raise KeyboardInterrupt
        return loss(model, tokenizer, plan, number)

    monkeypatch.setattr(lessons, "loss_of", cut)
    with pytest.raises(KeyboardInterrupt):
        run(folder, tmp_path / "cut")
    assert not (tmp_path / "cut" / "adapter").exists()
    steps = []

    def counted(model, tokenizer, plan, number):
        steps.append(number)
        return loss(model, tokenizer, plan, number)

    monkeypatch.setattr(lessons, "loss_of", counted)
    again = run(folder, tmp_path / "cut")
    assert steps == [4, 5]
    assert {**again, "seconds": 0} == {**whole, "seconds": 0}
    weights = "adapter/adapter_model.safetensors"
    assert (tmp_path / "cut" / weights).read_bytes() == (tmp_path / "whole" / weights).read_bytes()
    assert not (tmp_path / "cut" / "teaching").exists()
    steps.clear()
    assert run(folder, tmp_path / "cut") == again  # a finished run is not run again
    assert not steps


def test_the_adapter_opens_by_its_folder_and_says_how_it_was_taught(folder, tmp_path):
    result = run(folder, tmp_path / "out")
    source = f"{folder}@{tmp_path / 'out'}"
    opened = open_model(source)
    assert len(opened.adapted()) == 2 * 7
    assert taught(source)["after"] == result["after"]
    assert taught(str(folder)) is None
    accuracy = result["after"]["accuracy"]["all"]
    assert accuracy["low"] < accuracy["mean"] < accuracy["high"]


def test_teaching_teaches(folder, tmp_path):
    """Forty steps make a model with random weights answer with yes or no, and with nothing else."""
    said = []
    plan = dataclasses.replace(PLAN, steps=40, batch=16)
    result = run(folder, tmp_path / "out", plan, said)
    assert result["before"]["answered"] < 0.2
    assert result["after"]["answered"] > 0.95
    assert said[0].startswith("before teaching, right on held-out numbers: cheaper ")


def test_the_last_logits_do_not_depend_on_the_rows_beside(folder):
    model = ModelSource.parse(str(folder)).load().model
    short, long = [256, 67, 50], [256, 67, 50, 54, 32, 50, 48]
    with torch.no_grad():
        both = last_logits(model, [short, long], 256)
        alone = last_logits(model, [short], 256)
    assert torch.allclose(both[0], alone[0], atol=1e-5)


def test_what_is_refused(folder, tmp_path):
    run(folder, tmp_path / "out")
    with pytest.raises(PalaestraError, match="holds an adapter that was taught otherwise; name another folder"):
        run(folder, tmp_path / "out", dataclasses.replace(PLAN, seed=1))
    loaded = ModelSource.parse(f"{folder}@{tmp_path / 'out'}").load()
    with pytest.raises(PalaestraError, match="has an adapter already; teach a base"):
        teach(loaded, loaded.codec.tokenizer, PLAN, tmp_path / "other", print)
    (tmp_path / "out" / "teaching.json").write_text("{")
    with pytest.raises(PalaestraError, match="is damaged; name another folder"):
        run(folder, tmp_path / "out")
    with pytest.raises(OptionError, match="steps is 0; it must be at least 1"):
        TeachingPlan(steps=0)
    with pytest.raises(OptionError, match="rate is 0; it must be above 0"):
        TeachingPlan(rate=0)


def test_the_base_is_taught_numbers_and_not_answers(tmp_path, monkeypatch):
    monkeypatch.setenv("PALAESTRA_CACHE", str(tmp_path))
    said = []
    built = base.deals(said.append, SMALL, Training(steps=3, batch_tokens=512, rate=1e-3, games=60))
    report = json.loads((built / "recipe.json").read_text())
    assert report["tokens"] > 0
    assert "held-out loss" in said[-1]
    assert base.deals(said.append, SMALL, Training(steps=3, batch_tokens=512, rate=1e-3, games=60)) == built
    tokenizer = ModelSource.parse(str(built)).codec().tokenizer
    rows = [tokenizer.decode(row.ids[1:]) for row in base._rows(tokenizer, 400, 0)]
    answered = [row for row in rows if row.endswith(("?yes", "?no"))]
    assert 60 < len(answered) < 140
    assert 0.3 < sum(row.endswith("yes") for row in answered) / len(answered) < 0.7
