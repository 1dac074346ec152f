"""What the frozen reference makes of a reply, token by token: with hindsight, with wrong hindsight, and without.

    with(h)   = log p_ref(token | observation, told h)
    without   = log p_ref(token | observation)

*Token credit*: Delta = with(right) - with(wrong), where the wrong hint tells the opposite result and nothing else. What
both hints do to the style of a text cancels (RLCSD, arXiv 2606.11709). |Delta| is the size of an update and the game's
result its sign (RLSD, arXiv 2604.03128); sizes are divided by their mean over the game's reviewed tokens, clipped, and
multiply the weights that the credit rule gave (self-normalised within a trajectory: HCAPO, arXiv 2603.08754).

It has two nulls. `shuffled` deals the same sizes out at random over the tokens of their game: what the reference said
of a token falls on another. But a reference may say no more than at which place of a reply something is decided (where
replies are single words, their first token): `by_place` deals sizes out over all games of an iteration, from the first
tokens of replies to first tokens, from second to second ones, so that places keep their sizes and nothing else does.

A *judge* that is asked for no words (``form: reply``) gives a turn the sum of Delta over its tokens, both hints telling
what became known: how much more what was said is what a winner says than what a loser does.

The *leak check* asks of a proposed reply how likely it is ``without``: what could not be said then without hindsight
would be learned as a guess.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from palaestra.agents.engines.base import BASE
from palaestra.agents.tokens import TextCodec
from palaestra.envs import Game
from palaestra.envs.games.review import shown
from palaestra.envs.seeding import Dice
from palaestra.trainers.config import GameSection
from palaestra.trainers.hindsight.ask import Asked, at
from palaestra.trainers.rows import Row, Stream
from palaestra.trainers.tasks import Played


class Score(Protocol):
    """Says how likely a policy finds token sequences."""

    def __call__(self, contexts: Sequence[list[int]], policy: str = BASE) -> list[list[float] | None]:
        """Return the log-probabilities of all but each sequence's first token, in nats; None for what does not fit."""
        ...


Weights = NDArray[np.float64]


def hinted(observation: str, result: float | None, told: str, *, terse: bool) -> str:
    """Return an observation behind what became known later."""
    if terse:
        return shown(observation, "", result, told, terse=True)  # what a tiny critic has read
    end = "" if result is None else f"this player got {result:g}. "
    return f"What came of it: {end}{told}\n\n{observation}".replace(" \n", "\n")


def context_of(codec: TextCodec, section: GameSection, text: str) -> list[int]:
    """Return a fresh context in which a seat of this game reads a text."""
    return [*codec.chat_open(section.reply.system), *codec.user_turn(text)]


def likelihoods(score: Score, asked: Sequence[tuple[list[int], list[int]]], policy: str = BASE) -> list[Weights | None]:
    """Return the log-probability of each token of replies behind their contexts, in nats; None where both together do
    not fit the model."""
    found = score([[*context, *reply] for context, reply in asked], policy) if asked else []
    return [
        None if one is None else np.array(one[len(context) - 1 :])
        for one, (context, _) in zip(found, asked, strict=True)
    ]


Place = tuple[int, int]
"""(number of a match, turn)"""


