"""How a map changes from one number to the next, and whether a gradient through the number tokens foretells it.

Words. For a map c over operands, a *step* is c(a + 1, b) - c(a, b), in the map's units per 1. The *mixed* difference is
c(a + 1, b + 1) - c(a + 1, b) - c(a, b + 1) + c(a, b), which is 0 for f(a) + g(b) and -h'' for h(a - b). A *carry* is a
step that changes more than the last digit, as from 39 to 40: it is another change of the tokens, so carries are never
put in one mean with the others.

The gradient at a number's tokens, along the line from the embeddings of a to those of a + 1, foretells a step: *here*
(at a), or *integrated* over the line, when by the fundamental theorem of calculus it is the step but for the error of
the midpoint rule. How far *here* is from it says how straight the model is between two numbers, where no token is.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palaestra.interp.arithmetic.problems import Problem
from palaestra.interp.arithmetic.sweep import Grid, prompts_of
from palaestra.interp.capture import capture
from palaestra.interp.errors import InterpError
from palaestra.interp.importance.direct import contributions, reads
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.metrics import logit_difference
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Prompts

RESAMPLES = 500


@dataclass(frozen=True, slots=True)
class Steps:
    """Root mean squares of differences of a map, in its units; NaN where the grid has none of a sort.

    Attributes:
        a, b: Steps of one number that change its last digit only.
        a_carry, b_carry: Steps that change more.
        a_tens, b_tens: From a to a + 10: the tens change and the units do not.
        mixed: The mixed difference, carries left out.
        a_slope, b_slope: Means of the steps with their signs, carries included: the trend.
    """

    a: float
    b: float
    a_carry: float
    b_carry: float
    a_tens: float
    b_tens: float
    mixed: float
    a_slope: float
    b_slope: float


def steps(one: NDArray[np.float64], grid: Grid) -> Steps:
    """Return the differences of a map [A, B]."""
    by_a, by_b = np.diff(one, axis=0), np.diff(one, axis=1)
    a_carry, b_carry = carries(grid.a)[:, None], carries(grid.b)[None]
    mixed = np.diff(by_a, axis=1)
    return Steps(
        _rms(by_a, ~a_carry),
        _rms(by_b, ~b_carry),
        _rms(by_a, a_carry),
        _rms(by_b, b_carry),
        _rms(one[10:] - one[:-10]),
        _rms(one[:, 10:] - one[:, :-10]),
        _rms(mixed, ~a_carry & ~b_carry),
        float(by_a.mean()),
        float(by_b.mean()),
    )


def carries(numbers: range) -> NDArray[np.bool_]:
    """Return for each number but the last whether the step to the next changes more than the last digit."""
    return np.array([one % 10 == 9 for one in numbers[:-1]])


def _rms(values: NDArray[np.float64], where: NDArray[np.bool_] | None = None) -> float:
    chosen = values if where is None else values[np.broadcast_to(where, values.shape)]
    return float(np.sqrt((chosen**2).mean())) if chosen.size else float("nan")


@dataclass(frozen=True, slots=True)
class Agreement:
    """How well a gradient foretells steps, over the cells that were drawn.

    Attributes:
        correlation, low, high: Pearson's, with its bootstrap interval; NaN where either side does not vary.
        same_sign: Share of steps whose sign it has.
        slope: Of the line through 0 from what is foretold to the step; 1 where it has the right size.
        error: Root mean square of the difference over that of the steps.
        count: Steps.
    """

    correlation: float
    low: float
    high: float
    same_sign: float
    slope: float
    error: float
    count: int


@dataclass(frozen=True, slots=True)
class Foretold:
    """Steps and what gradients say of them.

    Attributes:
        names: The logit difference first, then components.
        cells: [n, 3]: a, b and which number steps (0 or 1).
        step, here, integrated: [names, n].
        carry: [n]
        points: Midpoints of the integral.
    """

    names: tuple[str, ...]
    cells: NDArray[np.int64]
    step: NDArray[np.float64]
    here: NDArray[np.float64]
    integrated: NDArray[np.float64]
    carry: NDArray[np.bool_]
    points: int

    def agreement(self, name: str, by: str, carry: bool) -> Agreement:
        """Return how well ``by`` (``here`` or ``integrated``) foretells the steps of a component.

        Args:
            name: One of ``names``.
            by: Which gradient.
            carry: Of the carries, or of the other steps.
        """
        k = self.names.index(name)
        chosen = self.carry == carry
        return agreement(getattr(self, by)[k, chosen], self.step[k, chosen])

    def as_json(self) -> dict[str, Any]:
        """Return all agreements as plain data."""
        return {
            name: {
                f"{by}{' carry' if carry else ''}": asdict(self.agreement(name, by, carry))
                for by in ("here", "integrated")
                for carry in (False, True)
            }
            for name in self.names
        }


def agreement(told: NDArray[np.float64], step: NDArray[np.float64], seed: int = 0) -> Agreement:
    """Compare two lists of numbers [n]."""
    n = len(step)
    nothing = float("nan")
    if n < 3 or told.std() == 0 or step.std() == 0:
        return Agreement(nothing, nothing, nothing, nothing, nothing, nothing, n)
    draws = np.random.default_rng(seed).integers(n, size=(RESAMPLES, n))
    resampled = _pearson(told[draws], step[draws])
    known = resampled[~np.isnan(resampled)]
    low, high = np.quantile(known, [0.025, 0.975])
    return Agreement(
        float(_pearson(told, step)),
        float(low),
        float(high),
        float(np.mean(np.sign(told) == np.sign(step))),
        float((told * step).sum() / (told**2).sum()),
        float(np.sqrt(((told - step) ** 2).mean() / (step**2).mean())),
        n,
    )


def _pearson(a: NDArray[np.float64], b: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the correlation along the last axis; NaN where a side does not vary."""
    a, b = a - a.mean(-1, keepdims=True), b - b.mean(-1, keepdims=True)
    norm = np.sqrt((a**2).sum(-1) * (b**2).sum(-1))
    with np.errstate(invalid="ignore", divide="ignore"):
        found: NDArray[np.float64] = np.where(norm > 0, (a * b).sum(-1) / norm, np.nan)
    return found


