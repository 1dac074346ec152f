"""Moving averages of adapters, by whose log scores the thoughts of a game of documents may be paid (RLP,
Hatamizadeh et al., 2025, arXiv 2510.01265): a scorer that follows the policy slowly cannot be moved by one update.

    average <- decay x average + (1 - decay) x policy        after every iteration

The average is of the adapter's tensors, as it is of all weights where a model is trained whole; LoRA's product of two
averages is not the average of the products, and near it while the policy moves little in 1 / (1 - decay) iterations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch

from palaestra.trainers.adapters import AdapterWeights
from palaestra.trainers.checkpoint import CheckpointError
from palaestra.trainers.config import GameSection

Tensors = dict[str, torch.Tensor]


class Averages:
    """The averages of a run: one for each game whose thoughts are paid by one.

    Args:
        games: The run's games.
    """

    def __init__(self, games: Sequence[GameSection]) -> None:
        self._decay = {
            number: section.reading.decay for number, section in enumerate(games) if section.reading.scorer == "average"
        }
        self._kept: dict[int, AdapterWeights] = {}

    @property
    def games(self) -> list[int]:
        """Return the numbers of these games."""
        return list(self._decay)

    def follow(self, game: int, policy: AdapterWeights) -> AdapterWeights:
        """Move a game's average towards the policy and return it; the first is the policy as it begins."""
        kept = self._kept.get(game)
        if kept is not None:
            share = 1 - self._decay[game]
            tensors = {name: torch.lerp(kept.tensors[name], now, share) for name, now in policy.tensors.items()}
        else:
            tensors = {name: tensor.clone() for name, tensor in policy.tensors.items()}
        self._kept[game] = replace(policy, tensors=tensors, canary=None)
        return self._kept[game]

    def weights(self) -> dict[int, AdapterWeights]:
        """Return every game's average."""
        return dict(self._kept)

    # ------------------------------------------------------------------ state

    def tensors(self) -> dict[str, Tensors]:
        """Return the averages' tensors, by name for a checkpoint."""
        return {f"average.{game}": weights.tensors for game, weights in self._kept.items()}

    def load(self, adapters: Mapping[str, Tensors], like: Mapping[int, AdapterWeights]) -> None:
        """Invert `tensors`; ``like`` has the fields of each game's policy.

        Raises:
            CheckpointError: There is no average of a game.
        """
        kept = {}
        for game, weights in like.items():
            if (tensors := adapters.get(f"average.{game}")) is None:
                raise CheckpointError(
                    f"the checkpoint holds no average for games.{game}; resume it with the configuration that it was "
                    "made with."
                )
            kept[game] = replace(weights, tensors=tensors, canary=None)
        self._kept = kept


def policy_of(game: int, iteration: int) -> str:
    """Return the name of a game's average in an iteration."""
    return f"average-{game}@{iteration}"
