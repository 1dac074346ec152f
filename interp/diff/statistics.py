"""Intervals that a comparison of many things at once needs."""

from __future__ import annotations

import torch
from torch import Tensor

CHUNK = 4096
"""Columns at a time, so that memory does not grow with the number of edges."""


def paired(values: Tensor, level: float = 0.95, samples: int = 1000, seed: int = 0) -> Tensor:
    """Return percentile bootstrap intervals of the means of rows, each column by itself: [n, 2] from [B, n]."""
    rows = values.shape[0]
    draws = torch.randint(rows, (samples, rows), generator=torch.Generator().manual_seed(seed))
    weights = torch.zeros(samples, rows).scatter_add_(1, draws, torch.ones(samples, rows)) / rows
    tails = torch.tensor([(1 - level) / 2, (1 + level) / 2])
    found = [torch.quantile(weights @ part, tails, dim=0).mT for part in values.detach().cpu().float().split(CHUNK, 1)]
    return torch.cat(found)


def discoveries(values: Tensor, rate: float = 0.05, samples: int = 256, seed: int = 0) -> Tensor:
    """Say of which columns the mean differs from zero, so that at most ``rate`` of those named do not: bool[n], [B, n].

    The null turns signs of whole rows, which keeps what columns have in common (Tusher, Tibshirani & Chu 2001, eq. 3,
    without their constant): at each size of a studentised mean, how many columns the turned rows have beyond it, over
    how many the real ones have. It holds for differences that are symmetric about zero; of strongly skewed ones (an
    exponential's) about a quarter of those named are false.
    """
    rows, columns = values.shape
    if rows < 2 or not columns:
        return torch.zeros(columns, dtype=torch.bool)
    signs = torch.randint(2, (samples, rows), generator=torch.Generator().manual_seed(seed)).double() * 2 - 1
    real: list[Tensor] = []
    turned: list[Tensor] = []
    for part in values.detach().cpu().double().split(CHUNK, 1):
        square = part.pow(2).mean(0)
        for means, sizes in ((part.mean(0), real), (signs @ part / rows, turned)):
            spread = ((square - means.pow(2)) / (rows - 1)).clamp_min(0).sqrt()
            sizes.append(means.abs() / spread.clamp_min(1e-9 * square.sqrt()).clamp_min(1e-30))
    seen = torch.cat(real)
    order = seen.sort().values
    beyond = torch.zeros(columns, dtype=torch.double)
    for sizes_of in turned:
        flat = sizes_of.flatten().sort().values
        beyond += len(flat) - torch.searchsorted(flat, order)
    named = columns - torch.arange(columns)
    good = (beyond / samples / named <= rate).nonzero()
    return seen >= order[good[0, 0]] if len(good) else torch.zeros(columns, dtype=torch.bool)


def simultaneous(values: Tensor, level: float = 0.95, samples: int = 1000, seed: int = 0) -> Tensor:
    """Return intervals of the means of rows that hold for all columns at once: [n, 2] from [B, n].

    The bootstrap of the largest studentised deviation over all columns (max-t, Romano & Wolf 2005): where no column
    differs from zero, the chance that any interval leaves it out is ``1 - level``. Each draw is studentised by its own
    spread, because spreads of few rows are too small as often as means are too large. Columns without any spread get an
    interval of no width; a single row has no interval, and gets an infinite one.
    """
    rows, columns = values.shape
    mean = values.mean(0)
    if rows < 2 or not columns:
        return torch.stack([mean - torch.inf, mean + torch.inf], -1)
    draws = torch.randint(rows, (samples, rows), generator=torch.Generator().manual_seed(seed))
    ones = torch.ones(samples, rows, dtype=torch.double)
    weights = torch.zeros(samples, rows, dtype=torch.double).scatter_add_(1, draws, ones) / rows
    largest = torch.zeros(samples, dtype=torch.double)
    centres, errors = [], []
    for part in values.detach().cpu().double().split(CHUNK, 1):
        centre = part.mean(0)
        deviations = part - centre
        error = (deviations.pow(2).mean(0) / (rows - 1)).sqrt()
        steady = error <= 1e-9 * part.abs().amax(0)  # rounding is no spread
        moved = weights @ deviations
        own = ((weights @ deviations.pow(2) - moved.pow(2)).clamp_min(0) / (rows - 1)).sqrt()
        # a draw of nearly one row only says nothing of the spread
        ratio = torch.where((own > 0.1 * error) & ~steady, moved.abs() / own.clamp_min(1e-30), 0.0)
        largest = torch.maximum(largest, ratio.amax(1))
        centres.append(centre)
        errors.append(torch.where(steady, 0.0, error))
    half = torch.quantile(largest, level) * torch.cat(errors)
    centre = torch.cat(centres)
    return torch.stack([centre - half, centre + half], -1).float()
