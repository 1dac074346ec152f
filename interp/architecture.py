"""Where things are in a transformers model: a table for each family, and what the tables are made into.

A *pre-norm decoder* is all that is asked: each block adds attention(norm1(x)) and mlp(norm2(x)) to the residual stream.
To add a family, write a function from the model without its language-model head's wrapper to an `Anatomy` and name it
in `TABLES`; `palaestra.interp.checks.rebuilds` then says whether the table tells the truth. Families with norms behind
attention or MLP (Gemma 2 and 3), parallel blocks (GPT-NeoX) or scaled residuals (Granite) need more than a table.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from palaestra.interp.errors import UnsupportedArchitecture


@dataclass(frozen=True, slots=True)
class Projection:
    """Columns ``start`` to ``stop`` of a linear module's output."""

    module: nn.Module
    start: int
    stop: int


@dataclass(frozen=True, slots=True)
class Block:
    """One layer.

    Attributes:
        whole: The block; its first argument is the residual stream.
        norm1, norm2: Before attention, before the MLP.
        attention: The attention module.
        q, k, v: All heads' queries, and all KV heads' keys and values, before rotation.
        o: From the heads' outputs (its input, head by head) to the residual stream.
        mlp: The MLP; its output is added to the residual stream.
        activation: The non-linearity inside.
        gated: The modules whose outputs are multiplied with each other, one through ``activation``; empty if not gated.
        linear: Short names of the linear modules, as used in the names of LoRA components.
    """

    whole: nn.Module
    norm1: nn.Module
    norm2: nn.Module
    attention: nn.Module
    q: Projection
    k: Projection
    v: Projection
    o: nn.Module
    mlp: nn.Module
    activation: nn.Module
    gated: tuple[nn.Module, ...]
    linear: dict[str, nn.Module]


@dataclass(frozen=True, slots=True)
class Anatomy:
    """A model taken apart; the modules are the model's own.

    Attributes:
        embeddings: By component name; their outputs add up to the first residual stream.
        blocks: Layers in order.
        norm: Before the unembedding.
        unembed: To logits.
        heads, kv_heads, head_width, width: Of one layer; ``width`` is the residual stream's.
    """

    embeddings: dict[str, nn.Module]
    blocks: tuple[Block, ...]
    norm: nn.Module
    unembed: nn.Module
    heads: int
    kv_heads: int
    head_width: int
    width: int


def anatomy(model: Any) -> Anatomy:
    """Return where the parts of a model are.

    Args:
        model: A causal model of transformers, without any wrapper of PEFT's; its linear modules may be PEFT layers.

    Raises:
        UnsupportedArchitecture: There is no table for this family.
    """
    family = getattr(getattr(model, "config", None), "model_type", type(model).__name__)
    if family not in TABLES:
        raise UnsupportedArchitecture(
            f"models of type {family!r} cannot be opened: there are tables for {', '.join(sorted(TABLES))}; another "
            "pre-norm decoder needs a function in interp/architecture.py that names its modules."
        )
    return TABLES[family](model)


def _llama(model: Any) -> Anatomy:
    config = model.config
    heads, kv_heads = config.num_attention_heads, config.num_key_value_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // heads
    blocks = []
    for layer in model.model.layers:
        attention, mlp = layer.self_attn, layer.mlp
        blocks.append(
            Block(
                whole=layer,
                norm1=layer.input_layernorm,
                norm2=layer.post_attention_layernorm,
                attention=attention,
                q=Projection(attention.q_proj, 0, heads * width),
                k=Projection(attention.k_proj, 0, kv_heads * width),
                v=Projection(attention.v_proj, 0, kv_heads * width),
                o=attention.o_proj,
                mlp=mlp,
                activation=mlp.act_fn,
                gated=(mlp.gate_proj, mlp.up_proj),
                linear={
                    "q": attention.q_proj,
                    "k": attention.k_proj,
                    "v": attention.v_proj,
                    "o": attention.o_proj,
                    "gate": mlp.gate_proj,
                    "up": mlp.up_proj,
                    "down": mlp.down_proj,
                },
            )
        )
    return Anatomy(
        embeddings={"embed": model.model.embed_tokens},
        blocks=tuple(blocks),
        norm=model.model.norm,
        unembed=model.lm_head,
        heads=heads,
        kv_heads=kv_heads,
        head_width=width,
        width=config.hidden_size,
    )


