"""Small random models and adapters with thinking tokens, for tests."""

from __future__ import annotations

import copy
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from transformers import AutoModelForCausalLM, Gemma3TextConfig

from palaestra.agents.engines.conformance import specimen
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.thinking import extend
from palaestra.agents.thinking_adapter import token_fields

LORA: dict[str, Any] = {"r": 2, "lora_alpha": 4, "target_modules": ["q_proj", "v_proj"], "task_type": "CAUSAL_LM"}


def make_bases() -> dict[str, Any]:
    """Three models of 260 tokens: one table for both ends, one that is scaled and whose logits are capped, and two."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        config = Gemma3TextConfig(
            vocab_size=260,
            hidden_size=64,
            intermediate_size=96,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            initializer_range=0.2,
            final_logit_softcapping=5.0,
            pad_token_id=None,
            bos_token_id=None,
            eos_token_id=None,
        )
        scaled = AutoModelForCausalLM.from_config(config).eval()
    return {"tied": ModelSource.parse("tiny:blank").load().model, "scaled": scaled, "untied": specimen()[0]}


def trained(base: Any, kinds: int = 3, most: int = 2, seed: int = 0, fixed: bool = False) -> PeftModel:
    """Return an adapter in which every trainable number was moved, on a copy of its base."""
    model = copy.deepcopy(base)
    extend(model, kinds, most, fixed)
    peft = get_peft_model(model, LoraConfig(**LORA, **token_fields(model)))
    noise = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter += 0.1 * torch.randn(parameter.shape, generator=noise)
    return peft.eval()
