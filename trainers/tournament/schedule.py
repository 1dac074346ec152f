"""Which games are to be played: pure functions of the configuration and, in the Swiss format, of the results so far.

A tournament goes in *rounds*. A round has one group for each line-up at each table, so that after any round everybody
has had the same. A *line-up* is a tuple of entrants in seat order; the games of its group turn it round, so that every
entrant of the line-up sits in every seat once, in a game with the same chance.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from palaestra.envs import make
from palaestra.envs.seeding import Dice, derive
from palaestra.trainers.tournament.config import TournamentConfig


@dataclass(frozen=True, slots=True)
class Fixture:
    """One game to play, fixed to the last seed; ``id`` is its name in the history.

    Attributes:
        group: Games with the same group share their chance and are not independent.
        lineup: The entrant in each seat that is not fixed.
        seed: Seed of the game's chance, the same for the whole group.
        match_seed: Seed of the seats; the same for the whole group, too.
    """

    id: str
    table: int
    round: int
    group: str
    lineup: tuple[str, ...]
    seed: int
    match_seed: int


@dataclass(frozen=True, slots=True)
class SoFar:
    """What the Swiss format pairs by, at one table.

    Attributes:
        points: Each entrant's points from comparisons with others, each game worth 1.
        games: Games that each has played.
        met: How many games any two have played at the same table.
    """

    points: Mapping[str, float] = field(default_factory=dict)
    games: Mapping[str, int] = field(default_factory=dict)
    met: Mapping[frozenset[str], int] = field(default_factory=dict)

    def rate(self, name: str) -> float:
        """Return an entrant's points a game; one half for who has not played, as after a draw."""
        played = self.games.get(name, 0)
        return self.points.get(name, 0.0) / played if played else 0.5


def so_far(lineups: Iterable[Sequence[str]], points: Mapping[str, float]) -> SoFar:
    """Return the results of games with these line-ups and points."""
    games: Counter[str] = Counter()
    met: Counter[frozenset[str]] = Counter()
    for lineup in lineups:
        names = sorted(set(lineup))
        games.update(names)
        met.update(map(frozenset, combinations(names, 2)))
    return SoFar(points, games, met)


def players_at(config: TournamentConfig, table: int) -> int:
    """Return how many seats of a table are the entrants'."""
    section = config.tables[table]
    return make(section.game, **section.options).facts.players - len(section.fixed_seats)


def rounds(config: TournamentConfig) -> int:
    """Return how many rounds there are at most."""
    return max(table.groups or config.groups for table in config.tables)


def fixtures(config: TournamentConfig, number: int, results: Mapping[int, SoFar] | None = None) -> list[Fixture]:
    """Return the games of a round, counted from 0.

    Args:
        results: What has been played before this round, by table, which the Swiss format pairs by; nothing if None.
    """
    found: list[Fixture] = []
    for table, section in enumerate(config.tables):
        if number >= (section.groups or config.groups):
            continue
        players = players_at(config, table)
        for index, lineup in enumerate(_lineups(config, table, players, number, (results or {}).get(table, SoFar()))):
            group = f"{table}/{number}/{index}"
            # Chance depends on the round only, so that all line-ups of a round play the same cards.
            seed = derive(config.seed, "tournament", table, number)
            match_seed = derive(config.seed, "tournament-match", table, number, index)
            for turn in range(players):
                turned = lineup[turn:] + lineup[:turn]
                found.append(Fixture(f"{group}/{turn}", table, number, group, turned, seed, match_seed))
    return found


def _lineups(config: TournamentConfig, table: int, players: int, number: int, results: SoFar) -> list[tuple[str, ...]]:
    names = config.at_table(table)
    if len(names) < 2:
        return []
    if players == 1:
        return [(name,) for name in names]
    if config.format == "swiss":
        return _swiss(names, players, results, derive(config.seed, "swiss", table, number))
    if players > 2:
        return _mixed(config, names, players, derive(config.seed, "line-up", table, number))
    pairs = list(combinations(names, 2))
    if config.format == "gauntlet":
        pairs = [pair for pair in pairs if (pair[0] in config.challengers) != (pair[1] in config.challengers)]
    return [(one, other) for one, other in pairs]


def _mixed(config: TournamentConfig, names: list[str], players: int, seed: int) -> list[tuple[str, ...]]:
    """Deal the entrants to tables of many players: everybody as often as can be, in an order drawn anew each round.

    With more seats than entrants some sit several times. In a gauntlet every line-up has one challenger.
    """
    dice = Dice(seed)
    if config.format == "gauntlet":
        pool = [name for name in names if name not in config.challengers]
        found = []
        for challenger in (name for name in names if name in config.challengers):
            others = pool.copy()
            dice.shuffle(others)
            found.append((challenger, *_repeated(others, players - 1)))
        return found
    order = names.copy()
    dice.shuffle(order)
    if len(order) <= players:
        return [_repeated(order, players)]
    tables = -(-len(order) // players)
    circle = order + order
    starts = [index * len(order) // tables for index in range(tables)]
    return [tuple(circle[start : start + players]) for start in starts]


def _repeated(names: Sequence[str], count: int) -> tuple[str, ...]:
    return tuple(names[index % len(names)] for index in range(count))


def _swiss(names: list[str], players: int, results: SoFar, seed: int) -> list[tuple[str, ...]]:
    """Seat together who stands together; the first round is by lot.

    Who is left over has a free round: the last in the standings of those who have had fewest. Of two players each is
    given the nearest in the standings of those it has met least often.
    """
    order = names.copy()
    Dice(seed).shuffle(order)
    order.sort(key=lambda name: -results.rate(name))  # stable, so that equals stay in drawn order
    if len(order) < players:
        return [_repeated(order, players)]
    for _ in range(len(order) % players):
        most = max(results.games.get(name, 0) for name in order)
        order.remove(next(name for name in reversed(order) if results.games.get(name, 0) == most))
    if players > 2:
        return [tuple(order[start : start + players]) for start in range(0, len(order), players)]
    found: list[tuple[str, ...]] = []
    while order:
        first = order.pop(0)
        partner = min(order, key=lambda name: results.met.get(frozenset((first, name)), 0))
        order.remove(partner)
        found.append((first, partner))
    return found
