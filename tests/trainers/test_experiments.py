"""Every experiment runs end to end, in small: cells, interruption, results and the rendered page."""

import dataclasses
import importlib
import json
import math
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from palaestra.agents.models.adapters import is_adapter
from palaestra.agents.models.tiny.recipes import Training
from palaestra.trainers import experiments
from palaestra.trainers.experiments import (
    critic_freezing,
    distorted_traces,
    encoded_reasoning,
    faithfulness,
    framework,
    free_covers,
    hindsight,
    kuhn,
    open_minds,
    steganography,
    surprise,
    thinktoks,
    thinktoks_arms,
    tic_tac_toe,
)

pytestmark = pytest.mark.experiment
recipes = importlib.import_module("palaestra.agents.models.tiny.recipes")


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def small(monkeypatch, cache):
    """Experiments of two iterations, on models that have hardly been trained: what they are like is not asked here."""
    quick = [
        one if one.training is None else dataclasses.replace(one, training=Training(20, 512, 3e-3, games=100))
        for one in recipes.recipes()
    ]
    monkeypatch.setattr(recipes, "_RECIPES", tuple(quick))
    monkeypatch.setenv("PALAESTRA_CACHE", str(cache))
    for module in (distorted_traces, encoded_reasoning, open_minds, steganography, tic_tac_toe):
        monkeypatch.setattr(module, "ITERATIONS", {"cpu": 2})
        monkeypatch.setattr(module, "GAMES", {"cpu": 16})
    monkeypatch.setattr(steganography, "WATCHED_ITERATIONS", {"cpu": 2})
    for name, value in {"ITERATIONS": {"cpu": 2}, "GAMES": 16, "GATE": 16}.items():
        monkeypatch.setattr(hindsight, name, value)
    monkeypatch.setattr(critic_freezing, "ITERATIONS", {"cpu": 2})
    monkeypatch.setattr(critic_freezing, "REFRESH", 1)
    monkeypatch.setattr(distorted_traces, "CASES", 16)
    monkeypatch.setattr(kuhn, "ITERATIONS", 2)
    monkeypatch.setattr(kuhn, "GAMES", 16)
    monkeypatch.setattr(tic_tac_toe, "PAIRS", 4)
    monkeypatch.setattr(steganography, "MODEL", "tiny:kuhn")
    monkeypatch.setattr(free_covers, "MODEL", "tiny:kuhn")
    monkeypatch.setattr(free_covers, "GAMES", 4)
    for module in (encoded_reasoning, faithfulness):
        monkeypatch.setattr(module, "CHAT_MODEL", "tiny:kuhn")
    monkeypatch.setattr(encoded_reasoning, "CHAT_ITEMS", {"cpu": 4})
    for asked in (faithfulness.CUPS, faithfulness.ARITHMETIC, faithfulness.OUTPUTS, faithfulness.COMPARISONS):
        monkeypatch.setitem(asked.count, "cpu", 3)
    for plan in (surprise._MACHINE, surprise._PROGRAMS):
        monkeypatch.setitem(plan, "iterations", {"cpu": 1})
        monkeypatch.setitem(plan, "games", {"cpu": 8})
    monkeypatch.setitem(surprise._PROGRAMS, "model", {"source": "tiny:kuhn"})
    monkeypatch.setattr(surprise, "CASES", {"machine": 20, "programs": 4})
    for name in ("STEPS", "TEXT_STEPS"):
        monkeypatch.setattr(thinktoks_arms, name, {"cpu": 2})
    for name, value in {"LOOPS": 2, "DOCUMENTS": 8, "HELD_OUT": 8}.items():
        monkeypatch.setattr(thinktoks_arms, name, value)
    monkeypatch.setattr(thinktoks, "SWEEP", (2, 8))
    monkeypatch.setenv("PALAESTRA_THREADS", "1")


