"""Next-token prediction as a game and as an environment in numbers: proper scores, costs, nothing seen too early."""

import math

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from hypothesis import given, settings
from hypothesis import strategies as st

from palaestra.envs import MatchRules, OnFailure, Scripted, make, play
from palaestra.envs.bridges.next_token import normalised
from palaestra.envs.conformance import check_game
from palaestra.envs.errors import IllegalAction, OptionError, UnknownName, UnparsableAction
from palaestra.envs.games.next_token import FLOOR, THINKING, NextToken, Spread, settings_of, settings_text
from palaestra.envs.parts import Distribution, Tokens
from palaestra.envs.seat import RandomSeat

CHAIN = {"task": "chain", "settings": "group=s3,length=4", "cost": 0.1, "most": 3, "longest": 16}
TEXT = pytest.param({"task": "text", "longest": 256}, marks=pytest.mark.slow)


@pytest.mark.parametrize("options", [CHAIN, {"task": "parity", "longest": 128}, TEXT])
def test_the_game_keeps_the_contract(options):
    check_game("next_token", episodes=2, **options)


def game_of(seed=0, **options) -> NextToken:
    game = make("next_token", seed=seed, **{**CHAIN, **options})
    assert isinstance(game, NextToken)
    return game


def spread(given, size) -> Distribution:
    return Spread.of(given, size).whole(size)


def sure(game: NextToken) -> Distribution:
    return spread({int(game.encoded.ids[game.position]): 0.75}, game.words.size)


def think(kind=0) -> Tokens:
    return Tokens((kind,), THINKING)


def test_returns_are_log_scores_less_the_cost_of_thinking():
    game = game_of()
    thoughts = 0
    while not game.is_over():
        while game.left() > 1:
            game.apply(0, think(thoughts % 4))
            thoughts += 1
        game.apply(0, sure(game))
    scored = int(game.encoded.scored.sum())
    assert thoughts == 2 * int(game.encoded.open.sum()) > 0
    assert game.returns()[0] == pytest.approx(scored * math.log(0.75) - 0.1 * thoughts)
    result = game.result()
    assert result["hard"] == pytest.approx(-math.log(0.75))
    assert result["hard_thoughts"] == 2


@given(st.lists(st.floats(0.05, 1), min_size=3, max_size=3), st.lists(st.floats(0.05, 1), min_size=3, max_size=3))
def test_no_distribution_pays_more_than_what_one_believes(belief, said):
    """Gibbs' inequality, on the game's own scores: token by token the expected score is greatest for the belief."""
    odds = np.array(belief) / sum(belief)
    other = np.array(said) / sum(said)

    def paid(stated):
        total = 0.0
        for due, chance in enumerate(odds):
            game = game_of(task="text", settings="length=8", longest=16)
            game.encoded.ids[0] = due
            game.apply(0, spread(dict(enumerate(stated)), game.words.size))
            total += chance * game.scores[0]
        return total

    assert paid(odds) >= paid(other) - 1e-9


@given(st.integers(0, 500), st.integers(0, 12))
@settings(max_examples=40)
def test_the_next_token_is_in_no_observation_before_it_is_due(seed, place):
    """Two documents that agree up to a place look the same until there, whatever follows."""
    one, other = game_of(seed), game_of(seed)
    place = min(place, len(one.encoded) - 1)
    other.encoded.ids[place:] = 97 + (other.encoded.ids[place:] - 96) % 26
    for number in range(place):
        for game in (one, other):
            if game.left() and number % 2:
                game.apply(0, think())
            game.apply(0, spread({}, game.words.size))
    assert one.observation(0) == other.observation(0)
    assert one.knowledge(0) == other.knowledge(0)


@pytest.mark.parametrize(
    ("action", "told"),
    [
        (think(9), "no thinking token 9"),
        (Tokens((1, 2), THINKING), "one thinking token or a distribution"),
        (Tokens((1,), "words"), "one thinking token or a distribution"),
        (spread({}, 7), "over 7 tokens; there are 256"),
    ],
)
def test_what_is_no_action_is_refused_and_changes_nothing(action, told):
    game = game_of()
    while not game.left():
        game.apply(0, sure(game))
    before = game.state_hash()
    with pytest.raises(IllegalAction, match=told):
        game.apply(0, action)
    assert game.state_hash() == before


