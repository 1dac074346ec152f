"""In which deals a claim is tried out: as likely as they are behind all that the player saw, others' actions included.

`Game.redealt` draws what a player cannot know as the rules make it, whatever the others did. But who bets has a better
card than who passes. By Bayes' rule, with pi the policy of whoever was to move,

    p(deal | what the player saw)  ~  p(deal | the player's own)  x  product of pi(action | what was seen in that deal)

over the earlier turns of the others; the player's own actions depend on what it saw and cancel. So *candidates* are
drawn by the rules, weighed by the product, and the deals of the pairs are drawn from the candidates by their weights
(sampling importance resampling: D. B. Rubin, 1987). The *effective* number of candidates is (sum w)^2 / sum w^2
(L. Kish, 1965): as many equally likely ones would be worth as much, and the bound of a gain counts with it
(`palaestra.trainers.hindsight.verify.lower_bound`).

How likely an action was: where the legal ones can be listed, the likelihood of the words for it beside those for the
others; where not, of its text; both behind the self-contained observation with which a continuation begins, at the
temperature of the match. Where the player reads the others' thoughts, the reply is weighed as it was written. A seat
that plays at random weighs nothing but how much there was to choose from.

A trial is played in the deal that there was (``"played"``) if a game cannot be dealt anew, if a seat without
likelihoods moved before, or if hardly a candidate fits. That deal is one draw from the right distribution, for the
others' actions came of it; but a single one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import exp, inf, log

import numpy as np

from palaestra.agents.tokens import TextCodec
from palaestra.envs import Game
from palaestra.envs.episode import Turn
from palaestra.envs.errors import CannotRedeal
from palaestra.envs.parts import part_text
from palaestra.envs.seeding import Dice, derive
from palaestra.trainers.config import RunConfig
from palaestra.trainers.hindsight.likelihood import Score, context_of, likelihoods
from palaestra.trainers.hindsight.verify import FEWEST, Claim, Dealt
from palaestra.trainers.tasks import Played, SeatPlan

CANDIDATES = 8
"""Deals that are weighed, for each one that is played."""
MOST_POSITIONS = 1024
"""Earlier turns of others that are looked at for a claim, in all candidates together; in long games there are fewer."""
MOST_WORDS = 32
"""Legal actions whose words are compared; of more, the likelihood of the text stands alone."""

Question = tuple[str, tuple[int, ...], tuple[int, ...]]
"""(policy, context, reply): how likely is the reply?"""
Known = dict[Question, float | None]
"""Log-probabilities in nats; None of what does not fit the model."""


@dataclass(frozen=True, slots=True)
class Witness:
    """A turn of another player, in one deal.

    Attributes:
        said: What it said there.
        others: What else it could have said, where that is compared.
        temperature: At which it was drawn.
        chance: Log-probability that is known without asking; then there is no question.
    """

    said: Question | None
    others: tuple[Question, ...] = ()
    temperature: float = 1.0
    chance: float = 0.0

    def log_likelihood(self, known: Known) -> float | None:
        """Return the log-probability of what was said, in nats; None if something does not fit the model."""
        if self.said is None:
            return self.chance
        found = [known[one] for one in (self.said, *self.others)]
        if any(value is None for value in found):
            return None
        heated = [value / self.temperature for value in found if value is not None]
        if not self.others:
            return heated[0]
        most = max(heated)
        return heated[0] - most - log(sum(exp(value - most) for value in heated))


def deals(
    claims: Sequence[tuple[Played, Claim]], score: Score, codec: TextCodec, run: RunConfig, pairs: int, seed: int
) -> list[Dealt]:
    """Return in which deals the pairs of each claim are played.

    Args:
        claims: Each with the episode that it is about.
        score: What a policy makes of token sequences.
        codec: Of the run's model.
        run: Whose games they are.
        pairs: For each claim.
        seed: Of the draws.
    """
    asked = [_candidates(one, claim, codec, run, pairs, seed) for one, claim in claims]
    known = _answers(asked, score)
    return [
        _drawn(candidates, known, pairs, derive(seed, "deals", claim.task.seed, claim.task.match_seed, claim.turn))
        for candidates, (_, claim) in zip(asked, claims, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Candidates:
    """Deals that may be drawn for a claim.

    Attributes:
        seeds: Of each; none where no deal can be drawn.
        witnesses: For each, the earlier turns of the others that tell deals apart; empty if there are none.
        played: Seed of the trial if it is played in the deal that there was.
    """

    seeds: tuple[int, ...]
    witnesses: tuple[tuple[Witness, ...], ...]
    played: int


def weights(candidates: Candidates, known: Known) -> list[float] | None:
    """Return the weight of each candidate, the greatest being 1; None if one cannot be told."""
    sums = []
    for turns in candidates.witnesses:
        parts = [turn.log_likelihood(known) for turn in turns]
        if any(part is None for part in parts):
            return None
        sums.append(sum(part for part in parts if part is not None))
    most = max(sums)
    return [exp(value - most) for value in sums] if most > -inf else None


def _drawn(candidates: Candidates, known: Known, pairs: int, seed: int) -> Dealt:
    """Return the deals that the pairs are played in."""
    played = Dealt("played", tuple(derive(candidates.played, pair) for pair in range(pairs)))
    if not candidates.seeds:
        return played
    if not candidates.witnesses:
        return Dealt("anew", candidates.seeds[:pairs])
    found = weights(candidates, known)
    if found is None:
        return played
    effective = sum(found) ** 2 / sum(weight**2 for weight in found)
    if effective < FEWEST:
        return played
    dice = Dice(seed)
    return Dealt("anew", tuple(candidates.seeds[dice.weighted(found)] for _ in range(pairs)), effective)


def _candidates(one: Played, claim: Claim, codec: TextCodec, run: RunConfig, pairs: int, seed: int) -> Candidates:
    """Return the deals that may be drawn for a claim."""
    begun = derive(seed, "redeal", claim.task.seed, claim.task.match_seed, claim.turn)
    there, earlier = _observed(one, claim)
    count = max(pairs, min(pairs * CANDIDATES, MOST_POSITIONS // max(1, len(earlier))))
    seeds = tuple(derive(begun, number) for number in range(count))
    none = Candidates((), (), begun)
    try:
        there.redealt(claim.player, Dice(0))
        if not earlier:
            return Candidates(seeds, (), begun)
        if not all(_has_likelihoods(claim.task.seats[turn.player]) for turn, _ in earlier):
            return none
        found = []
        for number in seeds:
            world = there.redealt(claim.player, Dice(number))
            found.append([_witness(claim, turn, position.dealt_as(world), codec, run) for turn, position in earlier])
    except CannotRedeal:
        return none
    # a turn that was as likely in every deal, as all are where nothing is hidden, tells them not apart
    telling = [turns for turns in zip(*found, strict=True) if len(set(turns)) > 1]
    return Candidates(seeds, tuple(zip(*telling, strict=True)), begun)


def _observed(one: Played, claim: Claim) -> tuple[Game, list[tuple[Turn, Game]]]:
    """Return the position of a claim, and the earlier turns of the others, each with its own; without those that the
    player cannot know yet, as choices at the same time, and those that the match made for them."""
    game = one.task.begin()
    found: list[tuple[Turn, Game, bool]] = []
    for turn in one.episode.turns[: claim.turn]:
        assert turn.action is not None
        if turn.player == claim.player:
            found = [(known, position, False) for known, position, _ in found]  # its own turn ends the round
        elif not turn.substituted:
            found.append((turn, game.clone(), claim.player in game.players_to_move()))
        game.apply(turn.player, turn.action)
    return game, [(turn, position) for turn, position, pending in found if not pending]


def _has_likelihoods(plan: SeatPlan) -> bool:
    """Return whether one can say how likely a seat's actions are."""
    return plan.policy is not None or plan.seat == "random"


