"""Pipelines of text filters over a small tree of files, drawn at random, as they look at a prompt.

The files are shown by ``cat``, so that what the last command prints follows from what stands above it. Another input of
the same program is another tree; a *stale* output is what the pipeline printed before one line of a file was changed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from palaestra.envs.items.python_programs import NAMES, THINGS
from palaestra.envs.seeding import Dice

Files = dict[str, str]


class Session(NamedTuple):
    """The files and the command."""

    files: Files
    command: str

    def words(self) -> str:
        """Return the session up to the output of the last command."""
        shown = [f"$ cat {name}\n{content.rstrip()}" for name, content in self.files.items()]
        return "\n".join([*shown, f"$ {self.command}"])


def _people(dice: Dice) -> str:
    names = list(NAMES)
    dice.shuffle(names)
    places = ("north", "south", "east", "west")
    return "".join(f"{name} {dice.choice(places)} {10 + dice.below(90)}\n" for name in names[:6])


def _stock(dice: Dice) -> str:
    return "".join(f"{dice.choice(THINGS[:8])},{1 + dice.below(9)},{10 + dice.below(90)}\n" for _ in range(6))


def _log(dice: Dice) -> str:
    levels = ("INFO", "WARN", "ERROR")
    times = [f"{8 + line // 2:02d}:{10 + dice.below(50)}" for line in range(7)]
    return "".join(f"{time} {dice.choice(levels)} {dice.choice(THINGS[:6])}\n" for time in times)


MAKERS: Mapping[str, Callable[[Dice], str]] = {"people.txt": _people, "stock.csv": _stock, "app.log": _log}
COMMANDS: Mapping[int, tuple[str, ...]] = {
    1: (
        "sort people.txt | head -2", "grep -c ERROR app.log", "tail -2 stock.csv",
        "head -3 people.txt | tail -1", "grep north people.txt", "cut -d, -f2 stock.csv | head -3",
    ),
    2: (
        "sort -k3 -n people.txt | head -2", "cut -d, -f1 stock.csv | sort | uniq | head -3",
        "grep -v INFO app.log | wc -l", "cut -d' ' -f2 people.txt | sort | uniq -c | sort -rn | head -1",
        "sort -t, -k3 -n stock.csv | tail -1", "grep WARN app.log | cut -d' ' -f3", "nl people.txt | tail -2",
    ),
    3: (
        "cut -d' ' -f3 app.log | sort | uniq -c | sort -k1,1rn -k2 | head -2",
        "grep -v south people.txt | sort -k3 -rn | cut -d' ' -f1 | head -2 | paste -s -d' '",
        "cut -d, -f1,2 stock.csv | sort -t, -k2,2rn -k1 | head -3 | tail -2",
        "grep -n ERROR app.log | cut -d: -f1 | paste -s -d+",
        "sort -k2,2 -k3,3n people.txt | cut -d' ' -f1,2 | head -3 | tail -2",
    ),
}  # fmt: skip


def draw_session(level: int, dice: Dice) -> Session:
    """Return a session of a level."""
    command = dice.choice(COMMANDS[level])
    return Session(files_of(command, dice), command)


def files_of(command: str, dice: Dice) -> Files:
    """Return other files for a command."""
    return {name: make(dice) for name, make in MAKERS.items() if name in command}


def changed(session: Session, dice: Dice) -> Session:
    """Return the session before one line of a file was changed: what a stale output was printed from."""
    name = dice.choice(list(session.files))
    lines = session.files[name].splitlines(keepends=True)
    place = dice.below(len(lines))
    lines[place] = MAKERS[name](dice).splitlines(keepends=True)[place]
    return Session({**session.files, name: "".join(lines)}, session.command)
