"""`palaestra interp circuit`: a folder and a page from pairs, resumed where it stopped, and files that are no pairs."""

import json

import pytest

from palaestra.interp.circuits import Circuit
from palaestra.interp.circuits.analysis import CircuitPlan, analyse, steps_of
from palaestra.interp.errors import InterpError, UnequalTokens
from palaestra.interp.opened import OpenModel, open_model
from palaestra.interp.tasks import from_file, ioi
from tests.interp import kit
from tests.interp.planted import induction

PLAN = CircuitPlan("induction", "induction", 8, random=1, steps=0, by="sign")


def test_a_folder_holds_what_was_found_and_goes_on(tmp_path):
    opened, pairs, _, true = induction()
    steps = []
    page = analyse(opened, pairs, PLAN, tmp_path, lambda: steps.append(1))
    assert len(steps) == steps_of(PLAN)
    text = page.read_text()
    assert "Faithfulness by size" in text
    assert text.count("<svg") == 4
    found = Circuit.load(tmp_path / "circuit.json")
    assert set(found.first(3).members) == true
    points = sorted((tmp_path / "points").glob("*.json"))
    assert len(points) == 10
    before = points[3].stat().st_mtime_ns
    points[0].unlink()
    analyse(opened, pairs, PLAN, tmp_path)
    assert points[0].exists()
    assert points[3].stat().st_mtime_ns == before
    other = CircuitPlan("induction", "induction", 8, seed=1)
    with pytest.raises(InterpError, match="another plan"):
        analyse(opened, pairs, other, tmp_path)
    with pytest.raises(InterpError, match="too few"):
        analyse(opened, pairs[slice(0, 2)], PLAN, tmp_path)


def test_files_of_pairs(tmp_path):
    opened = open_model("tiny:blank")
    path = tmp_path / "pairs.jsonl"
    row = {"clean": "abc", "corrupt": "abd", "answer": "x", "foil": "y"}
    path.write_text("\n".join([json.dumps(row), "", json.dumps({**row, "clean": "xyz"})]))
    assert len(from_file(opened, path)) == 2
    path.write_text(json.dumps({**row, "clean": "a\u2028b", "corrupt": "a\u2028c"}, ensure_ascii=False) + "\n")
    assert len(from_file(opened, path)) == 1, "a line separator inside of a text ends no line"
    for text, error, match in (
        ("", InterpError, "empty"),
        ('{"clean": "a"}', InterpError, r"line 1 is no pair"),
        ("[1]", InterpError, "line 1"),
        (json.dumps({**row, "corrupt": "abcd"}), UnequalTokens, r"pairs.jsonl: pair 0: 'abc' has 3 tokens"),
        (json.dumps({**row, "answer": ""}), InterpError, r"pairs.jsonl: pair 0: its answer is empty; give a word"),
        (json.dumps(row) + "\n" + json.dumps({**row, "foil": ""}), InterpError, "pair 1: its foil is empty"),
        (json.dumps({**row, "foil": None}), InterpError, "line 1 is no pair .None is no text"),
    ):
        path.write_text(text)
        with pytest.raises(error, match=match):
            from_file(opened, path)
    path.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InterpError, match="cannot be read"):
        from_file(opened, path)
    with pytest.raises(InterpError, match="several tokens"):
        ioi(opened, 4)
    with pytest.raises(InterpError, match="without a tokenizer"):
        ioi(OpenModel(kit.llama()), 4)
