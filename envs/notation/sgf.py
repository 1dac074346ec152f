"""Go games as SGF (Smart Game Format FF[4], red-bean.com/sgf), both ways.

Read is the main line: size, komi, handicap, names, result and the moves, as actions of `palaestra.envs.games.go`.
Variations, comments and marks are left out. What the game here cannot do is refused by name, because a game read
wrongly is worse than one not read: placed stones (``AB``, ``AW``, ``AE``) other than a handicap on the star points, a
side to move that is set (``PL``), two moves of one player in a row, boards other than 5 to 19 lines. `read_sgf` reads a
whole collection, and tells the line of each game it cannot read.

Written is one line of play with the names of the seats, the result (``B+3.5``, ``0``, ``W+F`` for a forfeit, ``Void``
for a game that was cut) and nothing of what the players thought.

The grammar of FF[4] is five tokens, read here by one regular expression in time linear in the text, torn games
included (`MOST_READINGS`); line breaks in names become spaces, as the standard has it for *SimpleText*. (Of the
libraries, sgfmill is no longer kept up, and pysgf loses names that hold ``][``.)
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from palaestra.envs.episode import Episode
from palaestra.envs.errors import NotationError
from palaestra.envs.games.go import COLORS, MAX_SIZE, MIN_SIZE, PASS, Go, GoOptions, points
from palaestra.envs.games.go_board import handicap_points
from palaestra.envs.notation.files import Fault, Reading
from palaestra.envs.options import parse_options

Node = dict[str, list[str]]
"""The raw values, still escaped, of a node's properties."""

_TOKEN = re.compile(r"\s*(?:([();])|([A-Za-z]+)\s*(?=\[)|\[((?:[^\]\\]|\\.)*)\])", re.DOTALL)
MOST_READINGS = 20
"""How often a text is read over: each torn game swallows what follows, which may be games nevertheless."""

_BEGIN = re.compile(r"\(\s*;")
_ROOT = re.compile(r"^[ \t]*\(\s*;(?=[^()]{0,400}?\b(?:GM|FF|SZ|CA|AP)\[)", re.MULTILINE)
"""A line that begins a game, as far as one can tell in the middle of another."""
_SETUP = {
    "AB": "placed black stones",
    "AW": "placed white stones",
    "AE": "removed stones",
    "PL": "a side to move other than the usual",
}


@dataclass(frozen=True, slots=True)
class SgfGame:
    """The main line of an SGF game.

    Attributes:
        moves: (player, action) in order, black being player 0; actions are those of the game ``go``.
        black, white: Names of the players, empty if they are not given.
        result: As the file writes it, such as ``"B+3.5"`` or ``"W+R"``; empty if it is not given.
        handicap: Black stones on the star points, after which White moves first; 0 for none.
    """

    size: int
    komi: float
    moves: tuple[tuple[int, str], ...]
    black: str = ""
    white: str = ""
    result: str = ""
    handicap: int = 0

    def options(self) -> dict[str, Any]:
        """Return the options for ``make("go", **options)`` that the moves can be played with."""
        long = len(self.moves) > 2 * self.size**2
        more = {"handicap": self.handicap} if self.handicap else {}
        return {"size": self.size, "komi": self.komi} | more | ({"max_moves": len(self.moves)} if long else {})


def episode_to_sgf(episode: Episode) -> str:
    """Return a Go episode as SGF text.

    Raises:
        NotationError: It is an episode of another game.
    """
    if episode.game != Go.id:
        raise NotationError(f"an episode of {episode.game} cannot be written as SGF, which is for {Go.id} only.")
    options = parse_options(GoOptions, episode.options, Go.id)
    moves = tuple((player, str(action)) for player, action in episode.actions)
    black, white = episode.seats
    return moves_to_sgf(SgfGame(options.size, options.komi, moves, black, white, _result(episode), options.handicap))


