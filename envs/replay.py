r"""Replays: an episode on disk, one JSON line per turn, re-executable, resumable and tamper-evident.

Line 1 is the header (schema, game, version, options, seed, rules, seats, hash of the opening state), then one line
per turn as it is played, and at last the end (outcome, returns, result). Each line ends in ``"sum"``, a hash over the
line and the sum before it, so one edited character is found and named. A process that is killed loses at most the
turn in flight; a torn last line is dropped with a warning.

A replay holds raw replies, tokens and verdicts. The rest of the house reads it as an `Episode` (`read_replay`),
re-executes it (`verify`), or goes on from any turn of it (`resume`).
"""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import IO, Any

from palaestra.envs import registry
from palaestra.envs.episode import Attempt, Episode, Reply, TokenRecord, Turn
from palaestra.envs.errors import ActionError, EditedReplay, NewerReplay, ReplayError, ReplayMismatch, TornReplay
from palaestra.envs.game import Game
from palaestra.envs.match import Match, MatchRules
from palaestra.envs.parts import part_from_json, part_to_json
from palaestra.envs.seat import Seat

SCHEMA = 1


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay as read from disk.

    Attributes:
        episode: What was recorded; its outcome is ``"unfinished"`` if the file has no end.
        opening_hash: State hash before the first turn.
        complete: Whether the end was recorded.
        match_seed: Seed of the match, which may differ from the game's.
    """

    episode: Episode
    opening_hash: str
    complete: bool
    match_seed: int


class ReplayWriter:
    """Writes an episode as it happens; give it to `Match` as ``recorder``.

    Args:
        path: File to create; parent folders are made.
        meta: JSON data kept in the header, such as the run and iteration the episode belongs to.
        sync: Whether to force every line to the disk (slow), not only to the operating system.
    """

    def __init__(self, path: str | os.PathLike[str], *, meta: dict[str, Any] | None = None, sync: bool = False) -> None:
        self.path = Path(path)
        self.meta = meta or {}
        self.sync = sync
        self._sum = ""
        self._file: IO[str] | None = None

    def begin(self, match: Match) -> None:
        """Write the header."""
        game = match.game
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self.path.open("w", encoding="utf-8", newline="\n")
        self._write(
            {
                "type": "header",
                "schema": SCHEMA,
                "game": game.id,
                "version": game.version,
                "options": game.options_json(),
                "seed": game.seed,
                "match_seed": match.seed,
                "rules": match.rules.to_json(),
                "seats": [seat.name for seat in match.seats],
                "opening_hash": game.state_hash(),
                "meta": self.meta,
            }
        )

    def turn(self, turn: Turn) -> None:
        """Write one turn."""
        self._write(_turn_to_json(turn))

    def end(self, episode: Episode) -> None:
        """Write the end and close the file."""
        self._write(
            {
                "type": "end",
                "outcome": episode.outcome,
                "returns": None if episode.returns is None else list(episode.returns),
                "forfeited_by": episode.forfeited_by,
                "roles": list(episode.roles),
                "result": episode.result,
            }
        )
        assert self._file is not None
        self._file.close()

    def _write(self, data: dict[str, Any]) -> None:
        assert self._file is not None
        self._sum = _chain(self._sum, data)
        self._file.write(_dumps({**data, "sum": self._sum}) + "\n")
        self._file.flush()
        if self.sync:
            os.fsync(self._file.fileno())


def write_replay(episode: Episode, path: str | os.PathLike[str], **options: Any) -> None:
    """Write an episode that is already over by playing its record again; options as for `ReplayWriter`."""
    import asyncio

    game = _game_of(episode)
    seats = [_Vacant(name) for name in episode.seats]
    writer = ReplayWriter(path, **options)
    match = Match(game, seats, MatchRules.from_json(episode.rules), recorder=writer, prefix=episode.turns)
    asyncio.run(match.play())


def read_replay(path: str | os.PathLike[str]) -> Replay:
    """Read a replay.

    Raises:
        TornReplay: The file ends before its header does.
        EditedReplay: A line does not match its sum.
        NewerReplay: Written by a later schema.
        FileNotFoundError: No such file.
    """
    path = Path(path)
    lines = _lines(path)
    header, body = lines[0], lines[1:]
    end = body.pop() if body and body[-1]["type"] == "end" else None
    turns = tuple(_turn_from_json(line) for line in body)
    roles: dict[int, str] = {turn.player: turn.role for turn in turns}
    seats = tuple(header["seats"])
    episode = Episode(
        game=header["game"],
        version=header["version"],
        options=header["options"],
        seed=header["seed"],
        rules=header["rules"],
        seats=seats,
        roles=tuple(end["roles"] if end else (roles.get(player, "") for player in range(len(seats)))),
        turns=turns,
        outcome=end["outcome"] if end else "unfinished",
        returns=tuple(end["returns"]) if end and end["returns"] is not None else None,
        forfeited_by=end["forfeited_by"] if end else None,
        result=end["result"] if end else {},
    )
    return Replay(episode, header["opening_hash"], end is not None, header["match_seed"])


def verify(path: str | os.PathLike[str]) -> int:
    """Re-execute a replay from its seed and actions; return how many turns were compared.

    Raises:
        ReplayMismatch: The first turn whose state hash differs, or an action that is refused now.
        NewerReplay: Recorded with another version of the game.
        ReplayError: As for `read_replay`.
    """
    replay = read_replay(path)
    game = _game_of(replay.episode)
    if game.state_hash() != replay.opening_hash:
        raise ReplayMismatch(
            0, f"replay {Path(path).name}: the opening state differs from the recorded one; re-record it."
        )
    for turn in replay.episode.turns:
        _step(game, turn, Path(path).name)
    if replay.episode.outcome == "finished" and replay.episode.returns != tuple(map(float, game.returns())):
        found = tuple(map(float, game.returns()))
        raise ReplayMismatch(
            len(replay.episode.turns),
            f"replay {Path(path).name}: returns are {found}, recorded {replay.episode.returns}.",
        )
    return len(replay.episode.turns)


def resume(path: str | os.PathLike[str], seats: Sequence[Seat], *, turn: int | None = None, **options: Any) -> Match:
    """Return a match that plays the first ``turn`` turns of a replay (all of them if None) and then asks ``seats``.

    Args:
        path: The replay.
        seats: One per player.
        **options: Further arguments of `Match`, such as ``recorder``.
    """
    replay = read_replay(path)
    episode = replay.episode
    prefix = episode.turns if turn is None else episode.turns[:turn]
    rules = MatchRules.from_json(episode.rules)
    return Match(_game_of(episode), seats, rules, seed=replay.match_seed, prefix=prefix, **options)


def game_at(episode: Episode, turn: int) -> Game:
    """Return the game as it stood before turn number ``turn``: where hindsight starts to play another line."""
    game = _game_of(episode)
    for past in episode.turns[:turn]:
        _step(game, past, "episode")
    return game


def _step(game: Game, turn: Turn, name: str) -> None:
    where = f"replay {name}, turn {turn.number + 1}"
    if turn.action is not None:
        try:
            game.apply(turn.player, turn.action)
        except ActionError as error:
            raise ReplayMismatch(
                turn.number, f"{where}: action {turn.action!r} is refused now ({error.reason})"
            ) from None
    if turn.state_hash and (found := game.state_hash()) != turn.state_hash:
        raise ReplayMismatch(
            turn.number,
            f"{where}: state hash {found} does not match the recorded {turn.state_hash}; "
            f"the rules of {game.id} have changed. Re-record it, or install the release that wrote it.",
        )


def _game_of(episode: Episode) -> Game:
    game = registry.make(episode.game, seed=episode.seed, **episode.options)
    if game.version != episode.version:
        raise NewerReplay(
            f"the replay was recorded with {episode.game} version {episode.version}, this is version {game.version}; "
            f"install a release with version {episode.version}, or re-record it."
        )
    return game


class _Vacant:
    """Stands in for a seat all of whose replies are recorded."""

    def __init__(self, name: str) -> None:
        self.name = name

    async def act(self, view: Any) -> Reply:
        raise ReplayError(f"turn {view.turn + 1} is not in the record")


def _dumps(data: Any) -> str:
    return json.dumps(data, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def _chain(previous: str, data: dict[str, Any]) -> str:
    return blake2b((previous + _dumps(data)).encode(), digest_size=8).hexdigest()


def _lines(path: Path) -> list[dict[str, Any]]:
    """Return the checked lines of a replay, without a torn last one."""
    raw = path.read_text(encoding="utf-8", errors="replace").split("\n")
    torn = raw.pop()  # text after the last newline: empty unless a write was cut short
    if torn:
        if not raw:
            raise TornReplay(
                f"replay {path.name} ends inside its first line, so nothing can be recovered; record it again."
            )
        warnings.warn(
            f"replay {path.name}: the last line is torn and is dropped; all {len(raw) - 1} turns before it are intact",
            stacklevel=3,
        )
    if not raw:
        raise TornReplay(f"replay {path.name} is empty; record it again.")
    lines, previous = [], ""
    for number, text in enumerate(raw, start=1):
        try:
            data = json.loads(text)
            found = data.pop("sum")
            if number == 1 and isinstance(data.get("schema"), int) and data["schema"] > SCHEMA:
                raise NewerReplay(
                    f"replay {path.name} has schema {data['schema']}, but this release reads up to {SCHEMA}; "
                    "install a newer palaestra."
                )
            intact = found == (previous := _chain(previous, data))
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            if isinstance(error, ReplayError):
                raise
            intact = False
        if not intact:
            raise EditedReplay(
                f"replay {path.name}, line {number}: it was changed after it was written; restore the original file."
            )
        lines.append(data)
    if lines[0].get("type") != "header":
        raise TornReplay(f"replay {path.name} does not begin with a header; it is no Palaestra replay.")
    return lines


def _turn_to_json(turn: Turn) -> dict[str, Any]:
    data: dict[str, Any] = {
        "type": "turn",
        "turn": turn.number,
        "player": turn.player,
        "role": turn.role,
        "observation": turn.observation,
        "attempts": [_attempt_to_json(attempt) for attempt in turn.attempts],
        "action": None if turn.action is None else part_to_json(turn.action),
        "hash": turn.state_hash,
    }
    if turn.substituted:
        data["substituted"] = True
    return data


def _attempt_to_json(attempt: Attempt) -> dict[str, Any]:
    reply = attempt.reply
    data: dict[str, Any] = {"reply": part_to_json(reply.content), "status": attempt.status}
    if attempt.reason:
        data["reason"] = attempt.reason
    if attempt.thought:
        data["thought"] = attempt.thought
    if reply.truncated:
        data["truncated"] = True
    if reply.info is not None:
        data["info"] = dict(reply.info)
    if (tokens := reply.tokens) is not None:
        data["tokens"] = {
            "segment": tokens.segment,
            "policy": tokens.policy,
            "context": list(tokens.context),
            "ids": list(tokens.ids),
            "logprobs": list(tokens.logprobs),
        }
    return data


def _turn_from_json(data: dict[str, Any]) -> Turn:
    return Turn(
        number=data["turn"],
        player=data["player"],
        role=data["role"],
        observation=data["observation"],
        attempts=tuple(_attempt_from_json(attempt) for attempt in data["attempts"]),
        action=None if data["action"] is None else part_from_json(data["action"]),
        substituted=data.get("substituted", False),
        state_hash=data["hash"],
    )


def _attempt_from_json(data: dict[str, Any]) -> Attempt:
    tokens = None
    if "tokens" in data:
        record = data["tokens"]
        tokens = TokenRecord(
            record["segment"],
            tuple(record["context"]),
            tuple(record["ids"]),
            tuple(record["logprobs"]),
            record["policy"],
        )
    reply = Reply(part_from_json(data["reply"]), data.get("truncated", False), tokens, data.get("info"))
    return Attempt(reply, data["status"], data.get("reason", ""), data.get("thought", ""))
