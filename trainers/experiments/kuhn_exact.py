"""Kuhn poker solved exactly: the 12 information states, exploitability, averaged policies, and how a language model's
policy is read.

A policy is float64[12, 2]: a line per information state of `STATES` (OpenSpiel's names: card, then ``p`` and ``b``),
the probabilities of pass and bet. Exploitability is OpenSpiel's, half of NashConv.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

import numpy as np
import pyspiel
from open_spiel.python import policy as spiel_policy
from open_spiel.python.algorithms import exploitability as spiel_exploitability

from palaestra.agents.models.sources import ModelSource
from palaestra.envs import make
from palaestra.envs.games.kuhn_poker import ACTIONS, KuhnPoker
from palaestra.trainers.config import RunConfig
from palaestra.trainers.readout import contexts, reply_ids

HISTORIES = ("", "pb", "p", "b")
"""The first player's two, then the second's."""
STATES = tuple(f"{card}{history}" for history in HISTORIES for card in range(3))


@lru_cache(maxsize=1)
def _game() -> pyspiel.Game:
    return pyspiel.load_game("kuhn_poker")


def exploitability(policy: np.ndarray) -> float:
    """Return the exact exploitability of a policy [12, 2]: 0 at an equilibrium, 0.4583 for uniform play."""
    table = spiel_policy.TabularPolicy(_game())
    for line, state in enumerate(STATES):
        table.action_probability_array[table.state_lookup[state]] = policy[line]
    return float(spiel_exploitability.exploitability(_game(), table))


class Averaged:
    """The average of policies: iteration t weighs t (as in CFR+) times the player's own reach probability."""

    def __init__(self) -> None:
        self.count = 0
        self._mixed = np.zeros((12, 2))
        self._reached = np.zeros((12, 1))

    def add(self, policy: np.ndarray) -> None:
        """Add the policy of the next iteration."""
        self.count += 1
        reach = np.full((12, 1), float(self.count))
        reach[3:6] *= policy[0:3, :1]  # the first player sees "pb" only after passing
        self._mixed += reach * policy
        self._reached += reach

    def policy(self) -> np.ndarray:
        """Return the average so far."""
        return self._mixed / self._reached


def probes(config: RunConfig) -> tuple[list[list[int]], list[int]]:
    """Return 24 token sequences, for each of `STATES` the context followed by each of the two replies, and where the
    replies start.

    The contexts are those that a match shows: the game is played with the run's own settings and the actions of the
    state's history.
    """
    source = ModelSource.parse(config.model.source)
    return _probes(str(source.base), config.games[0].model_dump_json())


@lru_cache(maxsize=4)
def _probes(source: str, section_json: str) -> tuple[list[list[int]], list[int]]:
    from palaestra.trainers.config import GameSection

    section = GameSection.model_validate_json(section_json)
    codec = ModelSource.parse(source).codec()
    found: dict[str, list[int]] = {}
    for cards in permutations(range(3), 2):
        for script in ("pbb", "bb", "pp"):
            game = make("kuhn_poker", **section.options)
            assert isinstance(game, KuhnPoker)
            game.cards = list(cards)
            shown = contexts(game, section, codec, [ACTIONS["pb".index(mark)] for mark in script])
            for turn, context in enumerate(shown):
                found.setdefault(f"{cards[turn % 2]}{script[:turn]}", context)
    rows, starts = [], []
    for state in STATES:
        for action in ACTIONS:
            rows.append([*found[state], *reply_ids(codec, action)])
            starts.append(len(found[state]))
    return rows, starts
