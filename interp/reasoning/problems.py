"""Problems whose solution is thought aloud, with traces of known structure: where a thought turns and where it ends.

    tree    tiny models: a leaf of a small tree is looked for (`palaestra.agents.models.tiny.search`)
                *:abc;A:df?f                    a>ad!af=af
    sums    real models: two of four numbers that add up to a target
                Which two of 7, 12, 19, 5 add up to 26? Think first.
                <think>Try 7 + 12: 19. Wait, not 26. Try 7 + 19: 26. So it is 7 and 19.</think>7 and 19

A *try* is checked, and behind the check the thought goes on: it *switches* to something else, it *stops*, or it goes
*deeper*. What is right at each such *point* is known, and each has *twins*: the same words behind a question that wants
something else, so that another way on is right. Twins have equally many tokens, and differ in what is asked alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from itertools import combinations
from typing import ClassVar, Literal, Protocol

from palaestra.agents.models.tiny.search import DEEPER, FAILED, FOUND, MARKERS, Tree
from palaestra.envs.seeding import Dice, derive
from palaestra.interp.errors import InterpError

Way = Literal["switch", "stop", "deeper"]


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a reply where a try has been made.

    Attributes:
        said: The reply up to here.
        way: How it went on; None at the end of a text that was cut here.
        right: How it should; None where the try makes no sense for the problem.
        tried: What was tried.
        repeated: Whether the same was tried before.
    """

    said: str
    way: Way | None
    right: Way | None
    tried: str
    repeated: bool


@dataclass(frozen=True, slots=True)
class Problem:
    """A question and how it is solved.

    Attributes:
        text: The question.
        reply: Thought and answer.
        answer: The right answer.
        facts: What it is made of, for the setting that made it.
    """

    text: str
    reply: str
    answer: str
    facts: Tree | Sums


class Setting(Protocol):
    """A family of problems."""

    name: str
    words: ClassVar[Mapping[Way, tuple[str, ...]]]
    """Texts whose first token, where a point is, says how the thought goes on."""
    critical: tuple[str, ...]
    """Texts of the tokens on which reasoning turns."""
    most_tokens: int
    """Of a reply, with room for one that runs on."""

    def draw(self, dice: Dice) -> Problem:
        """Return a problem."""
        ...

    def points(self, problem: Problem, reply: str) -> list[Point]:
        """Return the points of any reply, in order."""
        ...

    def twin(self, problem: Problem, point: Point, right: Way) -> Problem | None:
        """Return the problem for which another way on is right at this point and all earlier ones stay as right as they
        were; None if there is none."""
        ...

    def said_of(self, problem: Problem, twin: Problem, said: str) -> str:
        """Return the words of a reply to a problem as they would be said to its twin: of equally many tokens."""
        ...

    def answered(self, reply: str) -> str | None:
        """Return the answer that a reply gives; None if it gives none."""
        ...


def problems(setting: Setting, count: int, seed: int, name: str = "problem") -> list[Problem]:
    """Return problems that follow from the seed and a name."""
    return [setting.draw(Dice(derive(seed, setting.name, name, number))) for number in range(count)]


class TreeSearch:
    """See `palaestra.agents.models.tiny.search`."""

    name = "tree"
    words: ClassVar[Mapping[Way, tuple[str, ...]]] = {"switch": (FAILED,), "stop": (FOUND,), "deeper": (DEEPER,)}
    critical: tuple[str, ...] = (FAILED, FOUND, DEEPER)
    most_tokens = 64

    def draw(self, dice: Dice) -> Problem:
        tree = Tree.draw(dice)
        return Problem(tree.text(), tree.reply(), tree.way(tree.wanted), tree)

    def points(self, problem: Problem, reply: str) -> list[Point]:
        assert isinstance(problem.facts, Tree)
        ways: dict[str, Way] = {DEEPER: "deeper", FAILED: "switch", FOUND: "stop"}
        found: list[Point] = []
        seen: set[str] = set()
        for match in re.finditer(f"([a-z]+)([{re.escape(MARKERS)}])", reply):
            tried = match[1]
            right = self._right(problem.facts, tried)
            found.append(Point(reply[: match.end(1)], ways[match[2]], right, tried, tried in seen))
            seen.add(tried)
            if match[2] == FOUND:
                break
        return found

    @staticmethod
    def _right(tree: Tree, tried: str) -> Way | None:
        if tried in tree.below:
            return "deeper"
        if not any(tree.way(leaf) == tried for leaf in tree.leaves):
            return None
        return "stop" if tried == tree.way(tree.wanted) else "switch"

    def twin(self, problem: Problem, point: Point, right: Way) -> Problem | None:
        tree = problem.facts
        assert isinstance(tree, Tree)
        leaf = point.tried[-1:]
        if right == "deeper" or leaf not in tree.leaves or tree.way(leaf) != point.tried:
            return None
        if right == "stop":
            wanted = leaf
        else:
            later = [one for one in tree.leaves if one != leaf and not re.search(f"{one}[{MARKERS}]", point.said)]
            if not later:
                return None
            wanted = later[len(point.said) % len(later)]
        other = replace(tree, wanted=wanted)
        return Problem(other.text(), other.reply(), other.way(wanted), other)

    def said_of(self, problem: Problem, twin: Problem, said: str) -> str:
        return said

    def answered(self, reply: str) -> str | None:
        _, found, answer = reply.partition(FOUND)
        return answer if found and answer else None


