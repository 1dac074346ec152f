"""Whole analyses on small models: a folder with plain data, tensors and a page, which a cut call goes on from."""

import json

import pytest
import torch
from safetensors.torch import load_file

from palaestra.agents.models.tiny.tokenizer import VOCAB_SIZE, make_tokenizer
from palaestra.agents.tokens import TokenizerCodec
from palaestra.interp.atlas import storage
from palaestra.interp.atlas.run import Options, make_atlas
from palaestra.interp.atlas.tree import Settings
from palaestra.interp.diff.analysis import STEPS, DiffPlan, analyse
from palaestra.interp.diff.pair import Pair, adapter_pair
from palaestra.interp.opened import OpenModel
from palaestra.interp.reasoning import study as studying
from palaestra.interp.reasoning.contexts import Written, read_reply
from palaestra.interp.reasoning.study import ReasoningPlan, study
from tests.interp import kit


def organism() -> Pair:
    """A model of bytes with one trained module, L1.down."""
    model = kit.with_lora(kit.llama(dtype=torch.float32, vocab_size=VOCAB_SIZE))
    for name, one in model.named_parameters():
        if "lora_B" in name:
            one.data.mul_(10.0 if "layers.1.mlp.down_proj" in name else 0.0)
    return adapter_pair(OpenModel(model, TokenizerCodec(make_tokenizer(512)), "organism"), None, "default")


@pytest.mark.slow
def test_a_diff_names_the_trained_module_and_goes_on_from_its_steps(tmp_path):
    pair, prompts = organism(), kit.pairs(8)
    plan = DiffPlan("tiny:blank", "<b>organism</b>", crosscoder=False)
    steps: list[str] = []
    page = analyse(pair, prompts, prompts.corrupt, plan, tmp_path, steps.append)
    assert steps == list(STEPS)
    found = {name: json.loads((tmp_path / f"{name}.json").read_text()) for name in STEPS}
    assert list(found["switching"]["divergence"]["modules"]) == ["L1.down"]
    assert found["crosscoder"] == {"nothing": "not asked for"}
    tensors = load_file(tmp_path / "switching.safetensors")
    effect = (tensors["metric.added"] + tensors["metric.removed"]) / 2
    assert float(effect.mean()) == pytest.approx(found["switching"]["metric"]["modules"]["L1.down"]["effect"])
    assert load_file(tmp_path / "edges.safetensors")["after"].shape == (4, found["edges"]["edges"])
    assert load_file(tmp_path / "lens.safetensors")["all"].shape == (4, 32)
    assert load_file(tmp_path / "suppression.safetensors")["restored"].shape == (4, 3)
    text = page.read_text()
    assert "&lt;b&gt;organism" in text
    assert "<b>organism" not in text
    times = {name: (tmp_path / f"{name}.json").stat().st_mtime_ns for name in STEPS}
    (tmp_path / "lens.json").unlink()
    analyse(pair, prompts, prompts.corrupt, plan, tmp_path)
    again = {name: (tmp_path / f"{name}.json").stat().st_mtime_ns for name in STEPS}
    assert [name for name in STEPS if again[name] != times[name]] == ["lens"]
    analyse(pair, kit.pairs(8, seed=1), prompts.corrupt, plan, tmp_path)
    assert all((tmp_path / f"{name}.json").stat().st_mtime_ns != again[name] for name in STEPS), "other prompts"


def test_identical_models_differ_in_nothing(tmp_path):
    opened = OpenModel(kit.llama(dtype=torch.float32))
    prompts = kit.pairs(4)
    page = analyse(Pair(opened, {}), prompts, prompts.corrupt, DiffPlan("a", "b"), tmp_path)
    assert page.read_text().count("Not measured: no module differs") == len(STEPS)


