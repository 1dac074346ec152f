"""Reasoning: traces with known turns, twins that differ in what is asked alone, a planted switch that must be found and
nothing where none was planted, words whose meaning was exchanged, and thoughts that are used or not."""

from __future__ import annotations

import copy
import dataclasses
import re
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from palaestra.agents.models.sources import ModelSource
from palaestra.agents.models.tiny.search import FAILED, FOUND, Tree, write_traces
from palaestra.agents.models.tiny.tokenizer import VOCAB_SIZE, make_tokenizer
from palaestra.agents.tokens import TokenizerCodec
from palaestra.envs.errors import OptionError, PalaestraError
from palaestra.envs.seeding import Dice
from palaestra.interp.errors import InterpError
from palaestra.interp.intervene import Steer, Zero
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs, Prompts
from palaestra.interp.reasoning.contexts import contrast, spots
from palaestra.interp.reasoning.contexts import replies as reply
from palaestra.interp.reasoning.direction import Direction, chosen, first_half, fit, measured
from palaestra.interp.reasoning.dose import measures
from palaestra.interp.reasoning.problems import SETTINGS, problems, setting
from palaestra.interp.reasoning.sets import nodes_of, sets
from palaestra.interp.reasoning.study import ReasoningPlan, study
from palaestra.interp.reasoning.teaching import TeachingPlan, teach
from palaestra.interp.reasoning.tokens import token_meaning
from palaestra.interp.reasoning.writing import write

CODEC = TokenizerCodec(make_tokenizer(512))
TRIGGER, TURN, GO = 7, 20, 21
"""In the planted model: what makes it turn, the token by which it does, and the one by which it goes on."""


# ---------------------------------------------------------------- problems


@pytest.mark.parametrize("name", SETTINGS)
def test_traces_are_read_as_they_were_made(name: str) -> None:
    one = setting(name)
    for problem in problems(one, 60, 0):
        points = one.points(problem, problem.reply)
        assert points
        assert all(point.way == point.right for point in points)
        assert [point.way for point in points].count("stop") == 1 == [points[-1].way].count("stop")
        assert not any(point.repeated for point in points)
        assert one.answered(problem.reply) == problem.answer


def test_a_tree_is_searched_in_order_and_back() -> None:
    tree = Tree("abc", {"a": "df", "c": "hm"}, "ca", "h")
    assert tree.text() == "*:abc;C:hm;A:df?h"
    assert tree.reply() == "a>ad!af!b!c>ch=ch"
    assert tree.reply("straight") == "c>ch=ch"


@pytest.mark.parametrize("name", SETTINGS)
def test_twins_have_as_many_tokens_and_another_right_way(name: str) -> None:
    one = setting(name)
    made = 0
    for problem in problems(one, 40, 1):
        for point in one.points(problem, problem.reply):
            for right in ("stop", "switch"):
                if point.right in (right, "deeper") or (twin := one.twin(problem, point, right)) is None:
                    continue
                said = one.said_of(problem, twin, point.said)
                assert len(said) == len(point.said)
                assert len(twin.text) == len(problem.text)
                assert twin.text != problem.text
                mark = {"tree": FAILED, "sums": " "}[name]
                seen = one.points(twin, said + mark)
                assert seen[-1].right == right
                # the earlier tries were as wrong for the twin
                assert all(earlier.right in ("switch", "deeper") for earlier in seen[:-1])
                made += 1
    assert made > 60


def test_words_of_a_sum_name_the_twins_target() -> None:
    one = setting("sums")
    problem = next(some for some in problems(one, 50, 3) if len(one.points(some, some.reply)) > 2)
    point = one.points(problem, problem.reply)[1]
    twin = one.twin(problem, point, "stop")
    assert twin is not None
    said = one.said_of(problem, twin, point.said)
    old, new = problem.facts.target, twin.facts.target  # type: ignore[union-attr]
    assert re.findall(rf"\b{old}\b", said.replace(f": {old}.", "")) == []
    assert f"{new}" in said


