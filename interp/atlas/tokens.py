"""Which tokens an atlas is made of: those that a model predicts well, and not merely by repeating what it has read.

Texts are cut into rows of at most ``context`` tokens. A *token* of the atlas is a place t of a row: what is explained
is the prediction of the token at t + 1 from the tokens up to t. It is taken if the prediction costs less than a
threshold of nats, and is not one by *induction*: the last ``order`` tokens stood earlier in the row with the same
token behind them (Michaud et al., arXiv 2303.13506, filter in the same way). Place 0 is never taken.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from palaestra.interp.errors import InterpError

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

MOST_LOSS = 0.5
"""Nats that a well-predicted token may cost."""
CONTEXT = 128


@dataclass(frozen=True, slots=True, eq=False)
class Texts:
    """Rows of token ids.

    Attributes:
        rows: Each int64 [T], T at least 2.
        source: Where each row is from.
        allowed: For each row, bool [T]: places whose prediction may be asked about; None for all.
    """

    rows: tuple[Ints, ...]
    source: tuple[str, ...]
    allowed: tuple[NDArray[np.bool_], ...] | None = None

    def __post_init__(self) -> None:
        if not self.rows:
            raise InterpError("there is no text of two tokens or more; name files that hold some.")

    @property
    def tokens(self) -> int:
        """Return the number of tokens."""
        return sum(map(len, self.rows))

    def first(self, tokens: int) -> Texts:
        """Return the first rows, until there are as many tokens."""
        ends = np.cumsum([len(row) for row in self.rows])
        count = int(np.searchsorted(ends, tokens)) + 1
        return Texts(self.rows[:count], self.source[:count], None if self.allowed is None else self.allowed[:count])


@dataclass(frozen=True, slots=True, eq=False)
class Tokens:
    """n tokens of an atlas.

    Attributes:
        texts: Where they stand.
        row, place: int64 [n]; the prediction is made at ``place``.
        loss: float32 [n], nats.
        weight: float32 [n]: how many tokens of the texts each stands for.
        direct: float32 [n, m] what each writer adds to the answer's logit (`palaestra.interp.atlas.profiles`).
    """

    texts: Texts
    row: Ints
    place: Ints
    loss: Floats
    weight: Floats
    direct: Floats

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, which: NDArray[np.bool_] | Ints) -> Tokens:
        """Return some of them."""
        return replace(
            self,
            row=self.row[which],
            place=self.place[which],
            loss=self.loss[which],
            weight=self.weight[which],
            direct=self.direct[which],
        )

    @property
    def answer(self) -> Ints:
        """Return the ids of the predicted tokens: [n]."""
        return self.at(1)

    @property
    def here(self) -> Ints:
        """Return the ids of the tokens at which the prediction is made: [n]."""
        return self.at(0)

    def at(self, offset: int) -> Ints:
        """Return the ids at an offset from the place of prediction, -1 where the row does not reach: [n]."""
        found = []
        for row, place in zip(self.row, self.place, strict=True):
            at = place + offset
            found.append(int(self.texts.rows[row][at]) if 0 <= at < len(self.texts.rows[row]) else -1)
        return np.array(found, dtype=np.int64)

    def context(self, index: int, most: int | None = None) -> Ints:
        """Return the ids up to and with the place of prediction, the last ``most`` of them."""
        row = self.texts.rows[self.row[index]][: self.place[index] + 1]
        return row if most is None else row[-most:]


def by_induction(row: Ints, order: int) -> NDArray[np.bool_]:
    """Return where the next token already stood behind the last ``order`` tokens, earlier in the row: bool [T].

    The last place has no next token and is False.
    """
    length = len(row)
    found = np.zeros(length, dtype=bool)
    if length < order + 2:
        return found
    spans = np.lib.stride_tricks.sliding_window_view(row, order + 1)  # span i: tokens i .. i + order
    seen: set[bytes] = set()
    for start, span in enumerate(spans):
        key = span.tobytes()
        found[start + order - 1] = key in seen
        seen.add(key)
    return found


def default_order(opened: OpenModel) -> int:
    """Return how many equal tokens make an induction: 1 for words and their pieces, 3 for bytes."""
    embedding = next(iter(opened.anatomy.embeddings.values()))
    assert isinstance(embedding.weight, torch.Tensor)
    byte_sized = 256 <= embedding.weight.shape[0] < 1000
    return 3 if byte_sized else 1


def of_rows(
    rows: Iterable[Sequence[int]], source: str, *, context: int = CONTEXT, begin: Sequence[int] = ()
) -> tuple[list[Ints], list[str]]:
    """Cut token ids into rows of at most ``context``; ``begin`` stands before each, as at a context's beginning."""
    found: list[Ints] = []
    room = context - len(begin)
    for ids in rows:
        for start in range(0, len(ids), room):
            part = [*begin, *ids[start : start + room]]
            if len(part) >= 2 + len(begin):
                found.append(np.array(part, dtype=np.int64))
    return found, [source] * len(found)


