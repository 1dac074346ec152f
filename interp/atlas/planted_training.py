"""A model that has learned the mechanisms of `palaestra.interp.atlas.planted`, each in components of its own.

At a query's place of prediction all heads and MLPs but those of the query's circuit and the cue's reader are shut in a
part of the training queries; in the others everything is open, as it is when the model is used, and what the others add
there costs a little. So what was learned where is known (the idea of gradient routing, Cloud et al., arXiv 2410.04332),
and everything else about the weights is as training leaves it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palaestra.agents.models.cache import build_once
from palaestra.interp.atlas.planted import (
    CIRCUITS,
    CUE_READER,
    HEADS,
    LAYERS,
    LEAVES,
    Grammar,
    Sentences,
    save,
    shape,
)

HIDDEN, HEAD_WIDTH, INNER = 128, 16, 192
STEPS, ROWS, RATE = 500, 48, 4e-3
SHUT = 0.6
"""Part of the training queries where the rest of the model is shut."""
QUIET = 0.003
"""Nats that a squared unit of the rest's output costs."""
REVISION = 1


def trained(grammar: Grammar, *, steps: int = STEPS, seed: int = 0, say: Callable[[str], None] = print) -> Any:
    """Train a model; deterministic given thread count and library versions.

    Args:
        grammar: What to learn.
        steps: Of AdamW.
        seed: Of weights, sentences and shut queries.
        say: Told about progress.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = shape(grammar, HIDDEN, HEAD_WIDTH, INNER)
    optimizer = torch.optim.AdamW(model.parameters(), lr=RATE, betas=(0.9, 0.98), weight_decay=0.01)
    generator = torch.Generator().manual_seed(seed)
    open_heads, open_mlps = _tables()
    gates = _Gates(model)
    model.train()
    begun = shown = time.monotonic()
    try:
        for step in range(steps):
            warm, left = (step + 1) / 30, math.cos(math.pi * step / steps)
            for group in optimizer.param_groups:
                group["lr"] = RATE * min(1.0, warm) * (0.525 + 0.475 * left)
            batch = grammar.sentences(ROWS, seed * 1_000_003 + step)
            asked = batch.leaf >= 0
            shut = asked & (torch.rand(asked.shape, generator=generator) < SHUT)
            which = torch.where(asked, batch.leaf, torch.full_like(batch.leaf, len(LEAVES)))
            gates.set(open_heads[which], open_mlps[which], shut)
            logits = model(input_ids=batch.ids, use_cache=False).logits
            answers = batch.ids.roll(-1, 1)
            loss = torch.nn.functional.cross_entropy(logits[asked], answers[asked])
            total = loss + QUIET * gates.rest / asked.sum()
            optimizer.zero_grad()
            total.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                remaining = (shown - begun) / (step + 1) * (steps - step - 1)
                say(f"planted model: step {step + 1} of {steps}, {remaining:.0f} s left")
    finally:
        gates.remove()
    return model.eval().requires_grad_(False)


def build(grammar: Grammar, seed: int = 0, say: Callable[[str], None] = print) -> Path:
    """Return the folder of a trained model in the cache, training it first if it is not there."""
    name = f"planted-{grammar.vocabularies}x{grammar.words}-{grammar.seed}-{seed}-r{REVISION}"
    return build_once(name, lambda work: save(trained(grammar, seed=seed, say=say), grammar, work), 20_000_000, say)


@torch.no_grad()
def accuracy(model: Any, sentences: Sentences) -> dict[str, float]:
    """Return by mechanism how often the answer is the likeliest token."""
    best = model(input_ids=sentences.ids, use_cache=False).logits.argmax(-1)
    right = best == sentences.ids.roll(-1, 1)
    return {leaf: float(right[sentences.leaf == number].float().mean()) for number, leaf in enumerate(LEAVES)}


def _tables() -> tuple[Tensor, Tensor]:
    """Return which heads [leaves + 1, layers, heads] and MLPs [leaves + 1, layers] are open; the last row is all."""
    heads = torch.zeros(len(LEAVES) + 1, LAYERS, HEADS)
    mlps = torch.zeros(len(LEAVES) + 1, LAYERS)
    heads[-1], mlps[-1] = 1.0, 1.0
    for number, leaf in enumerate(LEAVES):
        for name in (*CIRCUITS[leaf], CUE_READER):
            layer, part = name[1:].split(".")
            if part == "mlp":
                mlps[number, int(layer)] = 1.0
            else:
                heads[number, int(layer), int(part[1:])] = 1.0
    return heads, mlps


class _Gates:
    """Hooks that shut heads and MLPs, place by place, and add up what comes out of those that should be quiet."""

    def __init__(self, model: Any) -> None:
        self.heads = self.mlps = self.shut = torch.ones(0)
        self.rest = torch.zeros(())
        self._handles = []
        for number, layer in enumerate(model.model.layers):
            self._handles.append(layer.self_attn.o_proj.register_forward_pre_hook(self._head(number)))
            self._handles.append(layer.mlp.register_forward_hook(self._mlp(number)))

    def set(self, heads: Tensor, mlps: Tensor, shut: Tensor) -> None:
        """Say for the next forward pass what belongs to circuits, [B, T, layers, heads] and [B, T, layers] of 0 and 1,
        and where what does not is shut: bool [B, T]."""
        self.heads, self.mlps, self.shut = heads, mlps, shut
        self.rest = torch.zeros(())

    def remove(self) -> None:
        """Take the hooks off."""
        for one in self._handles:
            one.remove()

    def _through(self, value: Tensor, belongs: Tensor) -> Tensor:
        rest = value * (1 - belongs)
        self.rest = self.rest + rest.pow(2).sum()
        return value - rest * self.shut[..., None]

    def _head(self, layer: int) -> Any:
        def hook(module: Any, args: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
            belongs = self.heads[:, :, layer].repeat_interleave(args[0].shape[-1] // HEADS, -1)
            return (self._through(args[0], belongs), *args[1:])

        return hook

    def _mlp(self, layer: int) -> Any:
        def hook(module: Any, args: tuple[Tensor, ...], output: Tensor) -> Tensor:
            return self._through(output, self.mlps[:, :, layer, None])

        return hook
