"""Next-token prediction as a game for one: think as long as it pays, then say how likely each next token is.

The player reads a document token by token. Before a token it may insert *thinking tokens*, which nobody else sees and
which cost ``cost`` nats each, where the document allows it; then it *advances* with a distribution over the real
vocabulary, is paid the logarithm of what it gave the true next token (a proper score: no other distribution pays more
in expectation than what it believes, but for some 1e-13 nats, since no token pays less than -30), and the true token is
placed. The next token is in no observation before.

An action is a thinking token, ``Tokens((k,), "thinking")``, or a `Distribution` over the vocabulary. As text:
``think 2``, or ``advance a:0.7 #32:0.2``, the rest of the probability spread evenly over all other tokens; ``#32`` is
token number 32, and ``advance`` alone is the uniform distribution. A text stays a text in records; what it means
follows from the vocabulary.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from palaestra.envs.documents import Document, document_of, find_task
from palaestra.envs.documents.vocabulary import Encoded, Vocabulary, encode, vocabulary
from palaestra.envs.errors import IllegalAction, OptionError, UnparsableAction
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.options import within
from palaestra.envs.parts import Action, Distribution, Tokens
from palaestra.envs.seeding import Dice

THINKING = "thinking"
"""Name of the vocabulary of thinking tokens."""
FLOOR = -30.0
"""Least log score of a token, in nats; impossible is not infinitely bad, so that every return is a number."""
TOLERANCE = 1e-4
"""By how much stated probabilities may sum to more than 1, as `Distribution` allows."""
SHOWN = 2000


@dataclass(frozen=True)
class NextTokenOptions:
    r"""Which documents, and what thinking costs.

    Attributes:
        task: A kind of document (`palaestra.envs.documents.tasks`).
        settings: Its options, as ``group=z7,length=5``; a comma in a value is written ``\,``.
        vocabulary: ``bytes``, or a model whose tokenizer is used.
        thoughts: How many thinking tokens there are.
        most: Most thinking tokens before one token.
        cost: Of a thinking token, in nats.
        longest: Most tokens of a document; a longer one is refused.
    """

    task: str = "chain"
    settings: str = ""
    vocabulary: str = "bytes"
    thoughts: int = 4
    most: int = 8
    cost: float = 0.0
    longest: int = 512

    def __post_init__(self) -> None:
        within(self, thoughts=(1, 1024), most=(0, 256), cost=(0, 10), longest=(1, 1 << 16))
        find_task(self.task)

    def draw(self, dice: Dice) -> Document:
        """Return a random document.

        Raises:
            UnknownName, OptionError: `settings` are not options of the task.
        """
        return document_of(self.task, dice, **settings_of(self.settings))


def settings_of(text: str) -> dict[str, str]:
    r"""Read ``group=z7,length=5``; a comma in a value is written ``\,`` and a backslash before one ``\\``.

    Raises:
        ValueError: It is written otherwise.
    """
    found = {}
    for part in filter(None, (part.strip() for part in re.findall(r"(?:\\[\\,]|[^,])+", text))):
        name, equals, value = part.partition("=")
        if not equals:
            raise OptionError(
                f"settings has {part!r}, expected name=value, such as group=z7,length=5; a comma in a value, such as a "
                "file's name, is written \\,."
            )
        found[name.strip()] = re.sub(r"\\([\\,])", r"\1", value.strip())
    return found


def settings_text(settings: Mapping[str, str]) -> str:
    """Invert `settings_of`."""
    escaped = {name: re.sub(r"([\\,])", r"\\\1", value) for name, value in settings.items()}
    return ",".join(f"{name}={value}" for name, value in escaped.items())


class NextToken(Game):
    """One player, who sees what was placed so far, its own thinking tokens among it."""

    id = "next_token"
    summary = "predict a text token by token, thinking in between where it pays"
    Options = NextTokenOptions

    document: Document
    encoded: Encoded
    words: Vocabulary
    placed: list[int]
    """Tokens so far; a thinking token k is ``vocabulary size + k``."""
    position: int
    """Number of the next real token."""
    pondered: int
    """Thinking tokens before it so far."""
    scores: list[float]
    """Log score of each real token so far, in nats; 0 where it does not count."""
    counts: list[int]
    """Thinking tokens before each real token so far."""

    @property
    def facts(self) -> GameFacts:
        options: NextTokenOptions = self.options
        return GameFacts(
            players=1,
            min_return=options.longest * (FLOOR - options.most * options.cost),
            max_return=0.0,
            max_turns=options.longest * (1 + options.most),
            max_observation_chars=1000 + SHOWN,
            roles=("reader",),
            chance=True,
            information="imperfect",
            utility="general_sum",
            actions=("tokens", "distribution", "text"),
            enumerable=False,
        )

    def setup(self) -> None:
        options: NextTokenOptions = self.options
        self.words = vocabulary(options.vocabulary)
        self.document = options.draw(self.dice)
        self.encoded = encode(self.document, self.words)
        if len(self.encoded) > options.longest:
            raise OptionError(f"the document has {len(self.encoded)} tokens, longest is {options.longest}; raise it.")
        self.placed, self.scores, self.counts = [], [], []
        self.position = self.pondered = 0

    def players_to_move(self) -> tuple[int, ...]:
        return (0,) if self.position < len(self.encoded) else ()

    def left(self) -> int:
        """Return how many thinking tokens may come before the next real one."""
        if self.position == len(self.encoded) or not self.encoded.open[self.position]:
            return 0
        most: int = self.options.most
        return most - self.pondered

    # ------------------------------------------------------------------ what the player sees

    def prompt(self, player: int) -> str:
        options: NextTokenOptions = self.options
        return (
            "You read a text token by token. Say how likely each next token is: 'advance a:0.7 b:0.2' gives the rest "
            "evenly to all others, and pays the logarithm of what the true token got. Where it is allowed you may "
            f"think first: 'think K' with K from 0 to {options.thoughts - 1}, for {options.cost:g} nats each. "
            f"There are {self.words.size} tokens."
        )

    def board(self, player: int) -> str:
        text = self._shown()
        if len(text) > SHOWN - 100:
            text = f"...{text[100 - SHOWN :]}"
        return f"The text so far: {text}|\nThoughts left: {self.left()}"

    def _shown(self) -> str:
        """Return what was placed, thinking tokens as ``<2>``."""
        parts, real = [], list[int]()
        for token in [*self.placed, -1]:
            if 0 <= token < self.words.size:
                real.append(token)
                continue
            parts.append(self.words.decode(real))
            real = []
            if token >= 0:
                parts.append(f"<{token - self.words.size}>")
        text = "".join(parts)
        return "".join(sign if sign.isprintable() else " " for sign in text)

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return tokens so far, which of them are thoughts, how many more are allowed, and the size of the
        vocabulary."""
        return {
            "tokens": list(self.placed),
            "thinking": [token >= self.words.size for token in self.placed],
            "left": self.left(),
            "vocabulary": self.words.size,
        }

    # ------------------------------------------------------------------ what the player does

    def legal_actions(self, player: int) -> Sequence[str]:
        """Return examples."""
        return ["advance", *(f"think {kind}" for kind in range(self.options.thoughts) if self.left())]

    def parse(self, player: int, text: str) -> Action:
        self._said(text)
        return " ".join(text.split())

    def _said(self, text: str) -> Tokens | Spread:
        """Return what a text means.

        Raises:
            UnparsableAction: Nothing, or no probabilities.
        """
        words = text.split()
        if len(words) == 2 and words[0] == "think" and words[1].isascii() and words[1].isdigit() and len(words[1]) < 6:
            return Tokens((int(words[1]),), THINKING)
        if not words or words[0] != "advance":
            raise UnparsableAction("answer with 'think 0' or with 'advance a:0.7 b:0.2'.")
        given: dict[int, float] = {}
        for word in words[1:]:
            sign, colon, number = word.rpartition(":")
            tokens = self._named(sign) if colon and sign else []
            try:
                chance = float(number)
            except ValueError:
                chance = math.nan
            if len(tokens) != 1 or not 0 <= chance <= 1 or tokens[0] in given:
                raise UnparsableAction(f"{word[:40]!r} is no token with a probability from 0 to 1, such as a:0.7.")
            given[tokens[0]] = chance
        if (total := math.fsum(given.values())) > 1 + TOLERANCE:
            raise UnparsableAction(f"the probabilities sum to {total:g}; give at most 1 in all, the rest is spread.")
        return Spread.of(given, self.words.size)

    def _named(self, sign: str) -> list[int]:
        """Return the tokens of a sign, or the one of a number such as ``#32``."""
        number = sign[1:]
        if sign[0] == "#" and number.isascii() and number.isdigit() and len(number) < 9:
            return [int(number)] if int(number) < self.words.size else []
        return self.words.encode(sign)

    def check(self, player: int, action: Action) -> None:
        meant: Action | Spread = action
        if isinstance(action, str):
            try:
                meant = self._said(action)
            except UnparsableAction as error:
                raise IllegalAction(error.reason) from None
        match meant:
            case Spread():
                return
            case Tokens(ids=(kind,), vocabulary="thinking"):
                if not self.left():
                    raise IllegalAction("no thinking is allowed here; advance.")
                if not 0 <= kind < self.options.thoughts:
                    raise IllegalAction(f"there is no thinking token {kind}; use 0 to {self.options.thoughts - 1}.")
            case Distribution(logprobs=logprobs):
                if len(logprobs) != self.words.size:
                    raise IllegalAction(f"a distribution over {len(logprobs)} tokens; there are {self.words.size}.")
            case _:
                raise IllegalAction("an action is one thinking token or a distribution over the vocabulary.")

    def sample_action(self, player: int, dice: Dice) -> Action:
        """Return, as text, a random thinking token, as likely as not where thinking is allowed, or random odds."""
        if self.left() and dice.below(2):
            return f"think {dice.below(self.options.thoughts)}"
        given = {}
        for _ in range(2):
            sign = self.words.decode([dice.below(self.words.size)])
            if sign.isprintable() and ":" not in sign and sign.split() == [sign] and len(self.words.encode(sign)) == 1:
                given[sign] = dice.below(50) / 100
        return " ".join(["advance", *(f"{sign}:{chance:g}" for sign, chance in given.items())])

    def _apply(self, player: int, action: Action) -> None:
        meant = self._said(action) if isinstance(action, str) else action
        if isinstance(meant, Tokens):
            self.placed.append(self.words.size + meant.ids[0])
            self.pondered += 1
            return
        assert isinstance(meant, Distribution | Spread)
        due = int(self.encoded.ids[self.position])
        # what may sum to a little more than one is paid as if it did not, so that nothing is won by it
        total = 0.0 if isinstance(meant, Spread) else math.log(math.fsum(map(math.exp, meant.logprobs)))
        paid = (meant.logprob(due) if isinstance(meant, Spread) else meant.logprobs[due]) - total
        self.scores.append(max(paid, FLOOR) if self.encoded.scored[self.position] else 0.0)
        self.counts.append(self.pondered)
        self.placed.append(due)
        self.position += 1
        self.pondered = 0

    # ------------------------------------------------------------------ how it ends

    def returns(self) -> tuple[float, ...]:
        """Return the log scores less what thinking cost, in nats."""
        return (math.fsum(self.scores) - self.options.cost * sum(self.counts),)

    def result(self) -> dict[str, Any]:
        """Return the document's name, its entropy where it is known, and scores and thoughts on hard and easy
        tokens, in nats: ``hard`` and ``easy`` are mean losses (None without such tokens), ``hard_thoughts`` and
        ``easy_thoughts`` mean thoughts a token where thinking is allowed."""
        encoded = self.encoded
        return {
            "document": self.document.name,
            "entropy": None if math.isnan(self.document.entropy) else self.document.entropy,
            "tokens": len(encoded),
            "nats": -math.fsum(self.scores),
            "thoughts": sum(self.counts),
            "hard": self._mean_loss(encoded.hard),
            "easy": self._mean_loss(~encoded.hard),
            "hard_thoughts": self._mean_thoughts(encoded.hard),
            "easy_thoughts": self._mean_thoughts(~encoded.hard),
        }

    def _mean_loss(self, kind: NDArray[np.bool_]) -> float | None:
        return _mean([-self.scores[place] for place in np.flatnonzero(self.encoded.scored & kind)])

    def _mean_thoughts(self, kind: NDArray[np.bool_]) -> float | None:
        return _mean([self.counts[place] for place in np.flatnonzero(self.encoded.open & kind)])

    def state(self) -> dict[str, Any]:
        return {
            "text": self.document.text,
            "placed": list(self.placed),
            "scores": list(self.scores),
            "counts": list(self.counts),
            "pondered": self.pondered,
        }

    def _clone_state_into(self, twin: Self) -> None:
        twin.placed, twin.scores, twin.counts = list(self.placed), list(self.scores), list(self.counts)


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of which some probabilities are given, and the rest is spread evenly over all other tokens.

    Attributes:
        given: Log-probabilities by token, in nats.
        rest: That of each other token.
    """

    given: dict[int, float]
    rest: float

    @classmethod
    def of(cls, given: dict[int, float], size: int) -> Spread:
        """Return the distribution over ``size`` tokens with given probabilities; a sum that is above 1 by rounding is
        scaled down to it."""
        total = math.fsum(given.values())
        if total > 1 or len(given) == size:
            given = {token: chance / total for token, chance in given.items()} if total else {}
            total = 1.0 if given else 0.0
        rest = (1 - total) / max(1, size - len(given))
        return cls({token: _log(chance) for token, chance in given.items()}, _log(rest))

    def logprob(self, token: int) -> float:
        """Return the log-probability of a token, in nats."""
        return self.given.get(token, self.rest)

    def whole(self, size: int) -> Distribution:
        """Return it as the distribution over ``size`` tokens."""
        return Distribution(tuple(self.logprob(token) for token in range(size)))


def _log(chance: float) -> float:
    return math.log(chance) if chance > 0 else -math.inf


def _mean(values: list[float]) -> float | None:
    return math.fsum(values) / len(values) if values else None
