"""Editing weights where a circuit is, and whether that is better than the same edit anywhere else.

An edit lasts for a ``with`` block and is undone bit for bit behind it. What it must be compared with: the same edit at
random components of the same kinds (edits found by localisation are not always better, Hase et al. 2301.04213), and
what it does to prompts that have nothing to do with the behaviour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from palaestra.interp.architecture import is_adapted, live_adapters
from palaestra.interp.errors import InterpError
from palaestra.interp.metrics import Metric, logit_difference
from palaestra.interp.prompts import Prompts

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel


@contextmanager
def edited(
    opened: OpenModel, names: Iterable[str], *, scale: float = 0.0, direction: Tensor | None = None
) -> Iterator[None]:
    """Change what heads and MLPs write, in their weights, inside the ``with`` block.

    Args:
        opened: The model.
        names: Heads and MLPs.
        scale: What their output is multiplied by, where no direction is given.
        direction: [width] what they may no longer write: W <- (I - v v^T) W (ThinkEdit, arXiv 2503.22048).

    Raises:
        InterpError: A component has no weights of its own, or an adapter is live in them: merge it first.
    """
    with torch.no_grad():
        before: dict[nn.Module, Tensor] = {}
        try:
            for name in names:
                module, columns = _place(opened, name)
                if module not in before:
                    before[module] = module.weight.clone()
                part = _as_rows(module)[:, columns]
                if direction is None:
                    part.mul_(scale)
                else:
                    unit = (direction / direction.norm()).to(part)
                    part.sub_(torch.outer(unit, unit @ part))
            yield
        finally:
            for module, weights in before.items():
                module.weight.copy_(weights)  # type: ignore[operator]


@dataclass(frozen=True, slots=True)
class EditEffect:
    """What an edit does.

    Attributes:
        target_before, target_after: Mean metric on the behaviour's prompts.
        other_kl: Mean KL(before || after), in nats, of the next token on other prompts; 0 is perfectly local.
        random_after: Mean metric on the behaviour's prompts after the same edit at random components, one a draw.
        random_kl: The same on other prompts.
    """

    target_before: float
    target_after: float
    other_kl: float
    random_after: tuple[float, ...]
    random_kl: tuple[float, ...]

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def edit_effect(
    opened: OpenModel,
    names: Sequence[str],
    target: Prompts,
    others: Prompts,
    metric: Metric = logit_difference,
    *,
    scale: float = 0.0,
    direction: Tensor | None = None,
    random: int = 10,
    batch: int = 8,
    seed: int = 0,
) -> EditEffect:
    """Return what an edit does to the behaviour and to the rest, beside the same edit at random components.

    Args:
        opened: The model.
        names: Heads and MLPs that are edited.
        target, others: The behaviour's prompts, and others.
        metric: Of the behaviour.
        scale, direction: As for `edited`.
        random: Draws of as many components of each kind.
        batch: Prompts a pass.
        seed: Of the draws.
    """

    def behaviour() -> float:
        return float(torch.cat([metric(opened(some.ids), some) for some in target.batches(batch)]).mean())

    def following() -> Tensor:
        """Return log-probabilities of the next token on other prompts: [B, V]."""
        return torch.cat([some.at_end(opened(some.ids)).log_softmax(-1) for some in others.batches(batch)])

    before, plain = behaviour(), following()

    def effect(chosen: Sequence[str]) -> tuple[float, float]:
        with edited(opened, chosen, scale=scale, direction=direction):
            after, changed = behaviour(), following()
        return after, float((plain.exp() * (plain - changed)).sum(-1).mean())

    mine = effect(names)
    generator = torch.Generator().manual_seed(seed)
    drawn = [effect(_others(opened, names, generator)) for _ in range(random)]
    return EditEffect(before, *mine, tuple(one[0] for one in drawn), tuple(one[1] for one in drawn))


def _others(opened: OpenModel, names: Sequence[str], generator: torch.Generator) -> list[str]:
    """Return as many random components of each kind, none of them among ``names`` while others are left."""
    chosen: list[str] = []
    for kind in ("head", "mlp"):
        wanted = sum(opened.component(name).kind == kind for name in names)
        known = [name for name, one in opened.components.items() if one.kind == kind]
        free = [name for name in known if name not in names]
        pool = free if len(free) >= wanted else known
        chosen += [pool[int(one)] for one in torch.randperm(len(pool), generator=generator)[:wanted]]
    return chosen


def _place(opened: OpenModel, name: str) -> tuple[Any, slice]:
    one = opened.component(name)
    if one.kind not in ("head", "mlp") or one.layer is None:
        raise InterpError(f"{name} has no output weights of its own; edit heads and MLPs, such as L3.H2 and L3.mlp.")
    block = opened.anatomy.blocks[one.layer]
    width = opened.anatomy.head_width
    module: Any = block.o if one.kind == "head" else block.linear["down"]
    if live_adapters(module):
        raise InterpError(f"an adapter is live in {name}; merge it (model.merge_and_unload()) before editing weights.")
    base = module.base_layer if is_adapted(module) else module
    return base, slice(None) if one.index is None else slice(one.index * width, (one.index + 1) * width)


def _as_rows(module: Any) -> Tensor:
    """Return the weights as [out, in], sharing memory."""
    found: Tensor = module.weight.data
    return found if isinstance(module, nn.Linear) else found.T