def test_thoughts_end_where_they_are_not_allowed_or_used_up():
    game = game_of(most=2)
    with pytest.raises(IllegalAction, match="no thinking is allowed here"):
        game.apply(0, think())
    while not game.left():
        game.apply(0, sure(game))
    game.apply(0, think())
    game.apply(0, think())
    with pytest.raises(IllegalAction, match="no thinking is allowed here"):
        game.apply(0, think())


@pytest.mark.parametrize("text", ["", "think", "think -1", "think 1e3", "advance a", "advance a:2", "advance a:nan",
                                  "advance ab:0.5", "advance a:0.1 a:0.2", "a", "advance #256:1",
                                  "advance a:0.1 #97:0.1", "advance a:0.9 b:0.9"])  # fmt: skip
def test_texts_that_say_nothing_are_no_guess(text):
    with pytest.raises(UnparsableAction):
        game_of().parse(0, text)


def test_text_reads_as_the_distribution_that_it_says():
    game = game_of()
    assert game.parse(0, " advance  a:0.5 b:0.25") == "advance a:0.5 b:0.25"
    found = game._said("advance a:0.5 b:0.25")
    assert isinstance(found, Spread)
    assert found == game._said("advance #97:0.5 #98:0.25")
    assert math.exp(found.logprob(97)) == pytest.approx(0.5)
    assert math.exp(found.logprob(99)) == pytest.approx(0.25 / 254)
    assert game._said("advance #:1").given == {35: 0.0}  # the sign itself
    impossible = play(game_of(), [Scripted("advance a:1", *["advance"] * 30)], MatchRules(unparsable=OnFailure(0)))
    assert impossible.returns is not None
    assert math.isfinite(impossible.returns[0])


def test_impossible_is_the_floor_and_not_infinite():
    game = game_of(task="text", settings="length=4", longest=8)
    wrong = spread({(int(game.encoded.ids[0]) + 1) % 256: 1.0}, 256)
    game.apply(0, wrong)
    assert game.scores == [FLOOR]


@pytest.mark.parametrize(
    ("options", "error", "told"),
    [
        ({"task": "chian"}, UnknownName, "Did you mean 'chain'"),
        ({"settings": "group"}, OptionError, "expected name=value"),
        ({"settings": "gruop=s3"}, UnknownName, "Did you mean 'group'"),
        ({"vocabulary": "nobody"}, UnknownName, "unknown vocabulary 'nobody'"),
        ({"longest": 3}, OptionError, "longest is 3; raise it"),
    ],
)
def test_options_that_make_no_sense_are_named(options, error, told):
    with pytest.raises(error, match=told):
        game_of(**options)


# ---------------------------------------------------------------------- in numbers


def env_of(**options):
    return gymnasium.make("palaestra/NextToken-v0", **{**CHAIN, **options})


@pytest.mark.filterwarnings("ignore:.*Box action space")  # logits have no bounds
def test_gymnasiums_checker_finds_nothing():
    check_env(env_of().unwrapped, skip_render_check=True)


def frozen(tokens, thinking):
    """A scorer that sees something in thoughts: each makes the letter b likelier."""
    logits = np.zeros(256)
    logits[97:103] = 2.0 + 0.3 * np.arange(6) + 0.5 * thinking.sum() * (np.arange(6) == 1)
    return normalised(logits, 256)


def rewards(env, thoughts, seed=3):
    env.reset(seed=seed)
    dice, total, over = np.random.default_rng(0), 0.0, False
    observation = None
    while not over:
        left = 0 if observation is None else int(observation["left"])
        thinks = int(left > 3 - thoughts)
        action = {"think": thinks, "logits": dice.normal(size=256).astype(np.float32)}
        observation, reward, over, _, info = env.step(action)
        total += reward
    return total, info["result"]


