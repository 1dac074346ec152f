"""What the bridge tests share: a simultaneous game, seats that misbehave, and a tally of verdicts."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import pytest

from palaestra.envs import Reply, View, registry
from palaestra.envs.bridges.stepper import Stepper, _Outside
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.match import Match

SIDES = ("heads", "tails")


class MatchingPennies(Game):
    """Three rounds; in each both show a side at once, and the first player wins 1 if they are equal, else loses."""

    id = "test/matching_pennies"
    summary = "simultaneous"

    @property
    def facts(self) -> GameFacts:
        return GameFacts(2, -3.0, 3.0, 6, 200, ("even", "odd"), simultaneous=True, information="imperfect")

    def setup(self) -> None:
        self.rounds: list[tuple[str, str]] = []
        self.shown: dict[int, str] = {}

    def players_to_move(self) -> tuple[int, ...]:
        if len(self.rounds) == 3:
            return ()
        return tuple(player for player in (0, 1) if player not in self.shown)

    def prompt(self, player: int) -> str:
        return f"Matching pennies. You are {self.role(player)}. Answer heads or tails."

    def board(self, player: int) -> str:
        return "Rounds so far: " + ("; ".join(" ".join(shown) for shown in self.rounds) or "none")

    def legal_actions(self, player: int) -> tuple[str, ...]:
        return SIDES

    def _apply(self, player: int, action: Any) -> None:
        self.shown[player] = action
        if len(self.shown) == 2:
            self.rounds.append((self.shown[0], self.shown[1]))
            self.shown = {}

    def returns(self) -> tuple[float, ...]:
        gain = float(sum(1 if first == second else -1 for first, second in self.rounds))
        return (gain, -gain)

    def state(self) -> dict[str, Any]:
        return {"rounds": self.rounds, "shown": sorted(self.shown.items())}


registry.register(MatchingPennies.id, MatchingPennies)

FAMILY_GAMES = [name for name in ("openspiel/leduc_poker", "openspiel/goofspiel") if "openspiel/" in registry._families]
"""One with chance and one with simultaneous moves stand for the games that are made on demand."""

GAMES = [*registry.game_ids(), *FAMILY_GAMES]
"""Every registered game, the simultaneous one of these tests included."""


class Slow:
    """Plays legal moves, but only after the event loop has turned a few times."""

    name = "slow"

    def __init__(self) -> None:
        self.closed = 0

    async def act(self, view: View) -> Reply:
        for _ in range(3):
            await asyncio.sleep(0)
        return Reply(view.sample_action())

    def close(self) -> None:
        self.closed += 1


class Mute:
    """Never says anything that could be an action."""

    name = "mute"

    async def act(self, view: View) -> Reply:
        return Reply("…")


@dataclass
class Tally:
    """Verdicts on the replies that came from outside, and how matches ended."""

    verdicts: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)

    def clear(self) -> None:
        self.verdicts.clear()
        self.outcomes.clear()

    def assert_played_to_natural_ends(self, at_least: int) -> None:
        assert self.verdicts["ok"] >= 0.9 * self.verdicts.total() > 0
        assert self.outcomes["finished"] >= at_least
        assert self.outcomes["forfeit"] == 0


@pytest.fixture
def tally(monkeypatch: pytest.MonkeyPatch) -> Tally:
    counts = Tally()
    judge, advance = Match._judge, Stepper._advance

    def counting_judge(match: Match, player: int, reply: Reply, apply: bool) -> Any:
        judged = judge(match, player, reply, apply)
        if isinstance(match.seats[player], _Outside):
            counts.verdicts[judged[2]] += 1
        return judged

    def counting_advance(stepper: Stepper) -> None:
        advance(stepper)
        if stepper.episode is not None:
            counts.outcomes[stepper.episode.outcome] += 1

    monkeypatch.setattr(Match, "_judge", counting_judge)
    monkeypatch.setattr(Stepper, "_advance", counting_advance)
    return counts
