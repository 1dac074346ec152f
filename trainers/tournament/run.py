"""A tournament from beginning to end: round after round, stopped when the order is clear, resumed where it was left."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from palaestra.agents import check_seat
from palaestra.agents.models.disk import replace_text
from palaestra.envs import make
from palaestra.trainers.availability import UnfitModel, require_fit
from palaestra.trainers.config_file import ConfigError
from palaestra.trainers.tasks import free_seats
from palaestra.trainers.tournament.config import TournamentConfig
from palaestra.trainers.tournament.play import Players, write_replay
from palaestra.trainers.tournament.ratings import comparisons
from palaestra.trainers.tournament.report import write_page
from palaestra.trainers.tournament.schedule import SoFar, fixtures, rounds, so_far
from palaestra.trainers.tournament.standings import Standing, standings
from palaestra.trainers.tournament.store import GameRecord, Store


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a tournament is; ``seconds_left`` is an estimate, None before there is one."""

    round: int
    rounds: int
    games: int
    failed: int
    seconds_left: float | None


def check(config: TournamentConfig) -> None:
    """Find wrong games, options and seats before anything starts.

    Raises:
        PalaestraError: The first fault.
    """
    for number, table in enumerate(config.tables):
        players = make(table.game, **table.options).facts.players
        if beyond := [seat for seat in table.fixed_seats if seat > players]:
            raise ConfigError(f"tables.{number}.fixed_seats: {table.game} has seats 1 to {players}, not {beyond[0]}.")
        for spec in table.fixed_seats.values():
            check_seat(spec, table.game, table.options)
        for name in config.at_table(number):
            check_seat(config.entrants[name], table.game, table.options)


def check_models(config: TournamentConfig) -> None:
    """Try the models that are to paraphrase or monitor; whoever plays for a rating sits in every seat that is free.

    Raises:
        UnfitModel: One of them is below the bar.
    """
    for number, table in enumerate(config.tables):
        if table.unchecked:
            continue
        fixed = [(seat - 1, spec) for seat, spec in table.fixed_seats.items()]
        free = free_seats(make(table.game, **table.options).facts.players, table.fixed_seats)
        rated = [(seat, config.entrants[name]) for seat in free for name in config.at_table(number)]
        try:
            require_fit(
                table.game,
                table.options,
                [*fixed, *rated],
                table.reply.settings(),
                unchecked_by=f"--set tables.{number}.unchecked=true",
            )
        except UnfitModel as error:
            raise UnfitModel(f"tables.{number}: {error}") from None  # fmt: skip


def hold(
    config: TournamentConfig,
    folder: str | Path,
    told: Callable[[Progress, Sequence[Standing]], None] = lambda progress, standing: None,
) -> list[Standing]:
    """Hold a tournament, or go on with it, and return the standings; everything is kept in ``folder`` and the store.

    Args:
        told: Called after every game with the progress, and with the standings after every round.

    Raises:
        PalaestraError: A wrong game or seat, a model that paraphrases or monitors and fails its own check, a store that
            cannot be written, a cluster that cannot be reached.
    """
    folder = Path(folder)
    check(config)
    check_models(config)
    folder.mkdir(parents=True, exist_ok=True)
    with Store(config.store or folder / "arena.sqlite") as store:
        store.begin(config.name, config.model_dump(mode="json", exclude={"resources", "store"}))
        replace_text(folder / "config.json", config.model_dump_json(indent=1))
        games = {game.id: game for game in store.games(config.name)}
        total, began, fresh = rounds(config), time.monotonic(), 0
        with Players(config) as players:
            for number in range(total):
                due = fixtures(config, number, _results(config, games.values(), number))
                left = [fixture for fixture in due if fixture.id not in games]
                for record, lines in players.play(left):
                    if lines and config.replays == "all":
                        record = replace(record, replay=write_replay(folder, record, lines))
                    store.add(config.name, record)
                    games[record.id] = record
                    fresh += 1
                    told(_progress(config, number, games, len(due), began, fresh), ())
                if not left and number + 1 < total and not _is_clear(config, games, number):
                    continue  # played before; the standings are told of once, at the first round that is new
                found = standings(config, games.values(), resamples=0)
                told(_progress(config, number, games, len(due), began, fresh), found)
                if _is_clear(config, games, number):
                    break
        found = standings(config, games.values())
        store.save_ratings(config.name, [row for standing in found for row in _rows(standing)])
    write_page(folder / "report.html", config, found)
    return found


def _results(config: TournamentConfig, games: Iterable[GameRecord], number: int) -> dict[int, SoFar]:
    """Return what was played before a round, by table; nothing where the format does not ask."""
    if config.format != "swiss":
        return {}
    found = {}
    for table in range(len(config.tables)):
        before = [game for game in games if game.round < number and game.label == config.label(table)]
        points: dict[str, float] = defaultdict(float)
        for one in comparisons(before):
            points[one.first] += one.score * one.weight
            points[one.second] += (1 - one.score) * one.weight
        found[table] = so_far(([seat.entrant for seat in game.seats] for game in before), points)
    return found


def _is_clear(config: TournamentConfig, games: dict[str, GameRecord], number: int) -> bool:
    """Return whether the order is decided after a round, so that the tournament may stop."""
    if not config.stop.confidence or number + 1 < config.stop.min_groups:
        return False
    first = standings(config, [game for game in games.values() if game.round <= number], resamples=0)[0]
    return all(first.decided.values())


def _progress(
    config: TournamentConfig, number: int, games: dict[str, GameRecord], due: int, began: float, fresh: int
) -> Progress:
    total = rounds(config)
    done = sum(game.round == number for game in games.values())
    left = (total - number - 1) * due + due - done
    rate = fresh / max(1e-9, time.monotonic() - began)
    failed = sum(game.outcome == "failed" for game in games.values())
    return Progress(number + 1, total, len(games), failed, left / rate if fresh else None)


def _rows(standing: Standing) -> list[tuple[str, str, str, float, float, float, int]]:
    rows = []
    for line in standing.lines:
        mu, sigma = line.skill
        rating = line.rating
        rows.append((standing.label, line.entrant, "bradley_terry", rating.mean, rating.low, rating.high, line.seats))
        rows.append((standing.label, line.entrant, "openskill", mu, mu - 1.96 * sigma, mu + 1.96 * sigma, line.seats))
    return rows
