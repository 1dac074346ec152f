"""Do tokens mean the same in two models of one vocabulary, a base and what was trained from it?

Both read the same rows. For each kind of token that occurs often enough, three comparisons:

    representation  1 - cosine between the residual streams where it stands, off the mean; models that do not share a
                    basis are turned onto each other by the orthogonal Procrustes map of places of other tokens
    retrieval       share of its occurrences whose nearest neighbour in the other model is another kind of token
    readout         Jensen-Shannon divergence, in bits, of what the two models predict behind it
    swap            KL divergence, in nats a token, by which the trained model's predictions at later places change
                    when the token's residual stream in all layers (so all keys and values that others read of it)
                    is the base's, turned by the same maps

Large means: it means something else. Critical tokens stand beside control tokens of like frequency, and p is the share
of draws of as many controls that differ as much or more: whether reasoning words changed *more than other words*.
Where the models do not share a basis, ``representation`` and ``swap`` also hold the error of the map, which is fitted
on none of the tokens asked about.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy.linalg import orthogonal_procrustes
from torch import Tensor

from palaestra.interp.capture import capture
from palaestra.interp.errors import InterpError
from palaestra.interp.importance.scores import bootstrap
from palaestra.interp.intervene import Patch, intervene
from palaestra.interp.opened import OpenModel

MEASURES = ("representation", "retrieval", "readout", "swap")
MOST = 12
"""Occurrences of a kind of token that are asked about."""


@dataclass(frozen=True, slots=True, eq=False)
class Meaning:
    """What was found of each kind of token.

    Attributes:
        tokens: Ids.
        counts: Occurrences in the rows.
        critical: Which of them reasoning turns on.
        values: Measure to [n] means over occurrences.
        low, high: Their bootstrap intervals, over rows.
        controls: For each critical token, its control tokens.
        site: The residual stream of the first two measures.
    """

    tokens: list[int]
    counts: list[int]
    critical: list[bool]
    values: dict[str, Tensor]
    low: dict[str, Tensor]
    high: dict[str, Tensor]
    controls: dict[int, list[int]]
    site: str

    def tests(self, draws: int = 2000, seed: int = 0) -> dict[str, dict[str, float]]:
        """Return, by measure, the mean of critical and of control tokens and the p-value of the difference."""
        index = {one: number for number, one in enumerate(self.tokens)}
        first = [index[one] for one in self.controls]
        second = sorted({index[one] for some in self.controls.values() for one in some})
        generator = torch.Generator().manual_seed(seed)
        found = {}
        for measure, values in self.values.items():
            pool = torch.cat([values[first], values[second]])
            seen = float(values[first].mean())
            order = torch.stack([torch.randperm(len(pool), generator=generator)[: len(first)] for _ in range(draws)])
            beyond = int((pool[order].mean(1) >= seen - 1e-9).sum())
            found[measure] = {
                "critical": seen,
                "control": float(values[second].mean()),
                "p": (1 + beyond) / (1 + draws),
            }
        return found

    def as_json(self, text: Callable[[int], str]) -> dict[str, Any]:
        """Return everything as plain data."""
        rows = []
        for number, token in enumerate(self.tokens):
            row: dict[str, Any] = {"token": text(token), "id": token, "count": self.counts[number]}
            row["critical"] = self.critical[number]
            row["controls"] = [text(one) for one in self.controls.get(token, [])]
            for measure in self.values:
                found = (self.values[measure], self.low[measure], self.high[measure])
                row[measure] = dict(zip(("mean", "low", "high"), (float(one[number]) for one in found), strict=True))
            rows.append(row)
        return {"site": self.site, "tokens": rows, "tests": self.tests()}


def token_meaning(
    base: OpenModel,
    trained: OpenModel,
    rows: Sequence[Sequence[int]],
    critical: Sequence[int],
    *,
    begins: Sequence[int] | None = None,
    one_basis: bool = False,
    controls: int = 6,
    least: int = 3,
    most: int = MOST,
    later: int = 12,
    seed: int = 0,
    on_row: Callable[[], None] = lambda: None,
) -> Meaning:
    """Compare tokens between two models.

    Args:
        base, trained: Of one vocabulary, width and depth.
        rows: What both read.
        critical: Ids of the tokens in question; those that occur less than ``least`` times are left out.
        begins: Of each row, the first place that counts, such as where the reply begins.
        one_basis: Whether the models share a basis, as a base and its adapter do, so that nothing is turned.
        controls: Tokens of like frequency for each.
        least, most: Occurrences of a kind of token; no more than ``most`` are asked about.
        later: Places behind a token at which a swap is measured.
        seed: Of which occurrences.
        on_row: Called for each row, for progress.

    Raises:
        InterpError: The models do not fit, or no critical token or no control occurs often enough.
    """
    if base.anatomy.width != trained.anatomy.width or len(base.anatomy.blocks) != len(trained.anatomy.blocks):
        raise InterpError(
            f"{base.name} and {trained.name} differ in width or depth; compare a model with its own base."
        )
    starts = list(begins or [1] * len(rows))
    places: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
        for place in range(max(1, start), len(row) - 1):
            places[row[place]].append((number, place))
    kinds = _kinds(Counter({one: len(some) for one, some in places.items()}), critical, controls, least)
    asked = sorted({*kinds, *(one for some in kinds.values() for one in some)})
    generator = torch.Generator().manual_seed(seed)
    chosen = {one: _some(places[one], most, generator) for one in asked}
    sites = [f"resid{layer}" for layer in range(len(trained.anatomy.blocks) + 1)]
    middle = sites[(2 * (len(sites) - 1) + 2) // 3]
    states = _states(base, trained, rows, starts, sites)
    # all places of the tokens that are asked about: a map fitted on critical ones would undo what changed, and one
    # fitted on controls alone would favour these
    taken = {place for one in asked for place in places[one]}
    maps = {site: _same(states.base[site]) for site in sites} if one_basis else _maps(states, taken, sites)
    found: dict[str, list[list[float]]] = {measure: [] for measure in MEASURES}
    nearest = _nearest(states, chosen, maps, middle)
    for one in asked:
        found["representation"].append([nearest[one][place][0] for place in chosen[one]])
        found["retrieval"].append([float(nearest[one][place][1]) for place in chosen[one]])
        found["readout"].append([states.readout[place] for place in chosen[one]])
    swaps = _swaps(trained, rows, states, chosen, maps, sites[:-1], later, on_row)
    for one in asked:
        found["swap"].append([swaps[place] for place in chosen[one]])
    values, low, high = ({measure: torch.zeros(len(asked)) for measure in MEASURES} for _ in range(3))
    for measure, some in found.items():
        for number, (one, listed) in enumerate(zip(asked, some, strict=True)):
            column = torch.tensor(listed)
            values[measure][number] = column.mean()
            of_rows = torch.tensor([row for row, _ in chosen[one]])
            low[measure][number], high[measure][number] = bootstrap(column[:, None], groups=of_rows)[0]
    counts = [len(places[one]) for one in asked]
    return Meaning(asked, counts, [one in kinds for one in asked], values, low, high, kinds, middle)


def _kinds(counts: Counter[int], critical: Sequence[int], controls: int, least: int) -> dict[int, list[int]]:
    """Return the controls of each critical token: the others whose frequency is nearest on a logarithmic scale."""
    wanted = [one for one in dict.fromkeys(critical) if counts[one] >= least]
    others = [one for one, count in counts.items() if count >= least and one not in set(critical)]
    if not wanted or not others:
        raise InterpError(
            f"{'no critical token' if not wanted else 'no other token'} occurs {least} times in what was written, so "
            "there is nothing to compare; take more problems."
        )
    return {
        one: sorted(others, key=lambda other: (abs(np.log(counts[other] / counts[one])), other))[:controls]
        for one in wanted
    }


def _some(places: list[tuple[int, int]], most: int, generator: torch.Generator) -> list[tuple[int, int]]:
    order = torch.randperm(len(places), generator=generator)[:most].sort().values
    return [places[int(one)] for one in order]


@dataclass(slots=True)
class _States:
    """Residual streams of both models at all places that count, and how far their predictions are apart."""

    at: dict[tuple[int, int], int]
    base: dict[str, Tensor]
    trained: dict[str, Tensor]
    readout: dict[tuple[int, int], float]


def _states(
    base: OpenModel, trained: OpenModel, rows: Sequence[Sequence[int]], starts: Sequence[int], sites: list[str]
) -> _States:
    at: dict[tuple[int, int], int] = {}
    kept: dict[str, dict[str, list[Tensor]]] = {"base": defaultdict(list), "trained": defaultdict(list)}
    readout: dict[tuple[int, int], float] = {}
    for number, (row, start) in enumerate(zip(rows, starts, strict=True)):
        span = range(max(1, start), len(row) - 1)
        said = []
        for name, one in (("base", base), ("trained", trained)):
            with capture(one, sites) as seen:
                logits = one(torch.tensor([list(row)]))
            for site in sites:
                kept[name][site].append(seen[site][0, span.start : span.stop].detach().float())
            said.append(logits[0, span.start : span.stop].float().log_softmax(-1))
        apart = _divergence(*said)
        for offset, place in enumerate(span):
            at[number, place] = len(at)
            readout[number, place] = float(apart[offset])
    joined = {name: {site: torch.cat(parts) for site, parts in some.items()} for name, some in kept.items()}
    return _States(at, joined["base"], joined["trained"], readout)


def _divergence(a: Tensor, b: Tensor) -> Tensor:
    """Return Jensen-Shannon divergences of rows of log-probabilities, in bits."""
    middle = torch.logaddexp(a, b) - np.log(2)
    both = [(one.exp() * (one - middle)).sum(-1) for one in (a, b)]
    return ((both[0] + both[1]) / 2 / np.log(2)).clamp(min=0)


@dataclass(frozen=True, slots=True)
class _Map:
    """From the base's residual stream to the trained model's: (x - mean) @ turn + other mean."""

    mean: Tensor
    other: Tensor
    turn: Tensor

    def __call__(self, x: Tensor) -> Tensor:
        return (x - self.mean) @ self.turn + self.other


def _same(x: Tensor) -> _Map:
    mean = x.mean(0)
    return _Map(mean, mean, torch.eye(len(mean), dtype=x.dtype, device=x.device))


def _maps(states: _States, taken: set[tuple[int, int]], sites: list[str]) -> dict[str, _Map]:
    """Fit on places that are not asked about.

    With fewer of these than the width, an orthogonal map is not determined; a small multiple of the identity is added
    to the cross-covariance, which means: where nothing is known, nothing is turned.
    """
    free = torch.tensor([number for place, number in states.at.items() if place not in taken])
    if not len(free):
        raise InterpError("every token is asked about, so that there is nothing to align the two models by.")
    found = {}
    for site in sites:
        a, b = states.base[site], states.trained[site]
        x, y = a[free] - a[free].mean(0), b[free] - b[free].mean(0)
        cross = (x.T @ y).double().cpu().numpy()
        ridge = 1e-3 * np.trace(np.abs(cross)) / len(cross) or 1.0
        turn, _ = orthogonal_procrustes(np.eye(len(cross)), cross + ridge * np.eye(len(cross)))
        found[site] = _Map(a[free].mean(0), b[free].mean(0), torch.tensor(turn).to(a))
    return found


def _nearest(
    states: _States, chosen: dict[int, list[tuple[int, int]]], maps: dict[str, _Map], site: str
) -> dict[int, dict[tuple[int, int], tuple[float, bool]]]:
    """Return, by token and place, 1 - cosine of the two models' states, and whether the nearest is another token."""
    places = [(one, place) for one, some in chosen.items() for place in some]
    rows = torch.tensor([states.at[place] for _, place in places])
    kinds = torch.tensor([one for one, _ in places])
    turned = maps[site]
    a = torch.nn.functional.normalize(turned(states.base[site][rows]) - turned.other, dim=-1)
    b = torch.nn.functional.normalize(states.trained[site][rows] - turned.other, dim=-1)
    alike = b @ a.T
    best = kinds[alike.argmax(1)]
    found: dict[int, dict[tuple[int, int], tuple[float, bool]]] = {one: {} for one in chosen}
    for number, (one, place) in enumerate(places):
        found[one][place] = (1 - float(alike[number, number]), bool(best[number] != one))
    return found


