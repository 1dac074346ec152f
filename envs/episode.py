"""What happened in a match, as plain data: `Reply`, `Attempt`, `Turn`, `Episode`, `Segment`.

A seat answers a request with a *reply*. The match judges it: an *attempt* is a reply with its verdict, one of four
that are never merged (``ok``, ``illegal``, ``unparsable``, ``truncated``). A *turn* is all attempts of one player
until an action was accepted or the player's patience ran out. An *episode* is the turns and the outcome.

A language model's reply also carries its tokens. Inside one *segment* the context is only ever appended to, so a
segment is one training row: context tokens (weight 0) and sampled tokens in the order in which the model saw them,
token for token as they were sampled. Nothing here is ever re-tokenised.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from palaestra.envs.parts import Action, Part, part_text

Status = Literal["ok", "illegal", "unparsable", "truncated"]
STATUSES: tuple[Status, ...] = ("ok", "illegal", "unparsable", "truncated")
Outcome = Literal["finished", "forfeit", "unfinished"]


@dataclass(frozen=True, slots=True)
class TokenRecord:
    """The exact tokens of one reply.

    Attributes:
        segment: Number of the segment, counted from 0 per seat; a new number starts a new, empty context.
        context: Token ids appended to the segment's context before this reply (observation, template, closing tokens).
        ids: Sampled token ids, the stop token included if one was sampled.
        logprobs: Natural-log probability of each of ``ids`` under the distribution it was drawn from.
        policy: The policy version that sampled them, such as ``"base"`` or ``"negotiation@17"``.
        score: What the last token is worth, in nats, where the game places it and the policy predicted it; 0 if the
            game does not count it. ``ids`` then has that token, or none if there was no decision to make before it,
            and the log-probability is that of the decision. None everywhere else.
    """

    segment: int
    context: tuple[int, ...]
    ids: tuple[int, ...]
    logprobs: tuple[float, ...]
    policy: str
    score: float | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A seat's answer.

    Attributes:
        content: Text (thought and action together, as written), or another typed part where the game asks for one.
        truncated: Whether a token limit cut the text short.
        tokens: The tokens, if the seat is a language model.
        info: Anything the seat wants recorded, as JSON data (search statistics, a scorer's inputs).
    """

    content: Part
    truncated: bool = False
    tokens: TokenRecord | None = None
    info: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Attempt:
    """A reply and its verdict.

    Attributes:
        status: The verdict; ``reason`` is what the player was told when it is not ``"ok"``.
        thought: The part of the text between thought markers; empty if there is none.
    """

    reply: Reply
    status: Status
    reason: str = ""
    thought: str = ""


@dataclass(frozen=True, slots=True)
class Turn:
    """One player's turn.

    Attributes:
        number: Position in the episode, from 0.
        observation: The text shown to the player first, empty when the match does not record.
        action: The accepted canonical action; None if the player forfeited here, whether or not the others played on.
        substituted: Whether the rules of conduct chose the action because every attempt had failed.
        state_hash: `Game.state_hash` after the turn; empty when the match does not record.
        heard: Players whose messages the player was shown for the first time before this turn.
    """

    number: int
    player: int
    role: str
    observation: str
    attempts: tuple[Attempt, ...]
    action: Action | None
    substituted: bool = False
    state_hash: str = ""
    heard: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Segment:
    """One training row: T tokens of one seat's context, in order.

    Attributes:
        tokens: int32[T]. sampled: bool[T], true where the policy sampled the token.
        logprobs: float32[T], behaviour log-probabilities; 0 where not sampled.
        turns: int32[T], number of the turn a token belongs to.
        attempts: int32[T], number of the attempt within that turn.
        status: int8[T], index into `STATUSES` of the reply a sampled token belongs to; 0 elsewhere.
        policy: The version that sampled it; a segment has exactly one.
        scores: float32[T], `TokenRecord.score` of predicted tokens and NaN elsewhere; None if nothing was predicted.
    """

    player: int
    role: str
    index: int
    policy: str
    tokens: NDArray[np.int32]
    sampled: NDArray[np.bool_]
    logprobs: NDArray[np.float32]
    turns: NDArray[np.int32]
    attempts: NDArray[np.int32]
    status: NDArray[np.int8]
    scores: NDArray[np.float32] | None = None


