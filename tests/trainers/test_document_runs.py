"""next_token under the trainer: rows are scored as they were read, the update is the learner's own, runs resume."""

import asyncio
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from palaestra.agents.document_reader import DocumentReader, seats
from palaestra.agents.models.adapters import stamp
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.thinking import thinking_of
from palaestra.envs import Match, make
from palaestra.envs.errors import PalaestraError
from palaestra.envs.seeding import derive
from palaestra.trainers.checkpoint import read
from palaestra.trainers.config import load_config
from palaestra.trainers.credit import CreditError, make_credit
from palaestra.trainers.loss import Counts, TokenBatch, token_loss
from palaestra.trainers.plan import plan_of
from palaestra.trainers.rows import pack, rows_from_episode
from palaestra.trainers.run import resume, train
from palaestra.trainers.settle import settle
from palaestra.trainers.tasks import training_tasks
from palaestra.trainers.thinktoks.learners.base import Reader
from palaestra.trainers.thinktoks.learners.sampled import Thoughts
from palaestra.trainers.thinktoks.training import Lesson, Plan, make_reader
from tests.agents.thinkers import LORA
from tests.trainers.rows_kit import make_row
from tests.trainers.run_kit import Watch, make_learner, small

COST = 0.05
GROUP = 4
MODEL = {"source": "tiny:blank", "lora": {"rank": 2, "alpha": 4}, "thinking": {"kinds": 3, "most": 2}}
GAME = {
    "game": "next_token",
    "options": {"task": "chain", "settings": "group=s3,length=3,show=prefix", "cost": COST, "longest": 64},
    "group_size": GROUP,
}
CREDIT = {"rule": "thoughts", "options": {"cost": COST}}
RUN = {"model": MODEL, "games": [GAME], "games_per_iteration": 2 * GROUP, "credit": CREDIT}


def stirred():
    """A learner whose policy differs from its base."""
    learner = make_learner(**settled())
    noise = torch.Generator().manual_seed(1)
    tensors = learner.policy.tensors("small")
    moved = {key: tensor + 0.05 * torch.randn(tensor.shape, generator=noise) for key, tensor in tensors.items()}
    learner.policy.set_weights("small", moved)
    return learner


def settled(**changes):
    config = settle(small(**{**RUN, **changes}))
    return {"model": config.model.model_dump(), "games": [section.model_dump() for section in config.games],
            "games_per_iteration": config.games_per_iteration, "credit": config.credit.model_dump()}  # fmt: skip


def documents_of(learner, count):
    options = learner.run.games[0].options
    return [make("next_token", seed=seed, **options) for seed in range(count)]


