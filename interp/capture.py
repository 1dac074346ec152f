"""Keeping what components compute during a forward pass, and the gradients that reach them.

    with capture(opened, ["L3.H2", "L3.mlp"], gradients=True) as kept:
        logits = opened(ids)
    kept["L3.H2"]                                   # [B, T, head_width]
    kept.gradients(metric(logits).sum())["L3.mlp"]  # [B, T, width]

A capture entered inside an intervention sees what the intervention made of the model.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from palaestra.interp.components import Component, Where

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel


class Captured(Mapping[str, Tensor]):
    """Values by component name, of the last forward pass inside the ``with`` block."""

    def __init__(self, wanted: dict[str, Component]) -> None:
        self._wanted = wanted
        self._seen: dict[tuple[nn.Module, Where], tuple[Tensor, Tensor | None]] = {}

    def __getitem__(self, name: str) -> Tensor:
        site = self._wanted[name].site
        if (site.module, site.where) not in self._seen:
            raise KeyError(f"{name}: no forward pass has run inside the capture yet")
        return site.read(*self._seen[site.module, site.where])

    def __iter__(self) -> Iterator[str]:
        return iter(self._wanted)

    def __len__(self) -> int:
        return len(self._wanted)

    def __contains__(self, name: object) -> bool:
        return name in self._wanted

    def gradients(
        self, scalar: Tensor, names: Iterable[str] | None = None, *, keep_graph: bool = False
    ) -> dict[str, Tensor]:
        """Return the gradient of a number at components; zeros where it does not depend on them.

        Args:
            scalar: Made of the logits of the forward pass; for a metric of each prompt, its sum, because prompts do not
                depend on each other.
            names: Which components; None for all that were captured.
            keep_graph: Whether another gradient will be asked for.

        Returns:
            Tensors of the shapes of the values.
        """
        chosen = list(self._wanted if names is None else names)
        places = list({(site.module, site.where): None for site in (self._wanted[name].site for name in chosen)})
        full = [self._full(place) for place in places]
        found = torch.autograd.grad(scalar, full, allow_unused=True, retain_graph=keep_graph)
        at = {
            place: torch.zeros_like(one) if gradient is None else gradient
            for place, one, gradient in zip(places, full, found, strict=True)
        }
        with torch.no_grad():
            return {
                name: site.pull(at[site.module, site.where], *self._seen[site.module, site.where])
                for name, site in ((name, self._wanted[name].site) for name in chosen)
            }

    def first(self, name: str) -> Tensor:
        """Return the first argument of the module where a component is, such as what a norm reads."""
        site = self._wanted[name].site
        return self._seen[site.module, site.where][0]

    def _full(self, place: tuple[nn.Module, Where]) -> Tensor:
        x, y = self._seen[place]
        if place[1] == "input":
            return x
        assert y is not None
        return y


@contextmanager
def capture(
    opened: OpenModel, names: Iterable[str], *, gradients: bool = False, places: Mapping[str, Component] | None = None
) -> Iterator[Captured]:
    """Keep the values of components in every forward pass inside the ``with`` block.

    Args:
        opened: The model.
        names: Components.
        places: What names stand for, where they are not the model's own.
        gradients: Keep the graph, so that `Captured.gradients` can be asked. It begins at the embeddings: no gradient
            of a parameter is computed.

    Raises:
        UnknownName: There is no such component.
    """
    wanted = {name: places[name] if places else opened.component(name) for name in names}
    kept = Captured(wanted)
    handles = []
    if gradients:
        if not opened.tracking:  # a graph that began twice would be cut in two
            handles += [module.register_forward_hook(_begin) for module in opened.anatomy.embeddings.values()]
        opened.tracking += 1
    for module, where in {(one.site.module, one.site.where): None for one in wanted.values()}:
        if where == "input":
            handles.append(module.register_forward_pre_hook(_keep_input(kept)))
        else:
            handles.append(module.register_forward_hook(_keep_output(kept)))
    try:
        yield kept
    finally:
        for handle in handles:
            handle.remove()
        opened.tracking -= gradients


def _begin(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    return output.detach().requires_grad_(True)


def _keep_input(kept: Captured) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...]) -> None:
        kept._seen[module, "input"] = (args[0], None)

    return hook


def _keep_output(kept: Captured) -> Any:
    def hook(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> None:
        kept._seen[module, "output"] = (args[0], output)

    return hook