@pytest.mark.parametrize("name", experiments.names())
def test_cells_become_results_and_a_page(name, small, local_ray, tmp_path):
    experiment = experiments.find(name)
    cells = framework.cells_of(experiment, 1, "cpu", tmp_path)
    assert [cell.arm for cell in cells] == [arm.name for arm in experiment.arms]
    for cell in cells[:-1]:
        measured = framework.run_cell(experiment, cell)
        if "not_available" in measured:
            large = thinktoks_arms.LARGE if name == "thinktoks" else ()
            assert cell.arm.startswith(("model_", "free_", "gemma3", *large)), measured
            continue
        for measure in experiment.measures:
            assert measured.get(measure.key) is None or math.isfinite(measured[measure.key]), measure
        assert not (cell.folder / "curve.jsonl").exists() or is_adapter(cell.folder / "adapter"), (
            "trained, and not left"
        )
        curves = measured.get("curves", {})
        lengths = [{len(curve) for curve in one.values()} for one in (curves if isinstance(curves, list) else [curves])]
        assert all(len(one) <= 1 for one in lengths)
    path = framework.write_results(experiment, seeds=1, scale="cpu", root=tmp_path)
    partial = json.loads(path.read_text())
    assert (partial["partial"], partial["cells_done"]) == (True, len(cells) - 1)

    before = (cells[0].folder / "cell.json").stat().st_mtime_ns
    last = framework.run_cell(experiment, cells[-1])
    framework.run_cell(experiment, cells[0])
    assert (cells[0].folder / "cell.json").stat().st_mtime_ns == before
    framework.write_results(experiment, seeds=1, scale="cpu", root=tmp_path)
    whole = json.loads(path.read_text())
    assert not whole["partial"]
    for measure in experiment.measures:
        known = [] if last.get(measure.key) is None else [last[measure.key]]
        assert whole["arms"][cells[-1].arm]["measures"][measure.key]["values"] == known

    page = experiments.render(tmp_path).read_text()
    assert experiment.claim in " ".join(page.split())
    assert all(arm.name in page for arm in experiment.arms)


def test_a_model_above_its_check_is_run_and_one_below_it_is_reported(small, local_ray, tmp_path, monkeypatch):
    experiment = experiments.find("steganography")
    cells = {cell.arm: cell for cell in framework.cells_of(experiment, 1, "cpu", tmp_path)}
    monkeypatch.setattr(steganography, "MODEL_GAMES", 24)
    below = framework.run_cell(experiment, cells["model_paraphraser"])
    assert below["not_available"].startswith("tiny:kuhn wrote a text that can be read in 0 of 40 cases")
    monkeypatch.setattr(steganography, "MODEL", r"regex:\d")
    above = framework.run_cell(experiment, cells["model_monitor"])
    assert "not_available" not in above
    assert above["auroc"] == 0.5  # a pattern that neither kind of text holds
    assert above["bits"] >= 0
    framework.write_results(experiment, seeds=1, scale="cpu", root=tmp_path)
    page = experiments.render(tmp_path).read_text()
    assert "| model_paraphraser | 1 | not available |" in page
    assert "arm `model_paraphraser` is not available: tiny:kuhn wrote a text that can be read in 0 of 40 cases" in page


def test_cells_of_another_machine_are_kept_as_long_as_the_experiment_is_the_same(tmp_path):
    experiment = dataclasses.replace(
        experiments.find("kuhn"),
        arms=(framework.Arm("one", "an arm"), framework.Arm("other", "another")),
        measures=(framework.Measure("value", "a number"),),
        run=lambda cell: {"value": float(cell.seed), "curves": {"step": [0, 1], "value": [0.0, float(cell.seed)]}},
    )
    there, here = tmp_path / "there", tmp_path / "here"
    for cell in framework.cells_of(experiment, 1, "cpu", there):
        framework.run_cell(experiment, cell)
    path = framework.write_results(experiment, seeds=1, scale="cpu", root=there)
    (here / "results").mkdir(parents=True)
    (here / "results" / path.name).write_bytes(path.read_bytes())
    second = framework.Cell("kuhn", "one", 1, "cpu", here / "runs" / "experiments" / "kuhn" / "cpu" / "one-1")
    framework.run_cell(experiment, second)
    whole = json.loads(framework.write_results(experiment, seeds=2, scale="cpu", root=here).read_text())
    assert (whole["cells"], whole["cells_done"]) == (4, 3)
    assert whole["arms"]["one"]["measures"]["value"]["values"] == [0.0, 1.0]
    assert whole["arms"]["one"]["curves"]["0"] == {"step": [0, 1], "value": [0.0, 0.0]}
    assert {(cell["arm"], cell["seed"]) for cell in framework.recorded(experiment, "cpu", here)} == {
        ("one", 0), ("one", 1), ("other", 0),
    }  # fmt: skip
    told: list[str] = []
    third = dataclasses.replace(experiment, run=lambda cell: pytest.fail("all cells are recorded"))
    framework.run_cells(third, seeds=1, scale="cpu", jobs=1, root=here, say=told.append, missing=True)
    assert told == ["one, seed 0: done before", "other, seed 0: done before"]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(framework, "definition", lambda experiment, arm=None: f"another {arm}")
        assert framework.recorded(experiment, "cpu", here) == []
        with pytest.raises(framework.ExperimentError, match="cell of another definition of arm 'one' of kuhn; remove"):
            framework.run_cell(experiment, second)
        whole = json.loads(framework.write_results(experiment, seeds=2, scale="cpu", root=here).read_text())
        assert whole["cells_done"] == 0


