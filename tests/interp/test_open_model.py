"""Models opened by name, with adapters that are really in them; passes do not grow with the number of prompts."""

import pytest
import torch
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file, save_file

from palaestra.agents.models.adapters import stamp
from palaestra.agents.models.sources import ModelSource
from palaestra.interp.capture import capture
from palaestra.interp.circuits import curve, discover
from palaestra.interp.errors import AdapterNotLanded, InterpError
from palaestra.interp.importance import METHODS, attribute, direct, edges, exact
from palaestra.interp.intervene import SwapAdapter, intervene
from palaestra.interp.opened import open_model
from tests.interp import kit

IDS = torch.tensor([[65, 66, 67, 68]])


def adapter(folder, seed, fill=0.1):
    source = ModelSource.parse("tiny:blank")
    model = get_peft_model(source.load().model, LoraConfig(r=2, target_modules=["q_proj", "down_proj"]))
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, one in model.named_parameters():
            if "lora_B" in name:
                one.copy_(fill * torch.randn_like(one))
    model.save_pretrained(folder)
    stamp(folder, source.fingerprint())
    return folder


def test_an_adapter_is_opened_and_another_beside_it(tmp_path):
    first, second = adapter(tmp_path / "a", 1), adapter(tmp_path / "b", 2)
    base = open_model("tiny:blank")(IDS)
    opened = open_model(f"tiny:blank@{first}")
    alone = open_model(f"tiny:blank@{second}")(IDS)
    assert not torch.allclose(opened(IDS), base)
    opened.add_adapter(second, "other")
    names = list(opened.adapted())
    assert len(names) == 2 * len(opened.anatomy.blocks)
    before = opened(IDS)
    with intervene(opened, *(SwapAdapter(name, "other") for name in names)):
        torch.testing.assert_close(opened(IDS), alone)
    with intervene(opened, *(SwapAdapter(name, None) for name in names)):
        torch.testing.assert_close(opened(IDS), base)
    assert torch.equal(opened(IDS), before)
    with pytest.raises(InterpError, match=r"'third' is not loaded"), intervene(opened, SwapAdapter(names[0], "third")):
        pass
    with pytest.raises(InterpError, match="holds no adapter"), intervene(opened, SwapAdapter("L0.mlp", None)):
        pass
    with pytest.raises(InterpError, match="without an adapter"):
        open_model("tiny:blank").add_adapter(first, "a")


def test_adapters_that_change_nothing_are_refused(tmp_path):
    zero = adapter(tmp_path / "zero", 1, fill=0.0)
    with pytest.raises(AdapterNotLanded, match="all of its B matrices are zero"):
        open_model(f"tiny:blank@{zero}")
    lost = adapter(tmp_path / "lost", 1)
    path = lost / "adapter_model.safetensors"
    weights = {name.replace("q_proj", "query"): value for name, value in load_file(path).items()}
    save_file(weights, path)
    with pytest.warns(UserWarning, match="missing adapter keys"), pytest.raises(AdapterNotLanded, match="query"):
        open_model(f"tiny:blank@{lost}")


def test_no_pass_holds_more_prompts_than_it_is_told_to():
    opened = kit.opened("llama")
    pairs = kit.pairs(11)
    seen = []
    opened.model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs["input_ids"].shape[0]), with_kwargs=True
    )
    for method in METHODS:
        attribute(opened, pairs, method=method, batch=3)
    attribute(opened, pairs.clean, reference="mean", batch=3)
    edges(opened, pairs, batch=3)
    exact(opened, pairs, nodes=["L0.H0"], batch=3)
    direct(opened, pairs.clean, batch=3)
    curve(opened, pairs, discover(opened, pairs, batch=3), shares=(0.1,), random=1, batch=3)
    assert max(seen) == 3


def test_names_are_checked_when_a_capture_begins():
    opened = kit.opened("gpt2")
    with capture(opened, ["L0.H0"]) as kept, pytest.raises(KeyError, match="no forward pass"):
        kept["L0.H0"]
