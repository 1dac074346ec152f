"""Environments of TextArena: ``make("textarena/TicTacToe-v0")``, with the extra ``textarena``.

TextArena decides what is legal and what it is worth; this module decides how that becomes a `Game`. What is known to be
wrong with it is contained here:

* *Seeding*: its games draw from the process's global generator. Each game here has a state of that generator for
  itself, put in place for the length of a call and taken away again, so games do not change each other's chance.
* *History*: observations are taken from the environment itself, not from its wrappers, which keep those of the game
  before; and every game has an environment of its own.
* *Refusals*: an action is tried on a copy. One that the environment calls invalid, or at which it fails, is refused and
  changes nothing, so it is the rules of the match that decide what a bad reply costs.
* *Thoughts* in an action never reach it: the match has taken them out.
* *Voices*: an action is one line, and is told with its speaker's mark, so nobody speaks as another or as the game.
* *Output*: what it prints is swallowed, and it is kept from fetching word lists while it is imported.
* Environments that cannot be imported here (some are no valid Python 3.11), or that want a key, a word list or files
  that are not installed, are listed with the reason by `unserved`.

Its texts count players from 0, the game around them from 1. What legal actions there are, it does not tell: random play
tries what stands in brackets in the texts. A game that is not over after ``max_turns`` ends with 0 for everybody.
"""

from __future__ import annotations

import contextlib
import copy
import io
import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, ClassVar, Self

import numpy as np

from palaestra.envs.errors import (
    IllegalAction,
    OptionError,
    UnknownName,
    UnparsableAction,
    install_command,
)
from palaestra.envs.events import render
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games.textarena_load import (
    MOST_PLAYERS,
    PREFIX,
    RAW,
    NotSoMany,
    UnservedEnvironment,
    environments,
    fewest_players,
    fresh,
    install_chance,
    seeded,
    textarena,
    unserved,
)
from palaestra.envs.grammar import shorten
from palaestra.envs.parts import Action, well_formed
from palaestra.envs.registry import GameEntry
from palaestra.envs.seeding import Dice

PROMPT_CHARS, RECAP_CHARS, BOARD_CHARS = 6000, 4000, 6000
TRIES = 60
"""Candidates that random play tries before it says anything."""
_BRACKETS = re.compile(r"\[[^\[\]\n]{1,40}\]")
_BLANK = re.compile(r"<[^<>]*>|\b[A-Z]\b")
"""What a player is to fill in, as in ``[Bid: X, Y]``."""


class _Invalid(Exception):
    """The environment has called an action invalid."""


@dataclass(frozen=True)
class TextArenaOptions:
    """How many play, and how long.

    Attributes:
        players: Number of players; None for the fewest that the environment takes.
        max_turns: Turns after which a game that is not over ends with 0 for everybody.
    """

    players: int | None = None
    max_turns: int = 200

    def __post_init__(self) -> None:
        if self.players is not None and not 1 <= self.players <= MOST_PLAYERS:
            raise ValueError(f"players is {self.players}, expected 1 to {MOST_PLAYERS}")
        if not 1 <= self.max_turns <= 100_000:
            raise ValueError(f"max_turns is {self.max_turns}, expected 1 to 100000")