def moves_to_sgf(game: SgfGame) -> str:
    """Return SGF text; `sgf_to_moves` inverts it."""
    header = {
        "GM": "1",
        "FF": "4",
        "CA": "UTF-8",
        "AP": "palaestra",
        "SZ": str(game.size),
        "KM": repr(float(game.komi)).removesuffix(".0"),
        "PB": game.black,
        "PW": game.white,
        "RE": game.result,
        "HA": str(game.handicap or ""),
    }
    lines = ["(;" + "".join(f"{name}[{_escape(value)}]" for name, value in header.items() if value)]
    if game.handicap:
        stones = handicap_points(game.size, game.handicap)
        lines[0] += "AB" + "".join(f"[{_to_point(stone, game.size)}]" for stone in stones)
    numbers = {name: number for number, name in enumerate(points(game.size))}
    moves = [f";{'BW'[player]}[{_to_point(numbers[action], game.size)}]" for player, action in game.moves]
    lines += ["".join(moves[start : start + 12]) for start in range(0, len(moves), 12)]
    return "\n".join(lines) + ")\n"


def sgf_to_moves(text: str) -> SgfGame:
    """Read the main line of the first game in SGF text.

    Raises:
        NotationError: It is no SGF, no Go, or holds what the game here does not have; the message names it.
    """
    line = list(_main_line(text))
    root = line[0]
    if (game := _value(root, "GM", "1")) != "1":
        raise NotationError(f"this SGF is of game number {game[:20]!r}, expected 1, which is Go.")
    size = _number(root, "SZ", "19")
    if not (MIN_SIZE <= size <= MAX_SIZE and size == int(size)):
        raise NotationError(f"this SGF has a board of {size:g} lines; {MIN_SIZE} to {MAX_SIZE} can be played here.")
    handicap = _handicap(root, int(size))
    return SgfGame(
        int(size),
        _number(root, "KM", "0"),
        tuple(_moves(line, int(size), handicap)),
        _value(root, "PB", ""),
        _value(root, "PW", ""),
        _value(root, "RE", ""),
        handicap,
    )


def read_sgf(text: str) -> Reading[SgfGame]:
    """Return the games of a collection, each game's main line; a game that cannot be read is a fault, at the line where
    it begins."""
    games: list[SgfGame] = []
    faults: list[Fault] = []
    patience = MOST_READINGS * len(text)
    found = _BEGIN.search(text)
    if found is None and text.strip():
        faults.append(Fault(1, "there is no SGF game; a game begins with (;"))
    while found is not None:
        start, end = found.start(), _end(text, found.start())
        try:
            games.append(sgf_to_moves(text[start:end]))
            found = _BEGIN.search(text, end)
        except NotationError as error:
            line = text.count("\n", 0, start) + 1
            faults.append(Fault(line, f"SGF game {len(games) + len(faults) + 1}: {error}"))
            patience -= end - start
            if patience < 0:
                faults.append(Fault(line, "what follows is not read, because too many games are torn; fetch it anew"))
                break
            found = _ROOT.search(text, start + 1)  # what a torn game swallows may hold others
    return Reading(tuple(games), tuple(faults))


def _end(text: str, start: int) -> int:
    """Return where a game that begins at ``start`` ends; the end of the text if it is not closed."""
    position, opened = start, 0
    while match := _TOKEN.match(text, position):
        position = match.end()
        opened += {"(": 1, ")": -1}.get(match[1] or "", 0)
        if opened == 0:
            return position
    return len(text)


def _handicap(root: Node, size: int) -> int:
    """Return the handicap of which the placed stones are the fixed ones; the properties are taken out of the node."""
    if "AB" not in root:
        return 0
    placed = sorted(_to_action(point.strip(), size, 0) for point in root["AB"])
    try:
        fixed = sorted(points(size)[point] for point in handicap_points(size, len(placed)))
    except ValueError:
        fixed = []
    if placed != fixed:
        return 0  # `_moves` refuses the stones by name
    del root["AB"]
    if root.get("PL") in (["W"], ["w"]):
        del root["PL"]
    return len(placed)


