"""Small models for tests of interp: random ones of each family, with adapters, and prompts for them."""

from typing import Any

import torch
from peft import LoraConfig, get_peft_model
from transformers import (
    GPT2Config,
    GPT2LMHeadModel,
    LlamaConfig,
    LlamaForCausalLM,
    MistralConfig,
    MistralForCausalLM,
    Qwen2Config,
    Qwen2ForCausalLM,
    Qwen3Config,
    Qwen3ForCausalLM,
)

from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs, Prompts

VOCABULARY = 40


def sizes(**changes: Any) -> dict[str, Any]:
    """3 layers of 4 heads in 2 groups of keys and values."""
    return {
        "vocab_size": VOCABULARY,
        "hidden_size": 32,
        "intermediate_size": 48,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "bos_token_id": None,
        "eos_token_id": None,
        **changes,
    }


def llama(seed: int = 0, dtype: torch.dtype = torch.float64, **changes: Any) -> LlamaForCausalLM:
    """A random Llama with grouped queries and tied embeddings."""
    torch.manual_seed(seed)
    return _large(LlamaForCausalLM(LlamaConfig(**sizes(**{"tie_word_embeddings": True, **changes}))), dtype)


def qwen(seed: int = 0, dtype: torch.dtype = torch.float64) -> Qwen2ForCausalLM:
    """The same with biases on queries, keys and values."""
    torch.manual_seed(seed)
    return _large(Qwen2ForCausalLM(Qwen2Config(**sizes())), dtype)


def qwen3(seed: int = 0, dtype: torch.dtype = torch.float64) -> Qwen3ForCausalLM:
    """The same with norms on queries and keys, and heads wider than the stream is divided."""
    torch.manual_seed(seed)
    return _large(Qwen3ForCausalLM(Qwen3Config(**sizes(head_dim=12))), dtype)


def mistral(seed: int = 0, dtype: torch.dtype = torch.float64) -> MistralForCausalLM:
    """The same with attention to the last four places only."""
    torch.manual_seed(seed)
    return _large(MistralForCausalLM(MistralConfig(**sizes(sliding_window=4))), dtype)


def gpt2(seed: int = 0, dtype: torch.dtype = torch.float64) -> GPT2LMHeadModel:
    """A random GPT-2: fused projections, LayerNorm, learned positions, biases."""
    torch.manual_seed(seed)
    config = GPT2Config(
        vocab_size=VOCABULARY, n_positions=32, n_embd=32, n_layer=3, n_head=4, bos_token_id=None, eos_token_id=None
    )
    return _large(GPT2LMHeadModel(config), dtype)


def _large(model: Any, dtype: torch.dtype) -> Any:
    """Weights and biases ten times as large as at the start of training, so that every component matters."""
    with torch.no_grad():
        for name, one in model.named_parameters():
            if one.ndim > 1:
                one.mul_(5)
            elif "bias" in name:
                one.normal_(std=0.3)
            else:
                one.add_(torch.randn_like(one) * 0.2)
    return model.to(dtype).eval().requires_grad_(False)


def with_lora(model: Any, targets: str | list[str] = "all-linear", seed: int = 0, **options: Any) -> Any:
    """An adapter on every linear module, as large as training would make it."""
    torch.manual_seed(seed)
    config = LoraConfig(r=3, lora_alpha=6, target_modules=targets, task_type="CAUSAL_LM", **options)
    found = get_peft_model(model, config)
    with torch.no_grad():
        for name, one in found.named_parameters():
            if "lora_B" in name:
                one.normal_(std=0.1)
    return found.to(next(model.parameters()).dtype).eval()


FAMILIES = {
    "llama": llama,
    "mistral": mistral,
    "qwen2": qwen,
    "qwen3": qwen3,
    "gpt2": gpt2,
    "llama+lora": lambda: with_lora(llama()),
    "gpt2+lora": lambda: with_lora(gpt2(), ["c_attn", "attn.c_proj", "c_fc", "mlp.c_proj"], fan_in_fan_out=True),
}


def opened(family: str) -> OpenModel:
    """One of the families, opened."""
    return OpenModel(FAMILIES[family](), name=family)


def pairs(count: int = 5, length: int = 7, seed: int = 0, *, uneven: bool = True) -> Pairs:
    """Random prompts, of several lengths, whose corrupt twins differ in one to three tokens."""
    generator = torch.Generator().manual_seed(seed)
    clean, corrupt = [], []
    for number in range(count):
        size = length - (number % 3 if uneven else 0)
        row = torch.randint(VOCABULARY, (size,), generator=generator).tolist()
        other = list(row)
        for place in torch.randperm(size, generator=generator)[: 1 + number % 3].tolist():
            other[place] = (other[place] + 1 + number) % VOCABULARY
        clean.append(row)
        corrupt.append(other)
    answers = [[number % VOCABULARY, (number + 3) % VOCABULARY] for number in range(count)]
    foils = [[(number + 11) % VOCABULARY] for number in range(count)]
    return Pairs(Prompts.of(clean, answers, foils), Prompts.of(corrupt, answers, foils))
