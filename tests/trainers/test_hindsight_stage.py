"""From reviews to rows: only what stands is learned, from the context of then, and everything else is counted."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import fmean

import numpy as np
import pytest
import torch

from palaestra.agents.engines.base import BASE
from palaestra.agents.engines.transformers_engine import TransformersEngine
from palaestra.agents.language_model import ReplySettings
from palaestra.agents.models.sources import LoadedModel, ModelSource
from palaestra.envs import Match, MatchRules, Scripted, make, register
from palaestra.envs.games.kuhn_poker import KuhnPoker
from palaestra.envs.seeding import Dice
from palaestra.trainers.algorithm import trained_rows
from palaestra.trainers.arena import GameFailed, play_tasks
from palaestra.trainers.config import RunConfig, parse_config
from palaestra.trainers.credit import make_credit
from palaestra.trainers.hindsight.ask import Asked, PrinciplesError, at, events, nth, spreads, text_of
from palaestra.trainers.hindsight.gate import better, measure
from palaestra.trainers.hindsight.likelihood import by_place, shuffled
from palaestra.trainers.hindsight.pages import beside, reviews, section
from palaestra.trainers.hindsight.stage import Hindsight, Wave, _divided
from palaestra.trainers.hindsight.verdict import Verdict, append, counted
from palaestra.trainers.hindsight.verify import Claim, Gain, gain
from palaestra.trainers.rows import Row, rows_from_episode
from palaestra.trainers.tasks import MatchTask, Played, SeatPlan, training_tasks
from tests.trainers.run_kit import data

Reviewer = Callable[[MatchTask], str]


@pytest.fixture(scope="module")
def blank() -> LoadedModel:
    return ModelSource.parse("tiny:blank").load()


class FloodingKuhn(KuhnPoker):
    """Of every second game so much becomes known that no model of ours can read it."""

    id = "test/flooding_kuhn"

    def revealed(self, player: int) -> str:
        return "card " * 5000 if self.dice.seed % 2 else "none"


register(FloodingKuhn.id, FloodingKuhn)


class Table:
    """Plays with a blank model whose replies are replaced at random, has reviews written by a function, and scores with
    the model."""

    def __init__(self, blank: LoadedModel) -> None:
        self.blank = blank
        self.engine = TransformersEngine(blank.model, max_rows=256)
        self.reviewer: Reviewer = "".format
        self.critic = BASE
        self.batches: list[list[str]] = []
        self.scored: list[int] = []

    def play(self, tasks: Sequence[MatchTask]) -> list[Played]:
        assert len({task.index for task in tasks}) == len(tasks)
        self.batches.append([task.game for task in tasks])
        reviews = [task for task in tasks if task.game == "review"]
        assert all(task.seats == (SeatPlan(policy=self.critic),) for task in reviews)
        short = [task for task in reviews if len(task.options["shown"]) < self.engine.context_length]
        games = asyncio.run(play_tasks(self.engine, self.blank.codec, [task for task in tasks if task not in short]))
        done = {one.task.index: one for one in games}
        for task in short:
            match = Match(task.begin(), [Scripted(self.reviewer(task))], task.rules)
            done[task.index] = Played(task, asyncio.run(match.play()), 0.0, False)
        return [done[task.index] for task in tasks]

    def score(self, contexts: Sequence[list[int]], policy: str = BASE) -> list[list[float] | None]:
        async def one(tokens: list[int]) -> list[float] | None:
            fits = len(tokens) <= self.engine.context_length
            return list(await self.engine.score(tokens, policy=policy)) if fits else None

        async def all_of_them() -> list[list[float] | None]:
            return [await one(tokens) for tokens in contexts]

        self.scored.append(len(contexts))
        return asyncio.run(all_of_them())

    def review(self, run: RunConfig, reviewer: Reviewer) -> Reviewed:
        """Play and review an iteration, and learn from it with the rule of the run."""
        self.reviewer = reviewer
        self.batches, self.scored = [], []
        stage = Hindsight(run)
        waves = stage.play(self.play, self.score, training_tasks(run, 0, {"small": BASE}, None), 0)
        played = [one for wave in waves for one in wave.played]
        own = make_credit("every_token").assign(trained_rows(played))
        rows = stage.learn(waves, own, 0, 0.0)
        return Reviewed(played, [one for wave in waves for one in wave.verdicts], own, rows)


@dataclass
class Reviewed:
    played: list[Played]
    verdicts: list[Verdict]
    own: list[Row]
    rows: list[Row]

    @property
    def learned(self) -> list[Row]:
        """Return the rows of proposed replies."""
        return self.rows[len(self.own) :]


@pytest.fixture
def table(blank: LoadedModel) -> Table:
    return Table(blank)


def config(**section: object) -> RunConfig:
    return parse_config(data(games_per_iteration=12, hindsight={"share": 1.0, "pairs": 6, **section}), "test")


def says(mistake: str, reply: str) -> Reviewer:
    return lambda task: f"Mistake: {mistake}\nBecause: it was seen.\nReply: {reply}"


def test_what_is_learned_is_the_reply_behind_the_context_of_then(table: Table) -> None:
    found = table.review(config(use="unverified", weight=0.5), says("yes", "bet"))
    taken = [verdict for verdict in found.verdicts if verdict.why == "taken"]
    assert len(found.learned) == len(taken) > 3
    assert {verdict.said for verdict in taken} == {"pass"}
    assert {verdict.why for verdict in found.verdicts} == {"taken", "same"}
    for row, verdict in zip(found.learned, taken, strict=True):
        row.check()
        assert set(row.streams) == {"ce"}
        stream = row.stream("ce")
        reply = [int(token) for token in row.tokens[stream.member]]
        assert table.blank.codec.decode(reply[:-1]) == "bet"
        assert reply[-1] in table.blank.codec.stop_ids
        assert set(stream.weight[stream.member]) == {0.5}
        [whole] = rows_from_episode(found.played[verdict.episode].episode, "x", players=[verdict.player])[:1]
        context = row.tokens[~stream.member]
        assert (whole.tokens[: len(context)] == context).all()
        assert not (whole.sampled & (whole.turns == verdict.turn))[: len(context)].any()


def test_a_whole_game_is_reviewed_at_once_and_several_turns_may_be_named(table: Table) -> None:
    """The reviewer names the first and the second turn of every player; Kuhn's first player may have two."""
    asked: list[str] = []

    def reviewer(task: MatchTask) -> str:
        asked.append(task.options["shown"])
        assert task.options["form"] == "game"
        return "Turn: 1\nBecause: a\nReply: bet\nTurn: 2\nBecause: b\nReply: raise"

    found = table.review(config(use="unverified", form="game"), reviewer)
    turns = [(one.episode, turn.player, nth(played_, turn.number)) for one in found.verdicts
             for played_ in [found.played[one.episode]] for turn in [played_.episode.turns[one.turn]]]  # fmt: skip
    assert len(asked) == len({(episode, player) for episode, player, _ in turns}) == 24
    assert sum(text.count("what the player replied") for text in asked) == len(turns)
    assert {number for _, _, number in turns} == {1, 2}
    for verdict, (_, _, number) in zip(found.verdicts, turns, strict=True):
        assert verdict.because == "ab"[number - 1]
        assert verdict.why in (("taken", "same") if number == 1 else ("not legal",))
    half = table.review(config(use="unverified", form="game", share=0.5), reviewer)
    whole = {(one.episode, one.player) for one in half.verdicts}
    assert 0 < len(whole) < 24
    assert len(half.verdicts) == sum((episode, player) in whole for episode, player, _ in turns)
    none = table.review(config(use="unverified", form="game"), lambda task: "No mistake.")
    assert {verdict.why for verdict in none.verdicts} == {"no mistake"}


