"""RLlib: every seat of a game is an agent of a `MultiAgentEnv`. The only module of this room that imports ray.

    config.environment(PalaestraMultiAgentEnv, env_config={"game": "kuhn_poker", "view": "terse"})

Agents are ``player_1``, ``player_2``, ...; observations and actions are texts. As RLlib expects, only the agents that
must act next receive an observation, and all of them receive the last one with their return as reward. This is the
bridge for RLlib users with policies of their own; Palaestra's trainers play matches directly.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray.rllib.env.multi_agent_env import MultiAgentEnv

from palaestra.envs.bridges.table import Table, next_seed
from palaestra.envs.episode import Episode
from palaestra.envs.errors import OptionError

_TABLE_OPTIONS = ("version", "observation", "legal_actions", "rules", "max_action_chars")


class PalaestraMultiAgentEnv(MultiAgentEnv):
    """A registered game for RLlib.

    Args:
        config: ``game`` (registered name); optionally ``version``, ``observation``, ``legal_actions``, ``rules``,
            ``max_action_chars`` as `palaestra.envs.bridges.table.Table` takes them; everything else is an option of the
            game.

    Raises:
        OptionError: No game is named, or a value is out of range.
        UnknownName: No such game or option.
    """

    metadata: dict[str, Any] = {"render_modes": ["ansi"], "render_fps": 1}  # noqa: RUF012  gymnasium declares it so
    render_mode = "ansi"

    def __init__(self, config: Mapping[str, Any]) -> None:
        if "game" not in config:
            raise OptionError('the env_config has no game; name one, as in {"game": "kuhn_poker"}.')
        own = {name: config[name] for name in _TABLE_OPTIONS if name in config}
        rest = {name: value for name, value in config.items() if name not in own and name != "game"}
        self.table = Table(config["game"], **own, options=rest)
        self._names = [f"player_{player + 1}" for player in self.table.players]
        self.possible_agents = list(self._names)
        self.agents = list(self._names)
        self.observation_spaces = dict(zip(self.agents, self.table.observation_spaces, strict=True))
        self.action_spaces = dict(zip(self.agents, self.table.action_spaces, strict=True))
        super().__init__()

    @property
    def episode(self) -> Episode | None:
        """Return the episode once it is over."""
        return self.table.episode

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[Any, str], dict[Any, dict[str, Any]]]:
        """Start an episode; ``options`` have no effect."""
        super().reset(seed=seed, options=options)
        self.table.deal(next_seed(self.np_random) if seed is None else seed)
        return self._shown(self.table.to_move)

    def step(
        self, action_dict: dict[Any, str]
    ) -> tuple[dict[Any, str], dict[Any, float], dict[Any, bool], dict[Any, bool], dict[Any, dict[str, Any]]]:
        """Take the reply of every agent that was shown an observation.

        Raises:
            ValueError: Other agents reply than those to move.
        """
        table = self.table
        expected = [self._names[player] for player in table.to_move]
        if sorted(action_dict) != sorted(expected):
            raise ValueError(f"actions of {sorted(action_dict)} were given, but those of {expected} are expected")
        table.reply({self._names.index(agent): action for agent, action in action_dict.items()})
        over = table.episode is not None
        observations, infos = self._shown(list(table.players) if over else table.to_move)
        if over:
            rewards = {agent: table.returns(player) for player, agent in enumerate(self._names)}
        else:
            rewards = dict.fromkeys(expected, 0.0)
        # Nothing per agent: RLlib takes an episode all of whose agents are truncated one by one to be terminated.
        return observations, rewards, {"__all__": table.terminated}, {"__all__": table.truncated}, infos

    def render(self) -> str:
        """Return the position as text: each player's view, once if they are the same."""
        return self.table.render(dict(enumerate(self._names)))

    def close(self) -> None:
        """End the episode."""
        self.table.close()

    def _shown(self, players: list[int]) -> tuple[dict[Any, str], dict[Any, dict[str, Any]]]:
        observations = {self._names[player]: self.table.observe(player) for player in players}
        return observations, {self._names[player]: self.table.info(player) for player in players}
