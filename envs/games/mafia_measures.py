"""What a finished game of Mafia tells about its players: deduction, survival, and the lies that can be decided.

Identification precision, voting success and key-role survival follow the measures of Kaggle's Werewolf arena. A *claim*
is a public sentence whose truth the rules decide: of an own role ("I am the detective", "I am not mafia"), or of a
night's result ("I investigated Player 3: mafia"). Whatever is not written that plainly is no claim here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from palaestra.envs.games.mafia import Mafia

KEY_ROLES = ("detective", "doctor", "vigilante")

_ROLE = r"(villager|mafia|detective|doctor|jester|hunter|vigilante)"
_SENTENCE = re.compile(r"[^.!?\n]+[.!?]*")
_I_AM = re.compile(
    rf"\bI(?:\s+am|\s*['’]m)\s+(?:really\s+|just\s+|only\s+)?(not\s+)?(?:(?:a|an|the|your|in the)\s+)?{_ROLE}\b", re.I
)
_RESULT = re.compile(
    r"\bI\s+(?:have\s+)?(?:investigated|checked|inspected)\s+Player\s+(\d{1,3})\b([^.!?]{0,40}?)"
    r"\b(?:(innocent|clean|town|villager)|mafia|guilty)\b",
    re.I,
)
_NOT = re.compile(r"\b(?:not|no)\b|n['’]t\b", re.I)
_NOT_OWN = re.compile(
    r"\b(?:if|whether|would|could|suppose|claims?|claimed|says|said|thinks?|thought|believes?|accus\w*|calls?|called)\b",
    re.I,
)
"""Before a claim in its sentence, this makes it a condition or somebody else's words."""


def _plain(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    """Yield the matches that stand neither in a question, nor under a condition, nor in reported speech."""
    for sentence in _SENTENCE.findall(text):
        if "?" not in sentence:
            yield from (hit for hit in pattern.finditer(sentence) if not _NOT_OWN.search(sentence, 0, hit.start()))


class Finding(NamedTuple):
    """What somebody says that a night has told: a player, counted from 0, and whether it is mafia."""

    target: int
    mafia: bool


def findings_said(text: str) -> list[Finding]:
    """Return the results of investigations that a message claims, in order."""
    return [Finding(int(hit[1]) - 1, bool(hit[3]) == bool(_NOT.search(hit[2]))) for hit in _plain(_RESULT, text)]


class Claim(NamedTuple):
    """One claim; ``true`` is decided by the roles and the night's results."""

    day: int
    player: int
    kind: str
    true: bool


def claims(game: Mafia) -> Iterator[Claim]:
    """Yield the claims that were made in public, in order."""
    for day, player, text in game.said:
        for hit in _plain(_I_AM, text):
            yield Claim(day, player, "role", (game.roles[player] == hit[2].lower()) != bool(hit[1]))
        for target, mafia in findings_said(text):
            yield Claim(day, player, "result", _was_found(game, day, player, target, mafia))


def _was_found(game: Mafia, day: int, player: int, target: int, mafia: bool) -> bool:
    """Return whether the player did find this out by that day."""
    if game.roles[player] != "detective" or not any(on <= day and one == target for on, one in game.findings):
        return False
    return (game.roles[target] == "mafia") == mafia


def measures(game: Mafia) -> dict[str, Any]:
    """Return the measures of a finished game as JSON data; a share of nothing is None.

    ``identification``: of the nominations and votes that players who are not mafia cast against somebody, the share
    against mafia, for each player and together. ``voting_success``: of the players voted out, the share that was
    mafia. ``key_roles_alive``: share of detective, doctor and vigilante alive at the end. ``claims``, ``lies`` and
    ``lies_caught``: counts; a lie is caught if the liar is voted out on that day or later.
    """
    cast = {player: [0, 0] for player, role in enumerate(game.roles) if role != "mafia"}
    for _, _, ballot in game.ballots:
        for voter, target in ballot:
            if voter in cast and target >= 0:
                cast[voter][0] += 1
                cast[voter][1] += game.roles[target] == "mafia"
    voted_out = [player for player, _, how in game.deaths if how == "vote"]
    key = [player for player, role in enumerate(game.roles) if role in KEY_ROLES]
    made = list(claims(game))
    lies = [claim for claim in made if not claim.true]
    out_on = {player: day for player, day, how in game.deaths if how == "vote"}
    return {
        "identification": _share(sum(hits for _, hits in cast.values()), sum(named for named, _ in cast.values())),
        "identification_by_player": [
            _share(cast[player][1], cast[player][0]) if player in cast else None for player in range(len(game.roles))
        ],
        "voting_success": _share(sum(game.roles[player] == "mafia" for player in voted_out), len(voted_out)),
        "key_roles_alive": _share(sum(player in game.alive for player in key), len(key)),
        "claims": len(made),
        "lies": len(lies),
        "lies_caught": sum(out_on.get(lie.player, -1) >= lie.day for lie in lies),
        "lies_by_player": [sum(lie.player == player for lie in lies) for player in range(len(game.roles))],
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
