"""Nothing private reaches another seat unless a rule says so: thoughts, hands and roles, over every registered game.

Every reply carries a *canary* in its thought, a word that occurs nowhere else. Every seat keeps all it is ever shown,
as a growing context (`View.observation`), as an empty one (`View.snapshot`) and as events. Then each canary must have
reached exactly the seats that the visibility rule names.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest

from palaestra.envs import Game, MatchRules, OnFailure, Reply, View, make, play
from palaestra.envs.conformance import check_game
from palaestra.envs.registry import Visibility
from palaestra.envs.seeding import Dice, derive
from tests.envs.broken_games import Morra, Talk
from tests.envs.test_conformance import SMALLER
from tests.shipped import GAMES as GAMES_SHIPPED

CANARY = re.compile(r"canary-(\d+)-(\d+)-(\d+)")


class Thinker:
    """Thinks a canary in every reply, fails in every third of them, and keeps all it is shown."""

    name = "thinker"

    def __init__(self) -> None:
        self.shown: list[str] = []
        self.steps: dict[int, int] = {}
        """By turn, how many turns were over when this seat was asked: the same for all who move at once."""

    async def act(self, view: View) -> Reply:
        self.steps[view._number] = len(view._match.turns)
        self.shown += [view.observation(), view.snapshot(), repr(view.events()), repr(view.legal_actions())]
        canary = f"canary-{view.player}-{view._number}-{view.attempt}"
        if view.attempt == 0 and len(self.steps) % 3 == 0:
            return Reply(
                (f"<think>{canary}", f"<think>{canary}</think>?!")[view._number % 2], truncated=view._number % 4 == 1
            )
        action = view.sample_action()
        assert isinstance(action, str)
        return Reply((f"<think>{canary}</think>{action}", f"{canary}</think>\n{action}")[view._number % 2])


class TeamsOfTwo(Talk):
    """Four players, two teams."""

    id = "teams"

    @property
    def facts(self):  # type: ignore[no-untyped-def]
        from dataclasses import replace

        return replace(super().facts, players=4, max_turns=12, roles=("speaker",))

    def players_to_move(self) -> tuple[int, ...]:
        return (len(self.said) % 4,) if len(self.said) < 12 else ()

    def team(self, player: int) -> int:
        return player % 2


TOGETHER = [name for name in GAMES_SHIPPED if make(name).facts.players > 1]
"""Who plays alone has nobody to hide a thought from."""
UNHEARD = {"contest": ("one monitor",), "hindsight_bias": ("one monitor", "public")}
"""Games in which everybody speaks once, with the rules under which nobody is asked after a thought that it may read."""
GAMES: dict[str, Callable[[], Game]] = {
    name: lambda name=name: make(name, seed=5, **({"rounds": 3} if name == "matrix_game" else {})) for name in TOGETHER
}  # type: ignore[misc]
GAMES |= {"morra": Morra, "talk": Talk, "teams": TeamsOfTwo}
RULES: dict[str, tuple[Visibility, tuple[int, ...]]] = {
    "private": ("private", ()),
    "public": ("public", ()),
    "team": ("team", ()),
    "one monitor": ("monitor", (1,)),
    "no monitor": ("monitor", ()),
}


def audience(game: Game, rule: str, thinker: int) -> set[int]:
    """Who reads a player's thoughts besides itself, written out once more from the rules of conduct."""
    others = set(range(game.facts.players)) - {thinker}
    return {
        "private": set(),
        "public": others,
        "team": {other for other in others if game.team(other) == game.team(thinker)},
        "one monitor": others & {1},
        "no monitor": set(),
    }[rule]


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", GAMES)
def test_a_thought_reaches_exactly_the_seats_that_the_rule_names(name: str, rule: str) -> None:
    game = GAMES[name]()
    visibility, monitors = RULES[rule]
    again = OnFailure(3, "random")
    rules = MatchRules(visibility, monitors, max_turns=24, illegal=again, unparsable=again, truncated=again)
    seats = [Thinker() for _ in range(game.facts.players)]
    episode = play(game, seats, rules)
    thought = {(turn.player, turn.number, len(turn.attempts) - 1) for turn in episode.turns if not turn.substituted}
    somebody = False
    for reader, seat in enumerate(seats):
        found = {tuple(map(int, match)) for text in seat.shown for match in CANARY.findall(text)}
        last = max(seat.steps.values(), default=0)
        due = {
            (thinker, turn, attempt)
            for thinker, turn, attempt in thought
            if reader in audience(game, rule, thinker) and seats[thinker].steps[turn] < last
        }
        assert found == due, f"player {reader + 1} of {name}, thoughts {rule}"
        somebody = somebody or bool(due)
    readers = any(audience(game, rule, player) for player in range(game.facts.players))
    assert somebody == readers or rule in UNHEARD.get(name, ())


@pytest.mark.parametrize("rule", RULES)
@pytest.mark.parametrize("name", GAMES)
def test_what_one_player_thinks_changes_nothing_that_a_seat_without_the_right_is_shown(name: str, rule: str) -> None:
    """Play twice with the same actions and other thoughts; whoever may not read them must not see a difference."""

    class Silent:
        name = "silent"

        def __init__(self, mind: str) -> None:
            self.mind = mind
            self.shown: list[str] = []
            self.asked: list[int] = []

        async def act(self, view: View) -> Reply:
            self.shown += [view.observation(), view.snapshot()]
            self.asked.append(len(view._match.turns))
            action = game.sample_action(view.player, Dice(derive("same", view._number, view.player)))
            return Reply(f"<think>{self.mind}</think>{action}")

    visibility, monitors = RULES[rule]
    shown = []
    for mind in ("I hold nothing", "I hold everything\nPlayer 2 says: me too"):
        game = GAMES[name]()
        seats = [Silent(mind)] + [Silent("") for _ in range(1, game.facts.players)]
        play(game, seats, MatchRules(visibility, monitors, max_turns=20))
        shown.append([seat.shown for seat in seats])
    for reader in range(1, game.facts.players):
        asked_later = bool(seats[0].asked and seats[reader].asked and seats[reader].asked[-1] > seats[0].asked[0])
        reads = reader in audience(game, rule, 0) and asked_later
        assert (shown[0][reader] != shown[1][reader]) == reads


@pytest.mark.parametrize("name", [name for name in GAMES_SHIPPED if make(name).facts.information == "imperfect"])
def test_hands_and_values_stay_hidden_in_every_game_that_has_any(name: str) -> None:
    """By resampling: players who know the same are shown the same, however different the rest of the state is."""
    report = check_game(name, episodes=1, pairs=150, clauses=["privacy"], **SMALLER.get(name, {}))
    assert report.compared > 60
