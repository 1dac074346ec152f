"""Deals of trials: as likely as Bayes' rule says behind what the others did, in closed form, and no other."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Sequence
from math import inf, log
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaestra.agents.language_model import ReplySettings
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.tokens import TextCodec
from palaestra.envs import Match, MatchRules, OnFailure, Scripted, make
from palaestra.envs.seeding import Dice
from palaestra.trainers.config import parse_config
from palaestra.trainers.hindsight.deals import CANDIDATES, _answers, _candidates, deals, weights
from palaestra.trainers.hindsight.verify import Claim, Gain, gain
from palaestra.trainers.tasks import MatchTask, Opening, Played, SeatPlan
from tests.trainers.run_kit import data

Table = dict[str, float]
"""From what a player sees (``Kpb``) to its chance of a bet."""
NASH_THIRD: Table = {"J": 1 / 9, "Q": 0.0, "K": 1 / 3, "Jp": 1 / 3, "Qp": 0.0, "Kp": 1.0}
"""Of Kuhn's equilibria the one in which the first player bets J one time in nine."""


@pytest.fixture(scope="module")
def codec() -> TextCodec:
    return ModelSource.parse("tiny:blank").codec()


class Policy:
    """Likelihoods of a table: all of a reply's on its first token; other texts than pass and bet take a half."""

    def __init__(self, codec: TextCodec, table: Table) -> None:
        self.codec, self.table = codec, table
        self.calls: list[tuple[str, int]] = []

    def __call__(self, contexts: Sequence[list[int]], policy: str = "") -> list[list[float] | None]:
        self.calls.append((policy, len(contexts)))
        return [self._of(tokens) for tokens in contexts]

    def _of(self, tokens: list[int]) -> list[float]:
        word = next(word for word in ("bet", "pass") if self.codec.decode(tokens[:-1]).endswith(word))
        length = len(self.codec.encode_untrusted(word)) + 1
        bets = self.table[self.codec.decode(tokens[:-length]).split()[-1]]
        chance = 0.5 * (bets if word == "bet" else 1 - bets)
        return [*[0.0] * (len(tokens) - length - 1), log(chance) if chance else -inf, *[0.0] * (length - 1)]


def kuhn(cards: Sequence[int], said: Sequence[str], seats: Sequence[SeatPlan] | None = None) -> Played:
    """Return a game of Kuhn poker that was played so."""
    seed = next(seed for seed in itertools.count() if make("kuhn_poker", seed=seed).cards == list(cards))
    options = {"view": "terse"}
    players = [Scripted(*said[player::2]) for player in (0, 1)]
    episode = asyncio.run(Match(make("kuhn_poker", seed=seed, **options), players).play())
    plans = tuple(seats or (SeatPlan(policy="p@1", trained=True), SeatPlan(policy="p@2")))
    task = MatchTask(0, 0, "kuhn_poker", options, seed, seed, MatchRules(), ReplySettings(), plans)
    return Played(task, episode, 0.0, False)


def run_config(**changes: object):
    return parse_config(data(hindsight={}, **changes), "test")


def likelihood(cards: Sequence[int], said: Sequence[str], table: Table, me: int) -> float:
    """Return the chance of the other's actions in a deal, by hand."""
    chance, history = 1.0, ""
    for place, action in enumerate(said):
        bets = table["JQK"[cards[place % 2]] + history] if place % 2 != me else 1.0
        chance *= (bets if action == "bet" else 1 - bets) if place % 2 != me else 1.0
        history += action[0]
    return chance


@settings(max_examples=25)
@given(st.permutations(range(3)), st.sampled_from([1, 2]), st.integers(0, 10**6))
def test_candidates_are_weighed_as_bayes_does(codec: TextCodec, deck: list[int], turn: int, seed: int) -> None:
    dice = Dice(seed)
    histories = ("", "p", "b", "pb")
    table = {card + history: 0.05 + 0.9 * dice.random() for card in "JQK" for history in histories}
    said = ["bet", "bet"] if turn == 1 else ["pass", "bet", "bet"]
    me = turn % 2
    one = kuhn(deck[:2], said)
    claim = Claim.of(one, turn, "pass")
    score = Policy(codec, table)
    found = _candidates(one, claim, codec, run_config(), 4, seed)
    assert len(found.seeds) == 4 * CANDIDATES
    weighed = weights(found, _answers([found], score))
    there = Opening(claim.turns).of(one.task.begin())
    by_hand = [likelihood(there.redealt(me, Dice(number)).cards, said[:turn], table, me) for number in found.seeds]
    assert len(set(by_hand)) > 1
    assert weighed == pytest.approx([value / max(by_hand) for value in by_hand], rel=1e-9)
    [(policy, asked)] = score.calls
    assert policy == f"p@{2 - turn % 2}"
    assert asked == 4  # two deals, two words: what is asked twice is scored once


