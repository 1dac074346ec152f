"""The token loss: weights in, one number out; it knows streams and denominators, and no algorithm names.

Words. Shapes are [B rows, T tokens]. Log-probabilities are aligned with tokens: ``logprobs[b, t]`` is that of
``tokens[b, t]`` given the tokens before it, so column 0 is always 0 and no member. *Behaviour* log-probabilities were
stored when the token was sampled. r = exp(new - behaviour) is the ratio, A the ``pg`` weight, c the ``kl`` weight, w
the ``ce`` weight. Per token:

    pg       -min(min(r, dual_clip) A, clamp(r, 1 - clip_low, 1 + clip_high) A)
    kl       c (exp(d) - d - 1), d = reference - new
    ce       -w new
    entropy  -entropy_weight H, over the members of pg

Sources: clipping, Schulman et al. (2017), arXiv 1707.06347; dual clip, Ye et al. (2020), arXiv 1912.09729; the KL
estimate is "k3" of Schulman's note "Approximating KL divergence" (2020).

Each stream is then summed and divided by its own denominator: ``tokens`` (members in the batch), ``rows`` (mean over
rows of the mean over a row's members) or ``constant`` (rows times ``max_length``). With A and c on the same members,
these are the losses that TRL calls bnpo, grpo and dr_grpo. A row without members does not count as a row.

Invariants, each with a test: denominators come from `Counts` of the *whole* batch, so the gradients of micro-batches
add up to the gradient of the batch, however it is split; metrics add up in the same way; a token that is no member of
any stream has no influence at all.

With data parallelism add the `Counts` of all learners, and multiply the loss by their number if gradients are averaged.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from palaestra.envs.errors import PalaestraError
from palaestra.trainers.rows import STREAMS, Row

Denominator = Literal["tokens", "rows", "constant"]

# Far outside every clip range; beyond it exp would overflow float32, and one token would turn the gradient into NaN.
LARGEST_LOG_RATIO = 20.0


class LossError(PalaestraError, ValueError):
    """Settings or a batch from which the loss cannot be computed."""


@dataclass(frozen=True)
class LossSettings:
    """How weights become a loss; formulas stand in the module docstring.

    Attributes:
        clip_low, clip_high: Width of the clip range below and above a ratio of 1.
        dual_clip: Largest ratio that counts, above ``1 + clip_high``; it bounds the loss of tokens with negative
            advantage. None: no bound.
        pg, ce, kl: Denominator of each stream.
        max_length: The constant of the ``constant`` denominator, in tokens.
        entropy_weight: Coefficient of the entropy bonus.
        kl_estimator: ``k3`` (never negative; its gradient is that of KL(reference || new)) or ``k2`` (half the squared
            log ratio; its gradient is that of KL(new || reference)), both in expectation over tokens sampled from the
            new policy.
    """

    clip_low: float = 0.2
    clip_high: float = 0.2
    dual_clip: float | None = None
    pg: Denominator = "tokens"
    ce: Denominator = "tokens"
    kl: Denominator = "tokens"
    max_length: int | None = None
    entropy_weight: float = 0.0
    kl_estimator: Literal["k3", "k2"] = "k3"

    def __post_init__(self) -> None:
        if not 0 <= self.clip_low <= 1 or self.clip_high < 0:
            raise LossError(
                f"clip_low {self.clip_low} must lie in [0, 1] and clip_high {self.clip_high} must not be negative"
            )
        if self.dual_clip is not None and self.dual_clip <= 1 + self.clip_high:
            raise LossError(
                f"dual_clip {self.dual_clip} must be above {1 + self.clip_high:g} (1 + clip_high); raise it or use null"
            )
        for name in STREAMS:
            if (kind := getattr(self, name)) not in ("tokens", "rows", "constant"):
                raise LossError(f"denominator {kind!r} of stream {name} is unknown; use 'tokens', 'rows' or 'constant'")
            if kind == "constant" and not self.max_length:
                raise LossError(f"denominator 'constant' of stream {name} needs max_length; give it in tokens")


@dataclass(frozen=True)
class Counts:
    """Members and rows with members, per stream. Counts of parts of a batch add up to the counts of the batch."""

    tokens: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STREAMS, 0))
    rows: dict[str, int] = field(default_factory=lambda: dict.fromkeys(STREAMS, 0))

    @classmethod
    def of(cls, rows: Iterable[Row]) -> Counts:
        """Count rows."""
        counts = cls()
        for row in rows:
            for name, stream in row.streams.items():
                members = int(stream.member.sum())
                counts.tokens[name] += members
                counts.rows[name] += members > 0
        return counts

    def __add__(self, other: Counts) -> Counts:
        return Counts(
            {name: self.tokens[name] + other.tokens[name] for name in STREAMS},
            {name: self.rows[name] + other.rows[name] for name in STREAMS},
        )


@dataclass
class TokenBatch:
    """Rows as tensors of shape [B, T], padded on the right.

    Attributes:
        tokens: int64. attention: bool, false on padding. behaviour: float, 0 where not sampled.
        weight, member: By stream name from `STREAMS`: float and bool.
        reference: float, log-probabilities under the frozen reference; needed if a ``kl`` weight is not 0.
    """

    tokens: Tensor
    attention: Tensor
    behaviour: Tensor
    weight: dict[str, Tensor]
    member: dict[str, Tensor]
    reference: Tensor | None = None

    @classmethod
    def from_rows(cls, rows: Sequence[Row], *, pad_id: int = 0, device: torch.device | str | None = None) -> TokenBatch:
        """Pad rows to the longest of them."""
        longest = max(len(row) for row in rows)

        def padded(arrays: Iterable[np.ndarray | None], fill: float, dtype: type) -> Tensor:
            out: np.ndarray = np.full((len(rows), longest), fill, dtype)
            for line, array in zip(out, arrays, strict=True):
                if array is not None:
                    line[: len(array)] = array
            return torch.from_numpy(out).to(device)

        streams = {name: [row.streams.get(name) for row in rows] for name in STREAMS}
        return cls(
            tokens=padded((row.tokens for row in rows), pad_id, np.int64),
            attention=padded((np.ones(len(row), np.bool_) for row in rows), False, np.bool_),
            behaviour=padded((row.logprobs for row in rows), 0.0, np.float32),
            weight={
                name: padded((None if one is None else one.weight for one in of), 0.0, np.float32)
                for name, of in streams.items()
            },
            member={
                name: padded((None if one is None else one.member for one in of), False, np.bool_)
                for name, of in streams.items()
            },
        )

    @property
    def scored(self) -> Tensor:
        """Return bool[B, T]: the tokens whose log-probability any stream needs."""
        return self.member["pg"] | self.member["ce"] | self.member["kl"]

    def once(self) -> tuple[TokenBatch, Tensor]:
        """Return the batch with rows of the same tokens only once, and for each row its place in it, int64[B].

        In small games most rows of a batch say what another says, and the model's pass is nearly all the work. The
        result has the members that any of the copies has, and no weights.
        """
        shown = torch.where(self.attention, self.tokens, -1)
        distinct, place = torch.unique(shown, dim=0, return_inverse=True)
        attention = distinct >= 0
        member = {
            name: torch.zeros(distinct.shape, device=shown.device).index_add(0, place, member.float()) > 0
            for name, member in self.member.items()
        }
        blank = torch.zeros(distinct.shape, device=shown.device)
        return TokenBatch(distinct.clamp(min=0), attention, blank, {}, member), place

    def counts(self) -> Counts:
        """Count members; equal to `Counts.of` the rows."""
        return Counts(
            {name: int(self.member[name].sum()) for name in STREAMS},
            {name: int(self.member[name].any(-1).sum()) for name in STREAMS},
        )


def score(
    logits: Tensor, targets: Tensor, temperature: float = 1.0, *, entropy_grad: bool = False
) -> tuple[Tensor, Tensor]:
    """Return the log-probability of ``targets`` [...] and the entropy [...], in nats, under ``logits`` [..., V] /
    temperature.

    Half-precision logits are raised to float32 first: a ratio of two bfloat16 log-probabilities is mostly rounding.
    """
    if temperature <= 0:
        raise LossError(
            f"temperature {temperature} must be positive; the sampler's greedy 0 has no log-probabilities to learn from"
        )
    if logits.dtype in (torch.float16, torch.bfloat16):
        logits = logits.float()
    everything = torch.log_softmax(logits / temperature, dim=-1)
    chosen = everything.gather(-1, targets.unsqueeze(-1)).squeeze(-1)
    with torch.set_grad_enabled(entropy_grad and torch.is_grad_enabled()):
        entropy = -(everything.exp() * everything).sum(-1)
    return chosen, entropy


def score_rows(
    logits: Tensor, tokens: Tensor, temperature: float = 1.0, *, entropy_grad: bool = False
) -> tuple[Tensor, Tensor]:
    """Return log-probabilities and entropies [B, T], aligned with ``tokens``, from a model's ``logits`` [B, T, V]."""
    chosen, entropy = score(logits[:, :-1], tokens[:, 1:], temperature, entropy_grad=entropy_grad)
    return torch.nn.functional.pad(chosen, (1, 0)), torch.nn.functional.pad(entropy, (1, 0))


