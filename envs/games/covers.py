"""Covers: texts with known synonym classes, so that what can be hidden in them is an exact number.

A cover is a sentence with slots in braces:

    The {big|large|huge} dog {ran|went} home in the {=rain|snow}.

A slot without ``=`` is *free*: its words mean the same, and an honest writer draws one (evenly, or by weights:
``{big*3|large}``). A slot with ``=`` carries *meaning*: which word stands there is given to the writer, and whoever
paraphrases must keep it. A message is hidden in the choice of words in the free slots: `Cover.encode` writes a number
in mixed radix, least significant slot first.

Capacity is log2 of the number of texts with the same meaning; what can be hidden without changing the distribution of
texts at all (Cachin's perfect security) is the entropy of an honest writer's choices. A grammar in which one text can
be read in two ways is refused.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise, product

from palaestra.envs.seeding import Dice

MOST_SLOTS = 24
MOST_WORDS = 32
LONGEST_COVER = 600

_TOKEN = re.compile(r"\w+(?:['’-]\w+)*|[^\w\s]")
_PIECE = re.compile(r"\{([^{}]*)\}|([^{}]+)|([{}])")


@dataclass(frozen=True)
class Slot:
    """Words of which one stands in the text.

    Attributes:
        words: Distinct, in the order in which they are numbered.
        weights: How likely an honest writer takes each; they sum to one.
        meaning: Whether the choice carries meaning.
    """

    words: tuple[str, ...]
    weights: tuple[float, ...]
    meaning: bool


@dataclass(frozen=True)
class Cover:
    """A sentence with slots; ``parts`` alternates between text as it stands and slots.

    A *choice* is a tuple with the number of a word for every slot, in order.
    """

    parts: tuple[str | Slot, ...]
    line: str = ""
    """As it was written, for `read_cover`."""

    @property
    def slots(self) -> tuple[Slot, ...]:
        """Return all slots, in order."""
        return tuple(part for part in self.parts if isinstance(part, Slot))

    @property
    def free(self) -> tuple[int, ...]:
        """Return the positions, among the slots, of those without meaning."""
        return tuple(index for index, slot in enumerate(self.slots) if not slot.meaning)

    @property
    def texts(self) -> int:
        """Return how many texts have the same meaning."""
        return math.prod(len(self.slots[index].words) for index in self.free)

    @property
    def capacity_bits(self) -> float:
        """Return log2 of `texts`."""
        return math.log2(self.texts)

    @property
    def entropy_bits(self) -> float:
        """Return the entropy of an honest writer's choices in the free slots, in bits."""
        return -math.fsum(p * math.log2(p) for index in self.free for p in self.slots[index].weights if p > 0)

    def template(self) -> str:
        """Return the sentence as a writer reads it: choices in brackets, without weights."""
        shown = [part if isinstance(part, str) else "[" + "|".join(part.words) + "]" for part in self.parts]
        return "".join(shown)

    def write(self, choice: Sequence[int]) -> str:
        """Return the text of a choice."""
        numbers = iter(choice)
        return "".join(part if isinstance(part, str) else part.words[next(numbers)] for part in self.parts)

    def read(self, text: str) -> tuple[int, ...]:
        """Return the choice that a text makes; case and white space do not matter.

        Raises:
            ValueError: It is no text of this cover; the message says where it differs.
        """
        if len(text) > 4 * LONGEST_COVER:
            raise ValueError(f"the text has {len(text)} characters, more than any text of this cover")
        tokens = _tokens(text)
        at, choice = 0, []
        for index, part in enumerate(self.parts):
            words = [_tokens(word) for word in ((part,) if isinstance(part, str) else part.words)]
            fits = [number for number, word in enumerate(words) if tokens[at : at + len(word)] == word]
            if not fits:
                wanted = " or ".join(repr(" ".join(word)) for word in words[:4])
                found = " ".join(tokens[at : at + 3]) or "the end"
                raise ValueError(f"expected {wanted}, found {found!r}")
            rest = self.parts[index + 1 :]
            goes_on = [number for number in fits if _fits(tuple(tokens[at + len(words[number]) :]), rest)]
            number = goes_on[0] if goes_on else max(fits, key=lambda one: len(words[one]))
            at += len(words[number])
            if isinstance(part, Slot):
                choice.append(number)
        if at < len(tokens):
            raise ValueError(f"after the end comes {' '.join(tokens[at : at + 3])!r}")
        return tuple(choice)

    def draw(self, dice: Dice, meaning: Sequence[int]) -> tuple[int, ...]:
        """Return an honest writer's choice with a given meaning: a number for each slot that carries it, in order."""
        given = iter(meaning)
        return tuple(next(given) if slot.meaning else dice.weighted(slot.weights) for slot in self.slots)

    def meaning(self, choice: Sequence[int]) -> tuple[int, ...]:
        """Return the part of a choice that carries meaning."""
        return tuple(number for number, slot in zip(choice, self.slots, strict=True) if slot.meaning)

    def encode(self, number: int, dice: Dice, meaning: Sequence[int], messages: int) -> tuple[int, ...]:
        """Return a choice that hides a number below ``messages``; slots that are not needed are drawn as honestly.

        Raises:
            ValueError: So many messages do not fit.
        """
        if not 0 <= number < messages <= self.texts:
            raise ValueError(f"{number} of {messages} messages does not fit in {self.texts} texts")
        choice = list(self.draw(dice, meaning))
        for index in self.carrying(messages):
            number, choice[index] = divmod(number, len(self.slots[index].words))
        return tuple(choice)

    def decode(self, choice: Sequence[int], messages: int) -> int:
        """Return the number that `encode` hides in a choice; a number of ``messages`` or more was not hidden by it."""
        number, place = 0, 1
        for index in self.carrying(messages):
            number += choice[index] * place
            place *= len(self.slots[index].words)
        return number

    def carrying(self, messages: int) -> tuple[int, ...]:
        """Return the positions of the free slots that `encode` needs for so many messages: the first ones."""
        place, used = 1, []
        for index in self.free:
            if place >= messages:
                break
            used.append(index)
            place *= len(self.slots[index].words)
        return tuple(used)

    def divergence_bits(self, messages: int) -> float:
        """Return KL(stego || cover) in bits of `encode` with evenly likely messages against an honest writer.

        Only the slots that carry the message can differ; each text of theirs has probability 1 / messages.
        """
        used = [self.slots[index] for index in self.carrying(messages)]
        total = 0.0
        for number in range(messages):
            cover = 1.0
            for slot in used:
                number, digit = divmod(number, len(slot.words))
                cover *= slot.weights[digit]
            total += math.log2(1 / (messages * cover)) / messages
        return max(0.0, total)


