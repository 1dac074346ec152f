"""A corpus: random legal play and questions about it, as rows of token ids with a loss weight for each.

Play comes from real matches between real language-model seats whose engine does not compute but types: a random legal
action and the stop token, and now and then rubbish, so that the model also sees how it is asked again (rubbish itself
has weight 0). A row is what one seat reads and types in a game, and there are four kinds:

* *play*: the seat's context, as it is;
* *quiz*: the same up to some turn, then some of the game's questions, each as a message, with their answers;
* *interview*: a question stands first, as system text, and at every turn the seat types its answer in place of a move;
* *told*: one turn of a finished game, the result and what became known first, as a reviewer sees it
  (`palaestra.envs.games.review.shown`), and the move that was made.

Interviews are what keeps the state in sight. A quiz can be answered by looking back once the question is known; an
interview looks like play where the move is chosen, so what answers it is computed there, and a policy-gradient step
finds it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

from palaestra.agents.engines.base import BASE, Completion, Sampling
from palaestra.agents.language_model import LanguageModelSeat, ReplySettings
from palaestra.agents.tokens import TextCodec
from palaestra.envs import Match, MatchRules, OnFailure, Reply, View, make
from palaestra.envs.game import Game
from palaestra.envs.games.review import shown
from palaestra.envs.match import run
from palaestra.envs.registry import Visibility, visibility_of
from palaestra.envs.seat import Seat
from palaestra.envs.seeding import Dice, derive

Questions: TypeAlias = Callable[[Game, int, Dice], list[tuple[str, str]]]
"""From a game, a player and dice to (question, answer) pairs about what that player knows now.

The first pair is what matters most for its moves."""


@dataclass(frozen=True, slots=True)
class Mix:
    """A share of a corpus.

    Attributes:
        game: Registered name.
        questions: Asks about the state.
        options: Of the game.
        share: Games of this mix in proportion to the other shares.
        seats: Names of the seats that choose the moves, such as a scripted reader's, in order; the others are random.
        visibility: Who reads thoughts; None for the game's own rule.
        fresh: Part of the seats that begin a new context, and so a new row, at every turn, as a seat does whose context
            is full or that plays with ``context="fresh"``.
        told: Part of the seats whose turns are told once more when the game is over, with the result first.
    """

    game: str
    questions: Questions
    options: Mapping[str, Any] = field(default_factory=dict)
    share: int = 1
    fresh: float = 0.0
    seats: tuple[str, ...] = ()
    visibility: Visibility | None = None
    told: float = 0.0


@dataclass(frozen=True, slots=True)
class Row:
    """One training row: ``weights[i]`` is the loss weight of predicting ``ids[i]``."""

    ids: list[int]
    weights: list[float]


MESSAGE_WEIGHT = 0.1
RUBBISH_RATE = 0.02

RowKind = Literal["play", "quiz", "interview", "done"]
_KINDS: tuple[RowKind, ...] = ("play", "play", "quiz", "interview")
_QUIZ_LENGTH = 3


def write_corpus(mixes: Sequence[Mix], codec: TextCodec, games: int, seed: int) -> Iterator[Row]:
    """Yield the rows of ``games`` games in all, from every seat.

    Args:
        mixes: What is played.
        codec: Types the text.
        games: Number of games.
        seed: Equal seeds give equal rows.
    """
    whole = sum(mix.share for mix in mixes)
    for number in range(games):
        place = number % whole
        mix = next(mix for mix, end in zip(mixes, _ends(mixes), strict=True) if place < end)
        game = make(mix.game, seed=derive(seed, "game", number), **mix.options)
        rows: list[Row] = []
        dice = Dice(derive(seed, "kinds", number))
        kinds = [dice.choice(_KINDS) for _ in range(game.facts.players)]
        fresh = [mix.fresh > 0 and dice.random() < mix.fresh for _ in kinds]
        seats = [
            _TypingSeat(game, codec, mix.questions, kind, anew, rows, chooser, telling=mix.told > 0)
            for kind, anew, chooser in zip(kinds, fresh, _choosers(mix, len(kinds)), strict=True)
        ]
        patient = OnFailure(reasks=5)
        visibility = mix.visibility or visibility_of(mix.game)
        rules = MatchRules(visibility=visibility, illegal=patient, unparsable=patient)
        run(Match(game, seats, rules, record=False, seed=derive(seed, "match", number)).play())
        yield from (row for row in rows if row.ids)
        for seat in seats if mix.told > 0 else ():
            if dice.random() < mix.told:
                yield from seat.told(game)


def _choosers(mix: Mix, players: int) -> list[Seat | None]:
    """Return who chooses each player's moves; None for a random legal one."""
    if not mix.seats:
        return [None] * players
    from palaestra.agents.seats import make_seat

    named: list[Seat | None] = [make_seat(spec) for spec in mix.seats]
    return [*named, *[None] * players][:players]


def _ends(mixes: Sequence[Mix]) -> list[int]:
    return [sum(mix.share for mix in mixes[: index + 1]) for index in range(len(mixes))]


