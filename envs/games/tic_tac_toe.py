"""Tic-tac-toe: three in a row on nine squares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from palaestra.envs.errors import IllegalAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.parts import Action

MARKS = "XO"
SQUARES = tuple("123456789")
LINES = ((0, 1, 2), (3, 4, 5), (6, 7, 8), (0, 3, 6), (1, 4, 7), (2, 5, 8), (0, 4, 8), (2, 4, 6))

_FACTS = GameFacts(players=2, min_return=-1.0, max_return=1.0, max_turns=9, max_observation_chars=220, roles=("X", "O"))


@dataclass(frozen=True)
class TicTacToeOptions:
    """``view="grid"`` shows rules and a drawn board; ``"terse"`` one line such as ``X23O56789X`` (board, own mark)."""

    view: Literal["grid", "terse"] = "grid"


class TicTacToe(Game):
    """X moves first; squares are numbered 1 to 9, row by row. A win is worth +1, a loss -1, a draw 0."""

    id = "tic_tac_toe"
    summary = "three in a row on nine squares"
    Options = TicTacToeOptions

    squares: list[str]
    mover: int
    winner: int | None

    @property
    def facts(self) -> GameFacts:
        return _FACTS

    def setup(self) -> None:
        self.squares = ["."] * 9
        self.mover = 0
        self.winner = None

    def players_to_move(self) -> tuple[int, ...]:
        if self.winner is not None or "." not in self.squares:
            return ()
        return (self.mover,)

    def prompt(self, player: int) -> str:
        if self.options.view == "terse":
            return ""
        return f"Tic-tac-toe. You are {MARKS[player]}. Three in a row win. Answer with the number of a free square."

    def board(self, player: int) -> str:
        cells = [mark if mark != "." else str(index + 1) for index, mark in enumerate(self.squares)]
        if self.options.view == "terse":
            return "".join(cells) + MARKS[player]
        return "\n".join(" ".join(cells[row : row + 3]) for row in (0, 3, 6))

    def legal_actions(self, player: int) -> Sequence[str]:
        return [str(index + 1) for index, mark in enumerate(self.squares) if mark == "."]

    def action_words(self, player: int) -> Sequence[str]:
        return SQUARES

    def check(self, player: int, action: Action) -> None:
        if action not in SQUARES:
            raise IllegalAction(f"{action!r} is no square; squares are numbered 1 to 9.")
        if self.squares[int(str(action)) - 1] != ".":
            raise IllegalAction(f"square {action} is taken; free: {', '.join(self.legal_actions(player))}.")

    def _apply(self, player: int, action: Action) -> None:
        square = int(str(action)) - 1
        self.squares[square] = MARKS[player]
        if self.options.view == "grid":
            self.emit("move", f"{MARKS[player]} takes square {action}.", source=player)
        if any(square in line and all(self.squares[cell] == MARKS[player] for cell in line) for line in LINES):
            self.winner = player
        self.mover = 1 - player

    def returns(self) -> tuple[float, ...]:
        if self.winner is None:
            return (0.0, 0.0)
        return (1.0, -1.0) if self.winner == 0 else (-1.0, 1.0)

    def state(self) -> dict[str, Any]:
        return {"squares": "".join(self.squares), "mover": self.mover}

    def _clone_state_into(self, twin: Self) -> None:
        twin.squares = self.squares.copy()
