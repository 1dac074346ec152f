"""Relays from inside: the heads that read a transplanted step are found in a model that was built to go by thoughts and
absent in one that was built to work things out itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from palaestra.envs.errors import OptionError
from palaestra.interp.errors import InterpError
from palaestra.interp.opened import OpenModel
from palaestra.interp.relays import LEAST_SHARE, TASKS, inside, relays, step_pairs
from tests.interp.kit import llama
from tests.interp.test_reasoning import CODEC, blank


def test_the_step_is_where_clean_and_corrupt_differ() -> None:
    opened = OpenModel(blank(0), CODEC)
    step = step_pairs(opened, TASKS["cups"], 20, 0)
    assert step.places.sum(1).tolist() == [1] * len(step.items)
    for clean, corrupt, right, wrong, place in zip(
        step.pairs.clean.ids,
        step.pairs.corrupt.ids,
        step.pairs.clean.answers,
        step.pairs.clean.foils,
        step.places,
        strict=True,
    ):
        assert clean[place].item() == right.item()  # a thought of one step states its answer
        assert corrupt[place].item() == wrong.item()


def test_thoughts_in_which_nothing_can_be_planted_are_refused() -> None:
    opened = OpenModel(blank(0), CODEC)
    with pytest.raises(InterpError, match="error be planted"):
        step_pairs(opened, TASKS["cups"], 4, 0, ["I do not know."] * 4)
    with pytest.raises(InterpError, match="without a tokenizer"):
        step_pairs(OpenModel(llama(dtype=torch.float32)), TASKS["cups"], 4, 0)


def test_heads_that_look_away_together_hide_the_step_completely() -> None:
    """With no head looking at it, what is behind the step cannot depend on it: an identity of causal attention."""
    opened = OpenModel(blank(5), CODEC)
    found = inside(opened, step_pairs(opened, TASKS["cups"], 12, 0), measured=4)
    assert float(found.effect.abs().max()) > 1e-4
    assert float(found.blind.abs().max()) < 1e-5


def test_a_model_that_cannot_see_the_step_reads_nothing() -> None:
    model = blank(6)
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
    opened = OpenModel(model, CODEC)
    found = inside(opened, step_pairs(opened, TASKS["cups"], 12, 0))
    assert found.readers == []
    assert found.carriers == []


def test_a_planted_reader_is_the_only_one() -> None:
    """One head copies what it sees, unrotated and evenly, to the logits; all others write nothing."""
    model = blank(7)
    attention = model.model.layers[2].self_attn
    for layer in model.model.layers:
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    attention.q_proj.weight.zero_()
    width = 12
    attention.v_proj.weight[:width] = torch.eye(width, 48)  # of group 0: heads 0 and 1
    attention.o_proj.weight[:, width : 2 * width] = 60 * torch.eye(48, width)
    embedding = model.model.embed_tokens.weight
    embedding.zero_()
    for number, letter in enumerate(b"ABC"):
        embedding[letter, number] = 1.0
    embedding[:, 20] += 0.1
    model.lm_head.weight.copy_(embedding)
    opened = OpenModel(model, CODEC)
    found = inside(opened, step_pairs(opened, TASKS["cups"], 20, 0))
    assert found.readers == ["L2.H1"]
    assert found.carriers[0][0] == "L2.H1"


def test_bad_input_is_refused(tmp_path: Path) -> None:
    with pytest.raises(OptionError, match="there is no task"):
        relays(["tiny:blank"], tmp_path, task="chess")
    with pytest.raises(OptionError, match="at least one receiver"):
        relays([], tmp_path)
    (tmp_path / "relays.json").write_text(json.dumps({"plan": {}, "cells": {}}))
    with pytest.raises(InterpError, match="other options"):
        relays(["tiny:blank"], tmp_path)


@pytest.mark.slow
def test_who_uses_a_thought_has_readers_and_who_ignores_it_has_none(tmp_path: Path) -> None:
    built = ("uses", "half", "ignores")
    found = relays([f"tiny:relay-{one}" for one in built], tmp_path, items=40, say=lambda line: None)
    cells = {one: found["cells"][f"reference>tiny:relay-{one}"] for one in built}
    within = {one: cell["inside"] for one, cell in cells.items()}
    assert within["uses"]["readers"]
    assert within["ignores"]["readers"] == []
    # the odds are turned round, brought to a tie, and left alone
    assert within["uses"]["use"] == pytest.approx(2, abs=0.3)
    assert within["half"]["use"] == pytest.approx(1, abs=0.3)
    assert abs(within["ignores"]["use"]) < LEAST_SHARE
    flips = [cells[one]["behaviour"]["flips"]["mean"] for one in built]
    assert flips == sorted(flips, reverse=True)
    assert "relay-ignores" in (tmp_path / "index.html").read_text()
