"""Found documents: windows of natural text, and games of chess as they are written down.

A corpus is a text file: the shipped one, or a user's own. In text paragraphs are parted by empty lines, and runs of
white space, line breaks among them, are one space. Of a ``.jsonl`` file each line is a JSON object whose ``text`` is a
paragraph, and of a ``.csv`` or ``.tsv`` file each row's column ``text``, as data sets are often shared. Moves are a PGN
file, of which main lines from the usual position are taken, or a game's movetext a line, such as ``1. e4 e5 2. Nf3``.
Lines that begin with ``#`` are left out. A file is read once, as text; nothing in it is run.
"""

from __future__ import annotations

import csv
import io
import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Any, Literal

from palaestra.envs.documents.document import Document, Piece, Where
from palaestra.envs.errors import PalaestraError
from palaestra.envs.options import within
from palaestra.envs.seeding import Dice

LARGEST = 200_000_000
TABLES = {".csv": ",", ".tsv": "\t"}
RESULTS = ("1-0", "0-1", "1/2-1/2", "*")
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1f\x7f\ud800-\udfff]")
"""Control characters, and halves of a character, which no tokenizer can write."""
_PLY = re.compile(r"(?:\d+\.\s*)?\S+\s*")


class CorpusError(PalaestraError, ValueError):
    """A file that is no corpus."""


@lru_cache(maxsize=8)
def read_corpus(path: str, kind: Literal["text", "moves"]) -> tuple[str, ...]:
    """Return the paragraphs or games of a file; of the shipped one for an empty path.

    Raises:
        CorpusError: It cannot be read, is empty, too large, or not text; or a line of moves is none.
    """
    if not path:
        name = "text.txt" if kind == "text" else "games.txt"
        whole = resources.files("palaestra.envs.documents").joinpath("data", name).read_text(encoding="utf-8")
    else:
        whole = _read(Path(path).expanduser())
    lines = [line for line in whole.splitlines() if not line.startswith("#")]
    if kind == "text":
        kind_of = Path(path).suffix.lower()
        parts = _field(path, whole, kind_of) if kind_of in (".jsonl", *TABLES) else "\n".join(lines).split("\n\n")
    else:
        parts = _games(path, whole, lines) if path else lines
    found = tuple(part for part in (" ".join(part.split()) for part in parts) if part)
    if not found:
        raise CorpusError(f"{path} holds nothing to read but empty lines and remarks; give a file of text.")
    return found


def _games(path: str, whole: str, lines: list[str]) -> list[str]:
    """Return the movetext of a file's games, each in a line."""
    import chess

    from palaestra.envs.notation.pgn import broken, read_pgn

    if not any(line.startswith("[") for line in lines):
        for number, line in enumerate(whole.splitlines(), 1):
            if line.startswith("#"):
                continue
            if (fault := broken(number, line)) is not None:
                raise CorpusError(f"{path}, line {number}: {fault.why}; give PGN, or a game's moves a line.")
            if re.search(r"[{}();$]", line):
                raise CorpusError(f"{path}, line {number}: moves a line have no comments; leave them out, or give PGN.")
        return lines
    found = read_pgn(whole)
    if found.faults:
        raise CorpusError(f"{path}, line {found.faults[0].line}: {found.faults[0].why}; mend the file or cut it there.")
    games = []
    for game in found.parts:
        if game.fen or game.chess960 or not game.moves:
            continue
        board = chess.Board()
        games.append(f"{board.variation_san([chess.Move.from_uci(move) for move in game.moves])} {game.result}")
    return games


def _read(path: Path) -> str:
    try:
        if path.exists() and not path.is_file():  # a device or a pipe would be read for ever
            raise CorpusError(f"{path} is no file; give a file of text.")
        if (size := path.stat().st_size) > LARGEST:
            raise CorpusError(f"{path} has {size / 1e6:.0f} MB, more than {LARGEST / 1e6:.0f}; cut it into files.")
        data = path.read_bytes()
    except OSError as error:
        raise CorpusError(f"{path} cannot be read ({error.strerror}); give a file of text.") from error
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError:
        text = "\0"
    if _CONTROL.search(text):
        raise CorpusError(f"{path} is not UTF-8 text; convert it, or give another file.")
    return text


