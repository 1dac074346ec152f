"""`palaestra items`: build sets of programs and their outputs for the games of surprise, or check one."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from palaestra.scripts.console import console, untrusted
from palaestra.scripts.errors import examples

EXAMPLES = examples(
    "palaestra items python --count 500 --seed 7 --to mine.jsonl",
    "palaestra items check mine.jsonl",
)


class What(StrEnum):
    """What is built, or that a set is checked."""

    python = "python"
    shell = "shell"
    session = "session"
    shipped = "shipped"
    check = "check"


def items(
    what: Annotated[What, typer.Argument(help="Kind of items, `shipped` for the set that comes along, or `check`.")],
    file: Annotated[Path | None, typer.Argument(help="The set to check.")] = None,
    count: Annotated[int, typer.Option(min=1, max=100_000, help="How many programs are drawn.")] = 120,
    seed: Annotated[int, typer.Option(min=0, help="Fixes all of it.")] = 0,
    to: Annotated[Path | None, typer.Option(help="File to write; must not exist yet.")] = None,
) -> None:
    """Draw programs, run them in a sandbox, and write down what they print and wrong outputs of the same form."""
    from palaestra.envs.errors import OptionError

    if what is What.check:
        if file is None:
            raise OptionError("name the set to check: palaestra items check FILE.")
        return _check(file)
    if file is not None or to is None:
        raise OptionError("name the file to write with --to, such as --to mine.jsonl.")
    _build(what, count, seed, to)


def _build(what: What, count: int, seed: int, to: Path) -> None:
    from collections import Counter

    from rich.progress import track

    from palaestra.envs.errors import OptionError
    from palaestra.envs.items.build import BUILDERS, Outcomes
    from palaestra.envs.items.sessions import build_session

    if to.exists():
        raise OptionError(f"{to} is there already; name another file.")
    builders = {**BUILDERS, "session": build_session}
    wanted = {"python": 2 * count, "shell": count, "session": count} if what is What.shipped else {what.value: count}
    outcomes: Outcomes = Counter()
    lines = []
    for kind, number in wanted.items():
        made = builders[kind](number, seed, outcomes)
        lines += [item.line() for item in track(made, f"{kind}…", total=number, console=console(stderr=True))]
    try:
        to.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    except OSError as error:
        raise OptionError(f"{to} cannot be written ({error.strerror}); name another file.") from None
    ended = ", ".join(f"{number} {status}" for status, number in sorted(outcomes.items()))
    console().print(untrusted(f"{len(lines)} items in {to}. How programs ended: {ended}."))


def _check(file: Path) -> None:
    from collections import Counter

    from palaestra.envs.errors import NotationError
    from palaestra.envs.items.item_set import read_items

    try:
        found = read_items(file.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise NotationError(f"{file} cannot be read ({error.strerror or error}); check the name.") from None
    except UnicodeDecodeError:
        raise NotationError(f"{file} is no text in UTF-8; a set is a file of JSON objects, one a line.") from None
    for fault in found.faults:
        console().print(untrusted(f"{file.name}, {fault}"))
    kinds = Counter(f"{item.kind} {item.level}" for item in found.parts)
    told = ", ".join(f"{number} of {kind}" for kind, number in sorted(kinds.items()))
    console().print(untrusted(f"{len(found.parts)} items ({told or 'none'}), {len(found.faults)} faulty lines."))
    if found.faults or not found.parts:
        raise typer.Exit(1)
