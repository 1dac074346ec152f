"""The raw engine's own loop: the games that a match played, played once more with nothing but the engine.

"Raw" is what somebody would write who needs the rules alone: python-chess for chess, OpenSpiel for the games it has.
At every step the loop asks whether the game is over and lists the legal moves, as a random player must, and then makes
the recorded one: the same games, without text, events, records or seeds. Choosing costs it nothing.

There is none for games of our own, and none for simultaneous games, where a step is no single engine call.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import chess
import pyspiel

from palaestra.envs.episode import Episode
from palaestra.envs.game import Game
from palaestra.envs.games.chess import Chess
from palaestra.envs.games.go import Go
from palaestra.envs.games.kuhn_poker import ACTIONS, KuhnPoker
from palaestra.envs.games.open_spiel import OpenSpielGame
from palaestra.envs.games.tic_tac_toe import TicTacToe


@dataclass(frozen=True, slots=True)
class RawLoop:
    """The engine's name, and a function that plays the games and returns how many steps it made."""

    engine: str
    run: Callable[[], int]


def raw_loop(played: Sequence[tuple[Game, Episode]]) -> RawLoop | None:
    """Return the raw loop over finished games of one kind, or None where there is no engine beneath."""
    game = played[0][0]
    if isinstance(game, Chess):
        return _python_chess(played)
    if isinstance(game, TicTacToe):
        spiel = pyspiel.load_game("tic_tac_toe")
        return _open_spiel([(spiel, [int(str(action)) - 1 for _, action in episode.actions]) for _, episode in played])
    if isinstance(game, KuhnPoker):
        return _open_spiel([(pyspiel.load_game("kuhn_poker"), _kuhn_history(*one)) for one in played])
    if isinstance(game, Go) or (isinstance(game, OpenSpielGame) and not game.facts.simultaneous):
        states = [one.spiel_state() for one, _ in played]  # type: ignore[attr-defined]
        return _open_spiel([(state.get_game(), state.history()) for state in states])
    return None


def _kuhn_history(game: Game, episode: Episode) -> list[int]:
    assert isinstance(game, KuhnPoker)
    return [*game.cards, *(ACTIONS.index(str(action)) for _, action in episode.actions)]


def _python_chess(played: Sequence[tuple[Game, Episode]]) -> RawLoop:
    choices: list[tuple[str, list[int]]] = []
    for game, episode in played:
        start = game.options.fen or chess.STARTING_FEN
        board = chess.Board(start)
        picks = []
        for _, action in episode.actions:
            move = chess.Move.from_uci(str(action))
            picks.append(list(board.legal_moves).index(move))
            board.push(move)
        choices.append((start, picks))

    def run() -> int:
        steps = 0
        for start, picks in choices:
            board = chess.Board(start)
            for pick in picks:
                if board.is_game_over():  # its own rule: draws that must be claimed do not end the game
                    break
                board.push(list(board.legal_moves)[pick])
                steps += 1
        return steps

    return RawLoop("python-chess", run)


def _open_spiel(games: Sequence[tuple[Any, Sequence[int]]]) -> RawLoop:
    def run() -> int:
        steps = 0
        for game, history in games:
            state = game.new_initial_state()
            for number in history:
                if state.is_terminal():
                    break
                if state.is_chance_node():
                    state.chance_outcomes()
                else:
                    state.legal_actions()
                    steps += 1
                state.apply_action(number)
        return steps

    return RawLoop("OpenSpiel", run)
