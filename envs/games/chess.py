"""Chess by the laws of FIDE, on python-chess, with every draw automatic.

Words. A *ply* is one move of one side. A position is *repeated* when the same side is to move with the same pieces,
castling rights and en passant captures; its EPD string (en passant square only where a capture is legal) is the key.

The game ends by checkmate, stalemate and insufficient material; where the laws let a player claim a draw, this game
draws at once: at the third occurrence of a position, and when 50 moves by each side have passed without capture or
pawn move (a checkmate on the last of them counts). So no player has to know when to claim, and every game is finite.
There is no resignation and no draw offer.

Actions are UCI (``e2e4``, ``e7e8q``), because that has exactly one spelling for a move whatever else is on the board;
players may write SAN, long forms or plain words (`palaestra.envs.notation.chess_moves`), and are shown SAN.

Legal moves are found once per position and kept, because parsing, checking, sampling and the end of the game all need
them; a clone shares them and leaves python-chess's own move stack behind.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import chess

from palaestra.envs.errors import IllegalAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.notation.chess_moves import read_move
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice

ROLES = ("white", "black")
COLORS = ("White", "Black")

RECAP_PLIES = 12
HISTORY_PLIES = 240
"""What ``view="history"`` shows; the position comes with it where there were more."""
LEGAL_SHOWN = 220
"""No reachable position has more than 218 legal moves; a FEN may."""

Termination = Literal[
    "checkmate", "stalemate", "insufficient material", "50 moves", "threefold repetition", "max_plies"
]


@dataclass(frozen=True)
class ChessOptions:
    """How a game starts, how long it may last and how it is shown.

    Attributes:
        fen: Starting position; empty for the usual one.
        chess960: Chess960: the seed draws one of the 960 starting positions (or ``fen`` is one, or follows from one),
            and castling brings king and rook where they always end up.
        odds: A piece that White plays without: the f-pawn, the queen's knight, the queen's rook or the queen.
        max_plies: Plies after which the game is declared drawn; None for the laws of chess alone, under which it can
            last some ten thousand. (`MatchRules.max_turns` cuts a game without calling it a draw.)
        view: What is shown at each turn. ``"board"``: a drawing and the FEN; ``"fen"``: the FEN; ``"pieces"``: where
            each piece stands, in words; ``"history"``: all moves so far; ``"moves"``: only what was played since, so a
            growing context stays short (the FEN where one must be self-contained); ``"terse"``: one line without any
            explanation, the FEN.
        show_legal: Whether the legal moves are listed at each turn.
    """

    fen: str = ""
    chess960: bool = False
    odds: Literal["none", "pawn", "knight", "rook", "queen"] = "none"
    max_plies: int | None = None
    view: Literal["board", "fen", "pieces", "history", "moves", "terse"] = "board"
    show_legal: bool = False

    def __post_init__(self) -> None:
        if self.max_plies is not None and self.max_plies < 1:
            raise ValueError(f"max_plies is {self.max_plies}, but a game has at least 1 ply")
        if self.fen and self.odds != "none":
            raise ValueError("odds are given from the starting position; leave out the piece in fen instead")
        if self.fen:
            board = _board(self.fen, self.chess960)
            if _ending(board, any(board.generate_legal_moves())) is not None:
                raise ValueError(f"fen {self.fen!r} is a position in which the game is over")


class Chess(Game):
    """White is player 0, whoever moves first. A win is worth +1, a loss -1, a draw 0."""

    id = "chess"
    summary = "chess with automatic draws, Chess960, odds, from any position"
    Options = ChessOptions

    position: chess.Board
    start: str
    """FEN of the starting position; empty for the usual one."""
    ply: int
    sans: list[str]
    """The moves so far in SAN."""
    seen: dict[str, int]
    """How often each position that can still return has occurred, by EPD."""
    key: str
    """EPD of the position."""
    legal: dict[str, chess.Move]
    """The legal moves by UCI; never changed in place, so that clones may share it."""
    termination: Termination | None

    @property
    def facts(self) -> GameFacts:
        return self._facts

    def setup(self) -> None:
        options: ChessOptions = self.options
        if options.chess960 and not options.fen:
            self.position = chess.Board.from_chess960_pos(self.dice.below(960))
        else:
            self.position = _board(options.fen, options.chess960)
        _give_odds(self.position, options.odds)
        self.start = "" if self.position.fen() == chess.STARTING_FEN else self.position.fen()
        self._first = (self.position.fullmove_number, self.position.turn)
        self._facts = _facts(self.options, self.position)
        self.ply = 0
        self.sans = []
        self.seen = {}
        self._settle()

    def players_to_move(self) -> tuple[int, ...]:
        if self.termination is not None:
            return ()
        return (0,) if self.position.turn else (1,)

    def prompt(self, player: int) -> str:
        if self.options.view == "terse":
            return ""
        castling = " This is Chess960: castle with O-O or O-O-O." if self.options.chess960 else ""
        length = "" if self.options.max_plies is None else f"; so is a game of {self.options.max_plies} plies"
        return (
            f"Chess. You are {COLORS[player]}. Stalemate, threefold repetition, 50 moves without a capture or pawn "
            f"move, and too little material to mate are draws{length}.{castling} "
            "Answer with one move, such as e4, Nf3, O-O, exd8=Q or e2e4; the last move in your answer counts."
        )

    def recap(self, player: int) -> str:
        if self.options.view == "terse":
            return ""
        view = self.options.view
        start = f"The game began from {self.start}." if self.start and (self.ply <= RECAP_PLIES) else ""
        fen = f"Position: {self.fen()}" if view == "moves" else ""
        played = f"Last moves: {self.last_moves(RECAP_PLIES)}" if self.sans and view != "history" else ""
        return "\n".join(line for line in (start, fen, played) if line)

    def board(self, player: int) -> str:
        again = self.seen[self.key]
        if self.options.view == "terse":
            return self.fen() + (f" x{again}" if again > 1 else "") + self._legal_line(" ")
        lines = self._shown(self.options.view)
        check = " You are in check." if self.termination is None and self.position.is_check() else ""
        twice = f" This position has occurred {again} times." if again > 1 else ""
        lines.append(f"Move {self.position.fullmove_number}, {COLORS[not self.position.turn]} to move.{check}{twice}")
        return "\n".join(lines) + self._legal_line("\nLegal moves: ")

    def _shown(self, view: str) -> list[str]:
        """Return the position as a view has it."""
        if view == "board":
            return [*drawn(self.key), self.fen()]
        if view == "fen":
            return [self.fen()]
        if view == "pieces":
            return piece_list(self.position)
        if view == "history":
            cut = len(self.sans) > HISTORY_PLIES
            return [*([self.fen()] if cut else []), f"Moves: {self.last_moves(HISTORY_PLIES) or 'none'}"]
        return []

    def legal_actions(self, player: int) -> Sequence[str]:
        return list(self.legal)

    def spelled_actions(self, player: int) -> Sequence[str]:
        return [self.position.san(move) for move in self.legal.values()]

    def parse(self, player: int, text: str) -> Action:
        if text in self.legal:
            return text
        return read_move(self.position, self.legal.values(), text).uci()

    def check(self, player: int, action: Action) -> None:
        if action not in self.legal:
            raise IllegalAction(
                f"{action!r} is not legal now; name a legal move in UCI, such as {next(iter(self.legal))}."
            )

    def sample_action(self, player: int, dice: Dice) -> Action:
        return dice.choice(list(self.legal))

    def _apply(self, player: int, action: Action) -> None:
        move = self.legal[str(action)]
        board = self.position
        san = board.san(move)
        number = board.fullmove_number
        board.push(move)
        self.ply += 1
        self.sans.append(san)
        if board.halfmove_clock == 0:
            self.seen.clear()
        if self.options.view not in ("terse", "history"):
            self.emit("move", f"{COLORS[player]} plays {number}{'.' if player == 0 else '...'} {san}", source=player)
        self._settle()

    def _settle(self) -> None:
        """Bring what is kept about the position up to date: legal moves, repetitions, the end."""
        board = self.position
        self.key = board.epd(en_passant="legal")
        self.seen[self.key] = self.seen.get(self.key, 0) + 1
        self.legal = {move.uci(): move for move in board.generate_legal_moves()}
        self.termination = _ending(board, bool(self.legal), self.seen[self.key])
        if self.termination is None and self.options.max_plies is not None and self.ply >= self.options.max_plies:
            self.termination = "max_plies"
        if self.termination is not None:
            self.legal = {}

    def returns(self) -> tuple[float, ...]:
        if self.termination != "checkmate":
            return (0.0, 0.0)
        return (-1.0, 1.0) if self.position.turn else (1.0, -1.0)

    def result(self) -> dict[str, Any]:
        """Return how the game ended (a `Termination`), the score as PGN writes it, its length, the last position
        and the first (empty for the usual one)."""
        white = self.returns()[0]
        score = "1-0" if white > 0 else "0-1" if white < 0 else "1/2-1/2"
        return {
            "termination": self.termination,
            "score": score,
            "plies": self.ply,
            "fen": self.fen(),
            "start": self.start,
        }

    def state(self) -> dict[str, Any]:
        return {"fen": self.fen(), "ply": self.ply, "seen": dict(self.seen), "moves": self.sans[-RECAP_PLIES:]}

    def _clone_state_into(self, twin: Self) -> None:
        twin.position = self.position.copy(stack=False)
        twin.sans = self.sans.copy()
        twin.seen = self.seen.copy()

    def fen(self) -> str:
        """Return the position as FEN."""
        return f"{self.key} {self.position.halfmove_clock} {self.position.fullmove_number}"

    def last_moves(self, plies: int) -> str:
        """Return the last moves as numbered SAN, such as ``"12... Nf6 13. e5"``."""
        first_number, white_first = self._first
        offset = 0 if white_first else 1
        words: list[str] = []
        for index in range(max(0, len(self.sans) - plies), len(self.sans)):
            number, black = divmod(index + offset, 2)
            if not black or not words:
                words.append(f"{first_number + number}{'...' if black else '.'}")
            words.append(self.sans[index])
        return " ".join(words)

    def _legal_line(self, label: str) -> str:
        if not self.options.show_legal or not self.legal:
            return ""
        moves = list(self.legal.values())
        more = f" and {len(moves) - LEGAL_SHOWN} more" if len(moves) > LEGAL_SHOWN else ""
        return label + " ".join(self.position.san(move) for move in moves[:LEGAL_SHOWN]) + more


_DOTS = {ord(str(count)): "." * count for count in range(1, 9)}


def drawn(fen: str) -> list[str]:
    """Return a board of a FEN, or of an EPD, as lines, with coordinates."""
    rows = fen.partition(" ")[0].translate(_DOTS).split("/")
    return [*(f"{8 - index} {' '.join(row)}" for index, row in enumerate(rows)), "  a b c d e f g h"]


def piece_list(board: chess.Board) -> list[str]:
    """Return where the pieces stand, a line for each side, and what else a position needs."""
    lines = []
    for color, name in zip(chess.COLORS, COLORS, strict=True):
        kinds = []
        for kind in reversed(chess.PIECE_TYPES):
            squares = [chess.square_name(square) for square in board.pieces(kind, color)]
            if squares:
                plural = "s" if len(squares) > 1 else ""
                kinds.append(f"{chess.piece_name(kind)}{plural} {' '.join(squares)}")
        rights = [side for side, may in (
            ("O-O", board.has_kingside_castling_rights(color)), ("O-O-O", board.has_queenside_castling_rights(color))
        ) if may]  # fmt: skip
        may = f"; may still castle {' and '.join(rights)}" if rights else ""
        lines.append(f"{name}: {', '.join(kinds)}{may}.")
    if board.has_legal_en_passant() and board.ep_square is not None:
        lines.append(f"En passant on {chess.square_name(board.ep_square)} is possible.")
    return lines


def _give_odds(board: chess.Board, odds: str) -> None:
    """Take a piece of White's off the starting position, with the castling right that it had."""
    if odds == "none":
        return
    kind = {"pawn": chess.PAWN, "knight": chess.KNIGHT, "rook": chess.ROOK, "queen": chess.QUEEN}[odds]
    square = chess.F2 if odds == "pawn" else min(board.pieces(kind, chess.WHITE))  # the lowest: towards the a-file
    board.remove_piece_at(square)
    board.castling_rights = board.clean_castling_rights()


