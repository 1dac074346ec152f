"""What is looked at before anything is believed: set-ups that go wrong without a word."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from palaestra.interp.architecture import Norm, weight
from palaestra.interp.capture import Captured, capture
from palaestra.interp.errors import AdapterNotLanded, InterpError, UnsupportedArchitecture

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

TOLERANCE = {torch.float64: 1e-4, torch.float32: 1e-3}
"""Of the largest entry; a norm computes in float32 whatever the model does."""
LOOSE = 5e-2
"""The same in half precision."""


def rebuilds(opened: OpenModel) -> None:
    """Add up embeddings, heads, biases and MLPs, and compare with what the final norm reads and with the logits.

    Raises:
        UnsupportedArchitecture: They differ, so the table does not describe this model.
    """
    ids = torch.arange(8, device=opened.device)[None] * 7 % opened.rows
    writers = opened.writers()
    last = f"resid{len(opened.anatomy.blocks)}"
    with capture(opened, [*writers, last]) as kept:
        logits = opened(ids)
    _compare(opened, kept, writers, last, logits)


@torch.no_grad()
def _compare(opened: OpenModel, kept: Captured, writers: list[str], last: str, logits: Tensor) -> None:
    total = sum((written(opened, name, kept[name]) for name in writers), torch.zeros_like(kept[last]))
    tolerance = TOLERANCE.get(opened.dtype, LOOSE)
    for what, ours, its in (
        ("residual stream", total, kept[last]),
        ("logits", opened.anatomy.unembed(Norm.of(opened.anatomy.norm).apply(kept[last])), logits),
    ):
        error = float((ours - its).abs().max() / its.abs().max().clamp_min(1e-12))
        if error > tolerance:
            raise UnsupportedArchitecture(
                f"{opened.name} does not compute what the table of its family says: the {what} added up from its "
                f"components is off by {error:.1e} of its largest entry (at most {tolerance:g}); scaled residuals, "
                "norms behind attention or MLP, and DoRA are not supported."
            )


def written(opened: OpenModel, name: str, value: Tensor) -> Tensor:
    """Return what a writer adds to the residual stream: [..., width], from its value as captured."""
    one = opened.component(name)
    if one.kind != "head":
        return value
    assert one.layer is not None
    assert one.index is not None
    width = opened.anatomy.head_width
    columns = weight(opened.anatomy.blocks[one.layer].o)[:, one.index * width : (one.index + 1) * width]
    return value @ columns.T


def adapter_landed(model: Any, folder: Path, name: str = "default") -> None:
    """Compare an adapter's file with what the model now holds under a name.

    PEFT goes on with an untrained adapter, which changes nothing, where the names of a file do not match the model.

    Raises:
        AdapterNotLanded: Weights are missing or differ, or every B matrix is zero.
    """
    from safetensors.torch import load_file

    stored = load_file(folder / "adapter_model.safetensors")
    held = model.state_dict()
    matched = 0
    for key, value in stored.items():
        head, _, tail = key.rpartition(".")
        at = f"{head}.{name}.{tail}" if tail in ("weight", "bias") and "lora_" in head else f"{key}.{name}"
        found = held.get(at, held.get(key))
        if found is None or found.shape != value.shape or not torch.equal(found.cpu(), value.to(found.dtype)):
            if "lora_" in key:
                raise AdapterNotLanded(
                    f"adapter {folder}: {key} is not in the model after loading, so before and after would be the same "
                    "model; was the adapter made for another architecture?"
                )
            continue
        matched += 1
    b = [value for key, value in stored.items() if "lora_B" in key or "lora_embedding_B" in key]
    if b and all(not value.any() for value in b):
        raise AdapterNotLanded(f"adapter {folder}: all of its B matrices are zero, so it changes nothing; train it.")
    if not matched:
        raise AdapterNotLanded(f"adapter {folder} holds no LoRA weights for this model.")


def differ(clean: Tensor, corrupt: Tensor) -> None:
    """Refuse a metric that is the same on clean and corrupt prompts, by which nothing can be attributed.

    Args:
        clean, corrupt: The metric of each prompt [B].

    Raises:
        InterpError: It does not differ on any pair.
    """
    if bool((clean - corrupt).abs().max() <= 1e-6 * clean.abs().max().clamp_min(1e-12)):
        raise InterpError(
            "the metric is the same on clean and corrupt prompts, so there is nothing to attribute; change what is "
            "corrupted, or the answers."
        )