def differences(
    score: Score,
    codec: TextCodec,
    sections: Sequence[GameSection],
    played: Sequence[Played],
    asked: Iterable[Asked],
    *,
    terse: bool,
    known: bool = False,
) -> tuple[dict[Place, Weights], set[Place]]:
    """Return Delta of the tokens that were sampled in reviewed turns, and the turns that do not fit the model with what
    is told; all texts are scored together.

    Args:
        sections: The run's games, by a task's ``game_index``.
        played: The matches, by the number in ``asked``.
        known: Compare a good end with a bad one, both with what became known, in place of the right hint and the wrong
            one.

    Returns:
        float64[n] for a turn whose last reply has n tokens; turns of a game that was drawn have no opposite, and are
        in neither.
    """
    wanted: list[tuple[list[int], list[int]]] = []
    places: list[Place] = []
    overs: dict[int, Game] = {}
    for item in asked:
        one = played[item.episode]
        there = one.episode.turns[item.turn]
        record = there.attempts[-1].reply.tokens
        assert one.episode.returns is not None
        result = one.episode.returns[there.player]
        if record is None or not record.ids or not result:
            continue
        if item.episode not in overs:
            overs[item.episode] = at(one, len(one.episode.turns))
        observation = at(one, item.turn).observation(there.player)
        revealed = overs[item.episode].revealed(there.player)
        hints = ((abs(result), revealed), (-abs(result), revealed)) if known else ((result, revealed), (-result, ""))
        for value, told in hints:
            text = hinted(observation, value, told, terse=terse)
            wanted.append((context_of(codec, sections[one.task.game_index], text), list(record.ids)))
        places.append((item.episode, item.turn))
    scored = likelihoods(score, wanted)
    found: dict[Place, Weights] = {}
    overflown: set[Place] = set()
    for place, right, wrong in zip(places, scored[::2], scored[1::2], strict=True):
        if right is None or wrong is None:
            overflown.add(place)
        else:
            found[place] = right - wrong
    return found, overflown


def weighed(row: Row, sizes: dict[int, Weights], clip: float) -> Row:
    """Return a row whose ``pg`` weights in the reviewed turns are multiplied by sizes with mean 1.

    Args:
        sizes: |Delta| by turn, divided by the mean over the game.
    """
    stream = row.stream("pg")
    factor = np.ones(len(row))
    for turn, size in sizes.items():
        places = np.flatnonzero(row.sampled & (row.turns == turn))[-len(size) :]
        factor[places] = np.minimum(size[-len(places) :], clip) if len(places) else factor[places]
    return row.with_streams(pg=Stream.of(stream.weight * factor, stream.member))


def normalised(found: dict[int, Weights]) -> dict[int, Weights]:
    """Return |Delta| divided by its mean over all tokens; all ones where every Delta is 0."""
    sizes = {turn: np.abs(delta) for turn, delta in found.items()}
    mean = float(np.mean(np.concatenate(list(sizes.values())))) if sizes else 0.0
    return {turn: size / mean if mean > 0 else np.ones_like(size) for turn, size in sizes.items()}


def shuffled(sizes: dict[int, Weights], dice: Dice) -> dict[int, Weights]:
    """Return the sizes of a game dealt out at random over its reviewed tokens; clipped or not, their mean stays.

    Args:
        sizes: float64[n] for a turn of n tokens, by turn.
        dice: Draws the permutation, all of them equally likely.
    """
    turns = sorted(sizes)
    dealt = [float(size) for turn in turns for size in sizes[turn]]
    dice.shuffle(dealt)
    rest = iter(dealt)
    return {turn: np.array([next(rest) for _ in sizes[turn]]) for turn in turns}


def by_place(sizes: dict[int, dict[int, Weights]], dice: Dice) -> dict[int, dict[int, Weights]]:
    """Return the sizes of many games dealt out at random among tokens at the same place of their replies.

    Args:
        sizes: float64[n] for a turn of n tokens, by game and turn.
        dice: Draws a permutation for each place, all of them equally likely.
    """
    turns = [(game, turn) for game in sorted(sizes) for turn in sorted(sizes[game])]
    longest = max((len(sizes[game][turn]) for game, turn in turns), default=0)
    dealt = {game: {turn: size.copy() for turn, size in found.items()} for game, found in sizes.items()}
    for place in range(longest):
        there = [(game, turn) for game, turn in turns if len(sizes[game][turn]) > place]
        values = [float(sizes[game][turn][place]) for game, turn in there]
        dice.shuffle(values)
        for (game, turn), value in zip(there, values, strict=True):
            dealt[game][turn][place] = value
    return dealt