def test_calling_a_bet_is_worth_what_kuhn_says_and_not_what_the_rules_of_dealing_say(codec: TextCodec) -> None:
    """With Q behind a bet of who bets J one time in nine and K one time in three, K has chance 3/4: calling gives
    1/4 x 2 - 3/4 x 2 = -1, which is what folding gives. With both cards equally likely it would gain 1."""
    one = kuhn((2, 1), ["bet", "pass"])
    claim = Claim.of(one, 1, "bet")
    [dealt] = deals([(one, claim)], Policy(codec, NASH_THIRD), codec, run_config(), 2000, 1)
    # as many candidates as pairs, for there are many; half weigh 1, half 1/3: (4/3)^2 / (1 + 1/9) / 2 = 0.8 of them
    assert dealt.effective == pytest.approx(0.8 * 2000, rel=0.02)
    worth = fmean(_called(claim, number) for number in dealt.seeds)
    assert worth == pytest.approx(0.0, abs=0.17)  # four standard errors of 3 with chance 1/4, else -1
    prior = fmean(_called(claim, number) for number in range(2000))
    assert prior == pytest.approx(1.0, abs=0.15)


def _called(claim: Claim, number: int) -> float:
    """Return what a call gains on a fold in one deal."""
    game = Opening(claim.turns, (claim.player, number), ((claim.player, "bet"),)).of(claim.task.begin())
    return game.returns()[claim.player] + 1


def test_the_bound_of_a_gain_holds_when_deals_are_weighed(codec: TextCodec) -> None:
    """The true gain is 0: a bound above it is wrong, and 1 in 20 may be."""
    one = kuhn((2, 1), ["bet", "pass"])
    claim = Claim.of(one, 1, "bet")
    above = 0
    for seed in range(100):
        [dealt] = deals([(one, claim)], Policy(codec, NASH_THIRD), codec, run_config(), 8, seed)
        above += _found(claim, dealt).accepted
    assert above <= 9  # 5 are expected at most; binomial(100, 0.05) is above 9 with chance 0.03


def _found(claim: Claim, dealt) -> Gain:
    """Return the gain of a call over a fold, of which nothing is left to play."""
    episodes = []
    for number in dealt.seeds:
        for reply in ("bet", "pass"):
            opening = Opening(claim.turns, (claim.player, number), ((claim.player, reply),))
            episodes.append(asyncio.run(Match(opening.of(claim.task.begin()), [Scripted(), Scripted()]).play()))
    return gain(claim, episodes, dealt)


def test_deals_that_never_were_are_not_drawn(codec: TextCodec) -> None:
    """Who bets K alone has K."""
    one = kuhn((2, 1), ["bet", "pass"])
    claim = Claim.of(one, 1, "bet")
    [dealt] = deals([(one, claim)], Policy(codec, {"J": 0.0, "Q": 0.0, "K": 1.0}), codec, run_config(), 50, 3)
    assert dealt.deal == "anew"
    assert {_called(claim, number) for number in dealt.seeds} == {-1.0}


def test_where_hardly_a_deal_fits_the_one_that_was_is_played(codec: TextCodec, monkeypatch) -> None:
    monkeypatch.setattr("palaestra.trainers.hindsight.deals.CANDIDATES", 1)
    one = kuhn((2, 1), ["bet", "pass"])
    claim = Claim.of(one, 1, "bet")
    calls = [_candidates(one, claim, codec, run_config(), 4, seed) for seed in range(20)]
    kings = [sum(_called(claim, number) == -1.0 for number in found.seeds) for found in calls]
    seed = kings.index(2)  # two of four candidates have K
    for never_or_few, played in (({"K": 0.0}, True), ({"K": 1.0}, True), ({"K": 1.0, "J": 0.9}, False)):
        score = Policy(codec, {"J": 0.0, "Q": 0.0, **never_or_few})
        [dealt] = deals([(one, claim)], score, codec, run_config(), 4, seed)
        assert dealt.deal == ("played" if played else "anew"), score.table
        assert len(dealt.seeds) == 4
        assert len(set(dealt.seeds)) == 4 or not played


