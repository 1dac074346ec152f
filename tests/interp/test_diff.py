"""Before and after training, where what was changed is known: planted deltas, identical models, planted suppression."""

import copy

import pytest
import torch

from palaestra.interp.capture import capture
from palaestra.interp.components import Component, Slice
from palaestra.interp.diff.edges import circuit_of, compare_edges
from palaestra.interp.diff.lens import lens
from palaestra.interp.diff.pair import Pair, adapter_pair, whole_pair
from palaestra.interp.diff.statistics import discoveries, paired, simultaneous
from palaestra.interp.diff.suppression import suppression
from palaestra.interp.diff.switching import screen, switch
from palaestra.interp.diff.texts import changed_pairs
from palaestra.interp.errors import InterpError
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.metrics import log_probability, logit_difference
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs, Prompts
from tests.interp.kit import VOCABULARY, llama, with_lora
from tests.interp.planted import HEAD
from tests.interp.planted import copy as copy_task

TOKEN = 7


def rows(count: int, length: int = 9, seed: int = 3) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(VOCABULARY, (count, length), generator=generator).tolist()


def prompts(count: int = 16) -> Prompts:
    return Prompts.of(rows(count), [[TOKEN]] * count)


@pytest.fixture
def pair() -> Pair:
    return adapter_pair(OpenModel(with_lora(llama())), None, "default")


def only(model, name: str, size: float = 1.0) -> None:
    """Set all deltas but one module's to nothing."""
    for path, one in model.named_parameters():
        if "lora_B" in path:
            one.data.mul_(size if name in path else 0.0)


def test_the_ends_are_the_base_and_the_trained_model_bit_for_bit(pair):
    ids = prompts().ids
    model = pair.opened.model
    trained = pair.opened(ids)
    with model.disable_adapter():
        base = pair.opened(ids)
    with pair.before() as opened:
        assert torch.equal(opened(ids), base)
    with pair.after() as opened:
        assert torch.equal(opened(ids), trained)
    assert torch.equal(pair.opened(ids), trained), "the model is left as it was"


def test_switching_one_module_is_merging_its_delta_alone(pair):
    ids = prompts().ids
    merged = llama()
    weight = merged.model.layers[1].mlp.down_proj.weight
    weight.data += pair.switches["L1.down"].modules[0].get_delta_weight("default")
    with pair.after(["L1.down"]) as opened:
        assert torch.allclose(opened(ids), merged(input_ids=ids).logits, atol=1e-9)


def test_the_effects_of_an_additive_change_are_added_is_removed():
    """One module alone: what it adds to the base is what it takes from the trained model, and all there is."""
    model = with_lora(llama())
    only(model, "layers.2.mlp.down_proj")
    pair = adapter_pair(OpenModel(model), None, "default")
    assert pair.modules == ("L2.down",)
    found = switch(pair, prompts(), log_probability)
    assert torch.allclose(found.added, found.removed)
    assert torch.allclose(found.effect[:, 0], found.after - found.before)


def test_a_planted_module_is_first_by_behaviour_among_equal_decoys():
    """A rank-1 delta of the last down that writes TOKEN's direction where it reads its usual input, among random rank-1
    deltas of the same norm at every other module of the blocks."""
    modules = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    model = with_lora(llama(tie_word_embeddings=False), modules)
    opened = OpenModel(model)
    pair = adapter_pair(opened, None, "default")
    usual = Component("x", "delta", None, Slice(pair.switches["L2.down"].modules[0], "input"))
    with pair.before(), capture(opened, ["x"], places={"x": usual}) as kept:
        opened(prompts(32).ids)
        mean = kept["x"].flatten(0, 1).mean(0)
    for name, switched in pair.switches.items():
        module = switched.modules[0]
        a, b = (one["default"].weight.data for one in (module.lora_A, module.lora_B))
        a[1:], b[:, 1:] = 0, 0
        if name == "L2.down":
            a[0], b[:, 0] = mean, opened.anatomy.unembed.weight[TOKEN]
        b.mul_(3.0 / module.get_delta_weight("default").norm())
    pair = adapter_pair(opened, None, "default")
    sizes = pair.sizes().values()
    assert max(sizes) - min(sizes) < 1e-6, "norms tell nothing here"
    found = switch(pair, prompts(32), log_probability)
    assert found.ranking()[0] == "L2.down"
    assert "L2.down" in found.reported()


def test_nothing_is_reported_between_identical_models(pair):
    assert adapter_pair(pair.opened, "default", "default").modules == ()
    same = whole_pair(OpenModel(llama()), OpenModel(llama()))
    assert same.modules == ()
    assert switch(same, prompts()).reported() == []


