"""Folders of analyses: parts are taken up for the same weights and prompts, and made again for others of that name."""

import copy
import json

import numpy as np
import pytest
import torch

from palaestra.agents.models.sources import ModelSource
from palaestra.interp.circuits.analysis import CircuitPlan, analyse
from palaestra.interp.diff.pair import adapter_pair, whole_pair
from palaestra.interp.errors import InterpError
from palaestra.interp.folder import begin, contents_of
from palaestra.interp.opened import OpenModel
from tests.interp import kit


def test_contents_are_those_of_weights_adapters_and_prompts_and_not_of_names():
    model = kit.with_lora(kit.llama())
    opened = OpenModel(model, name="a")
    first = contents_of(opened)
    assert contents_of(OpenModel(kit.with_lora(kit.llama()), name="b")) == first
    with model.disable_adapter():
        assert contents_of(opened) != first, "an adapter that is not live"
    for name, one in model.named_parameters():
        if name.endswith("layers.1.mlp.down_proj.lora_B.default.weight"):
            one.data[0, 0] += 1e-9
    assert contents_of(opened) != first, "one number of an adapter"
    pairs = kit.pairs()
    assert contents_of(pairs) == contents_of(kit.pairs())
    assert contents_of(pairs) != contents_of(kit.pairs(seed=1))
    assert contents_of([1], [2]) != contents_of([1, 2], [])
    assert contents_of(np.arange(4)) != contents_of(np.arange(4).reshape(2, 2))
    assert contents_of(torch.zeros(2)) != contents_of(torch.zeros(2, dtype=torch.int32))


def test_a_pair_of_whole_models_holds_the_second_ones_weights():
    after = kit.llama()
    after.model.layers[0].mlp.up_proj.weight.data += 0.1
    pair = whole_pair(OpenModel(kit.llama()), OpenModel(after))
    first = contents_of(pair.weights())
    after.model.layers[0].mlp.up_proj.weight.data[0, 0] += 1
    assert contents_of(whole_pair(OpenModel(kit.llama()), OpenModel(after)).weights()) != first
    lora = adapter_pair(OpenModel(kit.with_lora(kit.llama())), None, "default")
    assert [name for name, *_ in lora.weights()] == list(lora.modules)


def test_a_source_is_its_base_and_the_files_of_its_adapter(tmp_path, monkeypatch):
    monkeypatch.setenv("PALAESTRA_CACHE", str(tmp_path / "cache"))
    base = ModelSource.parse("tiny:blank")
    loaded = base.load()
    kit.with_lora(loaded.model).save_pretrained(str(tmp_path / "adapter"))
    source = ModelSource.parse(f"tiny:blank@{tmp_path / 'adapter'}")
    first = contents_of(source)
    assert first == contents_of(source) != contents_of(base)
    kit.with_lora(base.load().model, seed=1).save_pretrained(str(tmp_path / "adapter"))
    assert contents_of(source) != first


def test_parts_of_other_contents_are_taken_out_and_other_plans_refused(tmp_path):
    part, page = tmp_path / "points" / "1.json", tmp_path / "index.html"
    begin(tmp_path, {"model": "x", "doses": (1, 2)}, "one", ("points/*",))
    part.parent.mkdir()
    part.write_text("{}")
    page.write_text("kept")
    begin(tmp_path, {"model": "x", "doses": (1, 2)}, "one", ("points/*",))
    assert part.exists()
    begin(tmp_path, {"model": "x", "doses": (1, 2)}, "two", ("points/*",))
    assert not part.exists()
    assert page.exists()
    with pytest.raises(InterpError, match="results of another plan"):
        begin(tmp_path, {"model": "y"}, "two", ("points/*",))
    for text in ("{", "[1]"):
        (tmp_path / "plan.json").write_text(text)
        with pytest.raises(InterpError, match=r"plan\.json is damaged"):
            begin(tmp_path, {"model": "x"}, "two", ("points/*",))
    (tmp_path / "plan.json").unlink()
    part.write_text("{}")
    with pytest.raises(InterpError, match=r"holds 1\.json of something else"):
        begin(tmp_path, {"model": "x"}, "two", ("points/*",))
    assert part.exists(), "what belongs to somebody else is left alone"
    (tmp_path / "file").write_text("")
    with pytest.raises(InterpError, match="cannot be written"):
        begin(tmp_path / "file", {}, "", ())


@pytest.mark.slow
def test_an_analysis_of_retrained_weights_is_made_again(tmp_path, monkeypatch):
    """The same name, plan and folder; other weights. What was found of the old ones may not be shown of the new."""
    model = kit.llama(dtype=torch.float32)
    pairs = kit.pairs(4, uneven=False)
    plan = CircuitPlan("runs/x", "task", 4, random=0, steps=0)
    analyse(OpenModel(model), pairs, plan, tmp_path)
    first = json.loads((tmp_path / "summary.json").read_text())
    at = (tmp_path / "circuit.json").stat().st_mtime_ns
    analyse(OpenModel(copy.deepcopy(model)), pairs, plan, tmp_path)
    assert (tmp_path / "circuit.json").stat().st_mtime_ns == at
    model.model.layers[1].self_attn.v_proj.weight.data.mul_(-1)
    with monkeypatch.context() as cut:
        cut.setattr("palaestra.interp.circuits.analysis.ranked", None)
        with pytest.raises(TypeError):
            analyse(OpenModel(model), pairs, plan, tmp_path)
    assert [one.name for one in tmp_path.iterdir() if one.is_file()] == ["plan.json"], "a page of the old weights"
    analyse(OpenModel(model), pairs, plan, tmp_path)
    again = json.loads((tmp_path / "summary.json").read_text())
    assert (tmp_path / "circuit.json").stat().st_mtime_ns > at
    assert again["clean"] != first["clean"]
    assert again["curve"]["points"][-1]["faithfulness"] == pytest.approx(1, abs=1e-3)
