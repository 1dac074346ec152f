"""Backward rules that make a gradient say more about what a component does, without changing a single value.

*Norms frozen*: a norm's scale counts as a constant. *Gates halved*: where two branches are multiplied, each gets half
of the gradient, and the activation counts as multiplication by a constant (its output over its input). These are the
layer-norm, half and identity rules of RelP (arXiv 2508.21258); freezing attention patterns too made scores of heads
worse on grouped-query models, so it is not here.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from palaestra.interp.architecture import Norm

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel


@contextmanager
def rules(opened: OpenModel, *, norms: bool = True, gates: bool = True) -> Iterator[None]:
    """Apply the rules to the gradients of every forward pass inside the ``with`` block."""
    with ExitStack() as undo:
        blocks = opened.anatomy.blocks
        if norms:
            for norm in [*(one.norm1 for one in blocks), *(one.norm2 for one in blocks), opened.anatomy.norm]:
                undo.callback(norm.register_forward_hook(_frozen).remove)
        if gates:
            for block in blocks:
                undo.callback(block.activation.register_forward_hook(_identity).remove)
                for branch in block.gated:
                    undo.callback(branch.register_forward_hook(_halved).remove)
        yield


def _frozen(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    norm, x = Norm.of(module), args[0]
    return _as(output, norm.apply(x, norm.scale(x).detach()))


def _identity(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    x = args[0]
    # all of these activations have the slope 1/2 at 0, or no slope that matters there
    ratio = torch.where(x.abs() < 1e-6, torch.full_like(x, 0.5), output / x).detach()
    return _as(output, x * ratio)


def _halved(module: nn.Module, args: tuple[Any, ...], output: Tensor) -> Tensor:
    if output.requires_grad:
        output.register_hook(lambda gradient: gradient / 2)
    return output


def _as(value: Tensor, graph: Tensor) -> Tensor:
    """Return exactly ``value``, with the gradient of ``graph``."""
    return value.detach() + (graph - graph.detach())
