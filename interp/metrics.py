"""What is attributed: a number for each prompt, made of the logits where it ends."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from palaestra.interp.prompts import Prompts

Metric = Callable[[Tensor, Prompts], Tensor]
"""From logits [B, T, V] and the prompts to [B]; prompts may not depend on each other."""


def logit_difference(logits: Tensor, prompts: Prompts) -> Tensor:
    """Return the mean logit of the answers minus that of the foils, or of all tokens where there are no foils: [B]."""
    end = prompts.at_end(logits)
    against = end.gather(1, prompts.foils.to(end.device)) if prompts.foils.shape[1] else end
    return end.gather(1, prompts.answers.to(end.device)).mean(1) - against.mean(1)


def log_probability(logits: Tensor, prompts: Prompts) -> Tensor:
    """Return the log-probability, in nats, that the next token is one of the answers: [B]."""
    end = prompts.at_end(logits).log_softmax(-1)
    return end.gather(1, prompts.answers.to(end.device)).logsumexp(1)
