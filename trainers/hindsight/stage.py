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

import numpy as np

from palaestra.agents.models.sources import ModelSource
from palaestra.envs import MatchRules, OnFailure
from palaestra.envs.errors import ActionError
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice, derive
from palaestra.trainers.config import RunConfig
from palaestra.trainers.hindsight.ask import (
    Asked,
    at,
    events,
    listed,
    nth,
    principles,
    said,
    spreads,
    text_of,
    text_of_game,
)
from palaestra.trainers.hindsight.critic import Critic
from palaestra.trainers.hindsight.deals import deals
from palaestra.trainers.hindsight.leaks import uses_what_was_hidden
from palaestra.trainers.hindsight.lessons import MOST_SCORE, distilled, judged, sized
from palaestra.trainers.hindsight.likelihood import Place, Score, Weights, context_of, differences, likelihoods
from palaestra.trainers.hindsight.verdict import ACCEPTED, Verdict
from palaestra.trainers.hindsight.verify import Claim, Dealt, can_be_tried, continuations, gain
from palaestra.trainers.rows import Row
from palaestra.trainers.schedules import schedule
from palaestra.trainers.tasks import MatchTask, Played, SeatPlan

Play = Callable[[Sequence[MatchTask]], list[Played]]
STRICT = MatchRules(illegal=OnFailure(0), unparsable=OnFailure(0), truncated=OnFailure(0), accept_cut=True)
REWRITES = ("verified", "unverified", "shuffled")
TOKEN_CREDIT = ("tokens", "tokens_shuffled", "tokens_by_place")


