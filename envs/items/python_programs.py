"""Short Python programs drawn at random: 3 to 13 lines, in six families and three levels of difficulty.

Each family gives the source as a function of an *input*, so that the same program can be run on others: a wrong output
that the same program printed is not to be told by its form. The first line sets the input.

    arithmetic, strings, loops, recursion, sorting, words
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

from palaestra.envs.seeding import Dice

NAMES = ("Ada", "Bo", "Cy", "Dot", "Eve", "Flo", "Gus", "Hal", "Ida", "Jo", "Kit", "Lea", "Max", "Nell", "Otto", "Pia")
THINGS = (
    "apple", "bridge", "candle", "dragon", "engine", "forest", "garden", "hammer", "island", "jacket", "kettle",
    "ladder", "marble", "needle", "orange", "pencil", "rabbit", "silver", "tunnel", "window",
)  # fmt: skip


Lines = tuple[str, ...]


class Template(NamedTuple):
    """A program: its lines after the first, and how its input is drawn."""

    lines: Lines
    draw: Callable[[Dice], str]


def _numbers(count: int, most: int) -> Callable[[Dice], str]:
    return lambda dice: repr([1 + dice.below(most) for _ in range(count)])


def _number(least: int, most: int) -> Callable[[Dice], str]:
    return lambda dice: repr(least + dice.below(most - least + 1))


def _word(dice: Dice) -> str:
    return repr(dice.choice(THINGS))


def _sentence(count: int) -> Callable[[Dice], str]:
    return lambda dice: repr(" ".join(dice.choice(THINGS) for _ in range(count)))


def _ages(count: int) -> Callable[[Dice], str]:
    def draw(dice: Dice) -> str:
        names = list(NAMES)
        dice.shuffle(names)
        return repr({name: 20 + dice.below(60) for name in names[:count]})

    return draw


def _arithmetic(level: int, dice: Dice) -> Template:
    first, second, third = 2 + dice.below(8), 3 + dice.below(9), 2 + dice.below(5)
    if level == 1:
        return Template((f"b = a * {first} + {second}", f"print(b - {third})"), _number(10, 60))
    if level == 2:
        return Template(
            (f"b = a * {first} + {second}", f"c = b // {third}", f"d = b % {third}", "print(c, d)", "print(c * d + a)"),
            _number(20, 99),
        )
    body: Lines = (
        "b = 0", "while a > 0:", "    b = b + a % 10", f"    if b % {third} == 0:", f"        b = b + {first}",
        "    a = a // 10", f"c = b * {second}", "print(b)", "print(c, c % 7)",
    )  # fmt: skip
    return Template(body, _number(1000, 9999))


def _strings(level: int, dice: Dice) -> Template:
    shift, step = 1 + dice.below(5), 2 + dice.below(2)
    if level == 1:
        return Template((f"b = a[{dice.below(3)}:]", dice.choice(("print(b[::-1])", "print(b.upper())"))), _word)
    if level == 2:
        return Template(("b = ''", "for c in a:", "    b = c + b", f"print(b[::{step}])", "print(len(set(a)))"), _word)
    body: Lines = (
        "b = ''", "for i, c in enumerate(a):", f"    if i % {step} == 0:",
        f"        c = chr((ord(c) - 97 + {shift}) % 26 + 97)", "    b = b + c",
        "vowels = [c for c in b if c in 'aeiou']", "print(b)", "print(len(vowels))",
    )  # fmt: skip
    return Template(body, _word)


def _loops(level: int, dice: Dice) -> Template:
    first, second = 2 + dice.below(4), 1 + dice.below(6)
    if level == 1:
        return Template(("b = 0", "for x in a:", f"    b = b + x * {first}", "print(b)"), _numbers(4, 12))
    if level == 2:
        body: Lines = ("b, c = 0, 1", "for x in a:", f"    if x % {first} == 0:", "        b = b + x", "    else:",
                f"        c = c + {second}", "print(b, c)")  # fmt: skip
        return Template(body, _numbers(6, 20))
    body = (
        "best, run = 0, 0", "last = a[0]", "for x in a:", "    if x >= last:", "        run = run + x", "    else:",
        f"        run = x + {second}", "    best = max(best, run)", "    last = x", "print(best)", "print(run)",
    )  # fmt: skip
    return Template(body, _numbers(8, 15))


def _recursion(level: int, dice: Dice) -> Template:
    base, add = 1 + dice.below(3), 1 + dice.below(4)
    if level == 1:
        body: Lines = ("def f(n):", f"    return {base} if n < 2 else n + f(n - 2)", "print(f(a))")
        return Template(body, _number(7, 16))
    if level == 2:
        body = ("def f(n):", "    if n < 2:", f"        return {base}", f"    return f(n - 1) + f(n - 2) + {add}",
                "print(f(a))")  # fmt: skip
        return Template(body, _number(5, 9))
    body = (
        "def f(n, depth):", "    if n == 1:", "        return depth", "    if n % 2 == 0:",
        f"        return f(n // 2, depth + {base})", f"    return f(3 * n + 1, depth + {add})", "print(f(a, 0))",
        "print(f(a + 1, 1))",
    )  # fmt: skip
    return Template(body, _number(6, 20))


def _sorting(level: int, dice: Dice) -> Template:
    swaps = 1 + dice.below(3)
    if level == 1:
        return Template(("a.sort()", f"print(a[{dice.below(3)}], a[-{1 + dice.below(2)}])"), _numbers(5, 40))
    if level == 2:
        body: Lines = (f"for r in range({swaps}):", "    for i in range(len(a) - 1):", "        if a[i] > a[i + 1]:",
                "            a[i], a[i + 1] = a[i + 1], a[i]", "print(a)")  # fmt: skip
        return Template(body, _numbers(6, 30))
    body = (
        "moves = 0", "for i in range(1, len(a)):", "    j = i", "    while j > 0 and a[j - 1] > a[j]:",
        "        a[j - 1], a[j] = a[j], a[j - 1]", "        moves = moves + 1", "        j = j - 1",
        f"    if moves > {3 + swaps}:", "        break", "print(a)", "print(moves)", "print(a[0] + a[-1])",
    )  # fmt: skip
    return Template(body, _numbers(6, 30))


def _words(level: int, dice: Dice) -> Template:
    letter = dice.choice("aeinrt")
    if level == 1:
        return Template(("b = a.split()", f"print(len([w for w in b if {letter!r} in w]))"), _sentence(6))
    if level == 2:
        body: Lines = ("old = [n for n in a if a[n] >= 50]", "print(sorted(old)[0] if old else 'None')",
                "print(sum(a.values()))")  # fmt: skip
        return Template(body, _ages(4))
    body = (
        "counts = {}", "for w in a.split():", "    for c in w:", "        counts[c] = counts.get(c, 0) + 1",
        "most = max(counts.values())", "top = sorted(c for c in counts if counts[c] == most)", "print(top[0], most)",
        f"print(counts.get({letter!r}, 0))",
    )  # fmt: skip
    return Template(body, _sentence(5))


FAMILIES: Mapping[str, Callable[[int, Dice], Template]] = {
    "arithmetic": _arithmetic,
    "strings": _strings,
    "loops": _loops,
    "recursion": _recursion,
    "sorting": _sorting,
    "words": _words,
}


def draw_programs(family: str, level: int, dice: Dice, inputs: int) -> list[str]:
    """Return one program of a family with several inputs, no two alike; the first is the one that is asked about."""
    template = FAMILIES[family](level, dice)
    found = dict.fromkeys(template.draw(dice) for _ in range(inputs * 3))
    return ["\n".join([f"a = {given}", *template.lines]) for given in list(found)[:inputs]]
