"""Kuhn poker with open minds, exactly: a policy that thinks before it moves as tables, and how far it can be exploited.

Every player first names a card in its thought, then Kuhn poker is played. A policy says with which probability each
card is named and, for every thought of its own and, if it is read, of the other's, each move. Only such thoughts are
counted: the policy's probabilities are renormalised over them; how much falls on them at all is
`MindsPolicy.legal`.

*Exploitability* is half of NashConv, as in `kuhn_exact`, of the whole game, thoughts included: a best response may name
any card in its own thought, and, where thoughts are public, reads the other's. In private a thought is a way to roll
dice, so a policy is worth what the moves are that it amounts to; in public it also costs what it gives away.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain, product
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from palaestra.agents.scripted_minds import SILENT, thought_of
from palaestra.envs import make
from palaestra.envs.games.kuhn_poker import ACTIONS, CARDS, KuhnPoker
from palaestra.envs.games.open_minds import OpenMinds
from palaestra.trainers.config import GameSection
from palaestra.trainers.experiments.kuhn_exact import HISTORIES
from palaestra.trainers.readout import contexts, reply_ids

Table = NDArray[np.float64]
PASS, BET = range(2)
FIRST, LATER = range(2)
"""A player's two decisions: the first player's at no move and at ``pb``, the second's at ``p`` and at ``b``."""


@dataclass(frozen=True)
class MindsPolicy:
    """A policy for both seats.

    Attributes:
        first: float64[3, 3], the first player's thoughts: by its card, which card it names.
        second: float64[3, 3, 3], the second's: by its card and the card that the first one named.
        moves: float64[2, 3, 3, 3, 2, 2]: by player, its card, the card that it named, the card that the other named
            (which makes no difference where it is not read) and decision, the probabilities of pass and bet.
        legal: Least share of probability on such thoughts and moves, over all contexts.
    """

    first: Table
    second: Table
    moves: Table
    legal: float = 1.0


def silent(table: Table) -> MindsPolicy:
    """Return a policy of `kuhn_exact`, float64[12, 2], whose thoughts say nothing and move nobody."""
    moves = np.empty((2, 3, 3, 3, 2, 2))
    for player, decision in product(range(2), range(2)):
        lines = table[3 * (2 * player + decision) :][:3]  # three cards a history of HISTORIES
        moves[player, :, :, :, decision] = lines[:, None, None, :]
    return MindsPolicy(np.full((3, 3), 1 / 3), np.full((3, 3, 3), 1 / 3), moves)


def moves_alone(policy: MindsPolicy) -> Table:
    """Return float64[12, 2], the policy of `kuhn_exact` that plays as ``policy`` does where thoughts are private.

    Raises:
        ValueError: It makes a difference to the policy what the other thinks.
    """
    if np.ptp(policy.second, axis=1).max() > 1e-9 or np.ptp(policy.moves, axis=3).max() > 1e-9:
        raise ValueError("the policy answers the other's thoughts, so it is no policy for private ones")
    table = np.empty((len(HISTORIES), 3, 2))
    for player, named in enumerate((policy.first, policy.second[:, 0])):
        moves = policy.moves[player, :, :, 0]  # [card, own thought, decision, action]
        table[2 * player] = np.einsum("ct,cta->ca", named, moves[:, :, FIRST])
        reached = named * moves[:, :, FIRST, PASS] if player == 0 else named
        later = np.einsum("ct,cta->ca", reached, moves[:, :, LATER])
        share = reached.sum(axis=1, keepdims=True)
        table[2 * player + 1] = np.where(share > 0, later / np.where(share > 0, share, 1), 0.5)
    return table.reshape(12, 2)


def exploitability(policy: MindsPolicy, *, public: bool) -> float:
    """Return how much a best response gains against the policy, the mean over both seats; 0 at an equilibrium."""
    return (_best_first(policy, public) + _best_second(policy, public)) / 2


class _Kind(NamedTuple):
    """One kind of opponent: how likely it is, its card, and its probability of a bet at its two decisions."""

    weight: float
    card: int
    bets: Table


def _best_first(policy: MindsPolicy, public: bool) -> float:
    """Return the best value for the first player, who names a card, hears the second's thought, and plays."""
    total = 0.0
    for own in range(3):
        said = []
        for named in range(3):
            heard = [
                [
                    _Kind(policy.second[card, named, other] / 6, card, policy.moves[1, card, other, named, :, BET])
                    for card in range(3)
                    if card != own
                ]
                for other in range(3)
            ]
            said.append(sum(_first_value(own, kinds) for kinds in _known(heard, public)))
        total += max(said)
    return total


