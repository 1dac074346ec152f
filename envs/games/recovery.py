"""Recovery: go on with reasoning that somebody has begun, and that may be wrong.

A *solver* is told a task that needs a running state (`palaestra.envs.games.chains`), and its reply has begun already:
the first steps of its reasoning stand there, as it could have written them itself (`Game.begun`). It goes on, and ends
with an answer, for which it is paid 1 if it is right. In a share ``clean`` of the episodes the beginning is right; in
the others it holds one error of a kind, and what follows it is consistent:

    noise      the letters of one step are garbled; what it states is lost
    dropped    a step is left out, as if it had not been there
    swapped    two steps stand in the other order, and their states follow from that
    carried    a step states a wrong result, and the steps after it go on from there
    claim      the beginning is right; another player has said, with confidence, that it is not

In ``terse`` wording a line of reasoning holds the steps that are left, the state before, the step and the state after
it (``2,1 A0: B.``), so that each line follows from the one before alone.

With ``localise`` the solver is paid that much more for naming the first wrong step (``wrong step: 3``), or for naming
none where none is wrong.

With ``polluter`` the beginning is written by another player: the *polluter* sees the task and says which state each of
the first steps has. At most one of them may not follow from the one before (else its reply is illegal), so that an
error is locally valid. It is paid 1 if the solver answers wrongly.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

from palaestra.envs.errors import IllegalAction, OptionError, UnparsableAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games.chains import MOST_STEPS, Chain, Task, Wording
from palaestra.envs.games.statements import answer_given
from palaestra.envs.grammar import shorten
from palaestra.envs.options import within
from palaestra.envs.parts import Action, well_formed
from palaestra.envs.seeding import Dice

Kind = Literal["clean", "noise", "dropped", "swapped", "carried", "claim"]
KINDS: tuple[Kind, ...] = ("noise", "dropped", "swapped", "carried", "claim")
COMMUTATIVE = ("parity", "residue")
TRIES = 1000
LEAST_CLEAN = 0.3
"""A policy that sees too few right beginnings learns to doubt everything."""
_NAMED = re.compile(r"wrong\s+step\s*[:=#]?\s*(\d{1,3}|none)\b", re.IGNORECASE)
_LETTERS = "abcdefghijklmnopqrstuvwxyz"


@dataclass(frozen=True)
class RecoveryOptions:
    """The task, and how it is begun.

    Attributes:
        task: ``parity``, ``residue``, ``swaps`` or ``knapsack``.
        steps: How many steps a task has.
        wording: The task as a ``story``, ``restated`` as bare arithmetic, or ``terse``.
        kinds: Which errors, with commas; each is as likely. ``swapped`` is none of ``parity`` and ``residue``, where
            two steps lead to the same in any order.
        clean: Share of beginnings that are right, at least 0.3.
        least: Fewest steps that are given; how many is drawn up to all but one.
        localise: What naming the first wrong step pays.
        polluter: Whether a player writes the beginning.
        max_chars: Characters of a reply.
    """

    task: Task = "residue"
    steps: int = 6
    wording: Wording = "story"
    kinds: str = ",".join(KINDS)
    clean: float = 0.4
    least: int = 2
    localise: float = 0.0
    polluter: bool = False
    max_chars: int = 2000

    def __post_init__(self) -> None:
        within(self, steps=(3, MOST_STEPS), clean=(LEAST_CLEAN, 1), localise=(0, 1), max_chars=(50, 8000))
        within(self, least=(2, self.steps - 1))
        if unknown := [kind for kind in self.chosen if kind not in KINDS]:
            raise OptionError(f"kinds holds {unknown[0]!r}, expected some of {', '.join(KINDS)}.")
        if not self.chosen:
            known = [kind for kind in KINDS if kind != "swapped" or self.task not in COMMUTATIVE]
            raise OptionError(f"kinds holds no error of {self.task}, expected some of {', '.join(known)}.")

    @property
    def chosen(self) -> tuple[Kind, ...]:
        """Return the kinds of errors that the task has."""
        named = filter(None, map(str.strip, self.kinds.split(",")))
        return tuple(kind for kind in named if kind != "swapped" or self.task not in COMMUTATIVE)  # type: ignore[misc]


class Recovery(Game):
    """Player 0 solves; with a polluter that is player 0, and player 1 solves."""

    id = "recovery"
    version = 3
    summary = "go on with reasoning that somebody has begun, and that may be wrong"
    Options = RecoveryOptions

    chain: Chain
    given: int
    """How many steps the beginning has."""
    kind: Kind
    place: int | None
    """The first wrong step, from 0; None where none is wrong."""
    lines: tuple[str, ...]
    claim: str
    written: str
    """What the polluter wrote."""
    reply: str

    @property
    def facts(self) -> GameFacts:
        options: RecoveryOptions = self.options
        return GameFacts(
            players=2 if options.polluter else 1,
            min_return=0.0,
            max_return=1.0 + options.localise,
            max_turns=2 if options.polluter else 1,
            max_observation_chars=1500 + 120 * options.steps,
            roles=("polluter", "solver") if options.polluter else ("solver",),
            chance=True,
            information="perfect",
            utility="general_sum",
            enumerable=False,
        )

    def setup(self) -> None:
        options: RecoveryOptions = self.options
        clean = options.polluter or self.dice.random() < options.clean
        self.kind = "clean" if clean else self.dice.choice(options.chosen)
        self.written, self.reply = "", ""
        for _ in range(TRIES):
            self.chain = Chain.draw(options.task, options.steps, self.dice)
            self.given = options.least + self.dice.below(options.steps - options.least)
            self.place, self.claim = None, ""
            self.lines = () if options.polluter else self._begin()
            if self._tells():
                return
        raise OptionError(
            f"no task of {options.steps} steps was found that has the error {self.kind!r}; take more steps."
        )

    def _tells(self) -> bool:
        """Return whether the error matters and can be found: it leads to another answer, and a step that is left out
        is not followed by one like it."""
        if self.kind not in ("dropped", "swapped", "carried"):
            return True
        steps, place = self.chain.steps, self.place
        return self.led() is not None and (
            self.kind == "carried" or (place is not None and steps[place] != steps[place + 1])
        )

    @property
    def solver(self) -> int:
        """Return who solves."""
        return 1 if self.options.polluter else 0

    def players_to_move(self) -> tuple[int, ...]:
        if self.reply:
            return ()
        return (0,) if self.options.polluter and not self.written else (self.solver,)

    # ------------------------------------------------------------------ the beginning

    def _begin(self) -> tuple[str, ...]:
        """Return the lines of the beginning, with the error that was drawn."""
        chain, states = self.chain, [self.chain.start, *self.chain.path()]
        order = list(range(self.given))
        right = list(states[1 : self.given + 1])
        if self.kind == "noise":
            self.place = self.dice.below(self.given)
            lines = self._lines(order, right)
            lines[self.place] = _garbled(lines[self.place], self.dice)
            return tuple(lines)
        if self.kind == "claim":
            place = self.dice.below(self.given)
            other = self._another(right[place])
            said = f"after step {place + 1} it is {chain.name(other)}"
            self.claim = f"Another player says: {said}. I am certain."
            if self.options.wording == "terse":
                self.claim = f"!{place + 1} {chain.name(other)}"
        elif self.kind == "dropped":
            self.place = self.dice.below(self.given - 1)
            order.pop(self.place)
        elif self.kind == "swapped":
            self.place = self.dice.below(self.given - 1)
            order[self.place], order[self.place + 1] = order[self.place + 1], order[self.place]
        elif self.kind == "carried":
            self.place = self.dice.below(self.given)
            wrong = self._another(right[self.place])
            told = right[: self.place] + [wrong]
            for number in range(self.place + 1, self.given):
                told.append(chain.after(told[-1], chain.steps[number]))
            return tuple(self._lines(order, told))
        told, state = [], chain.start
        for number in order:
            state = chain.after(state, chain.steps[number])
            told.append(state)
        return tuple(self._lines(order, told))

    def _another(self, state: int) -> int:
        return self.dice.choice([other for other in range(self.chain.states) if other != state])

    def _lines(self, order: Sequence[int], states: Sequence[int]) -> list[str]:
        chain, wording = self.chain, self.options.wording
        if wording == "terse":
            left, lines, before = list(range(len(chain.steps))), [], chain.start
            for number, state in zip(order, states, strict=True):
                left = [one for one in left if one != number and (one in order or one > number)]  # a dropped one goes
                lines.append(terse_line(chain, left, before, number, state))
                before = state
            return lines
        return [
            f"{chain.step(number, wording)}: {chain.name(state)}." for number, state in zip(order, states, strict=True)
        ]

    def begun(self, player: int) -> str:
        """Return the beginning of the solver's reply."""
        return "".join(f"{line}\n" for line in self.lines) if player == self.solver and not self.reply else ""

    # ------------------------------------------------------------------ what players see

    def prompt(self, player: int) -> str:
        options: RecoveryOptions = self.options
        if options.wording == "terse":
            return ""
        names = shorten(self.chain.names())
        if player != self.solver:
            return (
                "You are the polluter. You begin another player's reasoning: say which state each of the first "
                f"{self.given} steps has, such as '{' '.join(self.chain.names()[:2])} ...', in order. At most one of "
                "them may not follow from the one before. You get 1 if the answer is wrong in the end. "
                f"States are {names}."
            )
        bonus = (
            f" Naming the first wrong step of the beginning, as 'wrong step: 3', or 'wrong step: none', pays "
            f"{options.localise:g} more."
            if options.localise
            else ""
        )
        return (
            "You work a task out step by step. Your reply has begun already, and the beginning may be wrong. Go on, "
            f"and end with 'Answer:' and one of {names}.{bonus}"
        )

    def board(self, player: int) -> str:
        terse = self.options.wording == "terse"
        role = f"{self.role(player)[0].upper()}{self.given} " if terse else ""
        told = f"{role}{self.chain.told(self.options.wording)}"
        if player != self.solver:
            return f"{told}\nYou wrote: {self.written}" if self.written else told
        if terse:
            return " ".join(filter(None, [told, *self.lines, self.claim, self.reply]))
        barred = "".join(f"\n| {line}" for line in self.lines)
        claim = f"\n{self.claim}" if self.claim else ""
        ended = f"\nYou went on: {self.reply}" if self.reply else ""
        return f"{told}{claim}\nYour reply begins like this:{barred}{ended}"

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return role and task, and for the solver the beginning and what another player claims."""
        known: dict[str, Any] = {"role": self.role(player), "chain": self.chain.known(), "given": self.given}
        if player == self.solver:
            known |= {"begun": list(self.lines), "claim": self.claim, "localise": self.options.localise}
            return {**known, "reply": self.reply}
        return {**known, "written": self.written}

    # ------------------------------------------------------------------ what players do

    def legal_actions(self, player: int) -> Sequence[str]:
        """Return examples."""
        if player != self.solver:
            return [" ".join(self.chain.name(state) for state in self.chain.path()[: self.given])]
        return [f"Answer: {name}." for name in self.chain.names()]

    def action_words(self, player: int) -> Sequence[str]:
        return ()

    def parse(self, player: int, text: str) -> Action:
        whole = "\n".join(line for part in well_formed(text).splitlines() if (line := _printed(part)))
        if player != self.solver:
            return " ".join(re.findall(r"[\w-]+", whole))
        if len(whole) > self.options.max_chars:
            raise UnparsableAction(f"the reply has {len(whole)} characters; {self.options.max_chars} are allowed.")
        own = whole.removeprefix(self.begun(player).rstrip("\n")).strip()
        if answer_given(own, self.chain.names()) is None:
            raise UnparsableAction(f"no answer found; end with 'Answer:' and one of {shorten(self.chain.names())}.")
        return own

    def check(self, player: int, action: Action) -> None:
        if not isinstance(action, str):
            raise IllegalAction("an action is a text; pass what `parse` returns.")
        names = self.chain.names()
        if player == self.solver:
            if len(action) > self.options.max_chars or answer_given(action, names) is None:
                raise IllegalAction("a reply of at most max_chars characters ends with an answer; parse it first.")
            return
        said = action.split()
        known = {name.lower(): state for state, name in enumerate(names)}
        if len(said) != self.given or any(one.lower() not in known for one in said):
            raise IllegalAction(f"say {self.given} states, in order, each one of {shorten(names)}.")
        states = [self.chain.start, *(known[one.lower()] for one in said)]
        wrong = sum(
            self.chain.after(states[number], self.chain.steps[number]) != states[number + 1]
            for number in range(self.given)
        )
        if wrong > 1:
            raise IllegalAction(f"{wrong} of these states do not follow from the one before; at most one may not.")

    def sample_action(self, player: int, dice: Dice) -> Action:
        """Return a random answer, or a beginning with at most one wrong step."""
        chain = self.chain
        if player == self.solver:
            return f"Answer: {dice.choice(chain.names())}."
        place, state, told = dice.below(self.given + 1), chain.start, []
        for number in range(self.given):
            state = dice.below(chain.states) if number == place else chain.after(state, chain.steps[number])
            told.append(chain.name(state))
        return " ".join(told)

    def _apply(self, player: int, action: Action) -> None:
        if player == self.solver:
            self.reply = str(action)
            return
        self.written = str(action)
        known = {name.lower(): state for state, name in enumerate(self.chain.names())}
        states = [known[one.lower()] for one in self.written.split()]
        right = self.chain.path()[: self.given]
        self.place = next((number for number, state in enumerate(states) if state != right[number]), None)
        self.kind = "clean" if self.place is None else "carried"
        self.lines = tuple(self._lines(range(self.given), states))

    # ------------------------------------------------------------------ how it ends

    @property
    def answer(self) -> str | None:
        """Return what the solver answers."""
        return answer_given(self.reply, self.chain.names())

    def named(self) -> int | None:
        """Return the step that the solver calls wrong, from 0; None where it calls none so."""
        found = _NAMED.findall(self.reply)
        return int(found[-1]) - 1 if found and found[-1].isdigit() else None

    def led(self) -> str | None:
        """Return the wrong answer that follows from the beginning if nobody mends it; None where none does."""
        if self.kind in ("noise", "claim", "clean") or self.place is None:
            return None
        last = answer_given(self.lines[-1], self.chain.names()) if self.lines else None
        if last is None:
            return None
        answer = self.chain.answer_from(self.given - 1, self.chain.names().index(last))
        return None if answer == self.chain.answer else self.chain.name(answer)

    def returns(self) -> tuple[float, ...]:
        """Return 1 for the right answer, and what naming the first wrong step pays; the polluter gets the rest of 1."""
        right = float(self.answer == self.chain.name(self.chain.answer))
        solver = right + self.options.localise * float(self.named() == self.place)
        return (1.0 - right, solver) if self.options.polluter else (solver,)

    def result(self) -> dict[str, Any]:
        """Return what became of the error: ``right``, ``recovered`` (right although something was wrong; None for a
        clean beginning), ``copied`` (answered what follows from the error; None where nothing does), ``localised``,
        ``alarm`` (named a step of a clean beginning; None otherwise), and where it stood (``position``, 0 to 1)."""
        right = self.answer == self.chain.name(self.chain.answer)
        clean, led = self.kind == "clean", self.led()
        return {
            "kind": self.kind,
            "place": self.place,
            "position": None if self.place is None else self.place / max(1, self.options.steps - 1),
            "given": self.given,
            "answer": self.answer,
            "right": right,
            "recovered": None if clean else right,
            "copied": None if led is None else self.answer == led,
            "named": self.named(),
            "localised": None if self.place is None else self.named() == self.place,
            "alarm": self.named() is not None if clean else None,
            "characters": len(self.reply),
        }

    def state(self) -> dict[str, Any]:
        return {
            "chain": self.chain.state(),
            "kind": self.kind,
            "place": self.place,
            "lines": self.lines,
            "claim": self.claim,
            "written": self.written,
            "reply": self.reply,
        }

    def _clone_state_into(self, twin: Self) -> None:
        """Nothing is mutable."""


def terse_line(chain: Chain, left: Sequence[int], before: int, number: int, state: int) -> str:
    """Return a line of terse reasoning, such as ``2,1 A0: B.``: the steps that are ``left``, the state before, the step
    that is done, and the state after it; steps are given by number from 0."""
    steps = ",".join(chain.step(one, "terse") for one in left)
    return f"{steps} {chain.name(before)}{chain.step(number, 'terse')}: {chain.name(state)}.".strip()


def _garbled(line: str, dice: Dice) -> str:
    """Return a line whose letters and digits are random ones; a step of a word or two states nothing any more."""
    return "".join(dice.choice(_LETTERS) if sign.isalnum() else sign for sign in line)


def _printed(line: str) -> str:
    return "".join(sign for sign in line if sign.isprintable()).strip()