def drawn(grid: Grid, count: int, seed: int) -> NDArray[np.int64]:
    """Draw steps inside a grid, half of a and half of b, near the tie where it can be: [n, 3] of a, b, which.

    A third are carries where the grid has any.
    """
    generator = np.random.default_rng(seed)
    margins = np.abs(grid.margins())
    found = []
    for which, numbers in ((0, grid.a), (1, grid.b)):
        carry = carries(numbers)
        for wanted, many in ((True, count // 6), (False, count // 2 - count // 6)):
            places = np.flatnonzero(carry == wanted)
            if not len(places):
                continue
            near = margins[places] if which == 0 else margins[:, places].T
            weights = 1 / (1 + near.ravel())
            weights = weights / weights.sum()
            chosen = generator.choice(near.size, size=min(many, near.size), replace=False, p=weights)
            for one in chosen:
                place, other = divmod(int(one), near.shape[1])
                pair = (int(places[place]), other) if which == 0 else (other, int(places[place]))
                found.append((grid.a[pair[0]], grid.b[pair[1]], which))
    return np.array(found)


def foretell(
    opened: OpenModel,
    grid: Grid,
    names: Sequence[str],
    *,
    count: int = 120,
    points: int = 8,
    batch: int = 16,
    seed: int = 0,
    on_prompts: Callable[[int], None] = lambda n: None,
) -> Foretold:
    """Compare steps with gradients through the number tokens, for the logit difference and some components.

    Args:
        opened: The model.
        grid: The question; steps are drawn inside.
        names: Components, or layer parts such as ``L3.attention``, whose direct contributions are differentiated.
        count: Steps, about.
        points: Midpoints of the integral.
        batch: Prompts in a pass.
        seed: Of the draw.
        on_prompts: Called with the prompts a finished pass went through.

    Raises:
        InterpError: A number and its successor take different numbers of tokens.
    """
    cells = drawn(grid, count, seed)
    problems = [grid.problem(a, b) for a, b, _ in cells.tolist()]
    nexts = [grid.problem(a + (which == 0), b + (which == 1)) for a, b, which in cells.tolist()]
    groups = _groups(opened, names)
    parts: list[tuple[Tensor, Tensor, Tensor]] = []
    for start in range(0, len(cells), batch):
        some = slice(start, start + batch)
        parts.append(_batch(opened, problems[some], nexts[some], groups, points))
        on_prompts(len(problems[some]) * (points + 2))
    step, here, integrated = (torch.cat(side, 1).double().numpy() for side in zip(*parts, strict=True))
    carry = np.array([(a, b)[which] % 10 == 9 for a, b, which in cells.tolist()])
    return Foretold(("logit difference", *names), cells, step, here, integrated, carry, points)


def _groups(opened: OpenModel, names: Sequence[str]) -> list[list[int]]:
    """Return the places in the list of contributions that add up to each name."""
    from palaestra.interp.arithmetic.sweep import layer_part

    writers = opened.writers()
    found = []
    for name in names:
        members = [index for index, one in enumerate(writers) if name in (one, layer_part(one))]
        if not members:
            opened.component(name)
            raise InterpError(
                f"{name} adds nothing to the residual stream itself; name a head, an MLP or an embedding."
            )
        found.append(members)
    return found


def _batch(
    opened: OpenModel, problems: list[Problem], nexts: list[Problem], groups: list[list[int]], points: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return steps, gradients here and integrated gradients along the line: [1 + groups, B] each."""
    prompts, _ = prompts_of(opened, problems)
    others, _ = prompts_of(opened, nexts)
    if prompts.ids.shape != others.ids.shape:
        raise InterpError("a number and its successor take different numbers of tokens; choose another range.")
    table = next(iter(opened.anatomy.embeddings))
    with torch.no_grad(), capture(opened, [*reads(opened)]) as kept:
        start = _values(opened, opened(prompts.ids), prompts, kept, groups)
        begin = kept[table].clone()
        end_values = _values(opened, opened(others.ids), others, kept, groups)
        along = kept[table] - begin
    here = _along(opened, prompts, groups, table, begin, along)
    total = torch.zeros_like(here)
    for point in range(points):
        total += _along(opened, prompts, groups, table, begin + (point + 0.5) / points * along, along) / points
    return end_values - start, here, total


def _values(opened: OpenModel, logits: Tensor, prompts: Prompts, kept: Any, groups: list[list[int]]) -> Tensor:
    parts = contributions(opened, prompts, kept)
    return torch.stack([logit_difference(logits, prompts), *(parts[:, one].sum(1) for one in groups)])


def _along(
    opened: OpenModel, prompts: Prompts, groups: list[list[int]], table: str, at: Tensor, along: Tensor
) -> Tensor:
    """Return the derivatives of the values along a direction of the embeddings: [1 + groups, B]."""
    with intervene(opened, Patch(table, at)), capture(opened, reads(opened), gradients=True) as kept:
        values = _values(opened, opened(prompts.ids), prompts, kept, groups)
        found = []
        for index, one in enumerate(values):
            gradient = kept.gradients(one.sum(), [table], keep_graph=index + 1 < len(values))[table]
            found.append((gradient * along).sum((-1, -2)))
        return torch.stack(found).detach()
