"""Text as a gymnasium space: any Unicode up to a length, and samples that are legal actions.

Gymnasium's own `Text` lists its characters and samples strings of them, so a random agent never makes a legal move and
the ecosystem's checkers only ever see forfeits. A `TextSpace` accepts every text up to ``max_length`` characters, and
while it is *bound* to a running game its ``sample()`` draws a legal action of the player to move.

A copy (pickled for another process, batched for a vector environment) is not bound: it draws from ``examples``, texts
of the right form that need not be legal now.
"""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence
from typing import Any, Self, overload

import numpy as np
from gymnasium import spaces
from gymnasium.error import CustomSpaceError
from gymnasium.vector.utils import create_shared_memory

from palaestra.envs.seeding import Dice

Draw = Callable[[Dice], str | None]


class _Unicode(Sequence[str]):
    """All characters, in code point order, without storing them."""

    def __len__(self) -> int:
        return 0x110000

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[str]: ...
    def __getitem__(self, index: int | slice) -> str | Sequence[str]:
        if isinstance(index, slice):
            return [chr(code) for code in range(len(self))[index]]
        return chr(index)

    def __contains__(self, item: object) -> bool:
        return isinstance(item, str) and len(item) == 1


UNICODE = _Unicode()


class TextSpace(spaces.Text):
    """Texts of 0 to ``max_length`` characters.

    Args:
        max_length: Longest text, in characters (code points).
        examples: What an unbound space draws from; without any it draws printable characters.
        seed: Seed of ``sample()``; ``space.seed(...)`` sets it later.

    Example:
        >>> "♞f3, und ich überlege noch" in TextSpace(40)
        True
    """

    def __init__(self, max_length: int, *, examples: Sequence[str] = (), seed: int | None = None) -> None:
        super().__init__(max_length, min_length=0, charset=string.printable, seed=seed)
        self.examples = tuple(examples)
        self._draw: Draw | None = None

    def bind(self, draw: Draw) -> Self:
        """Let ``sample()`` ask ``draw`` for an action; where that gives None, ``examples`` serve."""
        self._draw = draw
        return self

    def sample(self, mask: Any = None, probability: Any = None) -> str:
        """Return a legal action of the live game, or an example.

        Raises:
            ValueError: A mask or probability is given; legal texts cannot be told apart by their characters.
        """
        if mask is not None or probability is not None:
            raise ValueError("a TextSpace takes no mask: what it draws from a running game is legal already")
        dice = Dice(int(self.np_random.integers(1 << 62)))
        if self._draw is not None and (drawn := self._draw(dice)) is not None:
            return drawn
        if self.examples:
            return dice.choice(self.examples)
        length = dice.below(min(self.max_length, 80) + 1)
        return "".join(dice.choice(string.printable) for _ in range(length))

    def contains(self, x: Any) -> bool:
        return isinstance(x, str) and len(x) <= self.max_length

    # Flattening and shared memory number a text's characters: by code point, so that none is refused.

    @property
    def character_set(self) -> Any:
        return UNICODE

    @property
    def character_list(self) -> Any:
        return UNICODE

    def character_index(self, char: str) -> np.int32:
        return np.int32(ord(char))

    def __eq__(self, other: Any) -> bool:
        return isinstance(other, TextSpace) and self.max_length == other.max_length

    __hash__ = None  # type: ignore[assignment]  # as all gymnasium spaces that compare by value

    def __repr__(self) -> str:
        return f"TextSpace({self.max_length})"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_draw": None}


@create_shared_memory.register(TextSpace)
def _refuse_shared_memory(space: TextSpace, n: int = 1, ctx: Any = None) -> Any:
    """Refuse: `AsyncVectorEnv` reads texts from shared memory once and would return that first, empty text for ever.

    Gymnasium turns this into an error that tells the user to pass ``shared_memory=False``.
    """
    raise CustomSpaceError("texts cannot be observed through shared memory")
