"""Every adapter on every task, beside the base: gain and forgetting in one table.

All adapters of one base are served by one engine, and all their games are played at once, so that a batch mixes them.
On each task every policy plays the same start states against the same opponent, asked as the adapter that was trained
on the task was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from palaestra.agents.engines.base import BASE
from palaestra.agents.models import library
from palaestra.agents.models.adapters import facts
from palaestra.agents.models.library import Rating
from palaestra.agents.router import plug, served
from palaestra.envs.errors import OptionError
from palaestra.trainers.arena import play_tasks
from palaestra.trainers.config import GameSection, parse_config
from palaestra.trainers.summary import Score, score
from palaestra.trainers.tasks import MatchTask, evaluation_tasks


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores by (policy, task); the first policy is the base."""

    base: str
    policies: tuple[str, ...]
    tasks: tuple[str, ...]
    scores: dict[tuple[str, str], Score]


def compare(names: Sequence[str], *, pairs: int, opponent: str = "random", seed: int = 0) -> Comparison:
    """Measure adapters of the library, keep the results on their cards, and return them.

    Raises:
        OptionError: They are of several bases, or none of them says what it was trained on.
        UnknownName, ModelError: There is no such adapter, or it is damaged.
    """
    cards = {name: library.card_of(name) for name in names}
    bases = sorted({card.base for card in cards.values()})
    if len(bases) != 1 or not bases[0]:
        raise OptionError(
            f"{', '.join(names)} are adapters of {len(bases)} bases, or do not say of which; compare those of one."
        )
    sections = _sections(names)
    if not sections:
        raise OptionError(f"{', '.join(names)} do not say on what they were trained, so there is no task to compare.")
    loaded, engine = served(bases[0])
    policies = {BASE: BASE, **{name: plug(bases[0], name) for name in names}}
    tasks: list[MatchTask] = []
    spans: dict[tuple[str, str], slice] = {}
    for number, (task, section) in enumerate(sections.items()):
        for name, policy in policies.items():
            mine = evaluation_tasks(
                section, game_index=number, pairs=pairs, seed=seed, policy=policy, opponent=opponent
            )
            spans[name, task] = slice(len(tasks), len(tasks) + len(mine))
            tasks += [replace(one, index=len(tasks) + place) for place, one in enumerate(mine)]
    played = asyncio.run(play_tasks(engine, loaded.codec, tasks, concurrent=256))
    scores = {key: score(played[span], opponent) for key, span in spans.items()}
    for name in names:
        library.rate(name, [_rating(task, scores[name, task]) for task in sections])
    return Comparison(bases[0], tuple(policies), tuple(sections), scores)


def _sections(names: Sequence[str]) -> dict[str, GameSection]:
    """Return the tasks of adapters as they were trained on them, by game."""
    found: dict[str, GameSection] = {}
    for name in names:
        games = facts(library.folder_of(name)).get("games")
        for game in games if isinstance(games, list) else []:
            section = parse_config({"games": [game]}, f"adapter {name}").games[0]
            found.setdefault(section.game, section)
    return found


def _rating(task: str, found: Score) -> Rating:
    result = found.result
    low, high = (None if bound != bound else bound for bound in (result.low, result.high))
    return Rating(task, found.opponent, result.mean, low, high, found.legal.mean, found.games)