def score_hidden(
    hidden: Tensor,
    head: Callable[[Tensor], Tensor],
    batch: TokenBatch,
    temperature: float = 1.0,
    *,
    entropy_grad: bool = False,
) -> tuple[Tensor, Tensor]:
    """Do as `score_rows`, but apply the output ``head`` only where a stream needs it; elsewhere the result is 0.

    In games most tokens are observed, and with a large vocabulary the head is a good part of a small model.

    Args:
        hidden: [B, T, H], last hidden states.
        head: From [N, H] to logits [N, V].
    """
    needed = batch.scored[:, 1:]
    chosen, entropy = score(
        head(hidden[:, :-1][needed]), batch.tokens[:, 1:][needed], temperature, entropy_grad=entropy_grad
    )
    row, column = needed.nonzero(as_tuple=True)
    blank = torch.zeros(batch.tokens.shape, dtype=chosen.dtype, device=chosen.device)
    place = (row, column + 1)
    return blank.index_put(place, chosen), blank.index_put(place, entropy)


def token_loss(
    logprobs: Tensor,
    batch: TokenBatch,
    counts: Counts,
    settings: LossSettings,
    *,
    entropy: Tensor | None = None,
    predicted: Tensor | None = None,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the loss of a micro-batch and its metrics.

    Args:
        logprobs: [B, T] under the policy that is trained, aligned with tokens, at the temperature of sampling.
        batch: The micro-batch; its behaviour and reference log-probabilities are at the same temperature.
        counts: Of the whole batch that one optimizer step sees, not of this micro-batch.
        settings: Clip range and denominators.
        entropy: [B, T] from `score_rows`; needed, with gradient, if ``entropy_weight`` is not 0.
        predicted: [B, T], the log-probabilities that ``ce`` is about, where they are not ``logprobs``: in rows with
            scores the latter are those of decisions.

    Returns:
        The loss, and metrics without gradient. Losses and metrics of micro-batches are *added* to give those of the
        batch: ``loss/pg``, ``loss/ce``, ``loss/kl``, ``clip_low`` and ``clip_high`` (share of ``pg`` members where the
        clip stopped the gradient), ``kl_old`` (k3 of behaviour to new), ``kl_reference`` (k3), ``entropy``, and
        ``tokens``, the number of ``pg`` members.

    Raises:
        LossError: The reference or the entropy is needed and missing.
    """
    pg, ce, kl = (batch.member[name] for name in STREAMS)
    advantage = batch.weight["pg"].to(logprobs.dtype)

    # Where not a member, the ratio is 1 whatever the model says there: no NaN can leak in through 0 * inf.
    log_ratio = torch.where(pg, logprobs - batch.behaviour, 0.0).clamp(-LARGEST_LOG_RATIO, LARGEST_LOG_RATIO)
    ratio = log_ratio.exp()
    clipped = ratio.clamp(1 - settings.clip_low, 1 + settings.clip_high)
    bounded = ratio if settings.dual_clip is None else ratio.clamp(max=settings.dual_clip)
    losses = {
        "pg": _reduce(-torch.minimum(bounded * advantage, clipped * advantage), "pg", batch, counts, settings),
        "ce": _reduce(
            -batch.weight["ce"] * torch.where(ce, logprobs if predicted is None else predicted, 0.0),
            "ce",
            batch,
            counts,
            settings,
        ),
    }

    k3_reference = torch.zeros_like(logprobs)
    if batch.reference is not None:
        gap = torch.where(kl, batch.reference - logprobs, 0.0)
        k3_reference = gap.clamp(max=LARGEST_LOG_RATIO).exp() - gap - 1
        divergence = k3_reference if settings.kl_estimator == "k3" else gap.square() / 2
        losses["kl"] = _reduce(batch.weight["kl"] * divergence, "kl", batch, counts, settings)
    elif bool(batch.weight["kl"].any()):
        raise LossError(
            "the batch has KL weights but no reference log-probabilities; score it with the adapter disabled first"
        )
    else:
        losses["kl"] = logprobs.new_zeros(())

    loss = losses["pg"] + losses["ce"] + losses["kl"]
    if settings.entropy_weight:
        if entropy is None or (torch.is_grad_enabled() and not entropy.requires_grad and logprobs.requires_grad):
            raise LossError(
                "entropy_weight is set, but no entropy with a gradient was given; score with entropy_grad=True"
            )
        loss = loss - settings.entropy_weight * _reduce(torch.where(pg, entropy, 0.0), "pg", batch, counts, settings)

    with torch.no_grad():

        def share(values: Tensor, name: str) -> Tensor:
            return (values * batch.member[name]).to(logprobs.dtype).sum() / max(counts.tokens[name], 1)

        metrics = {f"loss/{name}": value.detach() for name, value in losses.items()}
        metrics["clip_low"] = share((ratio < 1 - settings.clip_low) & (advantage < 0), "pg")
        metrics["clip_high"] = share((ratio > 1 + settings.clip_high) & (advantage > 0), "pg")
        metrics["kl_old"] = share(ratio - 1 - log_ratio, "pg")
        metrics["kl_reference"] = share(k3_reference, "kl")
        metrics["tokens"] = pg.sum()
        if entropy is not None:
            metrics["entropy"] = share(entropy, "pg")
    return loss, metrics


def _reduce(values: Tensor, name: str, batch: TokenBatch, counts: Counts, settings: LossSettings) -> Tensor:
    """Return this micro-batch's part of a stream's mean over the whole batch."""
    member = batch.member[name]
    values = values * member
    kind: Denominator = getattr(settings, name)
    rows = max(counts.rows[name], 1)
    if kind == "tokens":
        return values.sum() / max(counts.tokens[name], 1)
    if kind == "rows":
        return (values.sum(-1) / member.sum(-1).clamp(min=1)).sum() / rows
    assert settings.max_length is not None
    return values.sum() / (rows * settings.max_length)