def test_wrong_tries_and_repetitions_are_seen() -> None:
    one = setting("tree")
    problem = dataclasses.replace(problems(one, 1, 0)[0], facts=Tree("abc", {"a": "df"}, "a", "f"))
    points = one.points(problem, "a>ad!ad=x")
    assert [(point.way, point.right, point.repeated) for point in points] == [
        ("deeper", "deeper", False), ("switch", "switch", False), ("stop", "switch", True)
    ]  # fmt: skip
    assert one.points(problem, "q!")[0].right is None


def test_straight_traces_never_turn() -> None:
    texts = [CODEC.tokenizer.decode(row.ids) for row in write_traces("straight", CODEC, 50, 0)]
    assert not any(FAILED in text for text in texts)
    assert all(text.count(FOUND) == 1 for text in texts)
    rows = list(write_traces("search", CODEC, 50, 0))
    assert sum(FAILED in CODEC.tokenizer.decode(row.ids) for row in rows) > 25
    assert all(len(row.ids) == len(row.weights) for row in rows)


# ---------------------------------------------------------------- a planted switch


def blank(seed: int, vocabulary: int = VOCAB_SIZE, **changes: Any) -> LlamaForCausalLM:
    torch.manual_seed(seed)
    options: dict[str, Any] = {
        "vocab_size": vocabulary, "hidden_size": 48, "intermediate_size": 64, "num_hidden_layers": 4,
        "num_attention_heads": 4, "num_key_value_heads": 2, "tie_word_embeddings": False, "bos_token_id": None,
        "eos_token_id": None,
    }  # fmt: skip
    return LlamaForCausalLM(LlamaConfig(**{**options, **changes})).eval().requires_grad_(False)


def with_switch(seed: int, layer: int) -> tuple[OpenModel, torch.Tensor]:
    """A random model in which the MLP of one layer writes a direction where it reads `TRIGGER`, by which it turns."""
    model = blank(seed, 40)
    generator = torch.Generator().manual_seed(seed + 100)
    reads, writes = (torch.nn.functional.normalize(torch.randn(48, generator=generator), dim=0) for _ in range(2))
    writes = torch.nn.functional.normalize(writes - (writes @ reads) * reads, dim=0)
    embedding = model.model.embed_tokens.weight
    embedding -= (embedding @ reads)[:, None] * reads + (embedding @ writes)[:, None] * writes
    embedding[TRIGGER] += 0.5 * reads
    mlp: Any = model.model.layers[layer].mlp
    mlp.gate_proj.weight[0], mlp.up_proj.weight[0] = 2 * reads, 2 * reads
    mlp.down_proj.weight[:, 0] = 0.004 * writes
    model.lm_head.weight[TURN], model.lm_head.weight[GO] = writes, -writes
    return OpenModel(model, name=f"planted at {layer}"), writes


def planted_prompts(count: int, end: int, seed: int = 0) -> Prompts:
    generator = torch.Generator().manual_seed(seed)
    rows = [[*torch.randint(8, 20, (6,), generator=generator).tolist(), end] for _ in range(count)]
    return Prompts.of(rows, [[TURN]] * count, [[GO]] * count)


@pytest.mark.parametrize("layer", [0, 1, 2])
def test_a_planted_switch_is_found_necessary_and_sufficient(layer: int) -> None:
    opened, _ = with_switch(layer, layer)
    pairs = Pairs(planted_prompts(12, TRIGGER), planted_prompts(12, 6))
    found = sets(opened, pairs, torch.arange(12), randoms=6, measured=20, sizes=(1, 2, 4))
    assert found.order[0] == f"L{layer}.mlp"
    assert found.necessity[0].mean() > 0.8
    assert found.sufficiency[0].mean() > 0.8
    others = [row for row in found.scores.mean.tolist() if row < found.scores.mean.max()]
    assert max(map(abs, others)) < 0.3 * float(found.scores.mean.max())
    # the residual stream carries it behind the layer and not before
    share = {site: one["mean"] for site, one in found.by_site.items()}
    assert share[f"resid{layer + 1}"] > 0.8
    assert layer == 0 or 0.5 < share["resid1"] < 1.5  # the trigger itself stands there, so it is carried as a token


