"""Whether a review rests on what its player could not know: the facts that a game can decide.

A game says which facts are hidden from a player (`Game.hidden_from`), each as groups of words of which one each stands
in a sentence that states it: ("other", "opponent"), ("K", "king"). A review that states one, in its reason or in the
reply that it proposes, has seen the other's cards and not the mistake. A sentence that only considers something ("the
other may have K", "if ...") states nothing, and what the game cannot decide is left to the likelihood check
(`palaestra.trainers.hindsight.stage`).
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from palaestra.envs.game import Game, HiddenFact

_SENTENCE = re.compile(r"[.!?;\n]+")
_WORD = re.compile(r"\w+")
CONSIDERS = frozenset((
    "if", "may", "might", "could", "can", "would", "should", "perhaps", "maybe", "possibly", "probably", "likely",
    "unlikely", "or", "unless", "whether", "chance", "risk", "either", "not",
))  # fmt: skip


def uses_what_was_hidden(game: Game, player: int, text: str) -> bool:
    """Return whether a text states what ``player`` could not know at this position, and had not been shown or told."""
    observation = game.observation(player)
    return stated(text, [fact for fact in game.hidden_from(player) if not stated(observation, [fact])])


def stated(text: str, facts: Sequence[HiddenFact]) -> bool:
    """Return whether a sentence of a text states one of the facts."""
    for sentence in _SENTENCE.split(text):
        said = f" {' '.join(map(_folded, _WORD.findall(sentence)))} "
        if CONSIDERS.isdisjoint(said.split()) and any(
            all(any(f" {' '.join(map(_folded, words.split()))} " in said for words in group) for group in fact)
            for fact in facts
        ):
            return True
    return False


def _folded(word: str) -> str:
    """Return a word in lower case; a single letter stays, for A is no article where it is a card."""
    return word.lower() if len(word) > 1 else word
