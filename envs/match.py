"""The match: seats players at one game and keeps the rules of conduct, the same for every game.

A match asks each player to move for a reply, splits the reply into thought and action, lets the game read and check
the action, and records a `Turn`. It is an ordinary coroutine: a thousand matches await their engine together, without
a barrier.

Rules of conduct (`MatchRules`):

* *Visibility* of thoughts: ``private`` (nobody else), ``public`` (all players), ``team`` (the player's team) or
  ``monitor`` (only the seats named in ``monitors``). It belongs to the match and not to the game, so any game can be
  played with open minds.
* *Thoughts without end* cannot hurt a reader: of another's thought it is shown 4000 characters at most, and fewer if
  its seat says that it cannot take so many (`Seat`). What is left out is said where it stood, and the reply's ``info``
  has the limit as ``longest_thought``.
* *Failed replies* come in three kinds that are never merged: *unparsable* (no action found), *illegal* (the game
  refused it), *truncated* (the token limit came first). Each has its own `OnFailure`: how often the player is asked
  again, with the reason, and what follows.
* *Turn limits* cut an episode; its returns are then None.

A match can go on from recorded turns (``prefix``): their replies are judged again by the same code, which is how a
replay is resumed, and how a golden replay is compared.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from statistics import fmean
from typing import Any, Literal, Protocol, TypeVar, get_args

from palaestra.envs.episode import Attempt, Episode, Outcome, Reply, Status, Turn
from palaestra.envs.errors import IllegalAction, OptionError, ReplayMismatch, SeatCountError, UnparsableAction
from palaestra.envs.events import LONGEST_THOUGHT, Event, render, shortened
from palaestra.envs.game import Game
from palaestra.envs.options import parse_options
from palaestra.envs.parts import Action, part_kind, well_formed
from palaestra.envs.registry import Visibility, visibility_of
from palaestra.envs.seat import Seat, View
from palaestra.envs.seeding import Dice, derive

Result = TypeVar("Result")
TalkedOut = Literal["counts", "void"]
LIMIT = "longest_thought"
"""The key, in a reply's ``info``, of how many characters of each thought its player was shown, if it was not all."""


@dataclass(frozen=True, slots=True)
class OnFailure:
    """What a failed reply costs.

    Attributes:
        reasks: How many more times the player is asked in this turn, counted over failures of all kinds.
        then: What follows when they are used up: the player forfeits (which ends the game, or, where the game can go
            on without it, only takes it out), or a random legal action is played for it.
    """

    reasks: int = 2
    then: Literal["forfeit", "random"] = "forfeit"

    def __post_init__(self) -> None:
        if self.reasks < 0:
            raise OptionError(f"reasks is {self.reasks}, but a player cannot be asked less than 0 more times.")


