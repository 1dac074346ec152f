"""What a model does to its last hidden states before they are logits."""

from __future__ import annotations

from typing import Any

import torch

TOKENS = 8


@torch.no_grad()
def head_is_plain(model: Any) -> bool:
    """Return whether a transformers model's logits are its head applied to its last hidden states: Granite and Cohere
    scale them, Gemma 2 caps them, and whoever applies the head itself would compute those of another model."""
    size = model.config.get_text_config().vocab_size
    ids = torch.arange(TOKENS, device=next(model.parameters()).device)[None] % size
    whole = model(input_ids=ids, use_cache=False).logits.float()
    hidden = model.get_decoder()(input_ids=ids, use_cache=False).last_hidden_state
    return bool(torch.allclose(whole, model.get_output_embeddings()(hidden).float(), rtol=1e-3, atol=1e-4))
