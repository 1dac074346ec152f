"""What the recorded evaluation games of a run say of stated probabilities, before training and after it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup

from palaestra.envs.errors import ReplayError
from palaestra.envs.replay import read_replay
from palaestra.trainers.figures import reliability
from palaestra.trainers.measures.surprise import Calibration, surprise_measures
from palaestra.trainers.summary import Estimate

GAME = "terminal_surprise"


@dataclass(frozen=True, slots=True)
class Forecasts:
    """Stated probabilities of one evaluation.

    Attributes:
        when: ``before`` or ``after`` training, or ``shown rate``, which knows nothing of the output.
        stated: Share of the cases in which one was stated; the others are in no other number.
        cases: How many cases there were.
        found: How good they were; None if none was stated.
    """

    when: str
    stated: float
    cases: int
    found: Calibration | None


@dataclass(frozen=True, slots=True)
class ForecastSection:
    """A table and its reliability diagram, as SVG."""

    rows: list[Forecasts]
    diagram: Markup


def forecast_section(folder: Path) -> ForecastSection | None:
    """Return what stands in a run's report; None if no case of `terminal_surprise` was recorded in an evaluation."""
    rows, drawn = [], {}
    rate: Calibration | None = None
    for when in ("before", "after"):
        results, cases = _results(folder / "replays" / when)
        if not cases:
            continue
        measured = surprise_measures(results, cases)
        rows.append(Forecasts(when, measured.stated, cases, measured.own))
        rate = measured.baselines.get("rate", rate)
        if told := [one for one in results if one["probability"] is not None]:
            drawn[when] = ([float(one["probability"]) for one in told], [int(one["replaced"]) for one in told])
    if not rows:
        return None
    if rate is not None:
        rows.append(Forecasts("shown rate, same cases as the line above", 1.0, rows[-1].cases, rate))
    return ForecastSection(rows, Markup(reliability("Did what it said come true?", drawn) if drawn else ""))


def _results(folder: Path) -> tuple[list[Mapping[str, Any]], int]:
    """Return the results of the finished cases, and how many cases there were: a forfeit states nothing."""
    found: list[Mapping[str, Any]] = []
    cases = 0
    for path in sorted(folder.glob("*.jsonl")):
        try:
            episode = read_replay(path).episode
        except ReplayError:
            continue  # left by a kill; the others stand
        if episode.game == GAME and episode.outcome != "unfinished":
            result = {"probability": None, **episode.result}
            if any(turn.substituted for turn in episode.turns):
                result["probability"] = None  # drawn by the rules in place of a reply that stated none
            if episode.outcome == "finished" and not _is_whole(result):
                continue
            cases += 1
            found += [result] if episode.outcome == "finished" else []
    return found, cases


def _is_whole(result: Mapping[str, Any]) -> bool:
    """Return whether a recorded result has what is measured, each of its type: a file is anybody's."""
    stated = [one for key in ("probability", "posterior") if (one := result.get(key)) is not None]
    return (
        all(isinstance(one, int | float) and 0 <= one <= 1 for one in [result.get("rate"), *stated])
        and isinstance(result.get("replaced"), bool)
        and isinstance(result.get("output_chars"), int)
        and "posterior" in result
    )


def shown(value: float) -> str:
    """Return a number with three digits; a dash for one that is not known."""
    return "–" if math.isnan(value) else f"{value:.3f}"


def bracket(estimate: Estimate) -> str:
    """Return an estimate with its interval, if it has one."""
    if math.isnan(estimate.low):
        return shown(estimate.mean)
    return f"{shown(estimate.mean)} [{shown(estimate.low)}, {shown(estimate.high)}]"
