"""A search that is thought aloud: a small tree, a leaf to find, and the trace of looking for it.

    problem   *:abc;C:hm;A:df?h        the root's branches a, b and c; those of c and of a; find h
    search    a>ad!af!b!c>ch=ch        tries branches in the order given, and goes back where one fails
    straight  c>ch=ch                  only the way that leads there, without a wrong try

A *try* is the way from the root to a node, one letter a node, and the *marker* behind it says what is thought of it:
``>`` there is more below, ``!`` this does not work, something else; ``=`` found, the thought ends. The answer follows.
So what must be known where a marker is due follows from the problem: a node that is the wanted one ends the search, one
with branches is opened, any other is given up. Each letter names one node, in lower case where it is a branch and in
upper case where its own branches are listed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from palaestra.agents.models.tiny.corpus import MESSAGE_WEIGHT, Row
from palaestra.agents.tokens import TextCodec
from palaestra.envs.seeding import Dice, derive

Style = Literal["search", "straight"]
DEEPER, FAILED, FOUND = ">", "!", "="
MARKERS = DEEPER + FAILED + FOUND
REVISION = 1
"""Rises whenever problems or traces change."""
_LETTERS = "abcdefghijklmnopqrstuvwxyz"
_WIDEST = 3
_OPEN = 0.7  # of the root's branches that have branches of their own


@dataclass(frozen=True, slots=True)
class Tree:
    """A problem.

    Attributes:
        root: The root's branches, in the order in which they are listed.
        below: Branches of those that have some.
        order: In which these are listed.
        wanted: The leaf to find.
    """

    root: str
    below: dict[str, str]
    order: str
    wanted: str

    @classmethod
    def draw(cls, dice: Dice) -> Tree:
        """Return a problem."""
        letters = list(_LETTERS)
        dice.shuffle(letters)
        root = "".join(letters.pop() for _ in range(2 + dice.below(_WIDEST - 1)))
        opened = [one for one in root if dice.random() < _OPEN] or [root[0]]
        below = {one: "".join(letters.pop() for _ in range(1 + dice.below(_WIDEST))) for one in opened}
        order = list(opened)
        dice.shuffle(order)
        return cls(root, below, "".join(order), dice.choice(cls._leaves(root, below)))

    @staticmethod
    def _leaves(root: str, below: dict[str, str]) -> list[str]:
        return [leaf for one in root for leaf in below.get(one, one)]

    @property
    def leaves(self) -> list[str]:
        """Return the nodes without branches, in the order of the search."""
        return self._leaves(self.root, self.below)

    def text(self) -> str:
        """Return the problem as it is asked."""
        listed = "".join(f"{one.upper()}:{self.below[one]};" for one in self.order)
        return f"*:{self.root};{listed}"[:-1] + f"?{self.wanted}"

    def way(self, leaf: str) -> str:
        """Return the way from the root to a leaf."""
        return next((one + leaf for one, some in self.below.items() if leaf in some), leaf)

    def trace(self, style: Style = "search") -> str:
        """Return the thought, without the answer; it ends in `FOUND`."""
        said = []
        for one in self.root if style == "search" else self.way(self.wanted)[0]:
            if one in self.below:
                said.append(one + DEEPER)
                tried = self.below[one] if style == "search" else self.wanted
            else:
                tried = one
            for leaf in tried:
                way = self.way(leaf)
                if leaf == self.wanted:
                    return "".join([*said, way + FOUND])
                said.append(way + FAILED)
        raise AssertionError(f"{self.wanted} is in no branch")

    def reply(self, style: Style = "search") -> str:
        """Return thought and answer."""
        return self.trace(style) + self.way(self.wanted)


def write_traces(style: Style, codec: TextCodec, count: int, seed: int) -> Iterator[Row]:
    """Yield a row for each of ``count`` problems: the problem as a message, thought and answer as the reply.

    Args:
        style: How it is thought.
        codec: Types the text.
        count: Rows.
        seed: Equal seeds give equal rows.
    """
    for number in range(count):
        tree = Tree.draw(Dice(derive(seed, "search", number)))
        yield row(codec, tree.text(), tree.reply(style))


def row(codec: TextCodec, problem: str, reply: str) -> Row:
    """Return a problem and a reply as a row that is learnt from."""
    asked = [*codec.chat_open(), *codec.user_turn(problem)]
    said: Sequence[int] = [*codec.encode_untrusted(reply), codec.stop_ids[0]]
    return Row([*asked, *said], [MESSAGE_WEIGHT] * len(asked) + [1.0] * len(said))
