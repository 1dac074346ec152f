"""Adapter weights on their way from the learner to engines and to disk.

A *version* is a name such as ``negotiation@17`` that means one set of weights for ever. It travels through Ray's object
store as `AdapterWeights` (adapter only, about a hundredth of the model) and lands on disk as an ordinary PEFT folder,
written atomically and stamped with the fingerprint of the base it belongs to.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from peft import LoraConfig
from safetensors import SafetensorError
from safetensors.torch import save_file

from palaestra.agents.engines.base import Adapter
from palaestra.agents.models.adapters import stamp
from palaestra.agents.models.disk import sync_folder, sync_path
from palaestra.agents.thinking import Thinking
from palaestra.agents.thinking_adapter import FACT
from palaestra.envs.errors import PalaestraError


@dataclass(frozen=True, slots=True)
class Canary:
    """A fixed prompt and what the learner's own forward pass makes of it: log p(tokens[i] | tokens[:i]) for i >= 1,
    with the adapter and, as ``base``, without any."""

    tokens: tuple[int, ...]
    logprobs: tuple[float, ...]
    base: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class AdapterWeights:
    """One version of one adapter.

    Attributes:
        lora: Fields of `peft.LoraConfig`.
        tensors: float32 tensors, named as `peft.get_peft_model_state_dict` names them.
        canary: By which an engine is seen to serve these weights and no others.
        thinking: Where its thinking tokens stand, None if it has none.
    """

    lora: dict[str, Any]
    tensors: dict[str, torch.Tensor]
    canary: Canary | None = None
    thinking: Thinking | None = None

    def payload(self) -> Adapter:
        """Return the form that `Engine.add_policy` takes."""
        config = LoraConfig(**self.lora)
        return (config, self.tensors) if self.thinking is None else (config, self.tensors, self.thinking)

    def publish(self, folder: Path, *, base: str, **facts: Any) -> None:
        """Write a PEFT folder, complete or not at all; an existing one of that name is left as it is.

        Args:
            folder: Where the adapter will be.
            base: Fingerprint of the base model.
            **facts: JSON facts kept beside it, such as run and iteration.

        Raises:
            PalaestraError: The disk is full or cannot be written.
        """
        if folder.exists():
            return
        for stale in folder.parent.glob(f".{folder.name}.*"):  # left by a process that was killed
            shutil.rmtree(stale, ignore_errors=True)
        part = folder.with_name(f".{folder.name}.{os.getpid()}")
        try:
            part.mkdir(parents=True, exist_ok=True)
            LoraConfig(**self.lora).save_pretrained(str(part))
            save_file(
                {name: tensor.contiguous() for name, tensor in self.tensors.items()}, part / "adapter_model.safetensors"
            )
            stamp(part, base, **facts, **({} if self.thinking is None else {FACT: asdict(self.thinking)}))
            sync_folder(part)
            part.rename(folder)
            sync_path(folder.parent)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            raise PalaestraError(
                f"adapter {folder.name} could not be written ({reason}); free some space, then "
                "`palaestra resume RUN` goes on. Earlier checkpoints and adapters are intact."
            ) from None
