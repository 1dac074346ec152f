"""Reading documents with thinking tokens: the fast road beside the environment `palaestra.envs.games.next_token`.

Step by step, every token of every document would be an observation, a call of the model and an action. Read in one go,
a batch of documents shares its calls: real tokens between two places where one may think are one piece, and only
thoughts are drawn one by one. A *reading* is the outcome, one row of L tokens in the order in which the model saw them;
`score` computes what the model says along many readings in one pass, with a gradient.

Invariants, each with a test: a reading is the episode that stepping the environment with the same seed gives (ids
exactly, log-probabilities up to rounding), whatever else is in its batch; nothing in it depends on a real token before
that token was placed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from palaestra.agents.thinking import ADVANCE, Thinking, decide
from palaestra.envs.documents.vocabulary import Encoded
from palaestra.envs.errors import OptionError

WASTE = 0.25
"""Share of the cache's columns that may be there for nothing."""

BY_COLUMN = ("mpt", "bart", "mbart", "roberta", "xlm-roberta", "camembert", "xlnet")
"""Models whose positions are columns of the batch, in which a row's gaps would count."""
ATTENTION = {"full_attention", "sliding_attention"}
"""Kinds of layers that documents can be read with."""


@dataclass(frozen=True, slots=True)
class Reading:
    """A document as it was read.

    Attributes:
        tokens: int64[L], first what every context begins with, then real tokens, each after its thoughts.
        place: int64[L], the number of the real token that a token is, or is a thought before; -1 at the beginning.
        thought: bool[L], which are thinking tokens.
        decided: bool[L], where a decision was made: at thinking tokens, and at real ones before which another thought
            would have been allowed.
        decision: float32[L], log-probability of that decision when it was made; 0 elsewhere.
    """

    tokens: NDArray[np.int64]
    place: NDArray[np.int64]
    thought: NDArray[np.bool_]
    decided: NDArray[np.bool_]
    decision: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.tokens)

    def thoughts(self, tokens: int) -> NDArray[np.int64]:
        """Return int64[T]: how many thoughts stand before each of the document's T real tokens."""
        return np.bincount(self.place[self.thought], minlength=tokens)


def check_ids(document: Encoded, thinking: Thinking) -> None:
    """Find out whether the model has all tokens of a document.

    Raises:
        OptionError: It does not.
    """
    outside = (document.ids < 0) | (document.ids >= thinking.real)
    if outside.any():
        raise OptionError(
            f"token id {int(document.ids[outside][0])} is outside the model's vocabulary of {thinking.real}; encode "
            "the document with the model's own tokenizer."
        )


def laid_out(document: Encoded, thoughts: Sequence[Sequence[int]], thinking: Thinking, start: Sequence[int]) -> Reading:
    """Return a document as it would have been read with given thoughts, whose decisions have no log-probability.

    Args:
        document: T real tokens.
        thoughts: T, the thinking tokens before each real one, by their numbers from 0.
        start: Tokens that every context begins with.

    Raises:
        OptionError: A token that the model does not have.
    """
    check_ids(document, thinking)
    line = [(token, -1, False, False, 0.0) for token in start]
    for place, (token, before) in enumerate(zip(document.ids.tolist(), thoughts, strict=True)):
        line += [(thinking.real + kind, place, True, True, 0.0) for kind in before]
        free = bool(document.open[place]) and len(before) < thinking.most and not thinking.fixed
        line.append((token, place, False, free, 0.0))
    return _reading(line)


