"""``report.html``: what a run did, on one self-contained page.

Everything on it comes from the run folder: curves from ``metrics.jsonl``, scores from ``evaluation.json``, games from
the replays. What players and models wrote is escaped (Jinja's autoescape); the page has no script and loads nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, select_autoescape
from markupsafe import Markup

from palaestra.agents.models.disk import replace_text
from palaestra.agents.models.sources import ModelSource
from palaestra.envs.episode import Episode
from palaestra.envs.errors import PalaestraError, ReplayError
from palaestra.envs.parts import part_text
from palaestra.envs.replay import read_replay
from palaestra.trainers.compare import tasks_of
from palaestra.trainers.derailment import Derailment, listed, merged, tallies
from palaestra.trainers.figures import curves
from palaestra.trainers.forecasts import bracket, forecast_section, shown
from palaestra.trainers.hindsight.pages import Shown, beside, reviews, section, tokens_of
from palaestra.trainers.hindsight.verdict import ACCEPTED
from palaestra.trainers.metrics import complete_lines
from palaestra.trainers.run import open_run
from palaestra.trainers.summary import Estimate, Score

DERAILMENT_GAMES = 1000
"""Recorded games, the last ones, that are searched for talk."""
READING: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("Loss of real tokens", "nats", ("next_token/hard", "next_token/easy")),
    ("Thoughts where thinking is allowed", "before a token", ("next_token/hard_thoughts", "next_token/easy_thoughts")),
)
"""Of runs that read documents."""
PANELS: tuple[tuple[str, str, tuple[str, ...]], ...] = (
    ("How replies ended", "share of replies", ("legal_rate", "illegal_rate", "unparsable_rate", "truncated_rate")),
    ("Reward by role", "mean return", ()),
    ("Games ended by forfeit", "share of games", ("forfeit_rate",)),
    ("Reply length", "tokens", ("reply_tokens",)),
)


SECTIONS: list[Callable[[Any], Markup | None]] = []
"""What others add behind the games, from the run as `open_run` gives it; filled by who knows more than this room. None
where there is nothing to say."""


class ReportError(PalaestraError):
    """There is nothing to report on."""


@dataclass(frozen=True, slots=True)
class Note:
    """One turn of an annotated game: the reply as written, and what became of it."""

    number: int
    player: int
    role: str
    name: str
    observation: str
    replies: list[dict[str, str]]
    action: str
    substituted: bool
    verdict: Shown | None = None


@dataclass(frozen=True, slots=True)
class Game:
    """An annotated game and why it is shown."""

    title: str
    file: str
    seats: tuple[str, ...]
    notes: list[Note]
    ending: str


def write_report(folder: str | Path) -> Path:
    """Write ``report.html`` into a run folder and return its path.

    Raises:
        RunError: The folder holds no run.
        ReportError: The run has not finished an iteration yet, or the disk is full.
    """
    run = open_run(folder)
    metrics_file = run.folder / "metrics.jsonl"
    metrics = [json.loads(line) for line in complete_lines(metrics_file)] if metrics_file.is_file() else []
    if not metrics:
        raise ReportError(f"run {run.folder} has not finished an iteration yet, so there is nothing to report.")
    evaluation = {when: [Score.from_json(score) for score in scores] for when, scores in run.evaluation().items()}
    verdicts = reviews(run.folder)
    environment = Environment(
        loader=PackageLoader("palaestra.trainers", "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["interval"] = _interval
    environment.filters["percent"] = _percent
    environment.filters["number"] = shown
    environment.filters["bracket"] = bracket
    page = environment.get_template("report.html").render(
        run=run,
        config=run.config,
        metrics=metrics,
        sections=[part for make in SECTIONS if (part := make(run)) is not None],
        finished=len(metrics) >= run.config.iterations,
        seconds=sum(one["seconds_sampling"] + one["seconds_learning"] for one in metrics),
        games=sum(one["games"] for one in metrics),
        tokens=sum(one["sampled_tokens"] for one in metrics),
        reviewing=tokens_of(run.folder, metrics),
        comparison=_comparison(evaluation),
        headline=_headline(evaluation),
        cross=run.comparison(),
        trained={(run.config.adapter_of(number), task) for number, task in enumerate(tasks_of(run.config))},
        curves=[
            *(Markup(_panel(metrics, *panel)) for panel in PANELS),
            *(
                Markup(_panel(metrics, *panel, where="results"))
                for panel in (READING if any(section.reads for section in run.config.games) else ())
            ),
        ],
        forecasts=forecast_section(run.folder),
        hindsight=section(run.folder, verdicts),
        shown=_games(run.folder, verdicts),
        derailments=_derailments(run.folder),
        base=str(ModelSource.parse(run.config.model.source).base),
        finals=[(section.game, run.final_of(number).name) for number, section in enumerate(run.config.games)],
    )
    path = run.folder / "report.html"
    try:
        replace_text(path, page)
    except OSError as error:
        raise ReportError(f"{path} could not be written ({error.strerror or error}); free some space.") from None
    return path


def _comparison(evaluation: dict[str, list[Score]]) -> list[dict[str, Any]]:
    """Return, per game, the scores before and after as rows of a table."""
    rows = []
    for position, before in enumerate(evaluation.get("before", [])):
        after = evaluation.get("after", [])
        rows.append({"game": before.game, "opponent": before.opponent, "when": "before", "score": before})
        if position < len(after):
            rows.append({"game": before.game, "opponent": before.opponent, "when": "after", "score": after[position]})
    return rows


def _headline(evaluation: dict[str, list[Score]]) -> list[str]:
    """Say for each game what the intervals allow to be said."""
    sentences = []
    for before, after in zip(evaluation.get("before", []), evaluation.get("after", []), strict=False):
        legal = _verdict(before.legal, after.legal, "legal replies", _percent)
        result = _verdict(
            before.result, after.result, f"result against {after.opponent}", lambda value: f"{value:+.2f}"
        )
        sentences.append(f"{before.game}: {legal}; {result}.")
    return sentences


def _verdict(before: Estimate, after: Estimate, what: str, show: Any) -> str:
    if math.isnan(before.mean) or math.isnan(after.mean):
        return f"{what} not measured"
    change = f"{what} {show(before.mean)} before, {show(after.mean)} after"
    if math.isnan(before.low) or math.isnan(after.low):
        few = before.n < 2 or after.n < 2
        return f"{change} ({'too few games for an interval' if few else 'all games alike, so there is no interval'})"
    if after.low > before.high:
        return f"{change} (higher: the 95 % intervals are apart)"
    if after.high < before.low:
        return f"{change} (lower: the 95 % intervals are apart)"
    return f"{change} (the 95 % intervals overlap)"


def _interval(estimate: Estimate, percent: bool = False) -> str:
    if math.isnan(estimate.mean):
        return "not measured"
    show = _percent if percent else (lambda value: f"{value:+.2f}")
    if math.isnan(estimate.low):
        return show(estimate.mean)
    return f"{show(estimate.mean)} [{show(estimate.low)}, {show(estimate.high)}]"


def _percent(value: float) -> str:
    return f"{100 * value:.1f} %"


def _panel(
    metrics: list[dict[str, Any]], title: str, unit: str, keys: tuple[str, ...], where: str | None = None
) -> str:
    """Return one panel as inline SVG; without keys, one curve per game and role. ``where`` is the part of an
    iteration's numbers that has the keys."""
    if where:
        series = {
            key.partition("/")[2].replace("_", " "): [one.get(where, {}).get(key, float("nan")) for one in metrics]
            for key in keys
        }
    elif keys:
        series = {key.replace("_rate", "").replace("_", " "): [one[key] for one in metrics] for key in keys}
    else:
        roles = sorted({role for one in metrics for role in one["reward_by_role"]})
        series = {role: [one["reward_by_role"].get(role, float("nan")) for one in metrics] for role in roles}
    return curves(title, unit, [one["iteration"] + 1 for one in metrics], series)


