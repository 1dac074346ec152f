"""One object for a circuit, from its discovery to its report.

A circuit is a set of edges, or of components, of one model, with what they were found by. Everything else is a function
of it: running the model with nothing but it (`run_circuit`), how much of the behaviour that keeps (`evaluate`), what
differs between two (`Circuit.compared`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import torch
from torch import Tensor

from palaestra.agents.models.disk import replace_text
from palaestra.interp.errors import InterpError
from palaestra.interp.importance.edges import EdgeScores, edges
from palaestra.interp.importance.gradients import attribute
from palaestra.interp.importance.scores import Scores
from palaestra.interp.metrics import Metric, logit_difference
from palaestra.interp.prompts import Pairs

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

Granularity = Literal["edge", "node"]


@dataclass(frozen=True, slots=True)
class Circuit:
    """Edges or components that a behaviour runs on.

    Attributes:
        model: Its name.
        granularity: What the members are.
        members: Names, such as ``L0.H3->L3.H2.q`` or ``L3.H2``, best first.
        scores: Mean score of each member, in units of the metric.
        out_of: How many there were to choose from.
        method: How they were found.
        facts: Prompts, metric, stability and the like; JSON.
    """

    model: str
    granularity: Granularity
    members: tuple[str, ...]
    scores: tuple[float, ...]
    out_of: int
    method: str
    facts: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.members)

    @property
    def share(self) -> float:
        """Return its size as a share of all edges or components."""
        return len(self) / self.out_of

    def first(self, count: int) -> Circuit:
        """Return the circuit of its best members."""
        return replace(self, members=self.members[:count], scores=self.scores[:count])

    def without(self, names: Iterable[str]) -> Circuit:
        """Return the circuit without some members: an edit to be evaluated.

        Raises:
            InterpError: One of them is no member.
        """
        gone = set(names)
        if strange := sorted(gone - set(self.members)):
            raise InterpError(f"{strange[0]} is not in this circuit of {len(self)} members.")
        kept = [number for number, name in enumerate(self.members) if name not in gone]
        return replace(
            self, members=tuple(self.members[one] for one in kept), scores=tuple(self.scores[one] for one in kept)
        )

    def compared(self, other: Circuit) -> dict[str, Any]:
        """Return what differs: members gained and lost by ``other``, Jaccard overlap, and overlap weighted by scores.

        Raises:
            InterpError: One is of edges, the other of components.
        """
        if self.granularity != other.granularity:
            raise InterpError(f"a circuit of {self.granularity}s cannot be compared with one of {other.granularity}s.")
        mine, theirs = (dict(zip(one.members, one.scores, strict=True)) for one in (self, other))
        union = {*mine, *theirs}
        low = sum(min(abs(mine.get(name, 0)), abs(theirs.get(name, 0))) for name in union)
        high = sum(max(abs(mine.get(name, 0)), abs(theirs.get(name, 0))) for name in union)
        return {
            "gained": [name for name in other.members if name not in mine],
            "lost": [name for name in self.members if name not in theirs],
            "jaccard": len({*mine} & {*theirs}) / len(union) if union else 1.0,
            "weighted_jaccard": low / high if high else 1.0,
        }

    def save(self, path: Path) -> None:
        """Write it as JSON."""
        replace_text(path, json.dumps(asdict(self), indent=1) + "\n")

    @classmethod
    def load(cls, path: Path) -> Circuit:
        """Read it again.

        Raises:
            InterpError: The file is no circuit.
        """
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            return cls(**{**found, "members": tuple(found["members"]), "scores": tuple(found["scores"])})
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InterpError(f"{path} holds no circuit ({error}); `Circuit.save` writes one.") from error


def discover(
    opened: OpenModel,
    pairs: Pairs,
    metric: Metric = logit_difference,
    *,
    granularity: Granularity = "edge",
    count: int | None = None,
    by: Literal["magnitude", "sign"] = "magnitude",
    steps: int = 0,
    batch: int = 4,
    stable: int | None = None,
    samples: int = 200,
) -> Circuit:
    """Return the best edges or components by attribution; all of them, in order, where ``count`` is None.

    The order is by mean score: by its ``sign``, what hurts the behaviour comes last; by ``magnitude`` it is part of the
    circuit, as it is of the model. ``facts["stability"]`` is the mean Jaccard overlap of the best ``stable`` members
    (``count``, if not given) with those found on resampled prompts.
    """
    scored: Scores | EdgeScores
    if granularity == "edge":
        scored = edges(opened, pairs, metric, steps=steps, batch=batch)
        names: Sequence[str] = scored.names
        values = scored.flat()
        method = f"edge attribution, {steps} steps" if steps else "edge attribution"
    else:
        scored = attribute(opened, pairs, metric, nodes=opened.writers(), batch=batch)
        names, values, method = scored.names, scored.by_prompt, "node attribution by rules"
    mean = values.mean(0)
    order = (mean.abs() if by == "magnitude" else mean).argsort(descending=True, stable=True)[:count].tolist()
    facts: dict[str, Any] = {"prompts": len(pairs), "clean": float(scored.clean.mean())}
    facts["corrupt"] = float(scored.corrupt.mean())
    if (first := min(stable or count or 0, len(names))) and len(pairs) > 1:
        facts["stability"] = stability(values, first, samples, magnitude=by == "magnitude")
    return Circuit(
        opened.name,
        granularity,
        tuple(names[one] for one in order),
        tuple(float(mean[one]) for one in order),
        len(names),
        method,
        facts,
    )


def stability(
    values: Tensor, count: int, samples: int = 200, seed: int = 0, *, magnitude: bool = False
) -> dict[str, float]:
    """Return the Jaccard overlap of the best ``count`` on all prompts with those on resampled prompts.

    Args:
        values: [B, n] scores.
        count: Size of the circuit.
        samples: Bootstrap samples.
        seed: Of the resampling.
        magnitude: The best are those of largest mean magnitude.

    Returns:
        The count; mean, and 2.5 % and 97.5 % quantiles.
    """
    rows = values.shape[0]
    draws = torch.randint(rows, (samples, rows), generator=torch.Generator().manual_seed(seed))

    def best(rows: Tensor) -> set[int]:
        mean = rows.mean(0)
        return set((mean.abs() if magnitude else mean).topk(count).indices.tolist())

    whole = best(values)
    overlaps = []
    for draw in draws:
        other = best(values[draw])
        overlaps.append(len(whole & other) / len(whole | other))
    found = torch.tensor(overlaps, dtype=torch.float64)
    low, high = torch.quantile(found, torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return {"count": count, "mean": float(found.mean()), "low": low, "high": high}
