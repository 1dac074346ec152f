"""The exact causal difference: what each trained module does, measured by switching it.

    added     put into the base by itself, a module moves the metric by this much (what it can do alone)
    removed   taken out of the trained model, the metric moves back by this much (what the model needs it for)

The *effect* of a module is the mean of the two; for two modules it is the Shapley value. Where no metric is given, what
is measured is the divergence KL(trained || reference) of next-token distributions in nats a token, over all tokens of
the prompts: between the base with the module and the base, and between the trained model and that without the module.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from palaestra.interp.capture import capture
from palaestra.interp.components import Component, Slice
from palaestra.interp.diff.pair import TABLES, Pair
from palaestra.interp.diff.statistics import simultaneous
from palaestra.interp.metrics import Metric
from palaestra.interp.prompts import Prompts

FLOOR = 1e-5
"""Nats a token, or 1e-5 of the metric's size: below it float32 rounding is all there is."""


@dataclass(frozen=True, slots=True, eq=False)
class Switched:
    """What modules do; see the module's text.

    Attributes:
        names: n modules, or groups of modules.
        added, removed: [B, n] by prompt, in units of the metric, or nats a token.
        before, after: [B] the metric in both states; for the divergence, 0 and KL(after || before).
        metric: Its name.
    """

    names: tuple[str, ...]
    added: Tensor
    removed: Tensor
    before: Tensor
    after: Tensor
    metric: str

    @property
    def effect(self) -> Tensor:
        """Return the mean of both measurements: [B, n]."""
        return (self.added + self.removed) / 2

    @property
    def floor(self) -> float:
        """Return what counts as rounding."""
        if self.metric == "divergence":
            return FLOOR
        return FLOOR * max(1.0, float(self.before.abs().max()), float(self.after.abs().max()))

    def ranking(self) -> list[str]:
        """Return the modules by mean effect, in magnitude, largest first."""
        order = self.effect.mean(0).abs().argsort(descending=True, stable=True)
        return [self.names[int(one)] for one in order]

    def interval(self) -> Tensor:
        """Return intervals of the mean effects that hold for all modules at once (95 %): [n, 2]."""
        return simultaneous(self.effect)

    def reported(self) -> list[str]:
        """Return, largest first, the modules whose effect is no rounding and not of chance in the choice of prompts."""
        low, high = self.interval().unbind(-1)
        real = ((low > 0) | (high < 0)) & (self.effect.mean(0).abs() > self.floor)
        return [name for name in self.ranking() if bool(real[self.names.index(name)])]

    def as_json(self) -> dict[str, Any]:
        """Return means and intervals by module."""
        bounds, reported = self.interval().tolist(), set(self.reported())
        rows = zip(
            self.names, self.effect.mean(0).tolist(), self.added.mean(0).tolist(), self.removed.mean(0).tolist(),
            bounds, strict=True,
        )  # fmt: skip
        return {
            "metric": self.metric,
            "prompts": int(self.effect.shape[0]),
            "before": float(self.before.mean()),
            "after": float(self.after.mean()),
            "modules": {
                name: {
                    "effect": effect, "low": low, "high": high, "added": added, "removed": removed,
                    "reported": name in reported,
                }
                for name, effect, added, removed, (low, high) in rows
            },
        }  # fmt: skip


def divergence(p: Tensor, q: Tensor, real: Tensor) -> Tensor:
    """Return KL(p || q) in nats a token, over the tokens of each prompt: [B].

    Args:
        p, q: Logits [B, T, V].
        real: Where there are tokens [B, T].
    """
    weights = real.to(p.device, torch.float64)
    # a place at a time: in float64, four tensors of the logits' size would be held beside them
    by_token = torch.stack([_kl(p[:, place].double(), q[:, place].double()) for place in range(p.shape[1])], 1)
    return ((by_token * weights).sum(-1) / weights.sum(-1)).float()


def _kl(p: Tensor, q: Tensor) -> Tensor:
    first, second = p.log_softmax(-1), q.log_softmax(-1)
    return (first.exp() * (first - second)).sum(-1)