def _games(folder: Path, verdicts: list[dict[str, Any]]) -> list[Game]:
    """Choose games: one before training, the same seed after it, the longest of the last iteration, and where turns
    were reviewed, the last one with an accepted verdict."""
    chosen: list[tuple[str, Path]] = []
    before = sorted((folder / "replays" / "before").glob("*.jsonl"))
    if before:
        chosen.append(("Before training", before[0]))
        if (twin := folder / "replays" / "after" / before[0].name).is_file():
            chosen.append(("The same seed and seat after training", twin))
    train = sorted((folder / "replays" / "train").glob("*.jsonl"))
    if train:
        last = train[-1].name.partition("-")[0]
        longest = max(
            (path for path in train if path.name.startswith(last)), key=lambda path: (path.stat().st_size, path.name)
        )
        chosen.append(("The longest game of the last iteration", longest))
    kept = [one for one in verdicts if one["replay"] and (folder / "replays" / "train" / _name(one)).is_file()]
    kept.sort(key=lambda one: one["why"] in ACCEPTED)
    if kept:
        chosen.append(("A game that was reviewed", folder / "replays" / "train" / _name(kept[-1])))
    games = []
    for title, path in chosen:
        try:
            games.append(_annotate(title, path, folder, beside(verdicts, path) if path.parent.name == "train" else {}))
        except ReplayError:
            continue  # a replay that a kill left without a header: the run's other games stand
    return games


def _name(verdict: dict[str, Any]) -> str:
    return Path(str(verdict["replay"])).name


def _derailments(folder: Path) -> tuple[Derailment, ...]:
    """Return how replies went after messages in the recorded games, versions of a policy taken together."""
    parts = []
    for path in sorted((folder / "replays").rglob("*.jsonl"))[-DERAILMENT_GAMES:]:
        try:
            episode = read_replay(path).episode
        except ReplayError:
            continue
        names = tuple(name.partition("@")[0] for name in episode.seats)
        parts.append(tallies(episode, names, str(path.relative_to(folder))))
    return listed(merged(parts))


def _annotate(title: str, path: Path, folder: Path, verdicts: dict[int, Shown]) -> Game:
    episode = read_replay(path).episode
    notes = [
        Note(
            number=turn.number + 1,
            player=turn.player + 1,
            role=turn.role,
            name=episode.seats[turn.player],
            observation=turn.observation,
            replies=[
                {"text": part_text(attempt.reply.content), "status": attempt.status, "reason": attempt.reason}
                for attempt in turn.attempts
            ],
            action="" if turn.action is None else part_text(turn.action),
            substituted=turn.substituted,
            verdict=verdicts.get(turn.number),
        )
        for turn in episode.turns
    ]
    return Game(title, str(path.relative_to(folder)), episode.seats, notes, _ending(episode))


def _ending(episode: Episode) -> str:
    if episode.returns is None:
        return "unfinished: cut by the turn limit"
    returns = ", ".join(f"player {player + 1} {value:+g}" for player, value in enumerate(episode.returns))
    if episode.forfeited_by is not None:
        return f"player {episode.forfeited_by + 1} forfeited ({returns})"
    return f"decided by play ({returns})"
