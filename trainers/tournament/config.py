"""The configuration of a tournament, typed and checked before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from palaestra.envs.options import refuse_reserved
from palaestra.trainers.config import ReplySection, RulesSection
from palaestra.trainers.config_file import Section, load

NAME = r"^[A-Za-z0-9][A-Za-z0-9._:-]*$"


class TableSection(Section):
    """One game of the tournament."""

    game: str
    """Registered name; `palaestra envs` lists them."""
    options: dict[str, Any] = Field(default_factory=dict)
    """The game's own options."""
    rules: RulesSection = RulesSection()
    reply: ReplySection = ReplySection()
    weight: float = Field(1.0, gt=0)
    """Weight of the table in the joint rating; within a table all games count the same."""
    entrants: list[str] | None = None
    """Who plays here; null for everybody."""
    fixed_seats: dict[Annotated[int, Field(ge=1)], str] = Field(default_factory=dict)
    """Seats, counted from 1, that are always held by somebody who is not rated, such as the judges of a contest."""
    unchecked: bool = False
    """Whether models may paraphrase or monitor without passing their own check (`palaestra.trainers.availability`)."""
    groups: int | None = Field(None, ge=1)
    """Groups of this table for each line-up; null for the tournament's."""

    @model_validator(mode="after")
    def _options_are_the_games(self) -> TableSection:
        refuse_reserved(self.options, self.game)
        return self


class StopSection(Section):
    """When the order is clear enough to stop."""

    confidence: float = Field(0.0, ge=0, lt=1)
    """Stop when the order of neighbours in the standings is decided with this confidence; 0 to play everything. The
    test may be looked at after every round: its error holds for all rounds together."""
    min_groups: int = Field(4, ge=1)
    """Rounds that are played in any case."""


class TournamentResources(Section):
    """Where the games are played."""

    workers: int = Field(2, ge=0)
    """Ray processes that play; 0 plays in this one."""
    cpus_per_worker: float = Field(1, ge=0)
    gpus_per_worker: float = Field(0, ge=0)
    address: str | None = None
    """Address of a Ray cluster; null starts one on this machine."""
    concurrent_games: int = Field(16, ge=1)
    """Games that one worker plays at once."""
    timeout_s: float = Field(3600, gt=0)
    """A game that takes longer is recorded as failed."""


class TournamentConfig(Section):
    """A tournament."""

    name: str = Field("tournament", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """Its name in the history; a folder ``runs/NAME`` is made for it."""
    seed: int = Field(0, ge=0)
    """Fixes chance, line-ups and sampling."""
    format: Literal["round_robin", "swiss", "gauntlet"] = "round_robin"
    """Everybody meets everybody; or, in rounds, whoever stands next; or ``challengers`` meet all others, who do not
    meet each other."""
    entrants: Annotated[dict[Annotated[str, Field(pattern=NAME)], str], Field(min_length=2)]
    """A name for each, and its seat as `palaestra play` takes it; a server's seat is ``server:URL;model=NAME``."""
    challengers: list[str] = Field(default_factory=list)
    """Who is measured against the others in a gauntlet."""
    tables: Annotated[list[TableSection], Field(min_length=1)]
    groups: int = Field(16, ge=1)
    """Groups for each line-up at each table; in the Swiss format, rounds."""
    stop: StopSection = StopSection()
    resources: TournamentResources = TournamentResources()
    replays: Literal["all", "none"] = "all"
    """Whether every game is kept as a replay."""
    store: str | None = None
    """SQLite file for history and ratings; null for ``arena.sqlite`` in the tournament's folder."""

    @model_validator(mode="after")
    def _names_are_known(self) -> TournamentConfig:
        if self.format == "gauntlet" and not self.challengers:
            raise ValueError("challengers: a gauntlet needs at least one; the other entrants are the pool")
        if self.format != "gauntlet" and self.challengers:
            raise ValueError("challengers: only a gauntlet has them; set format: gauntlet")
        for where, names in [("challengers", self.challengers)] + [
            (f"tables.{number}.entrants", table.entrants or []) for number, table in enumerate(self.tables)
        ]:
            if unknown := [name for name in names if name not in self.entrants]:
                raise ValueError(f"{where}: {unknown[0]!r} is no entrant; entrants are {', '.join(self.entrants)}")
        if len(self.challengers) == len(self.entrants):
            raise ValueError("challengers: nobody is left for the pool")
        return self

    def at_table(self, number: int) -> list[str]:
        """Return the names of those who play at a table, in the order of ``entrants``."""
        chosen = self.tables[number].entrants
        return [name for name in self.entrants if chosen is None or name in chosen]

    def label(self, number: int) -> str:
        """Return a table's name: the game's, with a number where a game has several tables."""
        games = [table.game for table in self.tables]
        game = games[number]
        return game if games.count(game) == 1 else f"{game} {games[: number + 1].count(game)}"


def load_tournament(path: str | Path, overrides: Any = ()) -> TournamentConfig:
    """Read a YAML file and apply ``a.b=c`` overrides; errors as for `palaestra.trainers.config_file.load`."""
    return load(TournamentConfig, path, overrides)