def test_all_components_are_the_whole_difference() -> None:
    from palaestra.interp.reasoning.sets import _effects

    opened, _ = with_switch(0, 1)
    pairs = Pairs(planted_prompts(5, TRIGGER), planted_prompts(5, 6))
    need, give = _effects(opened, pairs, [*nodes_of(opened), "embed"], 4)
    assert float(need.mean()) == pytest.approx(1, abs=1e-4)
    assert float(give.mean()) == pytest.approx(1, abs=1e-4)


def directions_of(opened: OpenModel, labels: torch.Generator | None = None) -> list[Direction]:
    high, low = planted_prompts(40, TRIGGER, 1), planted_prompts(40, 6, 2)
    if labels is not None:  # nothing to find: both are drawn from the same prompts
        high, low = planted_prompts(40, 6, 1), planted_prompts(40, 6, 2)
    problem = torch.arange(40)
    return fit(opened, high, low, (problem, problem), randoms=10, batch=40)


def test_the_direction_of_a_planted_switch_is_found_and_works() -> None:
    opened, writes = with_switch(3, 1)
    found = {one.site: one for one in directions_of(opened)}
    behind = found["resid2"]
    assert abs(float(torch.cosine_similarity(behind.vector, writes, dim=0))) > 0.3
    assert behind.auroc == 1.0
    assert float(behind.added.mean()) > 1.5 * float(behind.added_null.abs().max())
    assert float(behind.removed.mean()) > 1.5 * float(behind.removed_null.abs().max())
    assert chosen(list(found.values())).site in ("resid1", "resid2")


def test_a_layer_is_chosen_by_the_half_that_is_not_reported() -> None:
    """Points of the second half are exchanged for ones where nothing is planted: what is reported changes, the choice
    does not."""
    opened, _ = with_switch(3, 1)
    high, low = planted_prompts(40, TRIGGER, 1), planted_prompts(40, 6, 2)
    problem = torch.arange(40) + 3
    (first,) = first_half(problem)
    assert int(first.sum()) == 20
    other = planted_prompts(40, 9, 3)
    ids = torch.where(first[:, None], low.ids, other.ids)
    exchanged = Prompts(ids, low.ends, low.answers, low.foils)
    runs = [fit(opened, high, some, (problem, problem), randoms=4, batch=40) for some in (low, exchanged)]
    assert [one.chosen_by for one in runs[0]] == pytest.approx([one.chosen_by for one in runs[1]], rel=1e-4)
    assert chosen(runs[0]).site == chosen(runs[1]).site
    assert float((runs[0][0].added - runs[1][0].added).abs().max()) > 1e-6
    assert torch.equal(runs[0][0].groups[1], problem[~first])


def test_components_are_ranked_on_other_problems_than_they_are_measured_on() -> None:
    opened, _ = with_switch(0, 1)
    problem = torch.arange(12) // 3
    clean, corrupt = planted_prompts(12, TRIGGER), planted_prompts(12, 6)
    (first,) = first_half(problem)
    found = sets(opened, Pairs(clean, corrupt), problem, randoms=4, measured=4, sizes=(1,))
    assert found.scores.values.shape[0] == int(first.sum()) == found.necessity.shape[1] == 6
    assert set(found.groups[0].tolist()) == {0, 2}
    assert set(found.groups[1].tolist()) == {1, 3}
    with pytest.raises(InterpError, match="all points are of one problem"):
        sets(opened, Pairs(clean, corrupt), torch.zeros(12, dtype=torch.long), randoms=4)


def test_no_direction_where_nothing_was_planted() -> None:
    opened, _ = with_switch(4, 1)
    for one in directions_of(opened, torch.Generator()):
        assert 0.2 < one.auroc < 0.8
        assert abs(float(one.removed.mean())) <= 2 * float(one.removed_null.abs().max()) + 1e-3


