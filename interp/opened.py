"""A causal model opened: unmodified, with its parts by name, its adapters, and its tokenizer.

    opened = open_model("smollm2@runs/quickstart")
    with capture(opened, ["L3.H2", "resid12"]) as kept:
        logits = opened(prompts.ids)

Hooks are put on the model's own modules while a ``with`` block runs and taken off behind it; nothing is copied, so that
an opened model computes bit for bit what it computed before.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from palaestra.agents.models.sources import ModelSource
from palaestra.agents.tokens import TextCodec
from palaestra.envs.errors import UnknownName
from palaestra.interp.architecture import Anatomy, anatomy
from palaestra.interp.checks import adapter_landed, rebuilds
from palaestra.interp.components import Component, components
from palaestra.interp.errors import InterpError

LOGITS = 2**25
"""Of a pass, where as many more are held beside them: 128 MB in float32."""


class OpenModel:
    """A model and the names of its parts.

    Args:
        model: A causal model of transformers, or a `peft.PeftModel` around one, in eval mode.
        codec: Text to ids and back; only needed to make prompts of text.
        name: What the model is called in reports.

    Attributes:
        anatomy: Where its modules are.
        components: Its parts by name (see `palaestra.interp.components`).

    Raises:
        UnsupportedArchitecture: There is no table for it, or the residual stream, added up from its components, is not
            the model's.
        InterpError: It is in train mode.
    """

    def __init__(self, model: Any, codec: TextCodec | None = None, name: str = "model") -> None:
        self.model = model
        self.codec = codec
        self.name = name
        self.anatomy: Anatomy = anatomy(model.get_base_model() if hasattr(model, "peft_config") else model)
        self.tracking = 0  # how many captures want gradients now
        self._refuse_train_mode()
        rebuilds(self)

    @cached_property
    def components(self) -> dict[str, Component]:
        """Return the parts by name."""
        return components(self.anatomy)

    def component(self, name: str) -> Component:
        """Return a part.

        Raises:
            UnknownName: There is none of this name; the nearest is offered.
        """
        if name not in self.components:
            layers, heads = len(self.anatomy.blocks), self.anatomy.heads
            cure = f"{self.name} has {layers} layers (L0 on) of {heads} heads (H0 on); L0.mlp is an MLP."
            raise UnknownName("component", name, self.components, cure)
        return self.components[name]

    def writers(self) -> list[str]:
        """Return the parts that add up to the residual stream, in order."""
        return [name for name, one in self.components.items() if one.writes]

    @property
    def rows(self) -> int:
        """Return how many tokens the embedding has."""
        embedding: Any = self.anatomy.embeddings["embed"]
        return int(embedding.weight.shape[0])

    def fitting(self, batch: int, length: int) -> int:
        """Return how many rows of so many tokens, at most ``batch``, have at most `LOGITS` logits; at least 1."""
        return max(1, min(batch, LOGITS // (length * self.rows)))

    @property
    def device(self) -> torch.device:
        """Return where the embedding lies."""
        return next(iter(self.anatomy.embeddings.values())).weight.device  # type: ignore[return-value]

    @property
    def dtype(self) -> torch.dtype:
        """Return the type of the unembedding's weights."""
        weights = self.anatomy.norm.weight
        assert isinstance(weights, Tensor)
        return weights.dtype

    def __call__(self, ids: Tensor) -> Tensor:
        """Run the model.

        Args:
            ids: Token ids [B, T]; shorter rows are filled up on the right, where a causal model's earlier places do not
                see it.

        Returns:
            Logits [B, T, V]; with a graph only inside a capture that wants gradients.

        Raises:
            InterpError: The model is in train mode, or logits are not finite.
        """
        self._refuse_train_mode()
        given: dict[str, Tensor] = {"input_ids": ids.to(self.device)}
        if "position" in self.anatomy.embeddings:
            # asked for row by row, learned positions have a value and a gradient for each prompt
            given["position_ids"] = torch.arange(ids.shape[1], device=self.device).expand_as(ids)
        with torch.set_grad_enabled(self.tracking > 0):
            logits: Tensor = self.model(**given, use_cache=False).logits
        if not torch.isfinite(logits.detach()).all():
            raise InterpError(
                f"{self.name} computes logits that are NaN or infinite; load it in float32, and look at the adapter "
                "and the interventions."
            )
        return logits

    def adapted(self) -> dict[str, nn.Module]:
        """Return the LoRA layers by component name, such as ``L3.q.delta``."""
        return {name: one.site.module for name, one in self.components.items() if one.kind == "delta"}

    def add_adapter(self, folder: Path, name: str) -> None:
        """Load another adapter beside those that are there, without switching to it.

        Raises:
            AdapterNotLanded: Its weights are not in the model afterwards, or are all zero.
            InterpError: The model was opened without any adapter.
        """
        if not hasattr(self.model, "peft_config"):
            raise InterpError(f"{self.name} was opened without an adapter; open MODEL@ADAPTER to add another to it.")
        self.model.load_adapter(str(folder), adapter_name=name)
        self.model.eval()
        adapter_landed(self.model, folder, name)
        self.__dict__.pop("components", None)

    def _refuse_train_mode(self) -> None:
        if self.model.training:
            raise InterpError(f"{self.name} is in train mode, where dropout changes what it computes; call .eval().")

    def text(self, ids: Iterable[int]) -> list[str]:
        """Return each token as text."""
        if self.codec is None:
            return [str(one) for one in ids]
        return [self.codec.decode([int(one)]) for one in ids]


def open_model(source: str, *, dtype: str = "float32", device: str = "cpu") -> OpenModel:
    """Open a model by what a user types, such as ``tiny:kuhn``, ``smollm2@runs/x`` or a folder.

    Raises:
        ModelError: It cannot be had.
        WrongBase: The adapter was made for another base.
        AdapterNotLanded: The adapter's weights are not in the model, or change nothing.
        UnsupportedArchitecture: There is no table for its family.
    """
    loaded = ModelSource.parse(source).load(dtype=dtype)
    model = loaded.model
    if loaded.adapter is not None:
        from peft import PeftModel

        model = PeftModel.from_pretrained(model, str(loaded.adapter))
        adapter_landed(model, loaded.adapter)
    model.to(device).eval().requires_grad_(False)
    return OpenModel(model, loaded.codec, source)
