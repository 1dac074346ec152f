"""Yes-or-no arithmetic: the problems, sums of contributions, a model whose operations are known, and the null."""

import dataclasses
import json

import numpy as np
import pytest
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast

from palaestra.agents.models.disk import replace_text
from palaestra.envs.errors import OptionError, UnknownName
from palaestra.interp.arithmetic.analysis import Plan, analyse, read
from palaestra.interp.arithmetic.differences import carries, drawn, foretell, steps
from palaestra.interp.arithmetic.fits import fit, term
from palaestra.interp.arithmetic.operations import judge_maps
from palaestra.interp.arithmetic.page import write_page
from palaestra.interp.arithmetic.problems import KINDS, Problem, UnfitTokenizer, encode, generate, held_out
from palaestra.interp.arithmetic.sweep import Grid, default_grids, layer_part, load, opposites, pairs_of, save, sweep
from palaestra.interp.errors import InterpError
from palaestra.interp.importance.exact import exact
from palaestra.interp.opened import OpenModel
from tests.interp.arithmetic_kit import MARKS, codec, h, planted, random_llama

GRID = Grid("cheaper", 0, -1, False, (30, 59), (30, 59))
FEW = Grid("cheaper", 0, -1, False, (40, 59), (40, 59))


@pytest.fixture(scope="module")
def known():
    opened = planted()
    return opened, sweep(opened, GRID, batch=100)


# problems


def test_problems_are_fair_and_depend_on_the_seed_alone():
    some = generate(list(KINDS), "plain", 7, 800, held=False)
    assert some == generate(list(KINDS), "plain", 7, 800, held=False)
    assert some != generate(list(KINDS), "plain", 8, 800, held=False)
    assert 350 < sum(one.margin > 0 for one in some) < 450
    assert 350 < sum(one.reverse for one in some) < 450
    assert all(one.margin for one in some)


def test_teaching_and_held_out_numbers_are_apart():
    taught = {(one.kind, one.a, one.b, one.parameter) for one in generate(list(KINDS), "terse", 0, 600, held=False)}
    kept = {(one.kind, one.a, one.b, one.parameter) for one in generate(list(KINDS), "plain", 0, 600, held=True)}
    assert not taught & kept
    share = np.mean([held_out(Problem("cheaper", a, b, 0, -1, False)) for a in range(10, 99) for b in range(10, 99)])
    assert 0.1 < share < 0.15


@pytest.mark.parametrize(
    ("problem", "text", "right"),
    [
        (Problem("cheaper", 47, 52, 0, -1, False), "C47 52 <?", True),
        (Problem("cheaper", 47, 52, 0, -1, True), "C47 52 >?", False),
        (Problem("packs", 59, 20, 3, -1, False), "P59 20 3<?", True),
        (Problem("packs", 61, 20, 3, -1, False), "P61 20 3<?", False),
        (Problem("discount", 80, 59, 25, -1, False), "D80 59 25<?", False),  # 60 against 59
        (Problem("discount", 80, 61, 25, -1, False), "D80 61 25<?", True),
        (Problem("distance", 47, 58, 50, -1, False), "N47 58 50<?", True),
        (Problem("distance", 47, 58, 50, 0, True), "The inn is at mile 47, the mill at mile 58, you are at mile 50. "
         "Is the first farther? Answer:", False),
    ],
)  # fmt: skip
def test_questions_and_their_answers(problem, text, right):
    assert problem.text == text
    assert (problem.margin > 0) == right


def test_numbers_are_found_in_the_tokens():
    tokenizer = codec().tokenizer
    some = generate(list(KINDS), "plain", 3, 40, held=False) + generate(list(KINDS), "terse", 3, 40, held=False)
    for one in some:
        coded = encode([one], tokenizer)
        assert tokenizer.decode([coded.ids[0][place] for place in coded.a[0]]) == str(one.a)
        assert tokenizer.decode([coded.ids[0][place] for place in coded.b[0]]) == str(one.b)


def test_a_tokenizer_that_swallows_numbers_or_answers_is_refused():
    words = {word: k for k, word in enumerate(["C47", "52", "<?", "<?yes", "<?no", "yes", "no", "?"])}

    def made(split):
        backend = Tokenizer(models.WordLevel(words, unk_token="?"))
        backend.pre_tokenizer = split
        return PreTrainedTokenizerFast(tokenizer_object=backend)

    with pytest.raises(UnfitTokenizer, match="joins the answer 'yes'"):
        encode([Problem("cheaper", 47, 52, 0, -1, False)], made(pre_tokenizers.WhitespaceSplit()))
    with pytest.raises(UnfitTokenizer, match="reads the number 47 as part of 'C47'"):
        encode([Problem("cheaper", 47, 52, 0, -1, False)], made(pre_tokenizers.Whitespace()))


