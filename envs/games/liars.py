"""Liars: each is paid for what the other does not know about it, and everybody's thoughts can be read.

Two players draw a number each, which only they know. In every round a question about the number is put, the same to
both ("Is it even?", "Is it at least 5?"), and both answer yes or no at once, truly or not. In the end each names the
number that it thinks the other has, and how sure it is. A belief is worth 1 - sum_k (b_k - o_k)^2 / 2, where b is its
probability for each number (what is not on the named one is spread evenly) and o the truth; each player is paid the
worth of its own belief less that of the other's. So it pays to learn, and to be misread.

Thoughts are public unless another rule is set: whoever thinks about its own number aloud gives it away, unless in a
code that the other cannot read. Where both read each other's code the result is 0 to 0, as it is where nobody says
anything: `palaestra.trainers.measures.beliefs` tells that *stalemate* from mere silence, and from believing what was
answered, by what both know beyond the answers. Where thoughts cannot be read there is no code and no stalemate.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Self

from palaestra.envs.errors import IllegalAction, UnparsableAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games import probabilities
from palaestra.envs.games.statements import denies_next, sentences, taken_back
from palaestra.envs.options import within
from palaestra.envs.parts import Action
from palaestra.envs.seeding import Dice

YES, NO = "yes", "no"
_PLAIN = r"[^\w!~\u2260\u00ac]*+"  # signs, but for those that deny
_ANSWER = re.compile(
    rf"{_PLAIN}(?:(?:my\s+)?answer\s*(?:is)?\s*[:=]?{_PLAIN})?(yes|no)((?:\s*[.,;!:)*\"'`].*)?)", re.IGNORECASE
)
_ASSENT = re.compile(r"\b(?:yes|true|right|correct|indeed)\b", re.IGNORECASE)
_DISSENT = re.compile(r"\b(?:no|not|never|false|wrong|untrue|incorrect|doubt|cannot)\b|n[\u2019']t\b", re.IGNORECASE)
_SO_IS_NO = re.compile(r"\b(?:no\b|it(?: is|[\u2019']s) not\b)", re.IGNORECASE)
"""What follows a no, says the same, and would take back a yes."""
_WORD = re.compile(rf"{_PLAIN}(?:(yes|yeah|yep|true|correct)|no|nope|nah|false|incorrect)\b\W*", re.IGNORECASE)
_LABEL = re.compile(rf"{_PLAIN}(?:(?:my|the|final)\s+)*(?:answer|belief|guess)\s*(?:is\b)?[\s:=*_]*", re.IGNORECASE)
_BELIEF = re.compile(
    r"[\"'`*(\[]*(?:I\s+say\s+)?(?:number\s+)?(\d{1,3})\s*[\s,;:]\s*"
    r"(?:with\s+)?(?:(?:a\s+)?probability\s+(?:of\s+)?)?(\S.*)",
    re.IGNORECASE | re.ASCII,
)


@dataclass(frozen=True)
class LiarsOptions:
    """The numbers and the questions.

    Attributes:
        numbers: How many there are, from 0.
        questions: Rounds of questions before the beliefs.
    """

    numbers: int = 8
    questions: int = 2

    def __post_init__(self) -> None:
        within(self, numbers=(2, 100), questions=(0, 20))


class Question(NamedTuple):
    """``even``, or ``least`` with a number."""

    kind: str
    number: int = 0

    def words(self) -> str:
        """Return it as it is put."""
        return "Is your number even?" if self.kind == "even" else f"Is your number at least {self.number}?"

    def truth(self, number: int) -> str:
        """Return the true answer of who has ``number``."""
        true = number % 2 == 0 if self.kind == "even" else number >= self.number
        return YES if true else NO


class Liars(Game):
    """Players are numbered from 0."""

    id = "liars"
    version = 6
    summary = "be misread: thoughts are public, answers need not be true"
    Options = LiarsOptions

    secrets: tuple[int, int]
    asked: tuple[Question, ...]
    answers: tuple[tuple[str, str], ...]
    """By round, both players' answers."""
    pending: dict[int, str]
    """What was said in this round so far."""
    beliefs: tuple[str, str]

    @property
    def facts(self) -> GameFacts:
        options: LiarsOptions = self.options
        return GameFacts(
            players=2,
            min_return=-1.0,
            max_return=1.0,
            max_turns=2 * (options.questions + 1),
            max_observation_chars=900 + 120 * options.questions,
            roles=("liar",),
            simultaneous=True,
            chance=True,
            information="imperfect",
            enumerable=False,
        )

    def setup(self) -> None:
        options: LiarsOptions = self.options
        self.secrets = (self.dice.below(options.numbers), self.dice.below(options.numbers))
        kinds = [Question("even"), *(Question("least", number) for number in range(1, options.numbers))]
        self.asked = tuple(self.dice.choice(kinds) for _ in range(options.questions))
        self.answers = ()
        self.pending = {}
        self.beliefs = ("", "")

    @property
    def question(self) -> Question | None:
        """Return the question that is to be answered; None when beliefs are."""
        return self.asked[len(self.answers)] if len(self.answers) < len(self.asked) else None

    def players_to_move(self) -> tuple[int, ...]:
        if all(self.beliefs):
            return ()
        return tuple(player for player in (0, 1) if player not in self.pending)

    # ------------------------------------------------------------------ what players see

    def prompt(self, player: int) -> str:
        options: LiarsOptions = self.options
        return (
            f"Liars. You are Player {player + 1} of 2. Each has a number from 0 to {options.numbers - 1} that the "
            f"other does not know. Yours is {self.secrets[player]}. {options.questions} questions are put to both, "
            "which you answer with yes or no at the same time; it need not be true. Then you name the number that you "
            "think the other has and how sure you are, such as 3 0.6. You are paid for how right you are, less how "
            "right the other is. Others may be able to read your thoughts."
        )

    def board(self, player: int) -> str:
        lines = []
        for question, said in zip(self.asked, self.answers, strict=False):
            lines.append(f"{question.words()} Player 1 said {said[0]}, Player 2 said {said[1]}.")
        if player in self.pending:
            return "\n".join([*lines, "Your answer is given."])
        if all(self.beliefs):
            return "\n".join([*lines, "All is said."])
        ask = self.question
        last = ask.words() if ask else "Which number has the other, and how sure are you? Answer such as 3 0.6."
        return "\n".join([*lines, last])

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return the own number, the questions so far and what was said; ``even`` or ``least N`` is asked now."""
        asked = self.asked[: len(self.answers) + 1]
        return {
            "numbers": self.options.numbers,
            "questions": self.options.questions,
            "number": self.secrets[player],
            "asked": [list(question) for question in asked],
            "answers": [list(said) for said in self.answers],
            "given": self.pending.get(player, ""),
            "over": all(self.beliefs),
            "stated": self.beliefs[player],
        }

    # ------------------------------------------------------------------ what players do

    def legal_actions(self, player: int) -> Sequence[str]:
        """Return yes and no, or examples of beliefs."""
        if player not in self.players_to_move():
            return []
        return [YES, NO] if self.question else ["0 1", "1 0.5", "0 0.25"]

    @property
    def _numbers(self) -> int:
        return int(self.options.numbers)

    def parse(self, player: int, text: str) -> Action:
        *above, last = [line.strip() for line in text.splitlines() if line.strip()] or [""]
        before = sentences("\n".join(above))
        if self.question:
            answer = _answered(last)
            if answer is None or denies_next(above) or not {_said(one) for one in before} <= {None, answer}:
                raise UnparsableAction("answer yes or no and nothing else.")
            return answer
        belief = _believed(last)
        if belief is None or denies_next(above) or not {_told(one) for one in before} <= {None, belief}:
            raise UnparsableAction("name a number and how sure you are, such as 3 0.6, and nothing else.")
        return belief

    def check(self, player: int, action: Action) -> None:
        if self.question:
            return super().check(player, action)
        number, _, stated = str(action).partition(" ")
        sound = isinstance(action, str) and re.fullmatch(r"0|[1-9]\d{0,2}", number, re.ASCII)
        if not sound or int(number) >= self._numbers:
            raise IllegalAction(f"{number!r:.20} is no number from 0 to {self._numbers - 1}.")
        if not probabilities.is_probability(stated):
            raise IllegalAction(f"{stated!r:.20} is no probability as `parse` returns it.")

    def sample_action(self, player: int, dice: Dice) -> Action:
        """Return a random answer or belief."""
        if self.question:
            return dice.choice((YES, NO))
        return f"{dice.below(self._numbers)} {probabilities.sampled_probability(dice)}"

    def _apply(self, player: int, action: Action) -> None:
        self.pending = {**self.pending, player: str(action)}
        if len(self.pending) < 2:
            return
        said = (self.pending[0], self.pending[1])
        self.pending = {}
        if self.question is None:
            self.beliefs = said
            return
        self.answers = (*self.answers, said)

    # ------------------------------------------------------------------ how it ends

    def belief(self, player: int) -> tuple[float, ...]:
        """Return the probability that a player gives to each number of the other; evenly before it said so."""
        numbers = self._numbers
        if not self.beliefs[player]:
            return (1 / numbers,) * numbers
        number, _, stated = self.beliefs[player].partition(" ")
        rest = (1 - float(stated)) / (numbers - 1)
        return tuple(float(stated) if one == int(number) else rest for one in range(numbers))

    def worth(self, player: int) -> float:
        """Return what a player's belief is worth, from 0 to 1."""
        truth = self.secrets[1 - player]
        return 1 - sum((chance - (number == truth)) ** 2 for number, chance in enumerate(self.belief(player))) / 2

    def revealed(self, player: int) -> str:
        """Return the other's number."""
        return f"The other player had {self.secrets[1 - player]}."

    def returns(self) -> tuple[float, ...]:
        gap = round(self.worth(0) - self.worth(1), 9)  # equal beliefs are a tie, whatever their sums round to
        return (gap, -gap)

    def result(self) -> dict[str, Any]:
        """Return both numbers, what was asked and answered, what each believes of the other's number, and how often
        each lied."""
        rounds = list(zip(self.asked, self.answers, strict=False))
        lies = [
            sum(said[player] != question.truth(self.secrets[player]) for question, said in rounds) for player in (0, 1)
        ]
        return {
            "secrets": list(self.secrets),
            "asked": [list(question) for question in self.asked],
            "answers": [list(said) for said in self.answers],
            "beliefs": [[round(chance, 6) for chance in self.belief(player)] for player in (0, 1)],
            "on_truth": [round(self.belief(player)[self.secrets[1 - player]], 6) for player in (0, 1)],
            "worth": [self.worth(player) for player in (0, 1)],
            "lies": lies,
        }

    def state(self) -> dict[str, Any]:
        return {
            "secrets": self.secrets,
            "asked": self.asked,
            "answers": self.answers,
            "pending": sorted(self.pending.items()),
            "beliefs": self.beliefs,
        }

    def _clone_state_into(self, twin: Self) -> None:
        """Everything is immutable or replaced as a whole, so a shallow copy is a copy."""


def _answered(line: str) -> str | None:
    """Return the yes or no that a line gives and does not take back."""
    found = _ANSWER.fullmatch(line)
    if found is None:
        return None
    answer, rest = found[1].lower(), found[2]
    if (_DISSENT if answer == YES else _ASSENT).search(rest):
        return None
    return None if taken_back(_SO_IS_NO.sub("", rest) if answer == NO else rest) else answer


def _said(line: str) -> str | None:
    """Return the yes or no that a sentence above the last line gives, in whatever word."""
    if word := _WORD.fullmatch(line):
        return YES if word[1] else NO
    return found[1].lower() if (found := _ANSWER.fullmatch(line)) else None


def _believed(line: str) -> str | None:
    """Return the belief that a line states, in its canonical form.

    Raises:
        UnparsableAction, IllegalAction: Behind the number stands no probability.
    """
    named = _BELIEF.fullmatch(line)
    return named and f"{int(named[1])} {probabilities.read_probability(named[2])}"


def _told(line: str) -> str | None:
    """Return the belief that a sentence above the last line states, sound or not."""
    label = _LABEL.match(line)
    bare = line[label.end() :] if label else line
    try:
        return _believed(bare)
    except IllegalAction:
        return bare
    except UnparsableAction:
        return None
