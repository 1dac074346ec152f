"""Opening a model: its parts add up, hooks leave no trace, interventions act, wrong set-ups are refused."""

import math

import pytest
import torch
from transformers import GPTNeoXConfig, GPTNeoXForCausalLM

from palaestra.envs.errors import UnknownName
from palaestra.interp.capture import capture
from palaestra.interp.checks import written
from palaestra.interp.errors import InterpError, UnequalTokens, UnsupportedArchitecture
from palaestra.interp.intervene import (
    MaskAttention,
    Mean,
    Patch,
    Project,
    Resample,
    Steer,
    SwapAdapter,
    Zero,
    intervene,
)
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs, Prompts
from tests.interp import kit

families = pytest.mark.parametrize("family", kit.FAMILIES)
IDS = torch.tensor([[3, 1, 4, 1, 5, 9], [2, 7, 1, 8, 2, 8]])


@families
def test_components_add_up_to_every_residual_stream(family):
    opened = kit.opened(family)
    writers = opened.writers()
    with capture(opened, [*writers, *(f"resid{layer}" for layer in range(4))]) as kept:
        opened(IDS)
    total = torch.zeros_like(kept["resid0"])
    for layer in range(4):
        for name in writers:
            if opened.component(name).layer == (layer - 1 if layer else None):
                total = total + written(opened, name, kept[name])
        torch.testing.assert_close(total, kept[f"resid{layer}"], rtol=1e-9, atol=1e-9)


@families
def test_hooks_leave_no_trace(family):
    opened = kit.opened(family)
    before = opened(IDS)
    everything = [name for name in opened.components if name != "unembed"]
    with capture(opened, everything, gradients=True) as kept:
        inside = opened(IDS)
        kept.gradients(inside.sum())
    with intervene(opened, Zero("L1.H2"), MaskAttention("L0.H0", torch.ones(6, 6).triu(1).bool())):
        changed = opened(IDS)
    assert torch.equal(inside.detach(), before)
    assert not torch.equal(changed, before)
    assert torch.equal(opened(IDS), before)
    assert not before.requires_grad


@families
def test_a_component_patched_with_its_own_value_changes_nothing(family):
    opened = kit.opened(family)
    names = list(opened.components)
    with capture(opened, names) as kept:
        before = opened(IDS)
    for name in names:
        with intervene(opened, Patch(name, kept[name])):
            torch.testing.assert_close(opened(IDS), before, rtol=1e-5, atol=1e-5)


@families
def test_gradients_are_slopes(family):
    """Of every kind of component, against a central difference along a random direction."""
    opened = kit.opened(family)
    generator = torch.Generator().manual_seed(1)
    kinds = {one.kind: name for name, one in opened.components.items() if name != "unembed"}
    read = torch.randn(kit.VOCABULARY, generator=generator, dtype=torch.float64)
    with capture(opened, kinds.values(), gradients=True) as kept:
        gradients = kept.gradients((opened(IDS)[:, -1] @ read).sum())
    for kind, name in kinds.items():
        value = kept[name].detach()
        along = torch.randn(value.shape, generator=generator, dtype=value.dtype)
        step = 1e-3  # norms compute in float32
        ends = []
        for sign in (1, -1):
            with intervene(opened, Patch(name, value + sign * step * along)):
                ends.append((opened(IDS)[:, -1] @ read).sum())
        slope = float((ends[0] - ends[1]) / (2 * step))
        assert float((gradients[name] * along).sum()) == pytest.approx(slope, rel=2e-3, abs=2e-3), (kind, name)


def test_captures_nest():
    opened = kit.opened("llama")
    with capture(opened, ["embed"], gradients=True) as outer, capture(opened, ["L1.mlp"], gradients=True) as inner:
        total = opened(IDS).sum()
    both = outer.gradients(total, keep_graph=True)["embed"], inner.gradients(total)["L1.mlp"]
    for name, found in zip(("embed", "L1.mlp"), both, strict=True):
        with capture(opened, [name], gradients=True) as alone:
            torch.testing.assert_close(alone.gradients(opened(IDS).sum())[name], found)
    assert both[0].any()
    assert not opened.tracking


