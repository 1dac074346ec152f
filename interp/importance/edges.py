"""Scores of all edges, from one forward and backward pass on clean prompts and one forward pass on corrupt ones.

An edge leads from a *writer* (what adds to the residual stream) to a later *reader*: the queries of a head
(``L3.H2.q``), the keys or values of a group of heads (``L3.KV0.k``, ``L3.KV0.v``; one group a head where there is no
grouping), an MLP (``L3.mlp``) or ``logits``. Its score is (a - a_ref) . g, where g is the gradient of the metric at the
residual stream by way of this reader alone: the gradient at the reader's input, drawn back through its weights, live
LoRA deltas included, and through the norm (Syed et al. 2310.10348). The scores of a writer's edges add up to the
writer's score.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from palaestra.interp.architecture import Norm, Projection, weight
from palaestra.interp.capture import Captured, capture
from palaestra.interp.checks import differ, written
from palaestra.interp.components import Component, Slice
from palaestra.interp.importance.scores import bootstrap
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.metrics import Metric, logit_difference
from palaestra.interp.prompts import Pairs

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

ARROW = "->"


@dataclass(frozen=True, slots=True, eq=False)
class EdgeScores:
    """Scores of edges; positive where the metric falls when the reader sees the writer of the corrupt prompt.

    Attributes:
        writers, readers: n and m names.
        values: [B, n, m]; zero where the writer does not come before the reader.
        allowed: [n, m] of booleans: it does.
        clean, corrupt: [B] the metric.
    """

    writers: tuple[str, ...]
    readers: tuple[str, ...]
    values: Tensor
    allowed: Tensor
    clean: Tensor
    corrupt: Tensor

    @property
    def names(self) -> tuple[str, ...]:
        """Return the names of the edges, such as ``L0.H3->L3.H2.q``, in the order of `flat`."""
        return tuple(f"{self.writers[int(u)]}{ARROW}{self.readers[int(r)]}" for u, r in self.allowed.nonzero().tolist())

    def flat(self) -> Tensor:
        """Return the scores of the edges that exist: [B, edges]."""
        return self.values[:, self.allowed]

    def interval(self, level: float = 0.95, samples: int = 1000, seed: int = 0) -> Tensor:
        """Return the bootstrap interval of the mean over prompts: [edges, 2]."""
        return bootstrap(self.flat(), level, samples, seed)


def readers_of(opened: OpenModel) -> list[str]:
    """Return the names of all readers, in the order in which they compute."""
    body = opened.anatomy
    found = []
    for layer in range(len(body.blocks)):
        found += [f"L{layer}.H{head}.q" for head in range(body.heads)]
        found += [f"L{layer}.KV{head}.{part}" for part in "kv" for head in range(body.kv_heads)]
        found.append(f"L{layer}.mlp")
    return [*found, "logits"]


def depth(opened: OpenModel, name: str) -> int:
    """Return when a writer or reader computes: a writer reaches the readers of greater depth, and no others."""
    if name == "logits":
        return 2 * len(opened.anatomy.blocks)
    if name in opened.anatomy.embeddings:
        return -1
    layer = int(name.partition(".")[0][1:])
    return 2 * layer + name.endswith(".mlp")


def allowed_edges(opened: OpenModel) -> Tensor:
    """Return which writers come before which readers: [n, m] of booleans."""
    written_at = torch.tensor([depth(opened, name) for name in opened.writers()])
    read_at = torch.tensor([depth(opened, name) for name in readers_of(opened)])
    return written_at[:, None] < read_at[None]


def edges(
    opened: OpenModel,
    pairs: Pairs,
    metric: Metric = logit_difference,
    *,
    steps: int = 0,
    batch: int = 4,
    on_batch: Callable[[], None] = lambda: None,
) -> EdgeScores:
    """Return the scores of all edges.

    Args:
        opened: The model.
        pairs: Clean and corrupt prompts.
        metric: What counts.
        steps: 0 for the gradient at the clean prompt; else the number of midpoints between corrupt and clean inputs
            over which it is averaged (EAP-IG).
        batch: Prompts at a time; memory grows with it, with the prompts' length and with the number of writers.
        on_batch: Called after each, for progress.

    Raises:
        InterpError: The metric does not differ between clean and corrupt prompts.
    """
    allowed = allowed_edges(opened)
    parts, cleans, corrupts = [], [], []
    for some in pairs.batches(batch):
        values, clean, corrupt = _one(opened, some, metric, steps)
        parts.append(values * allowed.to(values))
        cleans.append(clean)
        corrupts.append(corrupt)
        on_batch()
    clean, corrupt = torch.cat(cleans), torch.cat(corrupts)
    differ(clean, corrupt)
    return EdgeScores(tuple(opened.writers()), tuple(readers_of(opened)), torch.cat(parts), allowed, clean, corrupt)


def _one(opened: OpenModel, pairs: Pairs, metric: Metric, steps: int) -> tuple[Tensor, Tensor, Tensor]:
    writers = opened.writers()
    with capture(opened, writers) as kept:
        corrupt = metric(opened(pairs.corrupt.ids), pairs.clean)
    there = {name: kept[name] for name in writers}
    taps = _taps(opened)
    if not steps:
        with capture(opened, writers, gradients=True) as kept, _extra(opened, taps) as more:
            number = metric(opened(pairs.clean.ids), pairs.clean)
            here = {name: kept[name].detach() for name in writers}
            values = _scores(opened, here, there, _gradients(opened, more, number), pairs)
        return values, number.detach(), corrupt
    with capture(opened, writers) as kept:
        clean = metric(opened(pairs.clean.ids), pairs.clean)
        here = {name: kept[name] for name in writers}
    total: dict[int, Tensor] = {}
    for step in range(steps):
        share = (step + 0.5) / steps
        between = [Patch(name, torch.lerp(there[name], here[name], share)) for name in opened.anatomy.embeddings]
        with intervene(opened, *between), _extra(opened, taps) as more:
            number = metric(opened(pairs.clean.ids), pairs.clean)
            for place, gradient in _gradients(opened, more, number).items():
                total[place] = total.get(place, 0) + gradient / steps
    return _scores(opened, here, there, total, pairs), clean, corrupt


def _taps(opened: OpenModel) -> dict[str, Component]:
    """Return where gradients are read: outputs of queries, keys, values and norms."""
    found: dict[str, Component] = {}
    for layer, block in enumerate(opened.anatomy.blocks):
        for short in "qkv":
            part: Projection = getattr(block, short)
            site = Slice(part.module, "output", part.start, part.stop)
            found[f"L{layer}.{short}"] = Component(f"L{layer}.{short}", "delta", layer, site)
        for short, norm in (("n1", block.norm1), ("n2", block.norm2)):
            found[f"L{layer}.{short}"] = Component(f"L{layer}.{short}", "scale", layer, Slice(norm, "output"))
    found["n"] = Component("n", "scale", None, Slice(opened.anatomy.norm, "output"))
    return found


def _extra(opened: OpenModel, taps: dict[str, Component]) -> Any:
    """Return a capture of places that have no component name, gradients included."""
    return capture(opened, taps, gradients=True, places=taps)


def _gradients(opened: OpenModel, kept: Captured, number: Tensor) -> dict[int, Tensor]:
    """Return by depth the readers' gradients at the residual stream: [R, B, T, width], readers in order."""
    body = opened.anatomy
    at = kept.gradients(number.sum())
    found: dict[int, Tensor] = {}
    with torch.no_grad():
        for layer, block in enumerate(body.blocks):
            norm1, norm2 = Norm.of(block.norm1), Norm.of(block.norm2)
            x1, x2 = kept.first(f"L{layer}.n1"), kept.first(f"L{layer}.n2")
            through = []
            for short, groups in (("q", body.heads), ("k", body.kv_heads), ("v", body.kv_heads)):
                part: Projection = getattr(block, short)
                rows = weight(part.module)[part.start : part.stop].unflatten(0, (groups, body.head_width))
                gradient = at[f"L{layer}.{short}"].unflatten(-1, (groups, body.head_width))
                through.append(torch.einsum("btgd,gdw->gbtw", gradient, rows))
            found[2 * layer] = norm1.pull(torch.cat(through), x1)
            found[2 * layer + 1] = norm2.pull(at[f"L{layer}.n2"], x2)[None]
        found[2 * len(body.blocks)] = Norm.of(body.norm).pull(at["n"], kept.first("n"))[None]
    return found


@torch.no_grad()
def _scores(
    opened: OpenModel, here: dict[str, Tensor], there: dict[str, Tensor], gradients: dict[int, Tensor], pairs: Pairs
) -> Tensor:
    writers = opened.writers()
    differences = torch.stack([written(opened, name, here[name] - there[name]) for name in writers])
    differences = differences * pairs.clean.real().to(differences)[None, ..., None]
    flat = differences.permute(1, 0, 2, 3).flatten(2)  # [B, n, T * width]
    depths = torch.tensor([depth(opened, name) for name in writers])
    columns = []
    for place in sorted(gradients):
        before = int((depths < place).sum())  # writers stand in order, so those before come first
        some = flat[:, :before] @ gradients[place].permute(1, 0, 2, 3).flatten(2).transpose(1, 2)
        columns.append(torch.nn.functional.pad(some, (0, 0, 0, len(writers) - before)))
    return torch.cat(columns, -1)
