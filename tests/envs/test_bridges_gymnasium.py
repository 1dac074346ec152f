"""One seat as a gymnasium environment: the library's own checker, the match's rules of conduct, seeds and seats."""

from __future__ import annotations

import copy

import gymnasium
import pytest
from gymnasium.error import ResetNeeded
from gymnasium.utils.env_checker import check_env

from palaestra.envs import MatchRules, RandomSeat, Scripted, make, register_opponent, registry
from palaestra.envs.bridges.gymnasium import SeatEnv
from palaestra.envs.bridges.ids import IN_NUMBERS, gymnasium_id
from palaestra.envs.errors import OptionError, SeatCountError, UnknownName
from tests.envs.bridge_kit import FAMILY_GAMES, GAMES, MatchingPennies, Mute, Slow, Tally, tally

__all__ = ["tally"]

TICTACTOE = "palaestra/TicTacToe-v0"


def env_of(id: str, **options: object) -> SeatEnv:
    env = gymnasium.make(id, **options).unwrapped
    assert isinstance(env, SeatEnv)
    return env


def trajectory(env: SeatEnv, seed: int | None) -> list[object]:
    """Play one episode with sampled actions and return all that was seen."""
    if seed is not None:
        env.action_space.seed(seed)
    seen: list[object] = [env.reset(seed=seed)]
    over = False
    while not over:
        step = env.step(env.action_space.sample())
        over = step[2] or step[3]
        seen.append(step)
    return seen


@pytest.mark.parametrize("game", GAMES)
def test_every_game_passes_the_checker_and_is_played_to_its_natural_end(game: str, tally: Tally) -> None:
    general = game in FAMILY_GAMES or game in IN_NUMBERS
    id, which = ("palaestra/Game-v0", {"game": game}) if general else (gymnasium_id(game, make(game).version), {})
    for seat in (0, make(game).facts.players - 1, "random"):
        env = env_of(id, seat=seat, legal_actions=True, **which)
        check_env(env)
        tally.clear()  # the checker plays an action that it sampled in another episode, where another was legal
        for episode in range(3):
            *_, (_, reward, terminated, truncated, info) = trajectory(env, episode)  # type: ignore[misc]
            assert terminated
            assert not truncated
            assert info["outcome"] == "finished"
            assert reward == info["returns"][info["player"]]
        env.close()
        tally.assert_played_to_natural_ends(3)


def test_every_registered_game_was_examined() -> None:
    assert len(GAMES) >= 4
    assert {"tic_tac_toe", "kuhn_poker", "chess", MatchingPennies.id} <= set(GAMES)
    registered = {spec.kwargs["game"] for spec in gymnasium.registry.values() if "game" in spec.kwargs}
    assert set(registry.game_ids()) <= registered


def test_any_game_can_be_made_by_its_registered_name() -> None:
    assert env_of("palaestra/Game-v0", game="kuhn_poker", view="terse").reset(seed=1)[0] in {"J", "Q", "K"}
    assert env_of("palaestra.envs:palaestra/TicTacToe-v0").table.game_id == "tic_tac_toe"


@pytest.mark.parametrize("game", GAMES)
def test_a_seed_fixes_the_episode_and_the_unseeded_ones_after_it(game: str) -> None:
    first, second = (env_of("palaestra/Game-v0", game=game, seat="random") for _ in range(2))
    # Interleaved, so that nothing shared between environments could go unnoticed.
    seeds = [9, None, 10]
    assert [trajectory(first, seed) for seed in seeds] == [trajectory(second, seed) for seed in seeds]


def test_a_seed_is_the_seed_of_the_game() -> None:
    for seed in range(20):
        observation, _ = env_of("palaestra/KuhnPoker-v0").reset(seed=seed)
        assert observation == make("kuhn_poker", seed=seed).observation(0)


def test_a_random_seat_is_drawn_by_the_seed() -> None:
    env = env_of(TICTACTOE, seat="random")
    seats = [env.reset(seed=seed)[1]["player"] for seed in range(20)]
    assert set(seats) == {0, 1}
    assert seats == [env.reset(seed=seed)[1]["player"] for seed in range(20)]
    assert env.reset(options={"seat": 1})[1]["player"] == 1