def test_what_cannot_be_asked_is_refused_in_one_sentence():
    with pytest.raises(UnknownName, match="unknown kind of problem 'chaeper'"):
        generate(["chaeper"], "terse", 0, 1, held=False)
    with pytest.raises(OptionError, match="style 'prose' is unknown; it is one of terse, plain"):
        generate(["cheaper"], "prose", 0, 1, held=False)
    with pytest.raises(OptionError, match="whole decades"):
        dataclasses.replace(GRID, first=(31, 59))
    with pytest.raises(OptionError, match="packs has no parameter 7; it is one of 2, 3"):
        Grid("packs", 7, -1, False, (30, 49), (10, 29))
    with pytest.raises(OptionError, match="fewer than 5 whole decades"):
        default_grids(["packs"], "terse", 5)
    with pytest.raises(InterpError, match="opened without a tokenizer"):
        sweep(OpenModel(random_llama().model, None, "mute"), FEW)


def test_grids_are_where_both_answers_are_frequent():
    for grid in default_grids(list(KINDS), "terse", 2):
        margins = grid.margins()
        assert 0.25 < (margins > 0).mean() < 0.75, grid.name


# sums


@pytest.mark.parametrize("opened", [random_llama(1, adapter=True), planted()], ids=["lora", "biases"])
def test_contributions_constants_included_add_up_to_the_logit_difference(opened):
    found = sweep(opened, FEW, total=False, batch=100)
    assert found.difference.std() > 0.01
    assert np.abs(found.direct.sum(0) - found.difference).max() < 1e-6 * np.abs(found.direct).max()
    names, maps = found.rows("direct")
    parts = [k for k, name in enumerate(names) if layer_part(name) == name]
    assert np.allclose(maps[parts].sum(0), found.difference, atol=1e-6)


def test_a_sweep_comes_back_from_disk_and_only_for_its_own_grid(tmp_path):
    found = sweep(random_llama(), FEW, batch=200)
    save(found, tmp_path)
    again = load(FEW, tmp_path)
    assert np.array_equal(again.direct, found.direct)
    assert again.total_names == found.total_names
    assert load(dataclasses.replace(FEW, first=(50, 69)), tmp_path) is None
    (tmp_path / f"{FEW.name}.json").write_text("{")
    assert load(FEW, tmp_path) is None


# a model whose operations are known


