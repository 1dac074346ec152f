"""The sum that sizes a run, printed before it starts: games × tokens × rates = time.

The rates are measured orders of magnitude on two CPU cores, kept here so that a user sees a wrong guess at once; what a
run really took is in its ``metrics.jsonl``.
"""

from __future__ import annotations

from dataclasses import dataclass

from palaestra.agents.models.sources import ModelSource
from palaestra.envs import make, play
from palaestra.envs.seat import RandomSeat
from palaestra.trainers.compare import compares
from palaestra.trainers.config import GameSection, RunConfig

SAMPLE_RATE = {"tiny": 2500.0, "smollm2": 110.0}
"""Sampled tokens per second of many concurrent games, by kind of model."""
PREFILL_RATE = {"tiny": 30000.0, "smollm2": 900.0}
"""Context tokens read per second."""
READ_RATE = {"tiny": 4000.0, "smollm2": 35.0}
"""Tokens of documents, thoughts included, that are read in batches and played through their matches, per second of one
core: one process reads, and a batch of short documents gains nothing by a second core."""
LEARN_RATE = {"tiny": 11000.0, "smollm2": 230.0}
"""Tokens per second, forward and backward."""
FRAME = {"tiny": 2, "smollm2": 30}
"""Tokens of the chat template and system message around one context."""
PROBES = 8
"""Random games that are played to see how long a game is."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What a run will take, as far as it can be known beforehand.

    Attributes:
        games: Training games. replies: Replies of trained seats. row_tokens: Tokens of one seat's row. rows: Training
        rows.
        sample_seconds, learn_seconds, evaluation_seconds: Estimates.
        sample_rate, learn_rate: The tokens per second they are made with, sampled and trained.
    """

    games: int
    replies: float
    reply_tokens: float
    row_tokens: float
    rows: float
    sample_seconds: float
    learn_seconds: float
    evaluation_games: int
    evaluation_seconds: float
    sample_rate: float
    learn_rate: float

    @property
    def seconds(self) -> float:
        """Return the whole estimate."""
        return self.sample_seconds + self.learn_seconds + self.evaluation_seconds

    def sentence(self) -> str:
        """Return the sum in words."""
        return (
            f"{self.games} games x {self.replies / max(1, self.games):.1f} replies x {self.reply_tokens:.0f} tokens; "
            f"{self.rows:.0f} rows of about {self.row_tokens:.0f} tokens. Sampling at {self.sample_rate:.0f} tokens/s, "
            f"reading included: {_minutes(self.sample_seconds)}; learning at {self.learn_rate:.0f}: "
            f"{_minutes(self.learn_seconds)}; evaluation, {self.evaluation_games} games: "
            f"{_minutes(self.evaluation_seconds)}. About {_minutes(self.seconds)} on two CPU cores"
        )


def plan_of(config: RunConfig) -> Plan:
    """Add up a run from a few random games of each of its games; learns nothing that a clock would tell."""
    kind = "tiny" if ModelSource.parse(config.model.source).kind == "tiny" else "smollm2"
    per_char = 1.0 if kind == "tiny" else 0.27  # tokens per character of English and boards
    games = config.iterations * config.games_per_iteration
    weight = sum(section.weight for section in config.games)
    replies = rows = row_tokens = reply_tokens = sample_seconds = evaluation_seconds = 0.0
    evaluation_games = 0
    for section in config.games:
        share = games * section.weight / weight
        turns, chars, players = _probe(section)
        reply = 1 if section.reads else min(section.reply.max_tokens, 24 if kind == "smollm2" else 8)
        chars = 0.0 if section.reads else chars  # what a document's observations say is its own tokens
        around = 0 if section.reads else 6  # tokens of the template around a reply
        segments = players if section.reads or section.reply.context == "growing" else turns
        segment_tokens = FRAME[kind] + (chars * per_char + turns * (reply + around)) / segments
        replies += share * turns
        reply_tokens += share * turns * reply
        rows += share * segments
        row_tokens += share * segments * segment_tokens
        rate = READ_RATE[kind] if section.reads else SAMPLE_RATE[kind]
        context_tokens = share * (chars * per_char + FRAME[kind] * segments)
        sample_seconds += share * turns * reply / rate + context_tokens / PREFILL_RATE[kind]
        pairs = config.evaluation.pairs
        # before and after; where there are several games, the base and all other adapters as well
        times = 2 + (len(config.adapter_names()) if compares(config) else 0)
        evaluation_games += times * pairs * (players - len(section.fixed_seats))
        own = times * pairs * turns
        evaluation_seconds += own * reply / rate + times * pairs * chars * per_char / PREFILL_RATE[kind]
    return Plan(
        games=games,
        replies=replies,
        reply_tokens=reply_tokens / max(1.0, replies),
        row_tokens=row_tokens / max(1.0, rows),
        rows=rows,
        sample_seconds=sample_seconds,
        learn_seconds=row_tokens * config.optimizer.epochs / LEARN_RATE[kind],
        evaluation_games=evaluation_games,
        evaluation_seconds=evaluation_seconds,
        sample_rate=reply_tokens / max(1e-9, sample_seconds),
        learn_rate=LEARN_RATE[kind],
    )


def _probe(section: GameSection) -> tuple[float, float, int]:
    """Return turns per game, characters observed per game by all seats, and players, from a few random games."""
    turns = chars = 0
    players = 1
    for seed in range(PROBES):
        game = make(section.game, seed=seed, **section.options)
        players = game.facts.players
        episode = play(game, [RandomSeat(seat) for seat in range(players)])
        turns += len(episode.turns)
        chars += sum(len(turn.observation) for turn in episode.turns)
    return turns / PROBES, chars / PROBES, players


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.1f} min"
