"""Any game registered in OpenSpiel: ``make("openspiel/leduc_poker")``, its parameters as options.

One class a game is made on demand (`game_class`), with the parameters that OpenSpiel declares as typed options, so an
unknown one names the nearest. OpenSpiel decides what is legal and what it is worth; this module decides how that
becomes a `Game`:

* *Chance* is resolved inside, with ``self.dice``. Games that sample by themselves get a seed from the dice and an
  OpenSpiel game of their own; their copies are made by playing the history again, so copies never share a generator.
* *Simultaneous nodes*: all players with a choice are to move; choices are kept until the last is in.
* *Text*: the observation where information is perfect, otherwise the information state, which holds no more than a
  player may know. What is longer than `BOARD_CHARS` is cut in the middle and says so; an information state that is too
  long (gin rummy's has 100,000 characters) comes after the observation, where there is one.
* *Actions* are OpenSpiel's names, made unique by their number where two are alike. A name that was legal at one of
  this player's last choices is *illegal*, other text *unparsable*.
* *Events*: with perfect information moves and chance are told to all; otherwise the information state alone speaks.

`unserved` lists the games that cannot be played, and why; how games are loaded stands in `open_spiel_load`.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, ClassVar, Literal, Self, cast

import pyspiel

from palaestra.envs.errors import CannotRedeal, IllegalAction, PalaestraError, UnknownName
from palaestra.envs.game import Game, GameFacts
from palaestra.envs.games.open_spiel_load import (
    SPIEL_ERRORS,
    UNREPEATABLE,
    UnservedGame,
    facts,
    given,
    load,
    names_a_file,
    option_fields,
    option_name,
    refused,
    types,
    unfit,
)
from palaestra.envs.games.open_spiel_redeal import Deal, deals_of, redealt
from palaestra.envs.grammar import shorten
from palaestra.envs.parts import Action
from palaestra.envs.registry import GameEntry
from palaestra.envs.seeding import Dice

PREFIX = "openspiel/"
BOARD_CHARS = 4000
LEGAL_CHARS = 1500
PROMPT_CHARS = 500
REMEMBERED = 16
"""Earlier choices of a player whose names still count as actions, though illegal ones."""

View = Literal["words", "terse"]

_ANSI = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class OpenSpielGame(Game):
    """A game of OpenSpiel; `game_class` makes the subclass for one of them."""

    kind: ClassVar[Any]
    """The `pyspiel.GameType` as registered; a game within a game may make it another."""

    spiel: Any
    """The `pyspiel.Game`."""
    chosen: dict[int, int]
    """Action numbers of the players who have chosen at a simultaneous node."""

    def setup(self) -> None:
        seeded = "rng_seed" in self.kind.parameter_specification
        if (reason := UNREPEATABLE.get(self.kind.short_name)) is not None:
            raise UnservedGame(f"{self.id} cannot be served: {reason}.")
        self._given = given(self.kind, self.options)
        if seeded:
            self._given = (*self._given, ("rng_seed", self.dice.below(1 << 31)))
        self.spiel = load(self.kind, self._given, self.id)
        self._type = self.spiel.get_type()
        self._sampled = self._type.chance_mode == pyspiel.GameType.ChanceMode.SAMPLED_STOCHASTIC
        if (reason := unfit(self._type, seeded)) is not None:
            raise UnservedGame(f"{self.id} cannot be served: {reason}.")
        self._facts = facts(self.spiel, PROMPT_CHARS + BOARD_CHARS + LEGAL_CHARS)
        self._perfect = self._facts.information == "perfect"
        self._simultaneous = self._facts.simultaneous
        self._state = self._fresh_state()
        self._deals: dict[object, list[Deal]] = {}  # of the position that was dealt anew last; clones share it
        self.chosen = {}
        try:
            self._settle()
        except SPIEL_ERRORS as error:  # some options are found to make no sense at the first deal
            raise refused(self.id, error) from None

    @property
    def facts(self) -> GameFacts:
        return self._facts

    def players_to_move(self) -> tuple[int, ...]:
        if not self.chosen:
            return self._movers
        return tuple(player for player in self._movers if player not in self.chosen)

    def prompt(self, player: int) -> str:
        if self.options.view == "terse":
            return ""
        facts = self._facts
        many = f"You are player {player + 1} of {facts.players}"
        if facts.players > 1:
            many += f" (player {player} where the game counts from 0)"
        prompt = (
            f"{self._type.long_name} ({self._type.short_name}). {many}. Your result lies between "
            f"{facts.min_return:g} and {facts.max_return:g}; more is better. Answer with one of the legal actions, "
            "exactly as it is listed; the last one in your answer counts."
        )
        return _cut(prompt, PROMPT_CHARS)

    def board(self, player: int) -> str:
        text = self._shown(player)
        if self.options.view == "terse" or player not in self._movers:
            return text
        names = list(self._legal(player))
        listed, length = [], 0
        for name in names:
            length += len(name) + 2
            if length > LEGAL_CHARS - 60:
                break
            listed.append(name)
        more = f", and {len(names) - len(listed)} more" if len(listed) < len(names) else ""
        return f"{text}\nLegal actions: {', '.join(listed)}{more}"

    def legal_actions(self, player: int) -> Sequence[str]:
        return list(self._legal(player))

    def revealed(self, player: int) -> str:
        """Return all that happened, chance and hidden choices included, where players do not see it; cut like a
        board."""
        if self._perfect:
            return ""
        told = []
        for _, state, chosen in self._past():
            if state.is_chance_node():
                told.append(f"chance: {_name(state, pyspiel.PlayerId.CHANCE, chosen[0])}")
            else:
                movers = range(len(chosen)) if state.is_simultaneous_node() else [state.current_player()]
                told += [
                    f"player {mover + 1}: {_name(state, mover, number)}"
                    for mover, number in zip(movers, chosen, strict=True)
                    if number in state.legal_actions(mover)
                ]
        return _cut(f"What happened: {'; '.join(told)}.", BOARD_CHARS)

    def action_words(self, player: int) -> Sequence[str]:
        """Return the legal actions, and the names that were legal at this player's last `REMEMBERED` choices."""
        words = dict.fromkeys(self._legal(player))
        own = [index for index, past in enumerate(self._state.full_history()) if past.player == player]
        wanted = set(own[-REMEMBERED:])
        for index, state, chosen in self._past() if wanted else ():
            if index + (player if len(chosen) > 1 else 0) in wanted:
                words.update(dict.fromkeys(_names(state, player)))
        return list(words)

    def parse(self, player: int, text: str) -> Action:
        if text in self._legal(player):
            return text
        return super().parse(player, text)

    def check(self, player: int, action: Action) -> None:
        if action not in self._legal(player):
            raise IllegalAction(f"{action!r} is not legal now; legal: {shorten(self._legal(player))}.")

    def _apply(self, player: int, action: Action) -> None:
        number = self._legal(player)[str(action)]
        if not self._joint:
            self._tell(player, str(action))
            self._state.apply_action(number)
        else:
            self.chosen[player] = number
            if len(self.chosen) < len(self._movers):
                return
            for mover in self._movers:
                self._tell(mover, self.text_action(mover, self.chosen[mover]))
            players = range(self._facts.players)
            self._state.apply_actions([self.chosen.get(mover, 0) for mover in players])
            self.chosen = {}
        self._settle()

    def returns(self) -> tuple[float, ...]:
        low, high = self._facts.min_return, self._facts.max_return
        # Sums of small rewards may pass a bound in the last bits.
        return tuple(min(max(float(value), low), high) for value in self._state.returns())

    def state(self) -> dict[str, Any]:
        """Return all actions so far by number, chance included, and OpenSpiel's own text of the position."""
        chosen = {str(player): number for player, number in sorted(self.chosen.items())}
        return {"history": self._state.history(), "chosen": chosen, "position": str(self._state)}

    def _clone_state_into(self, twin: Self) -> None:
        if self._sampled:
            twin.spiel = load(self.kind, self._given, self.id)
            twin._state = twin._fresh_state()
            for _ in _play_again(twin._state, self._state.history(), self._simultaneous):
                pass
        else:
            twin._state = self._state.clone()
        twin.chosen = dict(self.chosen)

    def _redeal(self, player: int, dice: Dice) -> None:
        """Draw another deal (`palaestra.envs.games.open_spiel_redeal`); what others just chose is chosen again."""
        self.chosen = {mover: number for mover, number in self.chosen.items() if mover == player}
        if self._perfect:
            return
        if self._sampled:
            raise CannotRedeal(f"{self.id} draws chance by itself, so it cannot be dealt anew; use the deal played.")
        steps = [tuple(chosen) for _, _, chosen in self._past()]
        key = (player, *steps)
        if key not in self._deals:
            self._deals.clear()
            self._deals[key] = deals_of(self._fresh_state, steps, player, self._seen_by(player), self.id)
        self._state = redealt(self._fresh_state, self._deals[key], dice)
        self._settle()

    def _deal_as(self, world: Self) -> None:
        """Play the beginning of the world's history that is as long as this one: it has the same steps."""
        if self._perfect:
            return
        length = len(self._state.history())
        self._state = self._fresh_state()
        for _ in _play_again(self._state, world._state.history()[:length], self._simultaneous):
            pass
        self._settle()

    def _seen_by(self, player: int) -> Callable[[Any], str]:
        """Return what tells a player two states apart."""
        if self._type.provides_information_state_string:
            return lambda state: cast(str, state.information_state_string(player))
        return lambda state: cast(str, state.observation_string(player))

    # ------------------------------------------------------------------ OpenSpiel's side of it

    def spiel_state(self) -> Any:
        """Return a copy of the `pyspiel.State`, without the choices not yet disclosed."""
        return self.clone()._state

    def spiel_action(self, player: int, text: str) -> int:
        """Return OpenSpiel's number of a legal action.

        Raises:
            IllegalAction: It is none.
        """
        self.check(player, text)
        return self._legal(player)[text]

    def text_action(self, player: int, number: int) -> str:
        """Return the name of the legal action with OpenSpiel's ``number``; inverts `spiel_action`."""
        for name, known in self._legal(player).items():
            if known == number:
                return name
        raise IllegalAction(f"action number {number} is not legal for player {player + 1} of {self.id} now.")

    def information_state(self, player: int) -> str:
        """Return all that ``player`` may know: OpenSpiel's information state, or all observations and own actions.

        OpenSpiel's does not always say whether the player is to move, which the player knows; it is said where not.
        """
        waiting = "" if player in self._movers else "(not to move)\n"
        if self._type.provides_information_state_string:
            return waiting + cast(str, self._state.information_state_string(player))
        known = [waiting]
        for _, state, chosen in self._past():
            if not state.is_chance_node():
                own = chosen[player] if len(chosen) > 1 else chosen[0] if state.current_player() == player else ""
                known.append(f"{state.observation_string(player)}\n{own}")
        return "\n".join([*known, self._state.observation_string(player)])

    def _fresh_state(self) -> Any:
        try:
            return self.spiel.new_initial_state()
        except SPIEL_ERRORS as error:
            raise refused(self.id, error) from None

    def _settle(self) -> None:
        """Resolve chance until a player is to move or the game is over."""
        state = self._state
        while state.is_chance_node():
            numbers, weights = zip(*state.chance_outcomes(), strict=True)
            number = numbers[self.dice.weighted(weights) if len(numbers) > 1 else 0]
            if self._perfect:
                self.emit("move", f"Chance: {_name(state, pyspiel.PlayerId.CHANCE, number)}")
            state.apply_action(number)
        self._joint = self._simultaneous and state.is_simultaneous_node()
        if state.is_terminal():
            self._movers: tuple[int, ...] = ()
        elif self._joint:
            self._movers = tuple(player for player in range(self._facts.players) if state.legal_actions(player))
        else:
            self._movers = (state.current_player(),)
        self._names: dict[int, dict[str, int]] = {}

    def _legal(self, player: int) -> dict[str, int]:
        """Return the numbers of the legal actions by name."""
        names = self._names.get(player)
        if names is None:
            names = self._names[player] = _names(self._state, player) if player in self._movers else {}
        return names

    def _tell(self, player: int, name: str) -> None:
        if self._perfect:
            self.emit("move", f"Player {player + 1}: {name}", source=player)

    def _shown(self, player: int) -> str:
        state = self._state
        observed = self._type.provides_observation_string
        known = self._type.provides_information_state_string
        if self._perfect:
            text = state.observation_string(player) if observed else str(state)
            return _cut(_plain(text), BOARD_CHARS)
        text = _plain(state.information_state_string(player) if known else state.observation_string(player))
        if known and observed and len(text) > BOARD_CHARS:
            seen = _cut(_plain(state.observation_string(player)), BOARD_CHARS // 2)
            text = f"{seen}\n{_cut(text, BOARD_CHARS - len(seen) - 1)}"
        return _cut(text, BOARD_CHARS)

    def _past(self) -> Iterator[tuple[int, Any, list[int]]]:
        """Play the game again, yielding before each step: how many actions before it, the state, what is chosen there.

        It is one state that moves on, so it must be looked at before the next step is asked for.
        """
        spiel = load(self.kind, self._given, self.id) if self._sampled else self.spiel
        return _play_again(spiel.new_initial_state(), self._state.history(), self._simultaneous)


def _play_again(state: Any, history: list[int], simultaneous: bool) -> Iterator[tuple[int, Any, list[int]]]:
    """Apply a history; see `OpenSpielGame._past`. A simultaneous choice stands in it as one action a player."""
    index = 0
    while index < len(history):
        if simultaneous and state.is_simultaneous_node():
            joint = history[index : index + state.num_players()]
            yield index, state, joint
            state.apply_actions(joint)
        else:
            joint = history[index : index + 1]
            yield index, state, joint
            state.apply_action(joint[0])
        index += len(joint)


@cache
def game_class(spiel_name: str) -> type[OpenSpielGame]:
    """Return the class of ``openspiel/SPIEL_NAME``.

    Raises:
        UnknownName: OpenSpiel has no such game; the nearest is named.
    """
    known = types()
    if spiel_name not in known:
        names = [PREFIX + name for name in known]
        raise UnknownName("game", PREFIX + spiel_name, names, "`palaestra envs` lists them all.")
    kind = known[spiel_name]
    fields = [*option_fields(kind), ("view", View, "words")]
    attributes = {
        "id": PREFIX + spiel_name,
        "summary": kind.long_name,
        "kind": kind,
        "Options": dataclasses.make_dataclass("OpenSpielOptions", fields, frozen=True),
        "__module__": __name__,
    }
    return type(f"OpenSpiel_{spiel_name}", (OpenSpielGame,), attributes)


def resolve(id: str) -> GameEntry:
    """Return the registry's entry of ``openspiel/NAME``."""
    made = game_class(id.removeprefix(PREFIX))
    return GameEntry(id, made, version=made.version)


def members() -> list[str]:
    """Return the names of all games that can be made without options and played."""
    refused = unserved()
    return [PREFIX + name for name in types() if PREFIX + name not in refused]


def unserved() -> dict[str, str]:
    """Return the registered games that cannot be made without options, or not at all, each with the reason.

    Every game is really made, and its opening shown to all players.
    """
    reasons = ((name, why_not(name)) for name in types())
    return {PREFIX + name: reason for name, reason in reasons if reason is not None}


@cache
def why_not(spiel_name: str) -> str | None:
    """Return why a game cannot be played with its default options; None if it can."""
    kind = types()[spiel_name]
    parameters = kind.parameter_specification
    if parameters and all(map(names_a_file, parameters)):
        return "its rules stand in a file, but a replay must hold all it needs"
    if spiel_name in UNREPEATABLE:
        return UNREPEATABLE[spiel_name]
    if not kind.default_loadable:
        wanted = ", ".join(map(option_name, parameters))
        return f"OpenSpiel has no complete defaults for its options ({wanted}); it is served when they are given"
    try:
        game = game_class(spiel_name)()
        for player in range(game.facts.players):
            game.observation(player)
        for player in game.players_to_move():
            game.legal_actions(player)
    except UnservedGame as error:
        return str(error).partition(": ")[2].rstrip(".")
    except (pyspiel.SpielError, PalaestraError) as error:
        return _one_line(str(error))
    return None


def _names(state: Any, player: int) -> dict[str, int]:
    """Return the numbers of the legal actions by name; names that two share get their number in parentheses."""
    numbers = state.legal_actions(player)
    names = {_name(state, player, number): number for number in numbers}
    if len(names) == len(numbers) and "" not in names:
        return names
    spelled = [_name(state, player, number) for number in numbers]
    return {
        name if name and spelled.count(name) == 1 else f"{name} ({number})".strip(): number
        for name, number in zip(spelled, numbers, strict=True)
    }


def _name(state: Any, player: int, number: int) -> str:
    return _tidy(state.action_to_string(player, number))


@lru_cache(maxsize=1 << 14)
def _tidy(text: str) -> str:
    """Return a name without colours, on one line; kept, because games say the same few names again and again."""
    return _one_line(_plain(text))


def _plain(text: str) -> str:
    """Return text without colours."""
    return _ANSI.sub("", text) if "\x1b" in text else text


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _cut(text: str, limit: int) -> str:
    """Return text of at most ``limit`` characters: what is too long loses its middle, and says how much."""
    if len(text) <= limit:
        return text
    half = (limit - 50) // 2
    return f"{text[:half]}\n[… {len(text) - 2 * half} characters left out …]\n{text[-half:]}"


__all__ = ["OpenSpielGame", "UnservedGame", "game_class", "members", "resolve", "unserved", "why_not"]
