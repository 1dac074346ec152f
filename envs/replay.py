r"""Replays: an episode on disk, one JSON line per turn, re-executable, resumable and tamper-evident.

Line 1 is the header (schema, game, version, options, seeds, rules, seats, hash of the opening state), then one line
per turn as it is played, and at last the end (outcome, returns, result). Each line ends in ``"sum"``, a hash over the
bytes of the line and the sum before it, so one edited character is found and named. (It finds accidents and careless
edits; who wants to deceive can compute new sums. `verify` then finds actions, roles, states and ends that do not
follow from the seed, but not other words around the same actions.) A process that is killed loses at most the turn in
flight; a torn last line is dropped with a warning.

A replay holds raw replies, tokens and verdicts. The rest of the house reads it as an `Episode` (`read_replay`),
re-executes it (`verify`), or goes on from any turn of it (`resume`).
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, get_args

from palaestra.envs import registry
from palaestra.envs.episode import STATUSES, Episode, Outcome, Reply, Turn
from palaestra.envs.errors import (
    ActionError,
    NewerReplay,
    NotAReplay,
    ReplayError,
    ReplayMismatch,
    UnwritableReplay,
)
from palaestra.envs.game import Game
from palaestra.envs.match import Match, MatchRules, forfeited_returns, run, without_talked_out
from palaestra.envs.options import RESERVED
from palaestra.envs.parts import Action, well_formed
from palaestra.envs.registry import Factory
from palaestra.envs.replay_lines import SCHEMA, dumps, read_lines, seal, turn_from_json, turn_to_json
from palaestra.envs.seat import Seat


@dataclass(frozen=True, slots=True)
class Replay:
    """A replay as read from disk.

    Attributes:
        episode: What was recorded; its outcome is ``"unfinished"`` if the file has no end.
        opening_hash: State hash before the first turn.
        complete: Whether the end was recorded.
        match_seed: Seed of the match, which may differ from the game's.
        meta: What the writer was told to keep, such as run and iteration.
    """

    episode: Episode
    opening_hash: str
    complete: bool
    match_seed: int
    meta: dict[str, Any] = field(default_factory=dict)


class ReplayLines:
    """Keeps the lines of a replay in memory: a recorder for `Match`, and the part of a replay that needs no disk."""

    def __init__(self, meta: dict[str, Any] | None = None) -> None:
        self.meta = meta or {}
        self.lines: list[bytes] = []
        self._sum = ""

    def begin(self, match: Match) -> None:
        """Take down the header."""
        game = match.game
        self._sum = ""
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
                "seats": [well_formed(seat.name) for seat in match.seats],
                "opening_hash": game.state_hash(),
                "meta": self.meta,
            }
        )

    def turn(self, turn: Turn) -> None:
        """Take down one turn."""
        self._write(turn_to_json(turn))

    def end(self, episode: Episode) -> None:
        """Take down the end."""
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

    def _write(self, data: dict[str, Any]) -> None:
        try:
            self._sum, line = seal(self._sum, data)
        except (TypeError, ValueError) as error:
            raise UnwritableReplay(
                f"a replay holds JSON data only, but the {data['type']} does not ({error})."
            ) from None
        self._put(line)

    def _put(self, line: bytes) -> None:
        self.lines.append(line)


class ReplayWriter(ReplayLines):
    """Writes an episode as it happens; give it to `Match` as ``recorder``.

    A match that goes on from recorded turns may write to the very file they were read from: it is replaced only when
    all of them stand in the new one.

    Args:
        path: File to create or replace; parent folders are made.
        meta: JSON data kept in the header, such as the run and iteration the episode belongs to.
        sync: Whether to force every line to the disk (slow), not only to the operating system.

    Raises:
        UnwritableReplay: No permission, no space, ...; while the match is played.
    """

    def __init__(self, path: str | os.PathLike[str], *, meta: dict[str, Any] | None = None, sync: bool = False) -> None:
        super().__init__(meta)
        self.path = Path(path)
        self.sync = sync
        self._file: BinaryIO | None = None
        self._draft: Path | None = None
        self._recorded = 0

    def begin(self, match: Match) -> None:
        """Open the file and write the header."""
        self._recorded = len(match.prefix)
        self._draft = self.path.with_name(self.path.name + ".part") if self._recorded and self.path.exists() else None
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._file = (self._draft or self.path).open("wb", buffering=0)
        except OSError as error:
            raise UnwritableReplay(
                f"replay {self.path} cannot be created ({error.strerror}); record to another place."
            ) from None
        super().begin(match)

    def turn(self, turn: Turn) -> None:
        """Write one turn."""
        super().turn(turn)
        if turn.number + 1 >= self._recorded:
            self._publish()

    def end(self, episode: Episode) -> None:
        """Write the end and close the file."""
        super().end(episode)
        self._publish()
        self.close()

    def close(self) -> None:
        """Close the file; what was written stays."""
        if self._file is not None:
            self._file.close()
            self._file = None
        if self._draft is not None:
            self._draft.unlink(missing_ok=True)
            self._draft = None

    def _publish(self) -> None:
        if self._draft is not None:
            os.replace(self._draft, self.path)
            self._draft = None

    def _put(self, line: bytes) -> None:
        assert self._file is not None
        try:
            rest = memoryview(line)
            while rest:
                rest = rest[self._file.write(rest) :]
            if self.sync:
                os.fsync(self._file.fileno())
        except OSError as error:
            raise UnwritableReplay(
                f"replay {self.path} could not be written on ({error.strerror}); the turns before are safe. Make room, "
                "or record elsewhere; then `palaestra resume RUN` goes on with a run, "
                "`palaestra replay resume FILE` with a game."
            ) from None


def write_replay(
    episode: Episode, path: str | os.PathLike[str], *, factory: Factory | None = None, **options: Any
) -> None:
    """Write an episode that is already over by playing its record again; the same bytes as if written at the time.

    Args:
        factory: The game's class, if it is not registered.
        **options: As for `ReplayWriter`.
    """
    run(rematch(episode, ReplayWriter(path, **options), factory=factory).play())


def rematch(episode: Episode, recorder: ReplayLines | None = None, *, factory: Factory | None = None) -> Match:
    """Return a match that plays an episode again from its recorded replies; they are read and judged anew."""
    seats = [_Vacant(name) for name in episode.seats]
    rules = MatchRules.from_json(episode.rules)
    game = _game_of(episode, factory)
    return Match(game, seats, rules, recorder=recorder, seed=episode.match_seed, prefix=episode.turns)


def read_replay(path: str | os.PathLike[str]) -> Replay:
    """Read a replay.

    Raises:
        MissingReplay: No such file (or it may not be read).
        NotAReplay: Something else is in the file.
        TornReplay: The file ends before its header does.
        EditedReplay: A line does not match its sum.
        NewerReplay: Written by a later schema.
    """
    path = Path(path)
    header, *body = read_lines(path)
    try:
        return _replay_from_json(header, body)
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise NotAReplay(
            f"replay {path.name} is no valid replay ({type(error).__name__}: {error}); it was not written by palaestra."
        ) from None


def verify(path: str | os.PathLike[str], *, factory: Factory | None = None) -> int:
    """Re-execute a replay from its seed and actions; return how many turns were compared.

    Args:
        factory: The game's class, if it is not registered.

    Raises:
        ReplayMismatch: The first turn whose state hash differs, or an action that is refused now, or another end.
        NewerReplay: Recorded with another version of the game.
        ReplayError: As for `read_replay`.
    """
    name = Path(path).name
    replay = read_replay(path)
    episode = replay.episode
    game = _executed(replay, episode.turns, name, factory)
    if (differs := _end_differs(game, episode)) is not None:
        raise ReplayMismatch(len(episode.turns), f"replay {name}, after turn {len(episode.turns)}: {differs}.")
    return len(episode.turns)


def resume(
    path: str | os.PathLike[str],
    seats: Sequence[Seat],
    *,
    turn: int | None = None,
    factory: Factory | None = None,
    **options: Any,
) -> Match:
    """Return a match that plays the first ``turn`` turns of a replay (all of them if None) and then asks ``seats``.

    Args:
        path: The replay.
        seats: One per player.
        factory: The game's class, if it is not registered.
        **options: Further arguments of `Match`, such as ``recorder``.

    Raises:
        ReplayError: As for `read_replay`, or there is no such turn.
    """
    replay = read_replay(path)
    episode = replay.episode
    prefix = _first_turns(episode, turn, f"replay {Path(path).name}")
    _executed(replay, prefix, Path(path).name, factory)  # else play would go on from a state that nobody recorded
    rules = MatchRules.from_json(episode.rules)
    return Match(_game_of(episode, factory), seats, rules, seed=episode.match_seed, prefix=prefix, **options)


def game_at(episode: Episode, turn: int) -> Game:
    """Return the game as it stood before turn number ``turn``: where hindsight starts to play another line."""
    game = _game_of(episode)
    _step_through(game, _first_turns(episode, turn, "the episode"), "the episode")
    return game


def _executed(replay: Replay, turns: Sequence[Turn], name: str, factory: Factory | None) -> Game:
    """Return the game after ``turns``, each of which was compared with the record."""
    game = _game_of(replay.episode, factory)
    if game.facts.players != len(replay.episode.seats):
        there = len(replay.episode.seats)
        raise ReplayMismatch(0, f"replay {name}: {game.id} has {game.facts.players} players, recorded are {there}.")
    if game.state_hash() != replay.opening_hash:
        raise ReplayMismatch(0, f"replay {name}: the opening state differs from the recorded one; re-record it.")
    _step_through(game, turns, f"replay {name}")
    return game


def _first_turns(episode: Episode, turn: int | None, name: str) -> tuple[Turn, ...]:
    if turn is not None and not 0 <= turn <= len(episode.turns):
        raise ReplayError(
            f"{name} has {len(episode.turns)} turns, so it cannot be taken up after {turn}; choose fewer."
        )
    return episode.turns[:turn]


def _step_through(game: Game, turns: Sequence[Turn], name: str) -> None:
    """Do in ``game`` what was done in recorded turns; who forfeited leaves when all who moved at once have moved."""
    due = 0
    leaving: list[int] = []
    for turn in turns:
        due = (due or len(game.players_to_move())) - 1
        where = f"{name}, turn {turn.number + 1}"
        role = game.role(turn.player)
        if turn.action is None:
            leaving.append(turn.player)
        else:
            _step(game, turn, turn.action, where)
        if role != turn.role:
            raise ReplayMismatch(turn.number, f"{where}: player {turn.player + 1} is {role}, recorded as {turn.role}.")
        if due <= 0:
            while leaving and game.withdraw(leaving.pop(0)):  # the first who cannot ends the game
                pass
            leaving = []
        _compare(game, turn, where)


def _step(game: Game, turn: Turn, action: Action, where: str) -> None:
    try:
        game.apply(turn.player, action)
    except ActionError as error:
        raise ReplayMismatch(
            turn.number,
            f"{where}: action {action!r} is refused now: {error.reason.rstrip('.')}. Re-record it, or install the "
            "release that wrote it.",
        ) from None


def _compare(game: Game, turn: Turn, where: str) -> None:
    if turn.state_hash and (found := game.state_hash()) != turn.state_hash:
        raise ReplayMismatch(
            turn.number,
            f"{where}: state hash {found} does not match the recorded {turn.state_hash}: its actions were edited or "
            f"the rules of {game.id} have changed. Re-record it, or install the release that wrote it.",
        )


def _end_differs(game: Game, episode: Episode) -> str | None:
    """Return how the recorded end differs from what the game says now; None if it does not."""
    if episode.outcome == "unfinished":
        return None
    if episode.outcome == "finished" and not game.is_over():
        return "the game is not over, but recorded as finished"
    player = episode.forfeited_by
    if (player is None) != (episode.outcome == "finished") or not {player} <= {None, *episode.forfeits}:
        return f"player {player} is recorded to have forfeited, but by the turns nobody, or another one, did"
    if (roles := tuple(map(game.role, range(game.facts.players)))) != episode.roles:
        return f"the roles are {roles}, recorded {episode.roles}"
    found = tuple(map(float, game.returns())) if player is None else forfeited_returns(game, player, episode.turns)
    if MatchRules.from_json(episode.rules).talked_out == "void":
        found = without_talked_out(game, found, episode.turns)
    if episode.returns != found:
        return f"the returns are {found}, recorded {episode.returns}"
    if episode.outcome == "finished" and dumps(game.result()) != dumps(episode.result):
        return f"the result is {game.result()}, recorded {episode.result}"
    return None


def _game_of(episode: Episode, factory: Factory | None = None) -> Game:
    if factory is None:
        game = registry.make(episode.game, seed=episode.seed, **episode.options)
    else:
        game = factory(seed=episode.seed, **episode.options)
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
        raise ReplayError(f"turn {view._number + 1} is not in the record; go on from it with seats that can play.")


def _replay_from_json(header: dict[str, Any], body: list[dict[str, Any]]) -> Replay:
    end = body.pop() if body and body[-1]["type"] == "end" else None
    if any(line["type"] != "turn" or line["turn"] != number for number, line in enumerate(body)):
        raise ValueError("its turns are out of order")
    if not isinstance(header["options"], dict) or header["options"].keys() & set(RESERVED):
        raise ValueError("its options are not those of a game")
    numbers = (header["seed"], header["match_seed"], header["version"], header["schema"])
    if any(type(one) is not int for one in numbers) or not isinstance(header["game"], str):
        raise ValueError("its header holds values of the wrong type")
    MatchRules.from_json(header["rules"])
    turns = tuple(turn_from_json(line) for line in body)
    seats = tuple(header["seats"])
    roles: dict[int, str] = {turn.player: turn.role for turn in turns}
    if not roles.keys() <= set(range(len(seats))) or any(type(turn.player) is not int for turn in turns):
        raise ValueError("a turn was played by nobody")
    if not all(turn.state_hash and turn.attempts for turn in turns):
        raise ValueError("a turn has no state, or nobody was asked in it")
    if any(attempt.status not in STATUSES for turn in turns for attempt in turn.attempts):
        raise ValueError("a reply has a verdict that there is not")
    if end is not None:
        _check_end(end, len(seats))
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
        match_seed=header["match_seed"],
    )
    return Replay(episode, header["opening_hash"], end is not None, header["match_seed"], header["meta"])


def _check_end(end: dict[str, Any], players: int) -> None:
    """Raise ValueError unless the last line has values of the right types for so many players."""
    roles, returns, forfeited = end["roles"], end["returns"], end["forfeited_by"]
    numbers = returns is None or (len(returns) == players and all(type(one) in (int, float) for one in returns))
    named = len(roles) == players and all(isinstance(one, str) for one in roles)
    if end["outcome"] not in get_args(Outcome) or not named:
        raise ValueError("its end names an outcome or roles that there are not")
    if not numbers or not isinstance(end["result"], dict):
        raise ValueError("its end holds values of the wrong type")
    if forfeited is not None and (type(forfeited) is not int or not 0 <= forfeited < players):
        raise ValueError("its end names nobody as the one who forfeited")
