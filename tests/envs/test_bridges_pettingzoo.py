"""PettingZoo: the library's own tests over every game, re-asks in both interfaces, and a match underneath."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
from pettingzoo.test import api_test, parallel_api_test, parallel_seed_test, seed_test

from palaestra.envs import Scripted, make, play
from palaestra.envs.bridges.pettingzoo import aec_env, parallel_env
from palaestra.envs.errors import OptionError, UnknownName
from tests.envs.bridge_kit import GAMES, MatchingPennies, Tally, tally

__all__ = ["tally"]

PETTINGZOO_PREFERS_NUMBERS = {
    "Observation space for each agent probably should be gymnasium.spaces.box or gymnasium.spaces.discrete",
    "Action space for each agent probably should be gymnasium.spaces.box or gymnasium.spaces.discrete",
    "Observation is not a NumPy array",
}
"""What ``api_test`` warns about in any environment of texts; nothing else may be said."""


@pytest.mark.parametrize("game", GAMES)
def test_aec_passes_pettingzoo_s_tests_and_plays_to_natural_ends(game: str, tally: Tally) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        api_test(aec_env(game))
    assert {str(warning.message) for warning in caught} <= PETTINGZOO_PREFERS_NUMBERS
    seed_test(lambda: aec_env(game))
    tally.assert_played_to_natural_ends(3)  # one in api_test, and two environments in seed_test


@pytest.mark.parametrize("game", GAMES)
def test_parallel_passes_pettingzoo_s_tests_and_plays_to_natural_ends(game: str, tally: Tally) -> None:
    parallel_api_test(parallel_env(game))
    parallel_seed_test(lambda: parallel_env(game))
    tally.assert_played_to_natural_ends(2)  # parallel_api_test plays twice


def test_every_registered_game_was_examined() -> None:
    assert len(GAMES) >= 4
    assert {"tic_tac_toe", "kuhn_poker", "chess", MatchingPennies.id} <= set(GAMES)


OVER_AFTER_A_MOVE = ("chess_puzzle", "recovery", "review", "terminal_surprise")


def run_aec(game: str, seed: int, spoiled: dict[int, str]) -> tuple[Any, dict[str, list[str]], dict[str, float]]:
    """Play an episode; return it, what each agent said, and the rewards agents were given."""
    env = aec_env(game)
    env.reset(seed=seed)
    for number, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(seed + number)
    said: dict[str, list[str]] = {agent: [] for agent in env.possible_agents}
    rewards = dict.fromkeys(env.possible_agents, 0.0)
    for count, agent in enumerate(env.agent_iter()):
        observation, reward, terminated, truncated, _ = env.last()
        rewards[agent] += reward
        if terminated or truncated:
            env.step(None)
            continue
        assert observation in env.observation_space(agent)
        text = spoiled.get(count, env.action_space(agent).sample())
        said[agent].append(text)
        env.step(text)
    return env.unwrapped.episode, said, rewards  # type: ignore[attr-defined]


@pytest.mark.parametrize("game", [game for game in GAMES if game not in OVER_AFTER_A_MOVE])
def test_an_aec_episode_is_the_match_of_the_same_replies(game: str) -> None:
    episode, said, rewards = run_aec(game, 4, {1: "<think>never", 2: "<think>closed"})
    assert play(make(game, seed=4), [Scripted(*texts) for texts in said.values()], record=False).turns == episode.turns
    assert tuple(rewards.values()) == episode.returns
    assert episode.count("unparsable") == 2


def test_an_agent_is_asked_again_with_the_reason_until_it_forfeits() -> None:
    env = aec_env("tic_tac_toe")
    env.reset(seed=0)
    env.step("5")
    for attempt in range(3):
        assert env.agent_selection == "player_2"
        observation, _, terminated, _, info = env.last()
        assert info["attempt"] == attempt
        assert ("square 5 is taken" in observation) == (attempt > 0)
        assert not terminated
        env.step("5")
    assert env.terminations == {"player_1": True, "player_2": True}
    assert env.rewards == {"player_1": 1.0, "player_2": -1.0}


def test_a_round_of_a_simultaneous_game_is_played_when_all_have_replied() -> None:
    env = aec_env(MatchingPennies.id)
    env.reset(seed=0)
    before = env.observe("player_2")
    env.step("heads")
    assert env.agent_selection == "player_2"
    assert env.observe("player_2") == before
    env.step("tails")
    assert "heads tails" in env.observe("player_1")


def test_parallel_asks_only_the_agents_to_move_and_ignores_the_others() -> None:
    env = parallel_env(MatchingPennies.id)
    env.reset(seed=0)
    *_, infos = env.step({"player_1": "heads", "player_2": "edge"})
    assert {agent: info["to_move"] for agent, info in infos.items()} == {"player_1": False, "player_2": True}
    assert env.action_space("player_1").sample() == ""
    observations, *_ = env.step({"player_1": "tails", "player_2": "heads"})
    assert "heads heads" in observations["player_1"]
    with pytest.raises(KeyError, match="no action for player_2"):
        env.step({"player_1": "heads"})


def test_a_turn_limit_truncates_everybody() -> None:
    env = parallel_env("tic_tac_toe", rules={"max_turns": 1})
    env.reset(seed=0)
    _, rewards, terminations, truncations, _ = env.step({"player_1": "5", "player_2": ""})
    assert rewards == {"player_1": 0.0, "player_2": 0.0}
    assert not any(terminations.values())
    assert all(truncations.values())
    assert env.agents == []


def test_nothing_private_is_observed_by_another_agent() -> None:
    env = parallel_env("kuhn_poker", view="terse")
    for seed in range(10):
        observations, _ = env.reset(seed=seed)
        cards = make("kuhn_poker", seed=seed, view="terse").cards  # type: ignore[attr-defined]
        assert observations == {"player_1": "JQK"[cards[0]], "player_2": "JQK"[cards[1]]}


def test_rendering_shows_every_seat_s_view_to_the_spectator() -> None:
    env = aec_env("kuhn_poker", render_mode="ansi", view="terse")
    env.reset(seed=0)
    game = make("kuhn_poker", seed=0, view="terse")
    assert env.render() == f"player_1:\n{game.board(0)}\nplayer_2:\n{game.board(1)}"


def test_wrong_arguments_and_calls_are_named() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'kuhn_poker'"):
        aec_env("kuhn_pokr")
    with pytest.raises(UnknownName, match="Did you mean 'view'"):
        parallel_env("kuhn_poker", vew="terse")
    with pytest.raises(OptionError, match="expected 'ansi' or None"):
        aec_env("kuhn_poker", render_mode="human")
    env = aec_env("kuhn_poker")
    env.reset(seed=0)
    with pytest.raises(TypeError, match="is no text"):
        env.step(None)


def test_what_is_new_is_shown_once_and_to_who_is_asked() -> None:
    env = parallel_env("tic_tac_toe", observation="new")
    observations, _ = env.reset(seed=3)
    first, second = env.agents
    assert observations[first]
    assert observations[second] == ""
    seen = ""
    for number in range(4):
        mover = env.agents[number % 2]
        observations, *_ = env.step({agent: str(number + 1) if agent == mover else "" for agent in env.agents})
        seen += observations[second]
    assert seen.count("Tic-tac-toe") == 1
