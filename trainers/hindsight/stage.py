"""The station between games and the learner: finished games are reviewed beside new ones, claims are tried out, and
what should have been said is learned from the context in which it was not.

The reviewer is the run's frozen reference in a seat of the game `review`, and continuations are matches that begin at a
turn; both are ordinary tasks for the runners, on the engines that play. An iteration's games are divided into *waves*:
while one is played, the one before it is reviewed and the claims about the one before that are tried out, all in the
same batches. Nothing is carried from one iteration to the next, so there is nothing to save.

Proposed replies come back as rows whose only stream is ``ce``: the context that the policy had then, without any
hindsight, and the tokens of the reply. A judge's scores and token credit change the ``pg`` weights of rows that the
credit rule has filled.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean, pstdev

import numpy as np

from palaestra.agents.models.sources import ModelSource
from palaestra.envs import MatchRules, OnFailure
from palaestra.envs.errors import ActionError
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice, derive
from palaestra.trainers.config import RunConfig
from palaestra.trainers.hindsight.ask import Asked, at, events, principles, said, text_of
from palaestra.trainers.hindsight.critic import Critic
from palaestra.trainers.hindsight.likelihood import (
    Score,
    Weights,
    by_place,
    context_of,
    differences,
    likelihoods,
    normalised,
    shuffled,
    weighed,
)
from palaestra.trainers.hindsight.verdict import ACCEPTED, Verdict
from palaestra.trainers.hindsight.verify import Claim, Deal, can_be_tried, continuations, gain
from palaestra.trainers.rows import Row, Stream, rows_from_episode
from palaestra.trainers.schedules import schedule
from palaestra.trainers.tasks import MatchTask, Played, SeatPlan

Play = Callable[[Sequence[MatchTask]], list[Played]]
STRICT = MatchRules(illegal=OnFailure(0), unparsable=OnFailure(0), truncated=OnFailure(0), accept_cut=True)
REWRITES = ("verified", "unverified", "shuffled")
TOKEN_CREDIT = ("tokens", "tokens_shuffled", "tokens_by_place")
MOST_SCORE = 3.0


@dataclass
class Wave:
    """A part of an iteration's games on its way.

    Attributes:
        number: Of the wave. tasks: Its games. played: Once they were played.
        asked: Turns that are reviewed. verdicts: One for each, once they were.
        trials: (place in ``verdicts``, how it is dealt) of claims that are being tried out.
        tokens: Sampled for reviews and trials; ``review_tokens`` for reviews alone.
    """

    number: int
    tasks: Sequence[MatchTask]
    played: list[Played] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    trials: list[tuple[int, Deal]] = field(default_factory=list)
    tokens: int = 0
    review_tokens: int = 0


class Hindsight:
    """Reviews the games of an iteration; only a critic that moves has something that must survive a restart."""

    def __init__(self, run: RunConfig) -> None:
        assert run.hindsight is not None
        self.run = run
        self.section = run.hindsight
        self.codec = ModelSource.parse(str(ModelSource.parse(run.model.source).base)).codec()
        self.principles, self.principles_hash = principles(self.section)
        self.critic = Critic(self.section.critic, self.section.refresh)
        self.reviewer: str | None = None
        """Who reviews in the critic's place."""

    # ------------------------------------------------------------------ playing and reviewing

    def play(self, play: Play, score: Score, tasks: Sequence[MatchTask], iteration: int) -> list[Wave]:
        """Play an iteration's games, review them and try claims out.

        Args:
            play: Plays tasks and returns them in order.
            score: What the reference makes of token sequences.
            tasks: Of the iteration; groups of episodes stay together.
        """
        waves = [Wave(number, part) for number, part in enumerate(_divided(tasks, self.section.waves))]
        for step in range(len(waves) + 2):
            now = {lag: waves[step - lag] for lag in range(3) if 0 <= step - lag < len(waves)}
            self._step(play, score, now, iteration)
        return waves

    def _step(self, play: Play, score: Score, now: dict[int, Wave], iteration: int) -> None:
        """Play one batch: new games of a wave, reviews of the one before, trials of the one before that."""
        batch: list[MatchTask] = []
        spans: dict[int, slice] = {}
        for lag, wave in now.items():
            make = (self._games, self._reviews, self._trials)[lag]
            mine = make(wave, iteration)
            spans[lag] = slice(len(batch), len(batch) + len(mine))
            batch += mine
        # indices are unique in a batch; those of games stay theirs, since they name their rows
        least = 1 + max((task.index for wave in now.values() for task in wave.tasks), default=0)
        first = len(now[0].tasks) if 0 in now else 0
        batch = batch[:first] + [replace(task, index=least + number) for number, task in enumerate(batch[first:])]
        done = play(batch) if batch else []
        for lag, wave in now.items():
            spent = sum(map(_sampled, done[spans[lag]])) if lag else 0
            wave.tokens += spent
            wave.review_tokens += spent if lag == 1 else 0
            (self._keep_games, self._keep_reviews, self._keep_trials)[lag](wave, done[spans[lag]], iteration, score)

    def _games(self, wave: Wave, iteration: int) -> list[MatchTask]:
        return list(wave.tasks)

    def _keep_games(self, wave: Wave, done: list[Played], iteration: int, score: Score) -> None:
        wave.played = done
        wave.asked = self._chosen(done, derive(iteration, wave.number))

    def _chosen(self, played: Sequence[Played], seed: int) -> list[Asked]:
        """Return the turns that are reviewed: after events, and at the end; each once."""
        section = self.section
        dice = Dice(derive(self.run.seed, "hindsight", seed))
        found = []
        for number, one in enumerate(played):
            known = dict[int, tuple[str, str]]()
            happened = events(one) if section.events or section.called else ()
            for turn, trigger, told in happened:
                wanted = section.called if trigger == "called" else dice.random() < section.events
                if wanted and section.use in REWRITES:
                    known[turn] = (trigger, told)
            over = one.episode.returns is not None
            for there in one.episode.turns:
                drawn = dice.random() < section.share
                trigger, told = known.get(there.number, ("end" if drawn else "", ""))
                played_here = there.action is not None and one.task.seats[there.player].trained
                told_there = trigger in ("failed", "feedback") and (over or there.action is not None)
                if told_there or (trigger and over and played_here):
                    found.append(Asked(number, there.number, trigger, told))
                if there.action is None:
                    break  # what came after a forfeit cannot be played again from the actions alone
        return found

    @property
    def _wordless(self) -> bool:
        """Return whether the reference is asked for likelihoods and for no words."""
        return self.section.use in TOKEN_CREDIT or (self.section.use == "judge" and self.section.form == "reply")

    def _reviews(self, wave: Wave, iteration: int) -> list[MatchTask]:
        if self._wordless:
            return []
        return [
            self._review(wave.played[one.episode], one, derive(iteration, wave.number, index))
            for index, one in enumerate(wave.asked)
        ]

    def _review(self, one: Played, asked: Asked, number: int) -> MatchTask:
        section = self.section
        options = {
            "shown": text_of(one, asked, section),
            "form": "score" if section.use == "judge" else section.form,
            "principles": self.principles,
            "max_chars": section.max_chars,
        }
        seed = derive(self.run.seed, "review", number)
        reviewer = self.reviewer or self.critic.policy
        return MatchTask(
            0, -1, "review", options, seed, seed, STRICT, section.reply.settings(), (SeatPlan(policy=reviewer),)
        )

    def _keep_reviews(self, wave: Wave, done: list[Played], iteration: int, score: Score) -> None:
        if self._wordless:
            wave.verdicts = self._liked(wave, score)
            return
        wave.verdicts = [
            self._read(wave.played[one.episode], one, review) for one, review in zip(wave.asked, done, strict=True)
        ]
        if self.section.leak is not None:
            wave.verdicts = self._checked(wave, score, self.section.leak)
        if self.section.use in ("verified", "shuffled"):
            wave.trials = self._triable(wave)

    def _liked(self, wave: Wave, score: Score) -> list[Verdict]:
        """Return verdicts of a reference that is asked for likelihoods: weighed later, or scored now."""
        blank = [self._blank(wave.played[one.episode], one) for one in wave.asked]
        if self.section.use in TOKEN_CREDIT:
            return [replace(verdict, why="weighed") for verdict in blank]
        sums: dict[tuple[int, int], float] = {}
        for number, found in self._differences(wave, score, known=True).items():
            sums |= {(number, turn): float(delta.sum()) for turn, delta in found.items()}
        scores = [sums.get((one.episode, one.turn)) for one in wave.asked]
        return [
            replace(verdict, why="same")
            if value is None
            else replace(verdict, why="scored", score=float(np.clip(value, -MOST_SCORE, MOST_SCORE)))
            for verdict, value in zip(blank, scores, strict=True)
        ]

    def _differences(self, wave: Wave, score: Score, *, known: bool) -> dict[int, dict[int, Weights]]:
        """Return Delta by number of the match and turn."""
        terse = self.section.form == "reply"
        found = {}
        for number, one in enumerate(wave.played):
            if mine := [asked for asked in wave.asked if asked.episode == number]:
                section = self.run.games[one.task.game_index]
                found[number] = differences(score, self.codec, section, one, mine, terse=terse, known=known)
        return found

    def _blank(self, one: Played, asked: Asked) -> Verdict:
        there = one.episode.turns[asked.turn]
        return Verdict(
            episode=one.task.index,
            replay=one.task.replay,
            turn=asked.turn,
            player=there.player,
            trigger=asked.trigger,
            said=said(there, asked.trigger),
            why="unparsable",
            principles=self.principles_hash,
        )

    def _read(self, one: Played, asked: Asked, review: Played) -> Verdict:
        """Return the verdict on a turn before anything is tried out."""
        there, episode = one.episode.turns[asked.turn], review.episode
        verdict = self._blank(one, asked)
        if episode.outcome != "finished":
            status = episode.turns[-1].attempts[-1].status if episode.turns else "unparsable"
            return replace(verdict, why=status)
        if self.section.use == "judge":
            return replace(verdict, why="scored", score=int(episode.result["score"]))
        verdict = replace(verdict, because=str(episode.result["because"]))
        if not episode.result["mistake"]:
            return replace(verdict, why="no mistake")
        game = at(one, asked.turn)
        try:
            action: Action = game.parse(there.player, str(episode.result["reply"]))
            game.check(there.player, action)
        except ActionError:
            return replace(verdict, why="not legal")
        if action == there.action:
            return replace(verdict, why="same")
        return replace(verdict, reply=str(action), why="taken")

    def _checked(self, wave: Wave, score: Score, least: float) -> list[Verdict]:
        """Return the verdicts with how likely each proposed reply was without hindsight; leaks are no claims."""
        places = [place for place, verdict in enumerate(wave.verdicts) if verdict.why == "taken"]
        wanted = []
        for place in places:
            verdict = wave.verdicts[place]
            one = wave.played[wave.asked[place].episode]
            observation = at(one, verdict.turn).observation(verdict.player)
            section = self.run.games[one.task.game_index]
            wanted.append((context_of(self.codec, section, observation), self._ids(verdict.reply)))
        found = list(wave.verdicts)
        for place, logprobs in zip(places, likelihoods(score, wanted) if wanted else [], strict=True):
            evidence = float(np.mean(logprobs))
            found[place] = replace(found[place], evidence=evidence, why="taken" if evidence >= least else "leak")
        return found

    def _triable(self, wave: Wave) -> list[tuple[int, Deal]]:
        """Return the claims that are tried out, those of the most uncertain games first; others are marked."""
        spread = _spread(wave.played)
        places = [place for place, verdict in enumerate(wave.verdicts) if verdict.why == "taken"]
        places.sort(key=lambda place: -spread[wave.asked[place].episode])
        found: list[tuple[int, Deal]] = []
        for place in places:
            verdict = wave.verdicts[place]
            deal = can_be_tried(self._claim(wave, place))
            if deal is None or len(found) >= max(1, self.section.budget // self.section.waves):
                wave.verdicts[place] = replace(verdict, why="not legal" if deal is None else "over budget")
            else:
                found.append((place, deal))
        return found

    def _claim(self, wave: Wave, place: int) -> Claim:
        verdict = wave.verdicts[place]
        return Claim.of(wave.played[wave.asked[place].episode], verdict.turn, verdict.reply)

    def _trials(self, wave: Wave, iteration: int) -> list[MatchTask]:
        seed = derive(self.run.seed, "verify", iteration, wave.number)
        return [
            task
            for place, deal in wave.trials
            for task in continuations(self._claim(wave, place), self.section.pairs, seed, deal)
        ]

    def _keep_trials(self, wave: Wave, done: list[Played], iteration: int, score: Score) -> None:
        rest = iter(done)
        for place, deal in wave.trials:
            claim = self._claim(wave, place)
            episodes = [next(rest).episode for _ in range(self.section.pairs * claim.tasks)]
            brought = gain(claim, episodes, deal)
            why = "accepted" if brought.accepted else "rejected"
            wave.verdicts[place] = replace(wave.verdicts[place], gain=brought, why=why)

    # ------------------------------------------------------------------ learning

    def learn(self, waves: Sequence[Wave], rows: list[Row], score: Score, iteration: int, progress: float) -> list[Row]:
        """Return the rows to learn from: those of the games, weighed anew, or with rows of proposed replies.

        Args:
            waves: Played and reviewed.
            rows: Of their games, filled by the credit rule.
            score: What the reference makes of token sequences.
            progress: Of the run, from 0 to 1, for the schedule of the weight.
        """
        weight = schedule(self.section.weight)(progress)
        if self.section.use == "judge":
            return self._judged(waves, rows, weight)
        if self.section.use in TOKEN_CREDIT:
            return self._weighed(waves, rows, score, iteration)
        return rows + self._rewritten(waves, iteration, weight)

    def _rewritten(self, waves: Sequence[Wave], iteration: int, weight: float) -> list[Row]:
        believed = [
            (wave.played[asked.episode], verdict)
            for wave in waves
            for asked, verdict in zip(wave.asked, wave.verdicts, strict=True)
            if verdict.why in ACCEPTED
        ]
        replies = [verdict.reply for _, verdict in believed]
        if self.section.use == "shuffled":
            Dice(derive(self.run.seed, "hindsight-shuffle", iteration)).shuffle(replies)
        return [
            distilled(one, verdict.turn, self._ids(reply), weight)
            for (one, verdict), reply in zip(believed, replies, strict=True)
        ]

    def _judged(self, waves: Sequence[Wave], rows: list[Row], weight: float) -> list[Row]:
        """Return rows in which a turn's score, less the mean score of its game and role, is added to its advantage."""
        scores = {
            (verdict.episode, verdict.player, verdict.turn): float(verdict.score)
            for wave in waves
            for verdict in wave.verdicts
            if verdict.score is not None
        }
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

    def _weighed(self, waves: Sequence[Wave], rows: list[Row], score: Score, iteration: int) -> list[Row]:
        sizes = {
            wave.played[number].task.index: normalised(found)
            for wave in waves
            for number, found in self._differences(wave, score, known=False).items()
        }
        seed = derive(self.run.seed, "token-credit-shuffle", iteration)
        if self.section.use == "tokens_by_place":
            sizes = by_place(sizes, Dice(seed))
        if self.section.use == "tokens_shuffled":
            sizes = {index: shuffled(found, Dice(derive(seed, index))) for index, found in sizes.items()}
        return [weighed(row, sizes.get(int(row.episode_id), {}), self.section.clip) for row in rows]

    def _ids(self, reply: str) -> list[int]:
        return [*self.codec.encode_untrusted(reply), self.codec.stop_ids[0]]


def _sampled(one: Played) -> int:
    """Return how many tokens were sampled in a match."""
    records = (attempt.reply.tokens for turn in one.episode.turns for attempt in turn.attempts)
    return sum(len(record.ids) for record in records if record is not None)


def _divided(tasks: Sequence[MatchTask], parts: int) -> list[list[MatchTask]]:
    """Return tasks in at most ``parts`` parts of about the same size; a group of episodes is not torn apart."""
    groups: dict[tuple[int, str], list[MatchTask]] = {}
    for task in tasks:
        groups.setdefault((task.game_index, task.group), []).append(task)
    found: list[list[MatchTask]] = [[]]
    for group in groups.values():
        if len(found[-1]) >= len(tasks) / parts and len(found) < parts:
            found.append([])
        found[-1] += group
    return found


def _spread(played: Sequence[Played]) -> list[float]:
    """Return for each match how much the returns of its game and start differ: a proxy for what a turn could change."""
    returns: dict[tuple[int, str], list[float]] = {}
    keys = [(one.task.game_index, one.task.group) for one in played]
    for key, one in zip(keys, played, strict=True):
        if one.episode.returns is not None:
            returns.setdefault(key, []).append(one.episode.returns[0])
    whole = [value for values in returns.values() for value in values]
    every = pstdev(whole) if whole else 0.0
    return [pstdev(returns[key]) if len(returns.get(key, [])) > 1 else every for key in keys]


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