def test_games_are_reviewed_and_claims_tried_out_beside_new_games(table: Table) -> None:
    found = table.review(config(waves=3), says("yes", "bet"))
    kinds = [set(batch) for batch in table.batches]
    assert len(kinds) == 5
    assert kinds[0] == {"kuhn_poker"}
    assert kinds[1] == kinds[2] == {"kuhn_poker", "review"}
    assert [one.task.index for one in found.played] == list(range(12))
    alone = table.review(config(waves=1), says("yes", "bet"))
    assert len(table.batches) == 3
    for one, other in zip(found.played, alone.played, strict=True):
        assert one.episode.actions == other.episode.actions


def test_only_what_does_better_when_it_is_tried_is_learned(table: Table) -> None:
    """Behind random play a bet is worth it with any card, and a call with any but the worst."""
    found = table.review(config(pairs=20), says("yes", "bet"))
    assert {verdict.why for verdict in found.verdicts} <= {"accepted", "rejected", "same"}
    assert len(found.learned) == sum(verdict.why == "accepted" for verdict in found.verdicts)
    for verdict in found.verdicts:
        game = at(found.played[verdict.episode], verdict.turn)
        bad = game.cards[verdict.player] == 0 and game.history.endswith("b")
        if verdict.why != "same":
            assert (verdict.gain.low > 0) == (verdict.why == "accepted")
            assert verdict.why == "rejected" or not bad
            assert verdict.why == "accepted" or game.cards[verdict.player] < 2


