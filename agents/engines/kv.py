"""The workspace: keys and values of the rows that run.

It is one tensor, [layers, 2, rows, heads, time, head size], of which each layer reads and writes a view. Rows that run
are always the first ones, so a decode step attends to a view and copies nothing; when a row leaves, the last one moves
into its place. New keys and values are written in place.

A row that leaves takes its keys and values along at their exact length, as a `Prefix`; a seat that speaks again gets
them copied back. That is two copies a turn, in place of one a token.

Invariant: every element of the workspace is finite, written or not, because a masked key weighs exactly 0 and
0 * nan would not be 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from transformers import Cache

from palaestra.agents.engines.attention import Plan
from palaestra.agents.engines.prefixes import Prefix


@dataclass(frozen=True, slots=True)
class KVShape:
    """What one token takes: the model's layers, key heads and head size, and the type they are kept in."""

    layers: int
    heads: int
    size: int
    dtype: torch.dtype
    device: torch.device

    @property
    def token_bytes(self) -> int:
        return 2 * self.layers * self.heads * self.size * self.dtype.itemsize


class Workspace(Cache):
    """The cache that the model writes to; it follows the `plan` of the step."""

    def __init__(self, shape: KVShape) -> None:
        super().__init__(layers=[])
        self.shape = shape
        self.rows = 0
        self.time = 0
        self.plan: Plan | None = None
        self._store = self._allocate(0, 0)

    def _allocate(self, rows: int, time: int) -> torch.Tensor:
        shape = self.shape
        return torch.zeros(
            (shape.layers, 2, rows, shape.heads, time, shape.size), dtype=shape.dtype, device=shape.device
        )

    def reserve(self, rows: int, time: int, used: int, budget: int) -> None:
        """Make room for `rows` rows of `time` tokens each.

        Args:
            rows: Rows needed.
            time: Tokens needed, no fewer than any of the first `used` rows holds.
            used: Rows whose content is kept.
            budget: Most row-tokens to allocate; up to it, more than needed is taken, to be made anew less often.
        """
        if rows <= self.rows and time <= self.time:
            return
        roomy_time = max(self.time, -(-time // 64) * 64)
        more_rows = self.rows if rows <= self.rows else max(rows, 2 * self.rows, 4)
        sizes = [(more_rows, roomy_time), (rows, roomy_time), (rows, time)]
        self.rows, self.time = next((size for size in sizes if size[0] * size[1] <= budget), sizes[-1])
        store = self._allocate(self.rows, self.time)
        kept = min(self.time, self._store.shape[4])
        store[:, :, :used, :, :kept] = self._store[:, :, :used, :, :kept]
        self._store = store

    def save(self, row: int, tokens: list[int], policy: str) -> Prefix:
        """Copy a row out; `tokens` are those computed."""
        return Prefix(policy, tokens, self._store[:, :, row, :, : len(tokens)].clone())

    def load(self, row: int, prefix: Prefix, length: int) -> None:
        """Copy the first `length` tokens of a prefix into a row."""
        self._store[:, :, row, :, :length] = prefix.kv[:, :, :, :length]

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one row to another."""
        self._store[:, :, target, :, :length] = self._store[:, :, source, :, :length]

    def update(
        self, key_states: torch.Tensor, value_states: torch.Tensor, layer_idx: int, *args: Any, **kwargs: Any
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Write the step's keys and values [N, heads, 1, head size]; return all of the layer's [rows, ...]."""
        assert self.plan is not None
        keys, values = self._store[layer_idx]
        keys[self.plan.rows, :, self.plan.positions] = key_states[:, :, 0]
        values[self.plan.rows, :, self.plan.positions] = value_states[:, :, 0]
        return keys, values
