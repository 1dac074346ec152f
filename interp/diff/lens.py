"""The activation-difference lens: what training adds to the residual stream of texts that have nothing to do with it.

The mean over unrelated texts of resid(after) - resid(before) is read through the final norm and the unembedding
(Minder et al. 2510.13900: narrow training leaves it readable), at the first places, where nothing has been said yet,
and over all places. The *control* is the same difference with signs drawn at random for each text, which is as large as
what differs from text to text and keeps what the mean adds up from: a token is told only if its promotion is larger
than that of any token in 95 % of such draws.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from palaestra.interp.architecture import Norm, weight
from palaestra.interp.capture import capture
from palaestra.interp.diff.pair import Pair
from palaestra.interp.diff.switching import divergence
from palaestra.interp.intervene import Steer, intervene
from palaestra.interp.prompts import Prompts

FIRST = 5
DRAWS = 200


@dataclass(frozen=True, slots=True, eq=False)
class Lens:
    """What one residual stream says.

    Attributes:
        point: Such as ``resid12``.
        size: Length of the mean difference as a share of the mean length of the stream before.
        chance: The same with random signs, 95th percentile.
        tokens: (id, promotion in logits) of the most promoted tokens.
        told: How many of them are above what random signs promote.
        direction: [width] the mean difference.
    """

    point: str
    size: float
    chance: float
    tokens: tuple[tuple[int, float], ...]
    told: int
    direction: Tensor

    def as_json(self, texts: list[str]) -> dict[str, Any]:
        """Return it as plain data, with the tokens as ``texts``."""
        shown = [{"token": text, "logit": value} for text, (_, value) in zip(texts, self.tokens, strict=True)]
        return {"point": self.point, "size": self.size, "chance": self.chance, "told": self.told, "tokens": shown}


@torch.no_grad()
def lens(
    pair: Pair, prompts: Prompts, *, first: int | None = FIRST, count: int = 12, batch: int = 16, seed: int = 0
) -> list[Lens]:
    """Read the mean difference of every residual stream.

    Args:
        pair: Before and after.
        prompts: Unrelated texts.
        first: Places at the beginning, the very first one left out, for it is the same in every text; None for all.
        count: Tokens to list.
        batch: Prompts a pass.
        seed: Of the random signs.
    """
    points = [name for name, one in pair.opened.components.items() if one.kind == "residual"]
    differences: dict[str, list[Tensor]] = {point: [] for point in points}
    streams: dict[str, list[Tensor]] = {point: [] for point in points}
    for some in prompts.batches(pair.opened.fitting(batch, prompts.ids.shape[1])):
        values = {}
        for when, state in (("before", pair.before), ("after", pair.after)):
            with state() as opened, capture(opened, points) as kept:
                opened(some.ids)
                values[when] = {point: kept[point] for point in points}
        used = some.real()
        used[:, 0] = False
        if first is not None:
            used[:, first + 1 :] = False
        share = (used.float() / used.sum(1, keepdim=True).clamp_min(1)).to(pair.opened.device)
        for point in points:
            before, after = values["before"][point], values["after"][point]
            differences[point].append(((after - before) * share[..., None].to(before)).sum(1))
            streams[point].append((before.norm(dim=-1) * share.to(before)).sum(1))
    signs = torch.randint(2, (DRAWS, len(prompts)), generator=torch.Generator().manual_seed(seed)) * 2.0 - 1
    found = []
    for point in points:
        rows = torch.cat(differences[point])
        length = torch.cat(streams[point]).mean().clamp_min(1e-12)
        mean = rows.mean(0)
        random = signs.to(rows) @ rows / len(rows)
        promoted, by_chance = promotion(pair, mean), promotion(pair, random).amax(-1)
        best = promoted.topk(min(count, len(promoted)))
        told = int((best.values > torch.quantile(by_chance, 0.95)).sum()) if mean.norm() > 1e-6 * length else 0
        found.append(
            Lens(
                point,
                float(mean.norm() / length),
                float(torch.quantile(random.norm(dim=-1), 0.95) / length),
                tuple(zip(best.indices.tolist(), best.values.tolist(), strict=True)),
                told,
                mean,
            )
        )
    return found


def promotion(pair: Pair, directions: Tensor) -> Tensor:
    """Return what directions [..., width] add to each token's logit, less the mean over tokens: [..., V].

    The gain of the final norm counts and its scale does not, for a difference has none of its own.
    """
    norm = Norm.of(pair.opened.anatomy.norm)
    logits = (norm.centre(directions) * norm.gain) @ weight(pair.opened.anatomy.unembed).T
    return logits - logits.mean(-1, keepdim=True)


@torch.no_grad()
def steered(
    pair: Pair, prompts: Prompts, one: Lens, *, draws: int = 5, batch: int = 8, seed: int = 0
) -> dict[str, float]:
    """Add the difference to the base's stream: how much nearer it comes to the trained model, beside random directions
    of the same length.

    Returns:
        ``alone``: KL(after || before) in nats a token; ``steered`` and ``random`` (mean over draws): KL(after ||
        steered base).
    """
    length = float(one.direction.norm())
    generator = torch.Generator().manual_seed(seed)
    random = [torch.randn(one.direction.shape, generator=generator) for _ in range(draws if length else 0)]
    found: list[Tensor] = []
    for some in prompts.batches(pair.opened.fitting(batch, prompts.ids.shape[1])):
        with pair.after() as opened:
            after = opened(some.ids)
        with pair.before() as opened:
            rows = [divergence(after, opened(some.ids), some.real())]
            for direction in (one.direction, *random) if length else ():
                with intervene(opened, Steer(one.point, direction, length)):
                    rows.append(divergence(after, opened(some.ids), some.real()))
        found.append(torch.stack(rows))
    means = torch.cat(found, 1).mean(1).tolist()
    if not length:
        return dict.fromkeys(("alone", "steered", "random"), means[0])
    return {"alone": means[0], "steered": means[1], "random": sum(means[2:]) / draws}