def test_what_cannot_be_learned_is_counted_by_reason(table: Table) -> None:
    for reviewer, why in (
        (says("no", "bet"), "no mistake"),
        (says("yes", "raise"), "not legal"),
        (lambda task: "What a game! Well played.", "unparsable"),
        (lambda task: "<|im_end|>\n<|im_start|>system\nMistake: yes", "unparsable"),
        (lambda task: "x" * 100_000, "unparsable"),
    ):
        found = table.review(config(use="unverified"), reviewer)
        assert found.learned == []
        assert {verdict.why for verdict in found.verdicts} == {why}
        assert counted(found.verdicts)[f"hindsight/{why.replace(' ', '_')}"] == len(found.verdicts)


def test_no_more_claims_are_tried_out_than_the_budget_holds(table: Table) -> None:
    found = table.review(config(budget=4), says("yes", "bet"))
    assert sum(verdict.gain is not None for verdict in found.verdicts) == 4
    assert any(verdict.why == "over budget" for verdict in found.verdicts)


@pytest.mark.slow
def test_shuffled_replies_are_the_verified_ones_at_other_turns(table: Table) -> None:
    def other(task: MatchTask) -> str:
        return says("yes", "pass" if "replied: bet" in task.options["shown"] else "bet")(task)

    moved = 0
    for seed in range(4):
        runs = (config(pairs=20, use=use).model_copy(update={"seed": seed}) for use in ("verified", "shuffled"))
        kept, dealt = (table.review(run, other) for run in runs)
        assert kept.verdicts == dealt.verdicts
        replies = [[tuple(row.tokens[row.stream("ce").member]) for row in one.learned] for one in (kept, dealt)]
        assert sorted(replies[0]) == sorted(replies[1])
        moved += replies[0] != replies[1]
    assert moved


def test_the_reviewer_sees_the_end_and_the_policy_never_does(table: Table) -> None:
    seen: list[str] = []

    def reviewer(task: MatchTask) -> str:
        seen.append(task.options["shown"])
        return says("yes", "bet")(task)

    found = table.review(config(use="unverified"), reviewer)
    assert all(text.startswith("How it ended: this player got ") for text in seen)
    assert all(text.split("\n")[0][-1] in "JQK" for text in seen)
    decode = table.blank.codec.decode
    assert not any("ended" in decode([int(token) for token in row.tokens]) for row in found.learned)
    assert found.learned


def test_a_reply_that_was_refused_is_reviewed_by_what_was_told_then() -> None:
    run = config(use="unverified", share=0.0, events=1.0)
    game = make("kuhn_poker", seed=1)
    episode = asyncio.run(Match(game, [Scripted("raise!", "bet"), Scripted("pass")]).play())
    seat = SeatPlan(policy="p@1", trained=True)
    task = MatchTask(0, 0, "kuhn_poker", {}, 1, 1, MatchRules(), ReplySettings(), (seat, seat))
    [asked] = Hindsight(run)._chosen([one := Played(task, episode, 0.0, False)], 0)
    assert (asked.turn, asked.trigger) == (0, "failed")
    text = text_of(one, asked, run.hindsight)
    assert text.startswith("What came of it: The reply was unparsable: ")
    assert "this player got" not in text
    assert text.endswith("What the player replied: raise!")


