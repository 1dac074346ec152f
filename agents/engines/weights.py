"""The engine's view of a model: its own module tree over shared weights, with any number of adapters in it.

A trainer hands over the very model it trains: in training mode, wrapped by PEFT, with its own attention. The engine
must change all three and disturb none, so it copies the tree of modules and shares every tensor: a copy costs
milliseconds and no memory, and the base exists once. PEFT layers in the given model are taken out of the copy; what the
trainer is learning reaches the engine only as a published adapter.

Adapters are PEFT's own: its loader, its scaling, its per-row routing (`adapter_names=[..., "__base__"]`), one name for
each token of the step. Names a user sees map to names PEFT can use as module keys, which may hold no dot.

`probe` compares the copy with the given model on a few tokens, so that an architecture whose attention is more than
softmax(q k + mask) v is refused instead of being served wrongly.
"""

from __future__ import annotations

import copy
import hashlib
import itertools
import json
import warnings
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, load_peft_weights, set_peft_model_state_dict
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from transformers import DynamicCache, PreTrainedModel

from palaestra.agents.engines import attention
from palaestra.agents.engines.attention import Plan
from palaestra.agents.engines.base import BASE, Adapter, AdapterError, EngineError
from palaestra.agents.engines.kv import KVShape, Workspace

_PROBE = (3, 1, 4, 1, 5, 9, 2, 6)
_REFUSED = ("use_dora", "modules_to_save", "trainable_token_indices", "target_parameters", "alora_invocation_tokens")


def share(model: torch.nn.Module) -> PreTrainedModel:
    """Return an evaluation-mode copy of the module tree without PEFT layers, on the same weights."""
    base = model.get_base_model() if isinstance(model, PeftModel) else model
    if any(isinstance(module, BaseTunerLayer) and module.merged for module in base.modules()):
        raise EngineError("the model has an adapter merged into its weights; call unmerge_adapter() before serving it.")
    memo: dict[int, Any] = {}
    for parameter in base.parameters():
        memo[id(parameter)] = torch.nn.Parameter(parameter.detach(), requires_grad=False)
    for buffer in base.buffers():
        memo[id(buffer)] = buffer
    tree = copy.deepcopy(base, memo)
    for name, module in list(tree.named_modules()):
        if isinstance(module, (BaseTunerLayer, AuxiliaryTrainingWrapper)):
            inner = module.get_base_layer() if isinstance(module, BaseTunerLayer) else module.original_module
            parent, _, child = name.rpartition(".")
            setattr(tree.get_submodule(parent), child, inner)
    if hasattr(tree, "peft_config"):
        del tree.peft_config
    return tree.eval()


