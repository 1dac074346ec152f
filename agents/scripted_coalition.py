"""A scripted player of `coalition`: asks for what the Shapley value gives, and for less as time passes."""

from __future__ import annotations

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.games.messages import Message, write_message
from palaestra.envs.games.shares import OUT, Group, Splits, shapley
from palaestra.envs.seat import View


class Shapley:
    """Offers the players at the table the split by their Shapley values of what the groups are worth.

    It accepts an offer of ``1 - patience * time`` of its own value, or in its last turn of any gain. A member who turns
    out to want more than its value is not argued with.

    Args:
        patience: How much of its value it gives up by the end, 0 to 1.

    While playing:
        InformationError: The game is not `coalition`.
    """

    name = "shapley"

    def __init__(self, patience: float = 0.4) -> None:
        if not 0 <= patience <= 1:
            raise ValueError(f"patience is {patience}, expected 0 to 1")
        self.patience = patience

    async def act(self, view: View) -> Reply:
        """Return an offer, an acceptance, or a walk away if there is nothing to be had."""
        if view.game_id != "coalition":
            raise InformationError(f"the 'shapley' seat plays coalition only; seat it there, not at {view.game_id}.")
        known = view.knowledge()
        player, present, form = known["player"], known["present"], Splits(known["players"], view.player)
        values: dict[Group, int] = {tuple(group): value for group, value in known["values"]}
        worth = {group: float(value) for group, value in values.items() if set(group) <= set(present)}
        fair = shapley(worth, present)
        turns_left = known["max_turns"] - known["turn"]
        time = known["turn"] / known["max_turns"]
        wanted = max(fair[player] * (1 - self.patience * time), known["fallback"] + 1)
        standing = known["standing"]
        if standing is not None and standing["terms"][player] != OUT and player not in known["accepted"]:
            offered = standing["terms"][player]
            last = turns_left <= len(present) and offered > known["fallback"]
            if offered >= int(wanted) or last:
                return Reply(write_message(Message("", "accept"), form))
        group = max(worth, key=lambda one: (player in one, worth[one], -len(one)), default=None)
        if group is None or player not in group or worth[group] <= known["fallback"]:
            return Reply(write_message(Message("", "walk away"), form))
        if standing is not None and standing["mine"]:
            return Reply(write_message(Message("My offer is fair; please accept it."), form))
        split = self._split(fair, values[group], group, known["players"])
        return Reply(write_message(Message("", "offer", split), form))

    def _split(self, fair: dict[int, float], worth: int, group: Group, players: int) -> tuple[int, ...]:
        """Return whole shares in proportion to the values; what rounding leaves goes to the first members."""
        whole = sum(fair[one] for one in group)
        shares = {one: int(worth * fair[one] / whole) if whole else worth // len(group) for one in group}
        for one in list(group)[: worth - sum(shares.values())]:
            shares[one] += 1
        return tuple(shares.get(one, OUT) for one in range(players))
