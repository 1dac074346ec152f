"""Made documents: tasks whose answers take steps that nobody writes down. Every piece is one ASCII character.

    chain      a word of group elements, "=", and its product (with ``show=prefix`` every product on the way)
    parity     bits, "=", and their parity, at times with the running parities before it: the mixture of Tsilivis et al.
               (2025, arXiv 2510.11495), in which nothing says beforehand which form follows
    reach      edges of a directed graph, a start and two ends, of which one is reached (after Zhu et al., 2025, arXiv
               2505.12514)
    hops       a string; from its last character to the one after the previous occurrence, so many times (p-hop
               induction, Sanford et al., 2024, arXiv 2402.09268)
    squaring   a digit and steps +k, *k, ^ (squared) modulo m, "=", and the last digit

Answers are *hard* and everything else is easy; what is drawn at random is not scored.
"""

from __future__ import annotations

import math
import string
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from palaestra.envs.documents.document import Document, Piece, asked, easily, shown
from palaestra.envs.documents.groups import GroupName, group
from palaestra.envs.options import within
from palaestra.envs.seeding import Dice

Thinking = Literal["hard", "every", "never"]


@dataclass(frozen=True)
class ChainOptions:
    """Attributes: group, length (elements of the word), show (what is asked), where one may think."""

    group: GroupName = "s3"
    length: int = 4
    show: Literal["answer", "prefix"] = "answer"
    where: Thinking = "hard"

    def __post_init__(self) -> None:
        within(self, length=(1, 64))


def chain(options: ChainOptions, dice: Dice) -> Document:
    """Return a word problem."""
    over = group(options.group)
    word = tuple(dice.below(over.size) for _ in range(options.length))
    pieces: list[Piece] = []
    for place, element in enumerate(word, start=1):
        pieces += shown(over.write(element))
        if options.show == "prefix" or place == options.length:
            states = [over.product(word[:seen]) for seen in range(1, place + 1)]
            pieces += asked(over.write(states[-1]), options.where, states)
    return Document(tuple(pieces), f"chain({options.group},{options.length})", 0.0)


@dataclass(frozen=True)
class ParityOptions:
    """Attributes: bits, long (share of documents that show running parities), where one may think."""

    bits: int = 8
    long: float = 0.0
    where: Thinking = "hard"

    def __post_init__(self) -> None:
        within(self, bits=(2, 40), long=(0, 1))


def parity(options: ParityOptions, dice: Dice) -> Document:
    """Return bits and their parity; the long form has the running parities before it, after ``:``."""
    bits = [dice.below(2) for _ in range(options.bits)]
    running = [sum(bits[: place + 1]) % 2 for place in range(options.bits)]
    pieces = shown("".join(map(str, bits)))
    if dice.random() < options.long:
        pieces.append(Piece(":", open=easily(options.where)))  # as open as "=", so that nothing tells which it will be
        pieces += [Piece(str(state), hard=True, state=state) for state in running]
    pieces += asked(str(running[-1]), options.where, running)
    share = options.long
    entropy = -sum(p * math.log(p) for p in (share, 1 - share) if p > 0)
    return Document(tuple(pieces), f"parity({options.bits},{options.long:g})", entropy)


@dataclass(frozen=True)
class ReachOptions:
    """Attributes: nodes, distance (edges from the start to the right end), where one may think."""

    nodes: int = 10
    distance: int = 3
    where: Thinking = "hard"

    def __post_init__(self) -> None:
        within(self, nodes=(4, 26), distance=(1, 6))
        if self.nodes < 2 * self.distance + 2:
            least = 2 * self.distance + 2
            raise ValueError(f"{self.nodes} nodes hold no two paths of {self.distance} edges; use at least {least}")


def reach(options: ReachOptions, dice: Dice) -> Document:
    """Return two paths of the same length that share nothing; asked is which end the start leads to. Edges that lead
    from a node of either to nodes on neither are added, one for each of these."""
    names = list(string.ascii_lowercase[: options.nodes])
    dice.shuffle(names)
    steps = options.distance + 1
    own, other, rest = names[:steps], names[steps : 2 * steps], names[2 * steps :]
    edges = [a + b for path in (own, other) for a, b in pairwise(path)]
    edges += [dice.choice([*own, *other]) + node for node in rest]
    dice.shuffle(edges)
    ends = [own[-1], other[-1]]
    dice.shuffle(ends)
    question = f"{','.join(edges)};{own[0]}:{ends[0]}{ends[1]}"
    pieces = [*shown(question), *asked(own[-1], options.where, [string.ascii_lowercase.index(node) for node in own])]
    return Document(tuple(pieces), f"reach({options.nodes},{options.distance})", 0.0)


@dataclass(frozen=True)
class HopOptions:
    """Attributes: length of the string, letters in its alphabet, hops, where one may think."""

    length: int = 16
    letters: int = 4
    hops: int = 2
    where: Thinking = "hard"

    def __post_init__(self) -> None:
        within(self, length=(4, 200), letters=(2, 26), hops=(1, 16))
        if self.length < self.letters * (self.hops + 1):
            raise ValueError(f"a string of {self.length} is short for {self.hops} hops over {self.letters} letters")


def hops(options: HopOptions, dice: Dice) -> Document:
    """Return a string in which all hops are defined, and where they end."""
    while True:
        text = "".join(string.ascii_lowercase[dice.below(options.letters)] for _ in range(options.length))
        place, seen = len(text) - 1, list[int]()
        for _ in range(options.hops):
            before = text.rfind(text[place], 0, place)
            if before < 0:
                break
            place = before + 1
            seen.append(ord(text[place]) - ord("a"))
        else:
            pieces = [*shown(text), *asked(text[place], options.where, seen)]
            return Document(tuple(pieces), f"hops({options.length},{options.hops})", 0.0)


@dataclass(frozen=True)
class SquaringOptions:
    """Attributes: steps, modulus (a digit), where one may think."""

    steps: int = 4
    modulus: int = 7
    where: Thinking = "hard"

    def __post_init__(self) -> None:
        within(self, steps=(1, 64), modulus=(2, 10))


def squaring(options: SquaringOptions, dice: Dice) -> Document:
    """Return a digit, what is done to it, and what comes out."""
    modulus = options.modulus
    state = dice.below(modulus)
    text, states = str(state), list[int]()
    for _ in range(options.steps):
        sign, number = dice.choice("+*^"), 1 + dice.below(modulus - 1)
        text += sign if sign == "^" else f"{sign}{number}"
        state = {"+": state + number, "*": state * number, "^": state * state}[sign] % modulus
        states.append(state)
    pieces = [*shown(text), *asked(str(state), options.where, states)]
    return Document(tuple(pieces), f"squaring({options.steps},{modulus})", 0.0)
