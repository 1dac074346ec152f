"""What became of a reviewed turn: plain data that is kept in ``reviews.jsonl``, counted, and shown in reports."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from palaestra.trainers.hindsight.verify import Gain
from palaestra.trainers.metrics import finite

ACCEPTED = ("accepted", "taken")
"""Of claims that are learned from: tried out and better, or believed without a trial."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one reviewed turn.

    Attributes:
        episode: Index of its match in the iteration; ``replay`` its file, if one is kept.
        turn: Number of the turn, from 0; ``player`` whose it was.
        trigger: Why it was reviewed: ``end`` (drawn when the game was over), ``failed`` (a reply was refused),
            ``feedback`` (the game said so, `Game.feedback`) or ``called`` (the policy asked for it).
        said: What was said; ``reply`` what should have been, as a canonical action, empty if there is no such claim.
        because: The reviewer's reason.
        why: ``accepted``, ``rejected`` (tried out, and not better), ``taken`` (not tried out), ``scored``, ``weighed``
            (token credit), or why there is no claim: ``no mistake``, ``same``, ``not legal``, ``leak``,
            ``over budget``, ``drawn`` (of a game that was drawn no hint is wrong), or how the review failed
            (``unparsable``, ``truncated``, ``too long``: what was to be read does not fit the model).
        gain: What trying it out found.
        score: The judge's, from -3 to 3.
        evidence: Of the frozen reference: the mean log-probability, in nats a token, of the proposed reply behind what
            was known then.
        principles: Hash of what the reviewer was to go by; empty without any.
    """

    episode: int
    replay: str | None
    turn: int
    player: int
    trigger: str
    said: str
    reply: str = ""
    because: str = ""
    why: str = "unparsable"
    gain: Gain | None = None
    score: float | None = None
    evidence: float | None = None
    principles: str = ""


def counted(verdicts: Sequence[Verdict]) -> dict[str, float]:
    """Return how many turns were reviewed, why, what became of them, and the mean gain of the accepted ones."""
    whys = Counter(verdict.why.replace(" ", "_") for verdict in verdicts)
    triggers = Counter(f"on_{verdict.trigger}" for verdict in verdicts)
    gains = [verdict.gain.mean for verdict in verdicts if verdict.gain is not None and verdict.why == "accepted"]
    return {
        "hindsight/reviewed": float(len(verdicts)),
        **{f"hindsight/{key}": float(count) for key, count in sorted((whys + triggers).items())},
        **({"hindsight/gain": float(np.mean(gains))} if gains else {}),
    }


def append(path: Path, iteration: int, verdicts: Sequence[Verdict]) -> None:
    """Add an iteration's verdicts to a file of JSON lines."""
    with path.open("a", encoding="utf-8") as file:
        for verdict in verdicts:
            line = finite({"iteration": iteration, **asdict(verdict)})
            file.write(json.dumps(line, ensure_ascii=False) + "\n")
