"""Attributions against the identities they must obey and the patching they estimate."""

import pytest
import torch

from palaestra.interp.capture import capture
from palaestra.interp.errors import InterpError
from palaestra.interp.importance import attribute, direct, edges, exact, ranked
from palaestra.interp.importance.rules import rules
from palaestra.interp.importance.scores import bootstrap
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.metrics import log_probability, logit_difference
from palaestra.interp.prompts import Pairs, Prompts
from tests.interp import kit

families = pytest.mark.parametrize("family", kit.FAMILIES)


@families
def test_direct_contributions_add_up_to_the_logit_difference(family):
    opened = kit.opened(family)
    for prompts in (kit.pairs().clean, Prompts.of([[1, 2, 3]], [[4]])):  # with foils, and against all tokens
        found = direct(opened, prompts)
        torch.testing.assert_close(found.values.sum(1), found.clean, rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(found.clean, logit_difference(opened(prompts.ids), prompts))


@families
def test_a_writers_edges_add_up_to_the_writer(family):
    opened = kit.opened(family)
    pairs = kit.pairs()
    found = edges(opened, pairs, batch=2)
    nodes = attribute(opened, pairs, nodes=found.writers, method="gradient", batch=3)
    torch.testing.assert_close(found.values.sum(-1), nodes.values, rtol=1e-5, atol=1e-6)
    assert not found.values[:, ~found.allowed].any()


def test_edges_need_the_live_adapter():
    """The same identity fails with the base's weights in place of the adapted ones, so the test above has power."""
    opened = kit.opened("llama+lora")
    pairs = kit.pairs()
    nodes = attribute(opened, pairs, method="gradient")
    found = edges(opened, pairs)
    for layer in opened.adapted().values():
        layer.scaling["default"] = 0.0
    base = edges(opened, pairs)
    assert not torch.allclose(base.values.sum(-1), nodes.only(base.writers).values, atol=1e-2)
    assert torch.allclose(found.values.sum(-1), nodes.only(found.writers).values, atol=1e-5)


@families
def test_small_differences_are_attributed_exactly(family):
    """Where the corrupt run is close to the clean one, patching is linear, and every gradient method is patching."""
    opened = kit.opened(family)
    pairs = kit.pairs(3, uneven=False)
    names = [name for name in opened.writers() if not name.endswith("bias")]
    with capture(opened, names) as kept:
        opened(pairs.corrupt.ids)
    there = {name: kept[name] for name in names}
    with capture(opened, names, gradients=True) as kept:
        gradients = kept.gradients(logit_difference(opened(pairs.clean.ids), pairs.clean).sum())
        here = {name: kept[name].detach() for name in names}
    clean = logit_difference(opened(pairs.clean.ids), pairs.clean)
    for name in names:
        near = torch.lerp(here[name], there[name], 1e-3)
        with intervene(opened, Patch(name, near)):
            patched = clean - logit_difference(opened(pairs.clean.ids), pairs.clean)
        estimate = ((here[name] - near) * gradients[name]).sum((-1, -2))
        torch.testing.assert_close(estimate, patched, rtol=2e-2, atol=1e-5)


def test_integrated_gradients_are_complete():
    """The embeddings' integrated gradients add up to the metric's difference (Sundararajan et al. 2017, axiom)."""
    opened = kit.opened("gpt2")
    pairs = kit.pairs()
    errors = []
    for steps in (4, 64):
        found = attribute(opened, pairs, nodes=["embed"], method="integrated", steps=steps)
        errors.append(float((found.values[:, 0] - (found.clean - found.corrupt)).abs().max()))
        assert found.facts["steps"] == steps
    assert errors[1] < 0.02 * float((found.clean - found.corrupt).abs().max())
    assert errors[1] < errors[0]
    converged = attribute(opened, pairs, method="integrated")
    assert converged.facts["steps"] in (8, 16, 32, 64)


@families
def test_rules_change_no_value(family):
    opened = kit.opened(family)
    ids = kit.pairs().clean.ids
    with capture(opened, ["embed"], gradients=True) as kept:
        plain, before = opened(ids), None
        before = kept.gradients(plain.sum())["embed"]
    with rules(opened), capture(opened, ["embed"], gradients=True) as kept:
        ruled = opened(ids)
        after = kept.gradients(ruled.sum())["embed"]
    assert torch.equal(plain.detach(), ruled.detach())
    assert not torch.allclose(before, after)


def test_under_the_rules_a_gated_mlp_is_attributed_in_full():
    """Halved gates and activations as constants make an MLP homogeneous: gradient times input is its output (LRP)."""
    opened = kit.opened("llama")
    ids = kit.pairs().clean.ids
    read = torch.randn(32, dtype=torch.float64)
    block = opened.anatomy.blocks[1]
    with rules(opened, norms=False):
        x = torch.randn(2, 3, 32, dtype=torch.float64, requires_grad=True)
        out = (block.mlp(x) @ read).sum()
        (gradient,) = torch.autograd.grad(out, x)
    torch.testing.assert_close((gradient * x).sum(), out)
    assert opened(ids).isfinite().all()


@pytest.mark.parametrize("family", ["llama", "gpt2"])
def test_exact_patching_of_everything_is_the_corrupt_run(family):
    opened = kit.opened(family)
    pairs = kit.pairs()
    found = exact(opened, pairs, nodes=["resid0", "resid1", "resid3"], batch=2)
    torch.testing.assert_close(found.values, (found.clean - found.corrupt)[:, None].expand(-1, 3), rtol=1e-5, atol=1e-5)


def test_ranked_measures_the_first_and_says_how_well_the_rest_is_estimated():
    opened = kit.opened("llama")
    pairs = kit.pairs()
    found = ranked(opened, pairs, nodes=opened.writers(), count=5)
    measured = exact(opened, pairs, nodes=sorted(found.exact))
    for name in found.exact:
        torch.testing.assert_close(found[name], measured[name])
    assert len(found.exact) == 5
    assert -1 <= found.facts["agreement"] <= 1
    data = found.as_json()["scores"]
    assert data[found.top(1)[0]]["low"] <= data[found.top(1)[0]]["mean"] <= data[found.top(1)[0]]["high"]


def test_places_add_up_and_batches_do_not_matter():
    opened = kit.opened("llama+lora")
    pairs = kit.pairs()
    whole = attribute(opened, pairs, batch=5)
    parts = attribute(opened, pairs, batch=2, by_place=True)
    torch.testing.assert_close(whole.values, parts.by_prompt)
    assert parts.values.shape == (5, len(whole.names), 7)
    for reference in ("zero", "mean"):
        one = attribute(opened, pairs.clean, log_probability, reference=reference, batch=2)
        other = attribute(opened, pairs.clean, log_probability, reference=reference)
        torch.testing.assert_close(one.values, other.values)


def test_by_the_zero_reference_a_linear_readout_is_its_direct_contribution():
    """The last MLP acts on the logits through the final norm alone, whose scale the rules freeze."""
    opened = kit.opened("llama")
    prompts = kit.pairs(uneven=False).clean
    zero = attribute(opened, prompts, reference="zero", method="rules")
    torch.testing.assert_close(zero["L2.mlp"], direct(opened, prompts)["L2.mlp"], rtol=1e-4, atol=1e-4)


def test_nothing_to_attribute_is_refused():
    opened = kit.opened("llama")
    pairs = kit.pairs()
    same = Pairs(pairs.clean, pairs.clean)
    for method in (attribute, edges):
        with pytest.raises(InterpError, match="same on clean and corrupt"):
            method(opened, same)
    with pytest.raises(InterpError, match="give Pairs"):
        attribute(opened, pairs.clean)


def test_rows_of_one_group_are_drawn_together():
    """Twenty copies of each of five numbers say no more than the five; row by row they would seem to."""
    five = torch.tensor([[0.0], [1.0], [2.0], [3.0], [4.0]])
    groups = torch.arange(5).repeat_interleave(20)
    copies = bootstrap(five.repeat_interleave(20, 0), groups=groups + 7)
    assert torch.equal(copies, bootstrap(five))
    width, alone = (float(one[0, 1] - one[0, 0]) for one in (copies, bootstrap(five.repeat_interleave(20, 0))))
    assert width > 3 * alone
    uneven = torch.tensor([[1.0], [1.0], [1.0], [5.0]])
    low, high = bootstrap(uneven, groups=torch.tensor([0, 0, 0, 1]))[0].tolist()
    assert (low, high) == (1.0, 5.0), "a draw of the second group alone has its mean, not a weighted one"