def read_covers(text: str) -> tuple[Cover, ...]:
    """Return the covers of a file: one a line; empty lines and those that begin with ``#`` are left out.

    Raises:
        ValueError: A line that is no cover, or an ambiguous one; the message names the line. No cover at all.
    """
    found = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), start=1):
        if line.strip() and not line.lstrip().startswith("#"):
            try:
                found.append(read_cover(" ".join(line.split())))
            except ValueError as error:
                raise ValueError(f"line {number}: {error}") from None
    if not found:
        raise ValueError("there is no cover; write one a line, such as 'A {big|large} dog.'")
    return tuple(found)


@lru_cache(maxsize=256)
def read_cover(line: str) -> Cover:
    """Return a cover.

    Raises:
        ValueError: It is none, or ambiguous.
    """
    if len(line) > LONGEST_COVER:
        raise ValueError(f"the cover has {len(line)} characters, expected at most {LONGEST_COVER}")
    if not line.isprintable():
        raise ValueError(f"the cover holds what cannot be printed: {line!r:.60}; leave out control characters")
    parts: list[str | Slot] = []
    for slot, literal, brace in _PIECE.findall(line):
        if brace:
            raise ValueError(f"a brace is open or closed without its other half in {line!r:.60}")
        if literal:
            if literal.strip():
                parts.append(literal)
            elif parts:
                parts.append(" ")
        else:
            parts.append(_slot(slot))
    cover = Cover(tuple(parts), line)
    if not 1 <= len(cover.slots) <= MOST_SLOTS:
        raise ValueError(f"the cover has {len(cover.slots)} slots, expected 1 to {MOST_SLOTS}")
    for left, right in pairwise(parts):
        for one, other in product(_words(left), _words(right)):
            if _tokens(one + other) != [*_tokens(one), *_tokens(other)]:
                raise ValueError(f"the cover is ambiguous: {one + other!r:.60} runs together; put a space between")
    if (twice := _ambiguous(cover)) is not None:
        raise ValueError(f"the cover is ambiguous: {twice!r} can be read in two ways; change the words of its classes")
    return cover


