"""Generated two-option problems: a question with two numbers that is answered by yes or by no.

Words. A *kind* is a rule that turns the two *operands* a and b and one *parameter* (pack size, percent, a place) into
a *margin*: an integer in units of the kind, positive where the first option wins. A question asks whether the first
option wins, or, *reversed*, whether it loses; so yes and no are equally frequent whatever the numbers. A margin of 0 is
a tie: it has no right answer, is never taught and never counted, and stays in sweeps as the place where the sign turns.

Invariants, each with a test: equal seeds give equal problems; half of them are to be answered by yes; teaching and
held-out problems share no (kind, a, b, parameter).

The *terse* wording is a handful of bytes for byte-level models; the others are sentences.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from palaestra.envs.errors import OptionError, PalaestraError, UnknownName
from palaestra.envs.seeding import Dice, derive

TERSE = "terse"
STYLES = (TERSE, "plain")
HELD_OUT = 8
"""One combination of numbers in so many is never taught."""
NEAR = 12
"""Half of the problems have a margin that this many steps of ``a`` make up for, so that digits matter."""


@dataclass(frozen=True, slots=True)
class Kind:
    """A rule with its wordings.

    Attributes:
        name: What it is called in commands.
        summary: One line.
        first, second: Lowest and highest value of the operands a and b; both have two digits throughout.
        parameters: Values of the parameter.
        margin: (a, b, parameter) to an integer, positive where the first option wins.
        scale: (parameter) to the change of the margin that one step of ``a`` makes, in absolute value.
        asked: Sentences with {a}, {b}, {p}; each is followed by one of ``question``.
        question: The two questions: does the first option win, does it lose.
        letter: Begins the terse wording.
    """

    name: str
    summary: str
    first: tuple[int, int]
    second: tuple[int, int]
    parameters: tuple[int, ...]
    margin: Callable[[int, int, int], int]
    scale: Callable[[int], int]
    asked: tuple[str, ...]
    question: tuple[str, str]
    letter: str


KINDS: dict[str, Kind] = {
    kind.name: kind
    for kind in (
        Kind(
            "smaller",
            "which of two numbers is smaller, in the fewest words: b - a",
            (10, 99),
            (10, 99),
            (0,),
            lambda a, b, p: b - a,
            lambda p: 1,
            ("{a}, {b}.",),
            ("First less?", "First more?"),
            "S",
        ),
        Kind(
            "cheaper",
            "which of two prices is lower: b - a",
            (10, 99),
            (10, 99),
            (0,),
            lambda a, b, p: b - a,
            lambda p: 1,
            (
                "Shop A asks {a} euros, shop B asks {b} euros.",
                "The red lamp costs {a} coins and the blue lamp costs {b} coins.",
                "First offer: {a} dollars. Second offer: {b} dollars.",
            ),
            ("Is the first cheaper?", "Is the first dearer?"),
            "C",
        ),
        Kind(
            "packs",
            "a pack of p for a, or p single ones for b each: p b - a",
            (20, 99),
            (10, 49),
            (2, 3),
            lambda a, b, p: p * b - a,
            lambda p: 1,
            (
                "A pack of {p} costs {a} euros. Sold singly they cost {b} euros each.",
                "For {a} coins you get a box with {p} pens; one pen alone is {b} coins.",
            ),
            ("Is the pack cheaper?", "Is the pack dearer?"),
            "P",
        ),
        Kind(
            "discount",
            "a price a minus p percent, or the full price b: 100 b - (100 - p) a",
            (20, 99),
            (10, 99),
            (25, 50),
            lambda a, b, p: 100 * b - (100 - p) * a,
            lambda p: 100 - p,
            (
                "Coat A costs {a} euros with {p} percent off. Coat B costs {b} euros.",
                "The list price {a} is cut by {p} percent; elsewhere it is {b}.",
            ),
            ("Is the first cheaper?", "Is the first dearer?"),
            "D",
        ),
        Kind(
            "distance",
            "which of two places is nearer to a third, p: |b - p| - |a - p|",
            (10, 99),
            (10, 99),
            (30, 50, 70),
            lambda a, b, p: abs(b - p) - abs(a - p),
            lambda p: 1,
            (
                "The inn is at mile {a}, the mill at mile {b}, you are at mile {p}.",
                "Stop one is at kilometre {a}, stop two at kilometre {b}, the bus at kilometre {p}.",
            ),
            ("Is the first nearer?", "Is the first farther?"),
            "N",
        ),
    )
}


def kind_named(name: str) -> Kind:
    """Return a kind.

    Raises:
        UnknownName: There is none of this name.
    """
    if name not in KINDS:
        raise UnknownName("kind of problem", name, KINDS, f"There are {', '.join(KINDS)}.")
    return KINDS[name]


@dataclass(frozen=True, slots=True)
class Problem:
    """One question.

    Attributes:
        kind: Name of its kind.
        a, b, parameter: Its numbers.
        wording: Index into the kind's sentences; -1 is the terse wording.
        reverse: Asks whether the first option loses.
    """

    kind: str
    a: int
    b: int
    parameter: int
    wording: int
    reverse: bool

    @property
    def margin(self) -> int:
        """Return by how much *yes* is right: positive is yes, negative no, 0 a tie."""
        margin = KINDS[self.kind].margin(self.a, self.b, self.parameter)
        return -margin if self.reverse else margin

    @property
    def pieces(self) -> tuple[tuple[str, str], ...]:
        """Return the text in pieces, each with what it is: ``a``, ``b``, ``parameter`` or ``text``."""
        kind = KINDS[self.kind]
        if self.wording < 0:
            template = "{l}{a} {b} {p}{q}" if kind.parameters != (0,) else "{l}{a} {b} {q}"
            words = {"l": kind.letter, "q": "><"[not self.reverse] + "?"}
        else:
            template = f"{kind.asked[self.wording]} {kind.question[self.reverse]} Answer:"
            words = {}
        return tuple(_cut(template, {"a": str(self.a), "b": str(self.b), "p": str(self.parameter)}, words))

    @property
    def text(self) -> str:
        """Return the question, up to where the answer begins."""
        return "".join(text for text, _ in self.pieces)

    @property
    def answers(self) -> tuple[str, str]:
        """Return what follows the text: yes and no."""
        return ("yes", "no") if self.wording < 0 else (" yes", " no")


_WHAT = {"a": "a", "b": "b", "p": "parameter"}


def _cut(template: str, numbers: dict[str, str], words: dict[str, str]) -> Iterator[tuple[str, str]]:
    from string import Formatter

    for text, field, _, _ in Formatter().parse(template):
        if text:
            yield text, "text"
        if field in numbers:
            yield numbers[field], _WHAT[field]
        elif field:
            yield words[field], "text"


def held_out(problem: Problem) -> bool:
    """Return whether these numbers are kept from teaching; wording and direction make no difference."""
    return derive("held out", problem.kind, problem.a, problem.b, problem.parameter) % HELD_OUT == 0


def generate(kinds: Sequence[str], style: str, seed: int, count: int, held: bool) -> list[Problem]:
    """Return problems, the kinds in turn; never a tie.

    Args:
        kinds: Names of kinds.
        style: ``terse`` or ``plain``.
        seed: Equal seeds give equal problems.
        count: How many.
        held: From the combinations of numbers that are kept from teaching, or from the others.

    Raises:
        UnknownName: There is no such kind.
        OptionError: There is no such style, or no kind is named.
    """
    known = [kind_named(name) for name in kinds]
    if style not in STYLES:
        raise OptionError(f"style {style!r} is unknown; it is one of {', '.join(STYLES)}.")
    if not known:
        raise OptionError(f"no kind of problem is named; name some of {', '.join(KINDS)}.")
    dice = Dice(derive(seed, "problems", style, int(held), *kinds))
    return [_draw(known[number % len(known)], style, dice, held) for number in range(count)]


def _draw(kind: Kind, style: str, dice: Dice, held: bool) -> Problem:
    """Draw until the answer is the one that a coin asked for, near the tie half of the time."""
    yes, near = dice.below(2) == 1, dice.below(2) == 1
    reverse = dice.below(2) == 1
    wording = -1 if style == TERSE else dice.below(len(kind.asked))
    while True:
        parameter = dice.choice(kind.parameters)
        a = kind.first[0] + dice.below(kind.first[1] - kind.first[0] + 1)
        b = kind.second[0] + dice.below(kind.second[1] - kind.second[0] + 1)
        one = Problem(kind.name, a, b, parameter, wording, reverse)
        if near and abs(one.margin) > NEAR * kind.scale(parameter):
            continue
        if one.margin and (one.margin > 0) == yes and held_out(one) == held:
            return one


@dataclass(frozen=True, slots=True)
class Encoded:
    """Problems as token ids.

    Attributes:
        ids: One list of token ids a problem, the beginning-of-text token first where the model has one, and last the
            tokens, if any, with which both answers begin.
        a, b: Positions of the operands' tokens in them, one list a problem.
        yes, no: Ids of the first tokens of the two answers that differ.
    """

    ids: list[list[int]]
    a: list[list[int]]
    b: list[list[int]]
    yes: int
    no: int


class UnfitTokenizer(PalaestraError):
    """A tokenizer that does not keep an operand, or an answer, in tokens of its own."""


def encode(problems: Sequence[Problem], tokenizer: Any) -> Encoded:
    """Tokenise problems, and find their numbers in the tokens.

    Args:
        problems: All of one style.
        tokenizer: A transformers fast tokenizer.

    Raises:
        UnfitTokenizer: It reads a number together with its neighbours, or an answer as part of another token.
    """
    shared, yes, no = _answer_ids(problems[0], tokenizer)
    start = [] if tokenizer.bos_token_id is None else [tokenizer.bos_token_id]
    ids, a_at, b_at = [], [], []
    found = tokenizer([one.text for one in problems], add_special_tokens=False, return_offsets_mapping=True)
    for one, row, offsets in zip(problems, found["input_ids"], found["offset_mapping"], strict=True):
        ids.append(start + list(row) + shared)
        spans = _spans(one)
        places = {}
        for what in ("a", "b"):
            low, high = spans[what]
            here = [index for index, (left, right) in enumerate(offsets) if left < high and right > low]
            # a word-piece may take the blank before the number with it, and nothing else
            read = one.text[offsets[here[0]][0] : offsets[here[-1]][1]]
            if read.strip() != one.text[low:high]:
                raise UnfitTokenizer(
                    f"this model's tokenizer reads the number {one.text[low:high]} as part of {read!r} in "
                    f"{one.text!r}; use a model that keeps numbers in tokens of their own."
                )
            places[what] = [len(start) + index for index in here]
        a_at.append(places["a"])
        b_at.append(places["b"])
    return Encoded(ids, a_at, b_at, yes, no)


def _spans(problem: Problem) -> dict[str, tuple[int, int]]:
    spans, place = {}, 0
    for text, what in problem.pieces:
        spans[what] = (place, place + len(text))
        place += len(text)
    return spans


def _answer_ids(problem: Problem, tokenizer: Any) -> tuple[list[int], int, int]:
    """Return what both answers begin with, and then the token that each goes on with."""
    prompt = tokenizer(problem.text, add_special_tokens=False)["input_ids"]
    rest = []
    for answer in problem.answers:
        whole = tokenizer(problem.text + answer, add_special_tokens=False)["input_ids"]
        if whole[: len(prompt)] != prompt or len(whole) == len(prompt):
            raise UnfitTokenizer(
                f"this model's tokenizer joins the answer {answer!r} to the question {problem.text!r}; use another "
                "style or model."
            )
        rest.append(whole[len(prompt) :])
    for place, (yes, no) in enumerate(zip(*rest, strict=False)):
        if yes != no:
            return rest[0][:place], yes, no
    raise UnfitTokenizer(
        f"this model's tokenizer does not tell {problem.answers[0]!r} from {problem.answers[1]!r}; use another style "
        "or model."
    )
