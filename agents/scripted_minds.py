"""A scripted player of Kuhn poker with open minds, who thinks aloud: what `tiny:minds` has read.

teller, teller:A    thinks of its own card in a share A of the games (half of them, unless said), else of any card,
                    and then of the one that another player thought of first, or ``-``; its moves are random
"""

from __future__ import annotations

import re

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError, OptionError
from palaestra.envs.games.kuhn_poker import CARDS
from palaestra.envs.games.open_minds import READY
from palaestra.envs.parts import part_text
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice

SILENT = "-"


def thought_of(own: str, heard: str) -> str:
    """Return a reply of the thinking round: a thought of two signs, the card it names and what it heard."""
    return f"<think>{own}{heard}</think>{READY}"


class Teller:
    """Names its card, or another.

    Args:
        share: In how many games it names its own on purpose, from 0 to 1.

    While playing:
        InformationError: Another game.
    """

    def __init__(self, share: float = 0.5) -> None:
        if not 0 <= share <= 1:
            raise OptionError(f"teller:{share:g} names its card in a share from 0 to 1, such as teller:0.5.")
        self.share = share
        self.name = f"teller:{share:g}"

    async def act(self, view: View) -> Reply:
        """Return the thought, or a random move."""
        known = view.knowledge()
        if view.game_id != "open_minds" or not {"card", "thinking"} <= known.keys():
            raise InformationError("teller plays open_minds with inner=kuhn_poker only.")
        if not known["thinking"]:
            return Reply(view.sample_action())
        dice = Dice(view.seed)
        own = CARDS[known["card"]] if dice.random() < self.share else dice.choice(CARDS)
        thoughts = [part_text(event.content) for event in view.new_events() if event.kind == "thought"]
        heard = re.findall(f"[{CARDS}]", thoughts[0])[:1] if thoughts else []
        return Reply(thought_of(own, heard[0] if heard else SILENT))
