"""Changing what components compute during a forward pass.

    with intervene(opened, Zero("L3.H2"), Steer("resid5", direction, 4.0, at=mask)):
        logits = opened(ids)

Several interventions act in the order given. ``at`` says where: a boolean mask [T] or [B, T], None for everywhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from palaestra.interp.components import Component, Where
from palaestra.interp.errors import InterpError

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel


@dataclass(frozen=True, slots=True, eq=False)
class Zero:
    """The component is nothing."""

    name: str
    at: Tensor | None = None

    def change(self, value: Tensor) -> Tensor:
        return torch.zeros_like(value)


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """The component has a given value, such as one captured in another run: [B, T, W] or what broadcasts to it."""

    name: str
    value: Tensor
    at: Tensor | None = None

    def change(self, value: Tensor) -> Tensor:
        try:
            return self.value.to(value).expand_as(value)
        except RuntimeError:
            raise InterpError(
                f"a value of shape {tuple(self.value.shape)} cannot be patched into {self.name}, which has "
                f"{tuple(value.shape)} here; clean and corrupt prompts must have as many rows and tokens."
            ) from None


@dataclass(frozen=True, slots=True, eq=False)
class Mean:
    """The component has the mean of given values, over all their axes but the last: [..., W]."""

    name: str
    values: Tensor
    at: Tensor | None = None

    def change(self, value: Tensor) -> Tensor:
        return self.values.to(value).flatten(0, -2).mean(0).expand_as(value)


@dataclass(frozen=True, slots=True, eq=False)
class Resample:
    """The component has the value of another row of the same batch: row ``rows[b]`` in row b."""

    name: str
    rows: Tensor
    at: Tensor | None = None

    def change(self, value: Tensor) -> Tensor:
        return value[self.rows.to(value.device)]


@dataclass(frozen=True, slots=True, eq=False)
class Project:
    """The component loses its part along a direction [W]."""

    name: str
    direction: Tensor
    at: Tensor | None = None

    def change(self, value: Tensor) -> Tensor:
        unit = _unit(self.direction.to(value), self.name)
        return value - (value @ unit)[..., None] * unit


@dataclass(frozen=True, slots=True, eq=False)
class Steer:
    """The component gains ``scale`` times a direction [W] of length one."""

    name: str
    direction: Tensor
    scale: float
    at: Tensor | None = None

    def change(self, value: Tensor) -> Tensor:
        return value + self.scale * _unit(self.direction.to(value), self.name)


@dataclass(frozen=True, slots=True, eq=False)
class MaskAttention:
    """A head does not look from some places at others.

    Attributes:
        name: A head.
        hidden: [T, T] or [B, T, T] of booleans, queries by keys; true where it may not look.
    """

    name: str
    hidden: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class SwapAdapter:
    """A LoRA layer adds another adapter's delta, or none.

    Attributes:
        name: A component such as ``L3.q.delta``.
        adapter: Which of the loaded adapters; None for the bare base.
    """

    name: str
    adapter: str | None


Change = Zero | Patch | Mean | Resample | Project | Steer
Intervention = Change | MaskAttention | SwapAdapter


@contextmanager
def intervene(opened: OpenModel, *interventions: Intervention) -> Iterator[None]:
    """Apply interventions to every forward pass inside the ``with`` block.

    Raises:
        UnknownName: There is no such component.
        InterpError: A value, mask or direction does not fit, or an adapter is not loaded.
    """
    with ExitStack() as undo:
        changes: dict[tuple[nn.Module, Where], list[tuple[Component, Change]]] = {}
        masks: dict[int, list[tuple[int, Tensor]]] = {}
        for one in interventions:
            component = opened.component(one.name)
            if isinstance(one, SwapAdapter):
                undo.enter_context(_swapped(component, one.adapter))
            elif isinstance(one, MaskAttention):
                if component.kind != "head":
                    raise InterpError(f"{one.name} does not look at anything; attention is masked in a head.")
                assert component.layer is not None
                assert component.index is not None
                masks.setdefault(component.layer, []).append((component.index, one.hidden))
            else:
                changes.setdefault((component.site.module, component.site.where), []).append((component, one))
        for (module, where), listed in changes.items():
            register = _on_input if where == "input" else _on_output
            undo.callback(register(module, listed).remove)
        for layer, hidden in masks.items():
            attention = opened.anatomy.blocks[layer].attention
            hook = _masking(opened.anatomy.heads, layer, hidden)
            undo.callback(attention.register_forward_pre_hook(hook, with_kwargs=True).remove)
        yield


def _on_input(module: nn.Module, listed: list[tuple[Component, Change]]) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> tuple[Any, ...]:
        x = args[0]
        for component, one in listed:
            x = component.site.write(x, None, _changed(component.site.read(x, None), one))
        return (x, *args[1:])

    return module.register_forward_pre_hook(hook)


def _on_output(module: nn.Module, listed: list[tuple[Component, Change]]) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
        for component, one in listed:
            output = component.site.write(args[0], output, _changed(component.site.read(args[0], output), one))
        return output

    return module.register_forward_hook(hook)


def _changed(value: Tensor, one: Change) -> Tensor:
    new = one.change(value)
    if one.at is None:
        return new
    at = one.at.to(value.device)
    if at.dtype != torch.bool or at.shape[-1] != value.shape[-2]:
        raise InterpError(
            f"the places of an intervention on {one.name} must be a boolean mask [T] or [B, T] with T = "
            f"{value.shape[-2]}, not {at.dtype} {tuple(at.shape)}."
        )
    return torch.where(at[..., None], new, value)


def _unit(direction: Tensor, name: str) -> Tensor:
    length = direction.norm()
    if not torch.isfinite(length) or length == 0:
        raise InterpError(f"the direction for {name} has length {float(length)}; it must point somewhere.")
    return direction / length


def _masking(heads: int, layer: int, hidden: list[tuple[int, Tensor]]) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        states: Tensor = kwargs["hidden_states"] if "hidden_states" in kwargs else args[0]
        places = states.shape[1]
        given = kwargs.get("attention_mask")
        if given is None:
            seen = torch.ones(places, places, dtype=torch.bool, device=states.device).tril()[None, None]
        else:
            seen = (given if given.dtype == torch.bool else given == 0)[..., :places]
        seen = seen.expand(states.shape[0], heads, places, places).clone()
        for head, one in hidden:
            if one.dtype != torch.bool or one.shape[-2:] != (places, places):
                raise InterpError(
                    f"the mask of L{layer}.H{head} must be booleans of shape [{places}, {places}] or with rows in "
                    f"front, not {one.dtype} {tuple(one.shape)}."
                )
            seen[:, head] &= ~one.to(states.device)
        if not seen.any(-1).all():
            raise InterpError(f"a head of layer {layer} is left with nothing to look at; let each place see itself.")
        mask = torch.zeros(seen.shape, dtype=states.dtype, device=states.device)
        mask = mask.masked_fill(~seen, torch.finfo(states.dtype).min)
        return args, {**kwargs, "attention_mask": mask}

    return hook


@contextmanager
def _swapped(component: Component, adapter: str | None) -> Iterator[None]:
    layer: Any = component.site.module
    if component.kind != "delta":
        raise InterpError(f"{component.name} holds no adapter; its LoRA layers are named like L0.q.delta.")
    if adapter is not None and adapter not in layer.lora_A:
        raise InterpError(
            f"adapter {adapter!r} is not loaded in {component.name}; there are {', '.join(layer.lora_A)}."
        )
    before = layer._active_adapter, layer._disable_adapters
    layer._active_adapter, layer._disable_adapters = (before[0] if adapter is None else [adapter]), adapter is None
    try:
        yield
    finally:
        layer._active_adapter, layer._disable_adapters = before
