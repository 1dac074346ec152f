"""Thinking tokens side by side: rows of input and output embeddings that belong to one policy of a step.

The engine's model has real tokens only. A policy with thinking tokens brings K + 1 rows for the input and K + 1 for the
output (`palaestra.agents.thinking`); in its tokens of a step they stand after the real rows, as if the model had been
extended for it alone. So policies with other thinking tokens, or none, share a batch, and a step without any of these
computes what it would without this module.

Shapes: N tokens of a step, S of them with logits, V real rows, d the width of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from peft import LoraConfig
from torch.nn.functional import linear

from palaestra.agents.engines.attention import Plan
from palaestra.agents.thinking import MARK, Thinking, thinking_of

_DELTA = ".token_adapter.trainable_tokens_delta"
_PREFIX = "base_model.model."


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of one policy.

    Attributes:
        thinking: What they mean.
        inputs: [K + 1, d]; the last, the gate's, is never read.
        outputs: [K + 1, d].
    """

    thinking: Thinking
    inputs: torch.Tensor
    outputs: torch.Tensor


def split(
    model: Any, config: LoraConfig, tensors: Mapping[str, torch.Tensor], thinking: Thinking
) -> tuple[dict[str, torch.Tensor], Rows]:
    """Take the rows out of an adapter.

    Args:
        model: The base, with V rows.
        config: The adapter's; left without rows.
        tensors: The adapter's, named as PEFT names them.
        thinking: What the adapter says of its rows.

    Returns:
        The other tensors, and the rows in the type of the base's.

    Raises:
        ValueError: The rows are not those of ``thinking`` on this base, or the base's own are not plain ones.
    """
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    real = int(embedding.weight.shape[0])
    if thinking.real != real:
        raise ValueError(f"its thinking tokens stand after {thinking.real} real ones, the base has {real}.")
    if not isinstance(embedding, torch.nn.Embedding) or not isinstance(head, torch.nn.Linear) or head.bias is not None:
        raise ValueError("thinking tokens need a plain table of embeddings and a head without a bias.")
    names = {module: path for path, module in model.named_modules()}
    found = {key: tensor for key, tensor in tensors.items() if key.endswith(_DELTA)}
    inputs = found.pop(f"{_PREFIX}{names[embedding]}{_DELTA}", None)
    outputs = found.pop(f"{_PREFIX}{names[head]}{_DELTA}", inputs if head.weight is embedding.weight else None)
    if inputs is None or outputs is None or found:
        raise ValueError("it must bring rows for the embeddings and, where that is a table of its own, for the head.")
    due = (thinking.kinds + 1, embedding.weight.shape[1])
    if tuple(inputs.shape) != due or tuple(outputs.shape) != due:
        raise ValueError(f"its rows have shapes {tuple(inputs.shape)} and {tuple(outputs.shape)}, not {due}.")
    config.trainable_token_indices = None
    rest = {key: tensor for key, tensor in tensors.items() if not key.endswith(_DELTA)}
    return rest, Rows(thinking, inputs.detach().to(embedding.weight), outputs.detach().to(head.weight))


def strip(model: Any) -> None:
    """Leave only the real rows of a model that was extended, in place; real rows stay where they are in memory."""
    thinking = thinking_of(model)
    if thinking is None:
        return
    embedding, head = model.get_input_embeddings(), model.get_output_embeddings()
    tied = head.weight is embedding.weight
    embedding.weight = torch.nn.Parameter(embedding.weight[: thinking.real], requires_grad=False)
    head.weight = embedding.weight if tied else torch.nn.Parameter(head.weight[: thinking.real], requires_grad=False)
    if head.bias is not None:
        head.bias = torch.nn.Parameter(head.bias[: thinking.real], requires_grad=False)
    embedding.num_embeddings = head.out_features = thinking.real
    model.config.get_text_config().vocab_size = thinking.real
    delattr(model.config, MARK)


class Thoughts:
    """The rows of all policies, at the two ends of the engine's model.

    Args:
        model: The engine's own tree; its ends get hooks with the first rows.

    Attributes:
        rows: By policy.
    """

    def __init__(self, model: Any) -> None:
        self.rows: dict[str, Rows] = {}
        self._model = model
        self._hooked = False
        self._ids = torch.empty(0, dtype=torch.long)
        self._inputs: list[tuple[torch.Tensor, Rows]] = []
        self._outputs: list[tuple[torch.Tensor, Rows]] = []

    def add(self, policy: str, rows: Rows) -> None:
        """Serve the rows of a policy."""
        self.rows[policy] = rows
        if not self._hooked:
            embedding = self._model.get_input_embeddings()
            embedding.register_forward_pre_hook(self._only_real)
            embedding.register_forward_hook(self._embed)
            self._model.get_output_embeddings().register_forward_hook(self._extend)
            self._hooked = True

    def set(self, policies: list[str], plan: Plan) -> None:
        """Sort the tokens of a step, by the names of their N policies."""
        self._inputs, self._outputs, self._ids = [], [], plan.ids
        here = [name for name in dict.fromkeys(policies) if name in self.rows] if self.rows else []
        if not here:
            return
        select = plan.select.tolist()
        for name in here:
            rows = self.rows[name]
            tokens = torch.tensor([at for at, own in enumerate(policies) if own == name], device=plan.ids.device)
            thoughts = tokens[plan.ids[tokens] >= rows.thinking.real]
            self._inputs.append((thoughts, rows))
            chosen = [at for at, token in enumerate(select) if policies[token] == name]
            self._outputs.append((torch.tensor(chosen, dtype=torch.long, device=plan.ids.device), rows))

    def _only_real(self, embedding: Any, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if not self._inputs:
            return None
        return (args[0].clamp(max=embedding.weight.shape[0] - 1), *args[1:])

    def _embed(self, embedding: Any, args: Any, output: torch.Tensor) -> torch.Tensor | None:
        """Put the rows of thinking tokens in place; ``output`` is [N, 1, d]."""
        for tokens, rows in self._inputs:
            found = rows.inputs[self._ids[tokens] - rows.thinking.real]
            scale = getattr(embedding, "embed_scale", None)  # Gemma's tables scale what they give
            if scale is not None:
                found = found * torch.as_tensor(scale, dtype=found.dtype, device=found.device)
            output[tokens, 0] = found.to(output.dtype)
        return output if self._inputs else None

    def _extend(self, head: Any, args: tuple[torch.Tensor, ...], output: torch.Tensor) -> torch.Tensor | None:
        """Append the logits of thinking tokens and gates, [S, 1, V] to [S, 1, V + most of them]; others' are 0."""
        if not self._outputs:
            return None
        width = max(rows.thinking.kinds + 1 for _, rows in self._outputs)
        more = output.new_zeros((*output.shape[:-1], width))
        for chosen, rows in self._outputs:
            more[chosen, :, : rows.thinking.kinds + 1] = linear(args[0][chosen], rows.outputs).to(output.dtype)
        return torch.cat([output, more], -1)
