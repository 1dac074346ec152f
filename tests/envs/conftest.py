"""What several tests of replays read."""

from __future__ import annotations

import pytest

from palaestra.envs import ReplayWriter, make, play
from tests.envs.replay_kit import Speaks


@pytest.fixture(scope="module")
def replay_bytes(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("replay") / "game.jsonl"
    play(make("kuhn_poker", seed=2), [Speaks(), Speaks()], recorder=ReplayWriter(path))
    return path.read_bytes()
