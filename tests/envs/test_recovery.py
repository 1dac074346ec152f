"""Recovery: the contract, what each kind of error is, what is paid, and how a reply that has begun goes on."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.agents import make_seat
from palaestra.agents.language_model import LanguageModelSeat, ReplySettings
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import Match, Scripted, make, play
from palaestra.envs.conformance import check_game
from palaestra.envs.errors import IllegalAction, OptionError, UnparsableAction
from palaestra.envs.games.recovery import KINDS, Recovery
from palaestra.envs.games.statements import stated
from palaestra.envs.seeding import Dice


def game_of(seed: int = 0, **options) -> Recovery:
    game = make("recovery", seed=seed, **options)
    assert isinstance(game, Recovery)
    return game


def first(kind: str, **options) -> Recovery:
    return next(game for seed in range(400) if (game := game_of(seed, kinds=kind, clean=0.3, **options)).kind == kind)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"task": "parity", "wording": "terse"},
        {"polluter": True, "task": "parity", "steps": 3},
        {"task": "swaps", "steps": 9},
    ],
)
def test_the_game_keeps_the_contract(options):
    check_game("recovery", episodes=5, **options)


@given(st.integers(0, 2000), st.sampled_from(["parity", "residue", "swaps", "knapsack"]))
def test_what_is_given_states_what_its_kind_says(seed, task):
    game = game_of(seed, task=task)
    chain, right = game.chain, [game.chain.name(state) for state in game.chain.path()[: game.given]]
    said = stated("\n".join(game.lines), chain.names())
    match game.kind:
        case "clean" | "claim":
            assert said == right
            assert game.place is None
            assert bool(game.claim) == (game.kind == "claim")
        case "carried":
            assert said[: game.place] == right[: game.place]
            assert said[game.place] != right[game.place]
            states = [chain.names().index(one) for one in said]
            for number in range(game.place + 1, game.given):
                assert chain.after(states[number - 1], chain.steps[number]) == states[number]
        case "noise":
            assert len(said) == game.given - 1 or len(stated(game.lines[game.place], chain.names())) == 1
        case "dropped":
            assert len(game.lines) == game.given - 1
            assert chain.steps[game.place] != chain.steps[game.place + 1]
        case "swapped":
            assert task in ("swaps", "knapsack")
            assert len(game.lines) == game.given
            assert chain.steps[game.place] != chain.steps[game.place + 1]
    if game.kind in ("carried", "dropped", "swapped"):
        assert said[-1] != right[-1]
        assert game.led() not in (None, chain.name(chain.answer))


def test_shares_are_as_asked():
    kinds = Counter(game_of(seed, clean=0.5, steps=8, task="swaps").kind for seed in range(600))
    assert 0.42 < kinds["clean"] / 600 < 0.58
    assert set(kinds) == {"clean", *KINDS}


def test_right_answers_are_paid_and_what_became_of_the_error_is_counted():
    game = first("carried", localise=0.5)
    led, truth = game.led(), game.chain.name(game.chain.answer)
    assert led is not None
    for reply, paid, expected in (
        (f"Answer: {truth}.", 1.0, {"recovered": True, "copied": False, "localised": False}),
        (f"wrong step: {game.place + 1}\nAnswer: {truth}.", 1.5, {"recovered": True, "localised": True}),
        (f"Answer: {led}.", 0.0, {"copied": True, "recovered": False}),
    ):
        twin = game.clone()
        twin.apply(0, twin.parse(0, twin.begun(0) + reply))
        assert twin.returns() == (paid,)
        assert {key: twin.result()[key] for key in expected} == expected
    clean = next(game for seed in range(99) if (game := game_of(seed, localise=0.5)).kind == "clean")
    for reply, paid, alarm in (("", 1.5, False), ("wrong step: none\n", 1.5, False), ("wrong step: 2\n", 1.0, True)):
        twin = clean.clone()
        twin.apply(0, twin.parse(0, f"{reply}Answer: {clean.chain.name(clean.chain.answer)}"))
        assert (twin.returns()[0], twin.result()["alarm"]) == (paid, alarm)


def test_what_was_begun_is_no_answer_of_the_solver():
    game = first("carried")
    with pytest.raises(UnparsableAction, match="no answer found"):
        game.parse(0, game.begun(0) + "Hm.")
    assert game.parse(0, game.begun(0) + "So it is: 3.") == "So it is: 3."


def test_a_polluter_may_plant_one_error_and_no_more():
    game = game_of(4, polluter=True, task="residue", steps=6)
    right = [game.chain.name(state) for state in game.chain.path()[: game.given]]
    wrong = str((int(right[-1]) + 1) % 7)
    twice = " ".join(str((int(one) + 2 * (number % 2) + 1) % 7) for number, one in enumerate(right))
    with pytest.raises(IllegalAction, match="at most one may not"):
        game.apply(0, twice)
    with pytest.raises(IllegalAction, match=f"say {game.given} states"):
        game.apply(0, "1")
    game.apply(0, " ".join([*right[:-1], wrong]))
    assert (game.kind, game.place) == ("carried", game.given - 1)
    assert stated(game.begun(1), game.chain.names())[-1] == wrong
    truth = game.chain.name(game.chain.answer)
    lost = game.clone()
    lost.apply(1, f"Answer: {game.led()}.")
    game.apply(1, f"Answer: {truth}.")
    assert game.returns() == (0.0, 1.0)
    assert lost.returns() == (1.0, 0.0)
    honest = game_of(4, polluter=True, task="residue", steps=6)
    honest.apply(0, " ".join(right))
    assert honest.kind == "clean"


@given(st.integers(0, 500))
def test_random_beginnings_are_locally_valid(seed):
    game = game_of(seed, polluter=True)
    game.apply(0, game.sample_action(0, Dice(seed)))
    assert game.kind in ("clean", "carried")


def test_a_models_reply_begins_with_what_was_written_and_that_is_no_sampled_token():
    loaded = ModelSource.parse("tiny:blank").load()
    from palaestra.agents.engines.transformers_engine import TransformersEngine

    engine = TransformersEngine(loaded.model)
    game = first("carried")
    begun = game.begun(0)
    seat = LanguageModelSeat(engine, loaded.codec, settings=ReplySettings(max_tokens=4))
    episode = asyncio.run(Match(game, [seat]).play())
    record = episode.turns[0].attempts[0].reply.tokens
    ids = loaded.codec.encode_untrusted(begun)
    assert list(record.context[-len(ids) :]) == ids
    assert len(record.ids) == len(record.logprobs) <= 4
    assert not episode.turns[0].attempts[0].reply.content.startswith(begun)


def test_other_seats_go_on_from_what_was_begun():
    game = first("dropped")
    truth = game.chain.name(game.chain.answer)
    episode = play(game, [Scripted(f"Answer: {truth}")])
    assert episode.returns == (1.0,)
    assert episode.turns[0].action == f"Answer: {truth}"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"clean": 0.1}, "clean"),
        ({"kinds": "nois"}, "holds 'nois'"),
        ({"kinds": " "}, "no error of residue, expected some of noise, dropped, carried, claim"),
        ({"kinds": "swapped", "task": "parity"}, "no error of parity"),
        ({"least": 6}, "least"),
    ],
)
def test_options_that_cannot_be_are_refused(options, told):
    with pytest.raises(OptionError, match=told):
        make("recovery", **options)


def test_who_works_it_out_recovers_and_who_goes_on_copies_the_error():
    seats = {"tracker": [], "parrot": [], "half:1": []}
    for seed in range(60):
        for name, found in seats.items():
            found.append(play(game_of(seed), [make_seat(name)]).result)
    assert all(one["right"] for one in seats["tracker"])
    for name in ("parrot", "half:1"):
        assert all(one["copied"] for one in seats[name] if one["kind"] in ("carried", "dropped", "swapped"))
        assert all(one["right"] for one in seats[name] if one["kind"] in ("clean", "claim"))
    carried = [one["recovered"] for one in seats["parrot"] if one["kind"] == "carried"]
    assert carried
    assert not any(carried)
    honest = play(game_of(3, polluter=True), [make_seat("tracker"), make_seat("tracker")])
    assert honest.result["kind"] == "clean"
