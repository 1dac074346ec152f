"""Rows: what the learner trains on, and how they are packed under a token budget.

Words. A *row* is one segment of one seat: T tokens in the order in which the model saw them, some *sampled* by the
policy, the others observed. A *stream* gives each token of a row a weight in one term of the loss, and says which
tokens are *members*, that is, count in that term's denominator. There are three: ``pg`` (policy gradient; the weight is
an advantage), ``ce`` (cross-entropy) and ``kl`` (to the reference; the weight is the coefficient). A *micro-batch* is a
set of rows padded to the longest of them; rows of the same tokens stay together.

Invariants, each with a test. A weight is exactly 0 where the token is no member. Members of ``pg`` and ``kl`` were
sampled. The first token of a row is never a member, because nothing predicts it. Packing places every row exactly once,
a micro-batch's distinct rows are never larger than the budget after padding, and the same rows give the same
micro-batches. A row longer than the budget is an error and is never cut: a cut row would train on a context that the
policy did not see.

Rows are numpy only, so that a runner without torch can make them. `palaestra.trainers.credit` fills the streams;
`palaestra.trainers.loss` turns micro-batches into tensors.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from palaestra.envs.documents.vocabulary import Thoughts
from palaestra.envs.episode import STATUSES, Episode
from palaestra.envs.errors import PalaestraError

STREAMS = ("pg", "ce", "kl")
SHORTEST = 1.5
"""A micro-batch holds no row that the first is this many times longer than."""
OK, ILLEGAL, UNPARSABLE, TRUNCATED = range(len(STATUSES))


class RowError(PalaestraError, ValueError):
    """A row that breaks an invariant, or that no micro-batch can hold."""


@dataclass(frozen=True, slots=True)
class Stream:
    """Weights of one term of the loss over the T tokens of a row.

    Attributes:
        weight: float32[T], 0 where not a member.
        member: bool[T], whether the token counts in the denominator. A member may weigh 0: an average result is a
            result.
    """

    weight: NDArray[np.float32]
    member: NDArray[np.bool_]

    @classmethod
    def empty(cls, length: int) -> Stream:
        """Return a stream without members."""
        return cls(np.zeros(length, np.float32), np.zeros(length, np.bool_))

    @classmethod
    def of(cls, weight: float | NDArray[np.floating], member: NDArray[np.bool_]) -> Stream:
        """Return a stream that weighs ``weight`` (one number, or one per token) on members and 0 elsewhere."""
        member = member.copy()
        member[:1] = False
        return cls(np.where(member, weight, 0.0).astype(np.float32), member)


@dataclass(frozen=True, slots=True, eq=False)
class Row:
    """One training row of T tokens, with where it comes from.

    Attributes:
        game, role: What baselines are keyed by.
        group: The start state, the same for episodes that may be compared with each other.
        episode_id: Unique in a batch. ``player`` is the seat; a seat's episode may have several rows, numbered by
            ``segment``.
        policy: The version that sampled the row.
        return_: The seat's return in the game's own units; None if the episode was cut, which is not a return of 0.
        tokens: int32[T]. sampled: bool[T]. logprobs: float32[T], behaviour log-probabilities, 0 where not sampled.
        turns: int32[T], number of the turn. status: int8[T], index into `STATUSES` of the reply a sampled token belongs
            to.
        scores: float32[T], what each *predicted* token is worth, in nats, 0 where that does not count, NaN for all
            other tokens; None for a row in which nothing was predicted. In a row with scores, ``logprobs`` are those of
            decisions (thinking tokens, and to advance where a predicted token stands), and ``ce`` is about what the
            model says of predicted tokens.
        thoughts: How a document was read; only drawn thoughts were the policy's own.
        streams: The weights, by name from `STREAMS`; a missing name is a stream without members.
    """

    game: str
    role: str
    group: str
    episode_id: str
    player: int
    segment: int
    policy: str
    return_: float | None
    tokens: NDArray[np.int32]
    sampled: NDArray[np.bool_]
    logprobs: NDArray[np.float32]
    turns: NDArray[np.int32]
    status: NDArray[np.int8]
    scores: NDArray[np.float32] | None = None
    thoughts: Thoughts = "drawn"
    streams: dict[str, Stream] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.tokens)

    def stream(self, name: str) -> Stream:
        """Return a stream by name, without members if it was never set."""
        return self.streams.get(name) or Stream.empty(len(self))

    def with_streams(self, **streams: Stream) -> Row:
        """Return the row with some streams replaced."""
        return dataclasses.replace(self, streams={**self.streams, **streams})

    def check(self) -> None:
        """Check shapes and the invariants of the module docstring.

        Raises:
            RowError: Names the row and the first invariant it breaks.
        """
        where = f"row {self.segment} of player {self.player + 1} in episode {self.episode_id!r}"
        length = len(self.tokens)
        for name in ("sampled", "logprobs", "turns", "status"):
            if (found := getattr(self, name).shape) != (length,):
                raise RowError(
                    f"{where}: {name} has shape {found}, but there are {length} tokens; make it one value per token"
                )
        if not np.isfinite(self.logprobs).all() or (self.logprobs > 1e-3).any():
            raise RowError(
                f"{where}: logprobs must be finite natural logarithms of probabilities; have the engine return them"
            )
        if self.scores is not None and (self.scores.shape != (length,) or np.isinf(self.scores).any()):
            raise RowError(f"{where}: scores must be one finite number per token, or NaN; have the scorer give numbers")
        if self.return_ is not None and not np.isfinite(self.return_):
            raise RowError(
                f"{where}: return {self.return_} is not finite; have the game return a number, or None if unfinished"
            )
        for name, stream in self.streams.items():
            if name not in STREAMS:
                raise RowError(f"{where}: there is no stream {name!r}; use one of {', '.join(STREAMS)}")
            if stream.weight.shape != (length,) or stream.member.shape != (length,):
                raise RowError(f"{where}: stream {name} must have one weight and one membership per token")
            if not np.isfinite(stream.weight).all():
                raise RowError(
                    f"{where}: stream {name} holds a weight that is not finite; the credit rule divided by zero"
                )
            if stream.weight[~stream.member].any():
                raise RowError(f"{where}: stream {name} weighs a token that is no member; build it with Stream.of")
            if stream.member[:1].any():
                raise RowError(
                    f"{where}: stream {name} holds the first token, which nothing predicts; build it with Stream.of"
                )
            if name != "ce" and (stream.member & ~self.sampled).any():
                raise RowError(f"{where}: stream {name} holds a token that was observed, not sampled; only ce may")


def rows_from_episode(episode: Episode, episode_id: str, *, players: Iterable[int] | None = None) -> list[Row]:
    """Return the rows of an episode, without weights.

    Args:
        episode: As played.
        episode_id: Any name that is unique in the batch.
        players: Seats to train on; by default all that carry tokens. Leave out seats held by past or frozen policies.
    """
    options = ",".join(f"{key}={value!r}" for key, value in sorted(episode.options.items()))
    rows = []
    for player in range(len(episode.seats)) if players is None else players:
        for segment in episode.segments(player):
            row = Row(
                game=episode.game,
                role=segment.role,
                group=f"{episode.game}({options})#{episode.seed}",
                episode_id=episode_id,
                player=player,
                segment=segment.index,
                policy=segment.policy,
                return_=None if episode.returns is None else float(episode.returns[player]),
                tokens=segment.tokens,
                sampled=segment.sampled,
                logprobs=segment.logprobs,
                turns=segment.turns,
                status=segment.status,
                scores=segment.scores,
            )
            row.check()
            rows.append(row)
    return rows


def check_lengths(rows: Iterable[Row], token_budget: int) -> None:
    """Raise RowError for a row that is longer than a micro-batch may be."""
    for row in rows:
        if len(row) > token_budget:
            raise RowError(
                f"token_budget {token_budget} is smaller than a row of {len(row)} tokens (episode {row.episode_id!r}); "
                "raise the budget (it may be changed in a run's config.yaml before it is resumed), or give the seat a "
                "shorter context so that it opens a new segment earlier"
            )


def pack(rows: Sequence[Row], token_budget: int, *, once: bool = True) -> list[list[Row]]:
    """Split rows into micro-batches of at most ``token_budget`` tokens after padding. ``once`` counts rows of the same
    tokens once, as the model sees them (`palaestra.trainers.loss.TokenBatch.once`).

    Longest first, each micro-batch filled in turn: for sorted rows the padded size is the first row's length times the
    number of rows, and the first micro-batch shows at once whether memory is enough. A row much shorter than the first
    of its micro-batch opens a new one, so that a few long rows do not pad many short ones to their length.

    Raises:
        RowError: A row alone is longer than the budget; nothing was packed.
    """
    check_lengths(rows, token_budget)
    order = sorted(rows, key=lambda row: (-len(row), row.tokens.tobytes(), row.episode_id, row.player, row.segment))
    batches: list[list[Row]] = []
    distinct = 0
    for row in order:
        if once and batches and np.array_equal(row.tokens, batches[-1][-1].tokens):
            batches[-1].append(row)
            continue
        longest = len(batches[-1][0]) if batches else 0
        if batches and longest * (distinct + 1) <= token_budget and len(row) * SHORTEST >= longest:
            batches[-1].append(row)
            distinct += 1
        else:
            batches.append([row])
            distinct = 1
    return batches
