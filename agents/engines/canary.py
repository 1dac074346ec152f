"""A canary proves that an engine serves the adapter that a policy's name stands for.

"The engine silently served the base model" is the most repeated fault of training systems with separate engines: an
adapter that is not loaded, not scaled or not applied still gives fluent text. So after `add_policy` a fixed prompt is
scored by the engine, and compared with the same model and adapter under plain PEFT, and with the base.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch

from palaestra.agents.engines.base import AdapterError, Engine
from palaestra.agents.thinking import Thinking, thinking_of


def plain_score(model: Any, tokens: Sequence[int], thinking: Thinking | None = None) -> list[float]:
    """log p(tokens[i] | tokens[:i]) for i >= 1, by one forward pass of a transformers or PEFT model as it stands.

    Args:
        model: Whose extended rows count only with ``thinking``: without it, it says what its base does.
        tokens: Any.
        thinking: Where an adapter that is active has its thinking tokens.
    """
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        ids = torch.tensor([list(tokens)], device=model.device)
        with torch.inference_mode():
            logits = model(input_ids=ids).logits[0, :-1].float()
            if thinking is not None:
                room = torch.tensor([run < thinking.most for run in thinking.runs(tokens)[:-1]], device=model.device)
                logprobs = thinking.joint(logits, room)
            else:
                extended = thinking_of(model)
                logprobs = logits[:, : extended.real if extended else None].log_softmax(-1)
        scores: list[float] = logprobs.gather(-1, ids[0, 1:, None])[:, 0].tolist()
    finally:
        for module in training:  # each its own: a frozen base is not in training mode, its adapters are
            module.training = True
    return scores


async def canary(
    engine: Engine,
    policy: str,
    tokens: Sequence[int],
    expected: Sequence[float],
    *,
    base: Sequence[float] | None = None,
    tolerance: float | None = None,
) -> None:
    """Check that `engine` computes `policy` as plain PEFT does.

    Args:
        engine: Serves `policy`.
        policy: The version under test.
        tokens: Any fixed prompt; a dozen tokens will do.
        expected: `plain_score` of the model with the adapter.
        base: `plain_score` of the model without it, by which the adapter's effect is told from rounding between
            engine and model (in bfloat16 larger than the effect of a young adapter); None: the engine's answer.
        tolerance: Largest allowed mean difference of log-probabilities; by default what the engine states.

    Raises:
        AdapterError: The scores differ; the message says whether they are the base's.
    """
    allowed = engine.capabilities.logprob_tolerance if tolerance is None else tolerance
    served = await engine.score(tokens, policy=policy)
    served_base = await engine.score(tokens)
    error = _distance(served, expected)
    effect = _distance(served_base if base is None else base, expected)
    # A young adapter moves less than the tolerance: then its effect is the yardstick, as far as rounding lets it.
    as_base = effect > allowed / 20 and error > effect / 2 and _distance(served, served_base) < effect / 2
    if as_base:
        raise AdapterError(
            f"the engine serves {policy!r} but its canary answered as the base model, {error:.2g} from the adapter's "
            "log-probabilities; the adapter was ignored: add it again, or restart the engine with LoRA enabled."
        )
    if error > allowed:
        raise AdapterError(
            f"the engine serves {policy!r} but its canary is {error:.2g} from the adapter's log-probabilities "
            f"(allowed {allowed:.2g}); base and adapter do not belong together: add the adapter of this base."
        )


def _distance(first: Sequence[float], second: Sequence[float]) -> float:
    if len(first) != len(second):
        raise ValueError(f"the canary has {len(first)} scores, but {len(second)} are expected.")
    # The mean, because in bfloat16 a single unlikely token may be far off without anything being wrong.
    return sum(abs(a - b) for a, b in zip(first, second, strict=True)) / max(1, len(first))
