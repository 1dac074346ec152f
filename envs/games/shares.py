"""Shares of what a group of players is worth together: how they are written, and how good an agreement is.

With v(S) what a group S can share and r the fallbacks, w(S) = v(S) - sum of r over S is the group's *surplus*, and
gains are shares of it. Measures of the gains g of all players, those outside the agreement 0:

* *efficiency*: the sum of g over the largest surplus of any group; *surplus share*: each gain over it;
* *Pareto distance*: the Euclidean distance to the plane of the group that could better all with a gain furthest, over
  the largest surplus; 0 if no group could;
* *core* (D. B. Gillies, 1953): no group could by itself give its members more; else the one that could give most more
  is named;
* *Shapley distance*: to the Shapley value (L. S. Shapley, 1953) of the largest surplus within each group;
* *Nash distance*: to the equal parts of the surplus of all, J. F. Nash's solution where any split is possible; None
  where all together have none.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any, TypeAlias

from palaestra.envs.errors import IllegalAction
from palaestra.envs.games.messages import Terms

Group: TypeAlias = tuple[int, ...]
"""Players in order, counted from 0."""

OUT = -1
"""The share of a player who is not in the group."""

_PLAYER, _AMOUNT = r"(?:players?\s*#?|p)(?P<player>\d)", r"(?P<amount>\d{1,4})(?:\s*(?:points?|coins?))?"
_SELF = r"(?P<self>me|i|myself)"
_VERB = r"\s*(?:[:=]|-|gets?|takes?|receives?|has|keeps?)?\s*"
_PARTS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        rf"(?:{_PLAYER}|{_SELF}){_VERB}{_AMOUNT}",
        rf"{_AMOUNT}\s+(?:to|for)\s+(?:{_PLAYER}|{_SELF})",
        rf"(?P<self>get|take|keep|receive|have)\s+{_AMOUNT}",
    )
)
_VALUE = re.compile(r"(?P<group>[1-5](?:\+[1-5])+)=(?P<value>\d{1,4})")


def read_values(text: str, players: int) -> dict[Group, int]:
    """Return what each group can share, from ``"1+2=118,1+3=84,2+3=50,1+2+3=121"``.

    Raises:
        ValueError: It is written otherwise, names a player who is not there, or a group twice.
    """
    values: dict[Group, int] = {}
    for part in text.replace(" ", "").split(","):
        found = _VALUE.fullmatch(part)
        if found is None:
            raise ValueError(f"{part!r} in values is no group with its worth; write it as 1+2=118")
        group = tuple(sorted(int(number) - 1 for number in found["group"].split("+")))
        if len(set(group)) < len(group) or group[-1] >= players:
            raise ValueError(f"{found['group']} in values is no group of {players} players")
        if group in values:
            raise ValueError(f"{found['group']} stands twice in values")
        values[group] = int(found["value"])
    return dict(sorted(values.items(), key=lambda item: (len(item[0]), item[0])))


class Splits:
    """Offers of a split: ``Player 1 40, Player 3 45``, in any order; whoever is not named is not in the group.

    Args:
        players: How many there are.
        speaker: Who makes the offer, for "me 40".
    """

    def __init__(self, players: int, speaker: int) -> None:
        self.players, self.speaker = players, speaker

    @property
    def example(self) -> str:
        """Return an offer that shows the form."""
        other = (self.speaker + 1) % self.players
        return self.write(tuple(20 if one in (self.speaker, other) else OUT for one in range(self.players)))

    def write(self, terms: Terms) -> str:
        """Return a split in words."""
        return ", ".join(f"Player {player + 1} {share}" for player, share in enumerate(terms) if share != OUT)

    def read(self, body: str, headed: bool, certain: bool) -> Terms | None:
        """Return the split that a body names, or None if it names none; without "I offer" before it, it is talk.

        Raises:
            IllegalAction: An offer is meant, but of a player who does not exist, or with two shares for one.
        """
        if not headed:
            return None
        shares: dict[int, int] = {}
        for part in re.split(r"\s*(?:[,;&]|\band\b)\s*", body):
            found = next((hit for form in _PARTS if (hit := form.fullmatch(part))), None)
            if found is None:
                return None
            named = found.groupdict().get("player")
            player = self.speaker if named is None else int(named) - 1
            if not 0 <= player < self.players:
                raise IllegalAction(f"there is no Player {named}; there are {self.players} players.")
            if shares.setdefault(player, int(found["amount"])) != int(found["amount"]):
                raise IllegalAction(f"the offer gives Player {player + 1} two different shares.")
        return tuple(shares.get(player, OUT) for player in range(self.players))


def shapley(worth: Mapping[Group, float], players: Sequence[int]) -> dict[int, float]:
    """Return the Shapley value of each player; groups that are not in ``worth`` have 0."""
    value = dict.fromkeys(players, 0.0)
    number = len(players)
    for player in players:
        others = [one for one in players if one != player]
        for size in range(number):
            weight = math.factorial(size) * math.factorial(number - size - 1) / math.factorial(number)
            for group in combinations(others, size):
                joined = tuple(sorted((*group, player)))
                value[player] += weight * (worth.get(joined, 0.0) - worth.get(group, 0.0))
    return value


def coalition_measures(gains: Sequence[float], values: Mapping[Group, int], fallbacks: Sequence[int]) -> dict[str, Any]:
    """Return what there is to say about an agreement as JSON data; shares and distances are None without a surplus."""
    players = range(len(gains))
    surplus = {group: value - sum(fallbacks[one] for one in group) for group, value in values.items()}
    best = max(0, *surplus.values())
    total = sum(gains)
    spare = {group: surplus[group] - sum(gains[one] for one in group) for group in surplus}
    could = [group for group in spare if all(one in group or gains[one] <= 0 for one in players)]
    behind = max((spare[group] / math.sqrt(len(group)) for group in could), default=0.0)
    blocking = max(spare, key=lambda group: spare[group])
    within = {
        group: float(max([0, *(surplus[part] for part in surplus if set(part) <= set(group))]))
        for size in range(2, len(gains) + 1)
        for group in combinations(players, size)
    }
    fair = shapley(within, players)
    everyone = surplus.get(tuple(players), 0)

    def distance(point: Sequence[float]) -> float:
        return math.dist(gains, point) / best

    return {
        "gains": list(gains),
        "joint": total,
        "max_joint": best,
        "efficiency": total / best if best else 1.0 + total,
        "surplus_share": [gain / best for gain in gains] if best else None,
        "pareto_optimal": behind <= 1e-9,
        "pareto_distance": max(0.0, behind) / best if best else None,
        "in_core": spare[blocking] <= 1e-9 and min(gains) >= 0,
        "blocked_by": list(blocking) if spare[blocking] > 1e-9 else None,
        "shapley": [fair[one] for one in players],
        "shapley_distance": distance([fair[one] for one in players]) if best else None,
        "nash_distance": distance([everyone / len(gains)] * len(gains)) if everyone > 0 else None,
    }
