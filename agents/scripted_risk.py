"""A scripted player of `risk`: gathers its armies at one border, attacks where it is stronger, and stops in time.

It decides from `View.knowledge` alone and has no memory. New armies go to one border: where it is strong already, in a
continent that it nearly holds. It attacks while it has ``margin`` times the defender's armies; after a conquest and at
the end of a turn armies move to where enemies are. Sets of cards are traded at once. It never speaks.
"""

from __future__ import annotations

from typing import Any

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice


class Warlord:
    """Plays by the rules above.

    Args:
        margin: How many times the defender's armies it wants before it attacks; at least 1.

    Raises:
        InformationError: The seat is asked to play another game.
    """

    def __init__(self, margin: float = 1.5) -> None:
        if not margin >= 1:
            raise ValueError(f"margin is {margin:g}, expected at least 1")
        self.margin = margin
        self.name = f"warlord:{margin:g}"

    async def act(self, view: View) -> Reply:
        """Return an order."""
        if view.game_id != "risk":
            raise InformationError(f"the 'warlord' seat plays risk only; seat it there, not at {view.game_id}.")
        return Reply(self.decide(view.knowledge(), Dice(view.seed)))

    def decide(self, known: dict[str, Any], dice: Dice) -> str:
        """Return the answer to what is asked."""
        map_ = _Map(known)
        match known["phase"]:
            case "claim":
                free = [one for one, count in enumerate(known["armies"]) if not count]
                return f"claim {map_.names[max(free, key=lambda one: (map_.share(one), dice.bits()))]}"
            case "deploy":
                return f"place 1 {map_.names[map_.weakest_front(dice)]}"
            case "place":
                if known["sets"]:
                    return "trade " + " ".join(str(card + 1) for card in known["sets"][0])
                return f"place {known['reserve']} {map_.names[map_.best_front(dice)]}"
            case "attack":
                return self._attack(map_)
            case "occupy":
                start, target = known["front"]
                stay = map_.enemies(start) > 0 and map_.enemies(target) == 0
                return f"move {0 if stay else known['armies'][start] - 1}"
            case "fortify":
                return map_.march()
        return "done"

    def _attack(self, map_: _Map) -> str:
        armies = map_.armies
        chances = [
            (armies[start] / armies[target] + 2 * map_.share(target), start, target)
            for start in map_.own
            for target in map_.borders[start]
            if target not in map_.own and armies[start] > 3 and armies[start] >= self.margin * armies[target] + 1
        ]
        if not chances:
            return "done"
        _, start, target = max(chances)
        return f"attack {map_.names[start]} -> {map_.names[target]} with all"


class _Map:
    """What the player knows, worked out."""

    def __init__(self, known: dict[str, Any]) -> None:
        self.names: list[str] = known["territories"]
        self.borders: list[list[int]] = known["borders"]
        self.armies: list[int] = known["armies"]
        self.own = {one for one, owner in enumerate(known["owner"]) if owner == known["player"]}
        self.continents: list[dict[str, Any]] = known["continents"]

    def share(self, territory: int) -> float:
        """Return how much of a territory's continent is held."""
        continent = next(one for one in self.continents if territory in one["territories"])
        return sum(one in self.own for one in continent["territories"]) / len(continent["territories"])

    def enemies(self, territory: int) -> int:
        """Return the armies of others next to a territory."""
        return sum(self.armies[one] for one in self.borders[territory] if one not in self.own)

    def fronts(self) -> list[int]:
        return [one for one in sorted(self.own) if self.enemies(one)] or sorted(self.own)

    def best_front(self, dice: Dice) -> int:
        """Return where an attack promises most: strong already, in a continent that is nearly held."""

        def promise(one: int) -> tuple[float, int]:
            return self.share(one) + self.armies[one] / (1 + self.enemies(one)), dice.bits()

        return max(self.fronts(), key=promise)

    def weakest_front(self, dice: Dice) -> int:
        return max(self.fronts(), key=lambda one: (self.enemies(one) / self.armies[one], dice.bits()))

    def march(self) -> str:
        """Return the move of the largest army that faces nobody to a neighbour that does, or nearer to one."""
        idle = [one for one in self.own if not self.enemies(one) and self.armies[one] > 1]
        for start in sorted(idle, key=lambda one: -self.armies[one]):
            for target in sorted(self.borders[start], key=lambda one: -self.enemies(one)):
                if target in self.own and self.enemies(target):
                    return f"fortify {self.names[start]} -> {self.names[target]} {self.armies[start] - 1}"
        return "done"
