"""History and ratings in one SQLite file: what was played, by whom, how it went, and what was made of it.

Each game is written in one transaction as soon as it is over, so a killed tournament loses only the games in flight.
Tables: ``tournaments``, ``games`` (one row a game), ``seats`` (one row a seat of a game), ``talk`` (one row a game and
pair of entrants of whom one spoke: `palaestra.trainers.derailment`), ``details`` (what a game says of itself, as JSON)
and ``ratings`` (the last standings of each tournament). Several tournaments, and other writers, share a file.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from palaestra.envs.errors import PalaestraError
from palaestra.trainers.derailment import Example, Pair, Tally

SCHEMA = 2

_TABLES = """
CREATE TABLE IF NOT EXISTS tournaments (
    name TEXT PRIMARY KEY, config TEXT NOT NULL, began TEXT DEFAULT CURRENT_TIMESTAMP);
CREATE TABLE IF NOT EXISTS games (
    tournament TEXT NOT NULL, id TEXT NOT NULL, label TEXT NOT NULL, game TEXT NOT NULL, options TEXT NOT NULL,
    round INTEGER NOT NULL, grp TEXT NOT NULL, seed INTEGER NOT NULL, match_seed INTEGER NOT NULL,
    outcome TEXT NOT NULL, turns INTEGER NOT NULL, seconds REAL NOT NULL, replay TEXT, error TEXT,
    PRIMARY KEY (tournament, id));
CREATE TABLE IF NOT EXISTS seats (
    tournament TEXT NOT NULL, game TEXT NOT NULL, seat INTEGER NOT NULL, entrant TEXT NOT NULL, role TEXT NOT NULL,
    result REAL, ok INTEGER NOT NULL, illegal INTEGER NOT NULL, unparsable INTEGER NOT NULL, truncated INTEGER NOT NULL,
    forfeited INTEGER NOT NULL, substituted INTEGER NOT NULL, turns INTEGER NOT NULL, tokens INTEGER NOT NULL,
    prompt_tokens INTEGER NOT NULL, cost REAL NOT NULL, seconds REAL NOT NULL,
    PRIMARY KEY (tournament, game, seat), FOREIGN KEY (tournament, game) REFERENCES games (tournament, id));
CREATE TABLE IF NOT EXISTS talk (
    tournament TEXT NOT NULL, game TEXT NOT NULL, speaker TEXT NOT NULL, listener TEXT NOT NULL,
    after INTEGER NOT NULL, after_failed INTEGER NOT NULL, other INTEGER NOT NULL, other_failed INTEGER NOT NULL,
    examples TEXT NOT NULL, PRIMARY KEY (tournament, game, speaker, listener));
CREATE TABLE IF NOT EXISTS details (
    tournament TEXT NOT NULL, game TEXT NOT NULL, players INTEGER NOT NULL, result TEXT NOT NULL,
    PRIMARY KEY (tournament, game));
CREATE TABLE IF NOT EXISTS ratings (
    tournament TEXT NOT NULL, label TEXT NOT NULL, entrant TEXT NOT NULL, kind TEXT NOT NULL,
    mean REAL, low REAL, high REAL, games INTEGER NOT NULL, PRIMARY KEY (tournament, label, entrant, kind));
"""


class StoreError(PalaestraError, RuntimeError):
    """The history cannot be read or written; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class SeatRecord:
    """How one seat of a game did.

    Attributes:
        result: Its return; None if the game has none.
        ok, illegal, unparsable, truncated: Replies by verdict.
        substituted: Actions that were chosen at random for it, because its replies had failed.
        tokens, prompt_tokens: Sampled and read, for language models.
        cost: As a server's prices make it.
        seconds: Spent waiting for its replies, all together.
    """

    seat: int
    entrant: str
    role: str
    result: float | None
    ok: int
    illegal: int
    unparsable: int
    truncated: int
    forfeited: bool
    substituted: int
    turns: int
    tokens: int
    prompt_tokens: int
    cost: float
    seconds: float


@dataclass(frozen=True, slots=True)
class GameRecord:
    """One game that was played.

    Attributes:
        label: The table's name.
        group: Games of one group share their chance.
        outcome: As in `palaestra.envs.episode.Episode`, or ``"failed"`` with an ``error``.
        talk: How replies went after messages, by speaker and listener.
        players: Seats at the table, those that are not rated included.
        details: What the game itself recorded (`Game.result`).
    """

    id: str
    label: str
    game: str
    options: dict[str, Any]
    round: int
    group: str
    seed: int
    match_seed: int
    outcome: str
    turns: int
    seconds: float
    seats: tuple[SeatRecord, ...]
    replay: str | None = None
    error: str | None = None
    talk: dict[Pair, Tally] = field(default_factory=dict)
    players: int = 0
    details: dict[str, Any] = field(default_factory=dict)