def test_live_rewards_add_up_to_the_games_return():
    total, result = rewards(env_of(), thoughts=2)
    assert total == pytest.approx(-result["nats"] - 0.1 * result["thoughts"], abs=1e-6)


@pytest.mark.parametrize("thoughts", [0, 1, 3])
def test_potential_rewards_have_the_same_sum_as_those_at_the_end(thoughts):
    plain, _ = rewards(env_of(scorer=frozen), thoughts)
    shaped, result = rewards(env_of(scorer=frozen, potential=True), thoughts)
    assert shaped == pytest.approx(plain, abs=1e-9)
    assert (result["thoughts"] > 0) == (thoughts > 0)


def test_the_environment_plays_the_games_own_document():
    env = env_of()
    env.reset(seed=5)
    game = game_of(5)
    observation = None
    for _ in range(len(game.encoded)):
        observation, *_ = env.step({"think": 0, "logits": np.zeros(256, np.float32)})
    assert observation is not None
    assert observation["tokens"][: len(game.encoded)].tolist() == game.encoded.ids.tolist()
    assert int(observation["length"]) == len(game.encoded)


@pytest.mark.parametrize(
    ("logits", "told"),
    [
        (np.full(256, np.nan), "NaN"),
        (np.full(256, -np.inf), "all -inf"),
        (np.full(256, np.inf), "NaN or"),
        (np.zeros(3), "expected \\(256,\\)"),
    ],
)
def test_logits_that_are_no_distribution_are_refused_and_change_nothing(logits, told):
    env = env_of()
    env.reset(seed=0)
    with pytest.raises(OptionError, match=told):
        env.step({"think": 0, "logits": logits})
    observation, *_ = env.step({"think": 0, "logits": np.zeros(256, np.float32)})
    assert int(observation["length"]) == 1


def test_a_scorer_is_held_to_its_word():
    env = env_of(scorer=lambda tokens, thinking: np.full(256, np.nan), task="text", settings="length=4", longest=8)
    env.reset(seed=0)
    with pytest.raises(OptionError, match="256 log-probabilities, none of them NaN"):
        env.step({"think": 0, "logits": np.zeros(256, np.float32)})
    with pytest.raises(OptionError, match="give one"):
        env_of(potential=True)
    with pytest.raises(OptionError, match="'ema', expected a function"):
        env_of(scorer="ema")
    env = env_of(scorer=lambda tokens, thinking: np.full(256, 5.0), task="text", settings="length=4", longest=8)
    env.reset(seed=0)
    with pytest.raises(OptionError, match="normalise them"):
        env.step({"think": 0, "logits": np.zeros(256, np.float32)})


def test_a_scorer_that_fails_once_loses_nothing():
    """The step is taken again, and the episode pays what it pays without a failure."""
    failed: list[int] = []

    def moody(tokens, thinking):
        if len(tokens) % 3 == 2 and len(tokens) not in failed:
            failed.append(len(tokens))
            return np.full(256, np.nan)
        return frozen(tokens, thinking)

    def paid(scorer):
        env = env_of(scorer=scorer, potential=True)
        observation, _ = env.reset(seed=3)
        total, over = 0.0, False
        while not over:
            action = {"think": int(observation["left"] > 1), "logits": np.zeros(256, np.float32)}
            try:
                observation, reward, over, _, _ = env.step(action)
            except OptionError:
                continue
            total += reward
        return total

    assert paid(moody) == pytest.approx(paid(frozen), abs=1e-12)
    assert failed


@pytest.mark.parametrize(
    ("action", "told"),
    [
        ({"think": 99, "logits": np.zeros(256)}, "think is 99, expected 0 to advance, or 1 to 4"),
        ({"think": -1, "logits": np.zeros(256)}, "think is -1"),
        ({"think": 1.7, "logits": np.zeros(256)}, "an action is"),
        ({"think": 1}, "an action is"),
        ({"logits": np.zeros(256)}, "an action is"),
    ],
)
def test_actions_that_are_none_are_refused_where_thinking_is_closed_too(action, told):
    env = env_of()
    observation, _ = env.reset(seed=0)
    assert int(observation["left"]) == 0
    with pytest.raises(OptionError, match=told):
        env.step(action)