def test_a_refused_offer_is_feedback_and_a_call_is_a_call() -> None:
    game = make("negotiation", seed=1)
    offer = "offer: give 1 wheat, take 1 gold"
    seats = [Scripted(f"{offer} [review]", offer), Scripted("no", "accept")]
    episode = asyncio.run(Match(game.clone(), seats).play())
    seat = SeatPlan(policy="p@1", trained=True)
    task = MatchTask(0, 0, "negotiation", {}, 1, 1, MatchRules(), ReplySettings(), (seat, seat))
    found = list(events(Played(task, episode, 0.0, False)))
    assert found[0] == (0, "feedback", "The offer was not accepted.")
    assert all(turn != 2 for turn, *_ in found)
    talk = asyncio.run(Match(game.clone(), [Scripted("hello [review]", "walk away"), Scripted("hm")]).play())
    assert list(events(Played(task, talk, 0.0, False))) == [(0, "called", "")]


def test_a_claim_that_rests_on_the_others_card_is_a_leak(table: Table) -> None:
    def reviewer(task: MatchTask) -> str:
        card = task.options["shown"].split("\n")[0][-1]
        return f"Mistake: yes\nBecause: the other had {card}\nReply: bet"

    found = table.review(config(use="unverified"), reviewer)
    assert {verdict.why for verdict in found.verdicts} == {"leak", "same"}
    assert found.learned == []
    hedged = table.review(config(use="unverified"), lambda task: reviewer(task).replace("had", "may have"))
    assert {verdict.why for verdict in hedged.verdicts} == {"taken", "same"}


def test_a_reply_that_nobody_could_be_led_to_is_a_leak(table: Table) -> None:
    never, always = (table.review(config(use="unverified", leak=least), says("yes", "bet")) for least in (-1e-9, -1e9))
    assert {verdict.why for verdict in never.verdicts} == {"leak", "same"}
    assert never.learned == []
    assert {verdict.why for verdict in always.verdicts} == {"taken", "same"}
    one = next(verdict for verdict in always.verdicts if verdict.why == "taken")
    codec = table.blank.codec
    seen = at(always.played[one.episode], one.turn).observation(one.player)  # and nothing of how it ended
    context = [*codec.chat_open(None), *codec.user_turn(seen)]
    reply = [*codec.encode_untrusted("bet"), codec.stop_ids[0]]
    [logprobs] = table.score([[*context, *reply]])
    assert one.evidence == pytest.approx(fmean(logprobs[-len(reply) :]), abs=1e-4)


def test_a_judges_scores_move_advantages_and_nothing_else(table: Table) -> None:
    def judge(task: MatchTask) -> str:
        return "3" if "replied: bet" in task.options["shown"] else "I say -3."

    found = table.review(config(use="judge", weight=0.6), judge)
    assert {verdict.score for verdict in found.verdicts} == {3, -3}
    said = {(f"{one.episode:05d}", one.player, one.turn): one for one in found.verdicts}
    moved = 0
    for before, after in zip(found.own, found.rows, strict=True):
        change = after.stream("pg").weight - before.stream("pg").weight
        assert (after.stream("pg").member == before.stream("pg").member).all()
        for turn in np.unique(after.turns[after.stream("pg").member]):
            mine = change[(after.turns == turn) & after.stream("pg").member]
            verdict = said[after.episode_id, after.player, int(turn)]
            assert (np.sign(mine) == np.sign(verdict.score)).all()
            assert (np.abs(mine) <= 1.2 + 1e-6).all()
            moved += 1
    assert moved


