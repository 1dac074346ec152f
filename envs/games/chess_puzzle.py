"""Chess puzzles for one player: find the best move, the move to avoid, or the mate, in positions from a file.

The file is EPD (a position a line with ``bm``, ``am``, ``pv`` or ``dm``) or PGN (games from a set-up position; the main
line is the solution). Which puzzle is played follows from the seed. A line that cannot be read is told with its number,
and the rest is read.

A move is right if it is the solution's, one of several best moves, none to avoid, a checkmate, or forces the mate that
is asked for (``dm``, up to 4 moves) in time. Then the answer is played, and the next move is asked for, until the line
ends or the mate is given; without a line the defence is the one that lasts longest. The first wrong move ends the
puzzle.

The return is 1 for a puzzle that is solved, else 0; ``partial`` counts the share of the moves that were right.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal, Self

import chess

from palaestra.envs.errors import IllegalAction, NotationError
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games.chess import COLORS, drawn, piece_list
from palaestra.envs.notation.chess_moves import read_move
from palaestra.envs.notation.epd import MOST_MATE, Puzzle, read_epd
from palaestra.envs.parts import Action

LONGEST_FILE = 1_000_000
LONGEST_LINE = 60
_PGN_HEADER = re.compile(r"^\s*\[[A-Za-z]+\s+\"", re.MULTILINE)

PuzzleView = Literal["board", "fen", "pieces"]


@dataclass(frozen=True)
class ChessPuzzleOptions:
    """Which puzzles, and how they are shown.

    Attributes:
        puzzles: EPD or PGN text (at the command line ``@FILE``); empty for the collection that comes with the package,
            mates in one and two moves.
        partial: Whether a line that is found in part is worth its share.
        view: ``"board"``: a drawing and the FEN; ``"fen"``: the FEN; ``"pieces"``: where each piece stands, in words.
    """

    puzzles: str = ""
    partial: bool = False
    view: PuzzleView = "board"

    def __post_init__(self) -> None:
        if len(self.puzzles) > LONGEST_FILE:
            raise ValueError(f"puzzles has {len(self.puzzles)} characters, expected at most {LONGEST_FILE}; split it")
        _read(self.puzzles)


class ChessPuzzle(Game):
    """One puzzle; the player has the side that is to move in it."""

    id = "chess_puzzle"
    summary = "find the move, from EPD or PGN"
    Options = ChessPuzzleOptions

    puzzle: Puzzle
    position: chess.Board
    found: int
    """Right moves so far."""
    solved: bool | None
    """None while it is being solved."""
    answers: list[str]
    """Moves so far in SAN, the solver's and the answers to them."""

    @property
    def facts(self) -> GameFacts:
        longest = max(_moves_wanted(puzzle) for puzzle in _read(self.options.puzzles))
        return GameFacts(
            players=1,
            min_return=0.0,
            max_return=1.0,
            max_turns=longest,
            max_observation_chars=1500 + 16 * longest,
            roles=("solver",),
            chance=True,
            utility="general_sum",
        )

    def setup(self) -> None:
        self.puzzle = self.dice.choice(_read(self.options.puzzles))
        self.position = chess.Board(self.puzzle.fen, chess960=self.puzzle.chess960)
        self.found = 0
        self.solved = None
        self.answers = []

    def players_to_move(self) -> tuple[int, ...]:
        return (0,) if self.solved is None else ()

    def prompt(self, player: int) -> str:
        puzzle = self.puzzle
        side = COLORS[0 if chess.Board(puzzle.fen).turn else 1]
        task = "Find the best move"
        if puzzle.mate:
            task = f"Give mate within {puzzle.mate} move{'s' if puzzle.mate > 1 else ''}"
        elif puzzle.avoid and not puzzle.best:
            task = "One natural move is a mistake; find another that is good"
        return (
            f"Chess puzzle. You have {side}. {task}. Answer with one move, such as Nf3, O-O, exd8=Q or e2e4; the last "
            "move in your answer counts."
        )

    def recap(self, player: int) -> str:
        return f"Played so far: {' '.join(self.answers)}" if self.answers else ""

    def board(self, player: int) -> str:
        shown = [self.position.fen(en_passant="legal")]
        if self.options.view == "board":
            shown = [*drawn(shown[0]), *shown]
        elif self.options.view == "pieces":
            shown = piece_list(self.position)
        return "\n".join([*shown, f"{COLORS[0 if self.position.turn else 1]} to move."])

    def _legal(self) -> list[chess.Move]:
        return [] if self.solved is not None else list(self.position.legal_moves)

    def legal_actions(self, player: int) -> Sequence[str]:
        return [move.uci() for move in self._legal()]

    def spelled_actions(self, player: int) -> Sequence[str]:
        return [self.position.san(move) for move in self._legal()]

    def parse(self, player: int, text: str) -> Action:
        return read_move(self.position, self._legal(), text).uci()

    def check(self, player: int, action: Action) -> None:
        if action not in self.legal_actions(player):
            raise IllegalAction(f"{action!r} is not legal in this position; name a legal move in UCI.")

    def _apply(self, player: int, action: Action) -> None:
        move = chess.Move.from_uci(str(action))
        right = self._is_right(move)
        self._push(move)
        self.found += right
        if not right:
            self.solved = False
        elif self.position.is_checkmate() or self.found >= _moves_wanted(self.puzzle):
            self.solved = True
        else:
            self._answer()

    def _push(self, move: chess.Move) -> None:
        self.answers.append(self.position.san(move))
        self.position.push(move)

    def _is_right(self, move: chess.Move) -> bool:
        puzzle, played = self.puzzle, len(self.answers)
        after = self.position.copy(stack=False)
        after.push(move)
        if after.is_checkmate():
            return True
        if puzzle.avoid and not puzzle.best and not puzzle.line:
            return move.uci() not in puzzle.avoid
        if played == 0 and move.uci() in puzzle.best:
            return True
        if played < len(puzzle.line) and puzzle.line[played] == move.uci():
            return True
        return 0 < puzzle.mate <= MOST_MATE and mates_within(after, puzzle.mate - self.found - 1)

    def _answer(self) -> None:
        """Play the line's answer, or the defence against the mate that lasts longest (the first of equals)."""
        line, played = self.puzzle.line, len(self.answers)
        follows = played < len(line) and self.position.is_legal(chess.Move.from_uci(line[played]))
        if follows:
            move = chess.Move.from_uci(line[played])
        else:
            left = self.puzzle.mate - self.found
            move = max(sorted(self.position.legal_moves, key=chess.Move.uci), key=lambda one: self._lasts(one, left))
        number = f"{COLORS[0 if self.position.turn else 1]} answers {self.position.san(move)}."
        self._push(move)
        self.emit("move", number)

    def _lasts(self, move: chess.Move, left: int) -> int:
        after = self.position.copy(stack=False)
        after.push(move)
        return next((moves for moves in range(1, left) if mates_in(after, moves)), left)

    def returns(self) -> tuple[float, ...]:
        if self.solved or not self.options.partial:
            return (float(bool(self.solved)),)
        return (self.found / _moves_wanted(self.puzzle),)

    def result(self) -> dict[str, Any]:
        """Return the puzzle's name, what was played, how many moves were right, and the solution."""
        return {
            "puzzle": self.puzzle.name,
            "solved": bool(self.solved),
            "found": self.found,
            "moves": _moves_wanted(self.puzzle),
            "played": self.answers,
            "solution": list(self.puzzle.line or self.puzzle.best),
        }

    def state(self) -> dict[str, Any]:
        return {"start": self.puzzle.fen, "played": self.answers, "solved": self.solved}

    def _clone_state_into(self, twin: Self) -> None:
        twin.position = self.position.copy(stack=False)
        twin.answers = self.answers.copy()


