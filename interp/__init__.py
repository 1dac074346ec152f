"""From adapters to explanations: what matters inside a model, what training changed, and why it does what it does.

    opened.py                    a causal model of transformers, with or without LoRA adapters, as it is
    capture.py, intervene.py     what components compute, kept and changed
    importance/                  how much each does, and each edge between two
    circuits/                    what a behaviour runs on: found, measured, edited, attacked
    episode.py                   one decision of a game explained

Words. A *component* is an embedding, a head, an MLP, a norm's scale or gain, or a LoRA layer's delta; `components` has
their names. A *metric* is what is explained, one number a prompt. *Clean* prompts show the behaviour, *corrupt* ones
line up with them and do not.
"""

from palaestra.interp.capture import capture
from palaestra.interp.intervene import intervene
from palaestra.interp.opened import OpenModel, open_model
from palaestra.interp.prompts import Pairs, Prompts

__all__ = ["OpenModel", "Pairs", "Prompts", "capture", "intervene", "open_model"]
