"""Seats that look one move ahead: rungs of a ladder between chance and search.

``greedy`` takes a move that wins at once if there is one, else any, by lot; at the bargaining tables it is the scripted
negotiator of that name. ``material`` plays chess for material: a mate, else the move that takes or promotes to most by
the usual values of the pieces, else any. Neither looks at the answer.
"""

from __future__ import annotations

import chess

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.game import Game
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice

VALUES = {chess.PAWN: 1, chess.KNIGHT: 3, chess.BISHOP: 3, chess.ROOK: 5, chess.QUEEN: 9}
MATE = 1000


class GreedySeat:
    """Takes a move that wins at once.

    While playing:
        InformationError: The game hides its state, or does not list its moves.
    """

    name = "greedy"

    async def act(self, view: View) -> Reply:
        """Return the move."""
        if view.game_id in ("negotiation", "bargaining"):
            from palaestra.agents.scripted_negotiators import NEGOTIATORS

            return await NEGOTIATORS["greedy"]().act(view)
        game = view.clone_game()
        if not game.facts.enumerable:
            raise InformationError(f"greedy chooses among listed moves, and {view.game_id} does not list them.")
        return Reply(winning_move(game, view.player, Dice(view.seed)))


def winning_move(game: Game, player: int, dice: Dice) -> str:
    """Return a move that wins at once, else any; by lot."""
    moves = list(game.legal_actions(player))
    dice.shuffle(moves)
    for move in moves:
        after = game.clone()
        after.apply(player, move)
        if after.is_over() and after.returns()[player] >= game.facts.max_return:
            return move
    return moves[0]


class MaterialSeat:
    """Plays chess for material.

    While playing:
        InformationError: The game is not chess.
    """

    name = "material"

    async def act(self, view: View) -> Reply:
        """Return the move."""
        if view.game_id != "chess":
            raise InformationError(f"the 'material' seat plays chess only; seat it there, not at {view.game_id}.")
        game = view.clone_game()
        moves = list(game.legal_actions(view.player))
        Dice(view.seed).shuffle(moves)
        board: chess.Board = game.position  # type: ignore[attr-defined]
        return Reply(max(moves, key=lambda move: gain(board, chess.Move.from_uci(move))))


def gain(board: chess.Board, move: chess.Move) -> int:
    """Return the material that a move gains; `MATE` for a mate."""
    taken = chess.PAWN if board.is_en_passant(move) else board.piece_type_at(move.to_square)
    won = VALUES.get(taken, 0) if taken and board.is_capture(move) else 0
    won += VALUES[move.promotion] - 1 if move.promotion else 0
    after = board.copy(stack=False)
    after.push(move)
    return MATE if after.is_checkmate() else won
