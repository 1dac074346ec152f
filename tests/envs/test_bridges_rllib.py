"""RLlib: its own check of multi-agent environments, and episodes that its episode class accepts."""

from __future__ import annotations

import pytest

from palaestra.envs import Scripted, make, play
from palaestra.envs.errors import OptionError
from tests.envs.bridge_kit import GAMES, MatchingPennies, Tally, tally

__all__ = ["tally"]

rllib = pytest.importorskip("ray.rllib", reason="needs the `train` extra")

from ray.rllib.env.multi_agent_episode import MultiAgentEpisode  # noqa: E402
from ray.rllib.utils.pre_checks.env import check_multiagent_environments  # noqa: E402

from palaestra.envs.bridges.rllib import PalaestraMultiAgentEnv  # noqa: E402


def record(env: PalaestraMultiAgentEnv, seed: int, said: dict[str, list[str]], garbage: str = "") -> MultiAgentEpisode:
    """Play an episode with sampled actions (or only garbage) into RLlib's own record of it."""
    episode = MultiAgentEpisode(observation_space=env.observation_spaces, action_space=env.action_spaces)
    observations, infos = env.reset(seed=seed)
    for number, agent in enumerate(env.possible_agents):
        env.get_action_space(agent).seed(seed + number)
    episode.add_env_reset(observations=observations, infos=infos)
    while not episode.is_done:
        actions = {agent: garbage or env.get_action_space(agent).sample() for agent in observations}
        for agent, action in actions.items():
            said[agent].append(action)
        observations, rewards, terminateds, truncateds, infos = env.step(actions)
        episode.add_env_step(observations, actions, rewards, infos, terminateds=terminateds, truncateds=truncateds)
    return episode


@pytest.mark.parametrize("game", GAMES)
def test_every_game_passes_rllib_s_check_and_plays_to_natural_ends(game: str, tally: Tally) -> None:
    env = PalaestraMultiAgentEnv({"game": game})
    check_multiagent_environments(env)
    for seed in (1, 2):
        said: dict[str, list[str]] = {agent: [] for agent in env.possible_agents}
        episode = record(env, seed, said)
        match = play(make(game, seed=seed), [Scripted(*texts) for texts in said.values()], record=False)
        assert env.episode is not None
        assert env.episode.turns == match.turns
        assert match.returns is not None
        # RLlib keeps no record of an agent that never moved.
        moved = {agent: value for agent, value in zip(env.possible_agents, match.returns, strict=True) if said[agent]}
        assert {agent: one.get_return() for agent, one in episode.agent_episodes.items()} == moved
    tally.assert_played_to_natural_ends(2)


def test_every_registered_game_was_examined() -> None:
    assert len(GAMES) >= 4
    assert MatchingPennies.id in GAMES


@pytest.mark.parametrize("game", ["tic_tac_toe", MatchingPennies.id])
def test_a_forfeit_ends_the_episode_for_all_also_for_who_never_moved(game: str) -> None:
    env = PalaestraMultiAgentEnv({"game": game})
    said: dict[str, list[str]] = {agent: [] for agent in env.possible_agents}
    episode = record(env, 1, said, garbage="…")
    assert len(said["player_1"]) == 3
    facts = make(game).facts  # zero-sum: of two who fail at once nobody wins
    assert episode.agent_episodes["player_1"].get_return() == (0 if facts.simultaneous else facts.min_return)
    assert env.episode is not None
    assert env.episode.outcome == "forfeit"


def test_a_turn_limit_truncates() -> None:
    env = PalaestraMultiAgentEnv({"game": "tic_tac_toe", "rules": {"max_turns": 2}})
    said: dict[str, list[str]] = {agent: [] for agent in env.possible_agents}
    episode = record(env, 1, said)
    assert episode.is_truncated
    assert not episode.is_terminated


def test_wrong_configs_and_actions_are_named() -> None:
    with pytest.raises(OptionError, match="the env_config has no game"):
        PalaestraMultiAgentEnv({})
    env = PalaestraMultiAgentEnv({"game": "tic_tac_toe"})
    env.reset(seed=0)
    with pytest.raises(ValueError, match=r"actions of \['player_2'\] were given, but those of \['player_1'\]"):
        env.step({"player_2": "5"})
