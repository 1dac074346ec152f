"""The station between credit and the learner: finished games are reviewed, claims are tried out, and what should have
been said is learned from the context in which it was not.

The reviewer is the run's frozen reference in a seat of the game `review`, and continuations are matches that begin at a
turn; both are ordinary tasks for the runners. What comes back are rows whose only stream is ``ce``: the context that
the policy had then, without any hindsight, and the tokens of the proposed reply.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from palaestra.agents.engines.base import BASE
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import Game, MatchRules, OnFailure
from palaestra.envs.errors import ActionError
from palaestra.envs.games.review import shown
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice, derive
from palaestra.trainers.config import RunConfig
from palaestra.trainers.hindsight.verify import Claim, Gain, can_be_tried, continuations, gain
from palaestra.trainers.rows import Row, Stream, rows_from_episode
from palaestra.trainers.schedules import schedule
from palaestra.trainers.tasks import MatchTask, Played, SeatPlan

Play = Callable[[Sequence[MatchTask]], list[Played]]
STRICT = MatchRules(illegal=OnFailure(0), unparsable=OnFailure(0), truncated=OnFailure(0), accept_cut=True)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one reviewed turn.

    Attributes:
        episode: Index of its match in the iteration; ``replay`` its file, if one is kept.
        turn: Number of the turn, from 0; ``player`` whose it was.
        said: What was said; ``reply`` what should have been, as a canonical action, empty if there is no such claim.
        because: The reviewer's reason.
        why: ``accepted``, ``rejected`` (tried out, and not better), ``taken`` (not tried out), or why there is no
            claim: ``no mistake``, ``same``, ``not legal``, or how the review failed (``unparsable``, ``truncated``).
        gain: What trying it out found.
    """

    episode: int
    replay: str | None
    turn: int
    player: int
    said: str
    reply: str
    because: str
    why: str
    gain: Gain | None = None