@given(st.integers(0, 500), st.integers(0, 12))
@settings(max_examples=15, deadline=None)
def test_the_next_token_is_in_no_array_before_it_is_due(seed, place):
    one, other = env_of(), env_of()
    seen = [env.reset(seed=seed)[0] for env in (one, other)]
    encoded = other.unwrapped._game.encoded
    place = min(place, len(encoded) - 1)
    encoded.ids[place:] = 97 + (encoded.ids[place:] - 96) % 26
    for number in range(place):
        if int(seen[0]["left"]) and number % 2:
            seen = [env.step({"think": 1, "logits": np.zeros(256)})[0] for env in (one, other)]
        steps = [env.step({"think": 0, "logits": np.zeros(256)}) for env in (one, other)]
        assert steps[0][1] == steps[1][1]
        seen = [step[0] for step in steps]
    assert all(np.array_equal(seen[0][key], seen[1][key]) for key in seen[0])


@pytest.mark.parametrize(("horizon", "discount"), [(0, 1.0), (0, 0.5), (1, 1.0), (3, 0.9)])
def test_returns_at_the_end_are_the_rewards_of_the_horizon(horizon, discount):
    env = env_of(horizon=horizon, discount=discount)
    observation, info = env.reset(seed=3)
    rewards, advanced, over = [], [], False
    while not over:
        thinks = int(observation["left"] > 1)
        observation, reward, over, _, info = env.step({"think": thinks, "logits": np.zeros(256, np.float32)})
        rewards.append(reward)
        advanced.append(not thinks)
    before = np.concatenate([[0], np.cumsum(advanced)])  # real tokens placed before each step
    for step, found in enumerate(info["returns"]):
        ahead = [later for later in range(step, len(rewards)) if not horizon or before[later] - before[step] < horizon]
        paid = sum(discount ** (before[later] - before[step]) * rewards[later] for later in ahead)
        assert found == pytest.approx(paid, abs=1e-9)
    if (horizon, discount) == (0, 1.0):
        assert info["returns"][0] == pytest.approx(sum(rewards))
    for wrong in ({"discount": 1.5}, {"horizon": 1.5}, {"horizon": -1}):
        with pytest.raises(OptionError, match="a whole number from 0, and 0 to 1"):
            env_of(**wrong)
    with pytest.raises(OptionError, match="a horizon of 1000 tokens does not fit a document of"):
        env_of(horizon=1000).reset(seed=0)


def test_probabilities_that_sum_to_a_little_more_win_nothing():
    game = make("next_token", task="chain", settings="length=2")
    while not game.is_over():
        due = int(game.encoded.ids[game.position])
        sure = [-40.0] * game.words.size
        sure[due] = math.log(1.00009)
        game.apply(0, Distribution(tuple(sure)))
    assert game.returns()[0] <= 0.0


def test_a_random_seat_plays_to_the_end():
    episode = play(game_of(seed=2), [RandomSeat()])
    assert episode.outcome == "finished"
    assert episode.result["tokens"] == len(game_of(seed=2).encoded)


VALUES = st.text(st.sampled_from("ab,\\=/ ."), max_size=8).map(str.strip)


@given(st.dictionaries(st.sampled_from(["file", "length", "group"]), VALUES))
def test_settings_with_any_value_are_read_as_they_were_written(given_settings):
    assert settings_of(settings_text(given_settings)) == given_settings


def test_a_file_may_have_a_comma_in_its_name(tmp_path):
    (tmp_path / "with,comma.txt").write_text("Some words that are to be read, and then a few more of them.\n" * 4)
    game = game_of(task="text", settings=f"file={tmp_path}/with\\,comma.txt,length=8", longest=16)
    assert len(game.encoded) == 8
    with pytest.raises(OptionError, match=r"settings has 'comma.txt', expected .* is written \\,"):
        game_of(task="text", settings=f"file={tmp_path}/with,comma.txt")
