"""The same position in OpenSpiel's terms, for search and exact solvers: `to_spiel`.

Bridge games and Go are OpenSpiel's already. Tic-tac-toe, Kuhn poker and chess have a *twin* there: an OpenSpiel state
of the same position, and a table from our actions to its numbers. Other games join by a method ``spiel_state()``
beside ``spiel_action(player, text)``, or by an entry in `_TWINS`. Open minds have the twin of the game inside.

A twin is a position, not a history: chess before it counts for the 50-move rule, but not for repetition. Tic-tac-toe's
moves so far are put in some order that leads there. Random choices still to come are not in a twin, so searching in one
foretells nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import permutations, product
from typing import Any

import pyspiel

from palaestra.envs.errors import PalaestraError
from palaestra.envs.game import Game
from palaestra.envs.games.open_minds import OpenMinds


class NoTwin(PalaestraError, LookupError):
    """The game has no counterpart in OpenSpiel."""


@dataclass(frozen=True)
class SpielTwin:
    """A position in OpenSpiel's terms.

    Attributes:
        state: A `pyspiel.State` of its own; changing it changes nothing else.
        player: The player to move, whose actions are meant below; None when the game is over.
        numbers: OpenSpiel's numbers of the legal actions, by our names.
        players: OpenSpiel's number of each of our players; in its chess, white is player 1.
    """

    state: Any
    player: int | None
    numbers: Mapping[str, int]
    players: tuple[int, ...]

    def text_action(self, number: int) -> str:
        """Return our name of the legal action with OpenSpiel's ``number``."""
        for name, known in self.numbers.items():
            if known == number:
                return name
        raise KeyError(f"action number {number} is not legal here; legal are {sorted(self.numbers.values())}")


def to_spiel(game: Game, player: int | None = None) -> SpielTwin:
    """Return the twin of a position.

    Args:
        game: Any game; it is not changed.
        player: Whose actions are wanted; by default the first player to move.

    Raises:
        NoTwin: The game has no counterpart in OpenSpiel.
    """
    if isinstance(game, OpenMinds) and not game.thinking and game.options.payoff == "own":
        return to_spiel(game.inner, player)
    movers = game.players_to_move()
    if player is None and movers:
        player = movers[0]
    legal = game.legal_actions(player) if player in movers and player is not None else ()
    if hasattr(game, "spiel_state") and hasattr(game, "spiel_action"):
        numbers = {name: game.spiel_action(player, name) for name in legal}
        return SpielTwin(game.spiel_state(), player, numbers, tuple(range(game.facts.players)))
    if game.id not in _TWINS:
        known = ", ".join(sorted([*_TWINS, "go", "openspiel/..."]))
        raise NoTwin(f"{game.id} has no counterpart in OpenSpiel, so it cannot be searched by it; {known} can.")
    state, number = _TWINS[game.id](game)
    players = (1, 0) if game.id == "chess" else tuple(range(game.facts.players))
    return SpielTwin(state, player, {name: number(name) for name in legal}, players)


@cache
def _spiel(name: str) -> Any:
    return pyspiel.load_game(name)


def _tic_tac_toe(game: Any) -> tuple[Any, Callable[[str], int]]:
    marks = [[cell for cell in range(9) if game.squares[cell] == mark] for mark in "XO"]
    orders = [[tuple(cells)] for cells in marks]
    if game.winner is not None:  # the line must not be complete before the last move
        orders[game.winner] = list(permutations(marks[game.winner]))
    for firsts, seconds in product(*orders):
        state = _spiel("tic_tac_toe").new_initial_state()
        if _alternate(state, firsts, seconds):
            return state, lambda text: int(text) - 1
    raise ValueError(f"no order of play leads to {game.squares}")


def _alternate(state: Any, firsts: Sequence[int], seconds: Sequence[int]) -> bool:
    """Play two lists of moves in turn; return whether none of them came after the end."""
    for index in range(len(firsts) + len(seconds)):
        if state.is_terminal():
            return False
        state.apply_action((firsts, seconds)[index % 2][index // 2])
    return True


def _kuhn_poker(game: Any) -> tuple[Any, Callable[[str], int]]:
    state = _spiel("kuhn_poker").new_initial_state()
    for card in game.cards:
        state.apply_action(card)
    for mark in game.history:
        state.apply_action("pb".index(mark))
    return state, ("pass", "bet").index


def _chess(game: Any) -> tuple[Any, Callable[[str], int]]:
    name = "chess(chess960=true)" if game.position.chess960 else "chess"
    state = _spiel(name).new_initial_state(game.fen())
    return state, state.parse_move_to_action


_TWINS: dict[str, Callable[[Any], tuple[Any, Callable[[str], int]]]] = {
    "tic_tac_toe": _tic_tac_toe,
    "kuhn_poker": _kuhn_poker,
    "chess": _chess,
}
