"""What an organism is taught, and what it shall keep."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True)
class Example:
    """A text and how much of it is taught.

    Attributes:
        ids: Token ids.
        taught: The last so many of them are what the adapter shall say; 0 for a text after which nothing shall change.
    """

    ids: tuple[int, ...]
    taught: int = 0


def loss_of(model: Any, rows: Sequence[Example], *, keep: float) -> Tensor:
    """Return the cross-entropy of what is taught plus ``keep`` times KL(base || model) where nothing is, both in nats a
    token.

    Args:
        model: A `peft.PeftModel`; with its adapter switched off it is the base.
        rows: What is taught and what is kept.
        keep: Weight of the divergence.
    """
    device = next(model.parameters()).device
    ids, taught, kept = (one.to(device) for one in _batch(rows))
    said = model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
    following = ids.roll(-1, 1)  # what is taught never ends at a row's last place
    loss = -(said.gather(-1, following[..., None])[..., 0] * taught).sum() / taught.sum().clamp_min(1)
    with torch.no_grad(), model.disable_adapter():
        before = model(input_ids=ids, use_cache=False).logits.float().log_softmax(-1)
    apart = (before.exp() * (before - said)).sum(-1)
    return loss + keep * (apart * kept).sum() / kept.sum().clamp_min(1)


def _batch(rows: Sequence[Example]) -> tuple[Tensor, Tensor, Tensor]:
    """Return ids [B, T], and [B, T] the places after which something is taught, and after which nothing changes."""
    longest = max(len(row.ids) for row in rows)
    ids = torch.tensor([[*row.ids, *[row.ids[-1]] * (longest - len(row.ids))] for row in rows])
    place = torch.arange(longest)[None]
    ends = torch.tensor([len(row.ids) for row in rows])[:, None]
    begins = ends - torch.tensor([row.taught for row in rows])[:, None]
    taught = (place >= begins - 1) & (place < ends - 1)
    kept = torch.where(begins < ends, place < begins - 1, place < ends)  # a taught reply ends where the text does
    return ids, taught.float(), kept.float()