class Hindsight:
    """Reviews the games of an iteration; holds nothing that must survive a restart."""

    def __init__(self, run: RunConfig) -> None:
        assert run.hindsight is not None
        self.run = run
        self.section = run.hindsight
        self.codec = ModelSource.parse(str(ModelSource.parse(run.model.source).base)).codec()

    def review(
        self, play: Play, played: Sequence[Played], iteration: int, progress: float
    ) -> tuple[list[Row], list[Verdict]]:
        """Return the rows to learn from and a verdict for each reviewed turn.

        Args:
            play: Plays tasks, as `palaestra.trainers.algorithm.SelfPlay.play`.
            played: The games of the iteration.
            progress: Of the run, from 0 to 1, for the schedule of the weight.
        """
        asked = self._chosen(played, iteration)
        reviews = play([self._task(played[which], turn, index, iteration) for index, (which, turn) in enumerate(asked)])
        verdicts = [self._read(played[which], turn, one) for (which, turn), one in zip(asked, reviews, strict=True)]
        if self.section.use != "unverified":
            verdicts = self._tried(play, played, asked, verdicts, iteration)
        believed = [
            (which, verdict)
            for (which, _), verdict in zip(asked, verdicts, strict=True)
            if verdict.why in ("accepted", "taken")
        ]
        replies = [verdict.reply for _, verdict in believed]
        if self.section.use == "shuffled":
            Dice(derive(self.run.seed, "hindsight-shuffle", iteration)).shuffle(replies)
        weight = schedule(self.section.weight)(progress)
        rows = [
            distilled(played[which], verdict.turn, self._ids(reply), weight)
            for (which, verdict), reply in zip(believed, replies, strict=True)
        ]
        return rows, verdicts

    def _chosen(self, played: Sequence[Played], iteration: int) -> list[tuple[int, int]]:
        """Return (number of the game, number of the turn) of the turns that are reviewed."""
        dice = Dice(derive(self.run.seed, "hindsight", iteration))
        return [
            (number, turn.number)
            for number, one in enumerate(played)
            for turn in one.episode.turns
            if one.episode.returns is not None
            and one.task.seats[turn.player].trained
            and turn.action is not None
            and dice.random() < self.section.share
        ]

    def _task(self, one: Played, turn: int, index: int, iteration: int) -> MatchTask:
        there = one.episode.turns[turn]
        assert one.episode.returns is not None
        before, over = at(one, turn), at(one, len(one.episode.turns))
        text = shown(
            before.observation(there.player), str(there.action), one.episode.returns[there.player],
            over.revealed(there.player), terse=self.section.form == "reply",
        )  # fmt: skip
        options = {
            "shown": text[: self.section.max_chars],
            "form": self.section.form,
            "max_chars": self.section.max_chars,
        }
        seed = derive(self.run.seed, "review", iteration, index)
        return MatchTask(
            index, -1, "review", options, seed, seed, STRICT, self.section.reply.settings(), (SeatPlan(policy=BASE),)
        )

    def _read(self, one: Played, turn: int, review: Played) -> Verdict:
        """Return the verdict on a turn before anything is tried out."""
        there, episode = one.episode.turns[turn], review.episode
        verdict = Verdict(one.task.index, one.task.replay, turn, there.player, str(there.action), "", "", "unparsable")
        if episode.outcome != "finished":
            status = episode.turns[-1].attempts[-1].status if episode.turns else "unparsable"
            return replace(verdict, why=status)
        verdict = replace(verdict, because=str(episode.result["because"]))
        if not episode.result["mistake"]:
            return replace(verdict, why="no mistake")
        game = at(one, turn)
        try:
            action: Action = game.parse(there.player, str(episode.result["reply"]))
            game.check(there.player, action)
        except ActionError:
            return replace(verdict, why="not legal")
        if action == there.action:
            return replace(verdict, why="same")
        return replace(verdict, reply=str(action), why="taken")

    def _tried(
        self,
        play: Play,
        played: Sequence[Played],
        asked: Sequence[tuple[int, int]],
        verdicts: list[Verdict],
        iteration: int,
    ) -> list[Verdict]:
        """Return the verdicts after their claims were tried out, all in one batch."""
        found = list(verdicts)
        tasks: list[MatchTask] = []
        spans: dict[int, tuple[int, Any]] = {}
        seed = derive(self.run.seed, "verify", iteration)
        for number, ((which, turn), verdict) in enumerate(zip(asked, verdicts, strict=True)):
            if verdict.why != "taken":
                continue
            claim = Claim.of(played[which], turn, verdict.reply)
            if (deal := can_be_tried(claim)) is None:
                found[number] = replace(verdict, why="not legal")
                continue
            spans[number] = (len(tasks), deal)
            tasks += continuations(claim, self.section.pairs, seed, deal, first=len(tasks))
        episodes = [one.episode for one in play(tasks)] if tasks else []
        for number, (start, deal) in spans.items():
            part = episodes[start : start + 2 * self.section.pairs]
            brought = gain(verdicts[number].player, part, deal)
            found[number] = replace(verdicts[number], gain=brought, why="accepted" if brought.accepted else "rejected")
        return found

    def _ids(self, reply: str) -> list[int]:
        return [*self.codec.encode_untrusted(reply), self.codec.stop_ids[0]]


def at(one: Played, turns: int) -> Game:
    """Return the game of an episode after so many turns, or before the first that has no action."""
    game = one.task.begin()
    for turn in one.episode.turns[:turns]:
        if turn.action is None:
            break
        game.apply(turn.player, turn.action)
    return game


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


def counted(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Return how many turns were reviewed, what became of them, by reason, and the mean gain of those accepted."""
    counts = Counter(verdict.why.replace(" ", "_") for verdict in verdicts)
    gains = [verdict.gain.mean for verdict in verdicts if verdict.gain is not None and verdict.why == "accepted"]
    return {
        "hindsight/reviewed": float(len(verdicts)),
        **{f"hindsight/{why}": float(count) for why, count in sorted(counts.items())},
        **({"hindsight/gain": float(np.mean(gains))} if gains else {}),
    }


def append(path: Path, iteration: int, verdicts: Sequence[Verdict]) -> None:
    """Add an iteration's verdicts to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as file:
        for verdict in verdicts:
            file.write(json.dumps({"iteration": iteration, **asdict(verdict)}, ensure_ascii=False) + "\n")