def rows_of(learner, games, seeds, kinds=("none", "drawn", "drawn", "drawn")):
    """Return rows of G readings of each document, without weights."""
    reader = DocumentReader(ModelSource.parse("tiny:blank").load().model, (256,))
    reader.add_policy("small@1", learner.policy.weights("small").payload())
    many = [game.clone() for game in games for _ in range(GROUP)]
    thoughts = [kinds[number % GROUP] for number in range(len(many))]
    sitting = seats(reader, "small@1", [game.encoded for game in many], seeds, thoughts=thoughts)
    rows = []
    for number, (game, seat) in enumerate(zip(many, sitting, strict=True)):
        episode = asyncio.run(Match(game, [seat], record=False).play())
        found = rows_from_episode(episode, f"{number}")
        rows += [replace(row, thoughts=thoughts[number], group=str(number // GROUP)) for row in found]
    return rows


@pytest.fixture(scope="module")
def read_once():
    """A learner, two documents, the seeds of their readings, and the rows."""
    learner = stirred()
    games = documents_of(learner, 2)
    seeds = [derive(5, "reading", number) % 2**63 for number in range(2 * GROUP)]
    return learner, games, rows_of(learner, games, seeds)


def forward(learner, rows):
    batch = TokenBatch.from_rows(rows)
    asked = {"tokens": batch, "adapter": "small", "temperature": 1.0, "reading": True}
    return batch, learner.policy.forward_train(asked)


def test_rows_of_readings_are_scored_as_they_were_read(read_once):
    learner, _, rows = read_once
    assert sum(int((row.tokens >= 260).sum()) for row in rows) > 3
    weighted = make_credit("thoughts", cost=COST).assign(rows)
    _, found = forward(learner, weighted)
    for line, row in enumerate(weighted):
        row.check()
        new = found["logprobs"][line, : len(row)].detach().numpy()
        np.testing.assert_allclose(new[row.sampled], row.logprobs[row.sampled], atol=1e-4)
        counted = row.stream("ce").member
        real = found["predicted"][line, : len(row)].detach().numpy()
        assert counted.any()
        np.testing.assert_allclose(real[counted], row.scores[counted], atol=1e-4)


@pytest.mark.parametrize("shown", [False, True])
def test_the_update_is_that_of_the_learner_of_thoughts(read_once, shown):
    """The same readings, scored and paid by the learner of the experiments, give the same gradient."""
    learner, games, rows = read_once
    group = GROUP - shown
    if shown:  # the last of each group has the document's own thoughts, where the learner has them beside its group
        seeds = [derive(5, "reading", number // GROUP * group + number % GROUP) % 2**63 for number in range(2 * GROUP)]
        rows = rows_of(learner, games, seeds, ("none", "drawn", "drawn", "worked"))
        assert sum(row.thoughts == "worked" and bool((row.tokens >= 260).any()) for row in rows) == 2
    parameters = learner.policy.parameters_of("small")
    with learner.policy.using("small"):
        reader = Reader(learner.policy.peft.eval(), learner.policy.thinking, (256,))
        paid = Thoughts(reader, group=group, cost=COST, demonstrated=float(shown))
        step = paid.step([game.encoded for game in games], 5, progress=0.5)
        expected = torch.autograd.grad(step.loss, parameters, allow_unused=True)
    weighted = make_credit("thoughts", cost=COST).assign(rows)
    counts = Counts.of(weighted)
    total = [torch.zeros_like(parameter) for parameter in parameters]
    for part in pack(weighted, 60):
        batch, found = forward(learner, part)
        loss, _ = token_loss(
            found["logprobs"], batch, counts, learner.run.loss.settings(0.0), predicted=found["predicted"]
        )
        for kept, grad in zip(total, torch.autograd.grad(loss, parameters, allow_unused=True), strict=True):
            if grad is not None:
                kept += grad
    norm = sum(float((grad**2).sum()) for grad in expected if grad is not None) ** 0.5
    assert norm > 0.01
    for one, other in zip(total, expected, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, rtol=1e-3, atol=1e-5 * norm)


def test_not_to_think_is_learned_from_the_empty_thought_only_where_it_does_better(read_once):
    *_, rows = read_once
    drawn = make_credit("thoughts", cost=COST).assign([replace(row, thoughts="drawn") for row in rows])
    better = 0
    for one, other in zip(make_credit("thoughts", cost=COST).assign(rows), drawn, strict=True):
        weight = other.stream("pg").weight
        assert np.array_equal(one.stream("pg").weight, np.maximum(weight, 0) if one.thoughts == "none" else weight)
        better += int((weight < 0).sum()) if one.thoughts == "none" else 0
    assert better


def test_the_rule_refuses_rows_without_predicted_tokens():
    with pytest.raises(CreditError, match="kuhn_poker has none"):
        make_credit("thoughts").assign([make_row()])
    with pytest.raises(PalaestraError, match="nothing to deal out"):
        make_credit("shuffled", rule="thoughts")


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"model": {**MODEL, "thinking": None}}, "give the model some in model.thinking"),
        ({"games": [{**GAME, "options": {**GAME["options"], "vocabulary": "bytes"}}]}, "leave this out"),
        ({"games": [{**GAME, "options": {**GAME["options"], "cost": 0.5}}]}, "a thought costs 0.5 nats"),
        ({"credit": {"rule": "thoughts", "options": {"cost": COST, "horizon": 100}}}, "horizon: 100 tokens, but"),
        ({"credit": {"rule": "thoughts", "options": {"cost": COST, "ce": math.nan}}}, "must not be negative"),
        ({"games": [{**GAME, "reply": {"temperature": 0.7}}]}, "drawn at temperature 1"),
        ({"games": [{**GAME, "documents": {"scorer": "lvie"}}]}, "games.0.documents.scorer: .*Did you mean 'live'"),
        ({"games": [{"game": "kuhn_poker", "documents": {}}]}, "kuhn_poker has none; leave this section to next_token"),
        ({"games": [{**GAME, "group_size": 1}]}, "at least 2 of each"),
        ({"games": [{**GAME, "group_size": 2, "documents": {"shown": 0.1}}]}, "group_size: 2 leaves no reading with"),
        (
            {"games": [{**GAME, "options": {"task": "text", "cost": COST}, "documents": {"shown": 0.1}}]},
            "documents of task 'text' have no worked thoughts",
        ),
        ({"games": [GAME, {"game": "kuhn_poker", "group_size": 2}]}, "kuhn_poker has none"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_it_starts(changes, told):
    with pytest.raises(PalaestraError, match=told):
        settle(small(**{**RUN, **changes}))


def test_how_the_readings_of_a_group_think_is_an_option():
    drawn = ["drawn"] * 2
    for documents, group in (
        (None, ["none", *drawn, "drawn"]),
        ({"empty": False}, ["drawn", *drawn, "drawn"]),
        ({"shown": 1}, ["none", *drawn, "worked"]),
        ({"shown": 1, "empty": False}, ["drawn", *drawn, "worked"]),
        ({"shown": 1, "until": 0}, ["none", *drawn, "drawn"]),
    ):
        tasks = training_tasks(small(**{**RUN, "games": [{**GAME, "documents": documents}]}), 0, {"small": "p@1"}, None)
        assert [task.seats[0].thoughts for task in tasks] == group * 2
        assert {task.scorer for task in tasks} == {"live"}


def test_a_share_of_the_documents_is_shown_until_a_share_of_the_iterations():
    changes = {"games": [{**GAME, "documents": {"shown": 0.25, "until": 0.5}}], "games_per_iteration": 400 * GROUP}
    run = small(**{**RUN, **changes, "iterations": 4})
    counts = [
        sum(task.seats[0].thoughts == "worked" for task in training_tasks(run, number, {"small": "p@1"}, None))
        for number in range(4)
    ]
    assert all(60 <= count <= 140 for count in counts[:2])
    assert counts[0] != counts[1]
    assert counts[2:] == [0, 0]


def test_an_adapter_without_thinking_tokens_gets_some_and_keeps_what_it_knew(tmp_path):
    loaded = ModelSource.parse("tiny:blank").load()
    peft = get_peft_model(loaded.model, LoraConfig(**LORA))
    with torch.no_grad():
        for parameter in peft.parameters():
            if parameter.requires_grad:
                parameter += 0.1
    peft.save_pretrained(str(tmp_path / "start"))
    stamp(tmp_path / "start", loaded.fingerprint)
    source = f"tiny:blank@{tmp_path / 'start'}"
    learner = make_learner(**settled(model={**MODEL, "source": source}))
    tensors = learner.policy.tensors("small")
    assert all(float(one.abs().min()) > 0 for key, one in tensors.items() if "lora_B" in key)
    assert sum("lora_" not in key for key in tensors)
    assert learner.policy.weights("small").thinking is not None
    plan = Plan((Lesson("text"),), "thoughts", model=source, kinds=3, most=2)
    assert thinking_of(make_reader(plan).model) is not None
    ids = torch.arange(5)[None]
    with torch.no_grad():
        merged = make_reader(plan).model(input_ids=ids).logits[..., :250]
        torch.testing.assert_close(merged, peft.eval()(input_ids=ids).logits[..., :250], rtol=0, atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("documents", [None, {"scorer": "average", "decay": 0.5, "shown": 0.5, "until": 0.5}])
def test_a_run_reads_learns_and_goes_on_where_it_was_stopped(tmp_path, local_ray, documents):
    watch = Watch()
    run = {**RUN, "games": [{**GAME, "documents": documents}]}
    whole = train(small(**run), tmp_path / "whole", watch)
    assert [summary.finished for summary in watch.summaries] == [2 * GROUP, 2 * GROUP]
    assert all(summary.learner["loss/ce"] > 0 for summary in watch.summaries)
    train(small(**run, iterations=1), tmp_path / "parts", Watch())
    config = tmp_path / "parts" / "config.yaml"
    config.write_text(config.read_text(encoding="utf-8").replace("iterations: 1", "iterations: 2"), encoding="utf-8")
    parts = resume(tmp_path / "parts", Watch())
    (_, one), (_, other) = (read(folder / "checkpoints" / "00002") for folder in (whole, parts))
    assert set(one.adapters) == {"small", *(["average.0"] if documents else [])}
    for name, tensors in one.adapters.items():
        assert all(torch.equal(tensor, other.adapters[name][key]) for key, tensor in tensors.items())
    assert ModelSource.parse(f"tiny:blank@{whole}").load().adapter is not None


def test_the_plan_of_a_run_of_documents_is_about_what_was_measured():
    plan = plan_of(load_config("configs/thinktoks.yaml"))
    # a row is the document with its thoughts behind the two tokens that a context begins with, and nothing in between
    assert plan.row_tokens == pytest.approx(plan.replies / plan.games + 2)
    assert 180 < plan.seconds < 720  # six minutes, as the file says
