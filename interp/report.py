"""One self-contained page for an analysis: text, tables, figures, coloured tokens, and parts that fold.

    page = Page("What changed", "smollm2 before and after", {"prompts": "16"})
    page.add("Edges", Text("…"), Table(("edge", "change"), rows), Figure(svg), Fold("More", Tokens(…)))
    page.write(folder / "index.html")

Everything that comes from a model, a player or a file is escaped by the template; only figures made here are put in as
they are. The page has no script and loads nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from palaestra.agents.models.disk import replace_text
from palaestra.interp.errors import InterpError

HIDDEN = "▯"
"""Stands for what has no glyph: a part of a character, or a sign that would change how the page is read."""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph, or, with the kind ``heading``, the title of what follows inside a section."""

    text: str
    kind: str = "text"


@dataclass(frozen=True, slots=True)
class Table:
    """A table; numbers should come as text already. The first column is left-aligned, and so are those in ``left``,
    which hold words; others right."""

    header: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""
    left: Sequence[int] = ()
    kind: str = "table"


@dataclass(frozen=True, slots=True)
class Figure:
    """An SVG made by `palaestra.interp.figures` or `palaestra.trainers.figures`."""

    svg: str
    note: str = ""
    kind: str = "figure"

    @property
    def markup(self) -> Markup:
        """Return it for the template; it holds no text of others that is not escaped."""
        return Markup(self.svg)


@dataclass(frozen=True, slots=True)
class Token:
    """A token and a number that colours it, from -1 (red) to 1 (blue); ``words`` show when the pointer rests on it."""

    text: str
    value: float = 0.0
    words: str = ""

    @property
    def strength(self) -> float:
        """Return how strong the colour is, 0 to 1."""
        return min(1.0, abs(self.value))

    @property
    def shown(self) -> str:
        """Return the text with line ends drawn and unprintable signs replaced."""
        signs = "".join(sign if sign.isprintable() or sign == "\n" else HIDDEN for sign in self.text)
        return signs.replace("\ufffd", HIDDEN).replace("\n", "↵\n") or HIDDEN


@dataclass(frozen=True, slots=True)
class Tokens:
    """Coloured text."""

    tokens: Sequence[Token]
    note: str = ""
    kind: str = "tokens"


@dataclass(frozen=True, slots=True)
class Fold:
    """Parts below a line that opens them; folds nest, so that a tree is folds in folds."""

    title: str
    parts: Sequence[Part]
    open: bool = False
    kind: str = "fold"


Part = Text | Table | Figure | Tokens | Fold


@dataclass(slots=True)
class Page:
    """A page as it is written.

    Attributes:
        title: At its top.
        about: One sentence below.
        facts: Names and values: model, prompts, seeds, cost.
    """

    title: str
    about: str
    facts: Mapping[str, str]
    sections: list[tuple[str, tuple[Part, ...]]] = field(default_factory=list)

    def add(self, title: str, *parts: Part) -> None:
        """Add a section."""
        self.sections.append((title, parts))

    def html(self) -> str:
        """Return the page."""
        return _environment().get_template("page.html").render(page=self)

    def write(self, path: Path) -> Path:
        """Write the page.

        Raises:
            InterpError: It cannot be written.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            replace_text(path, self.html())
        except OSError as error:
            reason = error.strerror or error
            raise InterpError(f"{path} could not be written ({reason}); name another folder.") from None
        return path


def fragment(parts: Sequence[Part]) -> Markup:
    """Return parts as HTML for another page, such as a run's report."""
    module = _environment().get_template("parts.html").module
    return Markup("").join(module.part(one) for one in parts)  # type: ignore[attr-defined]


def _environment() -> Environment:
    return Environment(
        loader=PackageLoader("palaestra.interp", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )


def number(value: float, digits: int = 3) -> str:
    """Return a number as tables show it, with a true minus sign."""
    return f"{value:.{digits}g}".replace("-", "−")


def bracket(mean: float, low: float, high: float, digits: int = 2) -> str:
    """Return a mean with its interval."""
    return f"{mean:.{digits}f} [{low:.{digits}f}, {high:.{digits}f}]".replace("-", "−")
