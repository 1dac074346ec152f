"""Many adapters of one base in one table: which differences recur, and which predict the kind of training.

An adapter's *profile* is the effect of each module (divergence in nats a token, by switching) on common prompts,
divided by its length. A kind is predicted for each adapter by the nearest mean profile of the others (leave one out,
cosine), beside the same with labels shuffled. An adapter that shares its kind with no other cannot be predicted and is
left out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from palaestra.interp.diff.pair import open_pair
from palaestra.interp.diff.switching import switch
from palaestra.interp.errors import InterpError
from palaestra.interp.prompts import Prompts

SHUFFLES = 1000
TOP = 3


@dataclass(frozen=True, slots=True)
class Prediction:
    """How often the kind is predicted; ``chance`` and ``p`` are of shuffled labels."""

    right: int
    of: int
    chance: float
    p: float


def profiles(
    base: str, adapters: Mapping[str, str], prompts: Prompts, on_adapter: Callable[[str], None] = lambda name: None
) -> dict[str, dict[str, float]]:
    """Return each adapter's effects by module, from its source by name."""
    found = {}
    for name, source in adapters.items():
        on_adapter(name)
        pair = open_pair(base, source)
        one = switch(pair, prompts)
        found[name] = dict(zip(one.names, one.effect.mean(0).tolist(), strict=True))
    return found


def recurring(found: Mapping[str, Mapping[str, float]], top: int = TOP) -> list[tuple[str, int, float]]:
    """Return modules by how many adapters have them among their ``top``, with the number expected by chance."""
    names = sorted({name for one in found.values() for name in one})
    counts = dict.fromkeys(names, 0)
    expected = dict.fromkeys(names, 0.0)
    for one in found.values():
        for name in sorted(one, key=lambda key: -one[key])[:top]:
            counts[name] += 1
        for name in one:
            expected[name] += min(1.0, top / len(one))
    return [
        (name, counts[name], expected[name]) for name in sorted(names, key=lambda key: -counts[key]) if counts[name]
    ]


def predict(found: Mapping[str, Mapping[str, float]], kinds: Mapping[str, str], seed: int = 0) -> Prediction:
    """Predict kinds from profiles; see the module's text.

    Raises:
        InterpError: There are fewer than two kinds with two adapters each.
    """
    labels = [kinds[name] for name in found]
    used = [name for name in found if labels.count(kinds[name]) > 1]
    truth = np.array([kinds[name] for name in used])
    if len(set(truth)) < 2:
        raise InterpError("to predict the kind of training, at least two kinds need two adapters each.")
    modules = sorted({module for name in used for module in found[name]})
    x = np.array([[found[name].get(module, 0.0) for module in modules] for name in used])
    x /= np.linalg.norm(x, axis=1, keepdims=True).clip(1e-12)
    right = _right(x, truth)
    generator = np.random.default_rng(seed)
    shuffled = [_right(x, generator.permutation(truth)) for _ in range(SHUFFLES)]
    p = (1 + sum(one >= right for one in shuffled)) / (1 + SHUFFLES)
    return Prediction(right, len(used), float(np.mean(shuffled)) / len(used), p)


def _right(x: Any, labels: Any) -> int:
    kinds: Sequence[str] = sorted(set(labels))
    total = 0
    for one in range(len(labels)):
        others = np.arange(len(labels)) != one
        means = np.array([x[others & (labels == kind)].mean(0) for kind in kinds])
        means /= np.linalg.norm(means, axis=1, keepdims=True).clip(1e-12)
        total += kinds[int((means @ x[one]).argmax())] == labels[one]
    return total