class TextArenaGame(Game):
    """An environment of TextArena; `game_class` makes the subclass for one of them."""

    Options = TextArenaOptions
    raw: ClassVar[str]
    """TextArena's own id of the environment without wrappers."""

    env: Any
    chance: tuple[Any, Any]
    """States of Python's and NumPy's generators, as the environment has left them."""
    played: tuple[tuple[int, str], ...]
    prompts: tuple[str, ...]
    boards: tuple[str, ...]
    """What each player was shown last of the board."""
    failed: str
    """Why the environment cannot go on; empty if it can."""

    def setup(self) -> None:
        if textarena is None:
            raise UnservedEnvironment(f"TextArena is not installed; run {install_command('textarena')}.")
        self._players = self.options.players or fewest_players(self.raw)
        self.chance = seeded(self.dice.below(1 << 32))
        self.played = ()
        with self._its_chance():
            try:
                self.env = fresh(self.raw, self._players)
            except NotSoMany as error:
                raise OptionError(f"{self.id} cannot be played by {self._players}: {error}.") from None
        self.prompts = self.boards = ("",) * self._players
        self._take_observations()

    @property
    def facts(self) -> GameFacts:
        options: TextArenaOptions = self.options
        return GameFacts(
            players=self._players,
            min_return=-1.0,
            max_return=1.0,
            max_turns=options.max_turns,
            max_observation_chars=PROMPT_CHARS + RECAP_CHARS + BOARD_CHARS + 10,
            roles=tuple(f"player {player}" for player in range(self._players)),
            chance=True,
            information="imperfect",
            utility="general_sum",
            enumerable=False,
        )

    def players_to_move(self) -> tuple[int, ...]:
        state = self.env.state
        if state.done or len(self.played) >= self.options.max_turns:
            return ()
        return (int(state.current_player_id),)

    # ------------------------------------------------------------------ what players see

    def prompt(self, player: int) -> str:
        return _cut(self.prompts[player], PROMPT_CHARS)

    def recap(self, player: int) -> str:
        text = render(event for event in self.log if event.visible_to(player))
        return text if len(text) <= RECAP_CHARS else "…" + text[-(RECAP_CHARS - 1) :]

    def board(self, player: int) -> str:
        return _cut(self.boards[player], BOARD_CHARS)

    def knowledge(self, player: int) -> dict[str, Any]:
        """Return all that the player was shown: the prompt, the last board, and messages as [speaker, text]."""
        heard = [[event.source, str(event.content)] for event in self.log if event.visible_to(player)]
        return {"prompt": self.prompts[player], "board": self.boards[player], "heard": heard, "player": player}

    def _take_observations(self) -> None:
        """Empty the queues of all players into prompts, boards and the log; what all were told is told once."""
        queues = self.env.state.observations
        kinds = textarena.ObservationType
        prompts, boards = list(self.prompts), list(self.boards)
        told: dict[tuple[int, int, str], list[int]] = {}
        for player in range(self._players):
            seen: dict[tuple[int, str], int] = {}
            for source, text, kind in queues.get(player, []):
                text = str(text)
                if kind == kinds.PROMPT:
                    prompts[player] = f"{prompts[player]}\n{text}".strip()
                elif kind == kinds.GAME_BOARD:
                    boards[player] = text
                else:
                    speaker = int(source) if kind == kinds.PLAYER_ACTION and 0 <= int(source) < self._players else -1
                    nth = seen[speaker, text] = seen.get((speaker, text), 0) + 1
                    told.setdefault((nth, speaker, text), []).append(player)
            queues[player] = []
        self.prompts, self.boards = tuple(prompts), tuple(boards)
        for (_, speaker, text), audience in told.items():
            to = None if len(audience) == self._players else tuple(audience)
            if speaker >= 0:
                self.emit("message", text, source=speaker, to=to)
            else:
                self.emit("admin", text, to=to)

    # ------------------------------------------------------------------ what players do

    def legal_actions(self, player: int) -> Sequence[str]:
        """Return up to four examples: of what stands in brackets in the player's texts, and the like, what is legal."""
        return self._accepted(player, [text for group in self._candidates(player) for text in group], 4) or ["I pass."]

    def _accepted(self, player: int, candidates: Sequence[str], wanted: int) -> list[str]:
        found: list[str] = []
        for text in candidates[:TRIES]:
            with contextlib.suppress(IllegalAction):
                self.check(player, text)
                found.append(text)
            if len(found) == wanted:
                break
        return found

    def parse(self, player: int, text: str) -> Action:
        action = " ".join(well_formed(text).split())
        if not action:
            raise UnparsableAction("the answer is empty.")
        return action

    def check(self, player: int, action: Action) -> None:
        self._tried(action)

    def _tried(self, action: Action) -> tuple[Any, tuple[Any, Any]]:
        """Return the environment after an action, and the chance it leaves; the game itself is as before."""
        if not isinstance(action, str) or not action or action != " ".join(action.split()):
            raise IllegalAction("an action is one line of text; pass what `parse` returns.")
        env = copy.deepcopy(self.env)
        env.state.set_invalid_move = _refuse
        with self._its_chance(keep=False) as after:
            try:
                with contextlib.redirect_stdout(io.StringIO()):
                    env.step(action)
            except _Invalid as refused:
                raise IllegalAction(shorten([str(refused)], 300)) from None
            except Exception as error:  # whatever is wrong in there, it is this action that cannot be played
                what = f"{type(error).__name__}: {error}"
                raise IllegalAction(f"the environment cannot carry it out ({shorten([what], 120)}).") from None
        if not env.state.done and not 0 <= int(env.state.current_player_id) < self._players:
            raise IllegalAction("the environment cannot carry it out: nobody would be to move.")
        return env, after[0]

    def _apply(self, player: int, action: Action) -> None:
        self.env, self.chance = self._tried(action)
        self.played = (*self.played, (player, str(action)))
        self._take_observations()

    def sample_action(self, player: int, dice: Dice) -> Action:
        """Return a random action that is accepted, of the candidates; plain words, legal or not, if none is."""
        groups = self._candidates(player)
        for group in groups:
            dice.shuffle(group)
        accepted = self._accepted(player, [text for group in groups for text in group], 1)
        return accepted[0] if accepted else "I pass."

    def _candidates(self, player: int) -> list[list[str]]:
        """Return what may be an action, the likelier first: what stands in brackets in the player's texts, as it is and
        filled in; then numbers and a few words."""
        texts = [self.prompts[player], self.boards[player]]
        texts += [str(event.content) for event in self.log[-20:] if event.visible_to(player)]
        shown = list(dict.fromkeys(_BRACKETS.findall("\n".join(texts))))
        filled = [_BLANK.sub(str(number), text) for text in shown for number in range(1, 7) if _BLANK.search(text)]
        numbers = [f"[{number}]" for number in range(16)] + [f"[{row} {n}]" for row in range(3) for n in range(3)]
        words = ["[accept]", "[deny]", "[check]", "[call]", "[fold]", "[pass]", "[cooperate]", "[defect]", "I agree."]
        likely = [text for text in shown if not _BLANK.search(text)] + filled[:24]
        return [likely[:24], [text for text in numbers + words if text not in likely]]

    # ------------------------------------------------------------------ how it ends

    def returns(self) -> tuple[float, ...]:
        rewards = self.env.state.rewards or {}
        given = [float(rewards.get(player) or 0.0) for player in range(self._players)]
        return tuple(min(1.0, max(-1.0, value)) for value in given)

    def result(self) -> dict[str, Any]:
        """Return TextArena's rewards and reason."""
        state = self.env.state
        info = state.game_info if isinstance(state.game_info, dict) else {}
        reasons = [info[player].get("reason") for player in range(self._players) if isinstance(info.get(player), dict)]
        return {
            "done": bool(state.done),
            "rewards": [float((state.rewards or {}).get(player) or 0.0) for player in range(self._players)],
            "reason": next((str(reason) for reason in reasons if reason), ""),
            "turns": len(self.played),
        }

    def state(self) -> dict[str, Any]:
        return {"played": [[player, text] for player, text in self.played], "boards": list(self.boards)}

    def _clone_state_into(self, twin: Self) -> None:
        """The environment is never changed in place (`_tried`), so clones share it."""
        twin.env = copy.copy(self.env)

    @contextlib.contextmanager
    def _its_chance(self, *, keep: bool = True) -> Iterator[list[Any]]:
        """Put the game's chance in place of the process's, and take it away again; yield where it goes."""
        outside = (random.getstate(), np.random.get_state())
        after: list[Any] = [self.chance]
        install_chance(self.chance)
        try:
            yield after
            after[0] = (random.getstate(), np.random.get_state())
            if keep:
                self.chance = after[0]
        finally:
            install_chance(outside)