def test_points_on_one_half_alone_are_refused() -> None:
    opened, _ = with_switch(0, 1)
    some = planted_prompts(4, 6)
    with pytest.raises(InterpError, match="more problems"):
        fit(opened, some, some, (torch.ones(4, dtype=torch.long), torch.ones(4, dtype=torch.long)))


# ---------------------------------------------------------------- writing


def test_writing_is_generate_of_transformers_row_by_row() -> None:
    opened = OpenModel(blank(0), CODEC)
    rows = [[256, 65, 66, 257], [256, 67, 257], [256, 70, 71, 72, 73, 257]]
    ours = write(opened, rows, 12, [258])
    for row, said in zip(rows, ours, strict=True):
        ids = torch.tensor([row])
        theirs = opened.model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            max_new_tokens=12,
            do_sample=False,
            eos_token_id=258,
            pad_token_id=259,
        )
        assert said == [one for one in theirs[0, len(row) :].tolist() if one != 258]


def test_interventions_act_on_what_is_written_and_not_on_what_is_asked() -> None:
    opened = OpenModel(blank(1), CODEC)
    rows = [[256, 65, 66, 257]]
    plain = write(opened, rows, 6, [258])
    assert write(opened, rows, 6, [258], interventions=[Zero("L0.mlp")]) != plain
    assert write(opened, rows, 6, [258]) == plain
    toward = opened.model.lm_head.weight[99]
    pushed = write(opened, rows, 6, [258], interventions=[Steer("resid4", toward, 1e4)])
    assert pushed == [[99] * 6]
    with pytest.raises(InterpError, match="nothing to reply"):
        write(opened, [[]], 3, [258])


# ---------------------------------------------------------------- meaning of tokens


def exchanged(model: LlamaForCausalLM, a: int, b: int) -> LlamaForCausalLM:
    """The same model, to which a means what b meant, and the reverse."""
    other = copy.deepcopy(model)
    rows = model.model.embed_tokens.weight
    other.model.embed_tokens.weight[[a, b]] = rows[[b, a]]
    return other


def rows_of_tokens(count: int = 24) -> list[list[int]]:
    generator = torch.Generator().manual_seed(5)
    return [torch.randint(0, 12, (20,), generator=generator).tolist() for _ in range(count)]


@pytest.mark.parametrize("one_basis", [True, False])
def test_words_whose_meaning_was_exchanged_are_told_from_others(one_basis: bool) -> None:
    model = blank(2, 12)
    for one in model.parameters():
        if one.ndim > 1:
            one.mul_(3)
    base, trained = OpenModel(model, name="base"), OpenModel(exchanged(model, 3, 4), name="trained")
    found = token_meaning(base, trained, rows_of_tokens(), [3, 4], one_basis=one_basis, controls=6)
    tests = found.tests()
    for measure in ("representation", "swap"):
        assert tests[measure]["critical"] > 2 * tests[measure]["control"], measure
        assert tests[measure]["p"] < 0.05, measure
    index = {one: number for number, one in enumerate(found.tokens)}
    swap = found.values["swap"]
    assert {found.tokens[one] for one in swap.argsort(descending=True)[:2].tolist()} == {3, 4}
    assert found.critical[index[3]]
    assert not found.critical[index[5]]
    if one_basis:  # words that mean the same are not accused; a map between bases has errors of its own
        others = token_meaning(base, trained, rows_of_tokens(), [5, 6], one_basis=True, controls=8).tests()
        assert others["swap"]["p"] > 0.2


def test_nothing_differs_between_a_model_and_itself() -> None:
    one = OpenModel(blank(3, 12), name="same")
    found = token_meaning(one, one, rows_of_tokens(8), [3, 4], one_basis=True)
    for values in found.values.values():
        assert float(values.abs().max()) < 1e-4
    assert found.tests()["swap"]["p"] > 0.2


def test_words_that_do_not_occur_are_refused() -> None:
    one = OpenModel(blank(3, 40), name="same")
    with pytest.raises(InterpError, match="no critical token occurs"):
        token_meaning(one, one, rows_of_tokens(4), [39])


# ---------------------------------------------------------------- teaching and the whole


