"""Matrix games: both choose at once, and a table says what each gets; once, or round after round.

The table is one of those below, or one's own: a line (or ``/``) for each choice of the first player, and in it, for
each choice of the second, what both get: ``3,3 0,5 / 5,0 1,1`` is the prisoner's dilemma. The row player is Player 1.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, NamedTuple, Self

from palaestra.envs.game import Game, GameFacts
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice

KNOWN: Mapping[str, tuple[str, tuple[str, ...]]] = {
    "matching_pennies": ("1,-1 -1,1 / -1,1 1,-1", ("heads", "tails")),
    "rock_paper_scissors": ("0,0 -1,1 1,-1 / 1,-1 0,0 -1,1 / -1,1 1,-1 0,0", ("rock", "paper", "scissors")),
    "prisoners_dilemma": ("3,3 0,5 / 5,0 1,1", ("cooperate", "defect")),
    "stag_hunt": ("4,4 0,3 / 3,0 3,3", ("stag", "hare")),
    "chicken": ("0,0 -1,1 / 1,-1 -9,-9", ("swerve", "straight")),
    "battle_of_the_sexes": ("3,2 0,0 / 0,0 2,3", ("opera", "boxing")),
    "coordination": ("1,1 0,0 / 0,0 1,1", ("left", "right")),
}
RECAP_ROUNDS = 10
MOST_CHOICES = 12


@dataclass(frozen=True)
class MatrixOptions:
    """The table, and how often it is played.

    Attributes:
        payoffs: The name of a table, or a table of one's own.
        actions: What the choices are called, the same for both players; of a table of one's own ``A``, ``B``, ...
        rounds: How often it is played; returns add up.
    """

    payoffs: str = "matching_pennies"
    actions: tuple[str, ...] = ()
    rounds: int = 1

    def __post_init__(self) -> None:
        if not 1 <= self.rounds <= 1000:
            raise ValueError(f"rounds is {self.rounds}, expected 1 to 1000")
        read_table(self.payoffs, self.actions)


class Table(NamedTuple):
    """A table: ``cells[row][column]`` is what Player 1 and Player 2 get."""

    actions: tuple[str, ...]
    cells: tuple[tuple[tuple[float, float], ...], ...]

    @property
    def utility(self) -> Literal["zero_sum", "constant_sum", "general_sum", "identical"]:
        """Return how the two payoffs hang together in all cells."""
        flat = [cell for row in self.cells for cell in row]
        if all(one == other for one, other in flat):
            return "identical"
        sums = {one + other for one, other in flat}
        return "general_sum" if len(sums) > 1 else "zero_sum" if sums == {0.0} else "constant_sum"


@lru_cache(maxsize=64)
def read_table(payoffs: str, actions: tuple[str, ...] = ()) -> Table:
    """Return a table by its name, or the one that a text writes out.

    Raises:
        ValueError: It is neither; the message says what is wrong.
    """
    text, names = KNOWN.get(payoffs, (payoffs, ()))
    rows = [row.split() for row in re.split(r"[/\n]", text) if row.strip()]
    size = len(rows)
    if not 2 <= size <= MOST_CHOICES or any(len(row) != size for row in rows):
        known = ", ".join(KNOWN)
        raise ValueError(
            f"payoffs {payoffs!r:.60} is no table: give {known}, or as many cells in each row as there are rows, "
            "2 to 12, such as '3,3 0,5 / 5,0 1,1'"
        )
    cells = tuple(tuple(_cell(cell) for cell in row) for row in rows)
    called = actions or names or tuple("ABCDEFGHIJKL"[:size])
    if len(called) != size or len({name.lower() for name in called}) != size:
        raise ValueError(f"actions are {', '.join(called)}, expected {size} different names")
    if bad := [name for name in called if not re.fullmatch(r"[A-Za-z][\w-]{0,19}", name)]:
        raise ValueError(f"{bad[0]!r} cannot name an action; use one word of up to 20 letters")
    return Table(called, cells)


def _cell(text: str) -> tuple[float, float]:
    try:
        one, other = map(float, text.split(","))
    except ValueError:
        raise ValueError(f"the cell {text!r:.40} is no pair of numbers, such as 3,-1") from None
    if not all(math.isfinite(value) and abs(value) <= 1e6 for value in (one, other)):
        raise ValueError(f"the cell {text!r:.40} has no bounds; numbers from -1e6 to 1e6 are allowed")
    return one, other


class MatrixGame(Game):
    """Player 0 chooses the row, player 1 the column."""

    id = "matrix_game"
    summary = "two choose at once from a table, such as matching pennies or the prisoner's dilemma"
    Options = MatrixOptions

    table: Table
    history: tuple[tuple[int, int], ...]
    """Choices of each round that is over."""
    chosen: Mapping[int, int]
    """Choices of this round, not yet disclosed."""

    @property
    def facts(self) -> GameFacts:
        return self._facts

    def setup(self) -> None:
        options: MatrixOptions = self.options
        self.table = read_table(options.payoffs, options.actions)
        self.history, self.chosen = (), {}
        values = [value for row in self.table.cells for cell in row for value in cell]
        longest = max(map(len, self.table.actions))
        size = len(self.table.actions)
        self._facts = GameFacts(
            players=2,
            min_return=min(values) * options.rounds,
            max_return=max(values) * options.rounds,
            max_turns=2 * options.rounds,
            max_observation_chars=500 + size * size * (2 * longest + 50) + RECAP_ROUNDS * (2 * longest + 60),
            roles=("row", "column"),
            simultaneous=True,
            utility=self.table.utility,
        )

    def players_to_move(self) -> tuple[int, ...]:
        if len(self.history) >= self.options.rounds:
            return ()
        return tuple(player for player in (0, 1) if player not in self.chosen)

    def prompt(self, player: int) -> str:
        rounds = self.options.rounds
        often = "once" if rounds == 1 else f"{rounds} times, and scores add up"
        lines = [
            f"You and another player each choose one of {', '.join(self.table.actions)} at the same time, {often}. You "
            f"are Player {player + 1}. Your choice, the other's choice: your score, the other's score."
        ]
        for mine, own in enumerate(self.table.actions):
            for theirs, other in enumerate(self.table.actions):
                row, column = (mine, theirs) if player == 0 else (theirs, mine)
                cell = self.table.cells[row][column]
                lines.append(f"{own}, {other}: {cell[player]:g}, {cell[1 - player]:g}")
        lines.append("Answer with your choice; the last one in your answer counts.")
        return "\n".join(lines)

    def recap(self, player: int) -> str:
        first = max(0, len(self.history) - RECAP_ROUNDS)
        return "\n".join(self._told(number) for number in range(first, len(self.history)))

    def _told(self, number: int) -> str:
        one, other = (self.table.actions[choice] for choice in self.history[number])
        return f"Round {number + 1}: Player 1 {one}, Player 2 {other}."

    def board(self, player: int) -> str:
        number = min(len(self.history) + 1, self.options.rounds)
        return f"Round {number} of {self.options.rounds}. Your score so far: {self.returns()[player]:g}."

    def legal_actions(self, player: int) -> Sequence[str]:
        return self.table.actions

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return the player's number, its own choice if it has chosen, and the rounds that are over."""
        own = self.chosen.get(player)
        return {"player": player, "chosen": own, "history": [list(choices) for choices in self.history]}

    def _redeal(self, player: int, dice: Dice) -> None:
        """Let the other choose again."""
        self.chosen = {one: choice for one, choice in self.chosen.items() if one == player}

    def _deal_as(self, world: Self) -> None:
        """Change nothing: only what is chosen at the same time is hidden."""

    def _apply(self, player: int, action: Action) -> None:
        self.chosen = {**self.chosen, player: self.table.actions.index(str(action))}
        if len(self.chosen) == 2:
            self.history = (*self.history, (self.chosen[0], self.chosen[1]))
            self.chosen = {}
            self.emit("move", self._told(len(self.history) - 1))

    def returns(self) -> tuple[float, ...]:
        cells = [self.table.cells[row][column] for row, column in self.history]
        return (math.fsum(cell[0] for cell in cells), math.fsum(cell[1] for cell in cells))

    def result(self) -> dict[str, Any]:
        """Return the choices of every round, and how often each player made each choice."""
        names = self.table.actions
        played = [[names[choice] for choice in choices] for choices in self.history]
        count = max(1, len(played))
        return {
            "choices": played,
            "frequency": [
                {name: sum(one[player] == name for one in played) / count for name in names} for player in (0, 1)
            ],
        }

    def state(self) -> dict[str, Any]:
        return {"history": self.history, "chosen": sorted(self.chosen.items())}

    def _clone_state_into(self, twin: Self) -> None:
        """Everything is immutable or replaced as a whole, so a shallow copy is a copy."""