def _main_line(text: str) -> Iterator[Node]:
    """Yield the nodes of the first game, the first variation everywhere."""
    start = re.search(r"\(\s*;", text)  # mail headers and the like may stand before it
    position, opened, name = start.start() if start else 0, 0, ""
    node: Node | None = None
    while match := _TOKEN.match(text, position):
        position = match.end()
        mark, identifier, value = match.groups()
        if mark == "(":
            opened += 1
        elif opened == 0:
            break
        elif mark == ")":
            if node is None:
                break
            yield node  # the first closing bracket ends the main line: all variations that follow are later ones
            return
        elif mark == ";":
            if node is not None:
                yield node
            node, name = {}, ""
        elif node is None:
            break
        elif identifier is not None:
            name = "".join(letter for letter in identifier if letter.isupper())  # FF[3] allowed lower case in names
            if name in node:
                raise NotationError(f"this SGF has the property {name} twice in one node.")
            node[name] = []
        elif name:
            node[name].append(value)
        else:
            break
    near = text[position : position + 20]
    what = f"there is no bracket, semicolon or property at {near!r}" if near.strip() else "it ends before it is closed"
    raise NotationError(f"this is no valid SGF: {what} (character {position + 1}).")


def _moves(line: list[Node], size: int, handicap: int) -> Iterator[tuple[int, str]]:
    number, first = 0, 1 if handicap else 0
    for node in line:
        for name, what in _SETUP.items():
            if name in node and not (name == "PL" and number == 0 and node[name] in (["B"], ["b"])):
                raise NotationError(f"this SGF has {what} ({name}) after {number} moves, which cannot be played here.")
        if "B" in node and "W" in node:
            raise NotationError(f"this SGF has moves of both players in one node, after {number} moves.")
        for player, name in enumerate("BW"):
            if name in node:
                if player != (number + first) % 2:
                    due = COLORS[1 - player]
                    raise NotationError(
                        f"this SGF lets {COLORS[player]} play move {number + 1}, but {due} is to move; passes "
                        "that are left out cannot be played here."
                    )
                yield player, _to_action(_value(node, name, ""), size, number + 1)
                number += 1


def _to_point(number: int, size: int) -> str:
    """Return a point as SGF writes it: column and row from the *upper* left corner as letters; nothing for a pass."""
    if number == size * size:
        return ""
    row, column = divmod(number, size)
    return chr(ord("a") + column) + chr(ord("a") + size - 1 - row)


def _to_action(point: str, size: int, move: int) -> str:
    if point in ("", "tt"):  # FF[3] wrote a pass as tt, which lies outside every board of up to 19 lines
        return PASS
    column, row = (ord(letter) - ord("a") for letter in point) if len(point) == 2 else (-1, -1)
    if not (0 <= column < size and 0 <= row < size):
        raise NotationError(f"this SGF has move {move} at {point[:20]!r}, which is no point of {size} lines.")
    return points(size)[(size - 1 - row) * size + column]


def _value(node: Node, name: str, default: str) -> str:
    """Return a property's single value as simple text."""
    if name not in node:
        return default
    if len(node[name]) != 1:
        raise NotationError(f"this SGF has {len(node[name])} values for the property {name}, expected 1.")
    text = re.sub(r"\\(\r\n|\n\r|.)", lambda escaped: escaped[1].strip("\r\n"), node[name][0], flags=re.DOTALL)
    return re.sub(r"\r\n|\n\r|\s", " ", text).strip()


def _number(node: Node, name: str, default: str) -> float:
    text = _value(node, name, default)
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise NotationError(f"this SGF has {text[:20]!r} as {name}, expected a number.")
    return number


def _escape(text: str) -> str:
    return re.sub(r"([\]\\])", r"\\\1", " ".join(text.split()))


def _result(episode: Episode) -> str:
    if episode.outcome == "unfinished":
        return "Void"
    if episode.outcome == "forfeit":
        return "W+F" if episode.forfeited_by == 0 else "B+F"
    return str(episode.result["score"])
