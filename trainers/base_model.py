"""The base model of a run, in memory once per process.

Learner and local runner both need the base, each as a module tree of its own: PEFT rebuilds one, the engine the other.
A tree costs nothing, the tensors below it are the model; so the tensors are loaded once and every taker gets a
structural clone that shares them (`palaestra.agents.engines.weights.share`). The base lives as long as somebody holds
the `BaseModel` it came from.
"""

from __future__ import annotations

from typing import Any
from weakref import WeakValueDictionary

import torch

from palaestra.agents.engines.weights import share
from palaestra.agents.models.sources import LoadedModel, ModelSource
from palaestra.agents.thinking import extend
from palaestra.trainers.config import RunConfig


class BaseModel:
    """A loaded model whose tensors several module trees share; nobody may change them.

    Attributes:
        loaded: Model, codec, fingerprint, and the folder of the start adapter if there is one.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        for parameter in loaded.model.parameters():
            parameter.requires_grad_(False)
        self.loaded = loaded

    def tree(self) -> Any:
        """Return a new module tree on the same tensors."""
        return share(self.loaded.model)


_alive: WeakValueDictionary[tuple[str, torch.dtype, str, str], BaseModel] = WeakValueDictionary()


def base_model(config: RunConfig, device: str = "cpu") -> BaseModel:
    """Return the run's base model on a device, loading it unless this process holds it already."""
    thinking = config.model.thinking
    key = (config.model.source, dtype_of(config.model.dtype), device, thinking.model_dump_json() if thinking else "")
    base = _alive.get(key)
    if base is None:
        loaded = ModelSource.parse(config.model.source).load(dtype=key[1])
        if thinking is not None:
            extend(loaded.model, thinking.kinds, thinking.most)
        loaded.model.to(device)
        base = _alive[key] = BaseModel(loaded)
    return base


def dtype_of(name: str) -> torch.dtype:
    """Return the torch dtype of a configured name; ``auto`` is bfloat16 where there is a GPU, else float32."""
    if name == "auto":
        return torch.bfloat16 if torch.cuda.is_available() else torch.float32
    return {"float32": torch.float32, "bfloat16": torch.bfloat16}[name]