class _Typist:
    """An engine that types what it was told to; see `palaestra.agents.engines.base.Engine`."""

    context_length = 1 << 20

    def __init__(self, codec: TextCodec) -> None:
        self.vocab_size = codec.vocab_size
        self.ids: tuple[int, ...] = ()

    async def generate(
        self, context: Sequence[int], sampling: Sampling, *, policy: str = BASE, session: str | None = None
    ) -> Completion:
        return Completion(self.ids, (0.0,) * len(self.ids), "stop", policy, len(context))

    def release(self, session: str) -> None:
        pass


class _TypingSeat(LanguageModelSeat):
    """Types random legal actions, or those of its chooser; what it read and typed it leaves in ``rows``, a row for each
    context."""

    def __init__(
        self,
        game: Game,
        codec: TextCodec,
        questions: Questions,
        kind: RowKind,
        fresh: bool,
        rows: list[Row],
        chooser: Seat | None = None,
        *,
        telling: bool = False,
    ) -> None:
        self.typist = _Typist(codec)
        settings = ReplySettings(context="fresh" if fresh else "growing")
        super().__init__(self.typist, codec, settings=settings)  # type: ignore[arg-type]
        self._game = game
        self._chooser = chooser
        self._questions = questions
        self._kind = kind
        self._rows = rows
        self._new_row()
        self._question = 0
        self._telling = telling
        self._turns: list[tuple[int, str, str]] = []
        """(player, what a fresh context shows, what was typed) of each turn."""

    def told(self, over: Game) -> Iterator[Row]:
        """Yield each turn as a reviewer sees it who knows how the game ended."""
        for player, observation, text in self._turns:
            seen = shown(observation, "", over.returns()[player], over.revealed(player), terse=True)
            row = Row([], [])
            for ids, weight in (
                (self.codec.chat_open(), 0.0),
                (self.codec.user_turn(seen), MESSAGE_WEIGHT),
                (self._typed(text), 1.0),
            ):
                row.ids.extend(ids)
                row.weights.extend([weight] * len(ids))
            yield row

    async def act(self, view: View) -> Reply:
        dice = Dice(derive(view.seed, "typing"))
        rubbish = dice.random() < RUBBISH_RATE
        text = _rubbish(dice) if rubbish else await self._choice(view, dice)
        self.typist.ids = tuple(self._typed(text))
        if self._telling and not rubbish:
            self._turns.append((view.player, self._game.observation(view.player), text))
        if self.settings.context == "fresh":
            self._new_row()
        if self._kind == "interview":
            self._interview(view, dice)
        elif self._kind == "quiz" and not view.feedback and dice.below(2):
            self._quiz(view, dice)
        reply = await super().act(view)
        assert reply.tokens is not None
        if self._kind in ("play", "quiz"):
            self._add(reply.tokens.context, MESSAGE_WEIGHT)
            self._add(reply.tokens.ids, 0.0 if rubbish else 1.0)
        return reply

    async def _choice(self, view: View, dice: Dice) -> str:
        if self._chooser is None:
            return str(self._game.sample_action(view.player, dice))
        return str((await self._chooser.act(view)).content)

    def _new_row(self) -> None:
        self._row = Row([], [])
        self._rows.append(self._row)

    def _observation(self, view: View) -> str:
        return view.observation() if view.first or self._row.ids else view.snapshot()

    def _add(self, ids: Sequence[int], weight: float) -> None:
        self._row.ids.extend(ids)
        self._row.weights.extend([weight] * len(ids))

    def _typed(self, text: str) -> list[int]:
        return [*self.codec.encode_untrusted(text), self.codec.stop_ids[0]]

    def _quiz(self, view: View, dice: Dice) -> None:
        """End the row with questions; the first stands below the observation, the others are messages of their own."""
        codec, last = self.codec, list(self._last_reply)
        pairs = self._questions(self._game, view.player, dice)
        dice.shuffle(pairs)
        del pairs[_QUIZ_LENGTH:]
        message = self._observation(view) + "\n"
        for question, answer in pairs:
            self._add(codec.after_reply(last) if self._row.ids else codec.chat_open(), 0.0)
            self._add(codec.user_turn(message + question), 0.0)
            last, message = self._typed(answer), ""
            self._add(last, 1.0)
        self._kind = "done"

    def _interview(self, view: View, dice: Dice) -> None:
        """Answer, at this turn, the question that the row began with."""
        if view.feedback:
            return
        pairs = self._questions(self._game, view.player, dice)
        observation = self._observation(view)
        if self._row.ids:
            self._add(self.codec.after_reply([self.codec.stop_ids[0]]), 0.0)
        else:
            self._question = dice.below(len(pairs)) if dice.below(2) else 0
            self._add(self.codec.chat_open(pairs[self._question][0]), 0.0)
        self._add(self.codec.user_turn(observation), 0.0)
        self._add(self._typed(pairs[self._question][1]), 1.0)


def _rubbish(dice: Dice) -> str:
    return "".join(chr(97 + dice.below(26)) for _ in range(1 + dice.below(3)))
