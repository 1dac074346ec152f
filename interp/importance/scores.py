"""What an attribution returns: a number for each prompt and component, and what is said about all prompts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """What components do for a metric: positive where taking them away, or from the corrupt prompt, lowers it.

    Attributes:
        names: n components.
        values: [B, n] in units of the metric; [B, n, T] where places are kept apart.
        clean: [B] the metric.
        corrupt: [B] the metric of the reference; NaN where there is no reference run.
        method: How they were found.
        facts: What else is to be said, such as the number of steps; JSON.
        exact: Components whose values are measured by patching, and not estimated.
    """

    names: tuple[str, ...]
    values: Tensor
    clean: Tensor
    corrupt: Tensor
    method: str
    facts: dict[str, Any] = field(default_factory=dict)
    exact: frozenset[str] = frozenset()

    @property
    def mean(self) -> Tensor:
        """Return the mean over prompts (summed over places): [n]."""
        return self.by_prompt.mean(0)

    @property
    def by_prompt(self) -> Tensor:
        """Return the values summed over places: [B, n]."""
        return self.values.sum(-1) if self.values.ndim == 3 else self.values

    def interval(self, level: float = 0.95, samples: int = 1000, seed: int = 0, groups: Tensor | None = None) -> Tensor:
        """Return the bootstrap interval of the mean over prompts, or groups of them, as in `bootstrap`: [n, 2]; of no
        width where there is one."""
        return bootstrap(self.by_prompt, level, samples, seed, groups)

    def __getitem__(self, name: str) -> Tensor:
        """Return one component's values: [B] or [B, T]."""
        return self.values[:, self.names.index(name)]

    def top(self, count: int) -> list[str]:
        """Return the components of largest mean magnitude, largest first."""
        order = self.mean.abs().argsort(descending=True, stable=True)
        return [self.names[int(one)] for one in order[:count]]

    def only(self, names: Iterable[str]) -> Scores:
        """Return the scores of some components."""
        chosen = tuple(names)
        index = torch.tensor([self.names.index(name) for name in chosen])
        return replace(self, names=chosen, values=self.values[:, index])

    def as_json(self, groups: Tensor | None = None) -> dict[str, Any]:
        """Return means and intervals by component, with what they are of; ``groups`` as in `bootstrap`."""
        intervals = self.interval(groups=groups).tolist()
        return {
            "method": self.method,
            "prompts": int(self.values.shape[0]),
            "clean": float(self.clean.mean()),
            "corrupt": None if torch.isnan(self.corrupt).any() else float(self.corrupt.mean()),
            **self.facts,
            "scores": {
                name: {"mean": mean, "low": low, "high": high, "exact": name in self.exact}
                for name, mean, (low, high) in zip(self.names, self.mean.tolist(), intervals, strict=True)
            },
        }


def bootstrap(
    values: Tensor, level: float = 0.95, samples: int = 1000, seed: int = 0, groups: Tensor | None = None
) -> Tensor:
    """Return the percentile interval of the mean of rows: [n, 2] from [B, n].

    Args:
        values: One row an observation.
        level: Of the interval.
        samples: Draws.
        seed: Of the draws.
        groups: [B] number of the group that a row belongs to, such as its problem: whole groups are drawn, because
            rows of one are alike (cluster bootstrap; Davison & Hinkley 1997, section 3.8). None: each row is its own.
    """
    values = values if values.dtype == torch.float64 else values.float()  # quantiles need it
    if groups is None:
        groups = torch.arange(values.shape[0])
    _, group = groups.unique(return_inverse=True)
    count = int(group.max()) + 1
    totals = values.new_zeros(count, values.shape[1]).index_add_(0, group.to(values.device), values)
    sizes = group.bincount(minlength=count).to(values)
    draws = torch.randint(count, (samples, count), generator=torch.Generator().manual_seed(seed))
    weights = torch.zeros(samples, count).scatter_add_(1, draws, torch.ones(samples, count)).to(values)
    means = weights @ totals / (weights @ sizes)[:, None]
    tail = (1 - level) / 2
    return torch.quantile(means, torch.tensor([tail, 1 - tail]).to(values), dim=0).T


def joined(parts: list[Scores]) -> Scores:
    """Return the scores of several batches as one."""
    first = parts[0]
    if first.values.ndim == 3:
        longest = max(one.values.shape[-1] for one in parts)
        values = [torch.nn.functional.pad(one.values, (0, longest - one.values.shape[-1])) for one in parts]
    else:
        values = [one.values for one in parts]
    return replace(
        first,
        values=torch.cat(values),
        clean=torch.cat([one.clean for one in parts]),
        corrupt=torch.cat([one.corrupt for one in parts]),
    )
