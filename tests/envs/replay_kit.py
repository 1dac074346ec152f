"""Making, changing and judging replays, for their tests."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palaestra.envs import MatchRules, OnFailure, ReplayWriter, Reply, TokenRecord, View, make, play
from palaestra.envs.conformance.seats import Erratic
from palaestra.envs.episode import Episode
from palaestra.envs.replay_lines import seal

AGAIN = OnFailure(1, "random")
RULES = MatchRules(visibility="public", illegal=AGAIN, unparsable=AGAIN, truncated=AGAIN)


class Speaks:
    """A language model's seat, as far as a replay is concerned: replies with tokens and notes."""

    name = "model@17"

    async def act(self, view: View) -> Reply:
        tokens = TokenRecord(0, (1, 2, 3), (view._number, 5), (-0.1, -0.30000000000000004), "model@17")
        return Reply(f"<think>é\u2028ß 🂡</think>{view.legal_actions()[0]}", False, tokens, {"value": 0.25})


def recorded(path: Path, game: str = "tic_tac_toe", seed: int = 4, **options: Any) -> Episode:
    return play(
        make(game, seed=seed), [Erratic(4), Erratic(4, salt=1)], RULES, recorder=ReplayWriter(path, **options), seed=99
    )


@contextmanager
def changed(path: Path, number: int, change: Callable[[dict[str, Any]], Any]) -> Iterator[Path]:
    """Change one line and compute all sums anew, as somebody would who knows how they are made."""
    sums, sealed = "", b""
    for count, line in enumerate(path.read_bytes().splitlines()):
        data = json.loads(line)
        del data["sum"]
        if count == number:
            change(data)
        sums, raw = seal(sums, data)
        sealed += raw
    before = path.read_bytes()
    path.write_bytes(sealed)
    assert path.read_bytes() != before
    yield path


def one_sentence(error: BaseException) -> bool:
    """Whether an error is fit for the command line: one line, a cause and a cure, no class names or tracebacks."""
    text = str(error)
    return "\n" not in text and len(text) < 400 and text.rstrip().endswith(".") and (";" in text or ". " in text)