def _swaps(
    trained: OpenModel,
    rows: Sequence[Sequence[int]],
    states: _States,
    chosen: dict[int, list[tuple[int, int]]],
    maps: dict[str, _Map],
    sites: list[str],
    later: int,
    on_row: Callable[[], None],
) -> dict[tuple[int, int], float]:
    """Return, by place, how far later predictions move when the token there is the base's."""
    by_row: dict[int, list[int]] = defaultdict(list)
    for listed in chosen.values():
        for number, place in listed:
            by_row[number].append(place)
    found: dict[tuple[int, int], float] = {}
    for number, places in by_row.items():
        row = torch.tensor([list(rows[number])])
        plain = trained(row)[0].float().log_softmax(-1)
        for start in range(0, len(places), 8):
            some = places[start : start + 8]
            mask = torch.zeros(len(some), row.shape[1], dtype=torch.bool)
            mask[torch.arange(len(some)), torch.tensor(some)] = True
            index = torch.tensor([states.at[number, place] for place in some])
            patches = [Patch(site, maps[site](states.base[site][index])[:, None], mask) for site in sites]
            with intervene(trained, *patches):
                changed = trained(row.expand(len(some), -1)).float().log_softmax(-1)
            apart = (plain.exp() * (plain - changed)).sum(-1).clamp(min=0)
            for line, one in enumerate(some):
                found[number, one] = float(apart[line, one + 1 : one + 1 + later].mean())
        on_row()
    return found