@pytest.fixture
def learner(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("PALAESTRA_CACHE", str(tmp_path / "cache"))
    return "tiny:blank"


def test_teaching_lowers_the_loss_and_goes_on_where_it_was_cut(
    learner: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = TeachingPlan(setting="tree", steps=12, batch=4, rate=3e-3)
    whole = teach(ModelSource.parse(learner).load(), plan, tmp_path / "whole", lambda line: None)
    assert whole["losses"][-1] < 0.9 * whole["losses"][0]
    monkeypatch.setattr("palaestra.interp.teaching.KEEP_SECONDS", 0.0)
    said: list[str] = []

    def cut(line: str) -> None:
        said.append(line)

    real = torch.optim.AdamW.step
    steps = 0

    def stop(self: Any, *args: Any) -> Any:
        nonlocal steps
        steps += 1
        if steps == 8:
            raise KeyboardInterrupt
        return real(self, *args)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.AdamW, "step", stop)
        begun = ModelSource.parse(learner).load()
        with pytest.raises(KeyboardInterrupt):
            teach(begun, plan, tmp_path / "cut", cut)
    again = teach(ModelSource.parse(learner).load(), plan, tmp_path / "cut", cut)
    assert again["losses"] == pytest.approx(whole["losses"], rel=1e-6)
    assert not (tmp_path / "cut" / "teaching").exists()
    assert teach(ModelSource.parse(learner).load(), plan, tmp_path / "cut", cut) == again
    with pytest.raises(PalaestraError, match="taught otherwise"):
        teach(ModelSource.parse(learner).load(), dataclasses.replace(plan, seed=1), tmp_path / "cut", cut)


def test_a_model_that_never_turns_is_said_so(learner: str, tmp_path: Path) -> None:
    found = study(ReasoningPlan(learner, problems=8), tmp_path / "out", lambda line: None)
    assert "no switch" in found["nothing"]
    page = (tmp_path / "out" / "index.html").read_text()
    assert "there is no switch" in page
    assert "<script" not in page
    with pytest.raises(InterpError, match="another plan"):
        study(ReasoningPlan(learner, problems=9), tmp_path / "out", lambda line: None)


def test_bad_plans_are_refused() -> None:
    with pytest.raises(InterpError, match="there are tree, sums"):
        ReasoningPlan("tiny:blank", "riddles")
    with pytest.raises(OptionError, match="doses"):
        ReasoningPlan("tiny:blank", doses=(0.0,))
    with pytest.raises(OptionError, match="steps"):
        TeachingPlan(steps=0)


# ---------------------------------------------------------------- the trained reasoner


@pytest.mark.slow
def test_the_search_model_turns_by_few_components_and_a_direction_and_thinks_more_and_less() -> None:
    """Ground truth: where a thought of `tiny:search` has to turn follows from the problem."""
    opened_source = ModelSource.parse("tiny:search")
    from palaestra.interp.opened import open_model

    opened = open_model(str(opened_source))
    one = setting("tree")
    written = reply(opened, one, problems(one, 80, 7, "tested"))
    values = measures(written)
    assert values["accuracy"].mean() > 0.9
    points = spots(opened, one, written)
    assert sum(spot.point.way == spot.point.right for spot in points) > 0.97 * len(points)
    pair = contrast(opened, one, points, "switch", "stop", 32)
    # twins make the model go the other way: the labels are true
    assert float((measured(opened, pair.pairs.clean) > 0).float().mean()) > 0.95
    assert float((measured(opened, pair.pairs.corrupt) < 0).float().mean()) > 0.95
    # one of three MLPs is as good as another where it was not ranked; two that are found do more than any random two
    found = sets(opened, pair.pairs, pair.groups, randoms=8, sizes=(2, 4))
    for one, null in ((found.necessity, found.necessity_null), (found.sufficiency, found.sufficiency_null)):
        assert one[0].mean() > max(null[0].max(), null[0].mean() + 0.1)
        assert one[1].mean() > 0.95


def test_dice_make_the_same_problems_everywhere() -> None:
    assert Tree.draw(Dice(0)).text() == "*:wju;W:o?o"
