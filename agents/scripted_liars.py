"""Scripted players of `liars`.

candid     answers truly and believes what it hears
fibber     always lies and believes what it hears
decoder    always lies and takes the other to do so, too: two of them read each other (a stalemate)
babbler    answers at random and believes nothing, which is an equilibrium: it is worth 0 against anybody who
           cannot read it
"""

from __future__ import annotations

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.games.liars import NO, YES, Question
from palaestra.envs.games.probabilities import write_probability
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice

NAMES = ("candid", "fibber", "decoder", "babbler")


class LiarsPlayer:
    """One class for all four; ``name`` says which.

    While playing:
        InformationError: Another game.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    async def act(self, view: View) -> Reply:
        """Return the answer or the belief."""
        if view.game_id != "liars":
            raise InformationError(f"{self.name} plays liars only, not {view.game_id}.")
        known, dice = view.knowledge(), Dice(view.seed)
        heard = [said[1 - view.player] for said in known["answers"]]
        asked = [Question(*question) for question in known["asked"]]
        if len(heard) < known["questions"]:
            truth = asked[-1].truth(known["number"])
            if self.name == "babbler":
                return Reply(dice.choice((YES, NO)))
            return Reply(truth if self.name == "candid" else _other(truth))
        fits = list(range(known["numbers"]))
        if self.name != "babbler":
            told = [_other(said) for said in heard] if self.name == "decoder" else heard
            rounds = list(zip(asked, told, strict=False))
            fits = [number for number in fits if all(one.truth(number) == said for one, said in rounds)] or fits
        return Reply(f"{dice.choice(fits)} {write_probability(1 / len(fits))}")


def _other(answer: str) -> str:
    return NO if answer == YES else YES
