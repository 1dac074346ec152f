"""Golden replays: every registered game has them, and plays them today exactly as on the day they were recorded."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from palaestra.envs.errors import ReplayMismatch
from palaestra.envs.games.kuhn_poker import KuhnPoker
from palaestra.envs.games.tic_tac_toe import TicTacToe
from palaestra.envs.goldens import KINDS, check_golden, golden_games, golden_path, record_goldens
from palaestra.envs.replay import read_replay, verify
from tests.shipped import GAMES

FOLDER = Path(__file__).parent.parent / "replays"
GOLDENS = sorted(FOLDER.glob("*.jsonl"))

GOLDEN = [name for name in golden_games() if name in GAMES or name.startswith("openspiel/")]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("game", GOLDEN)
def test_every_game_has_goldens_of_every_kind(game: str, kind: str) -> None:
    path = golden_path(FOLDER, game, kind)
    assert path.exists(), f"record it on purpose: palaestra replay record-goldens {game}"
    assert read_replay(path).episode.game == game


@pytest.mark.parametrize("path", GOLDENS, ids=[path.stem for path in GOLDENS])
def test_a_golden_plays_line_for_line_as_recorded(path: Path) -> None:
    replay = read_replay(path)
    assert check_golden(path) == len(replay.episode.turns) + 2
    assert verify(path) == len(replay.episode.turns)
    assert path.stat().st_size < 200_000


def test_the_goldens_together_show_every_verdict_and_every_way_to_end() -> None:
    episodes = [read_replay(path).episode for path in GOLDENS]
    attempts = [attempt for episode in episodes for turn in episode.turns for attempt in turn.attempts]
    assert {attempt.status for attempt in attempts} == {"ok", "illegal", "unparsable", "truncated"}
    assert any(attempt.thought for attempt in attempts)
    assert any(turn.substituted for episode in episodes for turn in episode.turns)
    assert {episode.outcome for episode in episodes} >= {"finished", "forfeit"}
    for game in GOLDEN:
        played = [episode for episode in episodes if episode.game == game]
        assert any(episode.outcome == "finished" and not episode.forfeits for episode in played), game
        assert any(episode.forfeits for episode in played), game


def test_recording_again_gives_the_same_files(tmp_path: Path) -> None:
    """So that the command, run without need, leaves no difference behind."""
    for path in record_goldens(tmp_path, ["tic_tac_toe", "kuhn_poker"]):
        assert path.read_bytes() == (FOLDER / path.name).read_bytes()


@pytest.mark.parametrize(
    ("game", "method", "changed", "said"),
    [
        (TicTacToe, "board", lambda self, player: "another board", r"'observation' was .* and is .*another"),
        (TicTacToe, "state", lambda self: {"squares": "other"}, r"'opening_hash' was"),
        (TicTacToe, "returns", lambda self: (0.5, -0.5), r"'returns' was .* and is \[0.5, -0.5\]"),
        (TicTacToe, "parse", lambda self, player, text: self.legal_actions(player)[0], "recorded replies are not"),
        (KuhnPoker, "role", lambda self, player: "first", "'role' was 'second' and is 'first'"),
    ],
)
def test_a_changed_rule_is_found_on_the_line_where_it_first_shows(
    game: type, method: str, changed: object, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(game, method, changed)
    with pytest.raises(ReplayMismatch, match=f"golden {game.id}-played.jsonl, line .*{said}"):
        check_golden(golden_path(FOLDER, game.id, "played"))


def test_a_golden_cut_short_is_found(tmp_path: Path) -> None:
    path = tmp_path / "cut.jsonl"
    shutil.copy(golden_path(FOLDER, "tic_tac_toe", "played"), path)
    path.write_bytes(b"".join(path.read_bytes().splitlines(keepends=True)[:-1]))
    with pytest.raises(ReplayMismatch, match="is over, but the game now goes on"):
        check_golden(path)
