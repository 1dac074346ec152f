"""Claims are tried out: what is measured is what exact enumeration gives, and nothing is believed on luck."""

from __future__ import annotations

import asyncio
from collections import Counter
from functools import cache
from math import inf
from statistics import fmean
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.agents.language_model import ReplySettings
from palaestra.envs import Game, Match, MatchRules, OnFailure, Scripted, make
from palaestra.envs.errors import CannotRedeal
from palaestra.envs.seeding import Dice
from palaestra.trainers.arena import play_tasks
from palaestra.trainers.hindsight.deals import deals
from palaestra.trainers.hindsight.verify import Claim, Dealt, Gain, can_be_tried, continuations, gain, lower_bound
from palaestra.trainers.tasks import MatchTask, Played, SeatPlan

NOBODY = SimpleNamespace(forget=lambda: None)
"""An engine that no seat asks."""


def played(tasks: list[MatchTask]) -> list[Played]:
    return asyncio.run(play_tasks(NOBODY, None, tasks))


def task(game: str, seed: int, seat: str = "random", **options: object) -> MatchTask:
    players = make(game, **options).facts.players
    seats = (SeatPlan(seat=seat),) * players
    return MatchTask(0, 0, game, dict(options), seed, seed, MatchRules(), ReplySettings(), seats)


def dealt_of(one: Played, claim: Claim, pairs: int, seed: int) -> Dealt:
    """Return the deals of a match of which no seat has a model, so that nobody is asked for likelihoods."""
    [found] = deals([(one, claim)], no_score, None, None, pairs, seed)
    return found


def no_score(contexts: list[list[int]], policy: str = "") -> list[None]:
    raise AssertionError("no model plays here")


def tried(one: Played, claim: Claim, pairs: int, seed: int) -> Gain:
    dealt = dealt_of(one, claim, pairs, seed)
    return gain(claim, [p.episode for p in played(continuations(claim, dealt))], dealt)


def value(game: Game, player: int) -> float:
    """Return the mean return when everybody plays at random from here."""
    if game.is_over():
        return game.returns()[player]
    (mover,) = game.players_to_move()
    values = []
    for action in game.legal_actions(mover):
        after = game.clone()
        after.apply(mover, action)
        values.append(value(after, player))
    return fmean(values)


@cache
def true_gain(seed: int, turn: int, proposed: str, said: str) -> float:
    game = make("tic_tac_toe", seed=seed)
    for player, action in list(whole(seed))[:turn]:
        game.apply(player, action)
    (player,) = game.players_to_move()
    values = []
    for reply in (proposed, said):
        after = game.clone()
        after.apply(player, reply)
        values.append(value(after, player))
    return values[0] - values[1]


@cache
def whole(seed: int) -> tuple[tuple[int, str], ...]:
    [one] = played([task("tic_tac_toe", seed)])
    return tuple((turn.player, str(turn.action)) for turn in one.episode.turns)


def test_bounds_hold_and_what_is_accepted_is_better() -> None:
    below, accepted = [], []
    for seed in range(60):
        [one] = played([task("tic_tac_toe", seed)])
        turn = 3
        game = make("tic_tac_toe", seed=seed)
        for player, action in whole(seed)[:turn]:
            game.apply(player, action)
        proposed = str(game.sample_action(game.players_to_move()[0], Dice(seed)))
        claim = Claim.of(one, turn, proposed)
        if not can_be_tried(claim):
            assert proposed == claim.said
            continue
        found = tried(one, claim, 24, 1)
        truth = true_gain(seed, turn, proposed, str(claim.said))
        below.append(found.low <= truth)
        accepted += [truth] if found.accepted else []
    assert fmean(below) >= 0.9
    assert len(accepted) >= 5
    # of the many claims that are worth nothing, one in twenty is accepted, too
    assert fmean(truth > 0 for truth in accepted) >= 0.75
    assert fmean(accepted) > 0.3


def test_a_fold_of_the_best_card_is_found_and_a_lucky_call_with_the_worst_is_not() -> None:
    """Against somebody who bets at random, calling with K gains 3 against folding; with J it loses 1, whatever the deal
    was."""
    for seed in range(40):
        game = make("kuhn_poker", seed=seed)
        card, other = game.cards[1], game.cards[0]
        episode = asyncio.run(Match(game, [Scripted("bet"), Scripted("pass")]).play())
        one = Played(task("kuhn_poker", seed), episode, 0.0, False)
        claim = Claim.of(one, 1, "bet")
        assert can_be_tried(claim)
        dealt = dealt_of(one, claim, 40, seed)
        assert (dealt.deal, dealt.effective) == ("anew", inf)  # a bet at random tells nothing
        found = tried(one, claim, 40, seed)
        assert found.accepted == (card == 2) or card == 1
        if card == 1:  # against J it gains 3, against K it loses 1
            assert -1 <= found.mean <= 3
            as_it_was = Dealt("played", tuple(range(3)))
            luck = gain(claim, [p.episode for p in played(continuations(claim, as_it_was))], as_it_was)
            assert luck.accepted == (other == 0)