def test_seats_without_likelihoods_are_left_as_they_were_dealt(codec: TextCodec) -> None:
    plans = (SeatPlan(seat="mcts"), SeatPlan(policy="p@2", trained=True))
    one = kuhn((2, 1), ["bet", "pass"], plans)
    [dealt] = deals([(one, Claim.of(one, 1, "bet"))], Policy(codec, {}), codec, run_config(), 5, 3)
    assert dealt.deal == "played"
    first = kuhn((2, 1), ["bet", "pass"], (plans[1], plans[0]))
    [dealt] = deals([(first, Claim.of(first, 0, "pass"))], Policy(codec, {}), codec, run_config(), 5, 3)
    assert (dealt.deal, dealt.effective, len(dealt.seeds)) == ("anew", inf, 5)


def test_what_does_not_fit_the_model_is_not_weighed(codec: TextCodec) -> None:
    one = kuhn((2, 1), ["bet", "pass"])
    found = deals([(one, Claim.of(one, 1, "bet"))], lambda contexts, policy: [None] * len(contexts), codec,
                  run_config(), 5, 3)  # fmt: skip
    assert [dealt.deal for dealt in found] == ["played"]


def test_choices_at_the_same_time_tell_nothing(codec: TextCodec) -> None:
    """The other's choice is not known yet, and is made again; those of the round before are the same in every deal."""
    game = make("matrix_game", rounds=2)
    word, other = game.legal_actions(0)[:2]
    episode = asyncio.run(Match(game, [Scripted(word, word), Scripted(other, word)]).play())
    seat = SeatPlan(policy="p@1", trained=True)
    task = MatchTask(0, 0, "matrix_game", {"rounds": 2}, 0, 0, MatchRules(), ReplySettings(), (seat, seat))
    one = Played(task, episode, 0.0, False)
    claim = Claim.of(one, 3, other)
    score = Policy(codec, {})
    [dealt] = deals([(one, claim)], score, codec, run_config(), 5, 3)
    assert (dealt.deal, dealt.effective, score.calls) == ("anew", inf, [])


def test_turns_that_the_match_made_tell_nothing(codec: TextCodec) -> None:
    rules = MatchRules(unparsable=OnFailure(0, then="random"))
    seed = next(seed for seed in itertools.count() if make("kuhn_poker", seed=seed).cards == [2, 1])
    game = make("kuhn_poker", seed=seed, view="terse")
    for match_seed in itertools.count():
        seats = [Scripted("hm", "bet"), Scripted("bet", "bet")]
        episode = asyncio.run(Match(game.clone(), seats, rules, seed=match_seed).play())
        if episode.turns[0].action == "bet":
            break
    one = Played(kuhn((2, 1), ["bet", "pass"]).task, episode, 0.0, False)
    score = Policy(codec, NASH_THIRD)
    [dealt] = deals([(one, Claim.of(one, 1, "pass"))], score, codec, run_config(), 5, 3)
    assert (dealt.effective, score.calls) == (inf, [])


def test_a_thought_that_was_read_is_weighed_as_it_was_written(codec: TextCodec) -> None:
    """A reply with its thought is one text; nothing else that could have been said is set beside it."""
    seed = next(seed for seed in itertools.count() if make("kuhn_poker", seed=seed).cards == [2, 1])
    rules = MatchRules(visibility="public")
    game = make("kuhn_poker", seed=seed, view="terse")
    seats = [Scripted("<think>K!</think> bet"), Scripted("pass")]
    episode = asyncio.run(Match(game, seats, rules).play())
    plans = (SeatPlan(policy="p@1"), SeatPlan(policy="p@2", trained=True))
    asked: list[str] = []

    def score(contexts: Sequence[list[int]], policy: str = "") -> list[list[float]]:
        texts = [codec.decode(tokens[:-1]) for tokens in contexts]
        asked.extend(texts)
        return [[*[0.0] * (len(one) - 2), -1.0 if "\nK" in text or text.startswith("K") else -9.0]
                for one, text in zip(contexts, texts, strict=True)]  # fmt: skip

    for visibility, texts in (("public", 2), ("private", 4)):
        task = MatchTask(0, 0, "kuhn_poker", {"view": "terse"}, seed, 0, MatchRules(visibility=visibility),
                         ReplySettings(), plans)  # fmt: skip
        one = Played(task, episode, 0.0, False)
        asked.clear()
        deals([(one, Claim.of(one, 1, "bet"))], score, codec, run_config(), 5, 3)
        assert len(asked) == texts
        assert all(("<think>K!</think>" in text) == (visibility == "public") for text in asked)