def _refuse(reason: object = None, *others: object, **more: object) -> None:
    raise _Invalid(str(reason or "it is not valid."))


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"


@cache
def game_class(name: str) -> type[TextArenaGame]:
    """Return the class of ``textarena/NAME``.

    Raises:
        UnknownName: TextArena has no such environment.
        OptionError: TextArena is not installed.
    """
    if textarena is None:
        cure = install_command("textarena")
        raise OptionError(f"{PREFIX}{name} needs TextArena, which is not installed; run {cure}.")
    known = environments()
    if name not in known:
        names = [PREFIX + one for one in known]
        raise UnknownName("game", PREFIX + name, names, "`palaestra envs --all` lists them all.")
    attributes = {
        "id": PREFIX + name,
        "summary": f"TextArena's {name}",
        "raw": name + RAW,
        "__module__": __name__,
    }
    return type(f"TextArena_{re.sub(r'[^A-Za-z0-9]', '_', name)}", (TextArenaGame,), attributes)


def resolve(id: str) -> GameEntry:
    """Return the registry's entry of ``textarena/NAME``."""
    made = game_class(id.removeprefix(PREFIX))
    return GameEntry(id, made, version=made.version)


def members() -> list[str]:
    """Return the names of all environments that can be made here."""
    refused = unserved()
    return [PREFIX + name for name in environments() if PREFIX + name not in refused]
