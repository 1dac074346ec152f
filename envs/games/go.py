"""Go on OpenSpiel's rules, 5 to 19 lines, coordinates as players write them.

Points are named by column letter, without I, and row from the bottom: ``A1`` is the lower left corner, ``T19`` the
upper right one of a full board. Black is player 0 and moves first; ``pass`` is always legal, suicide and retaking a ko
never.

The game ends after two passes in a row, after ``max_moves``, or when a whole-board position comes back: by default a
draw, as OpenSpiel has it; with ``superko="illegal"`` such a move may not be played (positional superko).

The score is a player's *area* by Tromp and Taylor's rules, its stones and the empty regions that touch no stone of the
other; dead stones stay where they are, so they must be captured before the passes. With ``scoring="chinese"`` dead
stones are taken off first, and with ``"japanese"`` territory and prisoners are counted in place of area; which stones
are dead is settled by play-outs (`palaestra.envs.games.go_board`). White gets the komi. A win is worth +1, a loss -1, a
draw 0. With a handicap Black's stones stand on the star points, and White moves first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import Any, Literal, Self, cast

import pyspiel

from palaestra.envs.errors import IllegalAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games.go_board import Board, dead_stones, handicap_points, territory
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice, derive

COLUMNS = "ABCDEFGHJKLMNOPQRST"
COLORS = ("Black", "White")
MARKS = "XO"
PASS = "pass"
MIN_SIZE, MAX_SIZE = 5, 19
SCORINGS = {
    "area": "Area scoring; dead stones count as alive, so capture them before you pass.",
    "chinese": "Area scoring; dead stones are removed at the end.",
    "japanese": "Territory scoring: surrounded points and prisoners; dead stones become prisoners at the end.",
}
FORBIDDEN_SHOWN = 24
"""Points named as not playable; late in a game there are many, all of them suicide."""


@dataclass(frozen=True)
class GoOptions:
    """Board, compensation and length.

    Attributes:
        size: Lines of the board.
        komi: Points that White gets for moving second; with half a point there is no draw on points.
        scoring: ``"area"`` with dead stones alive, ``"chinese"`` area without them, ``"japanese"`` territory.
        superko: What a move is that brings a whole-board position back: the end in a ``"draw"``, or ``"illegal"``.
        handicap: Black stones on the star points, 2 to 9 (4 on boards of 7 lines or an even number), or none.
        max_moves: Moves, passes included, after which the game is scored as it stands; None for twice the points of
            the board.
        view: ``"board"`` draws the board; ``"terse"`` is one line: rows from the top, the mover's mark, the last move,
            and after ``no`` the empty points that may not be played.
    """

    size: int = 9
    komi: float = 7.5
    scoring: Literal["area", "chinese", "japanese"] = "area"
    superko: Literal["draw", "illegal"] = "draw"
    handicap: int = 0
    max_moves: int | None = None
    view: Literal["board", "terse"] = "board"

    def __post_init__(self) -> None:
        if not MIN_SIZE <= self.size <= MAX_SIZE:
            raise ValueError(f"size is {self.size}, expected {MIN_SIZE} to {MAX_SIZE}")
        if abs(self.komi) > self.size**2:
            raise ValueError(f"komi is {self.komi:g}, more than the {self.size**2} points of the board")
        if self.max_moves is not None and not 1 <= self.max_moves <= 100_000:
            raise ValueError(f"max_moves is {self.max_moves}, expected 1 to 100000")
        if self.handicap:
            handicap_points(self.size, self.handicap)


class Go(Game):
    """Black (``X``) and White (``O``) in turn take a point or pass."""

    id = "go"
    summary = "Go on 5 to 19 lines, area or territory"
    Options = GoOptions

    position: Any
    """The `pyspiel.State`."""
    last: tuple[str, ...]
    """The last two actions, as the rule of two passes needs them."""
    played: tuple[int, int]
    """Stones put on the board by each player, from which captures follow."""
    before: frozenset[str]
    """The positions so far, where they may not come back."""

    @property
    def facts(self) -> GameFacts:
        return self._facts

    def setup(self) -> None:
        options: GoOptions = self.options
        self.points = points(options.size)
        self.max_moves = options.max_moves or 2 * options.size**2
        # To OpenSpiel a handicap is Black's moves between White's passes; they are no moves of the game.
        stones = handicap_points(options.size, options.handicap) if options.handicap else ()
        self._placed = max(0, 2 * len(stones) - 1)
        self.position = spiel_go(options.size, options.komi, self.max_moves + self._placed).new_initial_state()
        for number in range(self._placed):
            self.position.apply_action(options.size**2 if number % 2 else stones[number // 2])
        self.last = ()
        self.played = (len(stones), 0)
        self.before = frozenset()
        self._facts = _facts(options.size, self.max_moves, options.view)
        self._settle()

    def players_to_move(self) -> tuple[int, ...]:
        return self._movers

    def prompt(self, player: int) -> str:
        if self.options.view == "terse":
            return ""
        size = self.options.size
        handicap = f", handicap {self.options.handicap}" if self.options.handicap else ""
        repeated = "not allowed" if self.options.superko == "illegal" else "a draw"
        return (
            f"Go on {size} lines, komi {self.options.komi:g}{handicap}. You are {COLORS[player]} ({MARKS[player]}). "
            f"{SCORINGS[self.options.scoring]} "
            f"Two passes, or {self.max_moves} moves, end the game; a repeated position is {repeated}. "
            f"Answer with a free point such as {self.points[size + 2]}, or with pass; "
            "the last move in your answer counts."
        )

    def board(self, player: int) -> str:
        rows = self.rows()
        forbidden = self._forbidden(rows) if self._movers else []
        more = f" and {len(forbidden) - FORBIDDEN_SHOWN} more" if len(forbidden) > FORBIDDEN_SHOWN else ""
        named = " ".join(forbidden[:FORBIDDEN_SHOWN]) + more
        last = self.last[-1] if self.last else "-"
        mover = self.position.move_number() % 2
        if self.options.view == "terse":
            return f"{'/'.join(rows)} {MARKS[mover]} {last}{f' no {named}' if forbidden else ''}"
        lines = [f"{len(rows) - index:>2} {' '.join(row)}" for index, row in enumerate(rows)]
        lines.append("   " + " ".join(COLUMNS[: len(rows)]))
        stones = [sum(row.count(mark) for row in rows) for mark in MARKS]
        lines.append(
            f"Move {self.move_number() + 1}, {COLORS[mover]} to play. Last move: {last}. Captured stones: "
            f"{self.played[0] - stones[0]} of Black, {self.played[1] - stones[1]} of White."
        )
        if forbidden:
            lines.append(f"Free, but ko or suicide for {COLORS[mover]}: {named}")
        return "\n".join(lines)

    def legal_actions(self, player: int) -> Sequence[str]:
        points = self.points
        return [points[number] for number in self._numbers()]

    def action_words(self, player: int) -> Sequence[str]:
        return WORDS

    def check(self, player: int, action: Action) -> None:
        number = _numbers_by_name(self.options.size).get(cast(str, action))
        if number is not None and number in self._numbers():
            return
        if number is None:
            size = self.options.size
            outside = isinstance(action, str) and action in WORDS
            why = f"outside a board of {size} lines" if outside else "no move; name a point such as D4, or pass"
            raise IllegalAction(f"{action!r} is {why}.")
        row, column = divmod(number, self.options.size)
        taken = self.rows()[-1 - row][column] != "."
        why = "it is suicide, or retakes a ko"
        if self.options.superko == "illegal":
            why = "it is suicide, or brings a position back"
        raise IllegalAction(f"{action} is {'taken' if taken else f'not playable now: {why}'}.")

    def sample_action(self, player: int, dice: Dice) -> Action:
        return self.points[dice.choice(self._numbers())]

    def _apply(self, player: int, action: Action) -> None:
        name = cast(str, action)
        number = _numbers_by_name(self.options.size)[name]
        self.position.apply_action(number)
        self.last = (*self.last[-1:], name)
        if name != PASS:
            black, white = self.played
            self.played = (black + 1, white) if player == 0 else (black, white + 1)
        if self.options.view == "board":
            self.emit("move", f"{COLORS[player]} plays {name}.", source=player)
        self._settle()

    def _settle(self) -> None:
        position = self.position
        self._movers: tuple[int, ...] = () if position.is_terminal() else (position.current_player(),)
        self._legal: tuple[int, ...] | None = None
        self._dead: tuple[str, ...] | None = None
        if self.options.superko == "illegal":
            self.before |= {Board(self.rows()).text()}

    def _numbers(self) -> tuple[int, ...]:
        """Return the legal actions as OpenSpiel numbers them, asking it once a position."""
        if self._legal is None:
            self._legal = tuple(self.position.legal_actions()) if self._movers else ()
            if self.options.superko == "illegal":
                board, mark = Board(self.rows()), MARKS[self.position.current_player()]
                self._legal = tuple(number for number in self._legal if not self._repeats(board, number, mark))
        return self._legal

    def _repeats(self, board: Board, number: int, mark: str) -> bool:
        """Return whether a move brings a position back."""
        if number == self.options.size**2:
            return False
        after = board.copy()
        after.play(number, mark)
        return after.text() in self.before

    def _forbidden(self, rows: list[str]) -> list[str]:
        legal, size = set(self._numbers()), self.options.size
        free = (row * size + column for row in range(size) for column in range(size) if rows[-1 - row][column] == ".")
        return [self.points[number] for number in free if number not in legal]

    def returns(self) -> tuple[float, ...]:
        if self.ending() == "repetition":
            return (0.0, 0.0)
        margin = self.margin()
        black = float((margin > 0) - (margin < 0))
        return (black, 0.0 - black)

    def ending(self) -> str:
        """Return what ended the game: ``two passes``, ``max_moves`` or ``repetition``."""
        if self.last == (PASS, PASS):
            return "two passes"
        return "max_moves" if self.move_number() >= self.max_moves else "repetition"

    def dead(self) -> list[str]:
        """Return the points of stones that are taken off before the score is counted."""
        if self.options.scoring == "area":
            return []
        if self._dead is None:
            board, mover = Board(self.rows()), MARKS[self.position.move_number() % 2]
            seed = derive("dead stones", board.text())  # a matter of the position alone
            self._dead = tuple(self.points[point] for point in sorted(dead_stones(board, mover, seed)))
        return list(self._dead)

    def margin(self) -> float:
        """Return Black's score less White's, komi included."""
        rows, komi = self.rows(), float(self.options.komi)
        if self.options.scoring == "area":
            return area_margin(rows) - komi
        board = Board(rows)
        black_dead = white_dead = 0
        for name in self.dead():
            point = _numbers_by_name(self.options.size)[name]
            black_dead += board.cells[point] == MARKS[0]
            white_dead += board.cells[point] == MARKS[1]
            board.cells[point] = "."
        black, white = territory(board)
        if self.options.scoring == "chinese":
            return black + board.cells.count(MARKS[0]) - white - board.cells.count(MARKS[1]) - komi
        stones = [sum(row.count(mark) for row in rows) for mark in MARKS]
        lost = (self.played[0] - stones[0] + black_dead, self.played[1] - stones[1] + white_dead)
        return black + lost[1] - white - lost[0] - komi

    def result(self) -> dict[str, Any]:
        """Return the score as SGF writes it, Black's score less White's with komi, the dead stones, the termination and
        the length."""
        margin, ending = self.margin(), self.ending()
        drawn = ending == "repetition" or margin == 0
        score = "0" if drawn else f"{'B' if margin > 0 else 'W'}+{abs(margin):g}"
        return {
            "score": score,
            "margin": margin,
            "dead": self.dead(),
            "termination": ending,
            "moves": self.move_number(),
        }

    def move_number(self) -> int:
        """Return how many moves have been played, passes included, handicap stones not."""
        return int(self.position.move_number()) - self._placed

    def placed(self) -> list[str]:
        """Return the points of the handicap stones."""
        return [self.points[number] for number in self.position.history()[: self._placed : 2]]

    def moves(self) -> list[str]:
        """Return the moves so far; Black's first, or White's after a handicap."""
        return [self.points[number] for number in self.position.history()[self._placed :]]

    def state(self) -> dict[str, Any]:
        """Return the moves so far, on which superko depends, and the board they led to."""
        return {"moves": " ".join(self.moves()), "board": "/".join(self.rows())}

    def _clone_state_into(self, twin: Self) -> None:
        twin.position = self.position.clone()

    def rows(self) -> list[str]:
        """Return the board from the top row down: ``X`` for Black, ``O`` for White, ``.`` for a free point."""
        lines = str(self.position).split("\n")[2 : 2 + self.options.size]
        return [line[3:].replace("+", ".") for line in lines]

    # ------------------------------------------------------------------ OpenSpiel's side of it

    def spiel_state(self) -> Any:
        """Return a copy of the `pyspiel.State`."""
        return self.position.clone()

    def spiel_action(self, player: int, text: str) -> int:
        """Return OpenSpiel's number of a legal action.

        Raises:
            IllegalAction: It is none.
        """
        self.check(player, text)
        return _numbers_by_name(self.options.size)[text]

    def text_action(self, player: int, number: int) -> str:
        """Return the name of the action with OpenSpiel's ``number``; inverts `spiel_action`."""
        return self.points[number]


