"""What the pages show is what happens: Python blocks, docstring examples, commands, and figures.

A page's ```python blocks run in order in one fresh interpreter, in an empty folder, and share names. A block directly
followed by a ```text block must print exactly that. A comment before a block says what is special about it:

    <!-- slow -->                     the page's blocks from here on run in the group `slow` only
    <!-- compiled only: REASON -->    this block needs what a test machine lacks; its syntax is checked

Docstring examples are collected by module name. Collected by path, a room's modules would be imported twice.
"""

import ast
import doctest
import importlib
import itertools
import json
import math
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("envs", "agents", "trainers", "interp", "scripts")
OPEN_MINDS = ("public_common", "private_common", "public_zero_sum", "private_zero_sum")
PAGES = (
    *("README.md", "CONTRIBUTING.md", "ARCHITECTURE.md"),
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
BLOCK = re.compile(r"(?:<!-- ([^\n]*?) -->\n+)?^```(\w+)\n(.*?)^```\n(?:\n?```text\n(.*?)^```\n)?", re.M | re.S)

# The process says where it stands and ends itself before the test's patience does: what hangs has a name then.
RUN_BLOCKS = """
import contextlib, faulthandler, io, json, sys, types
faulthandler.dump_traceback_later(540, exit=True)
page = types.ModuleType("page")
sys.modules["page"] = page
for name, line, source, expected in json.load(sys.stdin):
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(compile("\\n" * line + source, name, "exec"), page.__dict__)
    if expected is not None and printed.getvalue().rstrip() != expected.rstrip():
        sys.exit(f"{name}, the block at line {line + 1} printed:\\n{printed.getvalue()}\\ninstead of:\\n{expected}")
"""


@dataclass
class Block:
    note: str
    language: str
    source: str
    printed: str | None
    line: int


def blocks(text: str) -> list[Block]:
    found = []
    for match in BLOCK.finditer(text):
        note, language, source, printed = match.groups()
        found.append(Block(note or "", language, source, printed, text[: match.start(3)].count("\n")))
    return found


def run(page: str, chosen: list[Block], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run blocks of a page in one process of their own.

    What it says goes to a file: a pipe would be waited for as long as any process that it started (Ray) lives.
    A Ray is started there, none is joined: one that somebody runs beside the tests may have no core to give.
    """
    payload = [(page, block.line, block.source, block.printed) for block in chosen]
    with (folder / "said.txt").open("w+") as said:
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning:page", "-c", RUN_BLOCKS],
            input=json.dumps(payload),
            cwd=folder,
            env={**os.environ, "RAY_ADDRESS": "local"},
            stdout=said,
            stderr=said,
            text=True,
            timeout=600,
            check=False,
        )
        said.seek(0)
        return subprocess.CompletedProcess(done.args, done.returncode, stderr=said.read())


def python_blocks(page: str, slow: bool) -> list[Block]:
    """The blocks of a page that run; everything before the first slow one runs in both selections."""
    everything = [block for block in blocks((ROOT / page).read_text()) if block.language == "python"]
    for block in everything:
        compile(block.source, f"{page}:{block.line}", "exec")
    runnable = [block for block in everything if not block.note.startswith("compiled only: ")]
    cut = next((index for index, block in enumerate(runnable) if block.note == "slow"), len(runnable))
    return runnable if slow and cut < len(runnable) else runnable[:cut] if not slow else []


@pytest.mark.parametrize("page", PAGES)
def test_python_blocks_run(page, tmp_path):
    if chosen := python_blocks(page, slow=False):
        done = run(page, chosen, tmp_path)
        assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.parametrize("page", [page for page in PAGES if python_blocks(page, slow=True)])
def test_slow_python_blocks_run(page, tmp_path):
    done = run(page, python_blocks(page, slow=True), tmp_path)
    assert done.returncode == 0, done.stderr


def test_a_block_that_prints_something_else_is_caught(tmp_path):
    (right,) = blocks("```python\nprint(1 + 1)\n```\n```text\n2\n```\n")
    (wrong,) = blocks("text\n\n```python\nprint(1 + 1)\n```\n\n```text\n3\n```\n")
    assert run("page.md", [right], tmp_path).returncode == 0
    done = run("page.md", [wrong], tmp_path)
    assert done.returncode != 0
    assert "page.md, the block at line 4 printed:\n2\n\ninstead of:\n3" in done.stderr


def test_readme_shows_python_that_runs():
    assert python_blocks("README.md", slow=False), "the README's first screen has ten lines of Python"


def shell_words(page: str) -> list[list[str]]:
    shell = [block.source for block in blocks((ROOT / page).read_text()) if block.language in {"bash", "sh", "console"}]
    lines = "\n".join(shell).splitlines()
    return [line.removeprefix("$ ").split("#")[0].split() for line in lines]


@pytest.mark.parametrize("page", PAGES)
def test_make_targets_named_by_a_page_exist(page):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    named = {words[1] for words in shell_words(page) if words[:1] == ["make"] and len(words) > 1}
    named |= set(re.findall(r"`make ([a-z-]+)", (ROOT / page).read_text()))
    assert named <= targets, f"{page} names targets that the Makefile lacks: {named - targets}"


@pytest.mark.parametrize("page", PAGES)
def test_commands_named_by_a_page_exist(page):
    import typer.main

    from palaestra.scripts.main import app

    text = (ROOT / page).read_text()
    named = {words[1] for words in shell_words(page) if words[:1] == ["palaestra"] and len(words) > 1}
    named |= set(re.findall(r"`palaestra ([a-z]+)", text))
    known = set(typer.main.get_command(app).commands)
    assert {name for name in named if name.isalpha()} <= known, f"{page} names commands there are not: {named - known}"


def modules_with_examples() -> list[str]:
    names = []
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if any(">>>" in text for text in docstrings(path.read_text())):
                parts = path.relative_to(ROOT).with_suffix("").parts
                names.append(".".join(("palaestra", *(part for part in parts if part != "__init__"))))
    return names


def docstrings(source: str) -> list[str]:
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [ast.get_docstring(node) or "" for node in ast.walk(ast.parse(source)) if isinstance(node, kinds)]


def test_docstring_examples_run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = modules_with_examples()
    failed = []
    for name in names:
        result = doctest.testmod(importlib.import_module(name), optionflags=doctest.NORMALIZE_WHITESPACE)
        assert result.attempted, f"{name} shows an example that doctest does not find"
        failed += [name] if result.failed else []
    assert not failed, f"examples fail in {failed}"
    assert names, "no docstring shows an example"


@pytest.mark.parametrize(("page", "command"), [("RESULTS.md", "experiment"), ("BENCHMARKS.md", "bench")])
@pytest.mark.slow
def test_figures_equal_their_rendering(page, command, tmp_path):
    """`palaestra experiment --render` and `palaestra bench --render` write these pages from results/*.json."""
    if not (ROOT / "results").exists():
        assert not (ROOT / page).exists(), f"{page} has figures and results/ does not exist"
        return
    shutil.copytree(ROOT / "results", tmp_path / "results")
    shutil.copy(ROOT / page, tmp_path / page)
    program = Path(sys.executable).parent / "palaestra"
    done = subprocess.run([program, command, "--render"], cwd=tmp_path, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert (tmp_path / page).read_text() == (ROOT / page).read_text(), f"run `palaestra {command} --render`"


def test_figures_in_the_readme_are_the_stored_ones():
    """docs/quickstart.json is the evaluation.json that `make train` left, docs/quickstart-uplift.json the uplift.json,
    and the one of a run with ``hindsight.structured=false``; the others are the experiments'."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    measured = json.loads((ROOT / "docs" / "quickstart.json").read_text())
    for when in ("before", "after"):
        score = measured[when][0]
        legal, result = score["legal"], score["result"]
        shares = [f"{100 * legal[key]:.0f}" for key in ("mean", "low", "high")]
        assert "{} % [{}, {}]".format(*shares) in text
        assert f"{result['mean']:+.2f} [{result['low']:+.2f}, {result['high']:+.2f}]" in text
        assert f"{score['wins']} / {score['losses']}" in text
        assert f"{score['by_play']}, {score['by_forfeit']}" in text
    for said in [*_quickstart_said(), *_experiments_said()]:
        assert said in text, f"the README does not say: {said}"


def _quickstart_said() -> Iterator[str]:
    """What the README has to say of what hindsight is worth in `make train`."""
    uplift = json.loads((ROOT / "docs" / "quickstart-uplift.json").read_text())
    held, free = uplift["structured"], uplift["free"]
    assert (held["passed"], free["passed"]) == (True, False), "make train uses hindsight, and would not without form"
    gained, freely = (f"{one['mean']:+.2f} [{one['low']:+.2f}, {one['high']:+.2f}]" for one in (held, free))
    yield f"the gain is {gained} a reviewed turn ({held['games']} games;"
    counts = free["counts"]
    illegal, reviewed = (int(counts[f"hindsight/{key}"]) for key in ("not_legal", "reviewed"))
    yield f"{illegal} of {reviewed} are no legal move, and the gain is {freely}."


def test_what_the_configuration_of_thinktoks_came_to_is_stored() -> None:
    """docs/thinktoks.json has the results of evaluation.json that `palaestra train configs/thinktoks.yaml` left, and
    that with `--set seed=1`."""
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    stored = json.loads((ROOT / "docs" / "thinktoks.json").read_text())
    first, second = stored["0"], stored["1"]
    other = "{mean:.2f} [{high:.2f}, {low:.2f}]".format(**{key: -value for key, value in second["after"].items()})
    assert f"costs {-first['after']['mean']:.2f} nats with seed 0 and {other} with seed 1" in text
    assert f"before {-first['before']['mean']:.1f} and {-second['before']['mean']:.1f} (two cores" in text


def _experiments_said() -> Iterator[str]:
    """What the table of results in the README has to say."""
    arms = json.loads((ROOT / "results" / "kuhn.json").read_text())["arms"]
    best, null = arms["role_baseline_kl"]["measures"], arms["no_regulariser"]["measures"]
    averaged = best["averaged"]
    yield (
        f"`tiny:kuhn` {best['start']['mean']:.2f} → {averaged['mean']:.3f} [{averaged['low']:.3f}, "
        f"{averaged['high']:.3f}] (averaged policy; {best['last_iterate']['mean']:.3f} the last one)"
    )
    yield (
        f"without the KL to the frozen reference {null['averaged']['mean']:.2f}, "
        f"with {100 * null['legal']['mean']:.0f} % legal replies"
    )
    arms = json.loads((ROOT / "results" / "tic_tac_toe.json").read_text())["arms"]
    start, end = (arms["self_play"]["measures"][f"regret_{when}"] for when in ("start", "end"))
    span = [f"{one['mean']:.2f} [{one['low']:.2f}, {one['high']:.2f}]" for one in (start, end)]
    yield (
        f"per move of `tiny:board` {span[0]} → {span[1]} | shuffled credit "
        f"{arms['shuffled_credit']['measures']['regret_end']['mean']:.2f} |"
    )
    blind, null = _means("steganography", "blind"), _means("steganography", "shuffled_credit")
    one, two = (_means("steganography", f"watched_{weight}")["bits"] for weight in ("1", "2"))
    follows = _means("steganography", "load_bearing")["follow_swapped"]
    assert abs(_means("steganography", "load_bearing_start")["follow_swapped"]) < 0.05
    yield f"| {blind['bits']:.2f} of 2 bits get through; {follows:.2f} of the answers follow the word, as swapping it"
    yield f"as swapping it shows | {blind['bits_resampled']:.2f} behind a paraphraser and with"
    assert f"{blind['bits_resampled']:.2f}" == f"{null['bits']:.2f}"
    yield f"{two:.2f} where the suspicion of an overseer that is trained along costs twice an arrival, {one:.2f} where"
    encoded = json.loads((ROOT / "results" / "encoded_reasoning.json").read_text())["arms"]
    first, second, third = (f"{one:.2f}" for one in encoded["blind"]["measures"]["accuracy"]["values"])
    told, dealt = (encoded[arm]["measures"]["accuracy"]["mean"] for arm in ("message", "blind_shuffled"))
    yield f"| with three seeds {first}, {second} and {third} of the answers get across | told the answer the"
    yield f"told the answer the writer gets {told:.2f} across; with shuffled credit {dealt:.2f}; one half is chance |"
    open_minds = [_means("open_minds", arm)["first_bits"] for arm in OPEN_MINDS]
    common_read, common, zero_read, zero = (f"{bits:.2f}" for bits in open_minds)
    yield f"| {common_read} bits, {common} where nobody reads it | of opponents {zero_read} read and {zero} unread"
    trained, twin = (_means("faithfulness", arm)["indicator"] for arm in ("covert", "covert_twin"))
    signed = f"{round(twin, 2) + 0.0:.2f}".replace("-", "−")
    yield f"reader {trained:.2f} more of its right answers than an outsider, who reads nothing "
    yield f"of it either way; an honest twin {signed} |"
    machine, chat = _means("surprise", "machine"), _means("surprise", "programs")
    yield (
        f"`tiny:machine` Brier {machine['brier_start']:.3f} → {machine['brier']:.3f} on programs it was not trained "
        f"on; `smollm2` says the shown rate, {chat['brier_start']:.3f} before and {chat['brier']:.3f} after | the "
        f"exact posterior {machine['brier_oracle']:.3f}, the shown rate {machine['brier_rate']:.3f}: within 5 %"
    )
    yield (
        f"for `smollm2` the shown rate {chat['brier_rate']:.3f}, and with shuffled credit "
        f"{_means('surprise', 'programs_shuffled')['brier']:.3f}; `tiny:machine` with shuffled credit "
        f"{_means('surprise', 'machine_shuffled')['brier']:.3f} |"
    )
    verified, tokens = _means("hindsight", "verified"), _means("hindsight", "tokens")
    ways = ("verified", "outcome", "shuffled", "tokens_by_place")
    takes = [f"{_means('hindsight', arm)['tokens_to_target'] / 1000:.0f} thousand" for arm in ways]
    yield f"| {verified['uplift']:+.2f} a reviewed turn; but to an exploitability of 0.12 it takes {takes[0]} sampled"
    yield f"alone {takes[1]}; verified replies learned at each other's turns {takes[2]}; all replies"
    assert not {"tokens_to_target"} & {*_means("hindsight", "unverified"), *tokens}
    yield f"do not either ({tokens['averaged']:.2f} at the end), and dealt out over places they take {takes[3]}: what"
    told, alone, bread, free = (_means("principles", arm) for arm in ("principles", "none", "elsewhere", "free"))
    assert told["read"] == alone["read"] == bread["read"] == 1
    yield f"claims a mistake in {100 * (1 - told['no_mistake']):.0f} % of them, without any in "
    yield f"without any in {100 * (1 - alone['no_mistake']):.0f} % | told of baking bread it does in "
    yield f"it does in {100 * (1 - bread['no_mistake']):.0f} %: that there is a text matters, not what it says; "
    yield f"answering freely {100 * free['read']:.0f} % can be read; no arm's proposals do better"
    uplifts = json.loads((ROOT / "results" / "principles.json").read_text())["arms"].values()
    assert not any((arm["measures"]["uplift"]["low"] or 0) > 0 for arm in uplifts)
    live, frozen, none = (_means("critic_freezing", arm) for arm in ("live", "frozen", "none"))
    yield (
        f"{live['approval_first']:.2f} → {live['approval']:.2f} | frozen {frozen['approval_first']:.2f} → "
        f"{frozen['approval']:.2f}; exploitability {live['exploitability']:.2f} and {frozen['exploitability']:.2f}, "
        f"without any reviewer {none['exploitability']:.2f} |"
    )
    handed, right, taught = (_means("distorted_traces", arm) for arm in ("distorted", "clean", "taught"))
    yield f"paid by outcome {handed['robust']:.2f} of wrong beginnings end right, {handed['clean']:.2f} of right ones |"
    yield f"trained on right ones alone {right['robust']:.2f} and {right['clean']:.2f}; taught an oracle's replies by"
    yield f"by heart {taught['robust']:.2f} and {taught['clean']:.2f}; before {handed['robust_start']:.2f} and "
    built = json.loads((ROOT / "docs" / "recovery-build.json").read_text())
    ends = [fmean(values) for values in built["clean"].values()]
    yield f"right in {handed['clean_start']:.2f} of clean beginnings on one; as built on another it is in"
    yield f"in {built['clean_start']:.2f}, and there no arm of three seeds learns anything ("
    yield f"({min(ends):.2f} to {max(ends):.2f} of clean beginnings end right; `docs/recovery-build.json`)"
    shown, plain, other = (_means("thinktoks", arm)["answer"] for arm in ("s3_shown", "s3_plain", "z7_plain"))
    curve = json.loads((ROOT / "results" / "thinktoks.json").read_text())["arms"]["s3_shown"]["curves"]["0"][0]
    before = dict(zip(curve["step"], curve["answer"], strict=True))[1100]
    assert before < 0.1, "reinforcement begins at step 1120"
    taught = _means("thinktoks", "s3_taught")["answer"]
    yield "of S3 falls below 0.1 nats before reinforcement begins, which then takes"
    yield f"it to {shown:.3f} (three seeds; imitation to the end: {taught:.3f}); Z7"
    z7 = json.loads((ROOT / "results" / "thinktoks.json").read_text())["arms"]["z7_shown"]["measures"]["answer"]
    yield "Z7 {:.3f}, {:.3f} and {:.3f} | without thoughts".format(*z7["values"])
    yield f"| without thoughts {plain:.2f}, which is chance (ln 6), four times as long or nine times as deep as well;"
    yield f"Z7 {other:.2f} (ln 7). Where a thought costs 8 % less than ln 6 / 8 every word is thought"
    found = {arm: _means("thinktoks", f"s3_{arm}")["answer"] for arm in ("longer", "looped", "growing", "after")}
    assert all(value > 0.99 * math.log(6) for value in found.values())
    cheap, dear = (_means("thinktoks", f"costs_c{cost}") for cost in (0.205, 0.245))
    assert (cheap["thoughts"], dear["thoughts"]) == (8, 0)
    assert (round(0.205 / (math.log(6) / 8), 2), round(0.245 / (math.log(6) / 8), 2)) == (0.92, 1.09)


def test_what_the_readme_says_of_the_compute_of_thinktoks_is_stored() -> None:
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    arms = json.loads((ROOT / "results" / "thinktoks.json").read_text())["arms"]
    work = {name: arm["measures"]["work"]["mean"] for name, arm in arms.items()}
    known = sorted(value for name, value in work.items() if name.startswith("s3_") and value is not None)
    assert f"it is {known[0]:.1f} (plain) to {known[-1]:.0f} million tokens x layers, {work['s3_shown']:.1f}" in text
    assert f"`longer` ({work['s3_longer']:.1f}) and `looped` ({work['s3_looped']:.1f}) have more |" in text
    assert f"({work['costs_c0.02']:.0f} million tokens x layers, without thoughts {work['costs_plain']:.1f})" in text


def test_no_rival_of_the_learner_that_is_shown_thoughts_computed_less() -> None:
    arms = json.loads((ROOT / "results" / "thinktoks.json").read_text())["arms"]
    work = {name: arm["measures"]["work"]["mean"] for name, arm in arms.items() if name.startswith("s3_")}
    less = {name for name, value in work.items() if value is not None and value < work["s3_shown"]}
    assert less <= {"s3_plain", "s3_taught"}, "the one has `longer` beside it, the other draws nothing"


def _means(name: str, arm: str) -> dict[str, float]:
    """Return the stored means of an experiment's arm."""
    measures = json.loads((ROOT / "results" / f"{name}.json").read_text())["arms"][arm]["measures"]
    return {key: value["mean"] for key, value in measures.items() if value["mean"] is not None}


def test_the_ladder_in_the_readme_is_the_stored_one_and_its_intervals_are_apart():
    """`palaestra tournament configs/tournaments/ladder.yaml --save results/ladder.json`."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    joint = json.loads((ROOT / "results" / "ladder.json").read_text())["standings"][0]
    lines = joint["lines"][::-1]
    assert [line["entrant"] for line in lines] == ["random", "greedy", "mcts-10", "mcts-1000", "stockfish"]
    for line in lines:
        mean, low, high = (round(value) for value in line["rating"])
        assert f"| {mean} [{low}, {high}] |" in text
    for worse, better in itertools.pairwise(lines):
        assert worse["rating"][2] < better["rating"][1]
    assert f"{joint['games']:,} games" in text
