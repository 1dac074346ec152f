"""A text to be predicted token by token, with what is known of each piece of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

Where = Literal["never", "first", "every"]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some characters that belong together.

    Attributes:
        text: Never empty.
        open: Before which of its tokens one may think: none, the first, or every one. Where two pieces may follow the
            same text, their first tokens are open alike, or it would be said beforehand which of them comes.
        scored: Whether predicting its tokens counts.
        hard: Whether it takes computation, such as an answer.
        state: The hidden state that its first token needs; None where there is none.
        worked: Hidden states on the way there, in order, as the thinking tokens of a demonstration; empty where there
            is none.
    """

    text: str
    open: Where = "never"
    scored: bool = True
    hard: bool = False
    state: int | None = None
    worked: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        if not self.text:
            raise ValueError("a piece of a document has at least one character")


@dataclass(frozen=True, slots=True)
class Document:
    """Pieces in order.

    Attributes:
        name: What it is, such as ``chain(z7,5)``.
        entropy: What the best predictor pays on its scored tokens on average, in nats; nan where that is not known.
    """

    pieces: tuple[Piece, ...]
    name: str
    entropy: float = float("nan")

    @property
    def text(self) -> str:
        """Return the whole text."""
        return "".join(piece.text for piece in self.pieces)


def shown(text: str) -> list[Piece]:
    """Return characters that are given and not asked for, a piece each."""
    return [Piece(sign, scored=False) for sign in text]


def easily(where: Literal["hard", "every", "never"]) -> Where:
    """Return before which tokens one may think that are no answer's."""
    return "every" if where == "every" else "never"


def asked(answer: str, where: Literal["hard", "every", "never"], worked: Sequence[int]) -> list[Piece]:
    """Return "=" and an answer: the sign is easy, the answer hard; one may think before the answer or before both.

    Args:
        worked: The hidden states on the way, the answer's own last.
    """
    easy = easily(where)
    hard: Where = "never" if where == "never" else "first"
    first, rest = answer[0], answer[1:]
    return [
        Piece("=", open=easy),
        Piece(first, open=hard, hard=True, state=worked[-1], worked=tuple(worked)),
        *(Piece(sign, open=easy, hard=True) for sign in rest),
    ]
