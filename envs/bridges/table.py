"""What the bridges share: a game with its rules of conduct, its spaces, and the match being played.

A *table* is set up once (`Table`) and dealt anew for every episode (`Table.deal`). Players are numbered from 0 as
everywhere in Palaestra; a bridge only translates them to the names its ecosystem expects.

Observations are text. In mode ``"full"`` each is self-contained (rules, what happened, position), as code that knows
nothing of contexts expects; in mode ``"new"`` it is what to append to a context that holds everything shown before.
After a failed reply, the next observation says why. Anything longer than the observation space allows is cut in the
middle, and ``info["cut"]`` counts the characters that are missing.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any, Literal, get_args

import numpy as np
from gymnasium.error import ResetNeeded

from palaestra.envs import registry
from palaestra.envs.bridges.spaces import TextSpace
from palaestra.envs.bridges.stepper import Stepper
from palaestra.envs.episode import Episode, Reply
from palaestra.envs.errors import OptionError
from palaestra.envs.match import MatchRules
from palaestra.envs.options import refuse_reserved
from palaestra.envs.parts import well_formed
from palaestra.envs.seat import Seat
from palaestra.envs.seeding import Dice

ObservationMode = Literal["full", "new"]

NEWS_CHARS = 4096
"""Room in an observation beyond the game's own bound, for feedback and for thoughts that rules make visible."""


