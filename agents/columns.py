"""Keys and values of a batch that is read token by token: written in place, and moved together where rows have gaps.

transformers' `DynamicCache` copies all keys and values whenever a token is appended. Here there is room for more, and
what is beyond it is copied once in many tokens.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from transformers.cache_utils import Cache, DynamicLayer

GROWTH = 1.5


class Columns(DynamicLayer):
    """One layer's keys and values, [B, heads, columns, d] each, in tables with room for more columns."""

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        """Append columns and return all of them."""
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        if not before:
            self.lazy_initialization(key_states, value_states)
            self._tables = [_room(states, after) for states in (key_states, value_states)]
        elif after > self._tables[0].shape[-2]:
            tables = [_room(states, int(GROWTH * after)) for states in (key_states, value_states)]
            for table, kept in zip(tables, self._tables, strict=True):
                table[..., :before, :] = kept[..., :before, :]
            self._tables = tables
        for table, states in zip(self._tables, (key_states, value_states), strict=True):
            table[..., before:after, :] = states
        self.keys, self.values = (table[..., :after, :] for table in self._tables)
        return self.keys, self.values

    def keep(self, order: Tensor) -> None:
        """Keep for each row the columns ``order``, int64[B, n], in this order."""
        for table in self._tables:
            places = order[:, None, :, None].expand(-1, table.shape[1], -1, table.shape[3])
            table[..., : order.shape[1], :] = table.gather(2, places)
        self.keys, self.values = (table[..., : order.shape[1], :] for table in self._tables)


def columns() -> Cache:
    """Return an empty cache for any model whose layers attend to all that came before."""
    return Cache(layer_class_to_replicate=Columns)


def _room(states: Tensor, columns: int) -> Tensor:
    return torch.empty((*states.shape[:-2], columns, states.shape[-1]), dtype=states.dtype, device=states.device)