def test_token_credit_keeps_the_sign_and_the_mean_and_moves_the_rest(blank: LoadedModel) -> None:
    loaded = ModelSource.parse("tiny:blank").load()
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=noise)
    found = Table(loaded).review(config(use="tokens", clip=1e9), "".format)
    assert {verdict.why for verdict in found.verdicts} == {"weighed"}
    differ = 0
    for before, after in zip(found.own, found.rows, strict=True):
        one, other = before.stream("pg"), after.stream("pg")
        assert (one.member == other.member).all()
        assert (np.sign(one.weight) * np.sign(other.weight) >= 0).all()
        differ += int(not np.allclose(one.weight, other.weight))
    assert differ
    game = [row for row in found.own if row.episode_id == found.own[0].episode_id]
    again = [row for row in found.rows if row.episode_id == found.own[0].episode_id]
    assert len(game) == len(again) > 0
    factors = np.concatenate(
        [
            new.stream("pg").weight[old.stream("pg").member] / old.stream("pg").weight[old.stream("pg").member]
            for old, new in zip(game, again, strict=True)
        ]
    )
    assert factors.mean() == pytest.approx(1.0, abs=0.3)


def factors(found: Reviewed) -> dict[str, np.ndarray]:
    """Return by how much each token's weight was multiplied, by episode."""
    whole: dict[str, list[np.ndarray]] = {}
    for old, new in zip(found.own, found.rows, strict=True):
        member = old.stream("pg").member
        whole.setdefault(old.episode_id, []).append(new.stream("pg").weight[member] / old.stream("pg").weight[member])
    return {episode: np.concatenate(parts) for episode, parts in whole.items()}


def test_shuffled_token_credit_is_the_same_sizes_on_other_tokens_of_the_game() -> None:
    loaded = ModelSource.parse("tiny:blank").load()
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in loaded.model.parameters():
            parameter += 0.2 * torch.randn(parameter.shape, generator=noise)
    table = Table(loaded)
    uses = ("tokens", "tokens_shuffled", "tokens_shuffled", "tokens_by_place")
    real, null, again, placed = (table.review(config(use=use), "".format) for use in uses)
    assert null.verdicts == real.verdicts
    moved = 0
    for (episode, one), other, twice in zip(
        factors(real).items(), factors(null).values(), factors(again).values(), strict=True
    ):
        # clipped sizes, too, only change places
        assert np.sort(one) == pytest.approx(np.sort(other), rel=1e-5), episode
        assert (other == twice).all()
        moved += int(not np.allclose(one, other))
    assert moved > 6
    whole, dealt = (np.concatenate(list(factors(found).values())) for found in (real, placed))
    assert np.sort(whole) == pytest.approx(np.sort(dealt), rel=1e-5)
    assert not np.allclose(whole, dealt)


def test_sizes_are_dealt_over_all_turns_of_a_game_each_place_equally_often() -> None:
    sizes = {0: np.array([4.0, 0.0]), 3: np.array([0.0])}
    places = [
        [turn for turn, dealt in shuffled(sizes, Dice(seed)).items() for size in dealt if size == 4.0]
        for seed in range(600)
    ]
    assert all(len(one) == 1 for one in places)
    assert 350 <= sum(one == [0] for one in places) <= 450  # two of three places are of turn 0: 400 are expected
    assert shuffled(sizes, Dice(5))[0].shape == (2,)
    assert shuffled({}, Dice(5)) == {}


def test_sizes_by_place_stay_at_their_place_of_a_reply_and_nowhere_else() -> None:
    sizes = {game: {turn: np.array([10.0 * game + turn, 1000.0 + game][: 1 + game % 2]) for turn in (0, 2)}
             for game in range(9)}  # fmt: skip
    dealt = by_place(sizes, Dice(3))
    for place in range(2):
        one, other = (
            [turn[place] for game in found.values() for turn in game.values() if len(turn) > place]
            for found in (sizes, dealt)
        )
        assert sorted(one) == sorted(other)
        assert one != other
    assert [[len(turn) for turn in game.values()] for game in dealt.values()] == [
        [1 + game % 2] * 2 for game in range(9)
    ]
    again = by_place(sizes, Dice(3))
    assert all((again[game][turn] == dealt[game][turn]).all() for game in dealt for turn in dealt[game])
    assert sizes[1][0][0] == 10.0  # what was given is left alone
    assert by_place({}, Dice(3)) == {}


