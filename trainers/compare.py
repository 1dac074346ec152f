"""Every adapter on every task, beside the base: gain and forgetting in one table.

On each task every policy plays the same start states against the same opponent, asked as the adapter that was trained
on the task was asked. All games are played at once, so that a batch mixes adapters: those of the library on an engine
of their own (`compare`), those of a run on its runners, after its last evaluation (`of_run`).
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

from palaestra.agents.engines.base import BASE
from palaestra.agents.models import library
from palaestra.agents.models.adapters import facts
from palaestra.agents.models.library import Rating
from palaestra.agents.router import plug, served
from palaestra.envs.errors import OptionError
from palaestra.trainers.arena import play_tasks
from palaestra.trainers.config import GameSection, RunConfig, parse_config
from palaestra.trainers.metrics import finite
from palaestra.trainers.summary import Score, score
from palaestra.trainers.tasks import MatchTask, Played, evaluation_tasks

FILE = "comparison.json"
"""In a run's folder."""
Play = Callable[[Sequence[MatchTask]], list[Played]]


@dataclass(frozen=True, slots=True)
class Comparison:
    """Scores by (policy, task); the first policy is the base."""

    base: str
    policies: tuple[str, ...]
    tasks: tuple[str, ...]
    scores: dict[tuple[str, str], Score]

    def verdict(self, policy: str, task: str) -> str:
        """Return ``gain`` or ``loss`` where the 95 % intervals of a policy's and the base's result are apart, else
        nothing."""
        mine, base = self.scores[policy, task].result, self.scores[self.policies[0], task].result
        return "gain" if mine.low > base.high else "loss" if mine.high < base.low else ""

    def to_json(self) -> dict[str, Any]:
        """Return plain data: a list of scores for each policy, in the order of tasks."""
        scores = {
            policy: [finite(self.scores[policy, task].to_json()) for task in self.tasks] for policy in self.policies
        }
        return {"base": self.base, "tasks": list(self.tasks), "scores": scores}

    @classmethod
    def read(cls, path: Path) -> Self | None:
        """Return what a file holds that `to_json` gave; None where there is none.

        Raises:
            OptionError: It is damaged.
        """
        try:
            data = json.loads(path.read_text(encoding="utf-8"))
            tasks, lines = tuple(map(str, data["tasks"])), dict(data["scores"])
            scores = {
                (policy, task): Score.from_json(one)
                for policy, line in lines.items()
                for task, one in zip(tasks, line, strict=True)
            }
            return cls(str(data["base"]), tuple(lines), tasks, scores)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise OptionError(
                f"{path} cannot be read ({type(error).__name__}: {error}); delete it, and `palaestra resume` on the "
                "run measures again."
            ) from None


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

    def play(tasks: Sequence[MatchTask]) -> list[Played]:
        return asyncio.run(play_tasks(engine, loaded.codec, tasks, concurrent=256))

    scores = _measured(play, sections, policies, pairs=pairs, opponent=opponent, seed=seed, known={})
    for name in names:
        library.rate(name, [_rating(task, scores[name, task]) for task in sections])
    return Comparison(bases[0], tuple(policies), tuple(sections), scores)


def compares(run: RunConfig) -> bool:
    """Return whether a run has something to compare at its end: several games, and an evaluation."""
    return len(run.games) > 1 and run.evaluation.pairs > 0


def tasks_of(run: RunConfig) -> list[str]:
    """Return a name for each of a run's games: its own, with a number where it stands there again."""
    games = [section.game for section in run.games]
    before = [games[:index].count(game) for index, game in enumerate(games)]
    return [f"{game} ({count + 1})" if count else game for game, count in zip(games, before, strict=True)]


def of_run(run: RunConfig, play: Play, versions: Mapping[str, str], after: Sequence[Score]) -> Comparison:
    """Measure every adapter of a run, and the base, on every one of its games.

    Args:
        run: With several games.
        play: Plays tasks and returns them in order.
        versions: What each adapter plays as.
        after: Scores of the last evaluation, in the order of games: how each game's own adapter does there.
    """
    tasks = tasks_of(run)
    known = {(run.adapter_of(index), task): after[index] for index, task in enumerate(tasks)}
    scores = _measured(
        play,
        dict(zip(tasks, run.games, strict=True)),
        {BASE: BASE, **versions},
        pairs=run.evaluation.pairs,
        opponent=run.evaluation.opponent,
        seed=run.seed,
        known=known,
    )
    return Comparison(run.model.source, (BASE, *versions), tuple(tasks), scores)


def _measured(
    play: Play,
    sections: Mapping[str, GameSection],
    policies: Mapping[str, str],
    *,
    pairs: int,
    opponent: str,
    seed: int,
    known: Mapping[tuple[str, str], Score],
) -> dict[tuple[str, str], Score]:
    """Return the score of every policy on every task; those that are ``known`` are not measured again."""
    tasks: list[MatchTask] = []
    spans: dict[tuple[str, str], slice] = {}
    for number, (task, section) in enumerate(sections.items()):
        for name, policy in policies.items():
            if (name, task) in known:
                continue
            mine = evaluation_tasks(
                section, game_index=number, pairs=pairs, seed=seed, policy=policy, opponent=opponent
            )
            spans[name, task] = slice(len(tasks), len(tasks) + len(mine))
            tasks += [replace(one, index=len(tasks) + place) for place, one in enumerate(mine)]
    played = play(tasks)
    return {**known, **{key: score(played[span], opponent) for key, span in spans.items()}}


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
