"""PGN, the notation in which chess games are stored: out of episodes, and in.

`episode_to_pgn` writes the seven standard headers and, where they say something, ``SetUp``/``FEN`` and
``Termination``: ``normal``; ``rules infraction`` for a forfeit, which a comment at the end explains, so that a game
lost by a reply is never taken for one lost by play; ``adjudication`` for a draw by ``max_plies``; ``unterminated``
with the result ``*``.

`read_pgn` reads any number of games from text written by anybody: main lines only, and an illegal move is an error
with its place rather than a shorter game. Set-up positions are read; variants of chess are refused.
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


@dataclass(frozen=True)
class PgnGame:
    """A game as a PGN file has it.

    Attributes:
        moves: UCI, the canonical actions of `Chess`.
        fen: Starting position; empty for the usual one.
        result: ``1-0``, ``0-1``, ``1/2-1/2`` or ``*``, as stated.
        headers: All headers.
    """

    moves: tuple[str, ...]
    fen: str = ""
    result: str = "*"
    headers: dict[str, str] = field(default_factory=dict)


def episode_to_pgn(episode: Episode, *, event: str = "?", site: str = "?", date: str = "????.??.??") -> str:
    """Return a chess episode as one PGN game.

    Raises:
        NotationError: The episode is of another game.
    """
    if episode.game != Chess.id:
        raise NotationError(
            f"PGN is for chess, but this is an episode of {episode.game}; write it as a replay instead."
        )
    fen = str(episode.options.get("fen", ""))
    game = chess.pgn.Game.without_tag_roster()
    board = chess.Board(fen or chess.STARTING_FEN)
    game.setup(board)  # writes SetUp and FEN where they are needed
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


def read_pgn(text: str) -> list[PgnGame]:
    """Return the games in a text.

    Raises:
        NotationError: There is no game, or one cannot be read to its end; the message says which and where.
    """
    stream = io.StringIO(text)
    games: list[PgnGame] = []
    while (parsed := chess.pgn.read_game(stream, Visitor=_Builder)) is not None:
        number = len(games) + 1
        if parsed.errors:
            raise NotationError(f"PGN game {number}: {parsed.errors[0]}; correct that move or remove the game.")
        variant = parsed.headers.get("Variant", "Standard")
        if variant.lower() not in ("standard", "chess", "normal", "from position"):
            raise NotationError(f"PGN game {number} is of the variant {variant!r}; only standard chess can be read.")
        moves = tuple(move.uci() for move in parsed.mainline_moves())
        headers = dict(parsed.headers)
        games.append(PgnGame(moves, headers.get("FEN", ""), headers.get("Result", "*"), headers))
    if not games or (len(games) == 1 and not games[0].moves and "[" not in text):
        raise NotationError(f'no PGN game in {text[:60]!r}; a game has headers such as [White "..."] and moves.')
    return games


def pgn_to_game(game: PgnGame, *, plies: int | None = None, **options: Any) -> Chess:
    """Return the position after a PGN game, or after its first ``plies``, as a `Chess` with these options.

    Raises:
        NotationError: The record goes on where this game is drawn already, or a move is illegal.
    """
    chess_game = Chess(fen=game.fen, **options)
    for ply, move in enumerate(game.moves[:plies], start=1):
        if chess_game.is_over():
            why = f"the game was over by {chess_game.termination}"
            raise NotationError(f"PGN move {ply} ({move}) cannot be played: {why}; use plies={ply - 1}.")
        try:
            chess_game.apply(chess_game.players_to_move()[0], move)
        except IllegalAction as error:
            raise NotationError(f"PGN move {ply} cannot be played: {error.reason}") from None
    return chess_game


class _Builder(chess.pgn.GameBuilder[chess.pgn.Game]):
    """Builds main lines only, and keeps the first error instead of logging it."""

    def handle_error(self, error: Exception) -> None:
        self.game.errors.append(error)

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