def test_whole_models_are_switched_like_adapters():
    before, after = llama(), llama()
    after.model.layers[0].self_attn.v_proj.weight.data *= 1.5
    after.model.norm.weight.data += 0.1
    pair = whole_pair(OpenModel(before), OpenModel(copy.deepcopy(after)))
    assert pair.modules == ("L0.v", "final")
    ids = prompts().ids
    start = pair.opened(ids)
    with pair.after() as opened:
        assert torch.equal(opened(ids), after(input_ids=ids).logits)
    assert torch.equal(pair.opened(ids), start)


def test_models_of_other_shapes_are_refused():
    with pytest.raises(InterpError, match="different shapes"):
        whole_pair(OpenModel(llama()), OpenModel(llama(intermediate_size=40)))


def test_the_screen_is_exact_to_first_order():
    model = with_lora(llama())
    only(model, "layers", 1e-4)
    pair = adapter_pair(OpenModel(model), None, "default")
    estimate = screen(pair, prompts(), log_probability)
    exact = switch(pair, prompts(), log_probability)
    for name in ("L0.q", "L1.v", "L2.up"):
        measured = exact.removed[:, exact.names.index(name)]
        assert torch.allclose(estimate[name], measured, rtol=0.02, atol=1e-6), name


def test_simultaneous_intervals_report_nothing_of_noise_and_find_a_shift():
    generator = torch.Generator().manual_seed(0)
    wrong = 0
    for seed in range(40):
        low, high = simultaneous(torch.randn(16, 300, generator=generator), samples=300, seed=seed).unbind(-1)
        wrong += bool(((low > 0) | (high < 0)).any())
    assert wrong <= 6, "about 2 of 40 at 95 %"
    values = torch.randn(16, 300, generator=generator)
    values[:, 5] += 4
    low, _ = simultaneous(values).unbind(-1)
    assert low[5] > 0
    assert int((low > 0).sum()) == 1


def test_discoveries_are_true_at_the_stated_rate_where_intervals_for_all_at_once_see_little():
    generator = torch.Generator().manual_seed(1)
    nothing, false, power = 0, [], []
    for seed in range(40):
        values = torch.randn(8, 300, generator=generator) * torch.randn(8, 1, generator=generator).exp()
        nothing += not bool(discoveries(values, seed=seed).any())
        values[:, :30] += 3
        named = discoveries(values, seed=seed)
        false.append(float(named[30:].sum() / named.sum().clamp_min(1)))
        power.append(float(named[:30].float().mean()))
    assert nothing >= 34, "about 2 of 40 at 5 %"
    assert sum(false) / 40 < 0.07
    assert sum(power) / 40 > 0.5
    low, _ = simultaneous(values).unbind(-1)
    assert int((low > 0).sum()) < int(named.sum())


def test_paired_intervals_cover_the_mean():
    generator = torch.Generator().manual_seed(2)
    low, high = paired(2 + torch.randn(40, 500, generator=generator)).unbind(-1)
    assert 0.90 < float(((low < 2) & (high > 2)).float().mean()) < 0.97


def pairs(count: int = 8) -> Pairs:
    clean, other = rows(count), rows(count, seed=8)
    answers, foils = [[TOKEN]] * count, [[3]] * count
    return Pairs(Prompts.of(clean, answers, foils), Prompts.of(other, answers, foils))


def test_a_weakened_planted_head_loses_exactly_its_own_edges():
    """In a model that answers by one head, half of what the head writes is taken away: its edges are weaker; two equal
    states differ in no edge."""
    opened, asked, _, planted_edges = copy_task()
    changed = copy.deepcopy(opened.model)
    changed.transformer.h[1].attn.c_proj.weight.data[2 * HEAD : 3 * HEAD] *= 0.5
    diff = compare_edges(whole_pair(opened, OpenModel(changed)), asked, batch=16)
    assert planted_edges <= set(diff.changes)
    assert diff.changes["L1.H2->logits"] == "weaker"
    same = compare_edges(Pair(opened, {}), asked, batch=16)
    assert same.distance == 0
    assert same.changes == {}
    assert len(circuit_of(diff, "after", 5, "x")) == 5


def test_the_lens_reads_a_planted_token():
    """down of the last layer writes TOKEN's direction whatever comes in."""
    model = with_lora(llama(tie_word_embeddings=False), ["down_proj"])
    only(model, "layers.2.", 0.0)
    opened = OpenModel(model)
    module = opened.anatomy.blocks[1].linear["down"]
    module.lora_B["default"].weight.data.copy_(opened.anatomy.unembed.weight[TOKEN][:, None].expand(-1, 3))
    module.lora_A["default"].weight.data.abs_()
    found = lens(adapter_pair(opened, None, "default"), prompts(24), first=None)
    assert found[0].told == 0, "nothing is added before the first block"
    # the sign of what down reads is not ours, so the token is the most or the least promoted one
    last = found[-1]
    from palaestra.interp.diff.lens import promotion

    promoted = promotion(adapter_pair(opened, None, "default"), last.direction)
    assert TOKEN in (int(promoted.argmax()), int(promoted.argmin()))


