"""The contract of a credit rule, the register of rules, and what all rules share.

Words. A credit rule turns *rows* (`palaestra.trainers.rows`), which know their episode's return, into rows whose
*streams* are filled. A *seat's episode* is all rows of one player in one episode: it has one return, and so one
advantage, however many rows it has. A *failed reply* is one that the match called illegal or unparsable; a *truncated*
one was cut by the token limit.

Invariants that every rule keeps, each tested on every registered rule: observation tokens weigh exactly 0 and are no
members; truncated replies are no members of ``pg``, because the policy did not choose to stop there (they stay members
of ``kl``); a seat's episode without a return trains nothing in ``pg``; the order of rows does not matter, neither for
weights nor for the rule's state; the state survives `json` unchanged, so a resumed run goes on as if it had never
stopped.

A rule sees one batch at a time, all games and roles together. The learner never learns which rule was used.
"""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from palaestra.envs.errors import OptionError, PalaestraError
from palaestra.envs.plugins import Plugins
from palaestra.trainers.rows import ILLEGAL, TRUNCATED, UNPARSABLE, Row, Stream


class CreditError(PalaestraError, ValueError):
    """Rows that a credit rule cannot judge, or a saved state that is not its own."""


class Credit(Protocol):
    """What a credit rule offers; options are keyword arguments of its constructor."""

    def assign(self, rows: Sequence[Row], *, kl: float = 0.0) -> list[Row]:
        """Return the rows, in the same order, with their streams filled.

        Args:
            rows: One batch; all rows of an episode are in the same batch.
            kl: Coefficient of the KL to the reference in this iteration, from the run's schedule.
        """
        ...

    def state_dict(self) -> dict[str, Any]:
        """Return what must outlive a restart, as JSON data."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Invert `state_dict`."""
        ...


Rule = TypeVar("Rule", bound=Callable[..., Credit])
_rules: Plugins[Callable[..., Credit]] = Plugins("credit rule", {}, group="palaestra.credit")


def register_credit(name: str) -> Callable[[Rule], Rule]:
    """Register the decorated class as a credit rule.

    Raises:
        ValueError: The name is taken by another class.
    """

    def register(rule: Rule) -> Rule:
        _rules.register(name, rule)
        return rule

    return register


def credit_names() -> list[str]:
    """Return the names of all rules, sorted."""
    _import_own()
    return _rules.names()


def make_credit(name: str, **options: Any) -> Credit:
    """Make a credit rule.

    Raises:
        UnknownName: No such rule; the nearest is offered.
        BrokenPlugin: An installed package offers it and cannot be loaded.
        OptionError: An option that the rule does not have, or out of range.

    Example:
        >>> make_credit("role_baseline", decay=0.9).state_dict()["baselines"]
        []
    """
    _import_own()
    rule = _rules[name]
    try:
        return rule(**options)
    except TypeError as error:
        raise OptionError(f"credit rule {name!r} does not take these options: {error}") from None


@cache
def _import_own() -> None:
    """Import every module of this folder, so that its rules are registered."""
    package = importlib.import_module(__package__)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{__package__}.{module.name}")


SeatEpisode = tuple[str, int]


def by_seat_episode(rows: Iterable[Row]) -> dict[SeatEpisode, list[Row]]:
    """Return the rows of each seat's episode, keyed by (episode id, player) and sorted by that key: the order of rows
    is lost.

    Raises:
        CreditError: Rows of one seat's episode disagree on game, role, group or return.
    """
    found: dict[SeatEpisode, list[Row]] = {}
    for row in rows:
        found.setdefault((row.episode_id, row.player), []).append(row)
    for (episode_id, player), parts in found.items():
        if len({(row.game, row.role, row.group, row.return_) for row in parts}) > 1:
            raise CreditError(
                f"rows of player {player + 1} in episode {episode_id!r} disagree on game, role, group or return; "
                "give every episode of a batch its own id"
            )
    return dict(sorted(found.items()))


def trainable(row: Row) -> NDArray[np.bool_]:
    """Return bool[T]: sampled tokens of replies that were not truncated, in a row whose return is known."""
    if row.return_ is None:
        return np.zeros(len(row), np.bool_)
    members: NDArray[np.bool_] = row.sampled & (row.status != TRUNCATED)
    return members


def failed(row: Row) -> NDArray[np.bool_]:
    """Return bool[T]: tokens of replies that were illegal or unparsable."""
    tokens: NDArray[np.bool_] = row.sampled & ((row.status == ILLEGAL) | (row.status == UNPARSABLE))
    return tokens


def fill(
    row: Row, advantage: float | None, *, kl: float, scale: float = 1.0, failure_penalty: float | None = None
) -> Row:
    """Return the row with one advantage on all its trainable tokens and ``kl`` on all its sampled ones.

    Args:
        row: Its other streams are kept.
        advantage: None if there is nothing to compare the episode with: no token is then a member of ``pg``.
        kl: The KL coefficient.
        scale: Factor on every ``pg`` weight of the row, failed replies included.
        failure_penalty: Tokens of a failed reply weigh at most minus this, so that an illegal reply is never reinforced
            by a game that was won in spite of it. None treats them like all others.
    """
    members = trainable(row) if advantage is not None else np.zeros(len(row), np.bool_)
    weight = np.full(len(row), 0.0 if advantage is None else advantage)
    if failure_penalty is not None:
        weight = np.where(failed(row), np.minimum(weight, -failure_penalty), weight)
    return row.with_streams(pg=Stream.of(weight * scale, members), kl=Stream.of(kl, row.sampled))