def read_texts(opened: OpenModel, paths: Sequence[Path], *, context: int = CONTEXT) -> Texts:
    """Read text files and replays (``.jsonl``) as rows.

    A text file is tokenised as plain text. Of a replay the exact tokens that a seat read and sampled are taken, where
    this model's vocabulary can hold them; only sampled tokens are asked about. Replays without language models are
    passed over.

    Raises:
        InterpError: A file cannot be read, or none holds any text.
    """
    if opened.codec is None:
        raise InterpError(f"{opened.name} has no tokenizer; open it from a folder that holds tokenizer.json.")
    begin = opened.codec.chat_open(None)[:1]
    rows: list[Ints] = []
    sources: list[str] = []
    allowed: list[NDArray[np.bool_]] = []
    for path in paths:
        if path.suffix == ".jsonl":
            for ids, sampled in _segments(opened, path):
                for start in range(0, len(ids), context):
                    part = ids[start : start + context]
                    if len(part) >= 2:
                        rows.append(part)
                        # a place may be asked about where the token behind it was sampled
                        allowed.append(np.append(sampled[start + 1 : start + len(part)], False))
                        sources.append(path.name)
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise InterpError(f"{path} cannot be read as text ({error}); give UTF-8 text files or replays.") from None
        found, names = of_rows([opened.codec.encode_untrusted(text)], path.name, context=context, begin=begin)
        rows += found
        sources += names
        allowed += [np.ones(len(one), dtype=bool) for one in found]
    if not rows:
        named = ", ".join(path.name for path in paths[:3]) + (", …" if len(paths) > 3 else "")
        raise InterpError(f"{named}: no tokens; give texts, or replays in which a seat was a language model.")
    return Texts(tuple(rows), tuple(sources), tuple(allowed))


def shipped_text(opened: OpenModel, *, context: int = CONTEXT) -> Texts:
    """Return the text that comes with the package, as rows."""
    from palaestra.envs.documents import read_corpus

    if opened.codec is None:
        raise InterpError(f"{opened.name} has no tokenizer; open it from a folder that holds tokenizer.json.")
    parts = read_corpus("", "text")
    begin = opened.codec.chat_open(None)[:1]
    rows, source = of_rows([opened.codec.encode_untrusted("\n\n".join(parts))], "text", context=context, begin=begin)
    return Texts(tuple(rows), tuple(source))


def _segments(opened: OpenModel, path: Path) -> Iterable[tuple[Ints, NDArray[np.bool_]]]:
    from palaestra.envs.replay import read_replay

    embedding = next(iter(opened.anatomy.embeddings.values()))
    assert isinstance(embedding.weight, torch.Tensor)
    size = embedding.weight.shape[0]
    episode = read_replay(path).episode
    for player in range(len(episode.roles)):
        for segment in episode.segments(player):
            ids = np.array(segment.tokens, dtype=np.int64)
            if len(ids) and ids.max() >= size:
                raise InterpError(
                    f"{path} holds token {ids.max()}, and {opened.name} knows {size}; the replay is of another model."
                )
            yield ids, np.array(segment.sampled, dtype=bool)


