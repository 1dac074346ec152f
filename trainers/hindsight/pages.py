"""Hindsight for people: what a report says of a run's reviews, and the verdict that stands beside a turn.

``templates/verdict.html`` is a fragment for any page that shows turns: a macro of one `Shown`.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from palaestra.trainers.hindsight.gate import FILE
from palaestra.trainers.hindsight.verdict import ACCEPTED
from palaestra.trainers.metrics import complete_lines

REVIEWS = "reviews.jsonl"
NOT_MEASURED = "Whether hindsight helps the reference was not measured (gate: 0)."
WORDS = {
    "accepted": "accepted: it did better when it was tried out",
    "taken": "accepted without a trial",
    "rejected": "rejected: it did no better when it was tried out",
    "leak": "rejected: it rests on what could not be known then",
    "not legal": "rejected: it could not be said there",
    "over budget": "not tried out: the iteration's budget was spent",
    "no mistake": "no mistake",
    "same": "no mistake: it would have said the same",
    "scored": "scored",
    "weighed": "weighed token by token",
    "unparsable": "no verdict: the reviewer's answer could not be read",
    "truncated": "no verdict: the reviewer's answer was cut off",
    "too long": "no verdict: what was to be read does not fit the reviewer",
    "drawn": "no verdict: of a game that was drawn no hint is wrong",
}


@dataclass(frozen=True, slots=True)
class Shown:
    """A verdict as a page shows it.

    Attributes:
        said, should: What was said, and what should have been; empty if nothing is claimed.
        because: The reviewer's reason.
        gain: The measured gain in words; empty if it was not tried out.
        outcome: What became of it, in words; ``accepted`` whether it is learned from.
    """

    said: str
    should: str
    because: str
    gain: str
    outcome: str
    accepted: bool


@dataclass(frozen=True, slots=True)
class Section:
    """What a report says of a run's hindsight.

    Attributes:
        gate: The sentence about the reference's uplift, or that it was not measured.
        rows: (what became of them, number of turns), most frequent first.
        reviewed: Turns in all.
        triable: Whether claims could be tried out in clones with hidden cards dealt anew: ``anew``, ``played``, both,
            or empty where nothing was tried.
    """

    gate: str
    rows: tuple[tuple[str, int], ...]
    reviewed: int
    triable: str


def reviews(folder: Path) -> list[dict[str, Any]]:
    """Return a run's verdicts as plain data, in order; none of an unreadable line."""
    path = folder / REVIEWS
    return [json.loads(line) for line in complete_lines(path)] if path.is_file() else []


def tokens_of(folder: Path, metrics: Sequence[Mapping[str, Any]]) -> int:
    """Return how many tokens were sampled for hindsight: in reviews, trials and gates.

    Args:
        folder: The run's.
        metrics: Of its iterations.
    """
    gate = folder / FILE
    before = json.loads(gate.read_text(encoding="utf-8")).get("tokens", 0) if gate.is_file() else 0
    return int(before + sum(one["learner"].get("hindsight/tokens", 0) for one in metrics))


def section(folder: Path, found: Sequence[Mapping[str, Any]]) -> Section | None:
    """Return what a report says; None for a run without hindsight."""
    gate = folder / FILE
    sentence = ""
    if gate.is_file():
        sentence = str(json.loads(gate.read_text(encoding="utf-8"))["sentence"])
    if not sentence and not found:
        return None
    sentence = sentence or NOT_MEASURED
    counts = Counter(WORDS.get(str(one["why"]), str(one["why"])) for one in found)
    deals = sorted({str(one["gain"]["deal"]) for one in found if one["gain"]})
    return Section(sentence, tuple(counts.most_common()), len(found), " and ".join(deals))


def beside(found: Sequence[Mapping[str, Any]], replay: Path) -> dict[int, Shown]:
    """Return the verdicts about one recorded game, by number of the turn."""
    return {
        int(one["turn"]): shown(one) for one in found if one["replay"] and Path(str(one["replay"])).name == replay.name
    }


def shown(verdict: Mapping[str, Any]) -> Shown:
    """Return a verdict as a page shows it."""
    gain, said = verdict["gain"], str(verdict["why"])
    measured = ""
    if gain and gain["pairs"]:
        # a bound that no pairs could give stands as null
        low = gain["low"]
        bound = f", at least {low:+.2f} with 95 % confidence" if isinstance(low, int | float) else ""
        weighed = gain.get("effective")  # null where no deal was weighed
        deals = f", deals drawn from {weighed:.0f} effective ones" if isinstance(weighed, int | float) else ""
        measured = f"{gain['mean']:+.2f} over {gain['pairs']} pairs{bound}{deals}"
    if verdict["score"] is not None:
        measured = f"score {verdict['score']:+.3g} of 3"
    return Shown(
        str(verdict["said"]),
        str(verdict["reply"]),
        str(verdict["because"]),
        measured,
        WORDS.get(said, said),
        said in ACCEPTED,
    )