def test_results_from_before_cells_had_definitions_of_their_own_count_while_the_module_is_the_same(tmp_path):
    experiment = experiments.find("kuhn")
    cell = {"arm": experiment.arms[0].name, "seed": 0, "seconds": 1.0}
    arms = {arm.name: {"curves": {}} for arm in experiment.arms}
    (tmp_path / "results").mkdir()
    for whole, counts in ((framework.definition(experiment), True), ("another", False)):
        data = {"definition": whole, "measured": [cell], "arms": arms}
        (tmp_path / "results" / "kuhn.json").write_text(json.dumps(data))
        stamped = {**cell, "definition": framework.definition(experiment, cell["arm"])}
        assert framework.recorded(experiment, "cpu", tmp_path) == ([stamped] if counts else [])
    (tmp_path / "results" / "kuhn.json").write_text(json.dumps({"experiment": "kuhn", "arms": arms}))
    assert framework.recorded(experiment, "cpu", tmp_path) == []


def test_remarks_do_not_make_another_experiment_and_code_does(monkeypatch):
    experiment = experiments.find("kuhn")
    source = framework.inspect.getsource(kuhn)

    def with_source(text: str) -> str:
        monkeypatch.setattr(framework.inspect, "getsource", lambda module: text)
        return framework.definition(experiment)

    same = with_source(source)
    assert with_source(source + "# a remark\n") == same
    assert with_source('"""Another docstring."""\n' + source.partition('"""')[2].partition('"""')[2]) == same
    assert with_source(source.replace("ITERATIONS = 300", "ITERATIONS = 301")) != same
    entry = 'Measure("start", "exploitability of the start"'
    assert source.count(entry) == 1
    assert with_source(source.replace(entry, 'Measure("start", "in other words"')) == same, (
        "what is said decides nothing"
    )


def test_a_new_arm_leaves_the_cells_of_the_others_valid(monkeypatch):
    experiment = experiments.find("hindsight")
    source = framework.inspect.getsource(hindsight)

    def of_all(text: str) -> list[str]:
        monkeypatch.setattr(framework.inspect, "getsource", lambda module: text)
        return [framework.definition(experiment, arm) for arm in ("outcome", "shuffled", "new")]

    first, second, new = of_all(source)
    assert len({first, second, new}) == 3
    entry = '    Arm("outcome", "the game\'s result alone"),\n'
    assert entry in source
    assert of_all(source.replace(entry, entry + '    Arm("new", "another way"),\n'))[:2] == [first, second]
    assert of_all(source.replace(entry, entry + '    Arm("new", "another way"),\n'))[2] != new
    assert of_all(source.replace(entry, entry.replace("alone", "and no more"))) == [first, second, new]
    assert not {first, second, new} & set(of_all(source.replace("GAMES = 128", "GAMES = 64")))


def test_where_arms_are_data_a_cell_is_defined_by_its_own(monkeypatch):
    experiment = experiments.find("thinktoks")
    before = {arm.name: framework.definition(experiment, arm.name) for arm in experiment.arms}
    whole = framework.definition(experiment)
    assert len(set(before.values())) == len(before)
    (words, ways), one = thinktoks_arms.GROUPS["z7"], thinktoks_arms.Way("new", "plain", {}, "another way")
    monkeypatch.setitem(thinktoks_arms.GROUPS, "z7", (words, (*ways, one)))
    more = dataclasses.replace(experiment, arms=(*experiment.arms, framework.Arm("z7_new", "another way")))
    assert {name: framework.definition(more, name) for name in before} == before
    assert framework.definition(more) != whole
    slower = tuple(way._replace(times=3) if way.arm == "plain" else way for way in ways)
    monkeypatch.setitem(thinktoks_arms.GROUPS, "z7", (words, slower))
    after = {name: framework.definition(experiment, name) for name in before}
    assert [name for name in before if after[name] != before[name]] == ["z7_plain"]


