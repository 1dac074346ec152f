"""What an analysis is made on: prompts that end where a prediction is read, alone or in pairs of clean and corrupt.

Rows are filled up on the right, so that place 0 is the first token in every row; a causal model does not see the
filler.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from palaestra.interp.errors import InterpError, UnequalTokens

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """B prompts of up to T tokens.

    Attributes:
        ids: [B, T] token ids.
        ends: [B] the place whose logits are read; the last token of a prompt.
        answers: [B, A] ids of the tokens that the metric is for.
        foils: [B, F] ids of the tokens it is against; F may be 0.
    """

    ids: Tensor
    ends: Tensor
    answers: Tensor
    foils: Tensor

    def __post_init__(self) -> None:
        if self.ids.ndim != 2 or not self.ids.numel():
            raise InterpError("there are no prompts; give at least one with at least one token.")
        rows = self.ids.shape[0]
        for what, one, axes in (("ends", self.ends, 1), ("answers", self.answers, 2), ("foils", self.foils, 2)):
            if one.ndim != axes or one.shape[0] != rows:
                raise InterpError(f"{what} of {rows} prompts have the shape {tuple(one.shape)}; one row a prompt.")
        if bool((self.ends < 0).any()) or bool((self.ends >= self.ids.shape[1]).any()):
            raise InterpError(f"a prompt ends outside of its {self.ids.shape[1]} tokens.")

    @classmethod
    def of(
        cls,
        rows: Sequence[Sequence[int]],
        answers: Sequence[Sequence[int]],
        foils: Sequence[Sequence[int]] | None = None,
    ) -> Prompts:
        """Make prompts of token ids; those of one call have equally many answers, and equally many foils.

        Raises:
            InterpError: There are none, one is empty, or the numbers of answers differ.
        """
        if not rows or not all(rows):
            raise InterpError("there are no prompts, or one is empty; give at least one token each.")
        longest = max(map(len, rows))
        ids = torch.tensor([[*row, *[row[-1]] * (longest - len(row))] for row in rows])
        try:
            against = torch.tensor([list(one) for one in foils]) if foils else torch.empty(len(rows), 0)
            return cls(
                ids,
                torch.tensor([len(row) - 1 for row in rows]),
                torch.tensor([list(one) for one in answers]),
                against.long(),
            )
        except ValueError as error:
            raise InterpError("prompts must have equally many answers, and equally many foils.") from error

    def __len__(self) -> int:
        return int(self.ids.shape[0])

    def __getitem__(self, rows: Tensor | slice) -> Prompts:
        """Return some of the prompts."""
        return Prompts(self.ids[rows], self.ends[rows], self.answers[rows], self.foils[rows])

    def batches(self, size: int) -> Iterator[Prompts]:
        """Yield the prompts, at most ``size`` at a time, so that memory does not grow with their number."""
        for start in range(0, len(self), size):
            yield self[start : start + size]

    def at_end(self, logits: Tensor) -> Tensor:
        """Return the logits where each prompt ends: [B, V] from [B, T, V], or [1, T, V] if alike in all."""
        return logits.expand(len(self), *logits.shape[1:])[
            torch.arange(len(self), device=logits.device), self.ends.to(logits.device)
        ]

    def real(self) -> Tensor:
        """Return where there are tokens and no filler: [B, T] of booleans."""
        return torch.arange(self.ids.shape[1])[None] <= self.ends[:, None]


@dataclass(frozen=True, slots=True, eq=False)
class Pairs:
    """Clean prompts, and corrupt ones that line up with them token by token.

    Attributes:
        clean: What the metric is read on.
        corrupt: What components are taken from; its answers and foils are the clean ones'.
    """

    clean: Prompts
    corrupt: Prompts

    def __post_init__(self) -> None:
        if self.clean.ids.shape != self.corrupt.ids.shape or not torch.equal(self.clean.ends, self.corrupt.ends):
            raise UnequalTokens(
                f"clean and corrupt prompts do not line up: {tuple(self.clean.ids.shape)} against "
                f"{tuple(self.corrupt.ids.shape)} tokens; write pairs that have equally many."
            )

    @classmethod
    def of_text(
        cls,
        opened: OpenModel,
        clean: Sequence[str],
        corrupt: Sequence[str],
        answers: Sequence[str],
        foils: Sequence[str] | None = None,
        chat: Sequence[bool] | None = None,
        begun: Sequence[str] | None = None,
    ) -> Pairs:
        """Make pairs of texts; an answer or foil stands for its first token.

        Args:
            opened: A model with its tokenizer.
            clean, corrupt: Texts.
            answers, foils: What the metric is for and against.
            chat: Of each pair, whether its texts are messages of a user, which the model replies to.
            begun: Of each pair, what the text or the reply goes on with in both.

        Raises:
            UnequalTokens: A pair has different numbers of tokens; it is shown.
            InterpError: There are none, an answer or foil is empty, or the model was opened without a tokenizer.
        """
        if opened.codec is None:
            raise InterpError(f"{opened.name} was opened without a tokenizer; give token ids (Prompts.of).")
        codec, encode = opened.codec, opened.codec.encode_untrusted

        def ids(texts: Sequence[str]) -> list[list[int]]:
            return [
                [*([*codec.chat_open(), *codec.user_turn(text)] if turn else encode(text)), *encode(said)]
                for text, turn, said in zip(
                    texts, chat or [False] * len(texts), begun or [""] * len(texts), strict=True
                )
            ]

        rows, others = ids(clean), ids(corrupt)
        if len(rows) != len(others):
            raise UnequalTokens(f"there are {len(rows)} clean and {len(others)} corrupt prompts; give one each.")
        for number, (a, b) in enumerate(zip(rows, others, strict=True)):
            if len(a) != len(b):
                raise UnequalTokens(
                    f"pair {number}: {clean[number]!r} has {len(a)} tokens and {corrupt[number]!r} has {len(b)}; write "
                    "pairs that have equally many."
                )

        def begins(what: str, words: Sequence[str]) -> list[list[int]]:
            if empty := [number for number, word in enumerate(words) if not encode(word)]:
                raise InterpError(f"pair {empty[0]}: its {what} is empty; give a word, whose first token counts.")
            return [encode(word)[:1] for word in words]

        first = begins("answer", answers)
        against = begins("foil", foils) if foils else None
        return cls(Prompts.of(rows, first, against), Prompts.of(others, first, against))

    def __len__(self) -> int:
        return len(self.clean)

    def __getitem__(self, rows: Tensor | slice) -> Pairs:
        """Return some of the pairs."""
        return Pairs(self.clean[rows], self.corrupt[rows])

    def batches(self, size: int) -> Iterator[Pairs]:
        """Yield the pairs, at most ``size`` at a time, so that memory does not grow with their number."""
        for some in zip(self.clean.batches(size), self.corrupt.batches(size), strict=True):
            yield Pairs(*some)