class Table:
    """A game, how it is played, and the current match.

    Args:
        game: Registered name.
        version: Refuse any other version of the game; None takes what is installed.
        observation: See the module docstring.
        legal_actions: Whether infos list the legal actions.
        rules: `MatchRules`, or their JSON form; by default those of the game's registration.
        max_action_chars: Longest reply; what is longer counts as truncated, like a reply cut by a token limit.
        options: The game's own options.

    Raises:
        UnknownName: No such game or option.
        OptionError: An option out of range, another version, or a game whose actions are not text.
    """

    def __init__(
        self,
        game: str,
        *,
        version: int | None = None,
        observation: ObservationMode = "full",
        legal_actions: bool = False,
        rules: MatchRules | Mapping[str, Any] | None = None,
        max_action_chars: int = 4096,
        options: Mapping[str, Any] | None = None,
    ) -> None:
        if observation not in get_args(ObservationMode):
            raise OptionError(f"observation is {observation!r}, expected 'full' or 'new'.")
        if max_action_chars < 1:
            raise OptionError(f"max_action_chars is {max_action_chars}, expected at least 1.")
        self.game_id = game
        self.options = dict(options or {})
        refuse_reserved(self.options, game)
        opening = registry.make(game, **self.options)
        facts = opening.facts
        if version is not None and opening.version != version:
            raise OptionError(
                f"version {version} of {game} was asked for, but version {opening.version} is installed; "
                f"ask for that one, or install a release with version {version}."
            )
        if "text" not in facts.actions:
            raise OptionError(
                f"game {game!r} takes actions of kind {' or '.join(facts.actions)!r}, but the bridges speak text; "
                "play it with palaestra.envs.Match."
            )
        self.version = opening.version
        self.players = range(facts.players)
        self.mode = observation
        self.legal_actions = legal_actions
        self.rules = _rules(rules, game)
        self._stepper: Stepper | None = None
        self._missing = [0] * facts.players
        mover = opening.players_to_move()[0]
        examples = tuple(opening.legal_actions(mover))
        self.action_spaces = [TextSpace(max_action_chars, examples=examples) for _ in self.players]
        for player, space in enumerate(self.action_spaces):
            space.bind(lambda dice, player=player: self.draw(player, dice))  # type: ignore[misc]
        size = facts.max_observation_chars + NEWS_CHARS
        self.observation_spaces = [TextSpace(size) for _ in self.players]

    def deal(self, seed: int, inside: Mapping[int, Seat] | None = None) -> None:
        """Start the episode that ``seed`` fixes; players with a seat ``inside`` play by themselves."""
        self.close()
        self._stepper = Stepper(registry.make(self.game_id, seed=seed, **self.options), inside or {}, self.rules)

    @property
    def stepper(self) -> Stepper:
        """Return the current match.

        Raises:
            ResetNeeded: There is none yet.
        """
        if self._stepper is None:
            raise ResetNeeded(f"{self.game_id}: no episode has begun; call reset() first.")
        return self._stepper

    @property
    def begun(self) -> bool:
        """Return whether an episode has been dealt."""
        return self._stepper is not None

    @property
    def to_move(self) -> list[int]:
        """Return the outside players that must reply now, in order; empty when the episode is over."""
        return sorted(self._stepper.requests) if self._stepper is not None else []

    @property
    def episode(self) -> Episode | None:
        """Return the episode if it is over."""
        return self._stepper.episode if self._stepper is not None else None

    @property
    def truncated(self) -> bool:
        """Return whether a turn limit cut the episode."""
        return self.episode is not None and self.episode.outcome == "unfinished"

    @property
    def terminated(self) -> bool:
        """Return whether the episode ended by the rules or by a forfeit."""
        return self.episode is not None and not self.truncated

    def reply(self, texts: Mapping[int, str]) -> None:
        """Give the replies of all players to move and play on.

        Raises:
            ResetNeeded: Nobody is to move, because the episode is over.
            TypeError: A reply is no text.
        """
        if not self.stepper.requests:
            raise ResetNeeded(f"{self.game_id}: the episode is over; call reset() first.")
        self.stepper.answer({player: self._reply(player, text) for player, text in texts.items()})

    def _reply(self, player: int, text: str) -> Reply:
        if not isinstance(text, str):
            raise TypeError(f"action {text!r} of player {player + 1} is no text; actions of {self.game_id} are texts.")
        text = well_formed(text)
        limit = self.action_spaces[player].max_length
        return Reply(text[:limit], truncated=len(text) > limit)

    def returns(self, player: int) -> float:
        """Return the player's return at the end of the episode; 0 before, and where a turn limit cut it."""
        episode = self.episode
        return 0.0 if episode is None or episode.returns is None else float(episode.returns[player])

    def observe(self, player: int) -> str:
        """Return the player's observation, within its space."""
        view = self.stepper.view(player)
        if self.mode == "new" and self.episode is None and player not in self.stepper.requests:
            return ""  # what is new is shown once, when the player is asked
        text = view.snapshot() if self.mode == "full" else view.observation()
        limit = self.observation_spaces[player].max_length
        self._missing[player] = 0
        if len(text) > limit:
            mark = "\n[…]\n"
            head = (limit - len(mark)) // 2
            tail = limit - len(mark) - head
            self._missing[player] = len(text) - head - tail
            text = text[:head] + mark + text[-tail:]
        return text

    def info(self, player: int) -> dict[str, Any]:
        """Return a fresh dict about ``player``.

        Always: ``player``, ``role``, ``turn``, ``attempt`` (failed replies of this turn so far), ``to_move``. After its
        first reply: ``status`` and ``reason``, the match's verdict on the last one. On request: ``legal_actions``. At
        the end: ``outcome``, ``returns`` (None if unfinished), ``forfeited_by``, ``result``. Where the player's last
        observation was cut: ``cut``, the number of missing characters.
        """
        stepper = self.stepper
        view = stepper.view(player)
        to_move = player in stepper.requests
        info: dict[str, Any] = {
            "player": player,
            "role": view.role,
            "turn": view.turn,
            "attempt": view.attempt,
            "to_move": to_move,
        }
        if player in stepper.verdicts:
            info["status"], info["reason"] = stepper.verdicts[player]
        if self.legal_actions:
            info["legal_actions"] = view.legal_actions() if to_move else ()
        if cut := self._missing[player]:
            info["cut"] = cut
        if (episode := stepper.episode) is not None:
            info["outcome"] = episode.outcome
            info["returns"] = episode.returns
            info["forfeited_by"] = episode.forfeited_by
            info["result"] = copy.deepcopy(episode.result)
        return info

    def draw(self, player: int, dice: Dice) -> str | None:
        """Return a legal action if ``player`` must reply, "" while others must, None outside an episode."""
        if player in self.to_move:
            return str(self.stepper.match.game.sample_action(player, dice))
        return "" if self.to_move else None

    def render(self, players: Mapping[int, str]) -> str:
        """Return what the given players see of the position, under their names; once if they all see the same."""
        game = self.stepper.match.game
        boards = {name: game.board(player) for player, name in players.items()}
        if len(set(boards.values())) == 1:
            return next(iter(boards.values()))
        return "\n".join(f"{name}:\n{board}" for name, board in boards.items())

    def close(self) -> None:
        """End the current match, if there is one; the table can be dealt again."""
        if self._stepper is not None:
            self._stepper.close()
            self._stepper = None


def next_seed(rng: np.random.Generator) -> int:
    """Return the seed of an episode that was not given one."""
    return int(rng.integers(1 << 31))


def _rules(rules: MatchRules | Mapping[str, Any] | None, game: str) -> MatchRules:
    if isinstance(rules, MatchRules):
        return rules
    if not isinstance(rules, Mapping | None):
        raise OptionError(f"rules are {rules!r}, expected MatchRules or a mapping such as {{'visibility': 'public'}}.")
    return MatchRules.from_json({"visibility": registry.entry(game).visibility, **(rules or {})})