def test_bad_replies_are_told_apart_asked_again_with_the_reason_and_then_forfeit() -> None:
    env = env_of(TICTACTOE, opponent=Scripted("1", "2"))
    env.reset(seed=0)
    observation, reward, terminated, _, info = env.step("5")
    assert (info["status"], reward, terminated) == ("ok", 0.0, False)
    observation, reward, terminated, _, info = env.step("hm")
    assert (info["status"], info["attempt"], terminated) == ("unparsable", 1, False)
    assert "Your reply was unparsable: no action found" in observation
    assert "Three in a row win" in observation  # self-contained, as every observation in mode "full"
    observation, reward, terminated, _, info = env.step("I take 1")
    assert (info["status"], info["attempt"], terminated) == ("illegal", 2, False)
    assert "square 1 is taken" in info["reason"]
    assert info["reason"] in observation
    observation, reward, terminated, truncated, info = env.step("9" * 5000)
    assert info["status"] == "truncated"
    assert (reward, terminated, truncated) == (-1.0, True, False)
    assert (info["outcome"], info["forfeited_by"]) == ("forfeit", 0)


def test_a_turn_limit_truncates_without_a_reward() -> None:
    env = env_of(TICTACTOE, rules={"max_turns": 4})
    *_, (_, reward, terminated, truncated, info) = trajectory(env, 1)  # type: ignore[misc]
    assert (reward, terminated, truncated, info["outcome"], info["returns"]) == (0.0, False, True, "unfinished", None)


def test_mode_new_says_only_what_is_new() -> None:
    env = env_of(TICTACTOE, opponent=Scripted("1", "2"), observation="new")
    first, _ = env.reset(seed=0)
    second, *_ = env.step("5")
    assert "Three in a row win" in first
    assert second == "O takes square 1.\nO 2 3\n4 X 6\n7 8 9"
    again, *_ = env.step("5")
    assert again.startswith("Your reply was illegal: square 5 is taken")


def test_legal_actions_are_listed_on_request_only() -> None:
    assert "legal_actions" not in env_of(TICTACTOE).reset(seed=0)[1]
    assert env_of(TICTACTOE, legal_actions=True).reset(seed=0)[1]["legal_actions"] == tuple("123456789")


def test_an_end_before_the_first_turn_is_reported_by_the_first_step() -> None:
    env = env_of(TICTACTOE, seat=1, opponent=Mute)
    _, info = env.reset(seed=0)
    assert info["outcome"] == "forfeit"
    _, reward, terminated, _, _ = env.step("5")
    assert (reward, terminated) == (1.0, True)
    with pytest.raises(ResetNeeded, match="the episode is over"):
        env.step("5")


def test_visible_thoughts_reach_the_seat_and_a_flood_of_them_is_cut() -> None:
    def thinking(text: str) -> SeatEnv:
        seat = Scripted(f"<think>{text}</think> 1")
        return env_of(TICTACTOE, opponent=seat, rules=MatchRules(visibility="public"))

    env = thinking("corners first")
    env.reset(seed=0)
    assert "Player 2 thinks: corners first" in env.step("5")[0]
    env = thinking("abc" * 5000)
    env.reset(seed=0)
    observation, *_ = env.step("5")
    assert "[… 11000 characters left out …]" in observation
    assert observation.endswith("7 8 9")
    many = {player: Scripted(*[f"<think>{'abc' * 5000}</think> pass"] * 2) for player in range(1, 6)}
    env = env_of("palaestra/Auction-v0", opponent=many, rules=MatchRules(visibility="public"), players=6)
    env.reset(seed=0)
    observation, *_, info = env.step("pass")
    assert observation in env.observation_space
    assert info["cut"] > 10_000
    assert observation.startswith("Auction. You are Player 1")
    assert "Item 2 of 3" in observation


@pytest.mark.parametrize("opponent", ["random", RandomSeat, Slow, RandomSeat(3), {1: "random"}, lambda: Slow()])
def test_an_opponent_may_be_a_name_a_seat_or_a_factory(opponent: object) -> None:
    assert trajectory(env_of(TICTACTOE, opponent=opponent), 2)[-1][4]["outcome"] == "finished"  # type: ignore[index]