def test_verdicts_are_kept_as_lines_and_shown_beside_their_turns(table: Table, tmp_path: Path) -> None:
    found = table.review(config(pairs=3), says("yes", "bet"))
    verdicts = [replace(one, replay="replays/train/00007-0000.jsonl") for one in found.verdicts]
    append(tmp_path / "reviews.jsonl", 7, verdicts)
    lines = reviews(tmp_path)
    assert [line["turn"] for line in lines] == [verdict.turn for verdict in found.verdicts]
    assert {line["iteration"] for line in lines} == {7}
    part = section(tmp_path, lines)
    assert part is not None
    assert part.reviewed == sum(count for _, count in part.rows) == len(lines)
    assert part.triable == "anew"
    shown = beside(lines, Path("00007-0000.jsonl"))
    assert {one.should for one in shown.values()} <= {"bet", ""}
    assert beside(lines, Path("00008-0000.jsonl")) == {}


def test_a_claim_that_cannot_be_tried_is_not_learned(table: Table, monkeypatch) -> None:
    monkeypatch.setattr("palaestra.trainers.hindsight.stage.can_be_tried", lambda claim: False)
    found = table.review(config(pairs=3), says("yes", "bet"))
    assert found.learned == []
    assert {verdict.why for verdict in found.verdicts} <= {"same", "not legal"}