def _witness(claim: Claim, turn: Turn, position: Game, codec: TextCodec, run: RunConfig) -> Witness:
    """Return what a turn tells of the deal that its position was dealt as."""
    player, action = turn.player, turn.action
    assert action is not None
    policy = claim.task.seats[player].policy
    listed = position.legal_actions(player) if position.facts.enumerable else ()
    if listed and action not in listed:
        return Witness(None, chance=-inf)
    if policy is None:
        return Witness(None, chance=-log(len(listed)) if listed else 0.0)
    section = run.games[claim.task.game_index]
    context = tuple(context_of(codec, section, position.observation(player)))

    def question(text: str) -> Question:
        return (policy, context, (*codec.encode_untrusted(text), codec.stop_ids[0]))

    heat = claim.task.reply.temperature
    if _heard(claim, position, turn):
        return Witness(question(part_text(turn.attempts[-1].reply.content)), temperature=heat)
    words = [part_text(other) for other in listed if other != action] if len(listed) <= MOST_WORDS else []
    return Witness(question(part_text(action)), tuple(map(question, words)), heat)


def _heard(claim: Claim, position: Game, turn: Turn) -> bool:
    """Return whether the player read the thought behind a turn, too."""
    rules, me = claim.task.rules, claim.player
    if not turn.attempts or not turn.attempts[-1].thought:
        return False
    if rules.visibility == "team":
        return position.team(turn.player) == position.team(me)
    return rules.visibility == "public" or (rules.visibility == "monitor" and me in rules.monitors)


def _answers(asked: Sequence[Candidates], score: Score) -> Known:
    """Ask each question once, those to one policy together."""
    questions = dict.fromkeys(
        question
        for candidates in asked
        for turns in candidates.witnesses
        for turn in turns
        if turn.said is not None
        for question in (turn.said, *turn.others)
    )
    known: Known = {}
    for policy in dict.fromkeys(policy for policy, _, _ in questions):
        mine = [question for question in questions if question[0] == policy]
        found = likelihoods(score, [(list(context), list(reply)) for _, context, reply in mine], policy)
        known |= {
            question: None if logprobs is None else float(np.sum(logprobs))
            for question, logprobs in zip(mine, found, strict=True)
        }
    return known