@dataclass(frozen=True, slots=True)
class Episode:
    """A match from beginning to end.

    Attributes:
        game, version, options, seed: What `palaestra.envs.make` needs to start it again.
        rules: The match's rules of conduct, as JSON data.
        seats: A description of who sat where.
        roles: Role of each player at the end of the game.
        outcome: ``"finished"`` by the rules, by ``"forfeit"`` of ``forfeited_by``, or ``"unfinished"`` (cut by a turn
            limit).
        returns: One per player; None when unfinished, because unfinished is not a draw.
        result: What the game itself recorded (`Game.result`).
        match_seed: Seed of everything random outside the game's own chance; the game's seed if None.
    """

    game: str
    version: int
    options: dict[str, Any]
    seed: int
    rules: dict[str, Any]
    seats: tuple[str, ...]
    roles: tuple[str, ...]
    turns: tuple[Turn, ...]
    outcome: Outcome
    returns: tuple[float, ...] | None
    forfeited_by: int | None = None
    result: dict[str, Any] = field(default_factory=dict)
    match_seed: int | None = None

    @property
    def actions(self) -> list[tuple[int, Action]]:
        """Return the accepted actions as (player, action), in order."""
        return [(turn.player, turn.action) for turn in self.turns if turn.action is not None]

    @property
    def forfeits(self) -> tuple[int, ...]:
        """Return the players who forfeited, in order; there may be many where a game goes on without them."""
        return tuple(turn.player for turn in self.turns if turn.action is None)

    def count(self, status: Status, player: int | None = None) -> int:
        """Return how many attempts (of one player, or of all) ended with ``status``."""
        turns = (turn for turn in self.turns if player is None or turn.player == player)
        return sum(attempt.status == status for turn in turns for attempt in turn.attempts)

    def transcript(self) -> str:
        """Return the episode as text: each turn's reply with failed attempts marked, and how it ended."""
        lines = [
            f"{self.game} (seed {self.seed}): " + ", ".join(f"{i + 1}={name}" for i, name in enumerate(self.seats))
        ]
        for turn in self.turns:
            for attempt in turn.attempts:
                if attempt.status != "ok":
                    said = _one_line(attempt.reason)
                    lines.append(f"{turn.number + 1:>3}. player {turn.player + 1}: {attempt.status}: {said}")
            if turn.action is None:
                lines.append(f"{turn.number + 1:>3}. player {turn.player + 1} ({turn.role}): forfeits")
            else:
                how = " (chosen for it)" if turn.substituted else ""
                said = _one_line(part_text(turn.action))
                lines.append(f"{turn.number + 1:>3}. player {turn.player + 1} ({turn.role}): {said}{how}")
        if self.returns is None:
            lines.append("unfinished")
        else:
            how = f"forfeit by player {self.forfeited_by + 1}" if self.forfeited_by is not None else "finished"
            lines.append(f"{how}: returns " + ", ".join(f"{value:g}" for value in self.returns))
        return "\n".join(lines)

    def segments(self, player: int) -> list[Segment]:
        """Return the training rows of one seat, in order; empty for a seat without tokens."""
        pieces: dict[int, list[tuple[Turn, int, Attempt, TokenRecord]]] = {}
        for turn in self.turns:
            if turn.player == player:
                for number, attempt in enumerate(turn.attempts):
                    if (record := attempt.reply.tokens) is not None:
                        pieces.setdefault(record.segment, []).append((turn, number, attempt, record))
        return [_segment(player, self.roles[player], index, piece) for index, piece in sorted(pieces.items())]


def _one_line(text: str) -> str:
    """Return text on one line, so that nothing a player wrote looks like a line of the transcript."""
    return " / ".join(text.splitlines())


def _segment(player: int, role: str, index: int, pieces: list[tuple[Turn, int, Attempt, TokenRecord]]) -> Segment:
    policies = {record.policy for *_, record in pieces}
    if len(policies) != 1:
        raise ValueError(f"segment {index} of player {player + 1} was sampled by several policies: {sorted(policies)}")
    tokens: list[int] = []
    sampled: list[bool] = []
    logprobs: list[float] = []
    turns: list[int] = []
    attempts: list[int] = []
    status: list[int] = []
    scores: list[float] = []
    for turn, number, attempt, record in pieces:
        context, ids = len(record.context), len(record.ids)
        tokens += [*record.context, *record.ids]
        sampled += [False] * context + [True] * ids
        logprobs += [0.0] * context + list(record.logprobs)
        turns += [turn.number] * (context + ids)
        attempts += [number] * (context + ids)
        status += [0] * context + [STATUSES.index(attempt.status)] * ids
        scores += [math.nan] * (context + ids)
        if record.score is not None:
            scores[-1] = record.score
    return Segment(
        player,
        role,
        index,
        policies.pop(),
        np.array(tokens, np.int32),
        np.array(sampled, np.bool_),
        np.array(logprobs, np.float32),
        np.array(turns, np.int32),
        np.array(attempts, np.int32),
        np.array(status, np.int8),
        None if all(map(math.isnan, scores)) else np.array(scores, np.float32),
    )
