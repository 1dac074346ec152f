"""`palaestra interp`: each command leaves a folder with plain data, tensors and a page, on models that are built at
once."""

import asyncio
import json

import pytest
from safetensors.torch import load_file

from palaestra.agents import make_seat
from palaestra.agents.models.adapters import stamp
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import Match, make
from palaestra.envs.replay import write_replay
from tests.interp.kit import with_lora
from tests.scripts.cli_kit import call

pytestmark = pytest.mark.slow


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty folder to stand in, with caches of its own."""
    monkeypatch.setenv("PALAESTRA_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def adapter(folder, seed=0):
    """An adapter of `tiny:blank` that is random in one module."""
    source = ModelSource.parse("tiny:blank")
    with_lora(source.load().model, ["down_proj"], seed).save_pretrained(str(folder))
    stamp(folder, source.fingerprint())
    return folder


def done(*args):
    result = call("interp", *args)
    assert result.exit_code == 0, result.stderr
    return result.stdout


def test_relays_keep_cells_of_the_same_weights_only(here):
    asked = ("relays", f"tiny:blank@{adapter(here / 'adapter')}", "--items", "6", "--to", "out")
    assert "reference > tiny:blank@" in done(*asked)
    first = json.loads((here / "out" / "relays.json").read_text())
    (cell,) = first["cells"].values()
    tensors = load_file(here / "out" / cell["tensors"])
    assert tensors["reading"].shape == (len(cell["inside"]["reading"]), cell["items"])
    assert "Who reads a transplanted thought" in (here / "out" / "index.html").read_text()
    done(*asked)
    assert json.loads((here / "out" / "relays.json").read_text()) == first
    adapter(here / "adapter", seed=1)
    done(*asked)
    (again,) = json.loads((here / "out" / "relays.json").read_text())["cells"].values()
    assert again["contents"] != cell["contents"]
    assert again["inside"]["effect"] != cell["inside"]["effect"]


def test_an_atlas_of_a_text(here):
    (here / "text.txt").write_text("the cat sat on the mat and the dog sat on the log. " * 8)
    out = done("atlas", "tiny:blank", "text.txt", "--tokens", "150", "--profiles", "30", "--context", "32",
               "--most-loss", "20", "--induction", "0", "--locate", "text.txt")  # fmt: skip
    assert "30 profiled" in out
    assert "text.txt:" in out
    assert {"tree.json", "tree.safetensors", "index.html"} <= {one.name for one in (here / "interp-atlas").iterdir()}


def test_a_diff_lies_in_the_runs_folder(here):
    run = here / "runs" / "one"
    run.mkdir(parents=True)
    (run / "config.yaml").write_text("")
    adapter(run / "adapter")
    out = done("diff", "tiny:blank", "runs/one", "--prompts", "4", "--no-crosscoder").replace("\n", "")
    assert "`palaestra report" in out
    found = json.loads((run / "interp" / "diff" / "switching.json").read_text())
    assert {name.partition(".")[2] for name in found["divergence"]["modules"]} == {"down"}
    assert (run / "interp" / "diff" / "switching.safetensors").is_file()


def test_many_adapters_in_one_table(here):
    for number in range(4):
        folder = adapter(here / f"adapter{number}", seed=number)
        added = call("adapters", "add", folder, "--name", f"a{number}", "--notes", f"kind {number % 2}")
        assert added.exit_code == 0, added.stderr
    assert "nearest mean profile" in done("diff", "tiny:blank", "--many", "--prompts", "4")
    data = json.loads((here / "interp-diff-many" / "many.json").read_text())
    assert set(data["adapters"]) == {"a0", "a1", "a2", "a3"}
    assert data["prediction"]["of"] == 4


def test_an_episode(here):
    match = Match(make("kuhn_poker", seed=1), [make_seat("tiny:blank"), make_seat("random")], seed=1)
    episode = asyncio.run(match.play())
    write_replay(episode, here / "game.jsonl")
    turn = 1 if episode.turns[0].player == 0 else 2
    done("episode", "game.jsonl", "--turn", turn, "--model", "tiny:blank")
    folder = here / f"interp-episode-game-{turn}"
    data, tensors = json.loads((folder / "episode.json").read_text()), load_file(folder / "episode.safetensors")
    assert len(data["words"]) == len(tensors["words"]) == len(tensors["ids"])
    assert tensors["components"].shape == (len(data["components"]), len(data["words"]))
    assert float(tensors["contributions"].sum()) == pytest.approx(data["margin"], abs=1e-3)


def test_a_model_that_was_taught_little_has_no_switch(here):
    done("teach", "reasoning", "tiny:blank", "--steps", "2", "--batch", "2", "--to", "taught")
    out = done("reasoning", "tiny:blank@taught", "--problems", "8", "--to", "out")
    assert "there is no switch to explain" in out.replace("\n", " ")
    assert json.loads((here / "out" / "reasoning.json").read_text())["points"]["turned"] == 0
