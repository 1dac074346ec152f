"""What Mafia says to its players, and how their answers are read.

Everything that is shown depends on what the player may know: its role, its partners, its own findings, who is alive,
what was said in front of it, and the public record. A player who is not asked is told day or night and no more, so
that nobody can count the steps of a night.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from palaestra.envs import grammar
from palaestra.envs.errors import UnparsableAction
from palaestra.envs.events import render
from palaestra.envs.parts import Action, part_text

if TYPE_CHECKING:
    from palaestra.envs.games.mafia import Mafia

RECAP_MESSAGES = 16
"""Messages that a self-contained observation repeats."""

PASS = "pass"
NOBODY = "nobody"

ABOUT = {
    "villager": "You have no power but your voice and your vote.",
    "mafia": "Each night the mafia choose a victim together.",
    "detective": "Each night you learn whether one player is mafia.",
    "doctor": "Each night you protect one player, yourself included, but not the same one twice in a row.",
    "jester": "You win, alone, if you are voted out.",
    "hunter": "When you die you may take another player along.",
    "vigilante": "Once in the game you may shoot a player at night.",
}

TASKS = {
    "whisper": "Whisper to the other mafia; nobody else hears it.",
    "talk": "Speak to everybody.",
    "defend": "You stand trial. Defend yourself.",
    "last words": "You are voted out. Say your last words.",
    "bid": "How much do you want to speak next? Answer with a number from 0 (not at all) to 4 (at any price).",
    "nominate": "Whom do you nominate for trial?",
    "vote": "Whom do you vote out?",
    "hunter": "You die. Whom do you take along?",
}
AT_NIGHT = {
    "mafia": "Whom do the mafia kill? Most names decide, ties are decided by lot.",
    "detective": "Whom do you investigate?",
    "doctor": "Whom do you protect?",
    "vigilante": "Whom do you shoot? You have one shot for the whole game.",
}

_EXPLICIT = re.compile(
    r"\b(?:vote|nominate|kill|shoot|protect|save|investigate|check|accuse|choose|answer|target|choice)s?"
    r"(?:\s+(?:for|to|is|out))*\s*[:=]?\s*[\[(\"'*]*(player\s*#?\s*\d+|nobody|no one)",
    re.IGNORECASE,
)
_SHORT = re.compile(r"(?<![\w#.])(?:P|#)?\s?(\d{1,2})(?![\w.]\w|\d)")
_NO_ONE = re.compile(r"\b(?:no[- ]?one|none|abstain|skip|pass)\b", re.IGNORECASE)


def name(player: int) -> str:
    """Return a player's name in text; ``"nobody"`` for -1."""
    return NOBODY if player < 0 else f"Player {player + 1}"


def number(text: str) -> int:
    """Invert `name`."""
    return -1 if text == NOBODY else int(text.removeprefix("Player ")) - 1


def names(players: Iterable[int]) -> str:
    """Return names joined by commas."""
    return ", ".join(map(name, players))


def tally(chosen: Mapping[int, int]) -> str:
    """Return who chose whom, such as ``"1>3 2>3 3>nobody"``."""
    return " ".join(f"{voter + 1}>{target + 1 if target >= 0 else NOBODY}" for voter, target in sorted(chosen.items()))


def counts(chosen: Mapping[int, int]) -> str:
    """Return how often each was chosen, the most frequent first."""
    found = Counter(chosen.values())
    return ", ".join(
        f"{name(target)} {count}" for target, count in sorted(found.items(), key=lambda one: (-one[1], one[0]))
    )


def in_a_line(text: str) -> str:
    """Return text with every run of white space as one space, so that a message has exactly one line."""
    return " ".join(text.split())


# ---------------------------------------------------------------------- what is shown


