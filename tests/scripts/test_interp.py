"""`palaestra interp`: bad input gives one sentence, and the commands leave pages."""

import json

import pytest

from tests.scripts.cli_kit import GOLDENS, call, one_sentence


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("interp circit", "Did you mean 'circuit'?"),
        ("interp circuit smollm", "unknown model 'smollm'"),
        ("interp circuit tiny:blank --task ioy", "unknown task 'ioy'. Did you mean 'ioi'?"),
        ("interp circuit tiny:blank --task ioi", "splits names into several tokens"),
        ("interp circuit tiny:blank --by size", "Edges are ordered by magnitude or by sign."),
        ("interp circuit tiny:blank --pairs 2", "invalid value for '--pairs'"),
        ("interp circuit tiny:blank --task empty.jsonl", "empty.jsonl is empty; give at least one pair."),
        ("interp circuit tiny:blank --task broken.jsonl", "broken.jsonl, line 1 is no pair"),
        ("interp episode nothing.jsonl --turn 1", "nothing.jsonl does not exist"),
        ("interp episode broken.jsonl --turn 1", "broken.jsonl"),
        ("interp episode kuhn.jsonl --turn 1", "was not played by a language model"),
        ("interp episode kuhn.jsonl --turn 70", "there is no turn 70"),
    ],
)
def test_bad_input_is_one_sentence(command, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.jsonl").write_text("\n")
    (tmp_path / "broken.jsonl").write_text("{")
    (tmp_path / "kuhn.jsonl").write_bytes((GOLDENS / "kuhn_poker-played.jsonl").read_bytes())
    result = call(*command.split())
    assert said in one_sentence(result, result.stderr.partition(":")[0])
    assert result.exit_code == 2


def test_a_circuit_from_a_file(tmp_path):
    rows = [
        {"clean": f"{a}{b}{a}", "corrupt": f"{b}{b}{a}", "answer": b, "foil": a} for a, b in ("xy", "yz", "zw", "wx")
    ]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    folder = tmp_path / "found"
    done = call("interp", "circuit", "tiny:blank", "--task", tmp_path / "pairs.jsonl", "--random", "0", "--steps", "0",
                "--to", folder)  # fmt: skip
    assert done.exit_code == 0, done.stderr
    assert (folder / "index.html").is_file()
    found = json.loads((folder / "summary.json").read_text())
    assert found["curve"]["points"][-1]["faithfulness"] == pytest.approx(1, abs=1e-3)


def test_the_docs_name_a_function_for_every_command():
    import re
    from importlib import import_module
    from pathlib import Path

    import typer.main

    from palaestra.scripts.main import app

    page = (Path(__file__).parents[2] / "docs" / "interp.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `palaestra interp ([a-z-]+)` \| `(palaestra\.interp[\w.]*)\.(\w+)` \|", page, re.M)
    known = set(typer.main.get_command(app).commands["interp"].commands)
    assert {name for name, _, _ in rows} == known
    for _, module, function in rows:
        assert callable(getattr(import_module(module), function)), f"{module}.{function}"
