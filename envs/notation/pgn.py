"""PGN, the notation in which chess games are stored: out of episodes, and in.

`episode_to_pgn` writes the seven standard headers and, where they say something, ``SetUp``/``FEN`` and
``Termination``: ``normal``; ``rules infraction`` for a forfeit, which a comment at the end explains, so that a game
lost by a reply is never taken for one lost by play; ``adjudication`` for a draw by ``max_plies``; ``unterminated``
with the result ``*``.

`read_pgn` reads any number of games from text written by anybody: main lines only, and an illegal move, a word that is
no move, a comment or a variation without an end is a fault of that line rather than a shorter game; the other games are
read, because each begins with its first header, whatever stands before it. Set-up positions and Chess960 are read;
other variants of chess are faults.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import chess
import chess.pgn

from palaestra.envs.episode import Episode
from palaestra.envs.errors import IllegalAction, NotationError
from palaestra.envs.games.chess import Chess
from palaestra.envs.notation.files import Fault, Reading

STANDARD = ("standard", "chess", "normal", "from position")
CHESS960 = ("chess960", "chess 960", "fischerandom", "fischerrandom", "fischer random", "freestyle")


@dataclass(frozen=True)
class PgnGame:
    """A game as a PGN file has it.

    Attributes:
        moves: UCI, the canonical actions of `Chess`.
        fen: Starting position; empty for the usual one.
        result: ``1-0``, ``0-1``, ``1/2-1/2`` or ``*``, as stated.
        headers: All headers.
        chess960: Whether kings castle by the rules of Chess960.
    """

    moves: tuple[str, ...]
    fen: str = ""
    result: str = "*"
    headers: dict[str, str] = field(default_factory=dict)
    chess960: bool = False


def episode_to_pgn(episode: Episode, *, event: str = "?", site: str = "?", date: str = "????.??.??") -> str:
    """Return a chess episode as one PGN game.

    Raises:
        NotationError: The episode is of another game.
    """
    if episode.game != Chess.id:
        raise NotationError(
            f"PGN is for chess, but this is an episode of {episode.game}; write it as a replay instead."
        )
    game = chess.pgn.Game.without_tag_roster()
    game.setup(Chess(seed=episode.seed, **episode.options).position)  # writes SetUp, FEN and Variant where needed
    score, termination = _score(episode)
    white, black = episode.seats
    roster = {"Event": event, "Site": site, "Date": date, "Round": "-", "White": white, "Black": black}
    setup = dict(game.headers)
    game.headers.clear()
    for name, value in {**roster, "Result": score, **setup, "Termination": termination}.items():
        game.headers[name] = _plain(value)
    node: chess.pgn.GameNode = game
    for _, action in episode.actions:
        node = node.add_variation(chess.Move.from_uci(str(action)))
    if episode.forfeited_by is not None:
        last = episode.turns[-1].attempts[-1]
        side = "White" if episode.forfeited_by == 0 else "Black"
        node.comment = _plain(f"{side} forfeits: the last reply was {last.status}.")
    return str(game) + "\n"


def read_pgn(text: str) -> Reading[PgnGame]:
    """Return the games in a text; a game that cannot be read to its end is a fault, at the line where it goes wrong."""
    games: list[PgnGame] = []
    faults: list[Fault] = []
    for first, section in _sections(text.removeprefix("\ufeff")):
        if all(not line.strip() or line.startswith((";", "%")) for line in section.splitlines()):
            continue
        if not _HEADER.match(section) and not any(map(_MOVE.fullmatch, re.split(r"[\s.]+", section))):
            faults.append(Fault(first, 'there is no PGN game; a game has headers such as [White "..."] and moves'))
        elif (fault := broken(first, section)) is not None:
            number = len(games) + len(faults) + 1
            faults.append(Fault(fault.line, f"PGN game {number}: {fault.why}"))
        else:
            _read_section(first, section, games, faults)
    return Reading(tuple(games), tuple(faults))


def _read_section(first: int, section: str, games: list[PgnGame], faults: list[Fault]) -> None:
    """Add the games of a section, of which only the first can have headers, and their faults."""
    stream = _Counting(section)
    while True:
        start = first + stream.lines
        parsed = chess.pgn.read_game(stream, Visitor=lambda: _Builder(stream))
        if parsed is None:
            return
        number = len(games) + len(faults) + 1
        variant = parsed.headers.get("Variant", "Standard").lower()
        chess960 = variant in CHESS960
        if parsed.errors:
            at = parsed.errors[0]
            line = first - 1 + at.args[0] if isinstance(at, _At) else start
            faults.append(Fault(line, f"PGN game {number}: {at.__cause__ or at}"))
        elif not chess960 and variant not in STANDARD:
            faults.append(Fault(start, f"PGN game {number} is of the variant {variant!r}, which is not played here"))
        elif not parsed.board().is_valid():
            faults.append(Fault(start, f"PGN game {number} begins from what is no position of chess"))
        else:
            moves = tuple(move.uci() for move in parsed.mainline_moves())
            headers = dict(parsed.headers)
            fen = headers.get("FEN", "")
            games.append(PgnGame(moves, fen, headers.get("Result", "*"), headers, chess960))


_HEADER = re.compile(r"\s*\[[A-Za-z0-9][\w+#=:-]*\s+\"")
_WHOLE_HEADER = re.compile(r"\s*\[[A-Za-z0-9][\w+#=:-]*\s+\"[^\r\n]*\"\s*\]\s*")
_MOVE = re.compile(
    r"(?:[NBKRQP]?[a-h]?[1-8]?[-x]?[a-h][1-8](?:=?[nbrqkNBRQK])?|[NBRQP]@[a-h][1-8]|--|Z0|0000|@@@@"
    r"|[O0]-[O0](?:-[O0])?)[+#]?[!?]{0,2}"
)
_TOKEN = re.compile(r"\{|\}|;|\(|\)|[^\s{};()]+")
_ASIDE = re.compile(r"\d+\.*|\$\d+|1-0|0-1|1/2(?:-1/2)?|½-½|e\.p\.|[ND]|[^\w\s\x00-\x1f]{1,4}")
"""What may stand in movetext beside moves: numbers, results, and signs such as ``!?`` or ``+=``."""


def _sections(text: str) -> Iterator[tuple[int, str]]:
    """Yield (first line, text) of each run of headers with what follows it up to the next."""
    lines = text.splitlines(keepends=True)
    start, in_headers = 0, False
    for number, line in enumerate(lines):
        header = _HEADER.match(line) is not None
        if header and not in_headers and "".join(lines[start:number]).strip():
            yield start + 1, "".join(lines[start:number])
            start = number
        if line.strip():
            in_headers = header
    if start < len(lines):
        yield start + 1, "".join(lines[start:])


def broken(first: int, section: str) -> Fault | None:
    """Return the fault of a section that begins at line ``first`` which the library would pass over in silence: words
    that are no moves, and what has no end. None if there is none."""
    comment: int | None = None
    variations: list[int] = []
    moves_began = False
    for number, line in enumerate(section.splitlines(), start=first):
        if comment is None and not moves_began and line.lstrip().startswith("["):
            if not _WHOLE_HEADER.fullmatch(line):
                return Fault(number, f'the header {line.strip()[:60]!r} has no end; write [Name "value"]')
            continue
        if comment is None and line.startswith("%"):
            continue
        for token in _TOKEN.findall(line):
            if comment is not None:
                comment = None if token == "}" else comment
            elif token == "{":
                comment = number
            elif token == ";":
                break
            elif token == "(":
                variations.append(number)
            elif token == ")" and variations:
                variations.pop()
            elif not _is_movetext(token):
                return Fault(number, f"{token[:40]!r} is no move")
            else:
                moves_began = True
    if comment is not None:
        return Fault(comment, "a comment that begins here has no end; close it with }")
    if variations:
        return Fault(variations[-1], "a variation that begins here has no end; close it with )")
    return None


def _is_movetext(token: str) -> bool:
    """Return whether a word is a move, or what may stand beside moves, or both without a space: ``12.Nf3!``."""
    bare = re.sub(r"^\d+\.+", "", token)
    return not bare or _MOVE.fullmatch(bare) is not None or _ASIDE.fullmatch(bare) is not None


def pgn_to_game(game: PgnGame, *, plies: int | None = None, **options: Any) -> Chess:
    """Return the position after a PGN game, or after its first ``plies``, as a `Chess` with these options.

    Raises:
        NotationError: The record goes on where this game is drawn already, or a move is illegal.
    """
    chess_game = Chess(fen=game.fen, chess960=game.chess960, **options)
    for ply, move in enumerate(game.moves[:plies], start=1):
        if chess_game.is_over():
            why = f"the game was over by {chess_game.termination}"
            raise NotationError(f"PGN move {ply} ({move}) cannot be played: {why}; use plies={ply - 1}.")
        try:
            chess_game.apply(chess_game.players_to_move()[0], move)
        except IllegalAction as error:
            raise NotationError(f"PGN move {ply} cannot be played: {error.reason}") from None
    return chess_game


class _At(Exception):
    """An error and the line at which it was found."""


class _Counting(io.StringIO):
    """Text that knows how many lines have been read."""

    lines = 0

    def readline(self, size: int | None = -1, /) -> str:  # type: ignore[override]  # of TextIOBase it is right
        """Return the next line."""
        line = super().readline(-1 if size is None else size)
        self.lines += bool(line)
        return line


class _Builder(chess.pgn.GameBuilder[chess.pgn.Game]):
    """Builds main lines only, and keeps the first error, with its line, instead of logging it."""

    def __init__(self, stream: _Counting) -> None:
        super().__init__()
        self.stream = stream
        self.fen_line = 0

    def begin_game(self) -> None:
        super().begin_game()
        self.game.headers.clear()  # the roster would be made up

    def visit_header(self, tagname: str, tagvalue: str) -> None:
        super().visit_header(tagname, tagvalue)
        if tagname == "FEN":
            self.fen_line = self.stream.lines

    def handle_error(self, error: Exception) -> None:
        found = _At(self.fen_line if "fen:" in str(error) else self.stream.lines)
        found.__cause__ = error
        self.game.errors.append(found)

    def begin_variation(self) -> chess.pgn.SkipType:  # type: ignore[override]  # the base class declares None only
        return chess.pgn.SKIP

    def end_variation(self) -> None:
        """Do nothing: `begin_variation` has opened nothing."""


def _score(episode: Episode) -> tuple[str, str]:
    """Return Result and Termination."""
    if episode.returns is None:
        return "*", "unterminated"
    white = episode.returns[0]
    score = "1-0" if white > 0 else "0-1" if white < 0 else "1/2-1/2"
    if episode.forfeited_by is not None:
        return score, "rules infraction"
    return score, "adjudication" if episode.result.get("termination") == "max_plies" else "normal"


def _plain(text: str) -> str:
    """Return text that can stand in a header or a comment: no quotes, braces, backslashes or control characters."""
    kept = "".join(" " if character in '"\\{}' or not character.isprintable() else character for character in text)
    return " ".join(kept.split()) or "?"