def test_planted_heads_and_mlp_are_recovered_exactly(known):
    _, found = known
    a, b = np.meshgrid(np.arange(30, 60), np.arange(30, 60), indexing="ij")
    truth = {
        "L0.H0": MARKS[0][a // 10],
        "L0.H1": MARKS[1][a % 10],
        "L0.H2": MARKS[2][b // 10],
        "L0.H3": MARKS[3][b % 10],
        "L0.mlp": h(a - b),
    }
    names, maps = found.rows("direct")
    for name, expected in truth.items():
        assert np.allclose(maps[names.index(name)], expected, atol=1e-4), name
    assert np.allclose(found.difference, sum(truth.values()), atol=1e-4)


@pytest.mark.slow
def test_planted_operations_are_named(known):
    _, found = known
    names, maps = found.rows("direct")
    verdicts = {one.name: one.operation for one in judge_maps(names, maps, found.difference, GRID, relabellings=99)}
    assert verdicts == {
        "L0.H0": "reads the tens of a",
        "L0.H1": "reads the units of a",
        "L0.H2": "reads the tens of b",
        "L0.H3": "reads the units of b",
        "L0.attention": "reads a and b, adds",
        "L0.mlp": "graded comparison",
        "embed": "constant",
        "position": "constant",
        "L0.bias": "constant",
        "constant": "constant",
    }


def test_patching_only_one_number_moves_only_the_heads_that_read_it(known):
    opened, _ = known
    clean, corrupt = opposites(GRID, 24, 0, "a")
    assert all(one.b == other.b and one.margin * other.margin < 0 for one, other in zip(clean, corrupt, strict=True))
    effects = exact(opened, pairs_of(opened, clean, corrupt), nodes=["L0.H0", "L0.H1", "L0.H2", "L0.H3", "L0.mlp"])
    size = effects.values.abs().mean(0)
    assert (size[[0, 1, 4]] > 0.1).all()
    assert (size[[2, 3]] < 1e-6).all()


def test_steps_of_known_functions_and_carries_apart():
    a, b = np.meshgrid(np.arange(30, 60), np.arange(30, 60), indexing="ij")
    found = steps(2.0 * (a % 10) + 0.5 * b * (a - b) * 0 + 3.0 * (b // 10), GRID)
    assert found.a == pytest.approx(2)
    assert found.a_carry == pytest.approx(18)
    assert found.a_tens == pytest.approx(0)
    assert found.b == pytest.approx(0)
    assert found.b_carry == pytest.approx(3)
    assert found.b_tens == pytest.approx(3)
    assert found.mixed == pytest.approx(0)
    # h(a - b) with h = x^2: the mixed difference is -h'' = -2
    assert steps((1.0 * a - b) ** 2, GRID).mixed == pytest.approx(2)
    assert carries(range(37, 43)).tolist() == [False, False, True, False, False]


# gradients


def test_integrated_gradients_are_the_steps_and_parts_add_up():
    opened = random_llama(2, adapter=True)
    parts = ["embed", "L0.attention", "L0.mlp", "L1.attention", "L1.mlp"]
    found = foretell(opened, FEW, parts, count=12, points=16, batch=12)
    assert found.names == ("logit difference", *parts)
    assert {tuple(one) for one in found.cells[:, 2:].tolist()} == {(0,), (1,)}
    assert found.carry.sum() == 4
    for k in range(len(found.names)):
        assert np.allclose(found.integrated[k], found.step[k], atol=0.02 * np.abs(found.step).max()), found.names[k]
    assert np.allclose(found.here[1:].sum(0), found.here[0])
    assert np.abs(found.here[0] - found.step[0]).max() > 0.1 * np.abs(found.step[0]).max()  # or the test has no power


def test_drawn_steps_stay_inside_the_grid():
    cells = drawn(FEW, 60, 1)
    ends = cells[:, :2] + np.eye(2, dtype=int)[cells[:, 2]]
    assert ((ends >= 40) & (ends <= 59)).all()


# the null


@pytest.mark.slow
def test_a_random_model_knows_no_order():
    """Its logit difference fits f(a) + g(b), as symbols would, and h(a - b) no better than with relabelled digits."""
    ordered = parts = 0
    for seed in range(3):
        found = sweep(random_llama(seed + 10), GRID, total=False, batch=300)
        (one,) = fit(term("a-b", GRID), found.difference.reshape(1, -1), GRID, relabellings=60)
        assert one.p > 0.05
        names, maps = found.rows("direct")
        verdicts = judge_maps(names, maps, found.difference, GRID, relabellings=60)
        order = ("margin", "comparison", "a - b")
        ordered += sum(any(word in one.operation for word in order) for one in verdicts)
        parts += len(verdicts)
    assert parts >= 24
    assert ordered <= 1


# the whole


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    out = tmp_path_factory.mktemp("arithmetic") / "out"
    opened = random_llama(3)
    opened.name = "<script>alert(1)</script>"
    plan = Plan(("cheaper",), "terse", 2, parts=1, pairs=6, patched=3, stepped=12, points=2, relabellings=19, batch=200)
    said: list[str] = []
    return out, opened, plan, analyse(opened, plan, out, said.append), said


@pytest.mark.slow
def test_an_analysis_is_a_folder_and_goes_on_from_its_maps(analysed, monkeypatch):
    out, opened, plan, found, said = analysed
    assert any("sweeps (" in line for line in said)
    assert set(found["arms"]) == {"base", "random"}
    assert found["sweeps"][0]["sum_error"] < 1e-6  # norms compute in float32
    assert {**read(out), "seconds": 0} == {**found, "seconds": 0}
    monkeypatch.setattr("palaestra.interp.arithmetic.sweep.direct", None)  # whatever is swept again would fail
    for costly in ("_arm", "_described"):
        monkeypatch.setattr(f"palaestra.interp.arithmetic.analysis.{costly}", lambda *args: "not again")
    assert analyse(opened, plan, out, said.append)["arms"] == {"base": "not again", "random": "not again"}
    replace_text(out / "arithmetic.json", json.dumps(found))


@pytest.mark.slow
def test_another_plan_or_a_foreign_folder_is_refused(analysed, tmp_path):
    out, opened, plan, _, _ = analysed
    with pytest.raises(Exception, match="holds the results of another plan; name another folder"):
        analyse(opened, dataclasses.replace(plan, seed=1), out)
    (tmp_path / "arithmetic.json").write_text("mine")
    with pytest.raises(Exception, match=r"arithmetic\.json of something else; name a folder that is empty or new"):
        analyse(opened, plan, tmp_path)
    with pytest.raises(Exception, match="holds no finished analysis of arithmetic"):
        read(tmp_path)


@pytest.mark.slow
def test_the_page_is_whole_and_escapes_names(analysed):
    out = analysed[0]
    text = write_page(out).read_text()
    assert "<script" not in text
    assert "&lt;script&gt;alert(1)" in text
    assert "Which operation does this layer perform?" in text
    assert text.count("<svg") == 2 * (2 + 2 * 1)
    assert "http://" not in text.replace("http://www.w3.org", "").replace("http://purl.org", "").replace(
        "http://creativecommons.org", ""
    )
    assert "nan" not in text.split("<svg")[0]
