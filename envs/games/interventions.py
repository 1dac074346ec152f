"""What can be done to a chain of thought before somebody else reads it: data, so that every experiment means the same.

    none            nothing
    truncate        the first share of its tokens, words and signs (Lanham et al., 2023, "early answering")
    filler          dots, as many as the thought has tokens, evenly over as many lines: of equal length, and what a line
                    said cannot be told by its length
    shuffle         its sentences in another order
    other           the right reasoning of another item, which has another answer
    number          one number changed by one to three; those that number a line or a step stay
    paraphrase      the same statements in other words: "...: 5." becomes "..., so it is 5.", and words without weight
                    become synonyms; by rule, so that no model is trusted to keep the meaning
    answer          nothing but what it states last, as an answer
    planted         a sentence states another state than it did, and what follows it is gone (Lanham et al., 2023,
                    "adding mistakes"; without a model there is nobody to go on from it)

Each is a function of the text, an amount and dice. `strip_answer` and `strip_verdicts` take out what says the answer
outright, without which a transfer may be no more than the answer handed on.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from palaestra.envs.games.statements import last_stated, sentences, statements
from palaestra.envs.seeding import Dice

Intervention = Literal["none", "truncate", "filler", "shuffle", "other", "number", "planted", "paraphrase", "answer"]
_STEP = re.compile(r"(?!\W*the whole\b)(.*\S)\s*:\s*", re.IGNORECASE)
TOKEN = re.compile(r"\w+|[^\w\s]")
_NUMBER = re.compile(r"(?P<of>\b(?:line|step|no\.?|number) )?(?<![\w.])(?P<number>\d{1,9})(?!\w|\.\d)", re.IGNORECASE)
FRACTIONS = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_ANSWER = re.compile(
    r"\\boxed|\b(?:answer|so|therefore|thus|hence|result|finally|in the end"
    r"|(?:it|x|ball|hand|lamp|bag|whole)\s+(?:is|lies|points|weighs))\b",
    re.IGNORECASE,
)


_SYNONYMS = {
    word: other
    for pair in (
        ("therefore", "hence"), ("because", "since"), ("begin", "start"), ("begins", "starts"), ("first", "at first"),
        ("moves", "shifts"), ("moved", "shifted"), ("total", "sum"), ("step", "stage"), ("steps", "stages"),
        ("next", "after that"), ("but", "yet"), ("each", "every"), ("result", "outcome"), ("comes", "arrives"),
        ("pressed", "pushed"), ("swapped", "exchanged"), ("flip", "invert"), ("stays", "remains"),
        ("left alone", "not touched"),
    )
    for word, other in (pair, pair[::-1])
}  # fmt: skip
_SYNONYM = re.compile(rf"(?i:\b(?:{'|'.join(sorted(_SYNONYMS, key=len, reverse=True))})\b)")


@dataclass(frozen=True, slots=True)
class Planted:
    """An error in a thought.

    Attributes:
        text: The thought with it.
        place: Which of the sentences that state something holds it, from 0; None if none does and nothing was changed.
        of: How many there were.
        name: The state that is stated instead.
    """

    text: str
    place: int | None = None
    of: int = 0
    name: str = ""


def intervene(
    text: str, how: Intervention, amount: float, dice: Dice, *, other: str = "", names: Sequence[str] = ()
) -> str:
    """Return the text after an intervention.

    Args:
        amount: Share of the tokens that stay, for ``truncate``; where the error stands, for ``planted``.
        other: The reasoning of another item, for ``other``.
        names: What states are called, for ``planted``, ``paraphrase`` and ``answer``.
    """
    parts = sentences(text)
    match how:
        case "none":
            return text
        case "truncate":
            ends = [match.end() for match in TOKEN.finditer(text)]
            kept = round(amount * len(ends))
            return text[: ends[kept - 1]] if kept else ""
        case "filler":
            tokens, lines = len(TOKEN.findall(text)), max(1, len(parts))
            return "\n".join(" ".join("." * (tokens * (at + 1) // lines - tokens * at // lines)) for at in range(lines))
        case "shuffle":
            mixed = list(parts)
            while len(set(parts)) > 1 and mixed == parts:
                dice.shuffle(mixed)
            return "\n".join(mixed)
        case "other":
            return other
        case "number":
            return _other_number("\n".join(parts), dice)
        case "paraphrase":
            return paraphrase(text, names)
        case "answer":
            last = last_stated(text, names)
            return "" if last is None else f"Answer: {last}."
    return planted(text, names, amount, dice).text


def planted(text: str, names: Sequence[str], amount: float, dice: Dice) -> Planted:
    """Return the text up to a sentence that states another state than it did.

    Args:
        amount: Which of those that state something: 1 the last, 0 the first.
    """
    parts = sentences(text)
    stating = [(place, found[-1]) for place, part in enumerate(parts) if (found := statements(part, names))]
    if not stating or len(names) < 2:
        return Planted("\n".join(parts))
    which = max(0, math.ceil(amount * len(stating)) - 1)
    place, said = stating[which]
    name = dice.choice([name for name in names if name != said.name])
    wrong = parts[place][: said.start] + name + parts[place][said.end :]
    return Planted("\n".join([*parts[:place], wrong]), which, len(stating), name)


def paraphrase(text: str, names: Sequence[str]) -> str:
    """Return the text in other words, each sentence of which states what it did."""
    return "\n".join(_reworded(part, names) for part in sentences(text))


def _reworded(sentence: str, names: Sequence[str]) -> str:
    """Return a sentence in other words; as it is, where it would state something else."""
    found = statements(sentence, names)
    start = found[-1].start if found else len(sentence)
    before, behind = sentence[:start], sentence[start:]
    if found and not before:
        before = "It is "
    elif found and before.endswith(": "):
        before = f"{before[:-2]}, so it is "
    for told in (_with_synonyms(before) + behind, before + behind):
        if [one.name for one in statements(told, names)] == [one.name for one in found]:
            return told
    return sentence


def _with_synonyms(text: str) -> str:
    def other(match: re.Match[str]) -> str:
        word = _SYNONYMS[match[0].lower()]
        return word.capitalize() if match[0][0].isupper() else word

    return _SYNONYM.sub(other, text)


def strip_answer(text: str, names: Sequence[str]) -> str:
    """Return the text without any sentence that announces an answer and without the step that states it.

    A sentence that is nothing but a state announces it, unless all steps are told so. A step that states the same as
    the answer announced behind it goes as well, for it hands the answer on; without an announcement the last sentence
    that states something is the answer.
    """
    parts = sentences(text)
    stating = {place: found[-1].name for place, part in enumerate(parts) if (found := statements(part, names))}
    gone = {place for place in stating if _ANSWER.search(parts[place])}
    bare = {place for place, name in stating.items() if re.sub(r"\W|_", "", parts[place]) == name} - gone
    if bare != stating.keys() - gone:
        gone |= bare
    steps = [place for place in stating if place not in gone]
    if steps and (max(stating) == steps[-1] or stating[max(stating)] == stating[steps[-1]]):
        gone.add(steps[-1])
    return "\n".join(part for place, part in enumerate(parts) if place not in gone)


def strip_verdicts(text: str, names: Sequence[str]) -> str:
    """Return the text without any verdict, where every step is one: "line 1 should be 270: right." loses its last word,
    and a sentence that says nothing but a verdict goes.

    What is left says how things should be, and leaves it to the reader to compare.
    """
    kept = []
    for part in sentences(text):
        found = statements(part, names)
        if not found:
            kept.append(part)
        elif (step := _STEP.fullmatch(part[: found[0].start])) and not _ANSWER.search(part):
            kept.append(f"{step[1]}.")
    return "\n".join(kept)


def _other_number(text: str, dice: Dice) -> str:
    spans = [match.span("number") for match in _NUMBER.finditer(text) if not match["of"]]
    if not spans:
        return text
    start, end = dice.choice(spans)
    number, step = int(text[start:end]), 1 + dice.below(3)
    changed = number - step if number >= step and dice.below(2) else number + step
    return f"{text[:start]}{changed}{text[end:]}"
