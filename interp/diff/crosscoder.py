"""A BatchTopK crosscoder: one sparse dictionary for the activations of both models at one place.

    f = BatchTopK(relu(sum_m E_m x_m + b))      the k * B largest activations of a batch of B are kept, the others are 0
    x_m ~ D_m f + c_m                           for m = before, after

Sparse crosscoders with an L1 penalty invent latents of one model only, by shrinkage (Minder et al. 2504.02922);
BatchTopK does so much less, and *latent scaling* says what is left of it: for a latent j with decoder d_j (its longer
side) and a model m, beta is the least-squares factor by which f_j d_j explains a target of that model,

    beta_j,m = d_j . (Y_m^T f_j) / (|f_j|^2 |d_j|^2),   Y = the error of m and, again, the reconstruction of m

each time with the latent's own contribution to the target added back. A latent is *new* if both ratios before / after
are near 0: neither does the base use it, nor is it in what the crosscoder leaves over of the base; *lost* the other way
round; *shared* if both models use it alike. Activations are scaled so that both models together have a root mean square
of 1, which changes no ratio. One direction is used for both models, which training starts from one another: a latent
whose direction training turned far counts as new.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn

from palaestra.interp.errors import InterpError

Verdict = Literal["shared", "new", "lost", "unclear", "dead"]
SAME = (0.5, 2.0)
"""Ratios of betas of latents that both models use."""
ONE_SIDED = 0.2
"""A ratio of betas below it, on error and on reconstruction, is of one model only."""
DEAD_AFTER = 20
"""Steps without any activation after which a latent takes part in the auxiliary loss."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a crosscoder is trained.

    Attributes:
        latents: Size of the dictionary.
        k: Active latents an activation, on average.
        steps, batch, rate: Of Adam; the rate falls to nothing over the last fifth.
        auxiliary: Weight of the loss by which dead latents learn what is left over (Gao et al. 2406.04093).
        auxiliary_k: How many of them are used for an activation.
        seed: Of weights and order.
    """

    latents: int = 512
    k: int = 16
    steps: int = 600
    batch: int = 512
    rate: float = 2e-3
    auxiliary: float = 1 / 32
    auxiliary_k: int = 16
    seed: int = 0


class Crosscoder(nn.Module):
    """See the module's text.

    Attributes:
        encoder: [2, D, latents]; bias [latents].
        decoder: [2, latents, D]; centre [2, D].
        threshold: What an activation must exceed outside of training: the mean over batches of the smallest one kept.
        scale: By which activations were divided.
    """

    threshold: Tensor
    scale: Tensor

    def __init__(self, width: int, settings: Settings) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(settings.seed)
        directions = torch.randn(settings.latents, width, generator=generator)
        directions = 0.4 * directions / directions.norm(dim=-1, keepdim=True)
        # equal decoders, and encoders their transposes: no latent is one model's from the start
        self.decoder = nn.Parameter(torch.stack([directions, directions]))
        self.encoder = nn.Parameter(torch.stack([directions.T, directions.T]).clone())
        self.bias = nn.Parameter(torch.zeros(settings.latents))
        self.centre = nn.Parameter(torch.zeros(2, width))
        self.settings = settings
        self.register_buffer("threshold", torch.zeros(()))
        self.register_buffer("scale", torch.ones(()))

    def activations(self, x: Tensor) -> Tensor:
        """Return all activations, before the largest are chosen: [B, latents], from x [B, 2, D] in its scale."""
        return torch.relu(torch.einsum("bmd,mdl->bl", x - self.centre, self.encoder) + self.bias)

    def weighed(self, f: Tensor) -> Tensor:
        """Return activations times the sizes of their decoders, by which they compete: [B, latents]."""
        return f * self.decoder.norm(dim=-1).sum(0)

    def encode(self, x: Tensor) -> Tensor:
        """Return sparse activations of unscaled activations x [B, 2, D]: [B, latents]."""
        f = self.activations(x / self.scale)
        return f * (self.weighed(f) > self.threshold)

    def decode(self, f: Tensor) -> Tensor:
        """Return reconstructions in the crosscoder's scale: [B, 2, D]."""
        return torch.einsum("bl,mld->bmd", f, self.decoder) + self.centre


