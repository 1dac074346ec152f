"""The engine's view of a model: its own module tree over shared weights, with any number of adapters in it.

A trainer hands over the very model it trains: in training mode, wrapped by PEFT, with its own attention. The engine
must change all three and disturb none, so it copies the tree of modules and shares every tensor: a copy costs
milliseconds and no memory, and the base exists once. PEFT layers in the given model are left out of the copy, and so
are the rows of thinking tokens; what the trainer is learning reaches the engine only as a published adapter.

When made, `Weights` compares its logits with the given model's on a few tokens, so that an architecture whose
attention is more than softmax(q k + mask) v is refused instead of being served wrongly.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft import PeftModel
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from transformers import DynamicCache, PreTrainedModel

from palaestra.agents.engines import attention
from palaestra.agents.engines.attention import Plan
from palaestra.agents.engines.base import BASE, Adapter, AdapterError, EngineError
from palaestra.agents.engines.kv import KVShape, Workspace
from palaestra.agents.engines.lora import AdapterReader, MultiLora, Routes
from palaestra.agents.engines.thoughts import Thoughts, strip
from palaestra.agents.thinking import Thinking

_PROBE = (3, 1, 4, 1, 5, 9, 2, 6)


def share(model: torch.nn.Module) -> PreTrainedModel:
    """Return an evaluation-mode copy of the module tree without PEFT layers, on the same weights."""
    base: Any = model.get_base_model() if isinstance(model, PeftModel) else model
    if any(isinstance(module, BaseTunerLayer) and module.merged for module in base.modules()):
        raise EngineError("the model has an adapter merged into its weights; call unmerge_adapter() before serving it.")
    memo: dict[int, Any] = {}
    for parameter in base.parameters():
        memo[id(parameter)] = torch.nn.Parameter(parameter.detach(), requires_grad=False)
    for buffer in base.buffers():
        memo[id(buffer)] = buffer
    tree: PreTrainedModel = copy.deepcopy(base, memo)
    wrapped: list[str] = []
    for name, module in list(tree.named_modules()):
        if wrapped and name.startswith(f"{wrapped[-1]}."):
            continue  # a wrapper's own layers went with it
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            wrapped.append(name)
            inner = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module.original_module
            _replace(tree, name, inner)
    if hasattr(tree, "peft_config"):
        del tree.peft_config
    return tree.eval()


class Weights:
    """One base model and its adapters, computing the logits of a `Plan`.

    Args:
        model: A causal language model of transformers, or a PEFT model around one. It is left as it is.

    Attributes:
        model: The engine's own tree.
        kv: What one token of context takes.
        vocab_size: V, the real tokens.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.model = share(model)
        strip(self.model)
        head = self.model.get_output_embeddings()
        if head is None:
            raise EngineError(f"{type(self.model).__name__} has no output head; give a causal language model.")
        self.vocab_size = int(head.weight.shape[0])
        self._reader = AdapterReader(share(self.model))
        self._routes = Routes([])
        self._thoughts = Thoughts(self.model)
        self._loras: dict[str, MultiLora] = {}
        self._digests: dict[str, str] = {}
        self._policies: list[str] = []
        self._select: torch.Tensor | None = None
        expected, self.kv = self._probe_given()
        self.model.set_attn_implementation(attention.NAME)
        head.register_forward_pre_hook(self._keep_selected)
        self._probe_served(expected)

    def policies(self) -> tuple[str, ...]:
        """Names that can be computed, `BASE` first."""
        return (BASE, *self._policies)

    def thinking(self, policy: str) -> Thinking | None:
        """Return where a policy's thinking tokens stand, None if it has none."""
        rows = self._thoughts.rows.get(policy)
        return None if rows is None else rows.thinking

    def forward(self, plan: Plan, workspace: Workspace, policies: list[str]) -> torch.Tensor:
        """Compute a step and return the logits [S, V] of the selected tokens; where a policy of the step has thinking
        tokens, there are as many columns more as any of these needs, of which others' rows mean nothing.

        Args:
            plan: N tokens.
            workspace: Where their contexts are, and their keys and values go.
            policies: N names.
        """
        workspace.plan, self._select = plan, plan.select
        self._routes.set(policies, plan.ids.device)
        self._thoughts.set(policies, plan)
        try:
            # The mask is a placeholder: models hand a prepared one, which has four dimensions, on as it is.
            output = self.model(
                input_ids=plan.ids[:, None],
                position_ids=plan.positions[:, None],
                attention_mask=torch.empty((1, 1, 1, 1), device=plan.ids.device),
                past_key_values=workspace,
                use_cache=True,
                plan=plan,
            )
        finally:
            workspace.plan = self._select = None
        logits: torch.Tensor = output.logits[:, 0]
        return logits

    def add(self, name: str, adapter: Adapter) -> None:
        """Load an adapter as `name`; see `Engine.add_policy`."""
        if name == BASE:
            raise AdapterError(f"{BASE!r} names the model without an adapter; give the adapter another name.")
        parts = self._reader.read(name, adapter)
        if self._digests.setdefault(name, parts.digest) != parts.digest:
            raise AdapterError(
                f"policy {name!r} already names other weights, and a name means one set of weights for ever; "
                "publish these under a new version."
            )
        if name in self._policies:
            return
        for path, pair in parts.matrices.items():
            if path not in self._loras:
                self._loras[path] = MultiLora(self.model.get_submodule(path), self._routes)
                _replace(self.model, path, self._loras[path])
            self._loras[path].pairs[name] = pair
        if parts.rows is not None:
            self._thoughts.add(name, parts.rows)
        self._policies.append(name)

    def remove(self, name: str) -> None:
        """Unload an adapter; its name stays taken by its weights."""
        self._policies.remove(name)
        self._thoughts.rows.pop(name, None)
        for layer in self._loras.values():
            layer.pairs.pop(name, None)

    def _keep_selected(self, head: torch.nn.Module, args: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        """Only some tokens need logits: of a context of hundreds just the last, and the head is a fifth of the work."""
        return None if self._select is None else (args[0][self._select], *args[1:])

    def _probe_given(self) -> tuple[torch.Tensor, KVShape]:
        """Run the model with its own attention and cache; return its logits and what a token takes."""
        ids = torch.tensor([_PROBE], device=self.model.device) % self.vocab_size
        cache = DynamicCache(config=self.model.config)
        with torch.inference_mode():
            logits = self.model(input_ids=ids, past_key_values=cache, use_cache=True).logits[0]
        kept = [
            tensor
            for layer in cache.layers
            for tensor in (getattr(layer, "keys", None), getattr(layer, "values", None))
        ]
        shapes = {(tensor.shape[1], tensor.shape[3], tensor.dtype) for tensor in kept if tensor is not None}
        if len(shapes) != 1 or any(tensor is None for tensor in kept):
            raise EngineError(f"{type(self.model).__name__} keeps another cache in each layer; serve it with vLLM.")
        (heads, size, dtype), *_ = shapes
        return logits, KVShape(len(cache.layers), heads, size, dtype, ids.device)

    def _probe_served(self, expected: torch.Tensor) -> None:
        workspace = Workspace(self.kv)
        workspace.reserve(1, len(_PROBE), 0, 0)
        ids = [token % self.vocab_size for token in _PROBE]
        # In two pieces, so that attention to what an earlier step wrote is compared as well.
        first = attention.plan([(0, ids[:5], 0)], 1, list(range(5)), self.kv.device)
        second = attention.plan([(0, ids[5:], 5)], 1, list(range(3)), self.kv.device)
        with torch.inference_mode():
            got = torch.cat([self.forward(part, workspace, [BASE] * len(part.ids)) for part in (first, second)])
        tolerance = 1e-3 if expected.dtype == torch.float32 else 0.1
        error = (got - expected).abs().max().item() / max(1.0, expected.abs().max().item())
        if not error < tolerance:
            raise EngineError(
                f"{type(self.model).__name__} computes something that this engine does not know (its logits differ by "
                f"{error:.2g} of their size); serve it with vLLM."
            )


def _replace(tree: torch.nn.Module, path: str, module: torch.nn.Module) -> None:
    parent, _, child = path.rpartition(".")
    setattr(tree.get_submodule(parent), child, module)
