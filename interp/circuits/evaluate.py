"""How much of a behaviour a circuit carries, on the mean and in the worst case, beside random circuits of equal size.

    faithfulness(C) = (m(C) - m(corrupt)) / (m(clean) - m(corrupt))     1 for the whole model, 0 for nothing
    completeness(C) = the same of everything but C                      near 0 where nothing else does it too
    CMD             = integral of |1 - faithfulness| over the share of edges, on a linear and on a logarithmic axis
                      (MIB, Mueller et al. 2025). On the linear one nine tenths of the area lie above a tenth of the
                      edges, so that small circuits hardly count; the logarithmic one is divided by its length.

A mean over prompts hides those that fail, so the worst prompt's stands beside it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from palaestra.interp.checks import differ
from palaestra.interp.circuits.circuit import Circuit
from palaestra.interp.circuits.run import run_circuit
from palaestra.interp.importance.edges import ARROW, allowed_edges, readers_of
from palaestra.interp.metrics import Metric, logit_difference
from palaestra.interp.prompts import Pairs

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

SHARES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Of all edges, as in MIB."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """How a circuit does.

    Attributes:
        size: Members.
        share: Of all.
        faithfulness: Of the mean metric, with a 95 % bootstrap interval over prompts.
        worst: Least faithfulness of any prompt (of those whose clean and corrupt metrics differ).
        completeness: Of everything but the circuit.
        random: Mean faithfulness of random circuits of equal size and the same number of edges in each layer.
        random_best: The best of them.
    """

    size: int
    share: float
    faithfulness: float
    low: float
    high: float
    worst: float
    completeness: float | None
    random: float | None
    random_best: float | None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class Curve:
    """Faithfulness by size.

    Attributes:
        points: One evaluation a share, smallest first.
        cmd: Area between faithfulness and 1, the share on a linear axis; lower is better.
        cmd_log: The same on a logarithmic axis, divided by its length.
        cpr: Area under faithfulness, capped at 1, on the linear axis; higher is better.
        random_cmd, random_cmd_log: Of the random circuits; None without them.
    """

    points: tuple[Evaluation, ...]
    cmd: float
    cmd_log: float
    cpr: float
    random_cmd: float | None
    random_cmd_log: float | None

    def as_json(self) -> dict[str, Any]:
        """Return it as plain data."""
        return asdict(self)


def evaluate(
    opened: OpenModel,
    pairs: Pairs,
    circuit: Circuit,
    metric: Metric = logit_difference,
    *,
    random: int = 0,
    complete: bool = False,
    batch: int = 4,
    seed: int = 0,
) -> Evaluation:
    """Return how well a circuit carries the metric.

    Args:
        opened: The model.
        pairs: Prompts, best ones on which the circuit was not found.
        circuit: What is kept.
        metric: What counts.
        random: How many random circuits of equal size to set beside it.
        complete: Also run everything but the circuit.
        batch: Prompts at a time.
        seed: Of random circuits.

    Raises:
        InterpError: The metric does not differ between clean and corrupt prompts.
    """
    clean, corrupt = _ends(opened, pairs, metric, batch)
    mine = _metric(opened, pairs, circuit, metric, batch)
    low, high = _interval(mine, clean, corrupt)
    apart = (clean - corrupt).abs() > 1e-6
    others = [
        _faithful(_metric(opened, pairs, random_like(opened, circuit, seed + one), metric, batch), clean, corrupt)
        for one in range(random)
    ]
    left = _metric(opened, pairs, _rest(opened, circuit), metric, batch) if complete else None
    return Evaluation(
        size=len(circuit),
        share=circuit.share,
        faithfulness=_faithful(mine, clean, corrupt),
        low=low,
        high=high,
        worst=float(((mine - corrupt) / (clean - corrupt))[apart].min()),
        completeness=None if left is None else _faithful(left, clean, corrupt),
        random=sum(others) / len(others) if others else None,
        random_best=max(others) if others else None,
    )


def curve(
    opened: OpenModel,
    pairs: Pairs,
    circuit: Circuit,
    metric: Metric = logit_difference,
    *,
    shares: Sequence[float] = SHARES,
    random: int = 0,
    batch: int = 4,
    seed: int = 0,
    on_point: Callable[[], None] = lambda: None,
) -> Curve:
    """Return faithfulness by size for the best members of an ordered circuit (`discover` without a count)."""
    points = []
    for share in shares:
        some = circuit.first(max(1, round(share * circuit.out_of)))
        # the whole model leaves nothing to chance
        points.append(evaluate(opened, pairs, some, metric, random=random if share < 1 else 0, batch=batch, seed=seed))
        on_point()
    return summed(points)


def summed(points: Sequence[Evaluation]) -> Curve:
    """Return the areas of evaluated sizes, smallest first."""
    x = [0.0, *(one.share for one in points)]
    y = [0.0, *(one.faithfulness for one in points)]
    random = any(one.random is not None for one in points)
    chance = [one.faithfulness if one.random is None else one.random for one in points] if random else None
    logs = [math.log10(one.share) for one in points]
    length = (logs[-1] - logs[0]) or 1.0
    return Curve(
        points=tuple(points),
        cmd=_area(x, [abs(1 - one) for one in y]),
        cmd_log=_area(logs, [abs(1 - one.faithfulness) for one in points]) / length,
        cpr=_area(x, [min(1.0, one) for one in y]),
        random_cmd=None if chance is None else _area(x, [1.0, *(abs(1 - one) for one in chance)]),
        random_cmd_log=None if chance is None else _area(logs, [abs(1 - one) for one in chance]) / length,
    )


def random_like(opened: OpenModel, circuit: Circuit, seed: int) -> Circuit:
    """Return a random circuit of equal size: the null of every claim about a circuit.

    Edges are drawn with as many into each layer's readers as the circuit has; components with as many a layer.
    """
    generator = torch.Generator().manual_seed(seed)
    groups: dict[str, list[str]] = {}
    for name in _all(opened, circuit):
        groups.setdefault(_layer(name), []).append(name)
    wanted: dict[str, int] = {}
    for name in circuit.members:
        wanted[_layer(name)] = wanted.get(_layer(name), 0) + 1
    chosen: list[str] = []
    for layer, names in groups.items():
        order = torch.randperm(len(names), generator=generator)[: wanted.get(layer, 0)]
        chosen += [names[int(one)] for one in order]
    return Circuit(opened.name, circuit.granularity, tuple(chosen), (0.0,) * len(chosen), circuit.out_of, "random")


def _layer(name: str) -> str:
    return name.rpartition(ARROW)[2].partition(".")[0]


def _all(opened: OpenModel, circuit: Circuit) -> list[str]:
    if circuit.granularity == "node":
        return opened.writers()
    writers, readers = opened.writers(), readers_of(opened)
    return [f"{writers[u]}{ARROW}{readers[r]}" for u, r in allowed_edges(opened).nonzero().tolist()]


def _rest(opened: OpenModel, circuit: Circuit) -> Circuit:
    inside = set(circuit.members)
    rest = tuple(name for name in _all(opened, circuit) if name not in inside)
    return Circuit(opened.name, circuit.granularity, rest, (0.0,) * len(rest), circuit.out_of, "everything else")


def _ends(opened: OpenModel, pairs: Pairs, metric: Metric, batch: int) -> tuple[Tensor, Tensor]:
    clean = torch.cat([metric(opened(some.clean.ids), some.clean) for some in pairs.batches(batch)])
    corrupt = torch.cat([metric(opened(some.corrupt.ids), some.clean) for some in pairs.batches(batch)])
    differ(clean, corrupt)
    return clean, corrupt


def _metric(opened: OpenModel, pairs: Pairs, circuit: Circuit, metric: Metric, batch: int) -> Tensor:
    return torch.cat([metric(run_circuit(opened, some, circuit), some.clean) for some in pairs.batches(batch)])


def _faithful(mine: Tensor, clean: Tensor, corrupt: Tensor) -> float:
    return float((mine.mean() - corrupt.mean()) / (clean.mean() - corrupt.mean()))


def _interval(mine: Tensor, clean: Tensor, corrupt: Tensor, samples: int = 1000) -> tuple[float, float]:
    """Return the bootstrap interval of the ratio of means."""
    rows = len(mine)
    draws = torch.randint(rows, (samples, rows), generator=torch.Generator().manual_seed(0))
    means = [one.double().cpu()[draws].mean(1) for one in (mine, clean, corrupt)]
    ratio = (means[0] - means[2]) / (means[1] - means[2])
    low, high = torch.quantile(ratio, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return low, high


def _area(x: Sequence[float], y: Sequence[float]) -> float:
    return sum((x[i + 1] - x[i]) * (y[i] + y[i + 1]) / 2 for i in range(len(x) - 1))