def spread(direct: Floats, count: int, seed: int) -> tuple[Ints, Floats]:
    """Choose ``count`` of n tokens evenly over what their direct contributions look like, so that rare kinds are there.

    Args:
        direct: [n, m].
        count: How many.
        seed: Of the choice.

    Returns:
        Indices in order, and how many of the n each stands for.
    """
    from sklearn.cluster import MiniBatchKMeans

    total = len(direct)
    if total <= count:
        return np.arange(total), np.ones(total, dtype=np.float32)
    scaled = np.sign(direct) * np.sqrt(np.abs(direct))
    scaled = scaled / np.maximum(np.linalg.norm(scaled, axis=1, keepdims=True), 1e-9)
    groups = min(24, max(2, count // 20))
    label = MiniBatchKMeans(groups, random_state=seed, n_init=1, batch_size=2048).fit_predict(scaled)
    generator = np.random.default_rng(seed)
    sizes = np.bincount(label, minlength=groups)
    share = np.zeros(groups, dtype=int)
    left, open_groups = count, [int(one) for one in np.argsort(sizes)]
    while open_groups:
        group = open_groups.pop(0)  # small groups first: what they cannot fill, the others share
        share[group] = min(int(sizes[group]), left // (len(open_groups) + 1))
        left -= share[group]
    chosen, weights = [], []
    for group in range(groups):
        members = np.flatnonzero(label == group)
        if share[group]:
            chosen.append(generator.choice(members, share[group], replace=False))
            weights.append(np.full(share[group], len(members) / share[group], dtype=np.float32))
    index = np.concatenate(chosen)
    order = np.argsort(index)
    return index[order].astype(np.int64), np.concatenate(weights)[order]


def choose(
    opened: OpenModel,
    texts: Texts,
    *,
    count: int,
    seed: int = 0,
    most_loss: float = MOST_LOSS,
    order: int | None = None,
    batch: int = 16,
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> tuple[Tokens, dict[str, int]]:
    """Read texts once and choose tokens, evenly over kinds of direct contributions.

    Args:
        opened: The model.
        texts: Rows.
        count: How many to choose at most.
        seed: Of the choice.
        most_loss: Nats; infinity asks about everything.
        order: Equal tokens that make an induction; 0 leaves those in, None for `default_order`.
        batch: Rows a forward pass.
        on_batch: Called with the number of tokens that were read, for progress.

    Returns:
        The tokens, and how many were read, predicted well, predicted by induction, and open to be chosen.

    Raises:
        InterpError: Fewer than two tokens are left.
    """
    from palaestra.interp.atlas.profiles import survey

    order = default_order(opened) if order is None else order
    rows, places, losses, directs = [], [], [], []
    counts = {"read": 0, "well_predicted": 0, "by_induction": 0, "open": 0}
    for first in range(0, len(texts.rows), batch):
        part = texts.rows[first : first + batch]
        found = survey(opened, part)
        for number, row in enumerate(part):
            loss = found.loss[number, : len(row) - 1]
            good = loss < most_loss
            good[0] = False
            if texts.allowed is not None:
                good &= texts.allowed[first + number][:-1]
            repeated = by_induction(row, order)[:-1] if order else np.zeros(len(row) - 1, dtype=bool)
            counts["well_predicted"] += int(good.sum())
            counts["by_induction"] += int((good & repeated).sum())
            at = np.flatnonzero(good & ~repeated)
            rows.append(np.full(len(at), first + number))
            places.append(at)
            losses.append(loss[at])
            directs.append(found.direct[number, at])
        counts["read"] += sum(map(len, part))
        on_batch(sum(map(len, part)))
    row = np.concatenate(rows).astype(np.int64)
    counts["open"] = len(row)
    if len(row) < 2:
        raise InterpError(
            f"{opened.name} predicts {counts['well_predicted']} of {counts['read']} tokens with less than "
            f"{most_loss:g} nats, and {len(row)} of them not by induction; give more or other text, or raise the limit."
        )
    direct = np.concatenate(directs)
    index, weight = spread(direct, count, seed)
    every = Tokens(
        texts,
        row,
        np.concatenate(places).astype(np.int64),
        np.concatenate(losses).astype(np.float32),
        np.ones(len(row), dtype=np.float32),
        direct,
    )
    return replace(every[index], weight=weight), counts
