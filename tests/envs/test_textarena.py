"""The bridge to TextArena: its known faults do not come through, and its environments keep the contract."""

import random
import sys

import numpy as np
import pytest

from palaestra.envs import MatchRules, OnFailure, RandomSeat, ReplayWriter, Scripted, make, play, verify
from palaestra.envs.conformance import CLAUSES, check_game
from palaestra.envs.errors import IllegalAction, OptionError, UnknownName
from palaestra.envs.games import textarena as bridge
from palaestra.envs.games import textarena_load
from palaestra.envs.seeding import Dice

pytest.importorskip("textarena", reason="the extra textarena is not installed")

NAMED = ("TicTacToe-v0", "KuhnPoker-v0", "ConnectFour-v0", "IteratedPrisonersDilemma-v0", "SimpleNegotiation-v0",
         "LiarsDice-v0", "Nim-v0", "PublicGoodsGame-v0")  # fmt: skip
CONTRACT = set(CLAUSES) - {"privacy", "replay", "length"}


def deal(seed: int) -> str:
    return make("textarena/KuhnPoker-v0", seed=seed).observation(0)


def test_a_game_is_played_as_textarena_decides() -> None:
    seats = [Scripted("[0]", "[1]", "[2]"), Scripted("[3]", "[4]")]
    episode = play(make("textarena/TicTacToe-v0"), seats)
    assert (episode.outcome, episode.returns) == ("finished", (1.0, -1.0))
    assert episode.result["done"]
    assert "won" in episode.result["reason"].lower() or "Player 0" in episode.result["reason"]


def test_other_games_in_between_do_not_change_the_chance() -> None:
    """There, the same seed gives another deal if anything else draws from the process's generator in between."""
    alone = [deal(seed) for seed in range(8)]
    mixed = []
    for seed in range(8):
        random.seed(seed * 7)
        game = make("textarena/KuhnPoker-v0", seed=seed)
        other = make("textarena/LiarsDice-v0", seed=1)
        other.apply(0, other.sample_action(0, Dice(1)))
        random.random()
        mixed.append(game.observation(0))
    assert mixed == alone
    assert len(set(alone)) > 1


def test_the_processs_generators_are_left_as_they_were() -> None:
    random.seed(5)
    np.random.seed(5)
    before = random.getstate(), np.random.get_state()[1].tobytes()
    play(make("textarena/LiarsDice-v0", seed=3, max_turns=10), [RandomSeat(), RandomSeat(1)])
    assert (random.getstate(), np.random.get_state()[1].tobytes()) == before


def test_a_second_game_knows_nothing_of_the_first() -> None:
    first = make("textarena/TicTacToe-v0", seed=1)
    opening = first.observation(0)
    play(first, [Scripted("[0]", "[1]", "[2]"), Scripted("[3]", "[4]")])
    assert make("textarena/TicTacToe-v0", seed=1).observation(0) == opening


def test_a_refused_action_changes_nothing_and_is_the_matchs_affair() -> None:
    game = make("textarena/TicTacToe-v0")
    game.apply(0, "[4]")
    before = game.state_hash()
    with pytest.raises(IllegalAction):
        game.apply(1, "[4]")
    with pytest.raises(IllegalAction):
        game.apply(1, "no idea")
    assert game.state_hash() == before
    assert game.players_to_move() == (1,)
    rules = MatchRules(illegal=OnFailure(3, "forfeit"))
    episode = play(make("textarena/TicTacToe-v0"), [Scripted("[4]"), Scripted(*["[4]"] * 4)], rules)
    assert episode.count("illegal") == 4  # there, the second one would have lost the game
    assert episode.forfeited_by == 1


def test_thoughts_are_not_told_to_the_opponent() -> None:
    game = make("textarena/TicTacToe-v0")
    seats = [Scripted("<think>the corner is a trap</think>[0]", "[1]"), Scripted("[3]", "[4]")]
    play(game, seats, MatchRules(max_turns=3))
    assert "trap" not in game.observation(1)
    assert all("trap" not in str(event.content) for event in game.log)


def test_an_action_that_the_environment_fails_at_is_refused() -> None:
    game = make("textarena/TicTacToe-v0")

    class Broken:
        def __init__(self, env) -> None:
            self.state = env.state

        def step(self, action: str) -> None:
            raise AttributeError("'State' object has no attribute 'info'")

    game.env = Broken(game.env)
    with pytest.raises(IllegalAction, match=r"cannot carry it out \(AttributeError"):
        game.apply(0, "[4]")


def test_what_it_never_made_is_there() -> None:
    """`TwoPlayerState.set_winners` writes to an attribute that does not exist there."""
    state = make("textarena/TicTacToe-v0").env.state
    state.set_winners([0], "x")
    assert state.rewards == {0: 1, 1: -1}


def test_it_prints_nothing(capfd) -> None:
    play(make("textarena/SimpleNegotiation-v0", seed=2, max_turns=6), [RandomSeat(), RandomSeat(1)])
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[pytest.mark.slow] * (place % 3 > 0)) for place, name in enumerate(NAMED)]
)
def test_named_environments_keep_the_contract(name: str) -> None:
    report = check_game(f"textarena/{name}", episodes=1, interleaved=2, clauses=CONTRACT, max_turns=12)
    assert report.finished == 1


@pytest.mark.parametrize("name", NAMED[:4])
def test_replays_verify(name: str, tmp_path) -> None:
    path = tmp_path / "game.jsonl"
    game = make(f"textarena/{name}", seed=4, max_turns=10)
    episode = play(game, [RandomSeat(i) for i in range(game.facts.players)], recorder=ReplayWriter(path))
    assert verify(path) == len(episode.turns)


def test_an_unknown_environment_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match="Did you mean 'textarena/TicTacToe-v0'"):
        make("textarena/TicTacTo-v0")
    with pytest.raises(OptionError, match="expected 1 to 15"):
        make("textarena/TicTacToe-v0", players=16)
    with pytest.raises(OptionError, match="cannot be played by 3"):
        make("textarena/TicTacToe-v0", players=3)


def test_without_the_extra_the_error_says_how_to_get_it(monkeypatch) -> None:
    for module in (bridge, textarena_load):
        monkeypatch.setattr(module, "textarena", None)
    bridge.game_class.cache_clear()
    try:
        assert textarena_load.environments() == []
        with pytest.raises(OptionError, match=r"not installed; run pip install .* -e '\.\[textarena\]'"):
            make("textarena/TicTacToe-v0")
    finally:
        bridge.game_class.cache_clear()


@pytest.mark.slow
def test_every_environment_is_served_or_listed_with_its_reason() -> None:
    members, refused = bridge.members(), bridge.unserved()
    assert len(members) + len(refused) == len(textarena_load.environments()) == 237
    assert len(members) >= 180
    told = {reason.split(":")[0] for reason in refused.values()}
    wrong_python = {"SyntaxError"} if sys.version_info < (3, 12) else set()
    assert told <= {"ValueError", "LookupError", "ImportError", "FileNotFoundError", "SyntaxError"}
    assert told >= {"ValueError", "LookupError"} | wrong_python
    for name in members:
        game = make(name, seed=1, max_turns=6)
        seats = [RandomSeat(player) for player in range(game.facts.players)]
        episode = play(game, seats, MatchRules(illegal=OnFailure(0, "forfeit")), record=False)
        assert episode.outcome in ("finished", "forfeit"), name
        assert all(len(game.observation(player)) <= game.facts.max_observation_chars for player in range(len(seats)))