def suppressed_pair(layer: int, size: float = -1.0, count: int = 12) -> tuple[Pair, Pairs]:
    """A base that answers by its last token: later layers do the work. Training turns the outputs of one layer."""
    before, after = llama(), llama()
    block = after.model.layers[layer]
    block.mlp.down_proj.weight.data.mul_(size)
    block.self_attn.o_proj.weight.data.mul_(size)
    pair = whole_pair(OpenModel(before), OpenModel(after))
    clean, other = rows(count), rows(count, seed=8)
    with pair.before() as opened:
        blank = Prompts.of(clean, [[0]] * count)
        answers = blank.at_end(opened(blank.ids)).argmax(-1)[:, None].tolist()
        foils = blank.at_end(opened(Prompts.of(other, [[0]] * count).ids)).argmax(-1)[:, None].tolist()
    return pair, Pairs(Prompts.of(clean, answers, foils), Prompts.of(other, answers, foils))


def test_a_change_before_the_work_is_undone_by_restoring_and_one_after_it_is_not():
    pair, asked = suppressed_pair(0)
    found = suppression(pair, asked)
    restored = found.restored[:, 0]
    assert torch.allclose(restored[1:].double(), torch.ones(3, dtype=torch.double), atol=1e-6), "all of it is upstream"
    assert abs(float(restored[0])) < 1e-6
    late, asked = suppressed_pair(2)
    found = suppression(late, asked)
    assert torch.allclose(found.restored[:3, 0].double(), torch.zeros(3, dtype=torch.double), atol=1e-6)
    assert torch.allclose(found.read[:3, 0].double(), torch.ones(3, dtype=torch.double), atol=1e-6)


def test_work_that_waits_for_its_input_is_suppressed_and_work_that_was_destroyed_is_gone():
    found = suppression(*suppressed_pair(0, -8.0, 24))
    assert (found.points[found.entrance], found.verdict) == ("resid1", "suppressed")
    assert float(found.own[1]) > 0
    found = suppression(*suppressed_pair(1, -8.0, 24))
    assert (found.points[found.entrance], found.verdict) == ("resid1", "gone")
    assert suppression(*suppressed_pair(1, 1.001, 24)).verdict == "kept"


def test_what_any_activations_restore_or_prompts_hardly_ask_for_is_unclear():
    from palaestra.interp.diff.suppression import _verdict

    whole, nothing = torch.tensor([1.0, 0.8, 1.2]), torch.tensor([0.1, -0.2, 0.4])
    assert _verdict([1.0, -1.0, -1.0], whole, whole) == "suppressed"
    assert _verdict([1.0, -1.0, -1.0], whole, nothing) == "unclear"
    assert _verdict([1.0, -1.0, 0.9], nothing, nothing) == "unclear"
    assert _verdict([1.0, -1.0, -1.0], nothing, nothing) == "gone"


def test_the_control_restores_with_the_activations_of_the_prompt_before():
    pair, asked = suppressed_pair(0, -8.0, 6)
    found = suppression(pair, asked, batch=4)
    with pair.before() as opened:
        with capture(opened, ["resid1"]) as kept:
            before = logit_difference(opened(asked.clean.ids), asked.clean)
        other = kept["resid1"][[5, 0, 1, 2, 3, 4]]
    with pair.after() as opened:
        after = logit_difference(opened(asked.clean.ids), asked.clean)
        with intervene(opened, Patch("resid1", other)):
            restored = logit_difference(opened(asked.clean.ids), asked.clean)
    expected = (restored - after).mean() / (before - after).mean()
    assert float(found.control[1, 0]) == pytest.approx(float(expected), abs=1e-5)


def test_suppression_of_what_the_base_does_not_do_is_refused():
    pair, asked = suppressed_pair(0)
    with pytest.raises(InterpError, match="same on clean and corrupt"):
        suppression(pair, Pairs(asked.clean, asked.clean))


def test_chosen_answers_are_what_training_made_likelier(pair):
    made = changed_pairs(pair, rows(6))
    with pair.before() as opened:
        before = made.clean.at_end(opened(made.clean.ids)).log_softmax(-1)
    with pair.after() as opened:
        after = made.clean.at_end(opened(made.clean.ids)).log_softmax(-1)
    gained = (after - before).gather(1, made.clean.answers)
    lost = (after - before).gather(1, made.clean.foils)
    assert bool((gained > 0).all())
    assert bool((lost < 0).all())
    assert torch.equal(made.clean.ids[:, 0], made.corrupt.ids[:, 0])