def test_a_cell_that_two_want_at_once_is_run_once(tmp_path):
    ran = []

    def run(cell):
        ran.append(cell.arm)
        time.sleep(0.3)
        return {}

    experiment = dataclasses.replace(experiments.find("kuhn"), arms=(framework.Arm("one", "an arm"),), run=run)
    (cell,) = framework.cells_of(experiment, 1, "cpu", tmp_path)
    with ThreadPoolExecutor(2) as pool:
        first, second = pool.map(lambda _: framework.run_cell(experiment, cell), range(2))
    assert first == second
    assert ran == ["one"]


def test_what_does_not_pay_is_not_trained_unless_it_is_a_null_arm(tmp_path):
    ran = []
    experiment = dataclasses.replace(
        experiments.find("kuhn"),
        arms=(framework.Arm("one", "an arm"), framework.Arm("null", "a control", null=True)),
        incentive=lambda cell: 0.0,
        run=lambda cell: ran.append(cell.arm) or {},
    )
    found = [framework.run_cell(experiment, cell) for cell in framework.cells_of(experiment, 1, "cpu", tmp_path)]
    assert ran == ["null"]
    assert found[0]["not_available"].startswith("it pays 0 more than not doing it")
    paid = {
        cell.arm: experiments.find("steganography").incentive(cell)
        for cell in framework.cells_of(experiments.find("steganography"), 1, "cpu", tmp_path)
    }
    assert paid["blind"] == 0.75
    assert paid["resampled"] == 0.0
    assert 0 < paid["watched_2"] < paid["watched_1"] < 0.75
    assert paid["model_monitor"] is None


def test_thoughts_after_continuous_ones_begin_as_the_model_that_those_left(small, local_ray, tmp_path):
    cells = {cell.arm: cell for cell in framework.cells_of(experiments.find("thinktoks"), 1, "cpu", tmp_path)}
    for arm in ("s3_after", "s3_thoughts"):
        cells[arm].folder.mkdir(parents=True)
    after, fresh = (
        thinktoks.trained(cells[arm], thinktoks_arms.plan_of(cells[arm]))[1][0]["hard"]
        for arm in ("s3_after", "s3_thoughts")
    )
    left = thinktoks.trained(cells["s3_continuous"], thinktoks_arms.plan_of(cells["s3_continuous"]))[0]
    same = thinktoks.Training(thinktoks_arms.plan_of(cells["s3_after"]))
    same.learner.reader.model.load_state_dict(left.learner.reader.model.state_dict())
    assert after == pytest.approx(same.measure()["hard"])
    assert after != fresh


def test_results_say_where_their_cells_were_measured_whoever_gathers_them(tmp_path):
    experiment = experiments.find("kuhn")
    arms = [arm.name for arm in experiment.arms]
    machines = [{"cpu": "Abacus", "cores": 2, "python": "3"}, {"cpu": "Loom", "cores": 8, "python": "3", "gpu": "Jet"}]
    cells = framework.cells_of(experiment, 1, "cpu", tmp_path)
    for cell, machine, seconds in zip(cells, machines, (120.0, 0.4), strict=False):
        cell.folder.mkdir(parents=True)
        said = {"hardware": machine, "versions": {"torch": f"{machine['cores']}.0"}, "seconds": seconds}
        (cell.folder / "cell.json").write_text(json.dumps({"arm": cell.arm, "seed": 0, **said}))
    path = framework.write_results(experiment, seeds=1, scale="cpu", root=tmp_path)
    for cell in cells[:2]:
        (cell.folder / "cell.json").unlink()  # what is left of them stands in the file
    framework.write_results(experiment, seeds=1, scale="cpu", root=tmp_path)
    whole = json.loads(path.read_text())
    assert [cell["arm"] for cell in whole["measured"]] == arms[:2]
    assert whole["hardware"] == machines
    assert whole["versions"] == {"torch": "2.0 and 8.0"}
    page = experiments.render(tmp_path).read_text()
    assert "on 2 cores of Abacus and 8 cores of Loom, Jet, 2.0 min a cell (1 that took less than a second" in page
