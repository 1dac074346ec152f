"""A seat that looks one move ahead: the rung of a ladder between chance and search.

In a game of perfect information it takes a move that wins at once if there is one; in chess, else the move that gains
most material, by the usual values of the pieces; else any, by lot. In a negotiation it is the scripted negotiator
``greedy``. Elsewhere there is nothing to look at, and the seat is refused.
"""

from __future__ import annotations

import chess

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.game import Game
from palaestra.envs.games.chess import Chess
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice

VALUES = {chess.PAWN: 1, chess.KNIGHT: 3, chess.BISHOP: 3, chess.ROOK: 5, chess.QUEEN: 9}


class GreedySeat:
    """Plays the best move one move ahead.

    While playing:
        InformationError: The game hides its state, or does not list its moves.
    """

    name = "greedy"

    async def act(self, view: View) -> Reply:
        """Return the move."""
        if view.game_id == "negotiation":
            from palaestra.agents.scripted_negotiators import NEGOTIATORS

            return await NEGOTIATORS["greedy"]().act(view)
        game = view.clone_game()
        if not game.facts.enumerable:
            raise InformationError(f"greedy chooses among listed moves, and {view.game_id} does not list them.")
        return Reply(best_move(game, view.player, Dice(view.seed)))


def best_move(game: Game, player: int, dice: Dice) -> str:
    """Return a move that wins at once, else one that gains most material, else any; ties by lot."""
    moves = list(game.legal_actions(player))
    dice.shuffle(moves)
    if isinstance(game, Chess):
        return max(moves, key=lambda move: _gain(game.position, chess.Move.from_uci(move)))
    for move in moves:
        after = game.clone()
        after.apply(player, move)
        if after.is_over() and after.returns()[player] >= game.facts.max_return:
            return move
    return moves[0]


def _gain(board: chess.Board, move: chess.Move) -> float:
    """Return the material that a move gains; a mate is worth more than anything."""
    taken = chess.PAWN if board.is_en_passant(move) else board.piece_type_at(move.to_square)
    gain = VALUES.get(taken, 0) if taken and board.is_capture(move) else 0
    gain += VALUES[move.promotion] - 1 if move.promotion else 0
    after = board.copy(stack=False)
    after.push(move)
    return 1000 if after.is_checkmate() else gain