@pytest.fixture
def traced(monkeypatch, tmp_path):
    """`tiny:blank`, which has learnt nothing, with the words of a solver in its mouth: every part is measured of it."""
    monkeypatch.setenv("PALAESTRA_CACHE", str(tmp_path / "cache"))

    def solved(opened, one, given, **how) -> list[Written]:
        return [read_reply(one, some, some.reply, len(some.reply), True) for some in given]

    monkeypatch.setattr(studying, "replies", solved)
    monkeypatch.setattr("palaestra.interp.reasoning.dose.replies", solved)
    return ReasoningPlan(
        "tiny:blank", base="tiny:blank", problems=12, pairs=12, randoms=4, dosed=4, doses=(-1.0, 1.0), random_doses=1,
        layers=2, measured=4, batch=64,
    )  # fmt: skip


@pytest.mark.slow
def test_a_study_measures_every_part_and_goes_on(traced, tmp_path):
    said: list[str] = []
    found = study(traced, tmp_path / "out", said.append)
    assert found["replies"]["accuracy"]["mean"] == 1
    for way in ("switch", "stop"):
        one = found["components"][way]
        assert 1 < one["problems"] <= one["pairs"]
        assert len(one["necessity"]) == len(one["sufficiency"]) > 2
        # ranked on one half of the problems, measured on the other
        assert one["scores"]["prompts"] + one["necessity"][0]["n"] == one["pairs"]
    assert set(found["directions"]["switch"]["layers"]) == {"resid2", "resid3"}
    assert found["directions"]["switch"]["chosen"] == "resid2"
    assert set(found["doses"]["curves"]) == {"switch", "stop", "random 1"}
    swapped = found["tokens"]["tests"]["swap"]
    assert (swapped["critical"], swapped["control"]) == (pytest.approx(0, abs=1e-4), pytest.approx(0, abs=1e-4))
    assert set(load_file(tmp_path / "out" / "directions.safetensors")) == {
        f"{way}.resid{layer}" for way in ("switch", "stop") for layer in (2, 3)
    }
    text = (tmp_path / "out" / "index.html").read_text()
    assert "What turns a thought" in text
    assert "<script" not in text
    (tmp_path / "out" / "parts" / "components_stop.json").unlink()
    again: list[str] = []
    assert study(traced, tmp_path / "out", again.append)["components"] == found["components"]
    assert [line.partition(":")[0] for line in again if line.endswith(" s")] == ["components_stop"]


@pytest.mark.slow
def test_an_atlas_is_a_folder_and_its_work_is_taken_up_for_the_same_weights(tmp_path):
    """Random weights predict nothing, so every token is taken whatever it costs."""
    (tmp_path / "text.txt").write_text("the cat sat on the mat and the dog sat on the log. " * 6)
    opened = organism().opened
    options = Options(
        120, 40, context=32, most_loss=float("inf"), order=0,
        settings=Settings(most_groups=3, deepest=1, causal=False, batch=20),
    )  # fmt: skip
    said: list[str] = []
    where = tmp_path / "out"
    tree, about, page = make_atlas(
        opened, [tmp_path / "text.txt"], where, options, others=[tmp_path / "text.txt"], say=said.append
    )
    assert len(tree.tokens) == 40
    assert about["counts"]["read"] >= 120
    assert about["located"]["text.txt"]["verdict"]
    assert "<script" not in page.read_text()
    kept, data = storage.load(where)
    assert [one.name for one in kept.root.walk()] == [one.name for one in tree.root.walk()]
    assert data["options"]["profiles"] == 40
    work = {path.name for path in (where / "work").iterdir()}
    make_atlas(opened, [tmp_path / "text.txt"], where, options)
    assert {path.name for path in (where / "work").iterdir()} == work
    opened.anatomy.blocks[0].o.base_layer.weight.data.mul_(1.5)
    make_atlas(opened, [tmp_path / "text.txt"], where, options)
    assert {path.name for path in (where / "work").iterdir()} > work, "other weights, other work"
    (tmp_path / "other.txt").write_text("a stitch in time saves nine, said the tailor to the cobbler. " * 6)
    more = {path.name for path in (where / "work").iterdir()}
    make_atlas(opened, [tmp_path / "other.txt"], where, options)
    assert {path.name for path in (where / "work").iterdir()} > more, "other text, other work"