def _field(path: str, whole: str, suffix: str) -> list[str]:
    """Return the texts of a data set: a JSON object with ``text`` a line, or a table with such a column."""
    found = []
    rows = _objects(whole) if suffix == ".jsonl" else _table(path, whole, TABLES[suffix])
    for number, data in rows:
        if not isinstance(data, dict) or not isinstance(data.get("text"), str):
            what = "no JSON object with a text in" if suffix == ".jsonl" else "no text in column"
            raise CorpusError(f"{path}, line {number}: {what} 'text'; mend the line.")
        if _CONTROL.search(data["text"]):
            raise CorpusError(f"{path}, line {number}: its text holds what cannot be printed; leave that out.")
        found.append(data["text"])
    return found


def _objects(whole: str) -> Iterator[tuple[int, Any]]:
    for number, line in enumerate(whole.split("\n"), 1):
        if line.strip():
            try:
                yield number, json.loads(line)
            except (ValueError, RecursionError):
                yield number, None


def _table(path: str, whole: str, parted: str) -> Iterator[tuple[int, Any]]:
    rows = csv.DictReader(io.StringIO(whole), delimiter=parted, strict=True)
    try:
        if "text" not in (rows.fieldnames or ()):
            raise CorpusError(f"{path}, line 1: the table has no column 'text'; name the one with the text so.")
        for row in rows:
            yield rows.line_num, row
    except csv.Error as error:
        raise CorpusError(f"{path}, line {rows.line_num}: {error}; mend the table.") from None


@dataclass(frozen=True)
class TextOptions:
    """Attributes: length (characters of a document), file (a corpus of one's own), part (of its paragraphs: all of
    them, the first four fifths or the rest, so that what is measured was not read before), begin (with a paragraph or
    with any word), where one may think."""

    length: int = 256
    file: str = ""
    part: Literal["all", "first", "rest"] = "all"
    begin: Literal["paragraph", "word"] = "paragraph"
    where: Literal["every", "never"] = "every"

    def __post_init__(self) -> None:
        within(self, length=(1, 1 << 16))


def text(options: TextOptions, dice: Dice) -> Document:
    """Return a window that begins with a paragraph or a word, or so late that it is filled.

    Raises:
        CorpusError: The corpus is shorter than a document.
    """
    whole, starts = _joined(options.file, options.part, options.begin)
    if len(whole) < options.length:
        kept = "the corpus" if options.part == "all" else "that part of the corpus"
        raise CorpusError(
            f"{kept} has {len(whole)} characters, a document {options.length}; lower length or give more text."
        )
    last = len(whole) - options.length
    start = min(dice.choice(starts), last)
    piece = Piece(whole[start : start + options.length], open=options.where)
    return Document((piece,), f"text({options.length})")


@lru_cache(maxsize=8)
def _joined(file: str, part: str, begin: str) -> tuple[str, tuple[int, ...]]:
    """Return a corpus or a part of it as one text, and where documents may begin."""
    starts, length = [], 0
    paragraphs = read_corpus(file, "text")
    if part != "all":
        cut = math.ceil(0.8 * len(paragraphs))
        paragraphs = paragraphs[:cut] if part == "first" else paragraphs[cut:]
    for paragraph in paragraphs:
        starts.append(length)
        length += len(paragraph) + 1
    if begin == "word":
        starts = [word.start() for word in re.finditer(r"\S+", "\n".join(paragraphs))]
    return "\n".join(paragraphs), tuple(starts)


@dataclass(frozen=True)
class MovesOptions:
    """Attributes: length (most characters of a document), file (games of one's own), where one may think: before each
    move, its number and the result, before every token, or never."""

    length: int = 256
    file: str = ""
    where: Literal["first", "every", "never"] = "first"

    def __post_init__(self) -> None:
        within(self, length=(1, 1 << 16))


def moves(options: MovesOptions, dice: Dice) -> Document:
    """Return the beginning of a game, a piece for each move, as many whole ones as there is room for; moves are hard,
    and a result is none. A number or a result may stand where a move may: all are open alike. A number and its move are
    parted by a space, whether or not the file has one: else where thinking is allowed would say which comes next."""
    where: Where = options.where
    pieces: list[Piece] = []
    room = options.length
    for ply in _PLY.findall(dice.choice(read_corpus(options.file, "moves"))):
        number, dot, move = ply.rpartition(".")
        numbered = bool(dot and move.strip())
        before, move = (f"{number}. ", move.lstrip()) if numbered else ("", ply)
        room -= len(before) + len(move)
        if room < 0 and pieces:
            break
        if before:
            pieces.append(Piece(before, open=where))
        pieces.append(Piece(move, open=where, hard=move not in RESULTS))
    return Document(tuple(pieces), f"moves({options.length})")
