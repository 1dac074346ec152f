"""LoRA adapters side by side: base and any number of policies in one pass over a step's tokens.

PEFT reads and checks an adapter: its configuration, its scaling, which layers it fits. Only the pass itself is ours,
y[i] += (x[i] A) B s for the tokens i of each policy. PEFT has one (`adapter_names`), which gives the same numbers, but
registers hooks on every layer in every step and sorts the names of all tokens anew in each of them. With three
adapters of seven matrices a layer that took 6.3 of 15.7 ms a step of 64 rows on a model of 1M parameters, and 100 of
240 ms on one of 135M in bfloat16; this takes 1.6 and 22 ms (one core).

An adapter may bring thinking tokens, whose rows are read beside its matrices (`palaestra.agents.engines.thoughts`).

Shapes: N tokens, r rank; A is kept as [in, r], B times the scaling as [r, out], both in the adapter's own type.
"""

from __future__ import annotations

import copy
import hashlib
import json
import warnings
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig, PeftConfig, PeftModel, load_peft_weights, set_peft_model_state_dict
from peft.tuners import lora as peft_lora
from transformers import PreTrainedModel

from palaestra.agents.engines.base import BASE, Adapter, AdapterError
from palaestra.agents.engines.thoughts import Rows, split
from palaestra.agents.models.cache import ModelError
from palaestra.agents.thinking import Thinking
from palaestra.agents.thinking_adapter import recorded

_REFUSED = ("use_dora", "modules_to_save", "target_parameters", "alora_invocation_tokens")

Matrices = dict[str, tuple[torch.Tensor, torch.Tensor]]
"""Per adapted module: A [in, r] and scaled B [r, out]."""


@dataclass(frozen=True, slots=True)
class Parts:
    """An adapter as it was read.

    Attributes:
        digest: Of all that decides what it computes.
        matrices: By module.
        rows: Of its thinking tokens, if it has some.
    """

    digest: str
    matrices: Matrices
    rows: Rows | None


@dataclass(slots=True)
class Routes:
    """Which tokens of the step belong to which policy: [n] indices, or None for all N; base tokens are not listed."""

    now: list[tuple[str, torch.Tensor | None]]

    def set(self, policies: list[str], device: torch.device) -> None:
        """Sort the names of N tokens."""
        tokens: dict[str, list[int]] = {}
        for index, policy in enumerate(policies):
            tokens.setdefault(policy, []).append(index)
        whole = len(tokens) == 1
        self.now = [
            (policy, None if whole else torch.tensor(indices, device=device))
            for policy, indices in tokens.items()
            if policy != BASE
        ]


class MultiLora(torch.nn.Module):
    """A linear layer with an adapter for each policy that has one here."""

    def __init__(self, base: torch.nn.Module, routes: Routes) -> None:
        super().__init__()
        self.base = base
        self.routes = routes
        self.pairs: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y: torch.Tensor = self.base(x)
        for policy, index in self.routes.now:
            pair = self.pairs.get(policy)
            if pair is None:
                continue
            down, up = pair
            tokens = x.flatten(0, -2)
            part = (tokens if index is None else tokens[index]).to(down.dtype)
            delta = (part @ down @ up).to(y.dtype)
            if index is None:
                y += delta.view_as(y)
            else:
                y.view(-1, y.shape[-1]).index_add_(0, index, delta)
        return y