@given(st.integers(0, 999), st.integers(0, 1))
def test_a_new_deal_keeps_what_was_seen(seed: int, player: int) -> None:
    game = make("kuhn_poker", seed=seed)
    others = Counter()
    for number in range(30):
        anew = game.redealt(player, Dice(number))
        assert anew.observation(player) == game.observation(player)
        others[anew.cards[1 - player]] += 1
    assert set(others) == {0, 1, 2} - {game.cards[player]}
    assert game.state_hash() == make("kuhn_poker", seed=seed).state_hash()


def test_a_game_that_cannot_be_dealt_anew_is_continued_as_it_was_dealt() -> None:
    with pytest.raises(CannotRedeal, match="liars does not say how hidden information is drawn anew"):
        make("liars").redealt(0, Dice(1))
    [one] = played([task("liars", 4)])
    turn = next(turn for turn in one.episode.turns if turn.action is not None)
    game = make("liars", seed=4)
    proposed = next(str(a) for a in game.legal_actions(turn.player) if a != turn.action)
    claim = Claim.of(one, turn.number, proposed)
    assert dealt_of(one, claim, 3, 1).deal == "played"
    assert len(set(dealt_of(one, claim, 3, 1).seeds)) == 3


def test_pairs_share_their_seeds_and_nobody_is_trained_on() -> None:
    [one] = played([task("kuhn_poker", 1)])
    claim = Claim.of(one, 0, "bet" if one.episode.turns[0].action == "pass" else "pass")
    tasks = continuations(claim, Dealt("anew", (7, 8, 7)), first=10)
    assert [one.index for one in tasks] == [10, 11, 12, 13, 14, 15]
    for proposed, said in zip(tasks[::2], tasks[1::2], strict=True):
        assert proposed.match_seed == said.match_seed
        assert proposed.opening.redeal == said.opening.redeal
        assert proposed.opening.then != said.opening.then
    assert len({one.match_seed for one in tasks}) == 3  # of the same deal another game may come
    assert not any(plan.trained for one in tasks for plan in one.seats)


def test_illegal_proposals_and_turns_that_are_not_there_are_no_claims() -> None:
    [one] = played([task("tic_tac_toe", 1)])
    assert not can_be_tried(Claim.of(one, 0, "ten"))
    with pytest.raises(ValueError, match="turn 40 is not one of"):
        Claim.of(one, 40, "1")
    few = gain(Claim.of(one, 0, "1"), [one.episode] * 4, Dealt("played", (1, 2)))
    assert not few.accepted
    assert few.pairs == 2


def test_a_forfeit_is_compared_with_what_it_got() -> None:
    """With K a bet that is answered at random gains 1.5 on average; the forfeit lost 1."""
    seed = next(seed for seed in range(99) if make("kuhn_poker", seed=seed).cards[0] == 2)
    rules = MatchRules(unparsable=OnFailure(0))
    episode = asyncio.run(Match(make("kuhn_poker", seed=seed), [Scripted("what?"), Scripted("bet")], rules).play())
    assert episode.forfeited_by == 0
    one = Played(task("kuhn_poker", seed), episode, 0.0, False)
    claim = Claim.of(one, 0, "bet")
    assert (claim.said, claim.forfeit) == (None, episode.returns[0])
    tasks = continuations(claim, dealt := dealt_of(one, claim, 40, 3))
    assert len(tasks) == 40
    found = gain(claim, [one.episode for one in played(tasks)], dealt)
    assert found.accepted
    assert found.mean == pytest.approx(1.5 - episode.returns[0], abs=0.3)
    with pytest.raises(ValueError, match="not one of the 1"):
        Claim.of(one, 1, "bet")


def test_a_bound_counts_with_how_many_deals_were_to_be_drawn_from() -> None:
    """One-sided t of 0.95 with 3 degrees is 2.3534; mean 2, s^2 = 8/3, so 2 - 2.3534 * s * sqrt(1/4 + 1/effective)."""
    values = [0.0, 2.0, 2.0, 4.0]
    spread = (8 / 3) ** 0.5
    assert lower_bound(values) == pytest.approx(2 - 2.3534 * spread / 2, abs=1e-3)
    assert lower_bound(values, 4.0) == pytest.approx(2 - 2.3534 * spread * 0.5**0.5, abs=1e-3)
    assert lower_bound(values[:2]) == -inf