def prompt(game: Mafia, player: int) -> str:
    """Return the rules with these options, the player's role and how to answer."""
    options = game.options
    role = game.roles[player]
    cast = Counter(options.cast())
    roles = ", ".join(
        f"{count} {one}s" if count > 1 and one != "mafia" else f"{count} {one}" for one, count in cast.items()
    )
    partners = game.partners(player)
    mates = f" Your partners: {names(partners)}." if partners else ""
    trial = "nominate two players, hear their defence, and vote" if options.nomination else "vote"
    talk = {"rounds": "talk in turn", "bidding": "bid for the floor and talk"}[options.discussion]
    shown = {
        "role": "The role of the dead becomes known.",
        "team": "Whether the dead were mafia becomes known.",
        "nothing": "Nothing becomes known of the dead.",
    }[options.reveal]
    ties = "; between players with equally many it is decided by lot" if options.ties == "lot" else ""
    jester = " A jester who is voted out wins alone." if options.jester else ""
    return (
        f"Mafia, {options.players} players: {roles}. You are Player {player + 1}, {role}. {ABOUT[role]}{mates}\n"
        f"At night the mafia kill one player. By day the living {talk}, {trial} ({options.vote} votes); whoever gets "
        f"more votes than any other, and than nobody, is out{ties}. {shown}{jester} The town wins when no mafia is "
        f"left, the mafia when they are as many as all others, or after day {options.max_days}.\n"
        f"A message has at most {options.max_talk} characters. Where you are to choose, end with a name, such as "
        f"Player 2; the last one counts."
    )


def recap(game: Mafia, player: int) -> str:
    """Return the public record, the player's own findings, and the last messages it heard."""
    lines = list(game.record)
    lines += [
        f"You found out that Player {one} is{'' if bad else ' not'} mafia." for one, bad in game.found(player).items()
    ]
    heard = [event for event in game.log if event.kind == "message" and event.visible_to(player)]
    return "\n".join([*lines, render(heard[-RECAP_MESSAGES:])]).strip()


def board(game: Mafia, player: int) -> str:
    """Return time, who is alive, and what the player is asked, if it is."""
    time = f"{'Night' if game.is_night() else 'Day'} {game.day}. Alive: {names(game.alive)}."
    if player not in game.players_to_move():
        return time if player in game.alive else f"{time} You are dead."
    if game.phase == "night":
        task = AT_NIGHT[game.roles[player]]
    else:
        task = TASKS[game.phase]
    if game.phase in ("night", "nominate", "vote", "hunter"):
        task += f" Choose from: {', '.join(map(name, game.targets(player)))}."
    elif game.phase != "bid":
        task += " Write your message, or pass."
    return f"{time}\n{task}"


# ---------------------------------------------------------------------- how answers are read


def read_talk(text: str) -> Action:
    """Read a message: everything that was written, in one line.

    Raises:
        UnparsableAction: Nothing was written.
    """
    message = in_a_line(text)
    if not message:
        raise UnparsableAction("there is no message; write one, or pass.")
    return PASS if message.strip(".!\"'").lower() == PASS else message


def read_choice(text: str, all_names: Sequence[str], legal: Sequence[str]) -> Action:
    """Read a player's name: after a verb such as *vote for* if there is one, else the last name of the text.

    Raises:
        UnparsableAction: Nobody is named.
    """
    if text in all_names:
        return text
    if explicit := _EXPLICIT.findall(text):
        text = explicit[-1]
    plain = _NO_ONE.sub(NOBODY, re.sub(r"\bplayer\s*#?\s*(\d+)\b", r"Player \1", text, flags=re.IGNORECASE))
    if "player" not in plain.lower() and NOBODY not in plain.lower():
        plain = _SHORT.sub(r"Player \1", plain)
    return grammar.last_action(plain, all_names, legal)


def refusal(game: Mafia, player: int, action: Action) -> str:
    """Return why a choice is not legal now."""
    legal = grammar.shorten(game.legal_actions(player))
    said = part_text(action)
    if game.phase != "bid" and said in game.action_words(player):
        target = number(said)
        if target == player:
            why = "you cannot choose yourself"
        elif target < 0:
            why = "you must choose a player"
        elif target not in game.alive:
            why = f"{said} is dead"
        elif game.phase == "vote":
            why = f"{said} does not stand trial"
        elif game.roles[player] == "doctor":
            why = f"you protected {said} last night"
        else:
            why = f"{said} is your partner"
        return f"{why}; choose from: {legal}."
    return f"{said[:60]!r} is no choice; choose from: {legal}."


def small_talk(game: Mafia, player: int) -> tuple[str, ...]:
    """Return what random play says: the truth, lies and noise, none of it longer than 20 characters."""
    other = next((one for one in game.alive if one != player), 0)
    role = "villager" if game.roles[player] == "mafia" else game.roles[player]
    said = (PASS, "I know nothing.", f"I am the {role}.", f"Watch Player {other + 1}.", "I am the detective.")
    return tuple(dict.fromkeys(said))
