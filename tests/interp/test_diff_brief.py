"""What a run's report says of its adapter: read off recorded decisions, by layers."""

import asyncio

import pytest
import torch
from peft import LoraConfig, get_peft_model

from palaestra.agents import make_seat
from palaestra.agents.models.adapters import stamp
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import Match, make
from palaestra.envs.replay import write_replay
from palaestra.interp.diff.brief import _stretches, brief, first_contexts
from palaestra.interp.errors import InterpError
from palaestra.interp.report import fragment


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    games = folder / "replays" / "after"
    games.mkdir(parents=True)
    for seed in range(6):
        match = Match(make("kuhn_poker", seed=seed), [make_seat("tiny:blank"), make_seat("random")], seed=seed)
        write_replay(asyncio.run(match.play()), games / f"{seed}.jsonl")
    (games / "torn.jsonl").write_text("{")
    source = ModelSource.parse("tiny:blank")
    model = get_peft_model(source.load().model, LoraConfig(r=2, target_modules=["down_proj"], layers_to_transform=[1]))
    with torch.no_grad():
        for name, one in model.named_parameters():
            if "lora_B" in name:
                one.normal_(std=0.2)
    model.save_pretrained(folder / "adapter")
    stamp(folder / "adapter", source.fingerprint())
    return folder


def test_the_layer_that_was_trained_is_all_of_the_change(run):
    parts = brief(run, "tiny:blank", run / "adapter")
    html = fragment(parts)
    assert "first token" in html
    assert "L1" in html
    assert "L0 to" not in html


def test_decisions_are_different_contexts_of_recorded_games(run, tmp_path):
    found = first_contexts(run / "replays" / "after")
    assert 1 < len(found) <= 3  # three cards
    assert len({tuple(one) for one in found}) == len(found)
    with pytest.raises(InterpError, match="nothing to compare"):
        first_contexts(tmp_path)


def test_modules_are_told_by_stretches_of_layers_and_what_lies_outside_is_told_too():
    found = _stretches([*(f"L{layer}.q" for layer in range(12)), "L3.down", "tables"])
    assert list(found) == ["L0 to L1", "L2 to L3", "L4 to L5", "L6 to L7", "L8 to L9", "L10 to L11", "tables"]
    assert found["L2 to L3"] == ["L2.q", "L3.q", "L3.down"]
    assert _stretches(["tables"]) == {"tables": ["tables"]}