class AdapterReader:
    """Reads adapters through PEFT against one base.

    Args:
        base: A module tree of the base that PEFT may change.
    """

    def __init__(self, base: PreTrainedModel) -> None:
        self._base = base
        self._peft: PeftModel | None = None

    def read(self, name: str, adapter: Adapter) -> Parts:
        """Return what the adapter consists of.

        Raises:
            AdapterError: It cannot be read, was made for another base, or is of a kind that cannot share a batch.
        """
        config, tensors, thinking = _open(name, adapter)
        digest = _digest(config, tensors, thinking)
        try:
            rows = None
            if thinking is not None:
                tensors, rows = split(self._base, config, tensors, thinking)
            if strange := sorted(key for key in tensors if ".lora_" not in key):
                raise ValueError(
                    f"it holds {strange[0]!r}, which is no LoRA matrix; save it without the base's tensors."
                )
            return Parts(digest, self._matrices(config, tensors), rows)
        except Exception as error:
            cause = _first_line(error)
            raise AdapterError(f"adapter {name!r} does not fit {type(self._base).__name__}: {cause}") from error
        finally:
            self._clear()

    def _matrices(self, config: LoraConfig, tensors: dict[str, torch.Tensor]) -> Matrices:
        if self._peft is None:
            self._peft = PeftModel(self._base, config, adapter_name="read")
        else:
            self._peft.add_adapter("read", config)
        result: Any = set_peft_model_state_dict(self._peft, tensors, adapter_name="read")
        missing = [key for key in result.missing_keys if ".read." in key]
        if result.unexpected_keys:
            raise ValueError(f"the base has no layer for {result.unexpected_keys[0]!r}.")
        if missing:
            raise ValueError(f"it has no tensor for {missing[0].replace('.read.', '.')!r}.")
        head = self._base.get_output_embeddings()
        matrices: Matrices = {}
        for path, module in self._base.named_modules():
            if not isinstance(module, peft_lora.LoraLayer) or "read" not in module.lora_A:
                continue
            if not isinstance(module, peft_lora.Linear) or module.lora_variant or module.fan_in_fan_out:
                raise ValueError(f"{path} is adapted by {type(module).__name__}; only plain linear layers are served.")
            if module is head or module.lora_B["read"].bias is not None:
                raise ValueError(f"{path} is adapted with a bias, or is the output head, which is not served.")
            down = module.lora_A["read"].weight.detach().t().clone()
            up = module.lora_B["read"].weight.detach().t() * module.scaling["read"]
            matrices[path] = (down, up)
        return matrices

    def _clear(self) -> None:
        if self._peft is not None and "read" in self._peft.peft_config:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # "adapter read was active which is now deleted"
                self._peft.delete_adapter("read")


def _open(name: str, adapter: Adapter) -> tuple[LoraConfig, dict[str, torch.Tensor], Thinking | None]:
    thinking: Thinking | None
    if isinstance(adapter, tuple):
        config, tensors = copy.deepcopy(adapter[0]), adapter[1]
        thinking = adapter[2] if len(adapter) == 3 else None
    else:
        folder = Path(adapter)
        if not (folder / "adapter_model.safetensors").is_file():
            raise AdapterError(
                f"adapter {name!r}: no adapter_model.safetensors in {str(folder)!r}; give a PEFT folder."
            )
        try:
            config = PeftConfig.from_pretrained(str(folder))
            tensors = load_peft_weights(str(folder), device="cpu")
            thinking = recorded(folder)
        except ModelError as error:
            raise AdapterError(str(error)) from error
        except Exception as error:
            raise AdapterError(f"adapter {name!r} in {str(folder)!r} cannot be read: {_first_line(error)}") from error
    if not isinstance(config, LoraConfig):
        raise AdapterError(f"adapter {name!r} is a {type(config).__name__}; only LoRA adapters can share a batch.")
    refused = [option for option in _REFUSED if getattr(config, option, None)]
    if refused:
        raise AdapterError(f"adapter {name!r} uses {refused[0]}, which cannot share a batch; train it without.")
    if config.trainable_token_indices and thinking is None:
        raise AdapterError(
            f"adapter {name!r} trains single tokens and does not say that they are thinking tokens; save it with "
            "palaestra.agents.thinking_adapter.save, or train it without."
        )
    config.inference_mode = True
    return config, tensors, thinking


def _digest(config: LoraConfig, tensors: dict[str, Any], thinking: Thinking | None) -> str:
    """Hash what decides the output: the weights, and what scales them."""
    facts = {key: getattr(config, key) for key in ("r", "lora_alpha", "use_rslora", "rank_pattern", "alpha_pattern")}
    if thinking is not None:
        facts["thinking"] = asdict(thinking)
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True, default=str).encode())
    for key in sorted(tensors):
        tensor = tensors[key].detach().float().cpu().contiguous()
        digest.update(f"{key}{tuple(tensor.shape)}".encode())
        digest.update(tensor.numpy().tobytes())
    return digest.hexdigest()


def _first_line(error: Exception) -> str:
    """The first informative line of a library's message."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    lines = [line for line in lines if not line.startswith("Error(s) in loading")] or lines
    return lines[0] if lines else type(error).__name__