def test_interventions_do_what_they_say():
    opened = kit.opened("llama")
    direction = torch.randn(32, dtype=torch.float64)
    unit = direction / direction.norm()
    at = torch.tensor([False, True, False, False, False, True])
    with capture(opened, ["resid1", "L0.H1"]) as before:
        opened(IDS)

    def seen(change):
        with intervene(opened, change), capture(opened, ["resid1", "L0.H1"]) as kept:
            opened(IDS)
        return kept[change.name]

    assert not seen(Zero("L0.H1")).any()
    moved = seen(Steer("resid1", direction, 3.0, at=at)) - before["resid1"]
    torch.testing.assert_close(moved, 3 * unit * at[None, :, None].double().expand(2, 6, 1))
    assert (seen(Project("resid1", direction)) @ unit).abs().max() < 1e-9
    torch.testing.assert_close(seen(Mean("L0.H1", before["L0.H1"]))[0, 0], before["L0.H1"].flatten(0, 1).mean(0))
    torch.testing.assert_close(seen(Resample("L0.H1", torch.tensor([1, 0]))), before["L0.H1"].flip(0))


def test_a_head_that_may_see_nothing_but_itself_returns_its_own_values():
    """Attention masked down to the diagonal gives softmax 1 on the own place."""
    opened = kit.opened("llama")
    alone = ~torch.eye(6, dtype=torch.bool)
    block = opened.anatomy.blocks[0]
    with intervene(opened, MaskAttention("L0.H3", alone)), capture(opened, ["L0.H3", "L0.H2", "resid0"]) as kept:
        opened(IDS)
    values = block.v.module(block.norm1(kept["resid0"]))
    torch.testing.assert_close(kept["L0.H3"], values[..., 8:16])  # the second group of keys and values
    with capture(opened, ["L0.H2"]) as plain:
        opened(IDS)
    torch.testing.assert_close(kept["L0.H2"], plain["L0.H2"])


def test_without_its_adapter_a_module_is_the_base():
    model = kit.llama()
    base = OpenModel(model)(IDS)
    opened = OpenModel(kit.with_lora(model))
    names = list(opened.adapted())
    assert "L2.down.delta" in names
    assert not torch.allclose(opened(IDS), base)
    with intervene(opened, *(SwapAdapter(name, None) for name in names)):
        torch.testing.assert_close(opened(IDS), base)
    with intervene(opened, *(Zero(name) for name in names)):
        torch.testing.assert_close(opened(IDS), base)


def test_filler_behind_a_prompt_is_not_seen():
    opened = kit.opened("gpt2")
    prompts = Prompts.of([[1, 2, 3], [4, 5, 6, 7, 8]], [[1], [1]])
    alone = Prompts.of([[1, 2, 3]], [[1]])
    torch.testing.assert_close(
        prompts.at_end(opened(prompts.ids))[0], alone.at_end(opened(alone.ids))[0], rtol=1e-9, atol=1e-9
    )


def test_wrong_set_ups_are_refused():
    neox = GPTNeoXForCausalLM(
        GPTNeoXConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).eval()
    with pytest.raises(UnsupportedArchitecture, match=r"gpt_neox.*gpt2, llama"):
        OpenModel(neox)
    with pytest.raises(InterpError, match="train mode"):
        OpenModel(kit.llama().train())
    scaled = kit.llama()
    scaled.model.layers[1].register_forward_hook(lambda module, args, output: output * 1.1)
    with pytest.raises(UnsupportedArchitecture, match="residual stream added up"):
        OpenModel(scaled)
    broken = kit.llama()
    broken.model.layers[0].mlp.down_proj.weight[0, 0] = math.nan
    with pytest.raises(InterpError, match="NaN"):
        OpenModel(broken)

    opened = kit.opened("llama")
    with pytest.raises(UnknownName, match=r"L3\.H1.*3 layers"), capture(opened, ["L3.H1"]):
        pass
    strange = Patch("L0.mlp", torch.ones(5, 5, 32))
    with pytest.raises(InterpError, match="cannot be patched"), intervene(opened, strange):
        opened(IDS)
    with pytest.raises(InterpError, match="point somewhere"), intervene(opened, Project("resid1", torch.zeros(32))):
        opened(IDS)
    with pytest.raises(InterpError, match="boolean mask"), intervene(opened, Zero("L0.mlp", at=torch.ones(4).bool())):
        opened(IDS)
    with (
        pytest.raises(InterpError, match="nothing to look at"),
        intervene(opened, MaskAttention("L0.H0", torch.ones(6, 6).bool())),
    ):
        opened(IDS)
    with pytest.raises(InterpError, match="no prompts"):
        Prompts.of([], [])
    with pytest.raises(InterpError, match="no prompts"):
        Prompts.of([[]], [[1]])
    with pytest.raises(UnequalTokens, match="do not line up"):
        Pairs(Prompts.of([[1, 2]], [[1]]), Prompts.of([[1, 2, 3]], [[1]]))