def mates_in(board: chess.Board, moves: int) -> bool:
    """Return whether the side to move can force mate within so many of its moves, by trying everything."""
    for move in board.legal_moves:
        board.push(move)
        mated = mates_within(board, moves - 1)
        board.pop()
        if mated:
            return True
    return False


def mates_within(board: chess.Board, moves: int) -> bool:
    """Return whether the side that has just moved has given mate, or can force it within so many more moves."""
    if board.is_checkmate():
        return True
    if moves <= 0 or board.is_stalemate() or board.is_insufficient_material():
        return False
    for answer in board.legal_moves:
        board.push(answer)
        mated = mates_in(board, moves)
        board.pop()
        if not mated:
            return False
    return True


def _moves_wanted(puzzle: Puzzle) -> int:
    return max(1, (len(puzzle.line) + 1) // 2, puzzle.mate if len(puzzle.line) <= 1 else 0)


@lru_cache(maxsize=16)
def _read(text: str) -> tuple[Puzzle, ...]:
    """Return the puzzles of a file, warning of what cannot be read.

    Raises:
        ValueError: There is no puzzle in it.
    """
    own = not text
    if own:
        text = resources.files("palaestra.envs.games").joinpath("chess_puzzles.epd").read_text(encoding="utf-8")
    try:
        return _from_pgn(text) if _PGN_HEADER.search(text) else read_epd(text).or_warn("puzzles")
    except NotationError as error:
        raise ValueError(str(error)) from None


def _from_pgn(text: str) -> tuple[Puzzle, ...]:
    """Return the games of a PGN file that begin from a set-up position as puzzles."""
    from palaestra.envs.notation.pgn import read_pgn

    games = [game for game in read_pgn(text).or_warn("puzzles") if game.moves]
    if not games:
        raise ValueError("puzzles: no game of this PGN has a move")
    return tuple(
        Puzzle(
            game.fen or chess.STARTING_FEN,
            game.moves[:LONGEST_LINE],
            name=game.headers.get("Event", "")[:80],
            chess960=game.chess960,
        )
        for game in games
    )
