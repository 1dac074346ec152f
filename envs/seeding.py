"""Seeds and dice: all randomness of a game or a match is a pure function of integers written down in its record.

`derive` turns any tuple of names and numbers into a 63-bit seed. `Dice` is a counter-based generator: its whole state
is (seed, count), so a clone costs nothing and a state hash covers the randomness still to come. Both rest on BLAKE2b
and not on `random` or numpy, whose streams may change between versions, because golden replays must outlive both.
"""

from __future__ import annotations

from collections.abc import MutableSequence, Sequence
from hashlib import blake2b
from typing import TypeVar

T = TypeVar("T")

_SEPARATOR = "\x1f"


def derive(*parts: int | str) -> int:
    """Return a seed in [0, 2**63) that depends on every part and on their order."""
    text = _SEPARATOR.join(
        f"str:{part.replace(_SEPARATOR, 2 * _SEPARATOR)}" if isinstance(part, str) else f"int:{part}" for part in parts
    )
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest(), "big") >> 1


class Dice:
    """A random generator whose state is two integers.

    Args:
        seed: Any integer; equal seeds give equal streams on every platform.
        count: Draws already made; ``Dice(seed, count)`` continues a stream.
    """

    __slots__ = ("count", "seed")

    def __init__(self, seed: int, count: int = 0) -> None:
        self.seed = seed
        self.count = count

    def bits(self) -> int:
        """Return the next 64 uniform bits."""
        key = b"%d:%d" % (self.seed, self.count)
        self.count += 1
        return int.from_bytes(blake2b(key, digest_size=8).digest(), "big")

    def below(self, n: int) -> int:
        """Return an integer uniform on ``range(n)``; draws again rather than being biased."""
        if not 0 < n <= 1 << 64:
            raise ValueError(f"below({n}) has nothing to choose from; n must lie between 1 and 2**64")
        limit = (1 << 64) - (1 << 64) % n
        while (value := self.bits()) >= limit:
            pass
        return value % n

    def random(self) -> float:
        """Return a float uniform on [0, 1) with 53 random bits."""
        return (self.bits() >> 11) / (1 << 53)

    def choice(self, items: Sequence[T]) -> T:
        """Return one item, each equally likely."""
        return items[self.below(len(items))]

    def shuffle(self, items: MutableSequence[T]) -> None:
        """Shuffle in place (Fisher and Yates)."""
        for i in range(len(items) - 1, 0, -1):
            j = self.below(i + 1)
            items[i], items[j] = items[j], items[i]

    def weighted(self, weights: Sequence[float]) -> int:
        """Return an index drawn in proportion to ``weights``."""
        point = self.random() * sum(weights)
        for index, weight in enumerate(weights):
            point -= weight
            if point < 0:
                return index
        return max(index for index, weight in enumerate(weights) if weight > 0)

    def clone(self) -> Dice:
        """Return dice that will show the same numbers."""
        return Dice(self.seed, self.count)
