"""Two models of one architecture as one model whose modules can be switched, one by one, between before and after.

    pair = open_pair("smollm2", "runs/quickstart")
    with pair.after():                       # the trained model
        ...
    with pair.after(["L3.q", "L3.down"]):    # the base with two modules of the trained model
        ...

A *module* is what training can have changed by itself: a linear module (``L3.q``), a norm (``L3.norm1``, ``final``),
the embedding (``embed``), the unembedding. For an adapter they are its LoRA layers; rows of tables that an adapter
trains beside them (thinking tokens, saved modules) are one module called ``tables``. For two whole models they are the
modules whose weights differ. The model that is switched is the opened one itself, so every tool of `palaestra.interp`
works in both states.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from palaestra.agents.models import adapters
from palaestra.agents.models.cache import ModelError
from palaestra.agents.models.sources import ModelSource
from palaestra.envs.errors import UnknownName
from palaestra.interp.architecture import Anatomy, is_adapted
from palaestra.interp.errors import InterpError
from palaestra.interp.opened import OpenModel, open_model

TABLES = "tables"
AFTER = "after"


@dataclass(frozen=True, slots=True, eq=False)
class Switch:
    """A module and its two states.

    Attributes:
        modules: The torch modules that it switches; one, but for ``tables``.
        before, after: Names of loaded adapters, None for none; of modules that PEFT wraps.
        weights: Parameter, its tensor before and its tensor after; of modules of two whole models.
    """

    modules: tuple[Any, ...]
    before: str | None = None
    after: str | None = None
    weights: tuple[tuple[nn.Parameter, Tensor, Tensor], ...] = ()

    @contextmanager
    def set(self, trained: bool) -> Iterator[None]:
        """Hold the module in a state inside the ``with`` block."""
        if self.weights:
            kept = [parameter.data for parameter, _, _ in self.weights]
            for parameter, before, after in self.weights:
                parameter.data = after if trained else before
            try:
                yield
            finally:
                for (parameter, _, _), data in zip(self.weights, kept, strict=True):
                    parameter.data = data
            return
        wanted = self.after if trained else self.before
        states = [(one, one._active_adapter, one._disable_adapters) for one in self.modules]
        for one in self.modules:
            one._disable_adapters = wanted is None
            if wanted is not None:
                one._active_adapter = [wanted]
        try:
            yield
        finally:
            for one, active, disabled in states:
                one._active_adapter, one._disable_adapters = active, disabled

    def size(self) -> float:
        """Return the Frobenius norm of what changed; NaN where it is no difference of two matrices."""
        if self.weights:
            return float(sum((after - before).double().pow(2).sum() for _, before, after in self.weights)) ** 0.5
        if len(self.modules) != 1 or not is_adapted(self.modules[0]):
            return float("nan")
        return float(_delta(self.modules[0], self.before, self.after).double().norm())


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """Before and after; see the module's text.

    Attributes:
        opened: The model.
        switches: By module name, in the order in which they compute; empty where nothing differs.
        before_name, after_name: For reports.
    """

    opened: OpenModel
    switches: dict[str, Switch]
    before_name: str = "before"
    after_name: str = "after"
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def modules(self) -> tuple[str, ...]:
        """Return the names of the modules that differ."""
        return tuple(self.switches)

    @contextmanager
    def after(self, names: Iterable[str] | None = None) -> Iterator[OpenModel]:
        """Hold modules in their trained state inside the ``with`` block, all of them if none are named, and the others
        in their state before.

        Raises:
            UnknownName: A module of this name does not differ.
        """
        trained = set(self.switches if names is None else names)
        for name in trained - set(self.switches):
            raise UnknownName("changed module", name, self.switches, "Only modules that differ can be switched.")
        with ExitStack() as stack:
            for name, switch in self.switches.items():
                stack.enter_context(switch.set(name in trained))
            yield self.opened

    @contextmanager
    def before(self) -> Iterator[OpenModel]:
        """Hold all modules in their state before inside the ``with`` block."""
        with self.after(()) as opened:
            yield opened

    def weights(self) -> list[Any]:
        """Return what is switched, as plain data and tensors: names, adapters, and weights of a second whole model."""
        return [
            [name, one.before, one.after, [after for _, _, after in one.weights]] for name, one in self.switches.items()
        ]

    def sizes(self) -> dict[str, float]:
        """Return the Frobenius norms of the changes, which is the least that a diff can say."""
        return {name: switch.size() for name, switch in self.switches.items()}


def open_pair(base: str, trained: str, *, dtype: str = "float32", device: str = "cpu") -> Pair:
    """Open a base and what was made of it.

    Args:
        base: A model source; it may have an adapter of its own, which then is the state before.
        trained: A PEFT folder, run folder, version or ``lib:NAME``; a whole model or an adapter by folder or hub id;
            or a model source with an adapter.
        dtype, device: Of the weights.

    Raises:
        ModelError: One of them cannot be had, or the adapter was made for another base.
        AdapterNotLanded: The adapter's weights are not in the model, or change nothing.
        InterpError: They are not of one shape.
    """
    source = ModelSource.parse(base)
    folder = _adapter(trained, source)
    if folder is None:
        before, after = open_model(base, dtype=dtype, device=device), open_model(trained, dtype=dtype, device=device)
        return whole_pair(before, after)
    if source.adapter is None:
        opened = open_model(f"{source}@{folder}", dtype=dtype, device=device)
        return adapter_pair(opened, None, "default", base, trained)
    root = source.fetch()
    adapters.check(folder, root, source.fingerprint(), str(source.base))
    opened = open_model(base, dtype=dtype, device=device)
    opened.add_adapter(folder, AFTER)
    return adapter_pair(opened, "default", AFTER, base, trained)


def adapter_pair(
    opened: OpenModel, before: str | None, after: str, before_name: str = "before", after_name: str = "after"
) -> Pair:
    """Make a pair of two states of a `peft.PeftModel`: adapters by the names under which they are loaded, None for
    none.

    Raises:
        InterpError: The model has no adapter of this name.
    """
    wrapped = getattr(opened.model, "peft_config", {})
    for name in (before, after):
        if name is not None and name not in wrapped:
            raise InterpError(f"adapter {name!r} is not loaded in {opened.name}; there are {', '.join(wrapped)}.")
    found: dict[str, Switch] = {}
    known = set()
    modules: dict[str, Any] = dict(switchable(opened.anatomy))
    for name, module in modules.items():
        if not is_adapted(module):
            continue
        known.add(id(module))
        old, new = (one if one in module.lora_A else None for one in (before, after))
        if old is new is None or not _delta(module, old, new).any():
            continue
        found[name] = Switch((module,), old, new)
    tables = tuple(one for one in _wrapped(opened.model) if id(one) not in known)
    if tables:
        found[TABLES] = Switch(tables, before, after)
    return Pair(opened, found, before_name, after_name, {"kind": "adapter"})


def whole_pair(before: OpenModel, after: OpenModel) -> Pair:
    """Make a pair of two whole models; what is switched is the first one, with the second one's weights.

    Raises:
        InterpError: They are not of one shape.
    """
    here, there = switchable(before.anatomy), switchable(after.anatomy)
    shapes = [{k: tuple(p.shape for p in m.parameters()) for k, m in one.items()} for one in (here, there)]
    if shapes[0] != shapes[1]:
        raise InterpError(
            f"{before.name} and {after.name} have different shapes, so there is no module by module difference; name "
            "the base that the second one was trained from."
        )
    found, seen = {}, set()
    for name, module in here.items():
        changed = []
        for mine, theirs in zip(module.parameters(), there[name].parameters(), strict=True):
            if id(mine) in seen:  # a tied table is one module
                continue
            seen.add(id(mine))
            other = theirs.data.to(mine)
            if not torch.equal(mine.data, other):
                changed.append((mine, mine.data, other))
        if changed:
            found[name] = Switch((module,), weights=tuple(changed))
    return Pair(before, found, before.name, after.name, {"kind": "whole"})


def switchable(anatomy: Anatomy) -> dict[str, nn.Module]:
    """Return all modules that have weights, by name, in the order in which they compute."""
    found: dict[str, nn.Module] = dict(anatomy.embeddings)
    for layer, block in enumerate(anatomy.blocks):
        found[f"L{layer}.norm1"] = block.norm1
        attention = [name for name in block.linear if name in ("q", "k", "v", "qkv", "o")]
        found |= {f"L{layer}.{name}": block.linear[name] for name in attention}
        found[f"L{layer}.norm2"] = block.norm2
        found |= {f"L{layer}.{name}": block.linear[name] for name in block.linear if name not in attention}
    return {**found, "final": anatomy.norm, "unembed": anatomy.unembed}


def _delta(module: Any, before: str | None, after: str | None) -> Tensor:
    total = torch.zeros((), device=next(module.parameters()).device)
    for name, sign in ((after, 1), (before, -1)):
        if name is not None:
            total = total + sign * module.get_delta_weight(name).detach()
    return total


def _wrapped(model: nn.Module) -> list[Any]:
    """Return all modules that PEFT can switch."""
    from peft.tuners.tuners_utils import BaseTunerLayer
    from peft.utils.other import AuxiliaryTrainingWrapper

    return [one for one in model.modules() if isinstance(one, (BaseTunerLayer, AuxiliaryTrainingWrapper))]


def _adapter(text: str, base: ModelSource) -> Path | None:
    """Return the PEFT folder that a text means, None if it means a whole model."""
    try:
        return adapters.resolve(text)
    except (UnknownName, ModelError) as why:
        if text.startswith("lib:"):
            raise
        try:
            source = ModelSource.parse(text)
        except UnknownName:
            raise why from None
    if source.adapter is not None:
        if source.base != base.base:
            raise InterpError(
                f"{text} stands on {source.base}, and not on {base.base}; name the base it was trained on."
            )
        return adapters.resolve(source.adapter)
    folder = source.fetch()
    return folder if adapters.is_adapter(folder) else None
