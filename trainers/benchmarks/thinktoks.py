"""How fast documents are read with thoughts: whole batches in one go beside stepping the environment.

All sides have the same model, documents and seeds, and so the same thoughts and log scores. *Stepping* is what a page
of PyTorch around `palaestra/NextToken-v0` would do: one document at a time, at every step a pass over the tokens of the
observation, one decision, and, to advance, the distribution over the real vocabulary. With a *cache* a pass computes
only what is new. *One pass* is what every learner computes along readings that are there: log-probabilities of real
tokens and of decisions, without a gradient. *Drawing* makes these readings first (`palaestra.agents.reader.read`),
whose thoughts have to be drawn one after another.

Tokens are those that were placed, thoughts included.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch

from palaestra.agents.columns import columns
from palaestra.agents.reader import Batch, Reading, read, score
from palaestra.agents.thinking import ADVANCE, Thinking, decide
from palaestra.envs import make
from palaestra.envs.bridges.next_token import NextTokenEnv
from palaestra.envs.documents.vocabulary import Encoded, vocabulary
from palaestra.envs.games.next_token import NextToken
from palaestra.trainers.benchmarks.framework import Aim, Benchmark, Case, Counts, Side
from palaestra.trainers.thinktoks.learners.base import Reader
from palaestra.trainers.thinktoks.models import Shape, fresh_model

PASS, DRAWN, STEPPED, CACHED = "one pass", "drawing and one pass", "stepping", "stepping with a cache"
LEAST = 100.0


@dataclass(frozen=True, slots=True)
class Work:
    """What is read, and how much of it by stepping.

    Attributes:
        name: Of the case.
        sentence: Where one may think.
        options: Of the environment.
        documents: In a batch.
        stepped: Documents that are stepped through, the first ones.
        shape: Of the model, which is not trained: it thinks as likely as not.
    """

    name: str
    sentence: str
    options: dict[str, Any]
    documents: int = 64
    stepped: int = 2
    shape: Shape = field(default_factory=Shape)


def make_reader(work: Work) -> Reader:
    """Return the model, whose contexts begin with a token of its own."""
    words = vocabulary("bytes").size
    thinking = Thinking(words + 1, work.options["thoughts"], work.options["most"])
    return Reader(fresh_model(thinking, work.shape, seed=0).eval(), thinking, (words,))


def documents_of(work: Work) -> list[Encoded]:
    """Return the documents that the environment gives for seeds 0, 1, ..."""
    found = []
    for seed in range(work.documents):
        game = make("next_token", seed=seed, **work.options)
        assert isinstance(game, NextToken)
        found.append(game.encoded)
    return found


def drawn(reader: Reader, documents: Sequence[Encoded]) -> list[Reading]:
    """Read the documents in one go."""
    return read(reader.model, reader.thinking, documents, range(len(documents)), start=reader.start)


@torch.no_grad()
def one_pass(reader: Reader, readings: Sequence[Reading]) -> Counts:
    """Score readings."""
    real = score(reader.model, reader.thinking, Batch.of(readings, reader.device)).real
    tokens = sum(int((reading.place >= 0).sum()) for reading in readings)
    thoughts = sum(int(reading.thought.sum()) for reading in readings)
    return {"tokens": tokens, "thoughts": thoughts, "nats": round(-float(real.sum()))}


@torch.no_grad()
def stepped(reader: Reader, work: Work, number: int, *, cached: bool) -> Counts:
    """Step through the first ``number`` documents."""
    env = NextTokenEnv(**work.options)
    words, thinking = vocabulary("bytes").size, reader.thinking
    tokens = thoughts = 0
    nats = 0.0
    for seed in range(number):
        observation, _ = env.reset(seed=seed)
        cache: Any = columns() if cached else None
        computed = made = 0
        over = False
        while not over:
            placed = observation["tokens"][: int(observation["length"])]
            seen = [*reader.start, *np.where(placed >= words, placed - words + thinking.real, placed).tolist()]
            ids = torch.tensor([seen[computed:] if cached else seen], device=reader.device)
            logits = reader.model(input_ids=ids, past_key_values=cache, use_cache=cached).logits[0, -1]
            computed = len(seen)
            decision = ADVANCE
            if observation["left"]:
                decision = decide(thinking.decisions(logits)[None], [seed], [made])[0]
                made += 1
            odds = thinking.real_logprobs(logits)[:words].cpu().numpy()
            observation, paid, over, _, _ = env.step({"think": decision, "logits": odds})
            tokens += 1
            thoughts += decision != ADVANCE
            nats -= paid
    return {"tokens": tokens, "thoughts": thoughts, "nats": round(nats)}


def case_of(work: Work) -> Case:
    """Return the case; the sides share the model."""
    reader, documents = make_reader(work), documents_of(work)
    readings = drawn(reader, documents)
    whole = work.stepped == work.documents
    part = "" if whole else f"the first {work.stepped} of {work.documents} documents"
    sides = (
        Side(PASS, "all documents as they were read, scored in one batched pass", lambda: one_pass(reader, readings)),
        Side(
            DRAWN,
            "all documents read at once, thoughts drawn one after another, and then scored in one batched pass",
            lambda: one_pass(reader, drawn(reader, documents)),
        ),
        Side(
            CACHED,
            "the environment step by step, one document at a time, each pass over what is new",
            lambda: stepped(reader, work, work.stepped, cached=True),
            part,
        ),
        Side(
            STEPPED,
            "the environment step by step, one document at a time, each pass over the whole observation",
            lambda: stepped(reader, work, work.stepped, cached=False),
            part,
        ),
    )
    shape = work.shape
    sentence = (
        f"{len(documents)} documents of {len(documents[0])} tokens, {work.sentence}, at most {work.options['most']} "
        f"thoughts each time; an untrained model of {shape.layers} layers and width {shape.width}, "
        f"{torch.get_num_threads()} threads"
    )
    aims = (Aim(PASS, STEPPED, LEAST), Aim(PASS, CACHED), Aim(DRAWN, STEPPED), Aim(DRAWN, CACHED))
    return Case(work.name, sentence, ("tokens",), sides, aims, compared=("thoughts", "nats"))


THINKING = {"thoughts": 8, "most": 4, "longest": 256}
TEXT = Work("text", "where one may think before every token", {"task": "text", "settings": "length=256", **THINKING})
CHAIN = Work(
    "chain",
    "products of 51 elements of S5, where one may think before each of the 51 answers",
    {"task": "chain", "settings": "group=s5,length=51,show=prefix", **THINKING},
)
QUICK = Work(
    "text",
    TEXT.sentence,
    {"task": "text", "settings": "length=24", **THINKING},
    documents=4,
    stepped=4,
    shape=Shape(layers=1, width=16, heads=2),
)


def cases(quick: bool) -> Iterator[Case]:
    """Yield a case for each kind of document."""
    for work in (QUICK,) if quick else (TEXT, CHAIN):
        yield case_of(work)


BENCHMARK = Benchmark(
    name="thinktoks",
    question="How many tokens a second are read with thoughts, in one go and by stepping the environment?",
    cases=cases,
    rounds=5,
)
