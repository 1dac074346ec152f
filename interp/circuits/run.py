"""Running a model with nothing but a circuit: everything outside of it carries the corrupt prompt.

For components, those outside have their values of the corrupt run. For edges, every reader gets a residual stream of
its own: the live values of its writers inside the circuit, and the corrupt values of the others. All readers of a layer
are computed in one go from the writers' differences.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from palaestra.interp.architecture import Norm, Projection, bias, weight
from palaestra.interp.capture import capture
from palaestra.interp.checks import written
from palaestra.interp.circuits.circuit import Circuit
from palaestra.interp.errors import InterpError
from palaestra.interp.importance.edges import ARROW, allowed_edges, readers_of
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.prompts import Pairs

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel


def run_circuit(opened: OpenModel, pairs: Pairs, circuit: Circuit) -> Tensor:
    """Return the logits of clean prompts when only the circuit sees them: [B, T, V].

    With every edge (or component) it is the clean run, with none the corrupt one.

    Raises:
        InterpError: The circuit has members that the model has not.
    """
    if circuit.granularity == "node":
        return _nodes(opened, pairs, set(circuit.members))
    return _Edges(opened, pairs, membership(opened, circuit)).logits()


def membership(opened: OpenModel, circuit: Circuit) -> Tensor:
    """Return which edges are in a circuit: [writers, readers] of booleans."""
    return ~torch.isnan(matrix_of(opened, circuit))


def matrix_of(opened: OpenModel, circuit: Circuit) -> Tensor:
    """Return the scores of a circuit's edges, NaN where an edge is not in it: [writers, readers].

    Raises:
        InterpError: The circuit has edges that the model has not.
    """
    rows = {name: number for number, name in enumerate(opened.writers())}
    columns = {name: number for number, name in enumerate(readers_of(opened))}
    found = torch.full((len(rows), len(columns)), torch.nan)
    for name, score in zip(circuit.members, circuit.scores, strict=True):
        writer, _, reader = name.partition(ARROW)
        if writer not in rows or reader not in columns:
            raise InterpError(f"edge {name} of a circuit of {circuit.model} is not in {opened.name}.")
        found[rows[writer], columns[reader]] = score
    return found


def _nodes(opened: OpenModel, pairs: Pairs, kept: set[str]) -> Tensor:
    if strange := sorted(kept - set(opened.components)):
        raise InterpError(f"component {strange[0]} of the circuit is not in {opened.name}.")
    outside = [name for name in opened.writers() if name not in kept]
    with capture(opened, outside) as there:
        opened(pairs.corrupt.ids)
    with intervene(opened, *(Patch(name, there[name]) for name in outside)):
        return opened(pairs.clean.ids)


class _Edges:
    """One forward pass in which every reader has a residual stream of its own."""

    def __init__(self, opened: OpenModel, pairs: Pairs, kept: Tensor) -> None:
        self.opened, self.pairs = opened, pairs
        self.names = opened.writers()
        self.readers = {name: number for number, name in enumerate(readers_of(opened))}
        # what is taken from the corrupt run: edges that exist and are outside of the circuit
        self.outside = (allowed_edges(opened) & ~kept).to(opened.dtype)
        with capture(opened, self.names) as there:
            opened(pairs.corrupt.ids)
        self.corrupt = {name: written(opened, name, there[name]) for name in self.names}
        # corrupt minus live, [writers, B, T, width], of the first ``self.count`` of them
        self.differences = torch.empty(len(self.names), *self.corrupt[self.names[0]].shape).to(there[self.names[0]])
        self.count = 0
        self.inputs: dict[tuple[int, str], Tensor] = {}  # of the projections of the layer that computes now

    def logits(self) -> Tensor:
        body = self.opened.anatomy
        with ExitStack() as undo:
            for name, module in body.embeddings.items():
                undo.callback(module.register_forward_hook(self._writer([name])).remove)
            for layer, block in enumerate(body.blocks):
                heads = [f"L{layer}.H{head}" for head in range(body.heads)]
                norm = Norm.of(block.norm1)
                undo.callback(block.norm1.register_forward_hook(self._attention(layer, norm)).remove)
                undo.callback(block.o.register_forward_hook(self._heads(layer, heads)).remove)
                undo.callback(block.norm2.register_forward_hook(self._one(f"L{layer}.mlp", block.norm2)).remove)
                undo.callback(block.mlp.register_forward_hook(self._writer([f"L{layer}.mlp"])).remove)
                for short in "qkv":
                    part: Projection = getattr(block, short)
                    undo.callback(part.module.register_forward_hook(self._projected(layer, short, part)).remove)
            undo.callback(body.norm.register_forward_hook(self._one("logits", body.norm)).remove)
            return self.opened(self.pairs.clean.ids)

    def _seen(self, readers: list[str], x: Tensor) -> Tensor:
        """Return the residual streams that readers see: [R, B, T, width]."""
        columns = torch.tensor([self.readers[name] for name in readers])
        chosen = self.outside[: self.count, columns].to(x)
        return x + (chosen.T @ self.differences[: self.count].flatten(1)).unflatten(1, x.shape)

    def _add(self, difference: Tensor) -> None:
        self.differences[self.count] = difference
        self.count += 1

    def _writer(self, names: list[str]) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            for name in names:
                self._add(self.corrupt[name] - output)

        return hook

    def _heads(self, layer: int, names: list[str]) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            width = self.opened.anatomy.head_width
            for number, name in enumerate(names):
                z = args[0][..., number * width : (number + 1) * width]
                self._add(self.corrupt[name] - written(self.opened, name, z))
            if f"L{layer}.bias" in self.corrupt:
                self._add(torch.zeros_like(output))

        return hook

    def _one(self, reader: str, module: nn.Module) -> Callable[..., Tensor]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            return Norm.of(module).apply(self._seen([reader], args[0])[0])

        return hook

    def _attention(self, layer: int, norm: Norm) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> None:
            body = self.opened.anatomy
            sizes = {"q": body.heads, "k": body.kv_heads, "v": body.kv_heads}
            readers = [
                f"L{layer}.{'H' if short == 'q' else 'KV'}{number}.{short}"
                for short, groups in sizes.items()
                for number in range(groups)
            ]
            seen = norm.apply(self._seen(readers, args[0])).split(list(sizes.values()))
            self.inputs |= {(layer, short): one for short, one in zip(sizes, seen, strict=True)}

        return hook

    def _projected(self, layer: int, short: str, part: Projection) -> Callable[..., Tensor]:
        def hook(module: nn.Module, args: Any, output: Tensor) -> Tensor:
            seen = self.inputs.pop((layer, short))
            rows = weight(part.module)[part.start : part.stop].unflatten(0, (seen.shape[0], -1))
            found = torch.einsum("gbtd,ghd->btgh", seen, rows).flatten(2)
            shift = bias(part.module)
            if shift is not None:
                found = found + shift[part.start : part.stop]
            return torch.cat([output[..., : part.start], found.to(output), output[..., part.stop :]], -1)

        return hook
