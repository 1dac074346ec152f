"""A Go board of its own: captures, suicide, and play-outs that tell dead stones from living ones.

`palaestra.envs.games.go` plays on OpenSpiel's rules; what OpenSpiel does not have stands here: which position a move
would lead to, for superko, and which stones are dead at the end, for scoring as people do.

*Dead by play-out*: from the final position both sides play uniformly random moves, not into eyes of their own, until
neither has one left. A chain is dead if its points end as the other side's more often than as its own. That is how
simple programs judge it, and it can be wrong where life hangs on exact play; seki is not known.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import TypeAlias

from palaestra.envs.seeding import Dice

Point: TypeAlias = int
"""Row by row from the bottom, as OpenSpiel numbers them."""

EMPTY, BLACK, WHITE = ".", "X", "O"
PLAY_OUTS = 40
LONGEST = 3
"""Moves of a play-out, in boards."""


@cache
def neighbours(size: int) -> tuple[tuple[Point, ...], ...]:
    """Return the points beside each point."""
    found = []
    for point in range(size * size):
        row, column = divmod(point, size)
        near = [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        found.append(tuple(r * size + c for r, c in near if 0 <= r < size and 0 <= c < size))
    return tuple(found)


@cache
def corners(size: int) -> tuple[tuple[Point, ...], ...]:
    """Return the points diagonally beside each point."""
    found = []
    for point in range(size * size):
        row, column = divmod(point, size)
        near = [(row - 1, column - 1), (row - 1, column + 1), (row + 1, column - 1), (row + 1, column + 1)]
        found.append(tuple(r * size + c for r, c in near if 0 <= r < size and 0 <= c < size))
    return tuple(found)


class Board:
    """Stones on points.

    Args:
        rows: From the top row down, as `Go.rows` gives them.
    """

    def __init__(self, rows: Sequence[str]) -> None:
        self.size = len(rows)
        self.cells: list[str] = [mark for row in reversed(rows) for mark in row]
        self.near = neighbours(self.size)

    def copy(self) -> Board:
        """Return a board of its own."""
        twin = object.__new__(Board)
        twin.size, twin.cells, twin.near = self.size, self.cells.copy(), self.near
        return twin

    def text(self) -> str:
        """Return the position as one string."""
        return "".join(self.cells)

    def chain(self, point: Point) -> tuple[set[Point], set[Point]]:
        """Return the stones connected with one, and their liberties."""
        mark, stones, liberties, open_points = self.cells[point], {point}, set(), [point]
        while open_points:
            for near in self.near[open_points.pop()]:
                if self.cells[near] == EMPTY:
                    liberties.add(near)
                elif self.cells[near] == mark and near not in stones:
                    stones.add(near)
                    open_points.append(near)
        return stones, liberties

    def play(self, point: Point, mark: str) -> int | None:
        """Put a stone, remove what it captures, and return the number captured; None, and no change, for suicide."""
        other = WHITE if mark == BLACK else BLACK
        self.cells[point] = mark
        captured: set[Point] = set()
        free = False
        for near in self.near[point]:
            if self.cells[near] == EMPTY:
                free = True
            elif self.cells[near] == other and near not in captured:
                stones, liberties = self.chain(near)
                if not liberties:
                    captured |= stones
        if not captured and not free and not self.chain(point)[1]:
            self.cells[point] = EMPTY
            return None
        for stone in captured:
            self.cells[stone] = EMPTY
        return len(captured)

    def chains(self) -> Iterator[set[Point]]:
        """Yield the connected stones, each chain once."""
        seen: set[Point] = set()
        for point, mark in enumerate(self.cells):
            if mark != EMPTY and point not in seen:
                stones, _ = self.chain(point)
                seen |= stones
                yield stones

    def is_eye(self, point: Point, mark: str) -> bool:
        """Return whether a stone here would fill an eye of its own: own stones around, and enough of the corners."""
        if any(self.cells[near] != mark for near in self.near[point]):
            return False
        diagonal = corners(self.size)[point]
        other = WHITE if mark == BLACK else BLACK
        hostile = sum(self.cells[corner] == other for corner in diagonal)
        return hostile < (2 if len(diagonal) == 4 else 1)


def dead_stones(board: Board, mover: str, seed: int) -> set[Point]:
    """Return the stones that play-outs find dead; the same for the same position, mover and seed."""
    chains = list(board.chains())
    if not chains:
        return set()
    held = [0] * len(board.cells)
    for number in range(PLAY_OUTS):
        final = _play_out(board.copy(), mover if number % 2 == 0 else _other(mover), Dice(seed, number << 32))
        for point, mark in enumerate(final.cells):
            owner = mark
            if mark == EMPTY:
                around = {final.cells[near] for near in board.near[point]} - {EMPTY}
                owner = around.pop() if len(around) == 1 else EMPTY
            held[point] += (owner == BLACK) - (owner == WHITE)
    dead: set[Point] = set()
    for stones in chains:
        sign = 1 if board.cells[next(iter(stones))] == BLACK else -1
        if sign * sum(held[point] for point in stones) < 0:
            dead |= stones
    return dead


def _other(mark: str) -> str:
    return WHITE if mark == BLACK else BLACK


def _play_out(board: Board, mover: str, dice: Dice) -> Board:
    passes, mark, last_capture = 0, mover, -1
    empty = [point for point, cell in enumerate(board.cells) if cell == EMPTY]
    for _ in range(LONGEST * len(board.cells)):
        if passes == 2:
            break
        played = False
        tried = len(empty)
        while tried:
            pick = dice.below(tried)
            point = empty[pick]
            tried -= 1
            empty[pick], empty[tried] = empty[tried], point
            if point == last_capture or board.is_eye(point, mark):
                continue
            taken = board.play(point, mark)
            if taken is None:
                continue
            last_capture = -1
            if taken:
                empty = [place for place, cell in enumerate(board.cells) if cell == EMPTY]
                if taken == 1 and not any(board.cells[near] == mark for near in board.near[point]):
                    last_capture = next(near for near in board.near[point] if board.cells[near] == EMPTY)
            else:
                empty.remove(point)
            played = True
            break
        passes = 0 if played else passes + 1
        mark = _other(mark)
    return board


def territory(board: Board) -> tuple[int, int]:
    """Return the empty points that only Black, and that only White, surrounds."""
    totals = {BLACK: 0, WHITE: 0}
    seen: set[Point] = set()
    for start, mark in enumerate(board.cells):
        if mark != EMPTY or start in seen:
            continue
        region, borders, open_points = 0, set(), [start]
        seen.add(start)
        while open_points:
            point = open_points.pop()
            region += 1
            for near in board.near[point]:
                if board.cells[near] != EMPTY:
                    borders.add(board.cells[near])
                elif near not in seen:
                    seen.add(near)
                    open_points.append(near)
        if len(borders) == 1:
            totals[borders.pop()] += region
    return totals[BLACK], totals[WHITE]


@cache
def handicap_points(size: int, stones: int) -> tuple[Point, ...]:
    """Return where the stones of a fixed handicap stand, in the order of the Go Text Protocol (version 2, 4.1.1).

    Raises:
        ValueError: A board of this size has no fixed handicap of so many stones.
    """
    most = 0 if size < 7 else 9 if size % 2 and size > 7 else 4
    if not 2 <= stones <= most:
        raise ValueError(f"handicap is {stones}, but on {size} lines it is 0{f' or 2 to {most}' if most else ''}")
    edge = 3 if size >= 13 else 2
    low, mid, high = edge, size // 2, size - 1 - edge
    first = [(low, low), (high, high), (high, low), (low, high)]  # (row, column)
    more = {5: [(mid, mid)], 6: [(mid, low), (mid, high)], 7: [(mid, low), (mid, high), (mid, mid)]}
    sides = [(mid, low), (mid, high), (low, mid), (high, mid)]
    rest = more.get(stones, []) if stones < 8 else sides + [(mid, mid)] * (stones == 9)
    return tuple(row * size + column for row, column in first[:stones] + rest)