def train(
    before: Tensor, after: Tensor, settings: Settings = Settings(), *, on_step: Callable[[int], None] = lambda _: None
) -> Crosscoder:
    """Train a crosscoder on activations of the same tokens in both models.

    Args:
        before, after: [N, D].
        settings: How.
        on_step: Called before each step, for progress.

    Raises:
        InterpError: There are too few activations, or they do not line up.
    """
    if before.shape != after.shape or before.ndim != 2 or len(before) < settings.k:
        raise InterpError(
            f"a crosscoder needs activations of the same tokens in both models, at least {settings.k}; not "
            f"{tuple(before.shape)} and {tuple(after.shape)}."
        )
    x = torch.stack([before, after], 1).float()
    one = Crosscoder(x.shape[-1], settings)
    one.scale.copy_((x - x.mean(0)).pow(2).mean().sqrt().clamp_min(1e-12))
    x = x / one.scale
    one.centre.data.copy_(x.mean(0))
    optimizer = torch.optim.Adam(one.parameters(), lr=settings.rate, betas=(0.9, 0.99))
    fall = max(1, settings.steps // 5)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: min(1.0, (settings.steps - step) / fall))
    generator = torch.Generator().manual_seed(settings.seed)
    asleep = torch.zeros(settings.latents)
    for step in range(settings.steps):
        on_step(step)
        some = x[torch.randint(len(x), (min(settings.batch, len(x)),), generator=generator)]
        f = one.activations(some)
        kept, smallest = batch_top_k(f, one.weighed(f), settings.k)
        error = some - one.decode(kept)
        loss = error.pow(2).sum(-1).mean()
        asleep = torch.where((kept > 0).any(0), 0.0, asleep + 1)
        dead = asleep > DEAD_AFTER
        if settings.auxiliary and dead.any():
            spare = one.activations(some) * dead
            chosen, _ = batch_top_k(spare, one.weighed(spare), min(settings.auxiliary_k, int(dead.sum())))
            left = error.detach() - torch.einsum("bl,mld->bmd", chosen, one.decoder)
            loss = loss + settings.auxiliary * left.pow(2).sum(-1).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            one.threshold.lerp_(smallest, 1.0 if step == 0 else 0.02)
    return one.requires_grad_(False)


def batch_top_k(f: Tensor, weighed: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Keep the k * B largest of a batch, by ``weighed``; return what is kept and the smallest of them."""
    flat = weighed.detach().flatten()
    count = min(k * f.shape[0], len(flat))
    smallest = flat.topk(count).values[-1].clamp_min(1e-12)
    return f * (weighed.detach() >= smallest), smallest


@dataclass(frozen=True, slots=True, eq=False)
class Latents:
    """What each latent is; n latents.

    Attributes:
        norms: [n, 2] of the decoders before and after.
        error, reconstruction: [n] beta before / beta after, on the models' errors and reconstructions.
        density: [n] share of the activations in which it is active.
        verdicts: One each.
        explained: [2] share of the variance that is explained, by model.
    """

    norms: Tensor
    error: Tensor
    reconstruction: Tensor
    density: Tensor
    verdicts: tuple[Verdict, ...]
    explained: tuple[float, float]

    def of(self, verdict: Verdict) -> list[int]:
        """Return the latents of a verdict."""
        return [index for index, one in enumerate(self.verdicts) if one == verdict]

    def as_json(self) -> dict[str, Any]:
        """Return counts, and numbers of the latents of one model only."""
        counts = {one: self.verdicts.count(one) for one in ("shared", "new", "lost", "unclear", "dead")}
        chosen = self.of("new") + self.of("lost")
        return {
            "counts": counts,
            "explained": list(self.explained),
            "one_sided": [
                {
                    "latent": j, "verdict": self.verdicts[j], "density": float(self.density[j]),
                    "error_ratio": float(self.error[j]), "reconstruction_ratio": float(self.reconstruction[j]),
                    "norm_before": float(self.norms[j, 0]), "norm_after": float(self.norms[j, 1]),
                }
                for j in chosen
            ],
        }  # fmt: skip


def scaling(one: Crosscoder, before: Tensor, after: Tensor, *, chunk: int = 4096) -> Latents:
    """Measure latents on activations [N, D], best such as training did not see; see the module's text."""
    x = torch.stack([before, after], 1).float()
    n = one.decoder.shape[1]
    norms = one.decoder.norm(dim=-1)  # [2, n]
    longer = norms.argmax(0)
    d = one.decoder[longer, torch.arange(n)]  # [n, D]
    square = torch.zeros(n)
    count = torch.zeros(n)
    onto: dict[str, Tensor] = {name: torch.zeros(2, n) for name in ("error", "reconstruction")}
    left, whole = torch.zeros(2), torch.zeros(2)
    centre = x.mean(0) / one.scale
    for part in x.split(chunk):
        f = one.encode(part)
        part = part / one.scale
        made = one.decode(f)
        error = part - made
        square += f.pow(2).sum(0)
        count += (f > 0).sum(0)
        onto["error"] += torch.einsum("bl,bmd,ld->ml", f, error, d)
        onto["reconstruction"] += torch.einsum("bl,bmd,ld->ml", f, made - one.centre, d)
        left += error.pow(2).sum((0, 2))
        whole += (part - centre).pow(2).sum((0, 2))
    scale = square * d.pow(2).sum(-1)
    own = torch.einsum("mld,ld->ml", one.decoder, d) * square  # the latent's own part in the reconstruction
    # what others reconstruct in its place is taken off the reconstruction, and its own part is put back on the error
    betas = {
        "error": (onto["error"] + own) / scale.clamp_min(1e-12),
        "reconstruction": onto["reconstruction"] / scale.clamp_min(1e-12),
    }
    ratios = {name: _ratio(beta) for name, beta in betas.items()}
    alive = count > 0
    verdicts = tuple(
        _verdict(bool(alive[j]), float(ratios["error"][j]), float(ratios["reconstruction"][j])) for j in range(n)
    )
    shares = (1 - left / whole.clamp_min(1e-12)).tolist()
    return Latents(norms.T, ratios["error"], ratios["reconstruction"], count / len(x), verdicts, (shares[0], shares[1]))


def _ratio(beta: Tensor) -> Tensor:
    before, after = beta.clamp_min(0)
    return before / after.clamp_min(1e-6)


def _verdict(alive: bool, error: float, reconstruction: float) -> Verdict:
    if not alive:
        return "dead"
    if error < ONE_SIDED and reconstruction < ONE_SIDED:
        return "new"
    if error > 1 / ONE_SIDED and reconstruction > 1 / ONE_SIDED:
        return "lost"
    if all(SAME[0] <= one <= SAME[1] for one in (error, reconstruction)):
        return "shared"
    return "unclear"
