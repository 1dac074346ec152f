"""Golden replays: recorded games that are the regression tests of the rules.

A golden is an ordinary replay. `check_golden` plays it again through `Match` from its recorded replies alone and
compares every line: observations, verdicts, thoughts, reasons, state hashes and the end. So whatever a player would be
shown, told or paid otherwise than on the day of recording is found, on the line where it first happens.

`record_goldens` writes three for each game: ``played`` to its natural end, with ``failures`` of every kind, asked again
and replaced at random, under open thoughts, and one that ends in a ``forfeit``. It is called on purpose only
(``palaestra replay record-goldens``): a difference is a bug, or a reason to raise the game's version and record anew.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palaestra.envs import registry
from palaestra.envs.conformance.seats import Erratic
from palaestra.envs.episode import Episode
from palaestra.envs.errors import ReplayMismatch
from palaestra.envs.match import Match, MatchRules, OnFailure, run
from palaestra.envs.replay import ReplayLines, read_replay, rematch, write_replay

OPTIONS: dict[str, dict[str, Any]] = {
    "go": {"size": 5},
    "next_token": {"settings": "group=z2,length=2"},
    "openspiel/goofspiel": {"num_cards": 5},
    "risk": {"map": "small", "max_rounds": 3, "max_attacks": 3},
}
"""Options that make a game's goldens small."""

FAMILY_SAMPLES = ("openspiel/goofspiel", "openspiel/leduc_poker", "openspiel/liars_dice", "openspiel/pig")
"""Members of families that have goldens, too; all others are examined by `palaestra.envs.conformance` only."""

SEEDS = 40
"""Games tried in search of a telling one."""

LONGEST = 30
"""Turns of a golden that does not play to the end; one that does may be longer if no shorter was found."""

_AGAIN = OnFailure(2, "random")
_AT_ONCE = OnFailure(0, "forfeit")


@dataclass(frozen=True)
class _Kind:
    """What a golden is to show: how badly the seats play, under which rules, how the game must end, and whether
    somebody forfeits."""

    failures: int
    rules: MatchRules
    outcomes: tuple[str, ...]
    forfeits: bool = False


KINDS = {
    "played": _Kind(0, MatchRules(), ("finished",)),
    "failures": _Kind(
        4,
        MatchRules(visibility="public", max_turns=LONGEST, illegal=_AGAIN, unparsable=_AGAIN, truncated=_AGAIN),
        ("finished", "unfinished"),
    ),
    "forfeit": _Kind(
        3,
        MatchRules(visibility="monitor", monitors=(0,), illegal=_AT_ONCE, unparsable=_AT_ONCE, truncated=_AT_ONCE),
        ("forfeit", "finished"),
        forfeits=True,
    ),
}


def golden_games() -> list[str]:
    """Return the games that must have goldens."""
    return [*registry.game_ids(), *FAMILY_SAMPLES]


def golden_path(folder: str | Path, game: str, kind: str) -> Path:
    """Return where a game's golden of a kind (one of `KINDS`) lies."""
    return Path(folder, f"{game.replace('/', '.')}-{kind}.jsonl")


def record_goldens(folder: str | Path, games: Iterable[str] | None = None) -> list[Path]:
    """Record the goldens of some games (of all if None) and return their files.

    Raises:
        UnknownName: No such game.
        ReplayMismatch: No seed gave a golden of a kind.
    """
    written = []
    for game in golden_games() if games is None else games:
        for name, kind in KINDS.items():
            episode = _episode(game, kind)
            path = golden_path(folder, game, name)
            write_replay(episode, path)
            written.append(path)
    return written


def _episode(game: str, kind: _Kind) -> Episode:
    """Return, of all seeds, the episode with the most kinds of failure and then the longest that is not too long."""
    found: list[Episode] = []
    for seed in range(SEEDS):
        made = registry.make(game, seed=seed, **OPTIONS.get(game, {}))
        seats = [Erratic(kind.failures, salt=player) for player in range(made.facts.players)]
        episode = run(Match(made, seats, kind.rules, record=False).play())
        if episode.outcome in kind.outcomes and bool(episode.forfeits) == kind.forfeits:
            found.append(episode)
    if not found:
        raise ReplayMismatch(0, f"no seed below {SEEDS} lets {game} end as {' or '.join(kind.outcomes)}.")
    return min(found, key=_unsuitable)


def _unsuitable(episode: Episode) -> tuple[bool, int, int]:
    turns, verdicts = len(episode.turns), {attempt.status for turn in episode.turns for attempt in turn.attempts}
    return turns > LONGEST, -len(verdicts), turns if turns > LONGEST else -turns


def check_golden(path: str | Path) -> int:
    """Play a golden again, compare every line, and return how many there are.

    Raises:
        ReplayMismatch: The first line that differs, and in what.
        ReplayError: As for `read_replay`.
    """
    path = Path(path)
    replay = read_replay(path)
    found = ReplayLines(replay.meta)
    stopped = ""
    try:
        run(rematch(replay.episode, found).play())
    except ReplayMismatch as error:
        stopped = str(error)
    lines = path.read_bytes().splitlines(keepends=True)
    for number, line in enumerate(lines, start=1):
        now = found.lines[number - 1] if number <= len(found.lines) else b"{}"
        if now != line:
            raise ReplayMismatch(
                max(0, number - 2),
                f"golden {path.name}, line {number}: {stopped or _difference(line, now)}; if this is meant, raise the "
                "game's version and record anew with `palaestra replay record-goldens`.",
            )
    if len(found.lines) != len(lines):
        raise ReplayMismatch(len(lines) - 2, f"golden {path.name} is over, but the game now goes on; record it anew.")
    return len(lines)


def _difference(recorded: bytes, now: bytes) -> str:
    one, other = json.loads(recorded), json.loads(now)
    name = next((key for key in one if one[key] != other.get(key)), "sum")
    return f"{name!r} was {one[name]!r:.300} and is {other.get(name)!r:.300}"


__all__ = ["KINDS", "check_golden", "golden_games", "golden_path", "record_goldens"]