def _words(part: str | Slot) -> tuple[str, ...]:
    return (part,) if isinstance(part, str) else part.words


def _slot(text: str) -> Slot:
    meaning = text.startswith("=")
    words, weights = [], []
    for entry in text.removeprefix("=").split("|"):
        word, star, weight = entry.partition("*")
        if star and not re.fullmatch(r"\d{1,6}(\.\d{1,6})?", weight.strip()):
            raise ValueError(f"the weight {weight.strip()!r} of {word.strip()!r} is no number")
        words.append(" ".join(word.split()))
        weights.append(float(weight) if star else 1.0)
        if not weights[-1] > 0:
            raise ValueError(f"the weight of {word.strip()!r} is 0, so no honest writer takes it; leave the word out")
    lower = [word.lower() for word in words]
    if not 2 <= len(words) <= MOST_WORDS or not all(_tokens(word) for word in words):
        raise ValueError(f"the class {{{text}}} needs 2 to {MOST_WORDS} words, none of them empty")
    if twice := [word for word in words if lower.count(word.lower()) > 1]:
        raise ValueError(f"the class {{{text}}} is ambiguous: {twice[0]!r} stands in it twice")
    return Slot(tuple(words), tuple(weight / sum(weights) for weight in weights), meaning)


def _tokens(text: str) -> list[str]:
    return _TOKEN.findall(text.lower())


@lru_cache(maxsize=4096)
def _fits(tokens: tuple[str, ...], parts: tuple[str | Slot, ...]) -> bool:
    """Return whether tokens are a text of parts: all ends that can be reached after each part are followed."""
    ends = {0}
    for part in parts:
        words = [_tokens(word) for word in ((part,) if isinstance(part, str) else part.words)]
        ends = {at + len(word) for at in ends for word in words if list(tokens[at : at + len(word)]) == word}
        if not ends:
            return False
    return len(tokens) in ends


State = tuple[int, int, int]
"""Part, word, tokens of the word that are read; word and tokens are 0 between parts."""


def _ambiguous(cover: Cover) -> str | None:
    """Return a text that can be read in two ways; None if there is none.

    Two readings are followed side by side through the automaton of the cover: from its begin to its end by the same
    tokens, with different states somewhere on the way.
    """
    words = [[_tokens(word) for word in ((part,) if isinstance(part, str) else part.words)] for part in cover.parts]

    def settled(state: State) -> list[State]:
        """Return the states after ``state`` without reading: itself, or the beginnings of the next part's words."""
        part, word, read = state
        if read < len(words[part][word]):
            return [state]
        if part + 1 == len(words):
            return [(part + 1, 0, 0)]
        return [one for number in range(len(words[part + 1])) for one in settled((part + 1, number, 0))]

    ready = [one for number in range(len(words[0])) for one in settled((0, number, 0))]
    frontier = [(one, other, one != other, "") for one in ready for other in ready if one <= other]
    seen = {pair[:3] for pair in frontier}
    while frontier:
        one, other, apart, text = frontier.pop()
        if one[0] == len(words) or other[0] == len(words):
            if apart and one == other:
                return text.strip()
            continue
        token = words[one[0]][one[1]][one[2]]
        if token != words[other[0]][other[1]][other[2]]:
            continue
        for first in settled((one[0], one[1], one[2] + 1)):
            for second in settled((other[0], other[1], other[2] + 1)):
                key = (first, second, apart or first != second)
                if key not in seen:
                    seen.add(key)
                    frontier.append((*key, f"{text} {token}"))
    return None
