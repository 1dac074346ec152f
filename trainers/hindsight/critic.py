"""Who reviews: the frozen reference, or, for comparison, a critic that moves with the policy.

    frozen    the reference, for ever
    live      the policy as it is now
    average   the mean of what the last `WINDOW` snapshots change, one every ``refresh`` iterations
    gated     a snapshot of the policy, every ``refresh`` iterations, if it passes a gate
              (`palaestra.trainers.hindsight.gate.better`): on games that are not trained on it must gain more than the
              critic before it, at the same form and length

A critic that moves upvotes itself (arXiv 2606.03532); the others are here so that this can be seen. The mean of
adapters is exact: their matrices are put side by side, for a mean of the two factors is not the mean of the products.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch

from palaestra.agents.engines.base import BASE
from palaestra.trainers.adapters import AdapterWeights

WINDOW = 4
Passes = Callable[[AdapterWeights], bool]


class Critic:
    """Holds the snapshots that review; without any it is the frozen reference.

    Args:
        kind: One of those above.
        every: Iterations between refreshes, of all but ``live``.

    Attributes:
        number: How often it was refreshed.
    """

    def __init__(self, kind: str, every: int) -> None:
        self.kind, self.every = kind, 1 if kind == "live" else every
        self.number = 0
        self.snapshots: list[AdapterWeights] = []

    @property
    def policy(self) -> str:
        """Return the name of the policy that reviews."""
        return f"critic@{self.number}" if self.snapshots else BASE

    def weights(self) -> AdapterWeights | None:
        """Return the critic's weights; None for the frozen reference."""
        return side_by_side(self.snapshots) if self.snapshots else None

    def due(self, iteration: int) -> bool:
        """Return whether it may be refreshed after so many iterations."""
        return self.kind != "frozen" and iteration % self.every == 0

    def refresh(self, weights: AdapterWeights, passes: Passes) -> bool:
        """Take a snapshot of the policy, if it may; return whether it did."""
        if self.kind == "gated" and not passes(weights):
            return False
        self.snapshots = [*self.snapshots, weights][-(WINDOW if self.kind == "average" else 1) :]
        self.number += 1
        return True

    # ------------------------------------------------------------------ state

    def tensors(self) -> dict[str, dict[str, torch.Tensor]]:
        """Return the snapshots' tensors, by name for a checkpoint."""
        return {f"critic.{place}": one.tensors for place, one in enumerate(self.snapshots)}

    def load(self, number: int, adapters: dict[str, dict[str, torch.Tensor]], like: AdapterWeights) -> None:
        """Invert `tensors`; ``like`` has the fields of the policy's own adapter."""
        self.number = number
        found = sorted(name for name in adapters if name.startswith("critic."))
        self.snapshots = [AdapterWeights(like.lora, adapters[name], None, like.thinking) for name in found]


def side_by_side(snapshots: Sequence[AdapterWeights]) -> AdapterWeights:
    """Return the adapter that changes every matrix by the mean of what the given ones change."""
    first, count = snapshots[0], len(snapshots)
    if count == 1:
        return AdapterWeights(first.lora, first.tensors, None, first.thinking)
    tensors = {}
    for name, tensor in first.tensors.items():
        all_of_them = [one.tensors[name] for one in snapshots]
        if ".lora_A." in name:
            tensors[name] = torch.cat(all_of_them, dim=0)
        elif ".lora_B." in name:
            tensors[name] = torch.cat(all_of_them, dim=1) / count
        else:
            tensors[name] = torch.stack(all_of_them).mean(0)
        assert tensors[name].dtype == tensor.dtype
    lora = {**first.lora, "r": first.lora["r"] * count, "lora_alpha": first.lora["lora_alpha"] * count}
    return AdapterWeights(lora, tensors, None, first.thinking)
