"""What the clauses share: the examination under way, its report, and a `look` at everything a game shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any, NoReturn

from palaestra.envs.errors import ContractError
from palaestra.envs.game import Game

CLAUSES = (
    "json",
    "facts",
    "reading",
    "text",
    "clone",
    "actions",
    "refusal",
    "simultaneity",
    "voice",
    "chance",
    "returns",
    "withdrawal",
    "length",
    "determinism",
    "information",
    "privacy",
    "interleaving",
    "replay",
)

Look = dict[str, str]
"""Everything a game shows, by name; see `look`."""


@dataclass
class Report:
    """How much was examined.

    Attributes:
        finished: Games played to their end, of ``turns`` actions together.
        positions: Positions looked at in full.
        accepted, refused: Actions that were tried and, rightly, accepted or refused.
        clones: Copies compared with their original.
        choices: Times when several players were to move at once.
        speeches: Texts of players that reached another player, looked at for forged lines.
        withdrawals: Times when a player left and the others played on to the end.
    compared: Pairs of different states that a player could not, and was not able to, tell apart.
        interleaved, replays: Matches compared for the clauses of that name.
        longest_observation: Most characters any player was shown at once.
        notes: What is lawful but odd.
    """

    game: str
    clauses: tuple[str, ...]
    finished: int = 0
    turns: int = 0
    positions: int = 0
    accepted: int = 0
    refused: int = 0
    clones: int = 0
    choices: int = 0
    speeches: int = 0
    withdrawals: int = 0
    compared: int = 0
    interleaved: int = 0
    replays: int = 0
    longest_observation: int = 0
    notes: list[str] = field(default_factory=list)


@dataclass
class Examination:
    """One game with its options, the clauses to examine, and the report so far."""

    factory: Callable[..., Game]
    options: dict[str, Any]
    clauses: frozenset[str]
    report: Report = field(init=False)

    def __post_init__(self) -> None:
        self.report = Report(self.make(0).id, tuple(clause for clause in CLAUSES if clause in self.clauses))

    def make(self, seed: int) -> Game:
        """Return a fresh game."""
        return self.factory(seed=seed, **self.options)

    def breach(self, clause: str, where: str, message: str) -> NoReturn:
        """Raise the clause's error."""
        raise ContractError(clause, f"{self.report.game}, {where}: {message}")


def canonical(data: Any) -> str:
    """Return data as text that is equal if and only if the data is."""
    return json.dumps(data, sort_keys=True, default=repr)


def information_state(game: Game, player: int) -> Any:
    """Return the game's word for all that a player may know; None if the game does not give it."""
    name = getattr(game, "information_state", None)
    return (game.knowledge(player) or None) if name is None else name(player)


def look(game: Game) -> Look:
    """Return everything a game shows anybody, the state and the randomness to come, as text by name."""
    seen = {
        "state": canonical(game.state()),
        "state hash": game.state_hash(),
        "dice": f"{game.dice.seed}:{game.dice.count}",
        "facts": repr(game.facts),
        "options": canonical(game.options_json()),
        "log": canonical([len(game.log), [event.to_json() for event in game.log[-6:]]]),
        "players to move": repr(game.players_to_move()),
    }
    for player in range(game.facts.players):
        seen[f"prompt of player {player + 1}"] = game.prompt(player)
        seen[f"recap of player {player + 1}"] = game.recap(player)
        seen[f"board of player {player + 1}"] = game.board(player)
        seen[f"observation of player {player + 1}"] = game.observation(player)
        seen[f"role of player {player + 1}"] = game.role(player)
        seen[f"team of player {player + 1}"] = repr(game.team(player))
        seen[f"knowledge of player {player + 1}"] = canonical(game.knowledge(player))
        seen[f"information state of player {player + 1}"] = canonical(information_state(game, player))
    for player in game.players_to_move():
        seen[f"legal actions of player {player + 1}"] = canonical(list(game.legal_actions(player)))
        seen[f"action words of player {player + 1}"] = canonical(list(game.action_words(player)))
    if game.is_over():
        seen["returns"], seen["result"] = repr(game.returns()), canonical(game.result())
    else:
        seen["returns after a forfeit"] = repr([game.forfeit(player) for player in range(game.facts.players)])
    return seen


def difference(one: Look, other: Look) -> str:
    """Return the first thing that two looks differ in, with both values; empty if there is none."""
    for name in [*one, *(other.keys() - one.keys())]:
        if one.get(name) != other.get(name):
            return f"the {name} was {one.get(name)!s:.300}, then {other.get(name)!s:.300}"
    return ""


def some(items: Iterable[Any], most: int, pick: Callable[[int], int]) -> list[Any]:
    """Return at most ``most`` of the items; ``pick(n)`` draws from ``range(n)``."""
    left = list(items)
    while len(left) > most:
        left.pop(pick(len(left)))
    return left
