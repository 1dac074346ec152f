"""Gymnasium: one seat of a game as an environment, the opponents inside.

    import gymnasium, palaestra.envs
    env = gymnasium.make("palaestra/TicTacToe-v0", opponent="random")
    observation, info = env.reset(seed=7)
    observation, reward, terminated, truncated, info = env.step("5")

Observation and action are texts (`palaestra.envs.bridges.spaces.TextSpace`); a reply is judged by the match's rules of
conduct like any seat's: a failed one is asked for again, the next observation says why, and patience ends in a forfeit.
The reward is the game's return of this seat, given at the end. ``terminated`` means that the rules or a forfeit ended
the episode, ``truncated`` that a turn limit did; the reward is then 0, because unfinished is not a draw.

Vector environments work: ``gymnasium.make_vec(id, num_envs=8)``, and in processes of their own with
``vectorization_mode="async", vector_kwargs={"shared_memory": False}``.

``reset(seed=s)`` plays exactly the game that ``palaestra.envs.make(id, seed=s)`` makes; resets without a seed draw
theirs from the last one given.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import gymnasium
from gymnasium.error import ResetNeeded

from palaestra.envs.bridges.opponents import Opponent, seats_of
from palaestra.envs.bridges.table import ObservationMode, Table, next_seed
from palaestra.envs.episode import Episode
from palaestra.envs.errors import OptionError, UnknownName
from palaestra.envs.match import MatchRules
from palaestra.envs.seeding import derive


class SeatEnv(gymnasium.Env[str, str]):
    """One seat of a registered game.

    Args:
        game: Registered name; ``gymnasium.make("palaestra/...")`` fills it in.
        version: Refuse any other version of the game.
        opponent: Who sits in the other seats: ``"random"`` or another registered name, a `Seat`, a callable that makes
            one, or a mapping from player to one of these.
        seat: The player to be, from 0, or ``"random"``: drawn anew in each episode by its seed.
        observation: ``"full"`` for self-contained observations, ``"new"`` for what is new since the last one.
        legal_actions: Whether ``info`` lists the legal actions.
        rules: Rules of conduct of the match.
        max_action_chars: Longest reply.
        render_mode: ``"ansi"`` or None.
        **options: The game's own options.

    Raises:
        UnknownName: No such game, option or opponent.
        OptionError: A value out of range.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  gymnasium declares it so

    def __init__(
        self,
        game: str,
        version: int | None = None,
        *,
        opponent: Opponent | Mapping[int, Opponent] = "random",
        seat: int | Literal["random"] = 0,
        observation: ObservationMode = "full",
        legal_actions: bool = False,
        rules: MatchRules | Mapping[str, Any] | None = None,
        max_action_chars: int = 4096,
        render_mode: str | None = None,
        **options: Any,
    ) -> None:
        self.table = Table(
            game,
            version=version,
            observation=observation,
            legal_actions=legal_actions,
            rules=rules,
            max_action_chars=max_action_chars,
            options=options,
        )
        if render_mode not in (None, "ansi"):
            raise OptionError(f"render_mode is {render_mode!r}, expected 'ansi' or None.")
        self.render_mode = render_mode
        self._opponent = opponent
        self._reported = False
        self._choice = self._checked(seat)
        self.seat = 0 if self._choice == "random" else self._choice
        seats_of(opponent, self._others())  # a wrong opponent is named here and not in the first episode
        # One space for whichever seat is taken, because gymnasium expects a space to be the same object throughout.
        self.action_space = self.table.action_spaces[0].bind(lambda dice: self.table.draw(self.seat, dice))
        self.observation_space = self.table.observation_spaces[0]

    @property
    def episode(self) -> Episode | None:
        """Return the episode once it is over."""
        return self.table.episode

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[str, dict[str, Any]]:
        """Start an episode and return what the seat sees at its first turn.

        Args:
            seed: Fixes the game's chance, the opponents and, if it is drawn, the seat.
            options: ``{"seat": ...}`` takes another seat from now on.
        """
        super().reset(seed=seed)
        for name, value in (options or {}).items():
            if name != "seat":
                raise UnknownName("reset option", name, ["seat"], "The game's options are given to gymnasium.make.")
            self._choice = self._checked(value)
        seed = next_seed(self.np_random) if seed is None else seed
        players = len(self.table.players)
        self.seat = derive(seed, "seat") % players if self._choice == "random" else self._choice
        self.table.deal(seed, seats_of(self._opponent, self._others()))
        self._reported = False
        return self.table.observe(self.seat), self.table.info(self.seat)

    def step(self, action: str) -> tuple[str, float, bool, bool, dict[str, Any]]:
        """Reply with a text and return what the seat sees at its next turn.

        Where the opponents ended the episode before this seat's first turn, the first step reports that end.
        """
        table = self.table
        if not table.to_move and table.episode is None and table.begun:
            raise ResetNeeded(f"{table.game_id}: the episode broke off with an error; call reset().")
        if table.to_move or self._reported:
            table.reply({self.seat: action})
        self._reported = table.episode is not None
        observation = table.observe(self.seat)
        info = table.info(self.seat)
        return observation, table.returns(self.seat), table.terminated, table.truncated, info

    def render(self) -> str | None:  # type: ignore[override]
        """Return the position as this seat may know it, in mode ``"ansi"``."""
        return self.table.render({self.seat: ""}) if self.render_mode == "ansi" else None

    def close(self) -> None:
        """End the episode; seats inside are closed."""
        self.table.close()

    def _others(self) -> list[int]:
        return [player for player in self.table.players if player != self.seat]

    def _checked(self, seat: int | Literal["random"]) -> int | Literal["random"]:
        if seat != "random" and seat not in self.table.players:
            last = len(self.table.players) - 1
            raise OptionError(f"seat is {seat!r}, but {self.table.game_id} has seats 0 to {last}, or 'random'.")
        return seat