def fitting(document: Encoded, thinking: Thinking) -> list[list[int]]:
    """Return a document's worked thoughts, as far as there are thinking tokens and room for them: the last ones."""
    return [
        [kind % thinking.kinds for kind in worked[max(0, len(worked) - thinking.most) :]] if open_ else []
        for worked, open_ in zip(document.worked, document.open, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Batch:
    """Readings as tensors [B, L], padded on the right; fields as in `Reading`, ``attention`` false on padding."""

    tokens: Tensor
    attention: Tensor
    place: Tensor
    thought: Tensor
    decided: Tensor
    decision: Tensor

    @property
    def real(self) -> Tensor:
        """Return bool[B, L]: the real tokens of documents."""
        return self.attention & ~self.thought & (self.place >= 0)

    @classmethod
    def of(cls, readings: Sequence[Reading], device: torch.device | str | None = None) -> Batch:
        """Pad readings to the longest of them."""
        longest = max(map(len, readings))

        def padded(name: str, fill: float, dtype: type) -> Tensor:
            table: np.ndarray = np.full((len(readings), longest), fill, dtype)
            for line, reading in zip(table, readings, strict=True):
                line[: len(reading)] = getattr(reading, name)
            return torch.from_numpy(table).to(device)

        attention = np.arange(longest) < np.array([[len(reading)] for reading in readings])
        return cls(
            padded("tokens", 0, np.int64),
            torch.from_numpy(attention).to(device),
            padded("place", -1, np.int64),
            padded("thought", False, np.bool_),
            padded("decided", False, np.bool_),
            padded("decision", 0.0, np.float32),
        )


@dataclass(frozen=True, slots=True)
class Scores:
    """What a model says along a batch of readings.

    Attributes:
        real: float32[B, L], log-probability of each real token, 0 elsewhere.
        decision: float32[B, L], log-probability of each decision, 0 where there was none.
    """

    real: Tensor
    decision: Tensor


def score(model: Any, thinking: Thinking, batch: Batch) -> Scores:
    """Return what ``model`` says along readings, in one pass and with a gradient.

    Args:
        model: A causal language model of transformers, or a PEFT model around one, whose vocabulary was extended.
    """
    logits = model(input_ids=batch.tokens, attention_mask=batch.attention.long(), use_cache=False).logits
    return scores_of(logits, thinking, batch)


def scores_of(logits: Tensor, thinking: Thinking, batch: Batch) -> Scores:
    """Return what logits [B, L, V + K + 1], at the tokens of readings, say of the tokens that follow them."""
    logits = logits[:, :-1]
    following, thought = batch.tokens[:, 1:], batch.thought[:, 1:]
    real = thinking.real_logprobs(logits).gather(-1, following.clamp(max=thinking.real - 1)[..., None])[..., 0]
    kind = torch.where(thought, following - thinking.real + 1, ADVANCE)
    decision = thinking.decisions(logits).gather(-1, torch.where(batch.decided[:, 1:], kind, 1)[..., None])[..., 0]
    pad = torch.nn.functional.pad
    return Scores(
        pad(torch.where(batch.real[:, 1:], real, 0.0), (1, 0)),
        pad(torch.where(batch.decided[:, 1:], decision, 0.0), (1, 0)),
    )


@torch.no_grad()
def read(
    model: Any,
    thinking: Thinking,
    documents: Sequence[Encoded],
    seeds: Sequence[int],
    *,
    start: Sequence[int],
    temperature: float = 1.0,
    silent: Sequence[bool] | None = None,
    begun: Sequence[Sequence[int]] | None = None,
) -> list[Reading]:
    """Read documents, drawing thoughts where they are allowed.

    Args:
        model: As for `score`.
        documents: N of them.
        seeds: N; fix each reading's decisions.
        start: Tokens that every context begins with, at least one.
        temperature: 1, or 0 for the likeliest decisions.
        silent: N; true for the empty thought, which makes no decision and never thinks.
        begun: N; the first decisions of each, which were made before and are not drawn (`decisions_of`).

    Raises:
        ValueError: No start token.
        OptionError: A token id that the model does not have; or some of its layers do not attend, or look back fewer
            tokens than the documents take.
    """
    if not start:
        raise ValueError("a context begins with at least one token, such as the model's first")
    for document in documents:
        check_ids(document, thinking)
    rows = len(documents)
    return _Desk(
        model, thinking, documents, seeds, start, temperature, silent or [False] * rows, begun or [()] * rows
    ).readings()


def decisions_of(document: Encoded, counts: Sequence[Sequence[int]], thinking: Thinking) -> list[int]:
    """Return the decisions that a reading begins with.

    Args:
        counts: Thinking tokens before each real token so far, by their numbers from 0; the last ones stand before the
            token that is due.

    Raises:
        OptionError: The model has no such thoughts, or could not have advanced there.
    """
    found: list[int] = []
    for place, before in enumerate(counts):
        ended = place + 1 < len(counts)
        short = thinking.fixed and ended and document.open[place] and len(before) < thinking.most
        if len(before) > thinking.most or any(kind >= thinking.kinds for kind in before) or short:
            raise OptionError(
                f"token {place + 1} of the document was read with {len(before)} thoughts, which this model, with at "
                f"most {thinking.most} of {thinking.kinds} kinds, could not have; go on from a turn before it."
            )
        found += [kind + 1 for kind in before]
        if ended and document.open[place] and len(before) < thinking.most:
            found.append(ADVANCE)
    return found


class _Desk:
    """One batch being read, column by column; a row that does not use a column does not attend to it."""

    def __init__(
        self,
        model: Any,
        thinking: Thinking,
        documents: Sequence[Encoded],
        seeds: Sequence[int],
        start: Sequence[int],
        temperature: float,
        silent: Sequence[bool],
        begun: Sequence[Sequence[int]],
    ) -> None:
        from palaestra.agents.columns import columns

        self.model, self.thinking, self.documents = model, thinking, documents
        self.seeds, self.temperature, self.silent, self.begun = seeds, temperature, silent, begun
        rows = len(documents)
        self.device = next(model.parameters()).device
        self.cache: Any = columns()
        self.window = _window(model.config.get_text_config())
        self.waiting: list[tuple[list[int], list[bool]]] = [([token] * rows, [True] * rows) for token in start]
        self.used = torch.zeros((rows, 0), dtype=torch.int64, device=self.device)
        self.last = torch.zeros((rows, thinking.size), device=self.device)
        """Logits after each row's last token."""
        self.made = [0] * rows
        self.lines: list[list[tuple[int, int, bool, bool, float]]] = [
            [(token, -1, False, False, 0.0) for token in start] for _ in documents
        ]

    def readings(self) -> list[Reading]:
        for place in range(max(map(len, self.documents), default=0)):
            there = [row for row, document in enumerate(self.documents) if place < len(document)]
            odds = self._think(
                place, [row for row in there if self.documents[row].open[place] and not self.silent[row]]
            )
            for row in there:
                token, made = int(self.documents[row].ids[place]), odds.get(row)
                self.lines[row].append((token, place, False, made is not None, made or 0.0))
            self._place({row: int(self.documents[row].ids[place]) for row in there})
        return [_reading(line) for line in self.lines]

    def _think(self, place: int, rows: list[int]) -> dict[int, float]:
        """Draw thoughts before a real token; return the log-probability of the decision that ended them."""
        ended: dict[int, float] = {}
        for _ in range(self.thinking.most):
            if not rows:
                break
            self._compute()
            decisions = self.thinking.decisions(self.last[rows])
            made = decide(
                decisions, [self.seeds[row] for row in rows], [self.made[row] for row in rows], self.temperature
            )
            before = [self.begun[row][self.made[row] : self.made[row] + 1] for row in rows]
            made = [known[0] if known else drawn for known, drawn in zip(before, made, strict=True)]
            paid = decisions.gather(-1, torch.tensor(made, device=self.device)[:, None])[:, 0].tolist()
            thinking: dict[int, int] = {}
            for row, decision, logprob in zip(rows, made, paid, strict=True):
                self.made[row] += 1
                if decision == ADVANCE:
                    ended[row] = logprob
                else:
                    thinking[row] = self.thinking.real + decision - 1
                    self.lines[row].append((thinking[row], place, True, True, logprob))
            if thinking:
                self._place(thinking)
            rows = list(thinking)
        return ended

    def _place(self, tokens: dict[int, int]) -> None:
        """Append a column, computed when somebody next has to decide."""
        rows = range(len(self.documents))
        self.waiting.append(([tokens.get(row, 0) for row in rows], [row in tokens for row in rows]))

    def _compute(self) -> None:
        """Bring ``last`` up to date."""
        if not self.waiting:
            return
        ids = torch.tensor([column for column, _ in self.waiting], device=self.device).T
        used = torch.tensor([there for _, there in self.waiting], dtype=torch.int64, device=self.device).T
        self.waiting = []
        before = self.used.sum(-1, keepdim=True)
        self._compact(int(before.max()))
        self.used = torch.cat([self.used, used], -1)
        if self.window and len(self.documents) > 1 and self.used.shape[1] > self.window:
            # transformers counts a window in columns, and a row's gaps are columns, too
            raise OptionError(
                f"the model looks back {self.window} tokens in some of its layers, and these documents with their "
                "thoughts take more; have shorter documents, or read them one at a time."
            )
        positions = (before + used.cumsum(-1) - 1).clamp(min=0)
        logits = self.model(
            input_ids=ids, attention_mask=self.used, position_ids=positions, past_key_values=self.cache, use_cache=True
        ).logits
        newest = used.shape[1] - 1 - used.flip(-1).argmax(-1)
        fresh = logits[torch.arange(len(ids), device=self.device), newest].float()
        self.last = torch.where(used.any(-1, keepdim=True), fresh, self.last)

    def _compact(self, longest: int) -> None:
        """Move what each row has in the cache to the right, once more than `WASTE` of the columns are beyond need: a
        thought takes a column in all rows, however few of them think."""
        columns = self.used.shape[1]
        if columns * (1 - WASTE) <= longest:
            return
        order = self.used.argsort(dim=-1, stable=True)[:, columns - longest :]
        self.used = self.used.gather(-1, order)
        for layer in self.cache.layers:
            layer.keep(order)


def _window(config: Any) -> int:
    """Return how many tokens a model's layers of sliding attention look back; 0 if it has none.

    Raises:
        OptionError: Some of its layers do not attend.
    """
    if config.model_type in BY_COLUMN:
        raise OptionError(f"a {config.model_type} model cannot read here: it counts positions by columns of a batch.")
    if "local" in (getattr(config, "attention_layers", None) or ()):
        raise OptionError(f"a {config.model_type} model cannot read here: local attention counts columns of a batch.")
    kinds = getattr(config, "layer_types", None)
    if not hasattr(config, "num_attention_heads") or {*(kinds or ())} - ATTENTION:
        raise OptionError(f"a {config.model_type} model cannot read here: all of its layers must be attention.")
    slides = getattr(config, "use_sliding_window", True) and (kinds is None or "sliding_attention" in kinds)
    return int(getattr(config, "sliding_window", None) or 0) if slides else 0


def _reading(line: list[tuple[int, int, bool, bool, float]]) -> Reading:
    tokens, place, thought, decided, decision = zip(*line, strict=True)
    return Reading(
        np.array(tokens, np.int64),
        np.array(place, np.int64),
        np.array(thought, np.bool_),
        np.array(decided, np.bool_),
        np.array(decision, np.float32),
    )
