"""Teaching a base to think aloud: an adapter from traces of known structure, of which only the reply is learnt.

The loop is `palaestra.interp.teaching`.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from palaestra.agents.models.cache import Say, say_to_stderr
from palaestra.agents.models.sources import LoadedModel
from palaestra.agents.tokens import TextCodec
from palaestra.interp import teaching
from palaestra.interp.reasoning.problems import Setting, problems, setting


@dataclass(frozen=True, slots=True, kw_only=True)
class TeachingPlan(teaching.Plan):
    """How the adapter is made.

    Attributes:
        setting: Whose problems.
    """

    setting: str = "sums"
    steps: int = 90
    batch: int = 8
    rate: float = 1e-3

    def __post_init__(self) -> None:
        super(TeachingPlan, self).__post_init__()
        setting(self.setting)


def teach(loaded: LoadedModel, plan: TeachingPlan, out: Path, say: Say = say_to_stderr) -> dict[str, Any]:
    """Teach a base, without an adapter; see `palaestra.interp.teaching.teach`."""
    chosen = setting(plan.setting)
    return teaching.teach(
        loaded, plan, lambda model, step: loss_of(model, loaded.codec, chosen, plan, step), out,
        lesson={"taught": f"reasoning: {plan.setting}"}, say=say,
    )  # fmt: skip


def loss_of(model: Any, codec: TextCodec, chosen: Setting, plan: TeachingPlan, step: int) -> Tensor:
    """Return the mean loss of the replies' tokens, in nats, on a step's problems."""
    rows, begins = [], []
    for one in problems(chosen, plan.batch, plan.seed, f"step {step}"):
        asked = [*codec.chat_open(), *codec.user_turn(one.text)]
        begins.append(len(asked))
        rows.append([*asked, *codec.encode_untrusted(one.reply), codec.stop_ids[0]])
    longest = max(map(len, rows))
    device = next(model.parameters()).device
    # filled up on the right, where a causal model's earlier places do not see it
    ids = torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in rows], device=device)
    labels = torch.full_like(ids, -100)
    for number, (row, begin) in enumerate(zip(rows, begins, strict=True)):
        labels[number, begin : len(row)] = ids[number, begin : len(row)]
    first = min(begins) - 1
    logits = model(input_ids=ids, use_cache=False, logits_to_keep=longest - first).logits[:, :-1].float()
    return torch.nn.functional.cross_entropy(logits.flatten(0, 1), labels[:, first + 1 :].flatten())