def test_other_packages_register_opponents_by_name() -> None:
    register_opponent("test/slow", Slow)
    register_opponent("test/slow", Slow)
    env = env_of(TICTACTOE, opponent="test/slow")
    trajectory(env, 2)
    assert env.episode is not None
    assert env.episode.seats == ("outside", "slow")
    with pytest.raises(ValueError, match="registered already"):
        register_opponent("test/slow", RandomSeat)


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"opponent": "randm"}, UnknownName, "Did you mean 'random'"),
        ({"opponent": 3}, OptionError, "opponent 3 is no seat"),
        ({"opponent": {0: "random"}}, SeatCountError, r"given for players \[0\], but the others are \[1\]"),
        ({"seat": 2}, OptionError, "has seats 0 to 1, or 'random'"),
        ({"vew": "terse"}, UnknownName, "Did you mean 'view'"),
        ({"observation": "some"}, OptionError, "expected 'full' or 'new'"),
        ({"render_mode": "human"}, OptionError, "expected 'ansi' or None"),
        ({"version": 7}, OptionError, "version 7 of tic_tac_toe was asked for, but version 0 is installed"),
        ({"rules": {"max_turn": 3}}, UnknownName, "Did you mean 'max_turns'"),
    ],
)
def test_wrong_arguments_are_named_before_anything_is_played(
    options: dict[str, object], error: type[Exception], told: str
) -> None:
    with pytest.raises(error, match=told):
        SeatEnv("tic_tac_toe", **options)  # type: ignore[arg-type]


def test_wrong_calls_are_named() -> None:
    env = env_of(TICTACTOE)
    with pytest.raises(ResetNeeded, match="no episode has begun"):
        env.step("5")
    with pytest.raises(UnknownName, match="Did you mean 'seat'"):
        env.reset(options={"seats": 1})
    env.reset(seed=0)
    with pytest.raises(TypeError, match="action 5 of player 1 is no text"):
        env.step(5)  # type: ignore[arg-type]
    assert env.step("5")[4]["status"] == "ok"  # and nothing was lost


def test_text_that_is_no_unicode_is_judged_like_any_other() -> None:
    env = env_of(TICTACTOE)
    env.reset(seed=0)
    assert env.step("\ud800 5")[4]["status"] == "ok"


def test_rendering_shows_what_the_seat_may_know() -> None:
    env = env_of("palaestra/KuhnPoker-v0", render_mode="ansi")
    env.reset(seed=0)
    assert env.render() == env.table.stepper.match.game.board(0)


def test_environments_make_a_vector_environment() -> None:
    envs = gymnasium.make_vec(TICTACTOE, num_envs=3, vectorization_mode="sync")
    observations, _ = envs.reset(seed=1)
    assert len(observations) == 3
    for number, env in enumerate(envs.envs):  # type: ignore[attr-defined]
        env.unwrapped.action_space.seed(number)
    for _ in range(12):  # through several ends and automatic resets
        actions = tuple(env.unwrapped.action_space.sample() for env in envs.envs)  # type: ignore[attr-defined]
        _, _, _, truncated, _ = envs.step(actions)
        assert not truncated.any()
    envs.close()


def test_shared_memory_which_cannot_carry_texts_is_refused() -> None:
    with pytest.raises(ValueError, match="shared_memory=False"):
        gymnasium.make_vec(TICTACTOE, num_envs=1, vectorization_mode="async")


@pytest.mark.slow
def test_environments_run_in_processes_of_their_own() -> None:
    options = {"shared_memory": False, "context": "spawn"}
    apart = gymnasium.make_vec(TICTACTOE, num_envs=2, vectorization_mode="async", vector_kwargs=options)
    here = gymnasium.make_vec(TICTACTOE, num_envs=2, vectorization_mode="sync")
    assert apart.reset(seed=3)[0] == here.reset(seed=3)[0]
    assert apart.step(("5", "1"))[0] == here.step(("5", "1"))[0]
    apart.close()


def test_a_space_is_copied_without_the_running_game() -> None:
    env = env_of(TICTACTOE)
    env.reset(seed=0)
    assert copy.deepcopy(env.action_space).sample() in set("123456789")


def test_after_an_opponents_error_only_a_reset_helps() -> None:
    class Dies(RandomSeat):
        async def act(self, view):
            raise RuntimeError("the engine died")

    register_opponent("test-dies", Dies)
    env = gymnasium.make("palaestra/TicTacToe-v0", opponent="test-dies", seat=0).unwrapped
    env.reset(seed=1)
    with pytest.raises(RuntimeError, match="the engine died"):
        env.step("5")
    with pytest.raises(ResetNeeded, match="broke off"):
        env.step("1")
    env.reset(seed=2)
