"""What a model is made of, by names that do not change from analysis to analysis.

    embed, position          token embedding; learned positions, where there are any
    L3.H2                    a head: its output before o, which the residual stream gets through the columns of o
    L3.bias                  o's bias, where there is one
    L3.mlp                   an MLP
    L3.norm1.scale  .gain    a norm before attention (norm1) or before the MLP (norm2): the number it divides by, and
                             the vector it multiplies by
    final.scale  .gain       the same before the unembedding
    L3.q.delta               what a LoRA adapter adds to the output of a linear module
    unembed                  the logits; unembed.delta, where an adapter changes it
    resid0, resid1, ...      the residual stream before a block; the last one is what the final norm reads

A *site* is where such a thing can be read in a forward pass, replaced in it, and how a gradient reaches it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn

from palaestra.interp.architecture import Anatomy, Norm, bias, delta, is_adapted

Kind = Literal["embedding", "head", "bias", "mlp", "scale", "gain", "delta", "unembed", "residual"]
Where = Literal["input", "output"]


class Site(Protocol):
    """How to get at a component. ``x`` is the module's first argument and ``y`` its output (or first output)."""

    @property
    def module(self) -> nn.Module:
        """Return the module that is hooked."""
        ...

    @property
    def where(self) -> Where:
        """Return which of its two sides."""
        ...

    def read(self, x: Tensor, y: Tensor | None) -> Tensor:
        """Return the component's value."""
        ...

    def write(self, x: Tensor, y: Tensor | None, value: Tensor) -> Tensor:
        """Return what takes the place of x (``where == "input"``) or y for the component to have this value."""
        ...

    def pull(self, gradient: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        """Return the gradient at the component from that at x or y."""
        ...


@dataclass(frozen=True, slots=True)
class Slice:
    """Columns of a module's first argument or of its output."""

    module: nn.Module
    where: Where
    start: int | None = None
    stop: int | None = None

    def _full(self, x: Tensor, y: Tensor | None) -> Tensor:
        if self.where == "input":
            return x
        assert y is not None
        return y

    def read(self, x: Tensor, y: Tensor | None) -> Tensor:
        return self._full(x, y)[..., self.start : self.stop]

    def write(self, x: Tensor, y: Tensor | None, value: Tensor) -> Tensor:
        full = self._full(x, y)
        if self.start is None:
            return value.expand_as(full)
        assert self.stop is not None
        part = full[..., self.start : self.stop]
        return torch.cat([full[..., : self.start], value.expand_as(part), full[..., self.stop :]], -1)

    def pull(self, gradient: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        return gradient[..., self.start : self.stop]


@dataclass(frozen=True, slots=True)
class ScaleSite:
    """The number 1 / rms by which a norm multiplies: [..., 1]."""

    module: nn.Module
    where: Where = "output"

    def read(self, x: Tensor, y: Tensor | None) -> Tensor:
        return Norm.of(self.module).scale(x)

    def write(self, x: Tensor, y: Tensor | None, value: Tensor) -> Tensor:
        return Norm.of(self.module).apply(x, value)

    def pull(self, gradient: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        norm = Norm.of(self.module)
        return (gradient * norm.centre(x) * norm.gain).sum(-1, keepdim=True)


@dataclass(frozen=True, slots=True)
class GainSite:
    """The vector by which a norm multiplies, the same at every place: [..., width]."""

    module: nn.Module
    where: Where = "output"

    def read(self, x: Tensor, y: Tensor | None) -> Tensor:
        return Norm.of(self.module).gain.expand_as(x)

    def write(self, x: Tensor, y: Tensor | None, value: Tensor) -> Tensor:
        norm = Norm.of(self.module)
        found = norm.centre(x) * norm.scale(x) * value
        return found if norm.shift is None else found + norm.shift

    def pull(self, gradient: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        norm = Norm.of(self.module)
        return gradient * norm.centre(x) * norm.scale(x)


@dataclass(frozen=True, slots=True)
class DeltaSite:
    """What the live adapters of a LoRA layer add to its output."""

    module: nn.Module
    where: Where = "output"

    def read(self, x: Tensor, y: Tensor | None) -> Tensor:
        return delta(self.module, x)

    def write(self, x: Tensor, y: Tensor | None, value: Tensor) -> Tensor:
        assert y is not None
        return y + (value - delta(self.module, x))

    def pull(self, gradient: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        return gradient


@dataclass(frozen=True, slots=True)
class BiasSite:
    """The bias of a block's o, the same at every place."""

    module: nn.Module
    where: Where = "output"

    def read(self, x: Tensor, y: Tensor | None) -> Tensor:
        found = bias(self.module)
        assert y is not None
        assert found is not None
        return found.expand_as(y)

    def write(self, x: Tensor, y: Tensor | None, value: Tensor) -> Tensor:
        assert y is not None
        return y + (value - self.read(x, y))

    def pull(self, gradient: Tensor, x: Tensor, y: Tensor | None) -> Tensor:
        return gradient


@dataclass(frozen=True, slots=True)
class Component:
    """A named part of a model.

    Attributes:
        name: As in the module's table.
        kind: What it is.
        layer: Block; None outside of blocks.
        site: Where it is read and written.
        index: Of a head.
    """

    name: str
    kind: Kind
    layer: int | None
    site: Site
    index: int | None = None

    @property
    def writes(self) -> bool:
        """Whether it adds to the residual stream, so that those that do add up to what the final norm reads."""
        return self.kind in ("embedding", "head", "bias", "mlp")


def components(model: Anatomy) -> dict[str, Component]:
    """Return all components of a model, in the order in which they compute, residual streams last."""
    found: list[Component] = []
    for name, module in model.embeddings.items():
        found.append(Component(name, "embedding", None, Slice(module, "output")))
    for layer, block in enumerate(model.blocks):
        place = f"L{layer}"
        found += _norm(f"{place}.norm1", layer, block.norm1)
        for head in range(model.heads):
            columns = Slice(block.o, "input", head * model.head_width, (head + 1) * model.head_width)
            found.append(Component(f"{place}.H{head}", "head", layer, columns, head))
        if bias(block.o) is not None:
            found.append(Component(f"{place}.bias", "bias", layer, BiasSite(block.o)))
        found += _norm(f"{place}.norm2", layer, block.norm2)
        found.append(Component(f"{place}.mlp", "mlp", layer, Slice(block.mlp, "output")))
        for short, module in block.linear.items():
            if is_adapted(module):
                found.append(Component(f"{place}.{short}.delta", "delta", layer, DeltaSite(module)))
    found += _norm("final", None, model.norm)
    found.append(Component("unembed", "unembed", None, Slice(model.unembed, "output")))
    if is_adapted(model.unembed):
        found.append(Component("unembed.delta", "delta", None, DeltaSite(model.unembed)))
    for layer, block in enumerate(model.blocks):
        found.append(Component(f"resid{layer}", "residual", layer, Slice(block.whole, "input")))
    found.append(Component(f"resid{len(model.blocks)}", "residual", None, Slice(model.norm, "input")))
    return {one.name: one for one in found}


def _norm(name: str, layer: int | None, module: Any) -> list[Component]:
    return [
        Component(f"{name}.scale", "scale", layer, ScaleSite(module)),
        Component(f"{name}.gain", "gain", layer, GainSite(module)),
    ]
