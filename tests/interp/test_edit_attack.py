"""Editing and attacking planted circuits: the circuit's places do it, random ones do not, and weights come back."""

import pytest
import torch

from palaestra.interp.circuits import attack, edit_effect, edited
from palaestra.interp.errors import InterpError
from palaestra.interp.intervene import Project, Zero, intervene
from tests.interp import kit
from tests.interp.planted import copy, induction

IDS = torch.tensor([[3, 1, 4, 1, 5, 9]])


@pytest.mark.parametrize("family", ["llama", "gpt2"])
@pytest.mark.parametrize("name", ["L1.H2", "L0.mlp"])
def test_an_edit_of_weights_is_the_intervention_and_is_undone(family, name):
    opened = kit.opened(family)
    before = opened(IDS)
    if name.endswith("mlp") and family == "gpt2":
        opened.anatomy.blocks[0].linear["down"].bias.zero_()  # a bias is no part of the weights
        before = opened(IDS)
    with intervene(opened, Zero(name)):
        zero = opened(IDS)
    with edited(opened, [name]):
        torch.testing.assert_close(opened(IDS), zero)
    assert torch.equal(opened(IDS), before)


def test_a_direction_is_taken_from_what_a_component_writes():
    opened = kit.opened("llama")
    direction = torch.randn(32, dtype=torch.float64)
    with intervene(opened, Project("L0.mlp", direction)):
        projected = opened(IDS)
    with edited(opened, ["L0.mlp"], direction=direction):
        torch.testing.assert_close(opened(IDS), projected)


def test_an_edit_of_the_circuit_removes_the_behaviour_and_random_ones_do_not():
    opened, pairs, _, _ = copy()
    found = edit_effect(opened, ["L1.H2"], pairs.clean, pairs.corrupt, random=6)
    assert found.target_after < 0.1 * found.target_before
    assert all(one > 0.9 * found.target_before for one in found.random_after)
    assert found.other_kl > 10 * max(found.random_kl)  # the other prompts are the same task, so they change, too


def test_what_cannot_be_edited_is_said():
    opened = kit.opened("llama+lora")
    with pytest.raises(InterpError, match="merge it"), edited(opened, ["L0.H0"]):
        pass
    with pytest.raises(InterpError, match="no output weights"), edited(opened, ["L0.norm1.scale"]):
        pass


def test_an_attack_goes_by_way_of_the_circuit():
    opened, pairs, _, _ = induction()
    found = attack(opened, pairs.clean, ["L1.H3"], flips=1, candidates=6)
    assert (found.flips <= 1).all()
    assert float(found.after.mean()) < 0.3 * float(found.before.mean())
    assert found.share_restored > 0.9
    elsewhere = attack(opened, pairs.clean, ["L1.H1"], flips=1, candidates=6)
    assert elsewhere.share_restored < 0.1
    plain = attack(opened, pairs.clean, ["L1.H3"], through=False, flips=1, candidates=6)
    assert plain.passes == found.passes
    with pytest.raises(InterpError, match="nothing to attack"):
        attack(opened, pairs.clean, ["L1.H3"], places=[5])