class Weights:
    """One base model and its adapters, computing the logits of a `Plan`.

    Args:
        model: A causal language model of transformers, or a PEFT model around one. It is left as it is.

    Attributes:
        kv: What one token of context takes.
        vocab_size: Width of the logits.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        self.base = share(model)
        head = self.base.get_output_embeddings()
        if head is None:
            raise EngineError(f"{type(self.base).__name__} has no output embeddings; give a causal language model.")
        self.vocab_size = int(head.weight.shape[0])
        self._select: torch.Tensor | None = None
        self._peft: PeftModel | None = None
        self._inner: dict[str, str] = {}
        self._digests: dict[str, str] = {}
        self._numbers = itertools.count()
        expected, self.kv = self._probe_given()
        self.base.set_attn_implementation(attention.NAME)
        head.register_forward_pre_hook(self._keep_selected)
        self._probe_served(expected)

    def names(self) -> tuple[str, ...]:
        """Policies that can be computed, `BASE` first."""
        return (BASE, *self._inner)

    def forward(self, plan: Plan, workspace: Workspace, policies: list[str]) -> torch.Tensor:
        """Compute a step and return the logits [S, V] of the selected tokens.

        Args:
            plan: N tokens.
            workspace: Where their contexts are, and their keys and values go.
            policies: N names.
        """
        workspace.plan, self._select = plan, plan.select
        # The mask is a placeholder: models hand a prepared one with four dimensions on as it is.
        inputs = {
            "input_ids": plan.ids[:, None],
            "position_ids": plan.positions[:, None],
            "attention_mask": torch.empty((1, 1, 1, 1), device=plan.ids.device),
            "past_key_values": workspace,
            "use_cache": True,
            "plan": plan,
        }
        try:
            if self._peft is None or not self._inner:
                output = self.base(**inputs)
            else:
                inner = ["__base__" if name == BASE else self._inner[name] for name in policies]
                output = self._peft(**inputs, adapter_names=inner)
        finally:
            workspace.plan = self._select = None
        logits: torch.Tensor = output.logits[:, 0]
        return logits

    def add(self, name: str, adapter: Adapter) -> None:
        """Load an adapter as `name`; see `Engine.add_policy`."""
        if name == BASE:
            raise AdapterError(f"{BASE!r} names the model without an adapter; give the adapter another name.")
        config, tensors = _read(name, adapter)
        digest = _digest(config, tensors)
        if self._digests.setdefault(name, digest) != digest:
            raise AdapterError(
                f"policy {name!r} already names other weights, and a name means one set of weights for ever; "
                "publish these under a new version."
            )
        if name in self._inner:
            return
        inner = f"p{next(self._numbers)}"
        try:
            self._insert(inner, config, tensors)
        except Exception as error:
            self._delete(inner)
            del self._digests[name]
            raise AdapterError(f"adapter {name!r} does not fit {type(self.base).__name__}: {_first(error)}") from error
        self._inner[name] = inner

    def remove(self, name: str) -> None:
        """Unload an adapter; its name stays taken by its weights."""
        self._delete(self._inner.pop(name))

    def _insert(self, inner: str, config: LoraConfig, tensors: dict[str, torch.Tensor]) -> None:
        if self._peft is None:
            self._peft = PeftModel(self.base, config, adapter_name=inner)
        else:
            self._peft.add_adapter(inner, config)
        self._peft.eval().requires_grad_(False)
        result = set_peft_model_state_dict(self._peft, tensors, adapter_name=inner)
        missing = [key for key in result.missing_keys if f".{inner}." in key or key.endswith(f".{inner}")]
        if result.unexpected_keys or missing:
            key = (result.unexpected_keys or missing)[0]
            raise ValueError(f"{'it has no tensor' if missing else 'the base has no layer'} for {key!r}.")

    def _delete(self, inner: str) -> None:
        if self._peft is not None and inner in self._peft.peft_config:
            with warnings.catch_warnings():
                warnings.filterwarnings("ignore", message=".*was active which is now deleted.*")
                self._peft.delete_adapter(inner)

    def _keep_selected(
        self, module: torch.nn.Module, args: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...] | None:
        """Only some tokens need logits: of a context of hundreds just the last, and the head is a fifth of the work."""
        return None if self._select is None else (args[0][self._select], *args[1:])

    def _probe_given(self) -> tuple[torch.Tensor, KVShape]:
        """Run the model with its own attention and cache; return its logits and what a token takes."""
        ids = torch.tensor([_PROBE], device=self.base.device) % self.vocab_size
        cache = DynamicCache(config=self.base.config)
        with torch.inference_mode():
            logits = self.base(input_ids=ids, past_key_values=cache, use_cache=True).logits[0]
        kept = [tensor for layer in cache.layers for tensor in (layer.keys, layer.values)]
        shapes = {(tensor.shape[1], tensor.shape[3], tensor.dtype) for tensor in kept if tensor is not None}
        if len(shapes) != 1 or any(tensor is None for tensor in kept):
            raise EngineError(f"{type(self.base).__name__} keeps another cache in each layer; serve it with vLLM.")
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
                f"{type(self.base).__name__} computes something that this engine does not know (its logits differ by "
                f"{error:.2g} of their size); serve it with vLLM."
            )


def _read(name: str, adapter: Adapter) -> tuple[LoraConfig, dict[str, torch.Tensor]]:
    if isinstance(adapter, tuple):
        config, tensors = adapter
        config = copy.deepcopy(config)
    else:
        folder = Path(adapter)
        if not (folder / "adapter_model.safetensors").is_file():
            raise AdapterError(
                f"adapter {name!r}: {str(folder)!r} holds no adapter_model.safetensors; give a PEFT folder."
            )
        try:
            config = PeftConfig.from_pretrained(str(folder))
            tensors = load_peft_weights(str(folder), device="cpu")
        except Exception as error:
            raise AdapterError(f"adapter {name!r} cannot be read from {str(folder)!r}: {_first(error)}") from error
    if not isinstance(config, LoraConfig):
        raise AdapterError(
            f"adapter {name!r} is of type {type(config).__name__}; only LoRA adapters can share a batch."
        )
    refused = [option for option in _REFUSED if getattr(config, option, None)]
    if refused:
        raise AdapterError(f"adapter {name!r} uses {refused[0]}, which PEFT cannot mix in a batch; train it without.")
    config.inference_mode = True
    return config, tensors


def _digest(config: LoraConfig, tensors: dict[str, torch.Tensor]) -> str:
    """Hash what decides the output: the weights, and what scales and places them."""
    facts = {key: getattr(config, key) for key in ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")}
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for key in sorted(tensors):
        tensor = tensors[key].detach().float().cpu().contiguous()
        digest.update(f"{key}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _first(error: Exception) -> str:
    """The first informative line of a library's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Error(s) in loading")] or lines
    return lines[0] if lines else type(error).__name__
