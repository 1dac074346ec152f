"""The results card of a seat in `terminal_surprise`: fixed cases, measures with intervals, and what they rest on.

Any seat can be asked: a model of this machine, a server, a scripted one. The cases follow from the item set (named by
the sum of its text), the options and the seed; the same card can so be made again. Replies that state no probability
are counted and never scored. On request the same seat is asked twice about each case, before and after it was told
whether the output was replaced (`hindsight_bias`), beside a null arm that is told nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, fields, replace
from functools import partial
from importlib import resources
from typing import Any

from palaestra.agents import is_model, make_seat
from palaestra.agents.language_model import ReplySettings
from palaestra.envs import Game, MatchRules, Seat, make
from palaestra.envs.episode import Episode
from palaestra.envs.errors import OptionError
from palaestra.envs.games.surprise import CaseOptions
from palaestra.trainers.experiments.framework import hardware
from palaestra.trainers.measures.calibration import reliability_bins
from palaestra.trainers.measures.surprise import Calibration, hindsight_gap, surprise_measures
from palaestra.trainers.metrics import finite
from palaestra.trainers.own_surprise import OwnSurprise, compared, is_local_model, own_surprise
from palaestra.trainers.together import ONE_REPLY, play_together

THINK = (
    "First think step by step between <think> and </think>. Then answer with the probability alone, as a number from 0 "
    "to 1."
)
ANSWER = "Answer with the probability alone, as a number from 0 to 1."


@dataclass(frozen=True)
class CardPlan:
    """What is measured.

    Attributes:
        seat: Any seat of `palaestra play`.
        options: Of `terminal_surprise`.
        cases: How many.
        seed: Of the first case; the others follow.
        thinking: Whether it is asked to think first; only a language model can be.
        max_tokens: Of a reply, thought included.
        temperature: 0 is greedy.
        twin: Another model of like kind, whose surprise stands beside the seat's own; empty for none.
        hindsight: Whether the hindsight gap is measured, too.

    Raises:
        OptionError: Nobody can think first, because the seat is scripted or its reply is begun with the answer.
    """

    seat: str
    options: dict[str, Any]
    cases: int = 200
    seed: int = 0
    thinking: bool = False
    max_tokens: int = 16
    temperature: float = 0.0
    twin: str = ""
    hindsight: bool = False

    def __post_init__(self) -> None:
        if self.thinking and not is_model(self.seat):
            raise OptionError(f"{self.seat} is a scripted seat and cannot be asked to think first; leave thinking out.")
        if self.thinking and self._forced():
            raise OptionError(
                "a forced reply begins with its answer: nothing can be thought first; leave one of them out."
            )

    def settings(self) -> ReplySettings:
        """Return how a language model is asked; where its reply is begun for it, without further words."""
        told = THINK if self.thinking else ANSWER
        return ReplySettings(self.max_tokens, self.temperature, "fresh", None if self._forced() else told)

    def rules(self) -> MatchRules:
        """Return the rules of conduct: a reply that was begun may be cut behind what it states."""
        return replace(ONE_REPLY, accept_cut=self._forced())

    def _forced(self) -> bool:
        return self.options.get("mode") == "forced"


def play_cases(plan: CardPlan, told: Callable[[], None] = lambda: None) -> list[Episode]:
    """Play all cases, some at once; ``told`` is called after each."""
    return _played(plan, "terminal_surprise", plan.options, told)


def play_hindsight(plan: CardPlan, told: Callable[[], None] = lambda: None) -> dict[str, list[Episode]]:
    """Play the same cases with the seat before and after the reveal, by arm: told the ``truth``, and ``nothing``."""
    shared = {one.name for one in fields(CaseOptions)}
    options = {key: value for key, value in plan.options.items() if key in shared}
    return {arm: _played(plan, "hindsight_bias", {**options, "told": arm}, told) for arm in ("truth", "nothing")}


def _played(plan: CardPlan, name: str, options: dict[str, Any], told: Callable[[], None]) -> list[Episode]:
    def table(number: int) -> tuple[Game, list[Seat]]:
        game = make(name, seed=plan.seed + number, **options)
        return game, [make_seat(plan.seat, settings=plan.settings()) for _ in range(game.facts.players)]

    return play_together([partial(table, number) for number in range(plan.cases)], plan.rules(), told=told)


def card_of(
    plan: CardPlan, episodes: Sequence[Episode], hindsight: Mapping[str, Sequence[Episode]] | None = None
) -> dict[str, Any]:
    """Return the card as JSON data."""
    results = [episode.result for episode in episodes if episode.outcome == "finished"]
    measured = surprise_measures(results, len(episodes))
    stated = [result for result in results if result["probability"] is not None]
    bins = (
        reliability_bins([one["probability"] for one in stated], [int(one["replaced"]) for one in stated])
        if stated
        else []
    )
    game = make("terminal_surprise", seed=plan.seed, **plan.options)
    own = _own(plan, episodes)
    return finite(
        {
            "card": "terminal_surprise",
            "version": game.version,
            "items_sum": None if game.options.items == "machine" else items_sum(plan.options.get("file", "")),
            "plan": asdict(plan),
            "stated": measured.stated,
            "measures": None if measured.own is None else _plain(measured.own),
            "baselines": {name: _plain(one) for name, one in measured.baselines.items()},
            "reliability": [asdict(one) for one in bins],
            "hindsight": {arm: _gap(found) for arm, found in (hindsight or {}).items()},
            "own_surprise": None if own is None else asdict(own),
            "hardware": hardware(),
        }
    )


def _gap(episodes: Sequence[Episode]) -> dict[str, Any] | None:
    found = hindsight_gap([one.result for one in episodes if one.outcome == "finished"], len(episodes))
    return None if found is None else asdict(found)


def _own(plan: CardPlan, episodes: Sequence[Episode]) -> OwnSurprise | None:
    """Return what the model computed at the same outputs; None for a seat whose probabilities cannot be read."""
    if not is_local_model(plan.seat):
        return None
    own, twin = (
        own_surprise(spec, plan.options, plan.cases, plan.seed) if spec else None for spec in (plan.seat, plan.twin)
    )
    assert own is not None
    replaced = [
        bool(make("terminal_surprise", seed=plan.seed + number, **plan.options).result()["replaced"])
        for number in range(plan.cases)
    ]
    stated = [one.result.get("probability") if one.outcome == "finished" else None for one in episodes]
    return compared(own, replaced, stated, twin)


def items_sum(text: str = "") -> str:
    """Return the sum that names an item set, the shipped one unless another is given."""
    known = text or resources.files("palaestra.envs.items").joinpath("items.jsonl").read_text("utf-8")
    return hashlib.blake2b(known.encode(), digest_size=8).hexdigest()


def _plain(found: Calibration) -> dict[str, Any]:
    data = asdict(found)
    return {**data, "coverage": {str(share): value for share, value in data["coverage"].items()}}
