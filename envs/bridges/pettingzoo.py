"""PettingZoo: every seat of a game is an agent, one at a time (AEC) or all at once (parallel).

    env = aec_env("kuhn_poker")
    env.reset(seed=7)
    for agent in env.agent_iter():
        observation, reward, terminated, truncated, info = env.last()
        env.step(None if terminated or truncated else env.action_space(agent).sample())

Agents are named ``player_1``, ``player_2``, ...; observations and actions are texts. Rewards are the game's returns, at
the end; a turn limit truncates with rewards of 0. A failed reply follows the match's rules: the same agent is asked
again, told why in its observation, until it forfeits.

In a simultaneous game the AEC environment collects the replies of a round before any is played. The parallel
environment serves every game: all live agents observe at each step, ``infos[agent]["to_move"]`` says whose reply
counts, and the others' actions are ignored (``sample()`` gives them ""). It is written directly on the match, because
PettingZoo's ``aec_to_parallel`` cannot follow an agent that is asked twice; hence ``is_parallelizable`` is false.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from gymnasium.utils import seeding
from pettingzoo import AECEnv, ParallelEnv
from pettingzoo.utils.wrappers import OrderEnforcingWrapper

from palaestra.envs.bridges.ids import gymnasium_id
from palaestra.envs.bridges.spaces import TextSpace
from palaestra.envs.bridges.table import Table, next_seed
from palaestra.envs.episode import Episode
from palaestra.envs.errors import OptionError

_TABLE_OPTIONS = ("version", "observation", "legal_actions", "rules", "max_action_chars")


def aec_env(game: str, *, render_mode: str | None = None, **options: Any) -> AECEnv[str, str, str | None]:
    """Return a game as an agent-environment-cycle environment.

    Args:
        game: Registered name.
        render_mode: ``"ansi"`` or None.
        **options: ``version``, ``observation``, ``legal_actions``, ``rules``, ``max_action_chars`` as
            `palaestra.envs.bridges.table.Table` takes them, and the game's own options.
    """
    env: AECEnv[str, str, str | None] = OrderEnforcingWrapper(MatchAEC(game, render_mode, options))
    return env


def parallel_env(game: str, *, render_mode: str | None = None, **options: Any) -> MatchParallel:
    """Return a game as a parallel environment; arguments as for `aec_env`."""
    return MatchParallel(game, render_mode, options)


class TextObservation(str):
    """A text with the ``dtype`` of its space, which PettingZoo's ``api_test`` compares."""

    __slots__ = ()
    dtype = np.dtype(str)


class _Agents:
    """What both kinds of environment have in common."""

    possible_agents: list[str]
    metadata: dict[str, Any]

    def __init__(self, game: str, render_mode: str | None, options: dict[str, Any]) -> None:
        if render_mode not in (None, "ansi"):
            raise OptionError(f"render_mode is {render_mode!r}, expected 'ansi' or None.")
        own = {name: options[name] for name in _TABLE_OPTIONS if name in options}
        rest = {name: value for name, value in options.items() if name not in own}
        self.table = Table(game, **own, options=rest)
        self.render_mode = render_mode
        self.possible_agents = [f"player_{player + 1}" for player in self.table.players]
        self.agents: list[str] = []
        self.metadata = {
            "name": gymnasium_id(game, self.table.version),
            "render_modes": ["ansi"],
            "render_fps": 1,
            "is_parallelizable": False,
        }
        self._players = {agent: player for player, agent in enumerate(self.possible_agents)}
        self._rng: np.random.Generator | None = None

    @property
    def episode(self) -> Episode | None:
        """Return the episode once it is over."""
        return self.table.episode

    def observation_space(self, agent: str) -> TextSpace:
        """Return the agent's observation space, always the same object."""
        return self.table.observation_spaces[self._players[agent]]

    def action_space(self, agent: str) -> TextSpace:
        """Return the agent's action space, whose samples are legal actions of the running game."""
        return self.table.action_spaces[self._players[agent]]

    def observe(self, agent: str) -> TextObservation:
        """Return what the agent may see now."""
        return TextObservation(self.table.observe(self._players[agent]))

    def render(self) -> str | None:
        """Return the position as text in mode ``"ansi"``: each player's view, once if they are the same."""
        names = dict(zip(self.table.players, self.possible_agents, strict=True))
        return self.table.render(names) if self.render_mode == "ansi" else None

    def close(self) -> None:
        """End the episode."""
        self.table.close()

    def _deal(self, seed: int | None) -> None:
        if seed is not None or self._rng is None:
            self._rng, _ = seeding.np_random(seed)
        self.table.deal(next_seed(self._rng) if seed is None else seed)
        self.agents = self.possible_agents[:]

    def _info(self, agent: str) -> dict[str, Any]:
        return self.table.info(self._players[agent])