@dataclass(frozen=True, slots=True)
class Sums:
    """Numbers, and the sum of two of them.

    Attributes:
        numbers: Four, all of whose six sums differ and have two digits.
        target: One of the sums.
        words: For each try, which of the ways of turning away is taken.
    """

    numbers: tuple[int, ...]
    target: int
    words: tuple[int, ...]

    def tries(self) -> list[tuple[int, int]]:
        """Return the pairs in the order of the search."""
        return list(combinations(self.numbers, 2))


class PairSums:
    """Two of four numbers add up to a target."""

    name = "sums"
    words: ClassVar[Mapping[Way, tuple[str, ...]]] = {
        "switch": (" Wait", " But", " No"),
        "stop": (" So",),
        "deeper": (),
    }
    critical: tuple[str, ...] = (" Wait", " But", " No", " So", "</")
    most_tokens = 150
    turns = (" Wait, not {}.", " But {} is needed.", " No, not {}.")

    def draw(self, dice: Dice) -> Problem:
        while True:
            numbers = tuple(5 + dice.below(26) for _ in range(4))
            sums = [a + b for a, b in combinations(numbers, 2)]
            if len(set(sums)) == len(sums) and len(set(numbers)) == 4:
                break
        return self._problem(Sums(numbers, dice.choice(sums), tuple(dice.below(3) for _ in sums)))

    def _problem(self, facts: Sums) -> Problem:
        said = ""
        for (a, b), word in zip(facts.tries(), facts.words, strict=True):
            said += f" Try {a} + {b}: {a + b}."
            if a + b == facts.target:
                break
            said += self.turns[word].format(facts.target)
        text = f"Which two of {', '.join(map(str, facts.numbers))} add up to {facts.target}? Think first."
        answer = f"{a} and {b}"
        return Problem(text, f"<think>{said[1:]} So it is {answer}.</think>{answer}", answer, facts)

    def points(self, problem: Problem, reply: str) -> list[Point]:
        facts = problem.facts
        assert isinstance(facts, Sums)
        found: list[Point] = []
        seen: set[frozenset[int]] = set()
        thought = reply.partition("</think>")[0]
        for match in re.finditer(r"Try (\d+) \+ (\d+): (\d+)\.", thought):
            a, b, stated = (int(one) for one in match.groups())
            rest = thought[match.end() :]
            way = next((key for key, words in self.words.items() if rest.startswith(words or ("\0",))), None)
            known = {a, b} <= set(facts.numbers) and a != b and a + b == stated
            right: Way | None = ("stop" if stated == facts.target else "switch") if known else None
            pair = frozenset((a, b))
            found.append(Point(thought[: match.end()], way, right, match[0], pair in seen))
            seen.add(pair)
        return found

    def twin(self, problem: Problem, point: Point, right: Way) -> Problem | None:
        facts = problem.facts
        assert isinstance(facts, Sums)
        if right == "deeper" or point.right is None:
            return None
        sums = [a + b for a, b in facts.tries()]
        tried = [int(one) for one in re.findall(r": (\d+)\.", point.said)]
        if right == "stop":
            target = tried[-1]
        else:
            later = [one for one in sums if one not in tried]
            if not later:
                return None
            target = later[len(point.said) % len(later)]
        return self._problem(replace(facts, target=target))

    def said_of(self, problem: Problem, twin: Problem, said: str) -> str:
        assert isinstance(problem.facts, Sums)
        assert isinstance(twin.facts, Sums)
        old = problem.facts.target
        return re.sub(rf"(?<=not ){old}(?=\.)|(?<=But ){old}(?= is needed)", str(twin.facts.target), said)

    def answered(self, reply: str) -> str | None:
        found = re.search(r"</think>\s*(\d+ and \d+)", reply)
        return found[1] if found else None


SETTINGS: dict[str, Setting] = {"tree": TreeSearch(), "sums": PairSums()}


def setting(name: str) -> Setting:
    """Return a family of problems by name.

    Raises:
        InterpError: There is none of this name.
    """
    if name not in SETTINGS:
        raise InterpError(f"there are no problems called {name!r}; there are {', '.join(SETTINGS)}.")
    return SETTINGS[name]
