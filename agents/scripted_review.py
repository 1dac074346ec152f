"""A scripted reviewer: it looks into the finished game, and finds the reply that pays most against random play.

It knows what the player could not know, so it is what a reviewer is at worst: clairvoyant. Whether its claims hold
before the cards are seen is for `palaestra.trainers.hindsight.verify` to find out.
"""

from __future__ import annotations

from statistics import fmean
from typing import Any

from palaestra.envs import Game, make
from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.parts import Action
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice, derive

PLAYOUTS = 40
MOST = 30
"""Replies that are tried, of a game in which many are legal."""


class Clairvoyant:
    """Reviews games that were played by `review` itself."""

    name = "clairvoyant"

    async def act(self, view: View) -> Reply:
        """Return a review.

        Raises:
            InformationError: Another game, or a text that it was only told.
        """
        known = view.knowledge()
        if view.game_id != "review" or not known["turns"]:
            raise InformationError(f"{self.name} reviews games that 'review' has played itself, with shown left empty.")
        game = _at(known)
        player, said = known["turns"][known["turn"]]
        replies = list(dict.fromkeys([said, *list(game.legal_actions(player))[:MOST]]))
        values = {reply: _value(game, player, reply, number) for number, reply in enumerate(replies)}
        best = max(replies, key=lambda reply: values[reply])
        if known["form"] == "reply":
            return Reply(best)
        mistake = values[best] > values[said]
        because = f"It would have got {values[best]:+.2f} on average, not {values[said]:+.2f}."
        return Reply(_lines(mistake, because if mistake else "Nothing was better.", best))


def _at(known: dict[str, Any]) -> Game:
    game = make(known["game"], seed=known["seed"], **({"view": "terse"} if known["terse"] else {}))
    for player, action in known["turns"][: known["turn"]]:
        game.apply(player, action)
    return game


def _value(game: Game, player: int, reply: Action, number: int) -> float:
    """Return the mean return of a reply, everybody playing at random behind it and every chance drawn anew."""
    found = []
    for playout in range(PLAYOUTS):
        after = game.clone()
        after.dice = dice = Dice(derive(game.dice.seed, "playout", number, playout))
        after.apply(player, reply)
        while movers := after.players_to_move():
            after.apply(movers[0], after.sample_action(movers[0], dice))
        found.append(after.returns()[player])
    return fmean(found)


def _lines(mistake: bool, because: str, reply: Action) -> str:
    return f"Mistake: {'yes' if mistake else 'no'}\nBecause: {because}\nReply: {reply}"
