"""A page of thoughts: documents as a learner reads them, thoughts between the words they served, in two colours.

A *spot* is a real token with what was thought before it. Its background says how likely the model was to think there,
its underline what its log score gained over a reading without any thought. So a token that is underlined where nothing
was thought gained from thoughts before. The page stands alone: no script, nothing loaded, text escaped.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from jinja2 import Environment, PackageLoader, select_autoescape

from palaestra.agents.models.disk import replace_text
from palaestra.agents.reader import laid_out
from palaestra.envs.documents.vocabulary import Encoded, Vocabulary
from palaestra.envs.errors import PalaestraError
from palaestra.trainers.thinktoks.learners.base import Readings
from palaestra.trainers.thinktoks.measures import Thoughts, losses_of, odds_of, thoughts_of

FULL = 2.0
"""Nats from which on an underline is as strong as it gets."""
HIDDEN = "▯"
"""Stands for what has no glyph: a part of a character, or a sign that would change how the page is read."""


class PageError(PalaestraError):
    """The page could not be written."""


@dataclass(frozen=True, slots=True)
class Spot:
    """A real token.

    Attributes:
        text: What it reads as.
        thoughts: The thinking tokens before it, by their numbers.
        odds: Probability of thinking when it was due; None where no thinking is allowed.
        loss, bare: Its loss as read, and without any thought in the document, in nats.
        scored: Whether the document counts it.
    """

    text: str
    thoughts: list[int]
    odds: float | None
    loss: float
    bare: float
    scored: bool

    @property
    def gained(self) -> float:
        """Return nats; 0 where the token does not count."""
        return self.bare - self.loss if self.scored else 0.0

    @property
    def strength(self) -> float:
        """Return how strong the underline is, from -1 to 1."""
        return max(-1.0, min(1.0, self.gained / FULL))

    @property
    def words(self) -> str:
        """Return what is known of the spot."""
        odds = [] if self.odds is None else [f"thinks with probability {self.odds:.2f}"]
        own = [f"thought {' '.join(map(str, self.thoughts))}"] if self.thoughts else []
        score = [f"loss {self.loss:.2f} nats, {self.bare:.2f} without thoughts"] if self.scored else ["does not count"]
        return "; ".join([*odds, *own, *score])


@torch.no_grad()
def spots_of(learner: Readings, documents: Sequence[Encoded], words: Vocabulary, seed: int = 0) -> list[list[Spot]]:
    """Read documents as the learner does when it is measured, and return their spots."""
    thinking, start = learner.reader.thinking, learner.reader.start
    found = []
    for document, reading in zip(documents, learner.readings(documents, seed), strict=True):
        thoughts: Thoughts = thoughts_of(reading, thinking, len(document))
        silent = laid_out(document, [[]] * len(document), thinking, start)
        odds = odds_of(learner.reader, reading, document)
        rows = zip(
            texts_of(document.ids.tolist(), words),
            thoughts,
            odds.tolist(),
            losses_of(learner, [reading]).tolist(),
            losses_of(learner, [silent]).tolist(),
            document.open.tolist(),
            document.scored.tolist(),
            strict=True,
        )
        found.append(
            [
                Spot(text, own, chance if open_ else None, loss, bare, scored)
                for text, own, chance, loss, bare, open_, scored in rows
            ]
        )
    return found


def texts_of(ids: Sequence[int], words: Vocabulary) -> list[str]:
    """Return what each token reads as; a character of several tokens stands at its last one."""
    found: list[str] = []
    waiting: list[int] = []
    for token in ids:
        waiting.append(token)
        text = words.decode(waiting)
        if "\ufffd" in text and len(waiting) < 4:
            found.append(HIDDEN)
            continue
        waiting = []
        shown = "".join(sign if sign.isprintable() or sign == "\n" else HIDDEN for sign in text)
        found.append(shown.replace("\n", "↵\n").replace("\ufffd", HIDDEN) or HIDDEN)
    return found


def page(title: str, about: str, documents: Sequence[Sequence[Spot]]) -> str:
    """Return the page as HTML."""
    environment = Environment(
        loader=PackageLoader("palaestra.trainers", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    every = [spot for document in documents for spot in document]
    open_ = [spot.odds for spot in every if spot.odds is not None]
    thoughts = sum(len(spot.thoughts) for spot in every)
    gained = sum(spot.gained for spot in every)
    facts = {
        "documents": f"{len(documents)}",
        "tokens": f"{len(every):,}, {sum(spot.scored for spot in every):,} of them count",
        "thoughts": f"{thoughts:,}",
        "mean probability of thinking, where it is allowed": f"{np.mean(open_):.2f}" if open_ else "nowhere",
        "gained": f"{gained:+.2f} nats"
        + (f", {gained / thoughts:+.3f} for each thought; what a thought costs is not taken off" if thoughts else ""),
    }
    template = environment.get_template("thoughts.html")
    return template.render(title=title, about=about, facts=facts, documents=documents, full=FULL)


def write_page(path: Path, title: str, about: str, documents: Sequence[Sequence[Spot]]) -> Path:
    """Write the page.

    Raises:
        PageError: It cannot be written.
    """
    try:
        replace_text(path, page(title, about, documents))
    except OSError as error:
        raise PageError(f"{path} could not be written ({error.strerror or error}); name another file.") from None
    return path
