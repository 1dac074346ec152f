"""How fast a policy plays: many multi-turn games through the match loop, beside what they could cost at best and worst.

At best, the engine would be handed every prompt of all games at once, as if no turn had to wait for the one before it:
that side gets the contexts which the match loop's seats showed, whole, with the same seeds, and draws the same tokens.
At worst, every turn is one call of `model.generate` on its whole context, one after the other: no batch and no cache
between turns. That side is given the contexts, too, and has to sample just as many tokens; it pays for no match.

Tokens are sampled tokens; *prefilled* are context tokens that were computed, *reused* those that were found in a cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from palaestra.agents.engines.base import BASE, Completion, Sampling
from palaestra.agents.engines.transformers_engine import TransformersEngine
from palaestra.agents.language_model import ReplySettings
from palaestra.agents.models.sources import LoadedModel, ModelSource
from palaestra.agents.tokens import TextCodec
from palaestra.envs import MatchRules, OnFailure, make
from palaestra.envs.episode import Episode
from palaestra.envs.seeding import derive
from palaestra.trainers.arena import play_tasks
from palaestra.trainers.benchmarks.framework import Aim, Benchmark, Case, Counts, Side
from palaestra.trainers.tasks import MatchTask, SeatPlan

CONCURRENT = 64
MATCH, AT_ONCE, PER_TURN = "match loop", "all at once", "generate per turn"

PLAY_ON = OnFailure(reasks=0, then="random")
"""A reply that is no move costs nothing but itself, so that games last however badly the model plays."""


@dataclass(frozen=True, slots=True)
class Rollout:
    """Games to be played by one policy in all seats.

    Attributes:
        source: The model.
        game, options: What is played.
        reply: How replies are drawn.
        games: How many, ``CONCURRENT`` at once.
        alone: How many of them the slowest side plays.
        max_turns: Turns of both players after which a game is cut; None for the game's own bound.
    """

    source: str
    game: str
    reply: ReplySettings
    games: int
    alone: int
    options: dict[str, Any] = field(default_factory=dict)
    max_turns: int | None = None

    def tasks(self, policy: str) -> list[MatchTask]:
        """Return the games as tasks, `policy` in every seat."""
        rules = MatchRules(
            max_turns=self.max_turns, accept_cut=True, illegal=PLAY_ON, unparsable=PLAY_ON, truncated=PLAY_ON
        )
        players = make(self.game, **self.options).facts.players
        return [
            MatchTask(
                index=index,
                game_index=0,
                game=self.game,
                options=self.options,
                seed=derive(index, "start"),
                match_seed=derive(index, "match"),
                rules=rules,
                reply=self.reply,
                seats=(SeatPlan(policy=policy, trained=True),) * players,
            )
            for index in range(self.games)
        ]


def play(tasks: Sequence[MatchTask], engine: TransformersEngine, codec: TextCodec) -> list[Episode]:
    """Play games through the match loop, from an empty cache."""
    engine.forget()
    return [played.episode for played in asyncio.run(play_tasks(engine, codec, tasks, concurrent=CONCURRENT))]


@dataclass(frozen=True, slots=True)
class Request:
    """What a seat asked the engine for at one turn, and how many tokens it got."""

    game: int
    context: list[int]
    sampling: Sampling
    sampled: int


def requests_of(episodes: Sequence[Episode], settings: ReplySettings, stop_ids: tuple[int, ...]) -> list[Request]:
    """Return every request of the episodes, by turn and then by game, which is about the order they came in."""
    found: list[tuple[int, Request]] = []
    for game, episode in enumerate(episodes):
        contexts: dict[tuple[int, int], list[int]] = {}
        for turn in episode.turns:
            for number, attempt in enumerate(turn.attempts):
                record = attempt.reply.tokens
                assert record is not None  # every seat is a model's
                context = contexts.setdefault((turn.player, record.segment), [])
                context += record.context
                seed = derive(episode.match_seed or 0, "reply", turn.number, turn.player, number)  # as `View.seed`
                sampling = Sampling(settings.max_tokens, settings.temperature, seed, stop_ids)
                found.append((turn.number, Request(game, list(context), sampling, len(record.ids))))
                context += record.ids
    return [request for _, request in sorted(found, key=lambda one: (one[0], one[1].game))]


def lengths_of(episodes: Sequence[Episode]) -> list[int]:
    """Return the number of sampled tokens of every reply."""
    return [
        len(attempt.reply.tokens.ids)
        for episode in episodes
        for turn in episode.turns
        for attempt in turn.attempts
        if attempt.reply.tokens is not None
    ]


def _counted(engine: TransformersEngine, before: tuple[int, int], tokens: int, replies: int) -> Counts:
    prefilled, reused = engine.stats.prefilled - before[0], engine.stats.reused - before[1]
    return {"tokens": tokens, "replies": replies, "prefilled": prefilled, "reused": reused}


def play_matches(tasks: Sequence[MatchTask], engine: TransformersEngine, codec: TextCodec) -> Counts:
    """The match loop: seats, matches and engine as in training."""
    before = (engine.stats.prefilled, engine.stats.reused)
    lengths = lengths_of(play(tasks, engine, codec))
    return _counted(engine, before, sum(lengths), len(lengths))


def play_at_once(requests: Sequence[Request], engine: TransformersEngine) -> Counts:
    """All requests at once, from an empty cache."""
    engine.forget()
    before = (engine.stats.prefilled, engine.stats.reused)

    async def gather() -> list[Completion]:
        return list(await asyncio.gather(*(engine.generate(request.context, request.sampling) for request in requests)))

    done = asyncio.run(gather())
    return _counted(engine, before, sum(len(one.token_ids) for one in done), len(done))


def play_per_turn(requests: Sequence[Request], model: LoadedModel) -> Counts:
    """One `model.generate` a request, with exactly as many tokens as the match loop got."""
    tokens = prefilled = 0
    for request in requests:
        torch.manual_seed(request.sampling.seed % 2**63)
        context = torch.tensor([request.context], device=model.model.device)
        with torch.inference_mode():
            ids = model.model.generate(
                context,
                attention_mask=torch.ones_like(context),
                do_sample=True,
                temperature=request.sampling.temperature,
                top_k=0,
                top_p=1.0,
                min_new_tokens=request.sampled,
                max_new_tokens=request.sampled,
                pad_token_id=0,
            )
        tokens += ids.shape[1] - context.shape[1]
        prefilled += context.shape[1]
    return {"tokens": tokens, "replies": len(requests), "prefilled": prefilled, "reused": 0}


def case_of(rollout: Rollout) -> Case:
    """Load the model and return the case; the sides share it."""
    model = ModelSource.parse(rollout.source).load()
    engine = TransformersEngine(model.model, max_rows=CONCURRENT)
    tasks = rollout.tasks(BASE)
    requests = requests_of(play(tasks, engine, model.codec), rollout.reply, model.codec.stop_ids)
    mine = [request for request in requests if request.game < rollout.alone]
    part = "" if rollout.alone >= rollout.games else f"the turns of {rollout.alone} of the {rollout.games} games"
    longest = max(len(request.context) for request in requests)
    settings = rollout.reply
    sides = (
        Side(MATCH, f"{CONCURRENT} matches at once, as in training", lambda: play_matches(tasks, engine, model.codec)),
        Side(
            AT_ONCE, "the same engine, handed the contexts of all turns at once", lambda: play_at_once(requests, engine)
        ),
        Side(
            PER_TURN,
            "one call of transformers' `generate` a turn, batch 1, no cache between turns",
            lambda: play_per_turn(mine, model),
            part,
        ),
    )
    sentence = (
        f"{rollout.games} games of {rollout.game}, {CONCURRENT} at once, {len(requests) / rollout.games:.1f} turns a "
        f"game, contexts up to {longest} tokens, replies up to {settings.max_tokens}, {torch.get_num_threads()} threads"
    )
    aims = (Aim(MATCH, AT_ONCE, 0.9), Aim(MATCH, PER_TURN, 3.0))
    return Case(rollout.source, sentence, ("tokens",), sides, aims, compared=("replies",))


SHORT = Rollout("tiny:kuhn", "kuhn_poker", ReplySettings(max_tokens=8), games=512, alone=64, options={"view": "terse"})
LONG = Rollout("tiny:board", "tic_tac_toe", ReplySettings(max_tokens=8), games=256, alone=32, options={"view": "terse"})
SMOLLM2 = Rollout(
    "smollm2",
    "tic_tac_toe",
    ReplySettings(max_tokens=8, temperature=0.8),
    games=CONCURRENT,
    alone=2,
    max_turns=6,
)
QUICK = Rollout("tiny:blank", "kuhn_poker", ReplySettings(max_tokens=4), games=6, alone=6, options={"view": "terse"})


def cases(quick: bool) -> Iterator[Case]:
    """Yield a case for each model: two or three turns of a few tokens each, many turns, and a real model."""
    for rollout in (QUICK,) if quick else (SHORT, LONG, SMOLLM2):
        yield case_of(rollout)


BENCHMARK = Benchmark(
    name="rollout",
    question=f"How many tokens a second does a policy sample in {CONCURRENT} concurrent multi-turn games?",
    cases=cases,
    rounds=4,
)
