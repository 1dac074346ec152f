"""How a chess move is read out of what somebody wrote: leniently, and never by guessing.

Read are SAN (``Nf3``, ``exd5``, ``O-O``, ``e8=Q``), UCI (``g1f3``, ``e7e8q``), long forms (``Ng1-f3``, ``e2 to e4``),
plain words (``knight takes f3``, ``castle kingside``), figurines, and any of these inside a sentence, brackets or
after a move number. The last move in the text counts. A square after *on*, *at* or *from* is a place and not a move
("e4 attacks the pawn on d5" says e4).

Two readings are never chosen between: ``Nd2`` with two knights that reach d2, ``e8`` without the promoted piece, and
``g1 f3`` (a knight's move, or f3) are `UnparsableAction`, and the reason names the readings. Letter case decides
between the b-pawn and the bishop: ``bxc3`` is the pawn's, ``Bxc3`` the bishop's, ``BXC3`` either.

A move of this position's pieces that the rules forbid is `IllegalAction`, with the reason a player can learn from.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

import chess

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.grammar import shorten

PIECES = {"k": chess.KING, "q": chess.QUEEN, "r": chess.ROOK, "b": chess.BISHOP, "n": chess.KNIGHT, "p": chess.PAWN}

_MOVE = re.compile(
    r"""(?<![\w=])(?<!\w-)(?:
        (?P<castle>[Oo0]-[Oo0](?:-[Oo0])?)
      | (?P<piece>[KQRBNPkqrnp])? (?P<from_file>[a-hA-H])? (?P<from_rank>[1-8])?
        (?P<link>[-xX:] | (?<=[a-hA-H][1-8])[ ]+(?=[a-hA-H][1-8]))?
        (?P<to_file>[a-hA-H]) (?P<to_rank>[1-8]) (?:[=/]?\(?(?P<promotion>[QRBNqrbn])\)?)?
      )(?!\w)(?!-\w)""",
    re.VERBOSE,
)

_PLAIN = str.maketrans("–‐‑−×→♔♕♖♗♘♙♚♛♜♝♞♟", "----x>KQRBNPKQRBNP")
_NAME = "king|queen|rook|bishop|knight|pawn"
_TAKES = "takes|captures|x"


def _letter(word: str | None) -> str:
    """Return a piece's letter for its English name."""
    return "" if not word else "N" if word.lower() == "knight" else word[0].upper()


_PROSE: tuple[tuple[re.Pattern[str], Callable[[re.Match[str]], str]], ...] = tuple(
    (re.compile(pattern, re.IGNORECASE), write)
    for pattern, write in (
        # A dash between squares; between words, as in "e4—best", it is punctuation.
        (r"(?<=[1-8o0])—(?=[a-h][1-8]|[o0](?!\w))", lambda match: "-"),
        (r"\bcastl(?:e|es|ing)\s+(?:king-?\s?side|short)\b", lambda match: "O-O"),
        (r"\bcastl(?:e|es|ing)\s+(?:queen-?\s?side|long)\b", lambda match: "O-O-O"),
        # "knight from g1 to f3", "bishop takes the pawn on c6", "knight f3"
        (
            rf"\b({_NAME})\s+(?:(?:on|at|from)\s+(?:([a-h][1-8])\s+))?(?:(?:moves|goes)\s+)?"
            rf"(?:(?:to|{_TAKES})\s+(?:(?:the|on|at|{_NAME}|piece)\s+)*)?([a-h][1-8])(?=[qrbn]?\b)",
            lambda match: _letter(match[1]) + (match[2] or "") + match[3],
        ),
        (rf"\b([a-h][1-8]?)\s+(?:{_TAKES})\s+([a-h][1-8])(?=[qrbn]?\b)", lambda match: f"{match[1]}x{match[2]}"),
        (r"\b([a-h][1-8])(?:\s+to\s+|\s*[-=]?>\s*)([a-h][1-8])(?=[qrbn]?\b)", lambda match: f"{match[1]}-{match[2]}"),
        (
            rf"([a-h][1-8])\s*(?:=|,?\s(?:and\s)?promot(?:es|ing)\sto)\s*(?:an?\s+)?({_NAME})\b",
            lambda match: f"{match[1]}={_letter(match[2])}",
        ),
        (r"([a-h][18])\s*=\s*([qrbn])\b", lambda match: f"{match[1]}={match[2].upper()}"),
        # A place is no move: "the pawn on d5".
        (r"\b(?:on|at|from|square)\s+(?:the\s+)?[a-h][1-8]\b(?!-)", lambda match: "…"),
    )
)
"""English around a move, rewritten as notation, in this order."""


class _Reading(NamedTuple):
    """What a piece of text says about a move; None where it says nothing."""

    piece: chess.PieceType | None
    from_file: int | None
    from_rank: int | None
    to_square: chess.Square
    promotion: chess.PieceType | None

    def fits(self, board: chess.Board, move: chess.Move) -> bool:
        """Return whether ``move`` is one that the text may mean; an unnamed promotion fits every promotion."""
        return (
            move.to_square == self.to_square
            and (self.from_file is None or chess.square_file(move.from_square) == self.from_file)
            and (self.from_rank is None or chess.square_rank(move.from_square) == self.from_rank)
            and (self.piece is None or board.piece_type_at(move.from_square) == self.piece)
            and (self.promotion is None or move.promotion == self.promotion)
        )


