"""An atlas from texts to a page: choose tokens, grow the tree, describe it, locate other texts, write everything."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palaestra.interp.atlas import storage
from palaestra.interp.atlas.describe import Explain, ask, describe
from palaestra.interp.atlas.locate import Located, locate
from palaestra.interp.atlas.page import write_page
from palaestra.interp.atlas.tokens import CONTEXT, MOST_LOSS, Texts, choose, default_order, read_texts, shipped_text
from palaestra.interp.atlas.tree import Settings, Tree, grow
from palaestra.interp.errors import InterpError
from palaestra.interp.folder import contents_of

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

SHIPPED = "the text that is shipped"
NAMED = 8
"""Files that a page names; games are read by the thousand."""


@dataclass(frozen=True, slots=True)
class Options:
    """What an atlas is made of.

    Attributes:
        tokens: Read at most.
        profiles: Tokens that get a gradient profile.
        context: Tokens of a row.
        most_loss: Nats that a well-predicted token may cost.
        order: Equal tokens that make an induction; None for the model's default, 0 leaves those in.
        settings: Of the tree.
    """

    tokens: int = 10_000
    profiles: int = 800
    context: int = CONTEXT
    most_loss: float = MOST_LOSS
    order: int | None = None
    settings: Settings = field(default_factory=Settings)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        plain = {name: getattr(self, name) for name in ("tokens", "profiles", "context", "most_loss", "order")}
        return plain | {name: getattr(self.settings, name) for name in Settings.__dataclass_fields__}


def texts_of(opened: OpenModel, paths: Sequence[Path], options: Options) -> Texts:
    """Return the rows of files, or of the shipped text where none are named, at most as many tokens as asked for."""
    found = (
        read_texts(opened, paths, context=options.context) if paths else shipped_text(opened, context=options.context)
    )
    return found.first(options.tokens)


def make_atlas(
    opened: OpenModel,
    paths: Sequence[Path],
    folder: Path,
    options: Options = Options(),
    *,
    others: Sequence[Path] = (),
    explain: Explain | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[Tree, dict[str, Any], Path]:
    """Make an atlas in a folder; what was computed there of the same weights, tokens and options is used again.

    Args:
        opened: The model.
        paths: Text files and replays; the shipped text if there are none.
        folder: Where everything goes.
        options: What it is made of.
        others: Texts that are located in the tree afterwards, each file by itself.
        explain: Puts descriptions into a sentence.
        say: Told about progress.

    Returns:
        The tree, what ``tree.json`` says about it, and the page.

    Raises:
        InterpError: There is no text, too few tokens are predicted well, or the folder cannot be written.
    """
    texts = texts_of(opened, paths, options)
    settings = options.settings
    order = default_order(opened) if options.order is None else options.order
    key = contents_of(opened, list(texts.rows), list(texts.allowed or ()), options.as_json())
    try:
        work = storage.Work(folder / "work", key)
    except OSError as error:
        raise InterpError(f"{folder} cannot be written ({error.strerror or error}); name another folder.") from None
    start = time.perf_counter()
    done = 0

    def read(count: int) -> None:
        nonlocal done
        done += count
        spent = time.perf_counter() - start
        say(f"read {done} of {texts.tokens} tokens, {spent / done * (texts.tokens - done):.0f} s left")

    counts: dict[str, int] = {}

    def tokens_of() -> dict[str, Any]:
        import torch

        tokens, found = choose(
            opened,
            texts,
            count=options.profiles,
            seed=settings.seed,
            most_loss=options.most_loss,
            order=order,
            batch=settings.batch,
            on_batch=read,
        )
        spent = torch.tensor([time.perf_counter() - start], dtype=torch.float64)
        return storage.tokens_out(tokens) | {
            "seconds": spent,
            **{f"counts/{name}": torch.tensor(value) for name, value in found.items()},
        }

    arrays = work.tensors("tokens", tokens_of)
    counts = {name.removeprefix("counts/"): int(value) for name, value in arrays.items() if name.startswith("counts/")}
    read_seconds = float(arrays["seconds"])
    tokens = storage.tokens_in(arrays, texts.source)
    grown = time.perf_counter()
    passed = 0

    def profiled(count: int) -> None:
        nonlocal passed
        passed += count

    tree = grow(opened, tokens, settings, work=work, say=say, on_batch=profiled)
    grow_seconds = time.perf_counter() - grown
    describe(opened, tree, settings.seed)
    if explain is not None:
        ask(opened, tree, explain)
    located = {path.name: located_in(opened, tree, path, options).as_json() for path in others}
    about = {
        "model": opened.name,
        "text": named(paths) or SHIPPED,
        "most_loss": options.most_loss,
        "counts": counts,
        "options": {**options.as_json(), "order": order},
        "located": located,
        "cost": {
            "seconds": read_seconds + grow_seconds,
            "reading_seconds": read_seconds,
            "growing_seconds": grow_seconds,
            "direct_tokens_per_second": counts["read"] / max(read_seconds, 1e-9),
            "profiles_per_second": passed / max(grow_seconds, 1e-9),
            "passes": passed,
        },
    }
    storage.save(folder, tree, about)
    return tree, about, write_page(folder, opened, tree, about)


def named(paths: Sequence[Path]) -> str:
    """Return the names of files, of many only the first, for a page."""
    more = len(paths) - NAMED
    names = ", ".join(path.name for path in paths[:NAMED])
    return f"{names} and {more} more" if more > 0 else names


def located_in(opened: OpenModel, tree: Tree, path: Path, options: Options, most: int = 200) -> Located:
    """Locate the tokens of one file in a tree, chosen as the tree's own were."""
    texts = texts_of(opened, [path], options)
    tokens, _ = choose(
        opened,
        texts,
        count=most,
        seed=options.settings.seed,
        most_loss=options.most_loss,
        order=options.order,
        batch=options.settings.batch,
    )
    return locate(opened, tree, tokens)