def _board(fen: str, chess960: bool = False) -> chess.Board:
    """Return a board for a FEN (empty: the usual start), refusing what cannot be played on."""
    try:
        board = chess.Board(fen or chess.STARTING_FEN, chess960=chess960)
    except ValueError as error:
        raise ValueError(f"fen {fen!r} is not valid: {error}") from None
    if (status := board.status()) != chess.STATUS_VALID:
        faults = ", ".join(str(flag.name).lower().replace("_", " ") for flag in chess.Status if flag & status)
        raise ValueError(f"fen {fen!r} is no position of chess: {faults}")
    return board


def _ending(board: chess.Board, can_move: bool, occurred: int = 1) -> Termination | None:
    """Return how the game is over in this position, which has ``occurred`` so often; None if it goes on."""
    if not can_move:
        return "checkmate" if board.is_check() else "stalemate"
    if board.is_insufficient_material():
        return "insufficient material"
    if board.halfmove_clock >= 100:
        return "50 moves"
    if occurred >= 3:
        return "threefold repetition"
    return None


def _facts(options: ChessOptions, start: chess.Board) -> GameFacts:
    """Return the facts for a start.

    Longest game: every capture and pawn move sets the clock of 100 plies back, and there can be no more of them than
    pieces to capture and steps for the pawns to take (12,700 plies from the usual start; the true maximum, which also
    makes pawns step aside for each other, is 11,797).
    """
    steps = sum(7 - chess.square_rank(square) for square in start.pieces(chess.PAWN, chess.WHITE))
    steps += sum(chess.square_rank(square) for square in start.pieces(chess.PAWN, chess.BLACK))
    captures = chess.popcount(start.occupied) - 2
    longest = 100 * (steps + captures + 1) - start.halfmove_clock
    sizes = {"board": 1000, "fen": 900, "pieces": 1300, "history": 700 + 12 * HISTORY_PLIES, "moves": 800, "terse": 110}
    chars = sizes[options.view] + 200 * options.chess960
    if options.show_legal:
        chars += 8 * LEGAL_SHOWN + 30
    return GameFacts(
        players=2,
        min_return=-1.0,
        max_return=1.0,
        max_turns=longest if options.max_plies is None else min(longest, options.max_plies),
        max_observation_chars=chars + 2 * len(options.fen),
        roles=ROLES,
        chance=options.chess960 and not options.fen,
    )
