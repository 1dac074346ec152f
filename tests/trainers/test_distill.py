"""What a run's reviews taught, as data with its origin, and as adapters that TRL trains on exactly these tokens."""

from __future__ import annotations

import asyncio
import json
import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
import yaml

from palaestra.agents.engines.base import BASE
from palaestra.agents.engines.transformers_engine import TransformersEngine
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import Match, Scripted, read_replay
from palaestra.trainers.arena import play_tasks
from palaestra.trainers.config import parse_config
from palaestra.trainers.distill import DistillPlan, distill
from palaestra.trainers.hindsight.pairs import NoPairs, Pair, export, pairs_of
from palaestra.trainers.hindsight.stage import Hindsight
from palaestra.trainers.hindsight.verdict import append
from palaestra.trainers.tasks import MatchTask, Played, training_tasks
from tests.trainers.run_kit import data


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A run folder with recorded games of a blank model, reviewed by somebody who always says bet."""
    path = tmp_path_factory.mktemp("run")
    raw = data(games_per_iteration=12, hindsight={"share": 1.0, "use": "unverified"})
    run = parse_config(raw, "test")
    (path / "config.yaml").write_text(yaml.safe_dump(run.model_dump(mode="json")), encoding="utf-8")
    loaded = ModelSource.parse("tiny:blank").load()
    engine = TransformersEngine(loaded.model, max_rows=64)

    def play(tasks: Sequence[MatchTask]) -> list[Played]:
        reviews = [task for task in tasks if task.game == "review"]
        games = [task for task in tasks if task.game != "review"]
        done = {one.task.index: one for one in asyncio.run(play_tasks(engine, loaded.codec, games))}
        for task in reviews:
            match = Match(task.begin(), [Scripted("Mistake: yes\nBecause: it pays.\nReply: bet")], task.rules)
            done[task.index] = Played(task, asyncio.run(match.play()), 0.0, False)
        return [done[task.index] for task in tasks]

    (path / "replays" / "train").mkdir(parents=True)
    tasks = training_tasks(run, 0, {"small": BASE}, str(path / "replays" / "train"))
    waves = Hindsight(run).play(play, lambda contexts: [], tasks, 0)
    append(path / "reviews.jsonl", 0, [verdict for wave in waves for verdict in wave.verdicts])
    return path


def test_pairs_are_the_tokens_that_were_seen_and_say_where_they_come_from(folder: Path, tmp_path: Path) -> None:
    pairs, codec = pairs_of(folder)
    assert len(pairs) > 3
    for pair in pairs:
        episode = read_replay(folder / pair.replay).episode
        turn = episode.turns[pair.turn]
        record = turn.attempts[0].reply.tokens
        assert pair.player == turn.player
        assert pair.rejected[: len(record.ids)] == record.ids
        assert pair.prompt[-len(record.context) :] == record.context
        assert codec.decode(pair.chosen[:-1]) == "bet"
        assert {pair.chosen[-1], pair.rejected[-1]} <= set(codec.stop_ids)
    files = export(pairs, codec, tmp_path / "data")
    preference, supervised = (
        [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()] for file in files
    )
    assert [line["turn"] for line in preference] == [pair.turn for pair in pairs]
    assert {"prompt", "chosen", "rejected", "replay"} <= set(preference[0])
    assert {"prompt", "completion", "replay"} <= set(supervised[0])


def test_a_run_without_lessons_says_so(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "config.yaml").write_text((folder / "config.yaml").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(NoPairs, match="0 accepted reviews"):
        pairs_of(tmp_path)
    (tmp_path / "reviews.jsonl").write_text((folder / "reviews.jsonl").read_text(encoding="utf-8"), encoding="utf-8")
    with pytest.raises(NoPairs, match="no recorded game of any"):
        pairs_of(tmp_path)


def logprob(model, prompt: Sequence[int], reply: Sequence[int]) -> float:
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([[*prompt, *reply]])).logits[0]
    chosen = torch.log_softmax(logits, -1)[len(prompt) - 1 : -1].gather(-1, torch.tensor(reply)[:, None])
    return float(chosen.sum())


def mean_margin(model, pairs: Sequence[Pair]) -> float:
    return sum(logprob(model, one.prompt, one.chosen) - logprob(model, one.prompt, one.rejected) for one in pairs)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["sft", "dpo"])
def test_trl_trains_an_adapter_that_prefers_what_did_better(method, folder: Path) -> None:
    from peft import PeftModel

    pairs, _ = pairs_of(folder)
    found = distill(folder, DistillPlan(method, epochs=4, rate=5e-3, batch=4))
    assert found.pairs == len(pairs)
    assert found.last < found.first
    if method == "dpo":
        assert found.first == pytest.approx(math.log(2), abs=1e-3)  # the adapter begins as the reference
    loaded = ModelSource.parse(f"tiny:blank@{found.adapter}").load()
    before = mean_margin(loaded.model, pairs), sum(logprob(loaded.model, one.prompt, one.chosen) for one in pairs)
    peft = PeftModel.from_pretrained(loaded.model, str(found.adapter))
    after = mean_margin(peft, pairs), sum(logprob(peft, one.prompt, one.chosen) for one in pairs)
    assert after[0] > before[0]
    assert after[1] > before[1] or method == "dpo"
    facts = json.loads((found.adapter / "palaestra.json").read_text(encoding="utf-8"))
    assert (facts["distilled"], facts["games"][0]["game"]) == (method, "kuhn_poker")
