"""A scripted player of `mafia`: believes who has not been caught lying, and tells what it knows.

It decides from `View.knowledge` alone and has no memory, so the same view gives the same reply, also after a resume.

* The *detective* looks at players nobody has vouched for, and tells every result by day.
* The *town* votes for whom a trusted player has found to be mafia, and for who found a dead innocent guilty; without
  either, by chance for somebody whom nobody has found innocent.
* The *doctor* protects who speaks as the detective.
* The *mafia* kill who speaks as the detective, and by day accuse a player of the town, as the detective would.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from palaestra.envs.episode import Reply
from palaestra.envs.errors import InformationError
from palaestra.envs.games.mafia import HIGHEST_BID, NOBODY
from palaestra.envs.games.mafia_measures import findings_said
from palaestra.envs.games.mafia_words import PASS, name
from palaestra.envs.seat import View
from palaestra.envs.seeding import Dice

ACCUSING = "I am the detective. I investigated {}: mafia."
CLEARING = "I am the detective. I investigated {}: not mafia."


class Sleuth:
    """Plays every role by the rules above.

    Args:
        lies: How often the mafia accuse somebody, from 0 to 1.

    Raises:
        InformationError: The seat is asked to play another game.
    """

    def __init__(self, lies: float = 0.5) -> None:
        if not 0 <= lies <= 1:
            raise ValueError(f"lies is {lies:g}, expected 0 to 1")
        self.lies = lies
        self.name = f"sleuth:{lies:g}"

    async def act(self, view: View) -> Reply:
        """Return a message, a bid, or a player's name."""
        if view.game_id != "mafia":
            raise InformationError(f"the 'sleuth' seat plays mafia only; seat it there, not at {view.game_id}.")
        return Reply(self.decide(view.knowledge(), Dice(view.seed)))

    def decide(self, known: dict[str, Any], dice: Dice) -> str:
        """Return the answer to what is asked."""
        accused = _accused(known)
        match known["phase"]:
            case "night":
                return name(self._at_night(known, dice))
            case "nominate" | "vote" | "hunter":
                return name(_vote(known, accused, dice))
            case "bid":
                return str(HIGHEST_BID if _to_tell(known) else 1)
            case "talk" | "defend" | "last words":
                return self._speech(known, dice)
        return PASS

    def _at_night(self, known: dict[str, Any], dice: Dice) -> int:
        targets: list[int] = known["targets"]
        claimants = [player for player, *_ in _told(known) if player in targets]
        match known["role"]:
            case "mafia" | "doctor":
                return claimants[-1] if claimants else dice.choice(targets)
            case "detective":
                unseen = [target for target in targets if str(target + 1) not in known["findings"]]
                return dice.choice(unseen or targets)
        return next((target for target in _accused(known) if target in targets), NOBODY)

    def _speech(self, known: dict[str, Any], dice: Dice) -> str:
        if known["role"] == "mafia" and dice.random() < self.lies:
            town = [one for one in known["alive"] if one != known["player"] and one not in known["partners"]]
            return ACCUSING.format(name(dice.choice(town)))
        return _to_tell(known) or PASS


def _to_tell(known: dict[str, Any]) -> str:
    """Return what the detective has found and is still of use, the guilty first."""
    alive = {str(player + 1) for player in known["alive"]}
    found = [(mafia, number) for number, mafia in known["findings"].items() if number in alive]
    if not found:
        return ""
    mafia, number = max(found)
    return (ACCUSING if mafia else CLEARING).format(f"Player {number}")


def _told(known: dict[str, Any]) -> list[tuple[int, int, bool]]:
    """Return (speaker, target, mafia) of every result of an investigation that was told in public, in order."""
    return [
        (event["source"], target, mafia)
        for event in known["events"]
        if event["kind"] == "message" and event["to"] is None
        for target, mafia in findings_said(event["content"])
    ]


def _accused(known: dict[str, Any]) -> list[int]:
    """Return whom there is reason to think mafia, the best reason first: own findings, liars, trusted accusations."""
    dead = {player: role for player, _, _, role in known["deaths"]}
    told = _told(known)
    liars = [speaker for speaker, target, mafia in told if mafia and dead.get(target, "") not in ("", "mafia")]
    own = [int(number) - 1 for number, mafia in known["findings"].items() if mafia]
    trusted = [target for speaker, target, mafia in told if mafia and speaker not in liars]
    cleared = {int(number) - 1 for number, mafia in known["findings"].items() if not mafia} | {known["player"]}
    return [one for one in dict.fromkeys([*own, *liars, *trusted]) if one in known["alive"] and one not in cleared]


def _vote(known: dict[str, Any], accused: Sequence[int], dice: Dice) -> int:
    """Return whom to nominate, vote out or shoot."""
    targets = [target for target in known["targets"] if target not in known["partners"]]
    if reasons := [target for target in accused if target in targets]:
        return reasons[0]
    vouched = {target for _, target, mafia in _told(known) if not mafia}
    vouched |= {int(number) - 1 for number, mafia in known["findings"].items() if not mafia}
    doubtful = [target for target in targets if target != NOBODY and target not in vouched]
    return dice.choice(doubtful) if doubtful else NOBODY
