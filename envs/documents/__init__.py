"""Documents for next-token prediction: made ones, whose answers take steps that nobody writes down, and found ones.

``document_of("chain", dice, group="s3", length=5)`` draws one; `tasks` names the kinds. `vocabulary` turns them into
tokens. A kind of one's own is registered by `register_task`, or by a package that names it as an entry point:

    [project.entry-points."palaestra.documents"]
    riddles = "my_package:RIDDLES"      # a Task
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

from palaestra.envs.documents import found, made
from palaestra.envs.documents.document import Document, Piece
from palaestra.envs.documents.found import CorpusError, read_corpus
from palaestra.envs.options import parse_options
from palaestra.envs.plugins import Plugins
from palaestra.envs.seeding import Dice


class Task(NamedTuple):
    """A kind of document.

    Attributes:
        options: A frozen dataclass whose fields all have defaults.
        draw: From options and dice to a document; the same dice draw the same one everywhere.
    """

    options: type[Any]
    draw: Callable[[Any, Dice], Document]


_tasks: Plugins[Task] = Plugins(
    "task",
    {
        "chain": Task(made.ChainOptions, made.chain),
        "parity": Task(made.ParityOptions, made.parity),
        "reach": Task(made.ReachOptions, made.reach),
        "hops": Task(made.HopOptions, made.hops),
        "squaring": Task(made.SquaringOptions, made.squaring),
        "text": Task(found.TextOptions, found.text),
        "moves": Task(found.MovesOptions, found.moves),
    },
    group="palaestra.documents",
)


def register_task(name: str, task: Task) -> None:
    """Make a kind of document known by name.

    Raises:
        ValueError: The name is taken.
    """
    _tasks.register(name, task)


def tasks() -> list[str]:
    """Return the names of all kinds of documents, sorted."""
    return _tasks.names()


def find_task(name: str) -> Task:
    """Return a kind of document by name.

    Raises:
        UnknownName: There is none.
        BrokenPlugin: An installed package offers it and cannot be loaded.
    """
    return _tasks[name]


def document_of(task: str, dice: Dice, **options: Any) -> Document:
    """Return a random document.

    Raises:
        UnknownName: No such task, or no such option of it.
        OptionError: A value of the wrong type or out of range.
        CorpusError: A file of one's own cannot be used.
    """
    kind = find_task(task)
    return kind.draw(parse_options(kind.options, options, f"task {task}"), dice)


__all__ = [
    "CorpusError",
    "Document",
    "Piece",
    "Task",
    "document_of",
    "find_task",
    "read_corpus",
    "register_task",
    "tasks",
]
