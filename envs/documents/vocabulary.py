"""Vocabularies: how a document becomes token ids.

`BYTES` is there without anything else: one token a byte of UTF-8. The tokenizer of a model is asked for by the model's
name, which whoever knows models resolves (`on_unknown`); this package knows none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from palaestra.envs.documents.document import Document
from palaestra.envs.errors import UnknownName


class Vocabulary(Protocol):
    """A tokenizer; ids are ``range(size)``."""

    @property
    def size(self) -> int: ...

    def encode(self, text: str) -> list[int]: ...

    def decode(self, ids: Sequence[int]) -> str: ...


@dataclass(frozen=True, slots=True)
class Bytes:
    """One token a byte."""

    size: int = 256

    def encode(self, text: str) -> list[int]:
        """Return the bytes of a text."""
        return list(text.encode())

    def decode(self, ids: Sequence[int]) -> str:
        """Return the text of bytes, with a sign of replacement for what is none; other ids are dropped."""
        return bytes(one for one in ids if 0 <= one < self.size).decode(errors="replace")


BYTES = Bytes()
_resolvers: list[Callable[[str], Vocabulary | None]] = []


def on_unknown(resolve: Callable[[str], Vocabulary | None]) -> None:
    """Ask ``resolve`` for vocabularies whose names are not known here; it returns None where it knows none either."""
    _resolvers.append(resolve)


def vocabulary(name: str) -> Vocabulary:
    """Return the vocabulary of a name: ``bytes``, or the source of a model, such as ``smollm2``.

    Raises:
        UnknownName: Nobody knows it.
    """
    if name == "bytes":
        return BYTES
    for resolve in _resolvers:
        if (found := resolve(name)) is not None:
            return found
    cure = "Use bytes; a model's tokenizer is known once palaestra.agents is imported."
    raise UnknownName("vocabulary", name, ["bytes"], cure)


Thoughts = Literal["drawn", "none", "worked"]
"""How a document is read: with thoughts that the reader draws, without any, or with those that it brings itself."""


@dataclass(frozen=True, slots=True)
class Encoded:
    """A document as T tokens.

    Attributes:
        ids: int64[T]. open: bool[T], whether one may think before the token. scored: bool[T], whether predicting it
            counts. hard: bool[T], whether it takes computation.
        state: int64[T], the hidden state that the token needs; -1 where there is none.
        worked: T, the hidden states on the way there, as thinking tokens of a demonstration; empty where there are
            none.
    """

    ids: NDArray[np.int64]
    open: NDArray[np.bool_]
    scored: NDArray[np.bool_]
    hard: NDArray[np.bool_]
    state: NDArray[np.int64]
    worked: tuple[tuple[int, ...], ...]

    def __len__(self) -> int:
        return len(self.ids)


def encode(document: Document, words: Vocabulary) -> Encoded:
    """Return a document's tokens, each piece turned into tokens by itself.

    Raises:
        ValueError: A piece has no tokens in this vocabulary.
    """
    ids: list[int] = []
    open_: list[bool] = []
    scored: list[bool] = []
    hard: list[bool] = []
    state: list[int] = []
    worked: list[tuple[int, ...]] = []
    for piece in document.pieces:
        own = words.encode(piece.text)
        if not own:
            raise ValueError(f"{piece.text[:20]!r} has no tokens in this vocabulary; use another, or other text")
        rest = len(own) - 1
        ids += own
        open_ += [piece.open != "never", *([piece.open == "every"] * rest)]
        scored += [piece.scored] * len(own)
        hard += [piece.hard] * len(own)
        state += [-1 if piece.state is None else piece.state, *([-1] * rest)]
        worked += [piece.worked, *([()] * rest)]
    return Encoded(
        np.array(ids, np.int64),
        np.array(open_, np.bool_),
        np.array(scored, np.bool_),
        np.array(hard, np.bool_),
        np.array(state, np.int64),
        tuple(worked),
    )
