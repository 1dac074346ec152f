"""Moving averages of adapters: what they are after some iterations, and that a checkpoint keeps them."""

import pytest
import torch

from palaestra.trainers.adapters import AdapterWeights
from palaestra.trainers.averages import Averages, policy_of
from palaestra.trainers.checkpoint import CheckpointError
from tests.trainers.run_kit import small
from tests.trainers.test_document_runs import GAME, RUN

AVERAGED = {**GAME, "documents": {"scorer": "average", "decay": 0.75}}


def averages_of(*games):
    return Averages(small(**{**RUN, "games": list(games), "games_per_iteration": 8 * len(games)}).games)


def weights(value: float) -> AdapterWeights:
    return AdapterWeights({"r": 1}, {"a": torch.full((2,), value), "b": torch.full((1,), -value)})


def test_an_average_is_the_geometric_mean_of_its_past():
    averages = averages_of(GAME, AVERAGED)
    assert averages.games == [1]
    policies = [1.0, 5.0, -3.0, 2.0]
    for value in policies:
        found = averages.follow(1, weights(value))
    expected = 0.75**3 * 1.0 + sum(0.25 * 0.75 ** (3 - place) * policies[place] for place in (1, 2, 3))
    torch.testing.assert_close(found.tensors["a"], torch.full((2,), expected))
    torch.testing.assert_close(found.tensors["b"], torch.full((1,), -expected))
    assert found.canary is None
    again = averages_of(GAME, AVERAGED)
    again.load(averages.tensors(), {1: weights(9.0)})
    torch.testing.assert_close(
        again.follow(1, weights(0.0)).tensors["a"], averages.follow(1, weights(0.0)).tensors["a"]
    )
    with pytest.raises(CheckpointError, match=r"no average for games\.1"):
        again.load({}, {1: weights(9.0)})


def test_the_first_average_is_a_copy_of_the_policy():
    averages, policy = averages_of(AVERAGED), weights(1.0)
    averages.follow(0, policy)
    policy.tensors["a"] += 1
    assert averages.weights()[0].tensors["a"].tolist() == [1.0, 1.0]
    assert policy_of(0, 7) == "average-0@7"