def _gpt2(model: Any) -> Anatomy:
    config = model.config
    size, heads = config.hidden_size, config.num_attention_heads
    blocks = []
    for layer in model.transformer.h:
        attention, mlp = layer.attn, layer.mlp
        blocks.append(
            Block(
                whole=layer,
                norm1=layer.ln_1,
                norm2=layer.ln_2,
                attention=attention,
                q=Projection(attention.c_attn, 0, size),
                k=Projection(attention.c_attn, size, 2 * size),
                v=Projection(attention.c_attn, 2 * size, 3 * size),
                o=attention.c_proj,
                mlp=mlp,
                activation=mlp.act,
                gated=(),
                linear={"qkv": attention.c_attn, "o": attention.c_proj, "up": mlp.c_fc, "down": mlp.c_proj},
            )
        )
    return Anatomy(
        embeddings={"embed": model.transformer.wte, "position": model.transformer.wpe},
        blocks=tuple(blocks),
        norm=model.transformer.ln_f,
        unembed=model.lm_head,
        heads=heads,
        kv_heads=heads,
        head_width=size // heads,
        width=size,
    )


TABLES: dict[str, Callable[[Any], Anatomy]] = {
    "gpt2": _gpt2,
    "llama": _llama,
    "mistral": _llama,
    "qwen2": _llama,
    "qwen3": _llama,
}


def is_adapted(module: nn.Module) -> bool:
    """Return whether a linear module is a PEFT LoRA layer."""
    return hasattr(module, "base_layer") and hasattr(module, "lora_A")


def live_adapters(module: Any) -> list[str]:
    """Return the adapters whose deltas a LoRA layer adds now."""
    if not is_adapted(module) or module.merged or module.disable_adapters:
        return []
    return [name for name in module.active_adapters if name in module.lora_A]


def weight(module: Any) -> Tensor:
    """Return what a linear module multiplies by, live LoRA deltas included: [out, in]."""
    base = module.base_layer if is_adapted(module) else module
    whole = base.weight
    for name in live_adapters(module):
        whole = whole + module.get_delta_weight(name).to(whole.dtype)
    # transformers' Conv1D, of GPT-2, keeps [in, out]
    return whole if isinstance(base, nn.Linear) else whole.T


def bias(module: Any) -> Tensor | None:
    """Return a linear module's bias: [out] or None."""
    base = module.base_layer if is_adapted(module) else module
    found = getattr(base, "bias", None)
    return found if isinstance(found, Tensor) else None


def delta(module: Any, inputs: Tensor) -> Tensor:
    """Return what the live adapters of a LoRA layer add to its output: [..., out]."""
    total: Tensor | None = None
    for name in live_adapters(module):
        low = module.lora_A[name]
        one = module.lora_B[name](low(inputs.to(low.weight.dtype))) * module.scaling[name]
        total = one if total is None else total + one
    if total is None:
        return torch.zeros(*inputs.shape[:-1], weight(module).shape[0], dtype=inputs.dtype, device=inputs.device)
    return total.to(inputs.dtype)


@dataclass(frozen=True, slots=True)
class Norm:
    """RMSNorm or LayerNorm as y = xhat * gain + shift, xhat = (x - centre) * scale.

    Attributes:
        gain: [width]
        shift: [width], or None
        centred: Whether the mean is taken off first (LayerNorm).
        epsilon: Below the root.
    """

    gain: Tensor
    shift: Tensor | None
    centred: bool
    epsilon: float

    @classmethod
    def of(cls, module: Any) -> Norm:
        """Read a norm module."""
        if isinstance(module, nn.LayerNorm):
            return cls(module.weight, module.bias, True, module.eps)
        return cls(module.weight, None, False, module.variance_epsilon)

    def centre(self, x: Tensor) -> Tensor:
        """Return x without its mean where the norm takes that off."""
        return x - x.mean(-1, keepdim=True) if self.centred else x

    def scale(self, x: Tensor) -> Tensor:
        """Return 1 / root mean square of (centred) x: [..., 1]."""
        return torch.rsqrt(self.centre(x).pow(2).mean(-1, keepdim=True) + self.epsilon)

    def apply(self, x: Tensor, scale: Tensor | None = None) -> Tensor:
        """Return the norm of x, with its own scale or with a given one."""
        y = self.centre(x) * (self.scale(x) if scale is None else scale) * self.gain
        return y if self.shift is None else y + self.shift

    def pull(self, gradient: Tensor, x: Tensor) -> Tensor:
        """Return the gradient at x from that at the norm's output.

        For y = w * xhat it is r (g - xhat mean(g * xhat)) with g = w * gradient, centred where the norm is.
        """
        g, r = gradient * self.gain, self.scale(x)
        xhat = self.centre(x) * r
        g = g - xhat * (g * xhat).mean(-1, keepdim=True)
        return self.centre(g) * r
