"""Teaching yes or no: an adapter that answers questions about numbers, so that there is a mechanism to find.

The loss is that of one token a problem, the first token of the answer, on freshly generated problems; accuracy is
measured on held-out numbers. The loop is `palaestra.interp.teaching`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palaestra.agents.models.cache import Say, say_to_stderr
from palaestra.agents.models.sources import LoadedModel
from palaestra.envs.errors import OptionError
from palaestra.envs.seeding import derive
from palaestra.interp import teaching
from palaestra.interp.arithmetic.problems import KINDS, STYLES, encode, generate
from palaestra.trainers.summary import Estimate, wilson


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachingPlan(teaching.Plan):
    """How the adapter is made.

    Attributes:
        kinds: Names of the kinds of problem. style: Their wording.
        dtype: Of the frozen base; the matrices are always float32.
        judged: Held-out problems of each kind for the accuracies.
    """

    kinds: tuple[str, ...] = tuple(KINDS)
    style: str = "plain"
    steps: int = 400
    batch: int = 16
    rate: float = 1e-3
    dtype: str = "float32"
    judged: int = 200

    def __post_init__(self) -> None:
        super(TeachingPlan, self).__post_init__()
        if self.style not in STYLES:
            raise OptionError(f"style {self.style!r} is unknown; it is one of {', '.join(STYLES)}.")
        if self.judged < 1:
            raise OptionError(f"judged is {self.judged}; it must be at least 1.")


@dataclass(frozen=True, slots=True)
class Judged:
    """Accuracy on problems with held-out numbers.

    Attributes:
        accuracy: By kind, and over all under ``"all"``: the answer of the two with the higher logit, with Wilson's 95 %
            interval.
        yes: Part of the problems that were answered by yes; half of them should be.
        answered: Part where one of the two answers is the likeliest token of all.
    """

    accuracy: dict[str, Estimate]
    yes: float
    answered: float

    def to_json(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "accuracy": {name: asdict(one) for name, one in self.accuracy.items()},
            "yes": self.yes,
            "answered": self.answered,
        }

    def __str__(self) -> str:
        parts = [f"{name} {100 * one.mean:.1f} %" for name, one in self.accuracy.items()]
        return f"right on held-out numbers: {', '.join(parts)}"


def last_logits(model: Any, ids: Sequence[Sequence[int]], pad: int) -> Tensor:
    """Return float32[B, V]: the logits after the last token of each row. Rows are padded on the left."""
    batch, mask, positions = _padded(ids, pad, next(model.parameters()).device)
    logits = model(input_ids=batch, attention_mask=mask, position_ids=positions, use_cache=False, logits_to_keep=1)
    return logits.logits[:, -1].float()


def _padded(ids: Sequence[Sequence[int]], pad: int, device: Any) -> tuple[Tensor, Tensor, Tensor]:
    length = max(map(len, ids))
    batch = torch.full((len(ids), length), pad)
    mask = torch.zeros(len(ids), length, dtype=torch.long)
    for row, one in enumerate(ids):
        batch[row, length - len(one) :] = torch.tensor(list(one))
        mask[row, length - len(one) :] = 1
    positions = (mask.cumsum(1) - 1).clamp(min=0)
    return batch.to(device), mask.to(device), positions.to(device)


@torch.no_grad()
def judge(model: Any, tokenizer: Any, kinds: Sequence[str], style: str, count: int, seed: int, batch: int) -> Judged:
    """Ask ``count`` held-out problems of each kind."""
    problems = generate(kinds, style, derive(seed, "judged"), count * len(kinds), held=True)
    coded = encode(problems, tokenizer)
    right: dict[str, list[bool]] = {name: [] for name in kinds}
    yes = answered = 0
    for low in range(0, len(problems), batch):
        logits = last_logits(model, coded.ids[low : low + batch], coded.ids[0][0])
        says_yes = logits[:, coded.yes] > logits[:, coded.no]
        best = logits.argmax(1)
        answered += int(((best == coded.yes) | (best == coded.no)).sum())
        yes += int(says_yes.sum())
        for one, said in zip(problems[low : low + batch], says_yes.tolist(), strict=True):
            right[one.kind].append(said == (one.margin > 0))
    accuracy = {name: wilson(sum(found), len(found)) for name, found in right.items()}
    accuracy["all"] = wilson(sum(map(sum, right.values())), len(problems))
    return Judged(accuracy, yes / len(problems), answered / len(problems))


def teach(
    loaded: LoadedModel, tokenizer: Any, plan: TeachingPlan, out: Path, say: Say = say_to_stderr, name: str = ""
) -> dict[str, Any]:
    """Teach a base, without an adapter and with a fast tokenizer; see `palaestra.interp.teaching.teach`."""

    def measure(model: Any) -> Judged:
        return judge(model, tokenizer, plan.kinds, plan.style, plan.judged, plan.seed, max(plan.batch, 64))

    lesson = {"taught": "arithmetic", "kinds": plan.kinds, "style": plan.style}
    return teaching.teach(
        loaded, plan, lambda model, step: loss_of(model, tokenizer, plan, step), out,
        lesson=lesson, measure=measure, say=say, name=name,
    )  # fmt: skip


def loss_of(model: Any, tokenizer: Any, plan: TeachingPlan, step: int) -> Tensor:
    """Return the mean loss of the answers' first tokens, in nats, on a step's problems."""
    problems = generate(plan.kinds, plan.style, derive(plan.seed, "step", step), plan.batch, held=False)
    coded = encode(problems, tokenizer)
    logits = last_logits(model, coded.ids, coded.ids[0][0])
    right = torch.tensor([coded.yes if one.margin > 0 else coded.no for one in problems], device=logits.device)
    return torch.nn.functional.cross_entropy(logits, right)
