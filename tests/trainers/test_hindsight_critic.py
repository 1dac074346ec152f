"""Critics that move: exact means of adapters, refreshed when it is time, and kept over a restart."""

from __future__ import annotations

import json

import pytest
import torch
from peft import LoraConfig, get_peft_model, set_peft_model_state_dict

from palaestra.agents.engines.base import BASE
from palaestra.agents.models.sources import ModelSource
from palaestra.envs.errors import PalaestraError
from palaestra.trainers.adapters import AdapterWeights
from palaestra.trainers.checkpoint import read
from palaestra.trainers.hindsight.critic import WINDOW, Critic, side_by_side
from palaestra.trainers.run import resume, train
from palaestra.trainers.settle import settle
from tests.trainers.run_kit import Watch, data, make_learner, small


def snapshots(count: int) -> list[AdapterWeights]:
    weights = make_learner().policy.weights("small")
    found = []
    for seed in range(count):
        noise = torch.Generator().manual_seed(seed)
        moved = {name: 0.1 * torch.randn(one.shape, generator=noise) for name, one in weights.tensors.items()}
        found.append(AdapterWeights(weights.lora, moved))
    return found


def changes(weights: AdapterWeights) -> dict[str, torch.Tensor]:
    """Return what an adapter adds to each matrix of its base."""
    model = ModelSource.parse("tiny:blank").load().model
    before = {name: one.clone() for name, one in model.state_dict().items()}
    peft = get_peft_model(model, LoraConfig(**weights.lora))
    set_peft_model_state_dict(peft, weights.tensors)
    after = peft.merge_and_unload().state_dict()
    return {name: one - before[name] for name, one in after.items() if not torch.equal(one, before[name])}


def test_adapters_side_by_side_change_every_matrix_by_the_mean():
    own = snapshots(3)
    parts, whole = [changes(one) for one in own], changes(side_by_side(own))
    assert whole.keys() == parts[0].keys() != set()
    for name, change in whole.items():
        torch.testing.assert_close(change, sum(part[name] for part in parts) / 3, rtol=1e-4, atol=1e-5)
    assert side_by_side(own[:1]).tensors is own[0].tensors


def test_critics_move_when_it_is_time_and_when_they_may():
    own = snapshots(6)
    frozen, live, average, gated = (Critic(kind, 2) for kind in ("frozen", "live", "average", "gated"))
    assert not any(frozen.due(iteration) for iteration in range(1, 9))
    assert [live.due(iteration) for iteration in (1, 2, 3)] == [True] * 3
    assert [average.due(iteration) for iteration in (1, 2, 3, 4)] == [False, True, False, True]
    assert (frozen.policy, frozen.weights()) == (BASE, None)
    for one in own:
        average.refresh(one, lambda new: False)
    assert (average.policy, len(average.snapshots)) == ("critic@6", WINDOW)
    assert average.weights().lora["r"] == WINDOW * own[0].lora["r"]
    assert not gated.refresh(own[0], lambda new: False)
    assert gated.policy == BASE
    assert gated.refresh(own[0], lambda new: new is own[0])
    again = Critic("average", 2)
    again.load(average.number, {**average.tensors(), "small": {}}, own[0])
    assert again.policy == average.policy
    for name, tensor in average.weights().tensors.items():
        assert torch.equal(tensor, again.weights().tensors[name])


def test_a_critic_that_moves_needs_one_adapter():
    games = [*data()["games"], {"game": "matrix_game"}]
    with pytest.raises(PalaestraError, match="follows one adapter"):
        settle(small(games=games, adapters="per_env", hindsight={"critic": "live"}))


@pytest.mark.slow
@pytest.mark.parametrize("critic", ["average", "gated"])
def test_a_run_with_a_critic_that_moves_resumes_as_if_it_had_not_stopped(critic, tmp_path, local_ray):
    asks = {"critic": critic, "refresh": 1, "use": "unverified", "share": 0.5, "pairs": 3, "gate": 0}
    asks["reply"] = {"max_tokens": 4, "context": "fresh"}
    whole = train(small(hindsight=asks, iterations=3), tmp_path / "whole", Watch())
    train(small(hindsight=asks, iterations=2), tmp_path / "parts", Watch())
    config = tmp_path / "parts" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("iterations: 2", "iterations: 3"), encoding="utf-8")
    parts = resume(tmp_path / "parts", Watch())
    (one, first), (other, second) = (read(folder / "checkpoints" / "00003") for folder in (whole, parts))
    assert one["critic"] == other["critic"]
    assert first.adapters.keys() == second.adapters.keys()
    assert (len(first.adapters) == 4) == (critic == "average")
    for adapter, tensors in first.adapters.items():
        assert all(torch.equal(tensor, second.adapters[adapter][name]) for name, tensor in tensors.items())
    lines = [(folder / "reviews.jsonl").read_text(encoding="utf-8").splitlines() for folder in (whole, parts)]
    assert [json.loads(line)["why"] for line in lines[0]] == [json.loads(line)["why"] for line in lines[1]]
