"""A real `vllm serve` on loopback, and a match played through it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from palaestra.agents import make_seat
from palaestra.envs import MatchRules, OnFailure, RandomSeat, make, play

pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


def test_a_match_is_played_through_a_real_vllm_server(tmp_path: Path) -> None:
    pytest.importorskip("vllm", reason="vLLM lives in an environment of its own: make vllm")
    from palaestra.agents.models.sources import ModelSource

    model = ModelSource.parse("smollm2").fetch()
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "vllm.entrypoints.openai.api_server", "--model", str(model)]
    command += ["--served-model-name", "smollm2", "--host", "127.0.0.1", "--port", str(port), "--enforce-eager"]
    command += ["--max-model-len", "2048", "--dtype", "float32"]
    environment = {**os.environ, "VLLM_CPU_KVCACHE_SPACE": "1", "VLLM_NO_USAGE_STATS": "1"}
    with open(tmp_path / "server.log", "wb") as log:
        server = subprocess.Popen(command, env=environment, stdout=log, stderr=log, start_new_session=True)
        try:
            wait_for(f"http://127.0.0.1:{port}/health", server, tmp_path / "server.log")
            seat = make_seat(f"server:http://127.0.0.1:{port}/v1;model=smollm2;max_tokens=16;temperature=0")
            again = OnFailure(1, "random")
            rules = MatchRules(illegal=again, unparsable=again, truncated=again)
            episode = play(make("kuhn_poker", seed=1), [seat, RandomSeat()], rules)
        finally:
            server.terminate()
            server.wait(60)
    assert episode.outcome == "finished"
    infos = [attempt.reply.info for turn in episode.turns if turn.player == 0 for attempt in turn.attempts]
    assert infos
    assert all(info and 0 < info["completion_tokens"] <= 16 and info["prompt_tokens"] > 20 for info in infos)


def wait_for(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline:
        assert server.poll() is None, log.read_text()[-2000:]
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except (urllib.error.URLError, OSError):
            time.sleep(1)
        else:
            return
    raise AssertionError(f"no server after 300 s: {log.read_text()[-2000:]}")
