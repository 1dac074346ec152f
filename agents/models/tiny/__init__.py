"""Tiny models: not files but recipes, built on first use.

A *recipe* is a Llama architecture of just under a million parameters, a byte tokenizer, a named *corpus* and a
training schedule. The corpus is random legal play of a game, typed by the very seat that will later play it (so every
byte is rendered as in real play), mixed with *questions* about the state ("card?" - "K"). Building takes under a
minute or two on two cores and is cached under the recipe's hash; the folder is an ordinary transformers model, so
everything downstream treats it as a real one.

The questions are there for a reason. A model that has only seen random play forgets what it was shown, because random
moves do not depend on it; self-play training then starts from a policy that cannot see its own card, and collapses. A
test probes the hidden state for the own card.

What a built model is like: its policy is nearly uniform over the legal actions, and almost every reply is legal.
"""

from palaestra.agents.models.tiny.build import build, folder
from palaestra.agents.models.tiny.recipes import Recipe, Shape, Training, recipe, recipes

__all__ = ["Recipe", "Shape", "Training", "build", "folder", "recipe", "recipes"]