def read_move(board: chess.Board, legal: Iterable[chess.Move], text: str) -> chess.Move:
    """Return the one legal move that ``text`` names last.

    Args:
        board: The position; unchanged afterwards.
        legal: Its legal moves.

    Raises:
        UnparsableAction: No move is named, or more than one legal move fits the words.
        IllegalAction: A move is named that the rules do not allow.
    """
    legal = list(legal)
    plain = text.translate(_PLAIN)
    for pattern, write in _PROSE:
        plain = pattern.sub(write, plain)
    named = list(_MOVE.finditer(plain))
    if not named:
        examples = ", ".join(board.san(move) for move in legal[:3])
        raise UnparsableAction(f"no move found in {shorten([text], 80)!r}; end with one move, such as {examples}.")
    found = named[-1]
    said = found.group(0).strip()
    if found["castle"]:
        return _castling(board, legal, said, long=len(said) == 5)
    readings = list(_readings(found))
    moves = [move for move in legal if any(reading.fits(board, move) for reading in readings)]
    if len(moves) == 1:
        return moves[0]
    if moves:
        exact = ", ".join(board.san(move) for move in moves)
        if all(move.promotion for move in moves) and len({move.from_square for move in moves}) == 1:
            raise UnparsableAction(f"{said!r} is a promotion but names no piece; write one of {exact}.")
        raise UnparsableAction(f"{said!r} can mean {exact.replace(', ', ' or ')}; write one of these.")
    raise IllegalAction(f"{said!r} is not legal: {_why_not(board, legal, readings)}.")


def _readings(match: re.Match[str]) -> Iterator[_Reading]:
    """Yield what the match can mean: one reading, or two where case or a bare space leaves it open."""
    letter = match["piece"]
    from_file = None if match["from_file"] is None else ord(match["from_file"].lower()) - ord("a")
    from_rank = None if match["from_rank"] is None else int(match["from_rank"]) - 1
    to_file = ord(match["to_file"].lower()) - ord("a")
    to_square = chess.square(to_file, int(match["to_rank"]) - 1)
    promotion = PIECES[match["promotion"].lower()] if match["promotion"] else None
    piece = PIECES[letter.lower()] if letter else None
    if letter is None and match["link"] and match["link"].isspace():
        yield _Reading(chess.PAWN, to_file, None, to_square, promotion)
    if piece is None and (from_file is None or from_rank is None):
        # No piece letter is a pawn's move: straight ahead, or from the named file. "bb4" is no pawn's move at all.
        piece = chess.PAWN
        if from_file is None:
            from_file = to_file
        elif from_file == to_file and match["from_file"] == "b":
            piece, from_file = chess.BISHOP, None
    yield _Reading(piece, from_file, from_rank, to_square, promotion)
    if letter == "B" and match["to_file"].isupper() and match["from_file"] is None:
        yield _Reading(chess.PAWN if from_rank is None else None, 1, from_rank, to_square, promotion)


def _castling(board: chess.Board, legal: list[chess.Move], said: str, *, long: bool) -> chess.Move:
    side = board.is_queenside_castling if long else board.is_kingside_castling
    for move in legal:
        if side(move):
            return move
    rook = "queen's" if long else "king's"
    right = board.has_queenside_castling_rights if long else board.has_kingside_castling_rights
    if not right(board.turn):
        why = f"the king or the {rook} rook has moved"
    elif board.is_check():
        why = "the king is in check"
    else:
        row = 0 if board.turn == chess.WHITE else 56
        between = (1, 2, 3) if long else (5, 6)
        if board.chess960:
            why = "squares between or beyond king and rook are taken or attacked"
        elif any(board.piece_at(row + file) for file in between):
            why = f"there is a piece between the king and the {rook} rook"
        else:
            why = "the king would cross or reach an attacked square"
    raise IllegalAction(f"{said!r} is not legal: {why}.")


def _why_not(board: chess.Board, legal: list[chess.Move], readings: list[_Reading]) -> str:
    """Return why no legal move fits, for the first reading."""
    reading = readings[0]
    if any(reading.fits(board, move) for move in board.generate_pseudo_legal_moves()):
        return "your king would still be in check" if board.is_check() else "it would leave your king in check"
    if reading.promotion is not None and any(reading._replace(promotion=None).fits(board, move) for move in legal):
        return "that move is no promotion"
    target = chess.square_name(reading.to_square)
    if reading.from_file is not None and reading.from_rank is not None:
        square = chess.square(reading.from_file, reading.from_rank)
        standing = board.piece_at(square)
        if standing is None:
            return f"there is no piece on {chess.square_name(square)}"
        name = chess.piece_name(standing.piece_type)
        if standing.color != board.turn:
            return f"the {name} on {chess.square_name(square)} is not yours"
        if reading.piece not in (None, standing.piece_type):
            return f"the piece on {chess.square_name(square)} is a {name}"
        return f"your {name} on {chess.square_name(square)} cannot move to {target}"
    piece = reading.piece or chess.PAWN
    if not board.pieces_mask(piece, board.turn):
        return f"you have no {chess.piece_name(piece)}"
    hint = ""
    if piece == chess.PAWN:
        bishop = _Reading(chess.BISHOP, None, None, reading.to_square, None)
        others = [move for move in legal if bishop.fits(board, move)]
        if others and reading.from_file == 1:
            hint = f" (for the bishop write {board.san(others[0])})"
    where = f" on the {chess.FILE_NAMES[reading.from_file]}-file" if reading.from_file is not None else ""
    return f"no {chess.piece_name(piece)} of yours{where} can move to {target}{hint}"
