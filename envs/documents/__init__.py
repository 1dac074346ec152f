"""Documents for next-token prediction: made ones, whose answers take steps that nobody writes down, and found ones.

``document_of("chain", dice, group="s3", length=5)`` draws one; `TASKS` names the kinds. `vocabulary` turns them into
tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from palaestra.envs.documents import found, made
from palaestra.envs.documents.document import Document, Piece
from palaestra.envs.documents.found import CorpusError, read_corpus
from palaestra.envs.errors import UnknownName
from palaestra.envs.options import parse_options
from palaestra.envs.seeding import Dice


class Task(NamedTuple):
    """A kind of document: its options, and what draws one."""

    options: type[Any]
    draw: Callable[[Any, Dice], Document]


TASKS: Mapping[str, Task] = {
    "chain": Task(made.ChainOptions, made.chain),
    "parity": Task(made.ParityOptions, made.parity),
    "reach": Task(made.ReachOptions, made.reach),
    "hops": Task(made.HopOptions, made.hops),
    "squaring": Task(made.SquaringOptions, made.squaring),
    "text": Task(found.TextOptions, found.text),
    "moves": Task(found.MovesOptions, found.moves),
}


def document_of(task: str, dice: Dice, **options: Any) -> Document:
    """Return a random document.

    Raises:
        UnknownName: No such task, or no such option of it.
        OptionError: A value of the wrong type or out of range.
        CorpusError: A file of one's own cannot be used.
    """
    if task not in TASKS:
        raise UnknownName("task", task, TASKS, f"Tasks are {', '.join(TASKS)}.")
    kind = TASKS[task]
    return kind.draw(parse_options(kind.options, options, f"task {task}"), dice)


__all__ = ["TASKS", "CorpusError", "Document", "Piece", "Task", "document_of", "read_corpus"]
