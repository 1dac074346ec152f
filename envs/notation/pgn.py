"""PGN, the notation in which chess games are stored: out of episodes, and in.

`episode_to_pgn` writes the seven standard headers and, where they say something, ``SetUp``/``FEN`` and
``Termination``: ``normal``; ``rules infraction`` for a forfeit, which a comment at the end explains, so that a game
lost by a reply is never taken for one lost by play; ``adjudication`` for a draw by ``max_plies``; ``unterminated``
with the result ``*``.

`read_pgn` reads any number of games from text written by anybody: main lines only, and an illegal move is a fault of
that line rather than a shorter game; the other games are read. Set-up positions and Chess960 are read; other variants
of chess are faults.
"""

from __future__ import annotations

import io
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
    stream = _Counting(text)
    games: list[PgnGame] = []
    faults: list[Fault] = []
    while True:
        start = stream.lines + 1
        parsed = chess.pgn.read_game(stream, Visitor=lambda: _Builder(stream))
        if parsed is None:
            break
        number = len(games) + len(faults) + 1
        variant = parsed.headers.get("Variant", "Standard").lower()
        chess960 = variant in CHESS960
        if parsed.errors:
            line = parsed.errors[0].args[0] if isinstance(parsed.errors[0], _At) else start
            faults.append(Fault(line, f"PGN game {number}: {parsed.errors[0].__cause__ or parsed.errors[0]}"))
        elif not chess960 and variant not in STANDARD:
            faults.append(Fault(start, f"PGN game {number} is of the variant {variant!r}, which is not played here"))
        elif not parsed.headers and not parsed.variations:
            faults.append(Fault(start, 'there is no PGN game; a game has headers such as [White "..."] and moves'))
        else:
            moves = tuple(move.uci() for move in parsed.mainline_moves())
            headers = dict(parsed.headers)
            fen = headers.get("FEN", "")
            games.append(PgnGame(moves, fen, headers.get("Result", "*"), headers, chess960))
    return Reading(tuple(games), tuple(faults))


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
