"""How an item set is built: programs are drawn, run in the sandbox, and given wrong outputs that look just as right.

Where a program has no wrong output of the right form it is left out, as is one that does not run to its end.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator

from palaestra.envs.items.item_set import MOST_WRONG, Item, Kind, Wrong, form_of, shape_of
from palaestra.envs.items.python_programs import FAMILIES, draw_programs
from palaestra.envs.items.sandbox import Ran, run_pipeline, run_python
from palaestra.envs.items.shell_pipelines import Session, changed, draw_session, files_of
from palaestra.envs.seeding import Dice, derive

INPUTS = 6
"""With how many other inputs a program is run to find wrong outputs."""

Outcomes = Counter[str]


def build_python(count: int, seed: int, outcomes: Outcomes) -> Iterator[Item]:
    """Yield Python items, families and levels in turn; how programs ended is counted in ``outcomes``."""
    names = list(FAMILIES)
    for number in range(count):
        family, level = names[number % len(names)], 1 + number // len(names) % 3
        dice = Dice(derive(seed, "python", number))
        sources = draw_programs(family, level, dice, 1 + INPUTS)
        ran = [run_python(source) for source in sources]
        yield from _item(f"py-{family}-{level}-{number}", "python", level, sources[0], ran, [], dice, outcomes)


def build_shell(count: int, seed: int, outcomes: Outcomes) -> Iterator[Item]:
    """Yield shell items, levels in turn."""
    for number in range(count):
        level, dice = 1 + number % 3, Dice(derive(seed, "shell", number))
        session = draw_session(level, dice)
        others = [Session(files_of(session.command, dice), session.command) for _ in range(INPUTS)]
        stale = [changed(session, dice) for _ in range(INPUTS)]
        ran = [run_pipeline(one.command, one.files) for one in (session, *others)]
        old = [run_pipeline(one.command, one.files) for one in stale]
        yield from _item(f"sh-{level}-{number}", "shell", level, session.words(), ran, old, dice, outcomes)


BUILDERS: dict[str, Callable[[int, int, Outcomes], Iterator[Item]]] = {"python": build_python, "shell": build_shell}


def _item(
    id: str, kind: Kind, level: int, program: str, ran: list[Ran], stale: list[Ran], dice: Dice, outcomes: Outcomes
) -> Iterator[Item]:
    """Yield the item, if the program ran and a wrong output can be had."""
    first, *others = ran
    outcomes[first.status] += 1
    if first.status != "ok" or not first.output:
        return
    found = wrong_outputs(
        first.output, [one.output for one in others if one.status == "ok"],
        [one.output for one in stale if one.status == "ok"], dice,
    )  # fmt: skip
    if found:
        yield Item(id, kind, level, program, first.output, found)
    else:
        outcomes["no wrong output of its form"] += 1


def wrong_outputs(output: str, others: list[str], stale: list[str], dice: Dice) -> tuple[Wrong, ...]:
    """Return up to 8 wrong outputs of the form of the right one, no two alike, of as many kinds as there are.

    ``others`` are what other inputs gave, ``stale`` what an earlier state of the input gave. Outputs that no program
    printed keep the width of every number, too: a column of prices below ten, or a mode of three digits, would tell.
    """
    found: dict[str, Wrong] = {}
    kinds: list[list[Wrong]] = [
        [Wrong("stale", one) for one in stale],
        [Wrong("other_input", one) for one in others],
        [Wrong("off_by_one", one) for one in off_by_one(output, dice)],
        [Wrong("swapped_field", one) for one in swapped(output, dice)],
    ]
    for place in range(MOST_WRONG):
        for kind in kinds:
            if place < len(kind) and len(found) < MOST_WRONG:
                one = kind[place]
                made = one.how in ("off_by_one", "swapped_field")
                same = shape_of(one.output) == shape_of(output) if made else form_of(one.output) == form_of(output)
                if one.output != output and same:
                    found.setdefault(one.output, one)
    return tuple(found.values())


def off_by_one(output: str, dice: Dice) -> list[str]:
    """Return the output with one number one more or one less, twice if there is a number."""
    spans = [match.span() for match in re.finditer(r"(?<![\w.])\d+(?![\w.])", output)]
    found = []
    for step in (1, -1):
        if spans:
            start, end = dice.choice(spans)
            number = max(0, int(output[start:end]) + step)
            found.append(f"{output[:start]}{number:0{end - start if output[start] == '0' else 1}d}{output[end:]}")
    return found


def swapped(output: str, dice: Dice) -> list[str]:
    """Return the output with two neighbouring fields of one kind swapped, or two lines, where there are such."""
    found = []
    fields = re.split(r"([ ,\n]+)", output)
    pairs = [
        place for place in range(0, len(fields) - 2, 2)
        if fields[place] != fields[place + 2] and shape_of(fields[place]) == shape_of(fields[place + 2])
    ]  # fmt: skip
    if pairs:
        place = dice.choice(pairs)
        fields[place], fields[place + 2] = fields[place + 2], fields[place]
        found.append("".join(fields))
    lines = output.split("\n")
    apart = [place for place in range(len(lines) - 1) if lines[place] != lines[place + 1]]
    if apart:
        place = dice.choice(apart)
        lines[place], lines[place + 1] = lines[place + 1], lines[place]
        found.append("\n".join(lines))
    return found
