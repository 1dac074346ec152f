"""Tasks: which matches are to be played, as plain data that the driver makes and any runner can play.

A *task* fixes everything about one match: game, options, seed, rules, who sits where with which policy version, and
where its replay goes. Tasks are pure functions of (run seed, iteration, episode number), so a new, a restarted and a
resumed runner play the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from palaestra.agents.engines.base import BASE
from palaestra.agents.language_model import ReplySettings
from palaestra.envs import Game, MatchRules, make
from palaestra.envs.documents.vocabulary import Thoughts
from palaestra.envs.episode import Episode
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice, derive
from palaestra.trainers.averages import policy_of
from palaestra.trainers.config import GameSection, RunConfig

SELF = "self"


@dataclass(frozen=True, slots=True)
class SeatPlan:
    """Who sits in one seat.

    Attributes:
        policy: A policy version of the runner's engine; None for a seat without the run's model.
        seat: Without a policy, a seat that `palaestra.agents.make_seat` makes, such as ``"random"``.
        trained: Whether this seat's tokens are trained on.
        thoughts: How it reads a document (`palaestra.agents.document_reader`).
    """

    policy: str | None = None
    seat: str = ""
    trained: bool = False
    thoughts: Thoughts = "drawn"


@dataclass(frozen=True, slots=True)
class Opening:
    """Where a match begins that does not begin at its start.

    Attributes:
        actions: (player, canonical action) of what was played before, in order.
        redeal: (player, seed): then all that this player cannot know is drawn anew (`Game.redealt`); None leaves the
            game as it was dealt.
        then: (player, canonical action) played after that.
    """

    actions: tuple[tuple[int, Action], ...] = ()
    redeal: tuple[int, int] | None = None
    then: tuple[tuple[int, Action], ...] = ()

    def of(self, game: Game) -> Game:
        """Return the game brought to where the match begins.

        Raises:
            IllegalAction: These actions were not played in this game.
            CannotRedeal: The game does not say how.
        """
        for player, action in self.actions:
            game.apply(player, action)
        if self.redeal is not None:
            player, seed = self.redeal
            game = game.redealt(player, Dice(seed))
        for player, action in self.then:
            game.apply(player, action)
        return game


@dataclass(frozen=True, slots=True)
class MatchTask:
    """One match to play; see the module docstring. ``index`` is unique in its batch; ``scorer`` and ``against`` say by
    whose log scores the thoughts in a document are paid (`palaestra.agents.document_reader`).

    A ``spare`` match, such as a review, may fail to fit a seat's model without its batch: then it ends there,
    unfinished.
    """

    index: int
    game_index: int
    game: str
    options: dict[str, Any]
    seed: int
    match_seed: int
    rules: MatchRules
    reply: ReplySettings
    seats: tuple[SeatPlan, ...]
    group: str = ""
    replay: str | None = None
    meta: dict[str, Any] = field(default_factory=dict)
    opening: Opening = Opening()
    scorer: str = "live"
    against: str = BASE
    spare: bool = False

    def begin(self) -> Game:
        """Return the game as the match begins."""
        return self.opening.of(make(self.game, seed=self.seed, **self.options))


@dataclass(frozen=True, slots=True)
class Played:
    """A task's episode, the seconds since its runner began, and whether its replay is on the driver's disk."""

    task: MatchTask
    episode: Episode
    seconds: float
    replay_written: bool


def games_of(config: RunConfig, iteration: int) -> list[int]:
    """Return the game index of every episode: shares by weight, rounded so that they add up (largest remainder)."""
    total = sum(section.weight for section in config.games)
    exact = [config.games_per_iteration * section.weight / total for section in config.games]
    counts = [int(value) for value in exact]
    rest = sorted(range(len(exact)), key=lambda index: (counts[index] - exact[index], (index + iteration) % len(exact)))
    for index in rest[: config.games_per_iteration - sum(counts)]:
        counts[index] += 1
    return [index for index, count in enumerate(counts) for _ in range(count)]


def training_tasks(config: RunConfig, iteration: int, versions: dict[str, str], replays: str | None) -> list[MatchTask]:
    """Return the matches of one iteration.

    Args:
        versions: Current policy version of each adapter.
        replays: Folder for replays, or None.
    """
    tasks = []
    seen: dict[int, int] = {}
    for index, game_index in enumerate(games_of(config, iteration)):
        section = config.games[game_index]
        nth = seen.get(game_index, 0)
        seen[game_index] = nth + 1
        start = derive(config.seed, "start", iteration, game_index, nth // section.group_size)
        episode = derive(config.seed, "episode", iteration, game_index, nth)
        seats = _seats(section, episode, versions[config.adapter_of(game_index)])
        if section.reads and (thoughts := _thoughts(config, game_index, iteration, nth)) != "drawn":
            seats = tuple(replace(plan, thoughts=thoughts if plan.trained else "drawn") for plan in seats)
        name = f"{iteration:05d}-{index:04d}.jsonl"
        tasks.append(
            MatchTask(
                index=index,
                game_index=game_index,
                game=section.game,
                options=section.options,
                seed=start,
                match_seed=episode,
                rules=section.rules.of(section.game),
                reply=section.reply.settings(),
                seats=seats,
                group=f"{game_index}/{nth // section.group_size}",
                replay=None if replays is None else f"{replays}/{name}",
                meta={"run": config.name, "iteration": iteration, "episode": index},
                scorer=section.reading.scorer,
                against=policy_of(game_index, iteration) if section.reading.scorer == "average" else BASE,
            )
        )
    return tasks


def _thoughts(config: RunConfig, game_index: int, iteration: int, nth: int) -> Thoughts:
    """Return how the nth document of an iteration is read: the first of a group without thoughts, and the last, if the
    document was chosen for it, with those that are shown."""
    section = config.games[game_index]
    group, place = divmod(nth, section.group_size)
    reading = section.reading
    if place == 0 and section.group_size > 1 and reading.empty:
        return "none"
    if place == section.group_size - 1 and iteration < reading.until * config.iterations:
        chosen = Dice(derive(config.seed, "shown", iteration, game_index, group)).random() < reading.shown
        return "worked" if chosen else "drawn"
    return "drawn"


def _seats(section: GameSection, seed: int, version: str) -> tuple[SeatPlan, ...]:
    """Draw the opponent; one seat, drawn too, is always the trained policy's."""
    players = make(section.game, **section.options).facts.players
    free = free_seats(players, section.fixed_seats)
    dice = Dice(derive(seed, "seats"))
    names = sorted(section.opponents)
    opponent = names[dice.weighted([section.opponents[name] for name in names])]
    own = free[dice.below(len(free))]
    current = SeatPlan(policy=version, trained=True)
    other = current if opponent == SELF else _plan(opponent)
    return _with_fixed(section, tuple(current if player == own else other for player in range(players)))


