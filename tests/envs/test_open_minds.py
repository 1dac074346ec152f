"""Open minds: the thinking round, the common payoff, and who reads which thought."""

from __future__ import annotations

import pytest

from palaestra.agents import check_seat, make_seat
from palaestra.agents.engines.transformers_engine import TransformersEngine
from palaestra.agents.language_model import LanguageModelSeat, ReplySettings
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import MatchRules, OnFailure, RandomSeat, Scripted, entry, make, play, verify
from palaestra.envs.conformance import CLAUSES, check_game
from palaestra.envs.errors import OptionError, UnknownName
from palaestra.envs.goldens import check_golden
from palaestra.envs.replay import ReplayWriter

RARE = {"negotiation"}  # knowing the same in two states is rare there; the game itself is compared with smaller options


@pytest.mark.parametrize("payoff", ["own", "common"])
@pytest.mark.parametrize(
    ("inner", "options"),
    [
        ("kuhn_poker", {}),
        ("tic_tac_toe", {}),
        ("matrix_game", {"rounds": 2}),
        ("negotiation", {}),
        ("openspiel/leduc_poker", {}),
    ],
)
def test_the_contract_holds_for_a_family_of_games(inner: str, options: dict, payoff: str) -> None:
    clauses = set(CLAUSES) - ({"privacy"} if inner in RARE else set())
    check_game("open_minds", episodes=4, pairs=120, clauses=clauses, inner=inner, inner_options=options, payoff=payoff)


def test_every_player_reads_the_others_thought_before_it_acts() -> None:
    first = Scripted("<think>I hold a card.</think>", "<think>So I bet.</think> bet")
    second = Scripted("<think>I have heard you.</think> whatever", "<think>And I call.</think> bet")
    rules = MatchRules(visibility=entry("open_minds").visibility)
    episode = play(make("open_minds", seed=2), [first, second], rules)
    shown = [turn.observation for turn in episode.turns]
    assert "Player 1 thinks: I hold a card." in shown[1]
    assert "Player 2 thinks: I have heard you." in shown[2]
    assert "whatever" not in shown[2]
    assert "Player 1 thinks: So I bet." in shown[3]
    assert "Player 1 says bet." in shown[3]


def test_in_private_the_same_round_is_played_and_nothing_is_read() -> None:
    seats = [Scripted("<think>I hold a card.</think>", "bet"), Scripted("<think>Me too.</think>", "bet")]
    episode = play(make("open_minds", seed=2), seats, MatchRules(visibility="private"))
    assert [turn.action for turn in episode.turns] == ["ready", "ready", "bet", "bet"]
    assert not any("thinks: " in turn.observation for turn in episode.turns)


@pytest.mark.parametrize("seed", range(6))
def test_the_common_payoff_is_the_first_players_and_the_cards_are_the_same(seed: int) -> None:
    def returns(payoff: str) -> tuple[float, ...]:
        game = make("open_minds", seed=seed, payoff=payoff)
        episode = play(game, [Scripted("", "bet"), Scripted("", "bet")])
        assert episode.returns is not None
        return episode.returns

    own, common = returns("own"), returns("common")
    assert own == (own[0], -own[0])
    assert common == (own[0], own[0])
    assert play(make("kuhn_poker", seed=seed), [Scripted("bet"), Scripted("bet")]).returns == own


def test_who_forfeits_a_common_game_costs_everybody() -> None:
    game = make("open_minds", payoff="common")
    assert game.facts.utility == "identical"
    assert game.forfeit(1) == (-2.0, -2.0)
    assert make("open_minds").forfeit(1) == (2.0, -2.0)


def test_a_search_can_sit_where_information_is_perfect() -> None:
    game = make("open_minds", inner="tic_tac_toe")
    episode = play(game, [make_seat("mcts:200"), RandomSeat(1)])
    assert episode.outcome == "finished"
    assert episode.returns is not None
    assert episode.returns[0] >= 0


def test_without_the_thinking_round_it_is_the_game_itself() -> None:
    game = make("open_minds", seed=3, think_first=False)
    plain = make("kuhn_poker", seed=3)
    assert (game.observation(0), game.players_to_move()) == (plain.observation(0), plain.players_to_move())


