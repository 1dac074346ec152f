"""The terminal: where things are printed, and what may reach it.

What players and models wrote is untrusted: a terminal obeys escape sequences, so `plain` makes control characters
visible, and text is put into `rich.text.Text`, never into markup.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.console import Console
    from rich.text import Text

# C0 and C1 controls but newline and tab, DEL, marks that reorder a line's text, halves of surrogate pairs.
_CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")

UNBROKEN = 100_000
"""Width of what is no terminal: a file or a pipe gets every line as it is."""


def plain(text: str, *, newlines: bool = True) -> str:
    """Return text in which control characters are spelled out, such as ``\\x1b``; without ``newlines`` on one line."""
    text = _CONTROLS.sub(lambda match: match[0].encode("unicode_escape").decode("ascii"), text)
    return text if newlines else " ".join(text.split())


def untrusted(text: str, style: str = "") -> Text:
    """Return somebody else's text, harmless and ready to print."""
    from rich.text import Text

    return Text(plain(text), style)


def console(*, stderr: bool = False) -> Console:
    """Return the console of this moment; where no terminal is, lines are not broken."""
    from rich.console import Console

    stream = sys.stderr if stderr else sys.stdout
    return Console(stderr=stderr, highlight=False, width=None if stream.isatty() else UNBROKEN)


def barred(out: Console, text: Text, style: str = "") -> Text:
    """Return text with a bar before each of its lines, also those that the terminal's width breaks."""
    from rich.text import Text

    bar = Text("   │ ", style)
    lines = [
        piece for line in text.split("\n", allow_blank=True) for piece in line.wrap(out, out.width - len(bar)) or [line]
    ]
    return Text("\n").join(Text.assemble(bar, line) for line in lines)


def table(*columns: str, right: Iterable[int] = (), **options: Any) -> Any:
    """Return an empty table in the house's look; columns whose number is in ``right`` are aligned to the right."""
    from rich import box
    from rich.table import Table

    made = Table(box=box.SIMPLE_HEAD, header_style="bold", show_edge=False, pad_edge=False, **options)
    numbers = set(right)
    for index, column in enumerate(columns):
        made.add_column(column, justify="right" if index in numbers else "left", overflow="fold")
    return made


TEXTS = (".epd", ".jsonl", ".pgn", ".txt")


def key_values(given: Iterable[str], what: str) -> dict[str, Any]:
    """Return ``["a=1", "b=@file.json"]`` as a dictionary; what follows an ``@`` is a file of JSON, and is read. A value
    may be a JSON object or list, too.

    Files in notations of games (`TEXTS`) are read as they stand.

    Raises:
        OptionError: An entry without ``=``, a key given twice, or a file that cannot be read, is empty or is no JSON.
    """
    from palaestra.envs.errors import OptionError

    found: dict[str, Any] = {}
    for entry in given:
        key, equals, value = entry.partition("=")
        if not equals or not key:
            raise OptionError(f"{what} {entry!r} has no value; write it as key=value.")
        if key in found:
            raise OptionError(f"{what} {key!r} is given twice; give it once.")
        found[key] = _from_file(value[1:]) if value.startswith("@") else _structured(value)
    return found


def _structured(value: str) -> Any:
    """Return a JSON object or list as such, anything else as it stands."""
    if not value.startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except ValueError:
        return value  # such as a template of a cover


def _from_file(name: str) -> Any:
    from palaestra.envs.errors import OptionError

    try:
        text = Path(name).read_text(encoding="utf-8-sig")
    except OSError as error:
        raise OptionError(f"{name!r} cannot be read: {error.strerror or error}.") from None
    except UnicodeDecodeError as error:
        raise OptionError(
            f"{name!r} is no text: byte {error.start + 1} is no UTF-8; name a text file, or save it as UTF-8."
        ) from None
    if not text.strip():
        raise OptionError(f"{name!r} is empty; name a file that holds something, or leave the option out.")
    try:
        return text if Path(name).suffix.lower() in TEXTS else json.loads(text)
    except ValueError as error:
        raise OptionError(f"{name!r} is no JSON: {error}.") from None


def duration(seconds: float) -> str:
    """Return seconds for a reader: ``42 s``, ``3.5 min``, ``2.1 h``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.1f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"
