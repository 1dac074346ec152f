"""EPD, the notation of chess positions with operations, as puzzle collections use it: one position a line.

Read are ``bm`` (best moves), ``am`` (moves to avoid), ``pv`` (the whole line), ``dm`` (mate in so many moves) and
``id``. A line that begins with ``#``, ``%`` or ``;`` is a comment.
"""

from __future__ import annotations

from dataclasses import dataclass

import chess

from palaestra.envs.notation.files import Fault, Reading

LONGEST_LINE = 4000
MOST_MATE = 4
"""A mate in more moves needs its line, because nobody can try all others."""


@dataclass(frozen=True)
class Puzzle:
    """A position with what is to be found in it.

    Attributes:
        fen: The position; the side to move solves.
        line: The solution in UCI: the solver's moves and the answers to them, in turn. Empty with ``avoid``.
        best: Moves in UCI that are right at once, if there are several.
        avoid: Moves in UCI that are wrong, where all others are right.
        mate: Moves within which a mate is to be given; 0 if that is not the task.
        name: What the file calls it.
        chess960: Whether kings castle by the rules of Chess960.
    """

    fen: str
    line: tuple[str, ...] = ()
    best: tuple[str, ...] = ()
    avoid: tuple[str, ...] = ()
    mate: int = 0
    name: str = ""
    chess960: bool = False


def read_epd(text: str) -> Reading[Puzzle]:
    """Return the puzzles of an EPD file."""
    puzzles: list[Puzzle] = []
    faults: list[Fault] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        line = line.strip()
        if not line or line.startswith(("#", "%", ";")):
            continue
        try:
            puzzles.append(_puzzle(line))
        except (ValueError, IndexError, AssertionError) as error:
            faults.append(Fault(number, str(error) or "it is no EPD"))
    return Reading(tuple(puzzles), tuple(faults))


def _puzzle(line: str) -> Puzzle:
    if len(line) > LONGEST_LINE:
        raise ValueError(f"it has {len(line)} characters, expected at most {LONGEST_LINE}")
    board = chess.Board()
    given = board.set_epd(line)
    if not board.is_valid():
        raise ValueError("it is no position of chess")
    if not any(board.generate_legal_moves()):
        raise ValueError("nobody can move in this position")
    best, avoid, whole = (_uci(given.get(name)) for name in ("bm", "am", "pv"))
    mate = given.get("dm") or 0
    if not (best or avoid or whole or mate):
        raise ValueError("it says nothing of what is to be found; give bm, am, pv or dm")
    if not isinstance(mate, int) or not 0 <= mate <= 50:
        raise ValueError(f"dm is {mate}, expected 1 to 50")
    if mate > MOST_MATE and not (whole or best):
        raise ValueError(f"a mate in {mate} needs its line; give pv")
    name = given.get("id")
    return Puzzle(
        board.fen(en_passant="legal"), whole or best[:1], best, avoid, mate, name[:80] if isinstance(name, str) else ""
    )


def _uci(moves: object) -> tuple[str, ...]:
    if isinstance(moves, list) and all(isinstance(move, chess.Move) for move in moves):
        return tuple(move.uci() for move in moves)
    return ()
