"""A sweep: one question asked with every pair of two numbers, and what each component does for yes over no.

Two maps are made over the grid of operands, both in logits:

    direct   what a component adds to logit(yes) - logit(no) by itself (`palaestra.interp.importance.direct`); with the
             constants they add up to it exactly
    total    what it does through everything behind it: (value - its mean over the grid at each place) . gradient,
             which is how early layers, whose direct contribution says little, are seen
             (`palaestra.interp.importance.gradients`, rules). An estimate: `causes` measures the largest by patching.

A *layer part* such as ``L3.attention`` is the sum of its heads and bias.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from palaestra.agents.models.disk import replace_text
from palaestra.envs.errors import OptionError
from palaestra.interp.arithmetic.problems import TERSE, Encoded, Problem, encode, kind_named
from palaestra.interp.errors import InterpError, UnequalTokens
from palaestra.interp.importance.direct import direct
from palaestra.interp.importance.gradients import attribute
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs, Prompts

Map = NDArray[np.float64]
"""[A, B]: a number for each pair of operands."""


@dataclass(frozen=True, slots=True)
class Grid:
    """What is asked: a question and the ranges of its two numbers.

    Attributes:
        kind: Name of a kind of problem. parameter: Its parameter.
        wording: Index of its sentence; -1 is terse. reverse: Whether the question asks if the first option loses.
        first, second: Lowest and highest a and b, both included: whole decades, so that digits can be told apart.
    """

    kind: str
    parameter: int
    wording: int
    reverse: bool
    first: tuple[int, int]
    second: tuple[int, int]

    def __post_init__(self) -> None:
        kind = kind_named(self.kind)
        if self.parameter not in kind.parameters:
            known = ", ".join(map(str, kind.parameters))
            raise OptionError(f"{self.kind} has no parameter {self.parameter}; it is one of {known}.")
        if not -1 <= self.wording < len(kind.asked):
            raise OptionError(f"{self.kind} has no wording {self.wording}; there are -1 to {len(kind.asked) - 1}.")
        for low, high in (self.first, self.second):
            if not 10 <= low <= high <= 99 or low % 10 or (high + 1) % 10:
                raise OptionError(
                    f"a range of numbers is {low} to {high}; it must be whole decades of two-digit numbers, such as "
                    "30 to 59."
                )

    @property
    def a(self) -> range:
        """Return the values of a."""
        return range(self.first[0], self.first[1] + 1)

    @property
    def b(self) -> range:
        """Return the values of b."""
        return range(self.second[0], self.second[1] + 1)

    @property
    def shape(self) -> tuple[int, int]:
        """Return (A, B)."""
        return len(self.a), len(self.b)

    @property
    def name(self) -> str:
        """Return a short name, good for files."""
        way = "reversed" if self.reverse else "asked"
        return f"{self.kind}-{self.parameter}-{'terse' if self.wording < 0 else self.wording}-{way}"

    def problems(self) -> list[Problem]:
        """Return the problems, row by row: b changes fastest."""
        return [self.problem(a, b) for a in self.a for b in self.b]

    def problem(self, a: int, b: int) -> Problem:
        """Return one problem."""
        return Problem(self.kind, a, b, self.parameter, self.wording, self.reverse)

    def margins(self) -> Map:
        """Return by how much yes is right: [A, B]."""
        return np.array([one.margin for one in self.problems()], dtype=float).reshape(self.shape)


@dataclass(frozen=True, slots=True)
class Sweep:
    """Maps over a grid.

    Attributes:
        grid: What was asked.
        names: K components: writers and ``constant``.
        direct: [K, A, B], adding up to ``difference``.
        total_names: Components of ``total``. total: [N, A, B]; empty where it was not asked for.
        difference: [A, B] logit(yes) - logit(no).
    """

    grid: Grid
    names: tuple[str, ...]
    direct: NDArray[np.float64]
    total_names: tuple[str, ...]
    total: NDArray[np.float64]
    difference: Map

    def accuracy(self) -> float:
        """Return the share of right answers; ties are left out."""
        margins = self.grid.margins()
        return float(np.mean((self.difference > 0)[margins != 0] == (margins > 0)[margins != 0]))

    def rows(self, which: str) -> tuple[tuple[str, ...], NDArray[np.float64]]:
        """Return names and maps of ``direct`` or ``total``, layer parts before the heads that they are made of."""
        names, maps = (self.names, self.direct) if which == "direct" else (self.total_names, self.total)
        listed: dict[str, Map] = {}
        for name, one in zip(names, maps, strict=True):
            if (part := layer_part(name)) != name:
                listed[part] = listed.get(part, np.zeros(self.grid.shape)) + one
        listed |= dict(zip(names, maps, strict=True))
        order = sorted(listed, key=lambda name: _place(name, names))
        return tuple(order), np.array([listed[name] for name in order]).reshape(-1, *self.grid.shape)


def layer_part(name: str) -> str:
    """Return the layer part that a component belongs to: ``L3.attention`` for ``L3.H2``, else itself."""
    layer, _, rest = name.partition(".")
    return f"{layer}.attention" if rest.startswith("H") or rest == "bias" else name


def _place(name: str, names: Sequence[str]) -> tuple[int, int]:
    if name in names:
        return list(names).index(name), 1
    return min(index for index, one in enumerate(names) if layer_part(one) == name), 0


def prompts_of(opened: OpenModel, problems: Sequence[Problem]) -> tuple[Prompts, Encoded]:
    """Make prompts whose answer is yes and whose foil is no.

    Raises:
        InterpError: The model was opened without a tokenizer.
        UnfitTokenizer: The tokenizer does not keep numbers apart.
        UnequalTokens: The problems have different numbers of tokens.
    """
    tokenizer = getattr(opened.codec, "tokenizer", None)
    if tokenizer is None:
        raise InterpError(f"{opened.name} was opened without a tokenizer; open it with open_model.")
    coded = encode(problems, tokenizer)
    lengths = {len(row) for row in coded.ids}
    if len(lengths) > 1:
        raise UnequalTokens(
            f"the numbers of this sweep take different numbers of tokens ({min(lengths)} to {max(lengths)} a "
            "question) in this model; choose ranges in which every number has as many."
        )
    count = len(problems)
    return Prompts.of(coded.ids, [[coded.yes]] * count, [[coded.no]] * count), coded


def sweep(
    opened: OpenModel,
    grid: Grid,
    *,
    total: bool = True,
    batch: int = 32,
    on_prompts: Callable[[int], None] = lambda n: None,
) -> Sweep:
    """Ask a question with every pair of numbers.

    Args:
        opened: The model.
        grid: The question.
        total: Whether total effects are estimated too, at about five times the cost.
        batch: Prompts in a pass.
        on_prompts: Called with the number of prompts that a finished step went through, for progress.

    Raises:
        UnequalTokens, UnfitTokenizer: The tokenizer does not fit.
    """
    prompts, _ = prompts_of(opened, grid.problems())
    found = []
    for start in range(0, len(prompts), batch):
        found.append(direct(opened, prompts[slice(start, start + batch)], batch=batch))
        on_prompts(len(found[-1].clean))
    maps = torch.cat([one.values for one in found]).double().T.reshape(-1, *grid.shape).numpy()
    difference = torch.cat([one.clean for one in found]).double().reshape(grid.shape).numpy()
    names: tuple[str, ...] = ()
    totals = np.zeros((0, *grid.shape))
    if total:
        names = tuple(name for name in opened.writers() if opened.component(name).kind in ("head", "mlp"))
        estimated = attribute(
            opened,
            prompts,
            nodes=names,
            method="rules",
            reference="place",
            batch=batch,
            on_batch=lambda: on_prompts(batch),
        )
        totals = estimated.by_prompt.double().T.reshape(-1, *grid.shape).numpy()
    return Sweep(grid, found[0].names, maps, names, totals, difference)


def opposites(grid: Grid, count: int, seed: int, which: str = "both") -> tuple[list[Problem], list[Problem]]:
    """Return problems of a grid, each with one that is answered the other way.

    Args:
        grid: Where from.
        count: How many at most; half of the first ones are answered by yes.
        seed: Of the choice.
        which: ``both`` numbers are other ones, or only ``a``, or only ``b``.

    Returns:
        Clean and corrupt problems, as many of each; fewer than ``count`` where the grid has no opposite of some.
    """
    generator = np.random.default_rng(seed)
    margins = grid.margins()
    clean, corrupt = [], []
    cells = [np.argwhere(margins > 0), np.argwhere(margins < 0)]
    for number in range(count):
        here = cells[number % 2]
        if not len(here):
            continue
        a, b = here[generator.integers(len(here))]
        there = np.sign(margins) == -np.sign(margins[a, b])
        if which == "a":
            there = there & (np.arange(margins.shape[1]) == b)[None]
        elif which == "b":
            there = there & (np.arange(margins.shape[0]) == a)[:, None]
        others = np.argwhere(there)
        if len(others):
            other = others[generator.integers(len(others))]
            clean.append(grid.problem(grid.a[a], grid.b[b]))
            corrupt.append(grid.problem(grid.a[other[0]], grid.b[other[1]]))
    return clean, corrupt


def pairs_of(opened: OpenModel, clean: Sequence[Problem], corrupt: Sequence[Problem]) -> Pairs:
    """Make pairs; the metric is that of the right answer of each clean problem over the wrong one.

    So a score is what a component does for the right answer, whether that is yes or no.
    """
    sides = []
    for problems in (clean, corrupt):
        prompts, coded = prompts_of(opened, problems)
        right = [[coded.yes if one.margin > 0 else coded.no] for one in clean]
        wrong = [[coded.no if one.margin > 0 else coded.yes] for one in clean]
        sides.append(Prompts(prompts.ids, prompts.ends, torch.tensor(right), torch.tensor(wrong)))
    return Pairs(*sides)


def save(found: Sweep, folder: Path) -> None:
    """Write ``NAME.safetensors`` and ``NAME.json``; the JSON file, written last, says that both are whole."""
    from safetensors.numpy import save_file

    folder.mkdir(parents=True, exist_ok=True)
    arrays = {"direct": found.direct, "total": found.total, "difference": found.difference}
    save_file(
        {name: np.ascontiguousarray(one) for name, one in arrays.items()}, folder / f"{found.grid.name}.safetensors"
    )
    described = {"grid": asdict(found.grid), "names": found.names, "total_names": found.total_names}
    replace_text(folder / f"{found.grid.name}.json", json.dumps(described) + "\n")


def load(grid: Grid, folder: Path) -> Sweep | None:
    """Return a sweep that `save` wrote for exactly this grid; None where there is none."""
    from safetensors.numpy import load_file

    try:
        described: dict[str, Any] = json.loads((folder / f"{grid.name}.json").read_text())
        if described["grid"] != json.loads(json.dumps(asdict(grid))):
            return None
        arrays = load_file(folder / f"{grid.name}.safetensors")
        names, totals = tuple(described["names"]), tuple(described["total_names"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    whole = arrays["direct"].shape == (len(names), *grid.shape) and math.prod(arrays["difference"].shape) == math.prod(
        grid.shape
    )
    return Sweep(grid, names, arrays["direct"], totals, arrays["total"], arrays["difference"]) if whole else None


def default_grids(kinds: Sequence[str], style: str, decades: int) -> list[Grid]:
    """Return, for each kind, the question and its reverse around the middle of its ranges.

    Args:
        kinds: Names of kinds.
        style: ``terse`` or ``plain``; of the latter the first wording.
        decades: Tens that each number runs over.

    Raises:
        OptionError: So many decades do not fit.
    """
    grids = []
    for name in kinds:
        kind = kind_named(name)
        parameter = kind.parameters[0]
        best: tuple[float, tuple[int, int], tuple[int, int]] | None = None
        for first in _decades(kind.first, decades):
            for second in _decades(kind.second, decades):
                one = Grid(name, parameter, -1 if style == TERSE else 0, False, first, second)
                margins = one.margins()
                # where yes and no are as frequent as they can be, and then nearest to the middle of the numbers
                middle = abs(sum(first) - sum(kind.first)) + abs(sum(second) - sum(kind.second))
                score = abs(float(np.mean(np.sign(margins)))) + 1e-4 * middle
                if best is None or score < best[0]:
                    best = (score, first, second)
        if best is None:
            raise OptionError(f"{name} has fewer than {decades} whole decades of each number; ask for fewer.")
        grids += [Grid(name, parameter, -1 if style == TERSE else 0, way, best[1], best[2]) for way in (False, True)]
    return grids


def _decades(whole: tuple[int, int], decades: int) -> list[tuple[int, int]]:
    return [(low, low + 10 * decades - 1) for low in range(whole[0], whole[1] - 10 * decades + 2, 10)]