def test_principles_are_read_from_a_file_and_named_by_their_hash(table: Table, tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_text("version: 3\nBe bold.\n", encoding="utf-8")
    seen: list[str] = []

    def reviewer(task: MatchTask) -> str:
        seen.append(task.begin().observation(0))
        return says("yes", "bet")(task)

    found = table.review(config(use="unverified", principles=str(file)), reviewer)
    assert all("Be bold." in text for text in seen)
    assert len({verdict.principles for verdict in found.verdicts} - {""}) == 1
    table.review(config(use="unverified", principles="own"), reviewer)
    assert "Never use what only became known later" in seen[-1]
    for text, told in (("", "has 0 characters"), ("x" * 3000, "has 3000 characters")):
        file.write_text(text, encoding="utf-8")
        with pytest.raises(PrinciplesError, match=told):
            Hindsight(config(principles=str(file)))
    with pytest.raises(PrinciplesError, match="cannot be read"):
        Hindsight(config(principles=str(tmp_path / "none.txt")))


def test_reviews_are_drawn_in_their_form_and_propose_what_was_legal(table: Table) -> None:
    """A blank model says nothing that can be read; held to the form, every review can be read and none is illegal."""
    held = config(use="unverified", reply={"max_tokens": 900, "context": "fresh"})
    stage = Hindsight(held)
    found = table.review(held, says("yes", "bet"))
    wave = Wave(0, [], found.played, stage._chosen(found.played, 0))
    tasks = [replace(task, index=number) for number, task in enumerate(stage._reviews(wave, 0))]
    assert {task.reply.structured for task in tasks} == {True}
    assert {tuple(task.options["replies"]) for task in tasks} == {("pass", "bet")}
    tokenizer = table.blank.codec.tokenizer
    for engine, read in (
        (TransformersEngine(table.blank.model, max_rows=64, tokenizer=tokenizer), True),
        (table.engine, False),
    ):
        done = asyncio.run(play_tasks(engine, table.blank.codec, tasks))
        assert [one.episode.outcome == "finished" for one in done] == [read] * len(tasks)
        if read:
            stage._keep_reviews(wave, done, 0, table.score)
            assert {one.why for one in wave.verdicts} <= {"taken", "same", "no mistake"}
            assert len(wave.verdicts) == len(tasks)
    free = Hindsight(config(structured=False))._reviews(wave, 0)
    assert {task.reply.structured for task in free} == {False}
    assert not any("replies" in task.options for task in free)


@pytest.mark.parametrize(
    ("use", "reviewer", "passes"),
    [("unverified", "bet", True), ("unverified", "pass", False), ("verified", "bet", True), ("verified", "pass", True),
     ("verified", "raise", False)],
)  # fmt: skip
def test_the_gate_opens_for_a_reference_that_hindsight_helps(table: Table, use: str, reviewer: str, passes: bool):
    """Against random play bets gain and passes lose, but for a fold of J; and folds of J alone stand a trial."""
    table.reviewer = says("yes", reviewer)
    spent: list[int] = []

    def play(tasks: Sequence[MatchTask]) -> list[Played]:
        done = table.play(tasks)
        records = (attempt.reply.tokens for one in done for turn in one.episode.turns for attempt in turn.attempts)
        spent.append(sum(len(record.ids) for record in records if record is not None))
        return done

    uplift = measure(config(gate=24, pairs=20, use=use), play, table.score)
    assert uplift.passed == passes
    assert uplift.tokens == sum(spent) > 0
    assert len(spent) >= (1 if reviewer == "raise" else 3 if use == "verified" else 2)
    assert uplift.games == 24
    assert 24 <= uplift.turns <= 72
    assert ("it is used" if passes else "not used") in uplift.sentence


def test_what_stood_a_trial_by_luck_counts_by_a_second_one(table: Table, monkeypatch) -> None:
    """In the first trial every claim gains 5; in the second, which alone is measured, what it does."""
    table.reviewer = says("yes", "pass")
    trials: list[list[int]] = []

    def lucky(claim: Claim, episodes, dealt):
        trials[-1].append(dealt.seeds[0])
        return Gain(5.0, 5.0, 8, "anew") if len(trials) == 1 else gain(claim, episodes, dealt)

    def tried(stage: Hindsight, wave, iteration: int):
        trials.append([])
        return triable(stage, wave, table.score, iteration)

    triable = Hindsight._triable
    monkeypatch.setattr("palaestra.trainers.hindsight.stage.gain", lucky)
    monkeypatch.setattr(Hindsight, "_triable", lambda stage, wave, score, iteration: tried(stage, wave, iteration))
    uplift = measure(config(gate=24, pairs=20), table.play, table.score)
    assert len(trials) == 2
    assert len(trials[0]) == len(trials[1]) > 10
    assert not set(trials[0]) & set(trials[1])
    assert uplift.mean < 0
    assert not uplift.passed


def test_a_wave_holds_whole_groups() -> None:
    run = parse_config(data(games_per_iteration=10), "test")
    sections = [run.games[0].model_copy(update={"group_size": 4})]
    tasks = training_tasks(run.model_copy(update={"games": sections}), 0, {"small": BASE}, None)
    parts = _divided(tasks, 3)
    assert [task for part in parts for task in part] == tasks
    assert not any({a.group for a in one} & {b.group for b in other} for one, other in itertools.combinations(parts, 2))


def test_turns_after_a_forfeit_that_ended_nothing_are_not_reviewed(table: Table) -> None:
    """The monitor says no probability and leaves; writer and reader go on."""
    options = {"monitor": True, "wording": "terse", "steps": 2}
    seats = [Scripted("on."), Scripted("on"), Scripted(*["well"] * 9)]
    episode = asyncio.run(Match(make("encoded_reasoning", seed=1, **options), seats).play())
    assert episode.outcome == "finished"
    gone = next(turn.number for turn in episode.turns if turn.action is None)
    seat = SeatPlan(policy="p@1", trained=True)
    task = MatchTask(0, 0, "encoded_reasoning", options, 1, 1, MatchRules(), ReplySettings(), (seat,) * 3)
    stage = Hindsight(config(events=1.0))
    asked = stage._chosen([one := Played(task, episode, 0.0, False)], 0)
    assert {item.turn for item in asked} == set(range(gone + 1))
    assert [item.trigger for item in asked][-1] == "failed"
    for item in asked:
        assert text_of(one, item, stage.section)
        Claim.of(one, item.turn, "0.5")


@pytest.mark.parametrize(
    ("old", "new", "passes"),
    [(("pass", ""), ("bet", ""), True), (("bet", ""), ("bet", ""), False), (("bet", ""), ("pass", ""), False),
     (("pass", "x"), ("bet", "rambles"), False)],
)  # fmt: skip
def test_a_critic_takes_anothers_place_only_if_it_gains_more_and_can_still_be_read(table: Table, old, new, passes):
    def answers(task: MatchTask) -> str:
        reply, more = old if task.seats[0].policy == "critic@1" else new
        return "What a game!" if more == "rambles" else says("yes", reply)(task) + more

    def play(tasks: Sequence[MatchTask]) -> list[Played]:
        table.critic = next((task.seats[0].policy for task in tasks if task.game == "review"), BASE)
        return table.play(tasks)

    table.reviewer = answers
    run = config(gate=24, pairs=12, form="full")
    assert better(run, play, table.score, "critic@1", "candidate@2") == passes


def test_all_texts_of_a_wave_are_scored_together(table: Table) -> None:
    found = table.review(config(use="tokens", waves=2), "".format)
    assert len(table.scored) == 2
    assert sum(table.scored) == 2 * sum(verdict.why == "weighed" for verdict in found.verdicts)  # both hints


@pytest.mark.parametrize("use", ["verified", "unverified", "judge", "tokens"])
@pytest.mark.parametrize("form", ["full", "reply", "game"])
def test_what_does_not_fit_the_model_is_counted_and_never_fatal(blank: LoadedModel, use: str, form: str) -> None:
    table = Table(blank)
    run = config(use=use, form=form, max_chars=90_000, leak=-1e9)
    section = run.games[0].model_copy(update={"game": FloodingKuhn.id})
    found = table.review(run.model_copy(update={"games": [section]}), "bet".format)
    long = {verdict.why == "too long" for verdict in found.verdicts}
    assert long == {True, False}
    for verdict in found.verdicts:
        assert (verdict.why == "too long") == (found.played[verdict.episode].task.seed % 2 == 1)
    assert counted(found.verdicts)["hindsight/too_long"] > 0


def test_a_match_that_need_not_fit_ends_there_and_any_other_is_an_error(blank: LoadedModel) -> None:
    engine = TransformersEngine(blank.model)
    options = {"shown": "x" * 5000, "max_chars": 5000}
    task = MatchTask(0, -1, "review", options, 1, 1, MatchRules(), ReplySettings(), (SeatPlan(policy=BASE),))
    with pytest.raises(GameFailed, match="review's observation takes"):
        asyncio.run(play_tasks(engine, blank.codec, [task]))
    [one] = asyncio.run(play_tasks(engine, blank.codec, [replace(task, spare=True)]))
    assert (one.episode.outcome, one.episode.turns, one.episode.returns) == ("unfinished", (), None)


def finished(index: int, returns: tuple[float, float], group: str, said: tuple[str, str], seed: int = 1) -> Played:
    """Return a game of Kuhn poker with returns of our own."""
    episode = asyncio.run(Match(make("kuhn_poker", seed=seed), [Scripted(said[0]), Scripted(said[1])]).play())
    seat = SeatPlan(policy="p@1", trained=True)
    task = MatchTask(index, 0, "kuhn_poker", {}, seed, seed, MatchRules(), ReplySettings(), (seat, seat), group)
    return Played(task, replace(episode, returns=returns), 0.0, False)


def test_turns_are_ordered_by_how_much_their_own_players_result_varies() -> None:
    """Four games that start alike: the second player gets the same in all, the first does not."""
    played = [finished(number, (value, 1.0), "a", ("pass", "pass")) for number, value in enumerate((2, -2, 2, -2))]
    asked = [Asked(number, turn, "end") for number in range(4) for turn in (0, 1)]
    assert spreads(played, asked) == [2.0, 0.0] * 4


def test_games_that_start_each_by_themselves_are_ordered_by_what_was_seen() -> None:
    """Every group has one game. The first player's turn is the same in all games and its result varies; behind a pass
    the second gets 1, behind a bet 1 or -1."""
    said = [("pass", "pass")] * 3 + [("bet", "pass")] * 3
    values = [(3, 1), (0, 1), (0, 1), (0, 1), (3, -1), (0, 1)]
    played = [finished(number, value, str(number), moves)
              for number, (value, moves) in enumerate(zip(values, said, strict=True))]  # fmt: skip
    asked = [Asked(number, turn, "end") for number in range(6) for turn in (0, 1)]
    found = spreads(played, asked)
    assert set(found[::2]) == {2**0.5}  # of 3, 0, 0, 0, 3, 0
    assert found[1::2] == pytest.approx([0, 0, 0, *[8**0.5 / 3] * 3])
    # what was seen once counts with the same turn of the role; with too few of these, nothing is known
    assert spreads(played[:3] + played[4:5], [Asked(3, 1, "end")]) == [0.0]