@dataclass
class Wave:
    """A part of an iteration's games on its way.

    Attributes:
        number: Of the wave. tasks: Its games. played: Once they were played.
        asked: Turns that are reviewed. verdicts: One for each, once they were.
        deltas: What the reference makes of the reviewed turns, where it is asked for likelihoods.
        trials: (place in ``verdicts``, how it is dealt) of claims that are being tried out.
        tokens: Sampled for reviews and trials; ``review_tokens`` for reviews alone.
    """

    number: int
    tasks: Sequence[MatchTask]
    played: list[Played] = field(default_factory=list)
    asked: list[Asked] = field(default_factory=list)
    verdicts: list[Verdict] = field(default_factory=list)
    deltas: dict[Place, Weights] = field(default_factory=dict)
    trials: list[tuple[int, Dealt]] = field(default_factory=list)
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

    def review(self, play: Play, score: Score, played: Sequence[Played], iteration: int) -> Wave:
        """Review games that were played before, and try claims out.

        Args:
            play, score: As for `play`.
            played: The games; their tasks have different indices.
        """
        wave = Wave(0, [one.task for one in played])
        self._keep_games(wave, list(played), iteration, score)
        for lag in (1, 2):
            self._step(play, score, {lag: wave}, iteration)
        return wave

    def try_out(self, play: Play, score: Score, wave: Wave, iteration: int) -> None:
        """Try out the claims of a wave that were ``taken``, in deals and with seeds that the iteration decides."""
        wave.trials = self._triable(wave, score, iteration)
        self._step(play, score, {2: wave}, iteration)

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
            whole = dict[int, bool]()
            for there in one.episode.turns:
                drawn = dice.random() < section.share
                if section.form == "game":  # all turns of a player, or none
                    drawn = whole.setdefault(there.player, drawn)
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

    def _groups(self, wave: Wave) -> list[list[int]]:
        """Return which of the asked turns are asked about together: one by one, or all that a player had in a game."""
        groups: dict[tuple[int, ...], list[int]] = {}
        for place, one in enumerate(wave.asked):
            player = wave.played[one.episode].episode.turns[one.turn].player
            together = self.section.form == "game" and self.section.use != "judge" and one.trigger == "end"
            groups.setdefault((one.episode, player) if together else (one.episode, player, place), []).append(place)
        return list(groups.values())

    def _reviews(self, wave: Wave, iteration: int) -> list[MatchTask]:
        if self._wordless:
            return []
        return [
            self._review(wave, group, derive(iteration, wave.number, index))
            for index, group in enumerate(self._groups(wave))
        ]

    def _review(self, wave: Wave, group: Sequence[int], number: int) -> MatchTask:
        section, asked = self.section, wave.asked[group[0]]
        one = wave.played[asked.episode]
        form = "score" if section.use == "judge" else section.form
        if form == "game" and asked.trigger == "end":
            text = text_of_game(one, one.episode.turns[asked.turn].player, section)
        else:
            form, text = "full" if form == "game" else form, text_of(one, asked, section)
        options = {"shown": text, "form": form, "principles": self.principles, "max_chars": section.max_chars}
        structured = form != "reply" if section.structured is None else section.structured
        if structured and form in ("full", "reply") and (replies := listed(one, asked.turn)):
            options["replies"] = replies
        seed = derive(self.run.seed, "review", number)
        plan = SeatPlan(policy=self.reviewer or self.critic.policy)
        how = replace(section.reply.settings(), structured=structured)
        return MatchTask(0, -1, "review", options, seed, seed, STRICT, how, (plan,), spare=True)

    def _keep_reviews(self, wave: Wave, done: list[Played], iteration: int, score: Score) -> None:
        if self._wordless:
            wave.verdicts = self._liked(wave, score)
            return
        found = {
            place: self._read(wave.played[wave.asked[place].episode], wave.asked[place], review)
            for group, review in zip(self._groups(wave), done, strict=True)
            for place in group
        }
        wave.verdicts = [found[place] for place in range(len(wave.asked))]
        if self.section.leak is not None:
            wave.verdicts = self._checked(wave, score, self.section.leak)
        if self.section.use in ("verified", "shuffled"):
            wave.trials = self._triable(wave, score, iteration)

    def _liked(self, wave: Wave, score: Score) -> list[Verdict]:
        """Return verdicts of a reference that is asked for likelihoods: weighed later, or scored now."""
        judge = self.section.use == "judge"
        terse = self.section.form == "reply"
        wave.deltas, overflown = differences(
            score, self.codec, self.run.games, wave.played, wave.asked, terse=terse, known=judge
        )
        found = []
        for asked in wave.asked:
            verdict = self._blank(wave.played[asked.episode], asked)
            delta = wave.deltas.get((asked.episode, asked.turn))
            if delta is None:
                why = "too long" if (asked.episode, asked.turn) in overflown else "drawn"
                found.append(replace(verdict, why=why))
            elif judge:
                value = float(np.clip(delta.sum(), -MOST_SCORE, MOST_SCORE))
                found.append(replace(verdict, why="scored", score=value))
            else:
                found.append(replace(verdict, why="weighed"))
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
            # without a turn the seat was never asked: what it was to read does not fit the model
            return replace(verdict, why=episode.turns[-1].attempts[-1].status if episode.turns else "too long")
        if self.section.use == "judge":
            return replace(verdict, why="scored", score=int(episode.result["score"]))
        answer = episode.result
        if "mistakes" in answer:
            named = (mistake for mistake in answer["mistakes"] if mistake["turn"] == nth(one, asked.turn))
            answer = (
                {"mistake": True, **mistake} if (mistake := next(named, None)) else {"mistake": False, "because": ""}
            )
        verdict = replace(verdict, because=str(answer["because"]))
        if not answer["mistake"]:
            return replace(verdict, why="no mistake")
        game = at(one, asked.turn)
        try:
            action: Action = game.parse(there.player, str(answer["reply"]))
            game.check(there.player, action)
        except ActionError:
            return replace(verdict, why="not legal")
        if action == there.action:
            return replace(verdict, why="same")
        leak = uses_what_was_hidden(game, there.player, f"{verdict.because}\n{action}")
        return replace(verdict, reply=str(action), why="leak" if leak else "taken")

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
        for place, logprobs in zip(places, likelihoods(score, wanted), strict=True):
            if logprobs is None:
                found[place] = replace(found[place], why="too long")
                continue
            evidence = float(np.mean(logprobs))
            found[place] = replace(found[place], evidence=evidence, why="taken" if evidence >= least else "leak")
        return found

    def _triable(self, wave: Wave, score: Score, iteration: int) -> list[tuple[int, Dealt]]:
        """Return the claims that are tried out, those of the most uncertain turns first; others are marked."""
        spread = spreads(wave.played, wave.asked)
        places = [place for place, verdict in enumerate(wave.verdicts) if verdict.why == "taken"]
        tried: list[int] = []
        for place in sorted(places, key=lambda place: -spread[place]):
            legal = can_be_tried(self._claim(wave, place))
            if not legal or len(tried) >= max(1, self.section.budget // self.section.waves):
                wave.verdicts[place] = replace(wave.verdicts[place], why="over budget" if legal else "not legal")
            else:
                tried.append(place)
        claims = [(wave.played[wave.asked[place].episode], self._claim(wave, place)) for place in tried]
        seed = derive(self.run.seed, "verify", iteration, wave.number)
        return list(zip(tried, deals(claims, score, self.codec, self.run, self.section.pairs, seed), strict=True))

    def _claim(self, wave: Wave, place: int) -> Claim:
        verdict = wave.verdicts[place]
        return Claim.of(wave.played[wave.asked[place].episode], verdict.turn, verdict.reply)

    def _trials(self, wave: Wave, iteration: int) -> list[MatchTask]:
        return [task for place, dealt in wave.trials for task in continuations(self._claim(wave, place), dealt)]

    def _keep_trials(self, wave: Wave, done: list[Played], iteration: int, score: Score) -> None:
        rest = iter(done)
        for place, dealt in wave.trials:
            claim = self._claim(wave, place)
            episodes = [next(rest).episode for _ in range(len(dealt.seeds) * claim.tasks)]
            brought = gain(claim, episodes, dealt)
            why = "accepted" if brought.accepted else "rejected"
            wave.verdicts[place] = replace(wave.verdicts[place], gain=brought, why=why)

    # ------------------------------------------------------------------ learning

    def learn(self, waves: Sequence[Wave], rows: list[Row], iteration: int, progress: float) -> list[Row]:
        """Return the rows to learn from: those of the games, weighed anew, or with rows of proposed replies.

        Args:
            waves: Played and reviewed.
            rows: Of their games, filled by the credit rule.
            progress: Of the run, from 0 to 1, for the schedule of the weight.
        """
        section, weight = self.section, schedule(self.section.weight)(progress)
        if section.use == "judge":
            return judged([verdict for wave in waves for verdict in wave.verdicts], rows, weight)
        if section.use in TOKEN_CREDIT:
            deltas: dict[int, dict[int, Weights]] = {}
            for wave in waves:
                for (number, turn), delta in wave.deltas.items():
                    deltas.setdefault(wave.played[number].task.index, {})[turn] = delta
            return sized(
                deltas, rows, section.use, section.clip, derive(self.run.seed, "token-credit-shuffle", iteration)
            )
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

    def _ids(self, reply: str) -> list[int]:
        return [*self.codec.encode_untrusted(reply), self.codec.stop_ids[0]]


class Counting:
    """Plays, and counts the tokens that were sampled.

    Attributes:
        tokens: So far.
    """

    def __init__(self, play: Play) -> None:
        self._play = play
        self.tokens = 0

    def __call__(self, tasks: Sequence[MatchTask]) -> list[Played]:
        """Return what was played, in order."""
        done = self._play(tasks)
        self.tokens += sum(map(_sampled, done))
        return done


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
