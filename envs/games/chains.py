"""Tasks that need a running state: a start, steps that each change it, and a question about where it ends.

    parity    a lamp is on or off, and switches are pressed or left alone
    residue   a hand on a dial of seven numbers is moved on or back
    swaps     a ball lies under one of three cups, which are swapped
    knapsack  things are put into a bag as long as they fit; what does it weigh in the end?

Every answer is drawn evenly: the bag's is one of the five weights with at most 4 kg of room left, since by chance alone
greedy filling would end at its size in half of the tasks. `Chain.chance` is what guessing gets.

Every state on the way is known, so what a chain of thought says can be checked step by step, and an edited step has an
answer of its own (`Chain.answer_from`). ``wording`` ``restated`` tells the same steps as bare arithmetic, because how a
task is told may change accuracy more than what is tested with it; ``terse`` is a few characters, for tiny models.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from palaestra.envs.seeding import Dice

Task = Literal["parity", "residue", "swaps", "knapsack"]
Wording = Literal["story", "restated", "terse"]
DIAL = 7
MOST_STEPS = 40
_SWAPS = ((0, 1), (1, 2), (0, 2))
_LIGHTEST, _HEAVIEST = 5, 9
"""Weights in kg. What is left in a full bag is less than the lightest."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A task.

    Attributes:
        task: Which kind.
        start: The first state, a number below `states`.
        steps: What is done at each step: parity, whether the switch is pressed; residue, by how much the hand moves (-3
            to 3); swaps, which two cups (0 to 2); knapsack, a weight.
        room: What the bag holds; 0 for other tasks.
    """

    task: Task
    start: int
    steps: tuple[int, ...]
    room: int = 0

    @classmethod
    def draw(cls, task: Task, length: int, dice: Dice) -> Chain:
        """Return a random task of so many steps."""
        match task:
            case "parity":
                return cls(task, dice.below(2), tuple(dice.below(2) for _ in range(length)))
            case "residue":
                moves = (-3, -2, -1, 1, 2, 3)
                return cls(task, dice.below(DIAL), tuple(dice.choice(moves) for _ in range(length)))
            case "swaps":
                return cls(task, dice.below(3), tuple(dice.below(3) for _ in range(length)))
        room, left = max(_HEAVIEST, 4 * length - 2 + dice.below(5)), dice.below(_LIGHTEST)
        while True:  # one draw in forty at least, whatever was drawn before
            weights = tuple(_LIGHTEST + dice.below(_HEAVIEST - _LIGHTEST + 1) for _ in range(length))
            if (drawn := cls(task, 0, weights, room)).answer == room - left:
                return drawn

    @property
    def states(self) -> int:
        """Return how many states there are."""
        return {"parity": 2, "residue": DIAL, "swaps": 3, "knapsack": self.room + 1}[self.task]

    @property
    def chance(self) -> float:
        """Return the share of right answers of who guesses and knows how tasks are drawn."""
        return 1 / (_LIGHTEST if self.task == "knapsack" else self.states)

    def after(self, state: int, step: int) -> int:
        """Return the state after a step."""
        match self.task:
            case "parity":
                return state ^ step
            case "residue":
                return (state + step) % DIAL
            case "swaps":
                first, second = _SWAPS[step]
                return {first: second, second: first}.get(state, state)
        return state + step if state + step <= self.room else state

    def path(self, start: int | None = None, first: int = 0) -> tuple[int, ...]:
        """Return the state after each step from step number ``first`` on."""
        state = self.start if start is None else start
        found = []
        for step in self.steps[first:]:
            state = self.after(state, step)
            found.append(state)
        return tuple(found)

    @property
    def answer(self) -> int:
        """Return the last state."""
        return self.path()[-1]

    def answer_from(self, step: int, state: int) -> int:
        """Return the last state if the state after step number ``step`` (from 0) had been ``state``."""
        return self.path(state, step + 1)[-1] if step + 1 < len(self.steps) else state

    def state(self) -> dict[str, Any]:
        """Return start, steps and room as JSON data."""
        return {"start": self.start, "steps": self.steps, "room": self.room}

    def known(self) -> dict[str, Any]:
        """Return what a player is told, as data."""
        return {"task": self.task, "start": self.start, "steps": list(self.steps), "room": self.room}

    # ------------------------------------------------------------------ in words

    def name(self, state: int) -> str:
        """Return a state as a player writes it."""
        if self.task == "parity":
            return ("off", "on")[state]
        return "ABC"[state] if self.task == "swaps" else str(state)

    def names(self) -> list[str]:
        """Return all states as players write them."""
        return [self.name(state) for state in range(self.states)]

    def told(self, wording: Wording = "story") -> str:
        """Return the task and its question."""
        if wording == "terse":
            room = f"/{self.room}" if self.room else ""
            return f"{self.name(self.start)}:{','.join(map(str, self.steps))}{room}"
        steps = ". ".join(self.step(number, wording) for number in range(len(self.steps)))
        if wording == "restated":
            return f"{_RESTATED[self.task](self)} {steps}. What is x in the end?"
        return f"{_STORIES[self.task](self)} {steps}. {_QUESTIONS[self.task]}"

    def answering(self, wording: Wording = "story") -> str:
        """Return how the sentence begins that ends with the answer; nothing tersely."""
        return {"terse": "", "restated": "In the end x is", "story": _ANSWERS[self.task]}[wording]

    def step(self, number: int, wording: Wording = "story") -> str:
        """Return a step in words."""
        step = self.steps[number]
        if wording == "terse":
            return str(step)
        if wording == "restated":
            match self.task:
                case "parity":
                    return "Flip x" if step else "Keep x"
                case "swaps":
                    first, second = _SWAPS[step]
                    return f"{'ABC'[first]} becomes {'ABC'[second]} and the reverse"
                case "knapsack":
                    return f"Add {step} if x stays at {self.room} or below"
            return f"Add {step % DIAL} modulo {DIAL}"
        match self.task:
            case "parity":
                return "The switch is pressed" if step else "The switch is left alone"
            case "swaps":
                first, second = _SWAPS[step]
                return f"Cups {'ABC'[first]} and {'ABC'[second]} are swapped"
            case "knapsack":
                return f"A thing of {step} kg comes"
        return f"The hand moves {'on' if step > 0 else 'back'} by {abs(step)}"

    def reasoning(self, wording: Wording = "story") -> list[str]:
        """Return right reasoning, a line for each step; tersely only the states."""
        states = [f"{self.name(state)}." for state in self.path()]
        if wording == "terse":
            return states
        return [f"{self.step(number, wording)}: {state}" for number, state in enumerate(states)]


_STORIES: Mapping[Task, Callable[[Chain], str]] = {
    "parity": lambda chain: f"A lamp is {chain.name(chain.start)}.",
    "residue": lambda chain: f"The hand of a dial with the numbers 0 to {DIAL - 1} points to {chain.start}.",
    "swaps": lambda chain: f"A ball lies under cup {chain.name(chain.start)} of A, B and C.",
    "knapsack": lambda chain: f"A bag holds {chain.room} kg; whatever comes and still fits is put in.",
}
_RESTATED: Mapping[Task, Callable[[Chain], str]] = {
    "parity": lambda chain: f"x is {chain.name(chain.start)}; to flip it is to turn on into off or the reverse.",
    "residue": lambda chain: f"x is {chain.start}.",
    "swaps": lambda chain: f"x is {chain.name(chain.start)}.",
    "knapsack": lambda chain: "x is 0.",
}
_ANSWERS: Mapping[Task, str] = {
    "parity": "In the end the lamp is",
    "residue": "In the end the hand points to",
    "swaps": "In the end the ball is under cup",
    "knapsack": "In the end the bag weighs",
}
_QUESTIONS: Mapping[Task, str] = {
    "parity": "Is the lamp on or off in the end?",
    "residue": "To which number does the hand point in the end?",
    "swaps": "Under which cup is the ball in the end?",
    "knapsack": "What does the bag weigh in the end?",
}