@dataclass(frozen=True, slots=True)
class MatchRules:
    """Rules of conduct; see the module docstring.

    Attributes:
        visibility: Who reads a player's thoughts; `play`, bridges and configurations begin with the game's own rule.
        monitors: Players who read all thoughts when ``visibility`` is ``"monitor"``.
        thought: The markers between which a reply's thought stands.
        max_turns: Turns of all players together before the episode is cut; None for the game's own bound. Players
            who move at once all move, or none does.
        accept_cut: Whether a reply cut by the token limit may still count if an action can be read in it.
        talked_out: What a game is worth to a player whose message came just before an opponent forfeited, whether that
            ended the game or only took the opponent out: as much as without (``"counts"``), or at most nothing
            (``"void"``), so that it does not pay to talk somebody into nonsense.
    """

    visibility: Visibility = "private"
    monitors: tuple[int, ...] = ()
    thought: tuple[str, str] = ("<think>", "</think>")
    max_turns: int | None = None
    accept_cut: bool = False
    illegal: OnFailure = OnFailure()
    unparsable: OnFailure = OnFailure()
    truncated: OnFailure = OnFailure()
    talked_out: TalkedOut = "counts"

    def __post_init__(self) -> None:
        for name, kind in (("visibility", Visibility), ("talked_out", TalkedOut)):
            if (value := getattr(self, name)) not in (known := get_args(kind)):
                raise OptionError(f"{name} is {value!r}, expected one of {', '.join(known)}.")
        if self.max_turns is not None and self.max_turns < 0:
            raise OptionError(f"max_turns is {self.max_turns}, but a match cannot have less than 0 turns.")
        if not all(self.thought) or self.thought[0] == self.thought[1]:
            raise OptionError(
                f"thought markers {list(self.thought)} cannot be told apart; give two different, non-empty texts."
            )

    def all_read(self, players: int) -> bool:
        """Return whether each of so many players reads the thoughts of all others, teams apart."""
        return self.visibility == "public" or (
            self.visibility == "monitor" and set(range(players)) <= set(self.monitors)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the rules as JSON data."""
        data = dataclasses.asdict(self)
        data["monitors"], data["thought"] = list(self.monitors), list(self.thought)
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> MatchRules:
        """Invert `to_json`; what is not given keeps its default.

        Raises:
            UnknownName, OptionError: As for the options of a game.
        """
        return parse_options(cls, data, "the rules of a match")


class Recorder(Protocol):
    """Gets the episode as it happens; `palaestra.envs.replay.ReplayWriter` is one."""

    def begin(self, match: Match) -> None: ...
    def turn(self, turn: Turn) -> None: ...
    def end(self, episode: Episode) -> None: ...


def split_thought(text: str, markers: tuple[str, str]) -> tuple[str, str, bool]:
    """Split a reply into (thought, rest, closed).

    A thought that is opened and never closed reaches to the end. A closing marker without an opening one closes a
    thought that the model's template had opened before the reply began, or that went on after an inner marker: what
    stands before it is thought, so the rest never holds a marker, nor words that somebody meant to keep to itself.
    Thoughts are joined by newlines, and so are the pieces of the rest: two halves never add up to an action.
    """
    opening, closing = markers
    if closing not in text and opening not in text:
        return "", text, True
    thoughts: list[str] = []
    spoken: list[str] = []
    *closed, tail = text.split(closing)
    for piece in closed:
        before, marker, thought = piece.partition(opening)
        if marker:
            spoken.append(before)
            thoughts.append(thought)
        else:
            thoughts.append(piece)
    before, marker, thought = tail.partition(opening)
    return _join([*thoughts, thought]), _join([*spoken, before]), not marker


def _join(pieces: list[str]) -> str:
    return "\n".join(stripped for piece in pieces if (stripped := piece.strip()))


@dataclass(slots=True)
class Match:
    """One game, its players, and what happened so far.

    Args:
        game: A fresh game; the match takes ownership. Play a copy by passing ``game.clone()``.
        seats: One per player, in player order.
        rules: Rules of conduct.
        record: Whether turns carry observation texts and state hashes (which cost time).
        recorder: Told of every turn as it ends; implies ``record``.
        seed: Seed of everything random outside the game's own chance; the game's seed if None.
        prefix: Recorded turns to play first, with the recorded replies in place of the seats'.

    Raises:
        SeatCountError: The seats do not fit the game; raised before the first reply is asked for.

    Example:
        >>> from palaestra.envs import make, play, Scripted
        >>> play(make("tic_tac_toe"), [Scripted("1", "2", "3"), Scripted("4", "5")]).returns
        (1.0, -1.0)
    """

    game: Game
    seats: Sequence[Seat]
    rules: MatchRules = MatchRules()
    record: bool = True
    recorder: Recorder | None = None
    seed: int | None = None
    prefix: Sequence[Turn] = ()
    events: list[Event] = field(default_factory=list, init=False)
    turns: list[Turn] = field(default_factory=list, init=False)
    _game_events: int = field(default=0, init=False)
    _seen: list[int | None] = field(default_factory=list, init=False)
    _forfeited_by: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        players = self.game.facts.players
        if len(self.seats) != players:
            raise SeatCountError(
                f"{self.game.id} has {players} players, but {len(self.seats)} seats were given; give one per player."
            )
        if any(not 0 <= monitor < players for monitor in self.rules.monitors):
            raise SeatCountError(
                f"monitors {list(self.rules.monitors)} of {self.game.id}: players are numbered 0 to {players - 1}."
            )
        self.record = self.record or self.recorder is not None
        self.seed = self.game.seed if self.seed is None else self.seed
        self._seen = [None] * players

    async def play(self) -> Episode:
        """Play to the end and return the episode; seats that have a ``close`` method are closed whatever happens."""
        try:
            if self.recorder is not None:
                self.recorder.begin(self)
            outcome = await self._play()
            episode = self._episode(outcome)
            if self.recorder is not None:
                self.recorder.end(episode)
            return episode
        finally:
            with contextlib.ExitStack() as everything:  # closes the others even if one cannot be closed
                for closable in {id(thing): thing for thing in (*self.seats, self.recorder)}.values():
                    if (close := getattr(closable, "close", None)) is not None:
                        everything.callback(close)

    async def _play(self) -> Outcome:
        game = self.game
        limit = game.facts.max_turns if self.rules.max_turns is None else self.rules.max_turns
        self._collect_events()
        while players := game.players_to_move():
            start = len(self.turns)
            if start + len(players) > limit:
                return "unfinished"
            if len(players) == 1:
                turns = [await self._ask(players[0], start, apply=True)]
            else:
                turns = await _gather(
                    [self._ask(player, start + offset, apply=False) for offset, player in enumerate(players)]
                )
            leaving = [turn.player for turn in turns if turn.action is None]
            for turn in turns:
                self._finish(turn, applied=len(players) == 1, leaving=leaving if turn is turns[-1] else ())
            if self._forfeited_by is not None:
                return "forfeit"
        return "finished"

    async def _ask(self, player: int, number: int, *, apply: bool) -> Turn:
        """Ask until an action is accepted or patience runs out; apply it at once if nobody else is to move."""
        game, rules = self.game, self.rules
        role = game.role(player)
        recorded = self.prefix[number] if number < len(self.prefix) else None
        attempts: list[Attempt] = []
        feedback = ""
        observation = ""
        since, self._seen[player] = self._seen[player], len(self.events)
        heard = self._speakers(player, since or 0)
        while True:
            view = View(self, player, role, number, len(attempts), feedback, since)
            if recorded is not None:
                if recorded.player != player or len(attempts) >= len(recorded.attempts):
                    raise _mismatch(game, number)
                reply = recorded.attempts[len(attempts)].reply
                view.longest_thought = _recorded_limit(reply)
            else:
                _fit(view, self.seats[player])
                reply = await self.seats[player].act(view)
                if view.longest_thought < LONGEST_THOUGHT:
                    reply = dataclasses.replace(reply, info={**(reply.info or {}), LIMIT: view.longest_thought})
                if isinstance(reply.content, str) and (content := well_formed(reply.content)) != reply.content:
                    reply = dataclasses.replace(reply, content=content)
            if self.record and not attempts:
                observation = view.observation()
            thought, action, status, reason = self._judge(player, reply, apply)
            attempts.append(Attempt(reply, status, reason, thought))
            policy: OnFailure | None = None if status == "ok" else getattr(rules, status)
            if policy is None or len(attempts) > policy.reasks:
                substituted = policy is not None and policy.then == "random"
                if substituted:
                    action = game.sample_action(player, Dice(derive(self.seed or 0, "substitute", number, player)))
                    if apply:
                        game.apply(player, action)
                if recorded is not None and (len(attempts), action) != (len(recorded.attempts), recorded.action):
                    raise _mismatch(game, number)
                return Turn(number, player, role, observation, tuple(attempts), action, substituted, heard=heard)
            feedback = f"Your reply was {status}: {reason}"

    def _judge(self, player: int, reply: Reply, apply: bool) -> tuple[str, Action | None, Status, str]:
        """Return (thought, action, status, reason); with ``apply`` an accepted action has been played."""
        game = self.game
        thought = ""
        action: Action = reply.content
        try:
            if isinstance(action, str):
                thought, spoken, closed = split_thought(game.begun(player) + action, self.rules.thought)
                if reply.truncated and not (self.rules.accept_cut and closed):
                    return thought, None, "truncated", "it was cut off by the token limit; answer more briefly."
                if not closed:
                    return (
                        thought,
                        None,
                        "unparsable",
                        f"the thought was never closed; end it with {self.rules.thought[1]}.",
                    )
                try:
                    action = game.parse(player, spoken)
                except UnparsableAction:
                    if reply.truncated:
                        return thought, None, "truncated", "it was cut off by the token limit; answer more briefly."
                    raise
            elif part_kind(action) not in game.facts.actions:
                wanted = " or ".join(game.facts.actions)
                raise UnparsableAction(f"the action is of kind {part_kind(action)}, but {game.id} takes {wanted}.")
            if apply:
                game.apply(player, action)
            else:
                game.check(player, action)
        except UnparsableAction as error:
            return thought, None, "unparsable", error.reason
        except IllegalAction as error:
            return thought, None, "illegal", error.reason
        return thought, action, "ok", ""

    def _finish(self, turn: Turn, *, applied: bool, leaving: Sequence[int]) -> None:
        """Apply what is not applied yet, make thoughts and events visible, record the turn.

        Players who forfeit leave with the last turn of those who move at once, because the others chose before.
        """
        if turn.action is not None and not applied:
            self.game.apply(turn.player, turn.action)
        for player in leaving:
            if self._forfeited_by is None and not self.game.withdraw(player):
                self._forfeited_by = player
        thought = turn.attempts[-1].thought if turn.attempts else ""
        if thought and (audience := self._audience(turn.player)) != ():
            self.events.append(Event("thought", thought, turn.player, audience))
        if turn.substituted:
            # In a game with secrets that somebody has acted may be one, as in a night of Mafia.
            to = None if self.game.facts.information == "perfect" else (turn.player,)
            self.events.append(Event("admin", f"Player {turn.player + 1}'s action was chosen at random for it.", to=to))
        self._collect_events()
        if self.record:
            turn = dataclasses.replace(turn, state_hash=self.game.state_hash())
        self.turns.append(turn)
        if self.recorder is not None:
            self.recorder.turn(turn)

    def _audience(self, player: int) -> tuple[int, ...] | None:
        """Return who else reads the player's thoughts; None for everybody, () for nobody."""
        match self.rules.visibility:
            case "private":
                return ()
            case "public":
                return None
            case "team":
                mates = range(self.game.facts.players)
                return tuple(
                    mate for mate in mates if mate != player and self.game.team(mate) == self.game.team(player)
                )
            case "monitor":
                return tuple(monitor for monitor in self.rules.monitors if monitor != player)

    def _collect_events(self) -> None:
        log = self.game.log
        if len(log) > self._game_events:
            self.events += log[self._game_events :]
            self._game_events = len(log)

    def stopped(self) -> Episode:
        """Return what was played as an unfinished episode, after `play` was ended by an error of a seat."""
        return self._episode("unfinished")

    def _episode(self, outcome: Outcome) -> Episode:
        game = self.game
        returns: tuple[float, ...] | None = None
        if outcome == "finished":
            returns = tuple(map(float, game.returns()))
        elif self._forfeited_by is not None:
            returns = forfeited_returns(game, self._forfeited_by, self.turns)
        if returns is not None and self.rules.talked_out == "void":
            returns = without_talked_out(game, returns, self.turns)
        return Episode(
            game=game.id,
            version=game.version,
            options=game.options_json(),
            seed=game.seed,
            rules=self.rules.to_json(),
            seats=tuple(well_formed(seat.name) for seat in self.seats),
            roles=tuple(game.role(player) for player in range(game.facts.players)),
            turns=tuple(self.turns),
            outcome=outcome,
            returns=returns,
            forfeited_by=self._forfeited_by,
            result=game.result() if outcome == "finished" else {},
            match_seed=self.seed,
        )

    def events_for(self, player: int, since: int, longest_thought: int = LONGEST_THOUGHT) -> list[Event]:
        """Return the events from number ``since`` on that ``player`` may see, without those it caused itself."""
        return [
            shortened(event, longest_thought) if event.kind == "thought" else event
            for event in self.events[since:]
            if event.source != player and event.visible_to(player)
        ]

    def _speakers(self, player: int, since: int) -> tuple[int, ...]:
        """Return whose messages ``player`` may see among the events from number ``since`` on."""
        heard = {event.source for event in self.events_for(player, since) if event.kind == "message"}
        return tuple(sorted(source for source in heard if source is not None))

    def unseen(self, player: int) -> list[Event]:
        """Return the events that ``player`` may see and that came after it was last asked."""
        return self.events_for(player, self._seen[player] or 0)


def forfeited_returns(game: Game, player: int, turns: Sequence[Turn]) -> tuple[float, ...]:
    """Return what everybody gets where the forfeit of ``player`` ended the game.

    Others may have forfeited at the same moment; they stand behind it in ``turns``. Then everybody gets the least of
    what these forfeits give, or their mean where the sum is fixed, so that nobody wins by the order of seats.
    """
    first = max(number for number, turn in enumerate(turns) if turn.player == player and turn.action is None)
    each = [game.forfeit(turn.player) for turn in turns[first:] if turn.action is None]
    shared = game.facts.utility in ("zero_sum", "constant_sum")
    return tuple(float(fmean(given) if shared else min(given)) for given in zip(*each, strict=True))


def without_talked_out(game: Game, returns: tuple[float, ...], turns: Sequence[Turn]) -> tuple[float, ...]:
    """Return what is left to those whose messages came just before an opponent's forfeit; `MatchRules.talked_out`."""
    talkers = {
        seat
        for turn in turns
        if turn.action is None
        for seat in turn.heard
        if game.team(seat) != game.team(turn.player)
    }
    return tuple(min(value, 0.0) if seat in talkers else value for seat, value in enumerate(returns))


def _fit(view: View, seat: Seat) -> None:
    """Leave out of others' thoughts what the seat says it cannot take."""
    can_read = getattr(seat, "can_read", None)
    if can_read is not None and any(event.kind == "thought" for event in view.new_events()):
        while not can_read(view.opening()) and view.shorten_thoughts():
            pass


def _recorded_limit(reply: Reply) -> int:
    """Return how much of others' thoughts was shown before a recorded reply."""
    limit = (reply.info or {}).get(LIMIT)
    return limit if isinstance(limit, int) and 0 <= limit <= LONGEST_THOUGHT else LONGEST_THOUGHT


async def _gather(asking: Sequence[Coroutine[Any, Any, Turn]]) -> list[Turn]:
    """Await all; if one raises, stop the others first, because their seats are about to be closed."""
    tasks = [asyncio.ensure_future(one) for one in asking]
    try:
        return list(await asyncio.gather(*tasks))
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _mismatch(game: Game, number: int) -> ReplayMismatch:
    return ReplayMismatch(
        number,
        f"turn {number + 1}: the recorded replies are not those that {game.id} version {game.version} asks for now; "
        f"go on from turn {number} or earlier, or install the release that recorded them.",
    )


def play(game: Game, seats: Sequence[Seat], rules: MatchRules | None = None, **options: Any) -> Episode:
    """Play one match from ordinary code and return its episode; arguments as for `Match`.

    Without ``rules``, who reads thoughts is the game's own rule.
    """
    return run(Match(game, seats, rules or MatchRules(visibility=visibility_of(game.id)), **options).play())


def run(coroutine: Coroutine[Any, Any, Result]) -> Result:
    """Return a coroutine's result; where a loop is running already, as in a notebook, on a thread of its own."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    with ThreadPoolExecutor(1) as thread:
        return thread.submit(asyncio.run, coroutine).result()


__all__ = ["Match", "MatchRules", "OnFailure", "Recorder", "play", "render", "split_thought"]
