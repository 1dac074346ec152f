"""What is learned of reviews: rows of proposed replies, or other weights for what was said."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from statistics import fmean

import numpy as np

from palaestra.envs.seeding import Dice, derive
from palaestra.trainers.hindsight.likelihood import Weights, by_place, normalised, shuffled, weighed
from palaestra.trainers.hindsight.verdict import Verdict
from palaestra.trainers.rows import Row, Stream, rows_from_episode
from palaestra.trainers.tasks import Played

MOST_SCORE = 3.0


def judged(verdicts: Sequence[Verdict], rows: Sequence[Row], weight: float) -> list[Row]:
    """Return rows in which a turn's score, less the mean score of its game and role, is added to its advantage."""
    scores = {(one.episode, one.player, one.turn): one.score for one in verdicts if one.score is not None}
    roles = {(int(row.episode_id), row.player): (row.game, row.role) for row in rows}
    by_role: dict[tuple[str, str], list[float]] = {}
    for (episode, player, _), value in scores.items():
        by_role.setdefault(roles.get((episode, player), ("", "")), []).append(value)
    found = []
    for row in rows:
        stream = row.stream("pg")
        added = np.zeros(len(row))
        mean = fmean(by_role.get((row.game, row.role), [0.0]))
        for turn in {int(turn) for turn in row.turns}:
            if (given := scores.get((int(row.episode_id), row.player, turn))) is not None:
                added[row.turns == turn] = weight * (given - mean) / MOST_SCORE
        found.append(row.with_streams(pg=Stream.of(stream.weight + added, stream.member)))
    return found


def sized(deltas: dict[int, dict[int, Weights]], rows: Sequence[Row], use: str, clip: float, seed: int) -> list[Row]:
    """Return rows weighed by token credit, or by one of its nulls.

    Args:
        deltas: Delta, float64[n] for a turn of n tokens, by index of the match and turn.
        use: ``tokens``, ``tokens_shuffled`` or ``tokens_by_place``.
        clip: The most that a token counts.
        seed: Of the nulls.
    """
    sizes = {index: normalised(found) for index, found in deltas.items()}
    if use == "tokens_by_place":
        sizes = by_place(sizes, Dice(seed))
    if use == "tokens_shuffled":
        sizes = {index: shuffled(found, Dice(derive(seed, index))) for index, found in sizes.items()}
    return [weighed(row, sizes.get(int(row.episode_id), {}), clip) for row in rows]


def distilled(one: Played, turn: int, ids: Sequence[int], weight: float) -> Row:
    """Return the row that teaches a reply: the context of a turn as the policy had it, then the reply's tokens.

    Args:
        ids: Token ids of the reply, the stop token included; they are the members of the stream ``ce``.
    """
    player = one.episode.turns[turn].player
    rows = rows_from_episode(one.episode, f"{one.task.index:05d}", players=[player])
    row = next(row for row in rows if (row.sampled & (row.turns == turn)).any())
    start = int(np.argmax(row.sampled & (row.turns == turn)))
    whole = start + len(ids)
    member = np.arange(whole) >= start
    return replace(
        row,
        tokens=np.concatenate([row.tokens[:start], np.asarray(ids, np.int32)]),
        sampled=np.zeros(whole, np.bool_),
        logprobs=np.zeros(whole, np.float32),
        turns=np.concatenate([row.turns[:start], np.full(len(ids), turn, np.int32)]),
        status=np.zeros(whole, np.int8),
        streams={"ce": Stream.of(weight, member)},
    )
