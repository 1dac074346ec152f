"""Scores of nodes and edges equal transformer-lens 4.3.0's, on models and prompts of `tests/oracles/lens_scores.py`."""

import importlib.util
import json
import subprocess
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from palaestra.interp.importance import attribute, edges
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs, Prompts

ORACLES = Path(__file__).parent.parent / "oracles"
GOLDEN = json.loads((ORACLES / "lens_scores.json").read_text())


def oracle():
    spec = importlib.util.spec_from_file_location("lens_scores", ORACLES / "lens_scores.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def opened(family: str) -> tuple[OpenModel, Pairs]:
    given = GOLDEN["prompts"]
    against = ([[one] for one in given["answers"]], [[one] for one in given["foils"]])
    model = oracle().model(family, load_file(ORACLES / "lens_models.safetensors"))
    return OpenModel(model.requires_grad_(False)), Pairs(
        Prompts.of(given["clean"], *against), Prompts.of(given["corrupt"], *against)
    )


@pytest.mark.parametrize("family", ["gpt2", "llama"])
def test_nodes_have_the_scores_of_transformer_lens(family):
    model, pairs = opened(family)
    found = attribute(model, pairs, method="gradient", by_place=True)
    compared = 0
    for row, listed in enumerate(GOLDEN["nodes"][family]):
        for name, place, score in listed:
            assert float(found[name][row, place]) == pytest.approx(-score, rel=1e-3, abs=1e-5), (row, name, place)
            compared += score != 0
    assert compared > 40
    assert max(abs(score) for listed in GOLDEN["nodes"][family] for *_, score in listed) > 0.05


def test_edges_have_the_scores_of_transformer_lens():
    model, pairs = opened("gpt2")
    found = edges(model, pairs)
    ours = dict(zip(found.names, found.flat().T, strict=True))
    for row, listed in enumerate(GOLDEN["edges"]["gpt2"]):
        for writer, reader, score in listed:
            assert float(ours[f"{writer}->{reader}"][row]) == pytest.approx(-score, rel=1e-3, abs=1e-5)
    theirs = {f"{writer}->{reader}" for writer, reader, _ in GOLDEN["edges"]["gpt2"][0]}
    # it has no node for learned positions and none for biases
    assert {name for name in ours if not name.startswith("position") and ".bias" not in name} == theirs


@pytest.mark.oracle
def test_transformer_lens_itself_still_gives_the_golden_numbers(tmp_path):
    python = Path(__file__).parent.parent.parent / ".venv-oracle" / "bin" / "python"
    if not python.exists():
        pytest.fail("there is no .venv-oracle; run `make oracle` first")
    (tmp_path / "lens_models.safetensors").write_bytes((ORACLES / "lens_models.safetensors").read_bytes())
    subprocess.run([python, str(ORACLES / "lens_scores.py"), str(tmp_path)], check=True, timeout=300)
    fresh = json.loads((tmp_path / "lens_scores.json").read_text())
    assert fresh["prompts"] == GOLDEN["prompts"]
    for family, rows in GOLDEN["nodes"].items():
        for new, stored in zip(fresh["nodes"][family], rows, strict=True):
            numbers = (torch.tensor([one[-1] for one in listed]) for listed in (new, stored))
            torch.testing.assert_close(*numbers, rtol=1e-4, atol=1e-6)
