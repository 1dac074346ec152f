"""Where an analysis goes, and how a run's report comes to link it."""

from pathlib import Path

import pytest

from palaestra.scripts.interp_folder import folder_for, linked, run_of, tell


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "runs" / "one"
    for adapter in ("adapter", "adapters/kuhn@3"):
        (folder / adapter).mkdir(parents=True)
        (folder / adapter / "adapter_config.json").write_text("{}")
        (folder / adapter / "adapter_model.safetensors").write_bytes(b"")
    (folder / "config.yaml").write_text("")
    (folder / "replays").mkdir()
    return folder


@pytest.mark.parametrize("of", ["tiny:kuhn@runs/one", "runs/one", "kuhn@3", "tiny:kuhn@runs/one/kuhn@3"])
def test_an_analysis_of_a_runs_model_goes_into_its_folder(run, of):
    assert folder_for("diff", of, None) == run / "interp" / "diff"
    assert folder_for("diff", of, Path("elsewhere")) == Path("elsewhere")


def test_a_replay_is_of_the_run_that_holds_it(run):
    assert folder_for("episode", run / "replays" / "0.jsonl", None) == run / "interp" / "episode"


@pytest.mark.parametrize("of", ["tiny:kuhn", "smollm2", "nothing/here", "org/model", "lib:nobody"])
def test_an_analysis_of_any_other_model_goes_beside(run, of):
    assert run_of(of) is None
    assert folder_for("atlas", of, None) == Path("interp-atlas")


def test_a_report_links_what_is_there_and_escapes_its_name(run, capsys):
    assert linked(run) is None
    for name in ("diff", "a&b <i>"):
        (run / "interp" / name).mkdir(parents=True)
        (run / "interp" / name / "index.html").write_text("")
    (run / "interp" / "cut").mkdir()
    found = str(linked(run))
    assert found.count("<li>") == 2
    assert '<a href="interp/diff/index.html">diff</a>' in found
    assert '<a href="interp/a%26b%20%3Ci%3E/index.html">a&amp;b &lt;i&gt;</a>' in found
    tell(run / "interp" / "diff" / "index.html")
    assert f"`palaestra report {run}` links it." in capsys.readouterr().out.replace("\n", "")
    tell(Path("interp-diff") / "index.html")
    assert "links it" not in capsys.readouterr().out
