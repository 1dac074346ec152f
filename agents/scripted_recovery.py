"""Scripted solvers of `recovery` in terse wording that write their work down, a line a step.

worker:on      goes on from the last line that it can read, right or wrong
worker:again   works the whole task out anew, behind the word "again"
worker:check   names the first wrong step of the beginning, or none, and goes on from the last line before it
worker:guess   does the same with a step that it guesses
worker         one of these, each with a chance (`HABITS`), whatever the beginning: `tiny:recovery` has read its
               play, so that it can do all of this and knows of nothing that one of it is better
"""

from __future__ import annotations

from typing import Any

from palaestra.agents.scripted_reasoning import Reasoner
from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError, UnknownName
from palaestra.envs.games.chains import Chain
from palaestra.envs.games.recovery import terse_line
from palaestra.envs.games.statements import last_stated
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice

HABITS = {"on": 6, "again": 1, "check": 2, "guess": 2}
"""How often each is done, relative to the others."""


class Worker:
    """One class for all of them.

    Args:
        habit: ``on``, ``again``, ``check`` or ``guess``; empty for a mixture.

    Raises:
        UnknownName: No such habit.

    While playing:
        InformationError: Another game, or a beginning that is not terse.
    """

    def __init__(self, habit: str = "") -> None:
        if habit and habit not in HABITS:
            raise UnknownName("habit of a worker", habit, HABITS, f"There are {', '.join(HABITS)}.")
        self.habit = habit
        self.name = f"worker:{habit}" if habit else "worker"

    async def act(self, view: View) -> Reply:
        """Return the work and the answer."""
        known, dice = view.knowledge(), Dice(view.seed)
        if view.game_id != "recovery":
            raise InformationError(f"{self.name} plays recovery only, not {view.game_id}.")
        if known["role"] != "solver":
            return await Reasoner().act(view)
        habits = list(HABITS)
        habit = self.habit or habits[dice.weighted(list(HABITS.values()))]
        return Reply(worked(known, habit, dice))


def worked(known: dict[str, Any], habit: str, dice: Dice) -> str:
    """Return what a solver with a habit writes behind the beginning.

    Args:
        known: What `Recovery.knowledge` tells it.
        habit: One of `HABITS`.
        dice: For guesses.

    Raises:
        InformationError: The beginning is not terse.
    """
    data = known["chain"]
    chain = Chain(data["task"], data["start"], tuple(data["steps"]), data["room"])
    begun: list[str] = known["begun"]
    if habit == "again":
        return "\n".join(["again", *_lines(chain, 0, chain.start)])
    if habit == "on":
        return "\n".join(_lines(chain, known["given"], _read(begun, chain)))
    wrong = first_wrong(chain, begun) if habit == "check" else dice.choice([None, *range(len(begun))])
    if wrong is None:
        return "\n".join(["wrong step: none", *_lines(chain, known["given"], _read(begun, chain))])
    return "\n".join([f"wrong step: {wrong + 1}", *_lines(chain, wrong, _read(begun[:wrong], chain))])


def first_wrong(chain: Chain, begun: list[str]) -> int | None:
    """Return the first line, from 0, that is not what right work has there; None where all are.

    Raises:
        InformationError: No line is as right work has it in terse wording, nor as any error of the game leaves it.
    """
    if any(line.partition(":")[0].count(" ") > 1 for line in begun):
        raise InformationError("workers write terse reasoning and read no other; play recovery with wording=terse.")
    right = _lines(chain, 0, chain.start)
    return next((number for number, line in enumerate(begun) if line != right[number]), None)


def _lines(chain: Chain, done: int, state: int) -> list[str]:
    """Return the lines of the steps from number ``done`` on, which is begun in ``state``."""
    lines, steps = [], len(chain.steps)
    for number, after in enumerate(chain.path(state, done), done):
        lines.append(terse_line(chain, range(number + 1, steps), state, number, after))
        state = after
    return lines


def _read(lines: list[str], chain: Chain) -> int:
    """Return the last state that lines state, the start where none states one."""
    last = last_stated("\n".join(lines), chain.names())
    return chain.start if last is None else chain.names().index(last)