class MatchAEC(_Agents, AECEnv[str, str, str | None]):  # type: ignore[misc]
    """Agents move one at a time; see the module docstring."""

    def reset(self, seed: int | None = None, options: dict[str, Any] | None = None) -> None:
        """Start an episode; ``options`` are there for PettingZoo's sake and have no effect."""
        self._deal(seed)
        self.rewards = dict.fromkeys(self.agents, 0.0)
        self._cumulative_rewards = dict.fromkeys(self.agents, 0.0)
        self.terminations = dict.fromkeys(self.agents, False)
        self.truncations = dict.fromkeys(self.agents, False)
        self._replies: dict[int, str] = {}
        self._select()

    def step(self, action: str | None) -> None:
        """Take the selected agent's reply; None once it is terminated or truncated."""
        agent = self.agent_selection
        if self.terminations[agent] or self.truncations[agent]:
            self._was_dead_step(action)
            return
        self._cumulative_rewards[agent] = 0.0
        self._clear_rewards()
        self._replies[self._players[agent]] = action  # type: ignore[assignment]  # None is refused by the table
        if len(self._replies) == len(self.table.to_move):
            replies, self._replies = self._replies, {}
            self.table.reply(replies)
        if self.table.episode is not None:
            for other in self.agents:
                self.rewards[other] = self.table.returns(self._players[other])
                self.terminations[other] = self.table.terminated
                self.truncations[other] = self.table.truncated
        self._accumulate_rewards()
        self._select()

    def _select(self) -> None:
        """Point to the next agent to reply, or to the first one when the episode is over."""
        waiting = [player for player in self.table.to_move if player not in self._replies]
        self.agent_selection = self.possible_agents[waiting[0] if waiting else 0]
        self.infos = {agent: self._info(agent) for agent in self.agents}


class MatchParallel(_Agents, ParallelEnv[str, str, str]):  # type: ignore[misc]
    """All agents step at once; see the module docstring."""

    def reset(
        self, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, str], dict[str, dict[str, Any]]]:
        """Start an episode; ``options`` are there for PettingZoo's sake and have no effect."""
        self._deal(seed)
        return self._observations(), self._infos()

    def step(
        self, actions: dict[str, str]
    ) -> tuple[dict[str, str], dict[str, float], dict[str, bool], dict[str, bool], dict[str, dict[str, Any]]]:
        """Take the replies of the agents to move; other agents' actions are ignored.

        Raises:
            KeyError: An agent to move has no action.
        """
        movers = self.table.to_move
        if missing := [
            self.possible_agents[player] for player in movers if self.possible_agents[player] not in actions
        ]:
            raise KeyError(f"no action for {', '.join(missing)}, who must reply now (infos[agent]['to_move'])")
        self.table.reply({player: actions[self.possible_agents[player]] for player in movers})
        table, agents = self.table, self.agents
        rewards = {agent: table.returns(self._players[agent]) for agent in agents}
        terminations = dict.fromkeys(agents, table.terminated)
        truncations = dict.fromkeys(agents, table.truncated)
        observations, infos = self._observations(), self._infos()
        if table.episode is not None:
            self.agents = []
        return observations, rewards, terminations, truncations, infos

    def _observations(self) -> dict[str, str]:
        return {agent: self.observe(agent) for agent in self.agents}

    def _infos(self) -> dict[str, dict[str, Any]]:
        return {agent: self._info(agent) for agent in self.agents}
