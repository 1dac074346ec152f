"""Open tasks, and programs that judge answers to them.

A *task* is a line of text. After ``##`` it may carry conditions that a program can check, separated by semicolons:
``words=12``, ``words<=20``, ``words>=5``, ``lines=3``, ``contains=sea`` and ``without=e`` (a word or part of one, in
any case), ``begins=Once``, ``ends=?``. A *judge* is a function of the task and two answers that says how much better
the first is: above 0 the first, below 0 the second, 0 a tie.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

from palaestra.envs.plugins import Plugins
from palaestra.envs.seeding import Dice

Judge = Callable[["Task", str, str], float]

LONGEST_TASK = 1500
MOST_TASKS = 10_000

_CONDITION = re.compile(r"(words|lines|contains|without|begins|ends)(<=|>=|=)(.+)")

OPEN_TASKS = """\
Explain to a child of six why the sky is blue.
Write the opening sentence of a detective story that takes place on a ship.
A friend has failed an exam and feels stupid. What do you say?
Describe the taste of an apple to somebody who has never eaten fruit.
Give three reasons for and three against keeping a diary.
Persuade a cautious village to build a bridge.
Explain what a hash function is to a cook.
Write a four-line poem about a train that is late.
How would you find out whether a coin is fair?
Sum up the plot of a well-known fairy tale in two sentences, without names.
Invent a rule that would make chess more interesting, and say why.
What should a town do with an empty factory?
Write a polite refusal to an invitation that you would rather accept.
Explain compound interest with a story about rabbits.
What is the strongest argument against your favourite food?
Describe a lighthouse without using the words light, sea or tower.
Suggest a name for a bakery run by two brothers who do not get along, and a slogan.
Explain why correlation is not causation, with an example that is not about ice cream.
Write a notice that asks neighbours to be quiet at night, so that nobody is offended.
Propose an experiment to find out whether plants grow better with music.
"""

_TOPICS = ("the moon", "a market", "an old dog", "the first snow", "a lost key", "a long journey", "a quiet library")
_WORDS = ("river", "window", "bread", "green", "slowly", "seven", "never", "friend", "under", "bright")


@dataclass(frozen=True)
class Task:
    """What is asked, and what a program can check of an answer: (what, relation, value)."""

    text: str
    conditions: tuple[tuple[str, str, str], ...] = ()


def parse_task(line: str) -> Task:
    """Read a task from a line.

    Raises:
        ValueError: A condition that does not exist, or a line that is too long.
    """
    text, _, given = line.partition("##")
    if not text.strip() or len(line) > LONGEST_TASK:
        raise ValueError(f"a task has {len(line)} characters, expected 1 to {LONGEST_TASK}")
    conditions = []
    for part in filter(None, map(str.strip, given.split(";"))):
        found = _CONDITION.fullmatch(part)
        if found is None or (found[1] in ("words", "lines") and not found[3].isdecimal()):
            raise ValueError(f"{part!r} is no condition; write words=12, lines=3, contains=sea, without=e and the like")
        if found[1] not in ("words", "lines") and found[2] != "=":
            raise ValueError(f"{part!r}: {found[1]} takes = only")
        conditions.append((found[1], found[2], found[3].strip()))
    return Task(" ".join(text.split()), tuple(conditions))


@lru_cache(maxsize=16)
def read_tasks(text: str) -> tuple[Task, ...]:
    """Return the tasks of a text, one a line; empty lines and those that begin with a single ``#`` are left out.

    Raises:
        ValueError: A line that is no task, by its number; or there is none, or too many.
    """
    tasks = []
    for number, line in enumerate(text.splitlines(), start=1):
        if not line.strip() or re.match(r"\s*#(?!#)", line):
            continue
        try:
            tasks.append(parse_task(line))
        except ValueError as error:
            raise ValueError(f"tasks, line {number}: {error}") from None
    if not 1 <= len(tasks) <= MOST_TASKS:
        raise ValueError(f"tasks: there are {len(tasks)}, expected 1 to {MOST_TASKS}")
    return tuple(tasks)


def drawn_task(dice: Dice) -> Task:
    """Return a random task with conditions that fit together."""
    topic, word, number = dice.choice(_TOPICS), dice.choice(_WORDS), 6 + dice.below(9)
    letter = dice.choice([one for one in "abcdfhijkmpqwxyz" if one not in word])
    wanted = f"in exactly {number} words, with the word {word} and without the letter {letter}"
    text = f"Write one sentence about {topic} {wanted}."
    return Task(text, (("words", "=", str(number)), ("contains", "=", word), ("without", "=", letter)))


def holds(condition: tuple[str, str, str], answer: str) -> float:
    """Return how far an answer keeps a condition, 0 to 1; a count that is missed is worth less the further off."""
    what, relation, value = condition
    plain = answer.strip().lower()
    if what in ("words", "lines"):
        count = len(plain.split()) if what == "words" else len(plain.splitlines())
        wanted = int(value)
        off = {"=": abs(count - wanted), "<=": max(0, count - wanted), ">=": max(0, wanted - count)}[relation]
        return 1.0 if off == 0 else 0.5 / (1 + off)
    wanted_text = value.lower()
    return float(
        {
            "contains": wanted_text in plain,
            "without": wanted_text not in plain,
            "begins": plain.startswith(wanted_text),
            "ends": plain.endswith(wanted_text),
        }[what]
    )


def constraints(task: Task, first: str, second: str) -> float:
    """Judge by the conditions that an answer keeps; an empty answer keeps none."""

    def score(answer: str) -> float:
        return sum(holds(one, answer) for one in task.conditions) if answer.strip() else 0.0

    return score(first) - score(second)


def brevity(task: Task, first: str, second: str) -> float:
    """Judge by length: the shorter of two answers that keep all conditions, else the one that keeps more."""
    kept = constraints(task, first, second)
    return kept if kept or not (first.strip() and second.strip()) else float(len(second) - len(first))


_judges: Plugins[Judge] = Plugins("judge", {"constraints": constraints, "brevity": brevity})


def register_judge(name: str, judge: Judge) -> None:
    """Register a program that judges; it must be a function of its arguments alone, or replays differ.

    Raises:
        ValueError: The name is taken.
    """
    _judges.register(name, judge)


def judge_named(name: str) -> Judge:
    """Return a registered judge.

    Raises:
        UnknownName: There is none of that name.
    """
    return _judges[name]