class Store:
    """The file, open.

    Raises:
        StoreError: It cannot be opened, is no such file, or was written by a newer release.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(self.path, timeout=30)
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA):
                raise StoreError(
                    f"{self.path} has schema {version}, but this release reads {SCHEMA}; name another file, or install "
                    "the release that wrote it."
                )
            self._db.execute("PRAGMA journal_mode=WAL")
            with self._db:
                self._db.executescript(_TABLES)
                self._db.execute(f"PRAGMA user_version={SCHEMA}")
        except (sqlite3.Error, OSError) as error:
            raise StoreError(f"the history {self.path} cannot be opened: {error}; name another file.") from None

    def __enter__(self) -> Store:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def begin(self, tournament: str, config: dict[str, Any]) -> None:
        """Enter a tournament, or find it entered with the same configuration.

        Raises:
            StoreError: It is there with another configuration.
        """
        text = json.dumps(config, sort_keys=True)
        with self._writing():
            known = self._db.execute("SELECT config FROM tournaments WHERE name = ?", (tournament,)).fetchone()
            if known is None:
                self._db.execute("INSERT INTO tournaments (name, config) VALUES (?, ?)", (tournament, text))
        if known is not None and known[0] != text:
            raise StoreError(
                f"{self.path} holds a tournament {tournament!r} with another configuration; give this one another name."
            )

    def add(self, tournament: str, record: GameRecord) -> None:
        """Write a game; one that is there already is left as it is.

        Raises:
            StoreError: The file cannot be written.
        """
        game = (
            tournament, record.id, record.label, record.game, json.dumps(record.options, sort_keys=True), record.round,
            record.group, str(record.seed), str(record.match_seed), record.outcome, record.turns, record.seconds,
            record.replay, record.error,
        )  # fmt: skip
        seats = [
            (
                tournament, record.id, seat.seat, seat.entrant, seat.role, seat.result, seat.ok, seat.illegal,
                seat.unparsable, seat.truncated, int(seat.forfeited), seat.substituted, seat.turns, seat.tokens,
                seat.prompt_tokens, seat.cost, seat.seconds,
            )
            for seat in record.seats
        ]  # fmt: skip
        talk = [
            (
                tournament, record.id, *pair, tally.after, tally.after_failed, tally.other, tally.other_failed,
                json.dumps([asdict(example) for example in tally.examples]),
            )
            for pair, tally in record.talk.items()
        ]  # fmt: skip
        with self._writing():
            done = self._db.execute(f"INSERT OR IGNORE INTO games VALUES ({','.join('?' * len(game))})", game)
            if done.rowcount:
                self._db.executemany(f"INSERT INTO seats VALUES ({','.join('?' * 17)})", seats)
                self._db.executemany("INSERT INTO talk VALUES (?,?,?,?,?,?,?,?,?)", talk)
                if record.details:
                    details = (tournament, record.id, record.players, json.dumps(record.details))
                    self._db.execute("INSERT INTO details VALUES (?,?,?,?)", details)

    @contextmanager
    def _writing(self) -> Iterator[None]:
        """One transaction; what goes wrong in it is told."""
        try:
            with self._db:
                yield
        except sqlite3.Error as error:
            raise StoreError(
                f"the history {self.path} cannot be written: {error}; finished games are kept: make room, or end "
                "whoever else writes it, and start the same tournament again."
            ) from None

    def games(self, tournament: str) -> list[GameRecord]:
        """Return the games of a tournament in the order of their rounds."""
        seats: dict[str, list[SeatRecord]] = {}
        for row in self._db.execute(
            "SELECT game, seat, entrant, role, result, ok, illegal, unparsable, truncated, forfeited, substituted, "
            "turns, tokens, prompt_tokens, cost, seconds FROM seats WHERE tournament = ? ORDER BY game, seat",
            (tournament,),
        ):
            name, seat, entrant, role, result, ok, illegal, unparsable, truncated, forfeited, *rest = row
            seats.setdefault(name, []).append(
                SeatRecord(seat, entrant, role, result, ok, illegal, unparsable, truncated, bool(forfeited), *rest)
            )
        talk: dict[str, dict[Pair, Tally]] = {}
        for game, speaker, listener, after, after_failed, other, other_failed, examples in self._db.execute(
            "SELECT game, speaker, listener, after, after_failed, other, other_failed, examples FROM talk "
            "WHERE tournament = ? ORDER BY game, speaker, listener",
            (tournament,),
        ):
            read = tuple(Example(**example) for example in json.loads(examples))
            talk.setdefault(game, {})[speaker, listener] = Tally(after, after_failed, other, other_failed, read)
        details: dict[str, tuple[int, dict[str, Any]]] = {
            game: (players, json.loads(result))
            for game, players, result in self._db.execute(
                "SELECT game, players, result FROM details WHERE tournament = ?", (tournament,)
            )
        }
        nothing: tuple[int, dict[str, Any]] = (0, {})
        return [
            GameRecord(
                id=row[0], label=row[1], game=row[2], options=json.loads(row[3]), round=row[4], group=row[5],
                seed=int(row[6]), match_seed=int(row[7]), outcome=row[8], turns=row[9], seconds=row[10],
                seats=tuple(seats.get(row[0], ())), replay=row[11], error=row[12],
                talk=talk.get(row[0], {}), players=details.get(row[0], nothing)[0],
                details=details.get(row[0], nothing)[1],
            )
            for row in self._db.execute(
                "SELECT id, label, game, options, round, grp, seed, match_seed, outcome, turns, seconds, replay, error "
                "FROM games WHERE tournament = ? ORDER BY round, id",
                (tournament,),
            )
        ]  # fmt: skip

    def save_ratings(self, tournament: str, rows: Iterable[tuple[str, str, str, float, float, float, int]]) -> None:
        """Replace the ratings of a tournament by rows of (label, entrant, kind, mean, low, high, games).

        Raises:
            StoreError: The file cannot be written.
        """
        with self._writing():
            self._db.execute("DELETE FROM ratings WHERE tournament = ?", (tournament,))
            self._db.executemany("INSERT INTO ratings VALUES (?,?,?,?,?,?,?,?)", [(tournament, *row) for row in rows])

    def ratings(self, tournament: str) -> list[tuple[str, str, str, float, float, float, int]]:
        """Return the ratings that were saved last."""
        query = "SELECT label, entrant, kind, mean, low, high, games FROM ratings WHERE tournament = ?"
        return [tuple(row) for row in self._db.execute(query, (tournament,))]