@cache
def points(size: int) -> tuple[str, ...]:
    """Return the names of OpenSpiel's action numbers: row by row from the bottom, then ``pass``."""
    return (*(f"{COLUMNS[column]}{row + 1}" for row in range(size) for column in range(size)), PASS)


@cache
def _numbers_by_name(size: int) -> dict[str, int]:
    return {name: number for number, name in enumerate(points(size))}


WORDS = points(MAX_SIZE)
"""All that text may name; a point outside a smaller board is illegal there, not unparsable."""


@lru_cache(maxsize=64)
def spiel_go(size: int, komi: float, max_moves: int) -> Any:
    """Return the `pyspiel.Game`, which holds nothing that changes."""
    parameters = {"board_size": size, "komi": komi, "max_game_length": max_moves}
    return pyspiel.load_game("go", parameters)


def area_margin(rows: Sequence[str]) -> int:
    """Return Black's area less White's (Tromp and Taylor): stones, and empty regions that touch one colour only."""
    size = len(rows)
    owner = {(row, column): rows[row][column] for row in range(size) for column in range(size)}
    margin = sum((mark == "X") - (mark == "O") for mark in owner.values())
    seen: set[tuple[int, int]] = set()
    for start, mark in owner.items():
        if mark != "." or start in seen:
            continue
        region, borders, open_points = 0, set(), [start]
        seen.add(start)
        while open_points:
            row, column = open_points.pop()
            region += 1
            for near in ((row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)):
                if owner.get(near) == "." and near not in seen:
                    seen.add(near)
                    open_points.append(near)
                elif near in owner and owner[near] != ".":
                    borders.add(owner[near])
        margin += region * ((borders == {"X"}) - (borders == {"O"}))
    return margin


@lru_cache(maxsize=64)
def _facts(size: int, max_moves: int, view: str) -> GameFacts:
    forbidden = 4 * FORBIDDEN_SHOWN + 60
    chars = size * (size + 1) + 20 if view == "terse" else 2 * (size + 2) ** 2 + 650
    return GameFacts(
        players=2,
        min_return=-1.0,
        max_return=1.0,
        max_turns=max_moves,
        max_observation_chars=chars + forbidden,
        roles=("black", "white"),
    )
