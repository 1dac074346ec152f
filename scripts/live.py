"""How a run gets on, for whoever watches: one line an iteration, and on a terminal a line below them that moves.

A `Watcher` (`palaestra.trainers.run`) that prints to stdout. Lines stay, so a log file and a terminal's scroll-back
show the same; on a terminal a spinner says what is being done now, how far the run is and how much time is left.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from palaestra.scripts.console import console, duration, table

if TYPE_CHECKING:
    from palaestra.trainers.plan import Plan
    from palaestra.trainers.summary import Estimate, Score, Summary

HEADER = "   iter games tokens/s  legal illegal unparsable  cut forfeits     left  reward by role"
AGAIN = 20
"""Lines after which the header is printed again."""


class Progress:
    """Prints a run's progress; use as a context manager, so that the terminal is left in order.

    Args:
        iterations: Of the whole run.
    """

    def __init__(self, iterations: int) -> None:
        from rich.progress import BarColumn, SpinnerColumn, TextColumn, TimeElapsedColumn
        from rich.progress import Progress as Bar

        self.iterations = iterations
        self.out = console()
        self.scores: dict[str, list[Score]] = {}
        self._lines = 0
        self._bar = Bar(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            TextColumn("{task.completed:.0f}/{task.total:.0f}"),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self.out,
            transient=True,
            disable=not self.out.is_terminal,
        )
        self._task = self._bar.add_task("planning", total=iterations, left="")

    def __enter__(self) -> Progress:
        self._bar.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.stop()

    def planned(self, plan: Plan) -> None:
        """Print the sum that sizes the run."""
        self.out.print(f"Plan: {plan.sentence()}.")

    def began(self, what: str) -> None:
        """Say what is being done."""
        self._bar.update(self._task, description=what)
        if not self.out.is_terminal:
            self.out.print(f"{time.strftime('%H:%M:%S')} {what}")

    def evaluated(self, when: str, scores: list[Score]) -> None:
        """Print an evaluation."""
        self.scores[when] = scores
        for score in scores:
            self.out.print(f"{when.capitalize()} training, {sentence(score)}.")

    def iterated(self, summary: Summary, seconds_left: float) -> None:
        """Print an iteration's line."""
        if self._lines % AGAIN == 0:
            self.out.print(HEADER, style="bold")
        self._lines += 1
        self.out.print(line(summary, self.iterations, seconds_left))
        self._bar.update(
            self._task,
            completed=summary.iteration + 1,
            left=f"{duration(seconds_left)} left",
        )


def line(summary: Summary, iterations: int, seconds_left: float) -> str:
    """Return an iteration as a line under `HEADER`."""
    games = {role.partition("/")[0] for role in summary.reward_by_role}
    rewards = ", ".join(
        f"{role if len(games) > 1 else role.rpartition('/')[2]} {value:+.2f}"
        for role, value in summary.reward_by_role.items()
    )
    speed = summary.sampled_tokens / max(1e-9, summary.seconds_sampling)
    return (
        f"{f'{summary.iteration + 1}/{iterations}':>7} {summary.games:>5} {speed:>8.0f} {summary.legal_rate:>6.0%} "
        f"{summary.illegal_rate:>7.0%} {summary.unparsable_rate:>10.0%} {summary.truncated_rate:>4.0%} "
        f"{summary.forfeit_rate:>8.0%} {duration(seconds_left):>8}  {rewards}"
    )


def sentence(score: Score) -> str:
    """Return a score in words."""
    tally = "" if score.alone else f"{score.wins} won, {score.draws} drawn, {score.losses} lost; "
    against = "" if score.alone else f" against {score.opponent}"
    return (
        f"{score.game}{against}: {percent(score.legal)} legal replies, result {number(score.result)}, "
        f"{tally}{score.by_play} of {score.games} decided by play"
    )


def scores_table(columns: dict[str, Score]) -> Any:
    """Return scores in one game against one opponent side by side, each under a name of its own."""
    scores = list(columns.values())
    made = table(f"{scores[0].game} against {scores[0].opponent}", *columns)
    for label, shown in (
        ("legal replies", lambda score: percent(score.legal)),
        ("result a game", lambda score: number(score.result)),
        ("won / drawn / lost", lambda score: score.tally),
        ("decided by play", lambda score: f"{score.by_play} of {score.games}"),
        ("forfeited / by the opponent", lambda score: f"{score.by_forfeit} / {score.by_opponents_forfeit}"),
    ):
        made.add_row(label, *map(shown, scores))
    return made


def percent(value: Estimate) -> str:
    """Return a rate with its interval."""
    return f"{100 * value.mean:.0f} % ({100 * value.low:.0f} to {100 * value.high:.0f})"


def number(value: Estimate) -> str:
    """Return a mean with its interval, where there is one."""
    return f"{value.mean:+.2f}" + (f" ({value.low:+.2f} to {value.high:+.2f})" if value.low == value.low else "")