def switch(
    pair: Pair,
    prompts: Prompts,
    metric: Metric | None = None,
    *,
    modules: Iterable[str] | None = None,
    groups: Mapping[str, Sequence[str]] | None = None,
    batch: int = 32,
    on_pass: Callable[[], None] = lambda: None,
) -> Switched:
    """Measure what modules do; two forward passes for each and batch.

    Args:
        pair: Before and after.
        prompts: On what it is measured.
        metric: None for the divergence of next-token distributions.
        modules: Which modules, all that differ if not given.
        groups: Sets of modules, by name, that are switched together, in place of ``modules``.
        batch: Prompts a pass, fewer where logits are many.
        on_pass: Called after each pair of passes, for progress.
    """
    sets: Mapping[str, Sequence[str]] = (
        groups if groups is not None else {name: (name,) for name in (pair.modules if modules is None else modules)}
    )
    parts: list[tuple[Tensor, ...]] = []
    for some in prompts.batches(pair.opened.fitting(batch, prompts.ids.shape[1])):
        away = _Away(pair, some, metric)
        added, removed = [], []
        for chosen in sets.values():
            added.append(away.from_base(chosen))
            removed.append(away.to_trained(set(pair.modules) - set(chosen)))
            on_pass()
        empty = torch.zeros(len(some), 0)
        parts.append(
            (torch.stack(added, 1) if added else empty, torch.stack(removed, 1) if removed else empty, *away.ends())
        )
    added_all, removed_all, start_all, end_all = (torch.cat([part[i].cpu() for part in parts]) for i in range(4))
    name = "divergence" if metric is None else getattr(metric, "__name__", "metric")
    return Switched(tuple(sets), added_all, removed_all, start_all, end_all, name)


class _Away:
    """How far states of a pair are from its ends on some prompts; of logits, only those of the ends are kept."""

    def __init__(self, pair: Pair, prompts: Prompts, metric: Metric | None) -> None:
        self.pair, self.prompts, self.metric = pair, prompts, metric
        self.real = prompts.real()
        self.base, self.trained = self._run(()), self._run(pair.modules)

    def _run(self, names: Iterable[str]) -> Tensor:
        """Return the metric [B], or logits [B, T, V] where divergences are asked for."""
        with self.pair.after(names) as opened:
            logits = opened(self.prompts.ids)
        return logits if self.metric is None else self.metric(logits, self.prompts)

    def from_base(self, names: Iterable[str]) -> Tensor:
        """Return what modules put into the base do: [B]."""
        found = self._run(names)
        return divergence(found, self.base, self.real) if self.metric is None else found - self.base

    def to_trained(self, names: Iterable[str]) -> Tensor:
        """Return what the trained model has over the base with these modules: [B]."""
        found = self._run(names)
        return divergence(self.trained, found, self.real) if self.metric is None else self.trained - found

    def ends(self) -> tuple[Tensor, Tensor]:
        """Return the metric before and after, or 0 and the whole divergence: [B] each."""
        if self.metric is not None:
            return self.base, self.trained
        return torch.zeros(len(self.prompts)), divergence(self.trained, self.base, self.real)


def screen(pair: Pair, prompts: Prompts, metric: Metric | None = None, *, batch: int = 8) -> dict[str, Tensor]:
    """Estimate what taking out each module does, from one backward pass at the trained model.

    The estimate is (y_after - y_before) . dm/dy at a module's output y, with its trained input: first order, blind to
    what saturates. For the divergence it is twice the second-order effect where that is small; only the order counts.

    Returns:
        [B] by module; ``tables`` are left out.
    """
    names = [name for name in pair.modules if name != TABLES]
    places = {name: Component(name, "delta", None, Slice(pair.switches[name].modules[0], "output")) for name in names}
    parts: list[dict[str, Tensor]] = []
    for some in prompts.batches(pair.opened.fitting(batch, prompts.ids.shape[1])):
        real = some.real().to(pair.opened.device)
        reference = None
        if metric is None:
            with pair.before() as opened:
                reference = opened(some.ids)
        with pair.after() as opened, capture(opened, names, gradients=True, places=places) as kept:
            logits = opened(some.ids)
            number = metric(logits, some) if metric is not None else divergence(logits, reference, real)  # type: ignore[arg-type]
            gradients = kept.gradients(number.sum())
        found = {}
        with pair.before(), torch.no_grad():
            for name in names:
                change = kept[name].detach() - pair.switches[name].modules[0](kept.first(name).detach())
                found[name] = ((change * gradients[name]).sum(-1) * real).sum(-1).cpu()
        parts.append(found)
    return {name: torch.cat([part[name] for part in parts]) for name in names}