def free_seats(players: int, fixed: Mapping[int, str]) -> list[int]:
    """Return the seats, counted from 0, that nobody holds for good."""
    return [player for player in range(players) if player + 1 not in fixed]


def _plan(name: str) -> SeatPlan:
    return SeatPlan(policy=BASE) if name == BASE else SeatPlan(seat=name)


def _with_fixed(section: GameSection, seats: tuple[SeatPlan, ...]) -> tuple[SeatPlan, ...]:
    fixed = section.fixed_seats
    return tuple(_plan(fixed[seat + 1]) if seat + 1 in fixed else plan for seat, plan in enumerate(seats))


def evaluation_tasks(
    section: GameSection,
    *,
    game_index: int,
    pairs: int,
    seed: int,
    policy: str,
    opponent: str,
    replays: str | None = None,
    meta: dict[str, Any] | None = None,
) -> list[MatchTask]:
    """Return ``pairs`` × players matches: the policy sits once in every seat of each start state, with the same seeds
    and sampling.

    The seeds do not depend on ``policy``, so that two policies are measured on the same games.
    """
    players = make(section.game, **section.options).facts.players
    free = free_seats(players, section.fixed_seats)
    other = _plan(opponent)
    tasks: list[MatchTask] = []
    for pair in range(pairs):
        for own in free:
            index = len(tasks)
            plans = tuple(SeatPlan(policy=policy) if player == own else other for player in range(players))
            seats = _with_fixed(section, plans)
            tasks.append(
                MatchTask(
                    index=index,
                    game_index=game_index,
                    game=section.game,
                    options=section.options,
                    seed=derive(seed, "evaluation", game_index, pair),
                    match_seed=derive(seed, "evaluation-match", game_index, pair),
                    rules=section.rules.of(section.game),
                    reply=section.reply.settings(),
                    seats=seats,
                    group=f"pair-{pair}",
                    replay=None if replays is None else f"{replays}/{game_index}-{pair:04d}-{own}.jsonl",
                    meta={**(meta or {}), "pair": pair, "own_seat": own},
                    scorer="live" if section.reading.scorer == "average" else section.reading.scorer,
                )
            )
    return tasks


def split(tasks: Sequence[MatchTask], parts: int) -> list[list[MatchTask]]:
    """Deal tasks round to ``parts`` runners."""
    return [list(tasks[part::parts]) for part in range(parts)]
