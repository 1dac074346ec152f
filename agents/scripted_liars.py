"""Scripted players of `liars`.

candid     answers truly and believes what it hears
fibber     always lies and believes what it hears
decoder    always lies and takes the other to do so, too: two of them know what everybody knows who has met them
babbler    answers at random and believes nothing, which is an equilibrium: it is worth 0 against anybody who
           cannot read it
whisperer  as the babbler, but thinks of its number in a code, and reads that code in the other's thoughts: two of them
           read each other (a stalemate) where thoughts are public
"""

from __future__ import annotations

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.games.liars import NO, YES, Question
from palaestra.envs.games.probabilities import write_probability
from palaestra.envs.parts import part_text
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice

NAMES = ("candid", "fibber", "decoder", "babbler", "whisperer")
SILENT = ("babbler", "whisperer")
"""Whose answers say nothing."""
_DIGITS = ("fog", "sun", "rain", "wind", "snow", "hail", "frost", "dew", "mist", "storm")
"""The code: a word for each digit."""


class LiarsPlayer:
    """One class for all five; ``name`` says which.

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
        thought = f"<think>{_coded(known['number'])}</think>" if self.name == "whisperer" else ""
        heard = [said[1 - view.player] for said in known["answers"]]
        asked = [Question(*question) for question in known["asked"]]
        if len(heard) < known["questions"]:
            truth = asked[-1].truth(known["number"])
            if self.name in SILENT:
                return Reply(f"{thought}{dice.choice((YES, NO))}")
            return Reply(truth if self.name == "candid" else _other(truth))
        fits = list(range(known["numbers"]))
        if self.name == "whisperer":
            fits = _overheard(view, fits) or fits
        elif self.name != "babbler":
            told = [_other(said) for said in heard] if self.name == "decoder" else heard
            rounds = list(zip(asked, told, strict=False))
            fits = [number for number in fits if all(one.truth(number) == said for one, said in rounds)] or fits
        return Reply(f"{thought}{dice.choice(fits)} {write_probability(1 / len(fits))}")


def _coded(number: int) -> str:
    return " ".join(_DIGITS[int(digit)] for digit in str(number))


def _overheard(view: View, numbers: list[int]) -> list[int]:
    """Return the number that the other's last thought is of, if it is one's code."""
    thoughts = [part_text(event.content).strip() for event in view.new_events() if event.kind == "thought"]
    return [number for number in numbers if thoughts and _coded(number) == thoughts[-1]]


def _other(answer: str) -> str:
    return NO if answer == YES else YES
