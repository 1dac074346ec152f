"""Hindsight in whole runs: a reference that hindsight does not help is not asked, and the run says so."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from palaestra.trainers.hindsight import gate
from palaestra.trainers.report import write_report
from palaestra.trainers.run import resume, train
from tests.trainers.run_kit import Watch, checkpoint_bytes, replay_bytes, small

HINDSIGHT = {"share": 1.0, "pairs": 3, "gate": 6, "use": "unverified", "form": "reply", "reply": {"max_tokens": 3}}


@pytest.fixture(scope="module")
def closed(tmp_path_factory, local_ray):
    """A run whose reference is blank: nothing that it proposes can be said, so hindsight gains it nothing."""
    watch = Watch()
    folder = tmp_path_factory.mktemp("run") / "closed"
    return train(small(hindsight=HINDSIGHT), folder, watch), watch


@pytest.mark.slow
def test_a_critic_without_uplift_is_not_used_and_the_report_says_so(closed, tmp_path):
    folder, watch = closed
    measured = json.loads((folder / gate.FILE).read_text(encoding="utf-8"))
    assert (measured["passed"], measured["games"]) == (False, 6)
    assert measured["turns"] > 0
    assert measured["sentence"] in watch.said
    assert measured["sentence"].endswith("so it is not used.")
    assert not (folder / "reviews.jsonl").exists()
    assert not any(key.startswith("hindsight/") for one in watch.summaries for key in one.learner)
    assert measured["sentence"] in write_report(folder).read_text(encoding="utf-8")
    without = train(small(), tmp_path / "without")
    assert replay_bytes(folder).keys() == replay_bytes(without).keys()
    # what was trained is what is trained without hindsight, byte for byte
    mine, other = checkpoint_bytes(folder, 2), checkpoint_bytes(without, 2)
    assert mine["tensors.safetensors"] == other["tensors.safetensors"]


@pytest.mark.slow
def test_the_gate_is_passed_once_and_its_answer_holds_over_a_restart(closed, monkeypatch):
    folder, _ = closed
    monkeypatch.setattr(gate, "measure", lambda *_: pytest.fail("it was measured before"))
    config = folder / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("iterations: 2", "iterations: 3"), encoding="utf-8")
    watch = Watch()
    resume(folder, watch)
    assert len(watch.summaries) == 1
    assert not (folder / "reviews.jsonl").exists()


def test_a_critic_with_uplift_is_used(tmp_path, local_ray, monkeypatch):
    measure = gate.measure
    monkeypatch.setattr(gate, "measure", lambda *given: replace(measure(*given), mean=0.2, low=0.1, high=0.3))
    watch = Watch()
    folder = train(small(hindsight=HINDSIGHT), tmp_path / "open", watch)
    assert any("[+0.100, +0.300] a reviewed turn" in said and said.endswith("; it is used.") for said in watch.said)
    assert all(one.learner["hindsight/reviewed"] > 0 for one in watch.summaries)
    assert (folder / "reviews.jsonl").is_file()
