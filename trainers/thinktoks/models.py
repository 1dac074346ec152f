"""Models that begin from nothing: small Llamas over a vocabulary with thinking tokens, to be trained whole.

``loops`` sends a token through the same layers again and again: the same parameters, as many times the compute, and no
thoughts. It is the control for learners that think.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from palaestra.agents.models.tiny.build import blank
from palaestra.agents.models.tiny.recipes import Shape as Architecture
from palaestra.agents.thinking import Thinking


@dataclass(frozen=True, slots=True)
class Shape:
    """How large a model is.

    Attributes:
        layers, width, heads: Of the transformer; the inner width is four times ``width``.
        loops: How often the layers are gone through.
        context: Longest context, thoughts included.
    """

    layers: int = 2
    width: int = 128
    heads: int = 4
    loops: int = 1
    context: int = 512


def fresh_model(thinking: Thinking, shape: Shape, seed: int) -> Any:
    """Return a model whose first weights follow from the seed; every parameter is trained."""
    architecture = Architecture(shape.width, shape.layers, 4 * shape.width, shape.heads, shape.context)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = blank(architecture, thinking.size, bos_token_id=None, eos_token_id=None)
    body = model.get_decoder()
    body.layers = torch.nn.ModuleList(list(body.layers) * shape.loops)
    model.config.num_hidden_layers = len(body.layers)
    return model.eval()