@pytest.mark.parametrize("thought", ["I hold a card. " * 400, "\n" * 3900 + "!", "x" * 100_000])
def test_a_thought_without_end_is_shortened_for_a_reader_who_cannot_take_it(thought: str, tmp_path) -> None:
    path = tmp_path / "game.jsonl"
    loaded = ModelSource.parse("tiny:blank").load()
    engine = TransformersEngine(loaded.model)
    engine.context_length = 512
    reader = LanguageModelSeat(engine, loaded.codec, settings=ReplySettings(max_tokens=8))
    rules = MatchRules(visibility="public", **dict.fromkeys(("illegal", "unparsable", "truncated"), OnFailure(1)))
    game = make("open_minds", inner_options={"view": "terse"}, view="terse")
    episode = play(game, [Scripted(f"<think>.{thought}.</think>"), reader], rules, recorder=ReplayWriter(path))
    heard = episode.turns[1]
    assert episode.turns[0].attempts[0].thought == f".{thought}.".strip()
    assert "characters left out" in heard.observation
    for attempt in heard.attempts:
        assert attempt.reply.info is not None
        assert attempt.reply.info["longest_thought"] < 512
    shown = heard.attempts[0].reply.tokens
    assert shown is not None
    assert "characters left out" in loaded.codec.decode(shown.context)
    assert check_golden(path) == len(episode.turns) + 2


def test_a_thought_that_fits_is_shown_whole_and_nothing_is_noted() -> None:
    loaded = ModelSource.parse("tiny:blank").load()
    reader = LanguageModelSeat(TransformersEngine(loaded.model), loaded.codec, settings=ReplySettings(max_tokens=8))
    rules = MatchRules(visibility="public", truncated=OnFailure(0))
    episode = play(make("open_minds"), [Scripted(f"<think>{'so ' * 200}.</think>"), reader], rules)
    assert "so " * 200 + "." in episode.turns[1].observation
    assert "longest_thought" not in (episode.turns[1].attempts[0].reply.info or {})


@pytest.mark.parametrize(
    ("inner", "seats"),
    [
        ("kuhn_poker", ("equilibrium", "equilibrium")),
        ("negotiation", ("fair", "tit-for-tat")),
        ("chess", ("material", "random")),
    ],
)
def test_seats_of_the_game_inside_play_it_as_they_would_without_the_thinking_round(inner: str, seats: tuple) -> None:
    for seat in seats:
        check_seat(seat, "open_minds", {"inner": inner})
    rules = MatchRules(max_turns=20)
    for think_first in (False, True):
        around = make("open_minds", seed=4, inner=inner, think_first=think_first)
        episode = play(around, [make_seat(seat) for seat in seats], rules)
        assert episode.count("ok") == len(episode.turns) >= 2
        assert [turn.action for turn in episode.turns[:2]] == ["ready"] * 2 or not think_first
    alone = play(make(inner, seed=4), [make_seat(seat) for seat in seats], rules)
    without = play(
        make("open_minds", seed=4, inner=inner, think_first=False), [make_seat(seat) for seat in seats], rules
    )
    assert without.actions == alone.actions


def test_a_seat_of_another_game_is_refused_before_it_begins() -> None:
    with pytest.raises(OptionError, match=r"plays negotiation and bargaining only; seat it there, not at open_minds"):
        check_seat("fair", "open_minds")


def test_a_replay_is_played_again(tmp_path) -> None:
    path = tmp_path / "game.jsonl"
    game = make("open_minds", seed=5, inner="mafia")
    seats = [RandomSeat(player) for player in range(game.facts.players)]
    play(game, seats, MatchRules(visibility="public"), recorder=ReplayWriter(path))
    assert verify(path) > 10


@pytest.mark.parametrize(
    ("options", "error", "said"),
    [
        ({"inner": "open_minds"}, OptionError, "expected another game"),
        ({"inner": "kuhn"}, UnknownName, "Did you mean 'kuhn_poker'"),
        ({"inner": "go", "inner_options": {"siz": 5}}, UnknownName, "Did you mean 'size'"),
        ({"payoff": "none"}, OptionError, "payoff"),
    ],
)
def test_a_wrong_inner_game_is_refused(options: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        make("open_minds", **options)