def _best_second(policy: MindsPolicy, public: bool) -> float:
    """Return the best value for the second player, who hears the first's thought, names a card, and plays."""
    total = 0.0
    for own in range(3):
        said = [
            [
                [
                    _Kind(policy.first[card, other] / 6, card, policy.moves[0, card, other, named, :, BET])
                    for card in range(3)
                    if card != own
                ]
                for other in range(3)
            ]
            for named in range(3)
        ]
        if public:
            total += sum(max(_second_value(own, said[named][other]) for named in range(3)) for other in range(3))
        else:
            total += max(_second_value(own, list(chain(*kinds))) for kinds in said)
    return total


def _known(heard: Sequence[list[_Kind]], public: bool) -> list[list[_Kind]]:
    """Return the kinds that cannot be told apart: those of one thought where it is read, else all."""
    return list(heard) if public else [list(chain(*heard))]


def _first_value(own: int, kinds: Sequence[_Kind]) -> float:
    """Return the most that the first player gets with card ``own``, summed over the opponent's kinds."""
    wins = [(kind, 1.0 if own > kind.card else -1.0) for kind in kinds]
    checked = sum(kind.weight * (1 - kind.bets[FIRST]) * win for kind, win in wins)
    folds = -sum(kind.weight * kind.bets[FIRST] for kind in kinds)
    calls = sum(kind.weight * kind.bets[FIRST] * 2 * win for kind, win in wins)
    bets = sum(kind.weight * ((1 - kind.bets[LATER]) + kind.bets[LATER] * 2 * win) for kind, win in wins)
    return float(max(checked + max(folds, calls), bets))


def _second_value(own: int, kinds: Sequence[_Kind]) -> float:
    """Return the same for the second player."""
    wins = [(kind, 1.0 if own > kind.card else -1.0) for kind in kinds]
    checks = sum(kind.weight * (1 - kind.bets[FIRST]) * win for kind, win in wins)
    bets = sum(
        kind.weight * (1 - kind.bets[FIRST]) * ((1 - kind.bets[LATER]) + kind.bets[LATER] * 2 * win)
        for kind, win in wins
    )
    folds = -sum(kind.weight * kind.bets[FIRST] for kind in kinds)
    calls = sum(kind.weight * kind.bets[FIRST] * 2 * win for kind, win in wins)
    return float(max(checks, bets) + max(folds, calls))


class Probes:
    """What is scored to read a language model: contexts of a run's own matches, each followed by every reply.

    Attributes:
        rows, starts: Token sequences, and where their replies start.
    """

    def __init__(self, section: GameSection, codec: Any) -> None:
        self.rows: list[list[int]] = []
        self.starts: list[int] = []
        self._section, self._codec = section, codec
        self._public = section.rules.visibility == "public"
        for card in range(3):
            context = self._shown(card, (card + 1) % 3, 0, 0, ["bet", "pass"])[0]
            self._add(context, [thought_of(named, SILENT) for named in CARDS])
        for card, heard in product(range(3), range(3)):
            context = self._shown((card + 1) % 3, card, heard, card, ["bet", "pass"])[1]
            self._add(context, [thought_of(named, self._heard(heard)) for named in CARDS])
        self._thoughts = len(self.rows)
        for card, named, other in product(range(3), range(3), range(3)):
            long = self._shown(card, (card + 1) % 3, named, other, ["pass", "bet", "pass"])
            self._add(long[2], ACTIONS)
            self._add(long[4], ACTIONS)
        for card, named, other in product(range(3), range(3), range(3)):
            for move in ACTIONS:
                self._add(self._shown((card + 1) % 3, card, other, named, [move, "pass"])[3], ACTIONS)

    def read(self, logprobs: Table) -> MindsPolicy:
        """Return the policy that gives the rows these log-probabilities, float64[n]."""
        odds = np.exp(logprobs)
        thoughts, moves = odds[: self._thoughts].reshape(-1, 3), odds[self._thoughts :].reshape(2, 3, 3, 3, 2, 2)
        legal = float(min(thoughts.sum(axis=-1).min(), moves.sum(axis=-1).min()))
        thoughts, moves = (table / table.sum(axis=-1, keepdims=True) for table in (thoughts, moves))
        return MindsPolicy(thoughts[:3], thoughts[3:].reshape(3, 3, 3), moves, legal)

    def _heard(self, named: int) -> str:
        return CARDS[named] if self._public else SILENT

    def _shown(self, card: int, other: int, first: int, second: int, moves: list[str]) -> list[list[int]]:
        """Return the context of every reply of a game with these cards, in which these cards are named."""
        game = make(self._section.game, **self._section.options)
        assert isinstance(game, OpenMinds)
        assert isinstance(game.inner, KuhnPoker)
        game.inner.cards = [card, other]
        script = [thought_of(CARDS[first], SILENT), thought_of(CARDS[second], self._heard(first)), *moves]
        return contexts(game, self._section, self._codec, script)

    def _add(self, context: list[int], replies: Sequence[str]) -> None:
        for reply in replies:
            self.rows.append([*context, *reply_ids(self._codec, reply)])
            self.starts.append(len(context))
