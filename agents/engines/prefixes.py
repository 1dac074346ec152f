"""What need not be computed again: the store of waiting seats, and where a new row can copy its beginning from.

A *prefix* is tokens with their keys and values. Two contexts under one policy have equal keys and values as far as
their tokens agree, so any holder of a common beginning will do: the seat's own last turn, another seat's, or a row
that is running. Holders are found by their *head*, the first `SHARED` tokens; shorter agreement is not worth a copy.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from dataclasses import dataclass, field
from itertools import count, islice

import torch

from palaestra.agents.engines.base import Sampling
from palaestra.agents.engines.patterns import Matcher

SHARED = 16
"""Tokens of a head: fewest that are copied from somebody else's context."""

_CANDIDATES = 8
"""Most holders of a head that are looked at, latest first."""

_numbers = count()


@dataclass(eq=False, slots=True)
class Prefix:
    """Tokens that were computed once, with their keys and values [layers, 2, heads, len(tokens), head size]."""

    policy: str
    tokens: list[int]
    kv: torch.Tensor

    @property
    def nbytes(self) -> int:
        return self.kv.numel() * self.kv.element_size()


@dataclass(eq=False, slots=True)
class Row:
    """A request, waiting or running.

    Args:
        policy: Whose weights.
        tokens: The context; sampled tokens are appended.
        sampling: How to draw, or None to score the context instead.
        session: The seat that the keys and values are kept for.
        future: Resolved when `tokens` and `logprobs` are complete.
        matcher: What the reply is held to, if anything.
    """

    policy: str
    tokens: list[int]
    sampling: Sampling | None
    session: str | None
    future: asyncio.Future[None]
    matcher: Matcher | None = None
    context: int = field(init=False)
    computed: int = 0
    prefilled: int = 0
    logprobs: list[float] = field(default_factory=list)
    number: int = field(default_factory=_numbers.__next__)

    def __post_init__(self) -> None:
        self.context = len(self.tokens)

    @property
    def pending(self) -> int:
        """Tokens to compute before the next one can be drawn, or before the score is complete."""
        return len(self.tokens) - self.computed - (self.sampling is None)

    @property
    def longest(self) -> int:
        """Most tokens the row will ever compute."""
        return self.context + (self.sampling.max_tokens if self.sampling else 0) - 1

    @property
    def finished(self) -> bool:
        if self.sampling is None:
            return not self.pending
        drawn = len(self.logprobs)
        return drawn == self.sampling.max_tokens or (drawn > 0 and self.tokens[-1] in self.sampling.stop_ids)


@dataclass(frozen=True, slots=True)
class Source:
    """Where a row's beginning comes from: a held prefix, a running row, or nowhere.

    Args:
        length: Tokens to copy.
        holder: Whose.
        wait: Whether another row is just computing much more of the same beginning.
    """

    length: int = 0
    holder: Prefix | Row | None = None
    wait: bool = False


class PrefixStore:
    """Prefixes of seats that wait, least recently used first.

    Args:
        budget: Most bytes of keys and values kept; 0 keeps nothing.

    Attributes:
        nbytes: Bytes kept now.
        evictions: Prefixes that the budget pushed out so far.
    """

    def __init__(self, budget: int) -> None:
        self.budget = budget
        self.nbytes = 0
        self.evictions = 0
        self._held: OrderedDict[tuple[str, str], Prefix] = OrderedDict()
        self._heads: dict[tuple[str, tuple[int, ...]], dict[tuple[str, str], Prefix]] = {}
        self._policies: dict[str, set[str]] = {}  # under which each session has a prefix: thousands end one by one

    def __len__(self) -> int:
        return len(self._held)

    def put(self, session: str, prefix: Prefix) -> None:
        """Hold a prefix in place of the session's earlier one, and evict the least recently used beyond the budget."""
        key = (prefix.policy, session)
        self._remove(key)
        if prefix.nbytes > self.budget:
            self.evictions += 1
            return
        self._held[key] = prefix
        self._policies.setdefault(session, set()).add(prefix.policy)
        self.nbytes += prefix.nbytes
        if len(prefix.tokens) >= SHARED:
            self._heads.setdefault(_head(prefix), {})[key] = prefix
        while self.nbytes > self.budget:
            self._remove(next(iter(self._held)))
            self.evictions += 1

    def get(self, policy: str, session: str | None) -> Prefix | None:
        """Return a session's prefix and count it as used."""
        prefix = self._held.get((policy, session or ""))
        if prefix is not None:
            self._held.move_to_end((policy, session or ""))
        return prefix

    def like(self, row: Row) -> list[Prefix]:
        """Return the latest prefixes that begin like a row's context."""
        alike = self._heads.get(_head(row), {})
        return list(islice(reversed(alike.values()), _CANDIDATES))

    def drop(self, policy: str | None = None, session: str | None = None) -> None:
        """Forget what matches; None matches everything."""
        if session is not None:
            matching = [(own, session) for own in self._policies.get(session, ()) if policy in (None, own)]
        else:
            matching = [key for key in self._held if policy in (None, key[0])]
        for key in matching:
            self._remove(key)

    def _remove(self, key: tuple[str, str]) -> None:
        prefix = self._held.pop(key, None)
        if prefix is None:
            return
        self.nbytes -= prefix.nbytes
        self._policies[key[1]].discard(key[0])
        if not self._policies[key[1]]:
            del self._policies[key[1]]
        if len(prefix.tokens) >= SHARED:
            alike = self._heads[_head(prefix)]
            del alike[key]
            if not alike:
                del self._heads[_head(prefix)]


def find_source(row: Row, running: list[Row], store: PrefixStore, share: bool) -> Source:
    """Return the holder of the longest beginning of a row's context; its last token is always left to compute.

    Args:
        row: A request that is about to enter.
        running: Rows in the workspace.
        store: Held prefixes.
        share: Whether other contexts than the session's own may be used.
    """
    if row.sampling is None:
        return Source()  # a score needs the logits of every token
    limit = len(row.tokens) - 1
    best = Source()
    own = store.get(row.policy, row.session) if row.session is not None else None
    if own is not None:
        best = Source(min(common(own.tokens, row.tokens), limit), own)
        if best.length == min(len(own.tokens), limit):
            return best
    if not share or limit < SHARED:
        return best
    for prefix in store.like(row):
        length = min(common(prefix.tokens, row.tokens), limit)
        if length >= max(SHARED, best.length + 1):
            best = Source(length, prefix)
    promised = 0
    head = _head(row)
    for other in running:
        if other.sampling is None or len(other.tokens) < SHARED or _head(other) != head:
            continue
        agreed = min(common(other.tokens, row.tokens), limit)
        promised = max(promised, agreed)
        length = min(agreed, other.computed)
        if length >= max(SHARED, best.length + 1):
            best = Source(length, other)
    if promised >= best.length + SHARED:
        return Source(wait=True)
    return best


def common(first: list[int], second: list[int]) -> int:
    """Return how many tokens two lists share from the start, by bisection over slices."""
    low, high = 0, min(len(first), len(second)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        if first[low:middle] == second[low:middle]:
            low = middle
        else:
            high = middle
    return low


def _head(holder: Row | Prefix) -> tuple[str, tuple[int, ...]]:
    return holder.policy, tuple(holder.tokens[:SHARED])
