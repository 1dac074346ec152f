"""Terminal surprise and hindsight bias: the contract, what is paid, what can be said, and what oracles get."""

from __future__ import annotations

import dataclasses
import re
from statistics import fmean

import pytest

from palaestra.agents import make_seat
from palaestra.agents.scripted_surprise import trace
from palaestra.envs import MatchRules, OnFailure, Scripted, make, play
from palaestra.envs.conformance import check_game
from palaestra.envs.errors import IllegalAction, OptionError, PalaestraError, UnparsableAction
from palaestra.envs.games.surprise import worth
from palaestra.envs.items.machine import Program, read_terse
from palaestra.envs.seeding import Dice
from palaestra.trainers.measures.calibration import brier, calibration_error
from tests.envs.test_conformance import CLAUSES, SMALLER


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"items": "python", "level": 3, "forecast": True, "looks": 2, "name_line": True, "explain": True},
        {"items": "shell", "rate": 0.5, "looks": 1, "look_cost": 0.3},
        {"items": "session", "score": "log"},
        {"items": "machine", "view": "terse", "forecast": True, "forecast_pay": 0.5},
        {"items": "machine", "level": 2, "score": "answer"},
    ],
)
def test_terminal_surprise_keeps_the_contract(options: dict) -> None:
    check_game("terminal_surprise", episodes=6, **options)


@pytest.mark.parametrize(
    "options",
    [{}, {"items": "machine", "view": "terse"}, {"items": "shell", "told": "opposite"}, {"told": "nothing"}],
)
def test_hindsight_bias_keeps_the_contract(options: dict) -> None:
    check_game("hindsight_bias", episodes=6, clauses=set(CLAUSES) - {"privacy"}, **options)


@pytest.mark.parametrize("told", ["truth", "nothing", "opposite"])
def test_what_one_seat_is_told_the_other_cannot_read(told: str) -> None:
    check_game("hindsight_bias", episodes=1, clauses=["privacy"], told=told, **SMALLER["hindsight_bias"])


@pytest.mark.parametrize(
    ("score", "stated", "replaced", "paid"),
    [
        ("brier", 0.3, True, 1 - 0.49),
        ("brier", 0.3, False, 1 - 0.09),
        ("log", 1.0, False, 0.0),
        ("log", 0.99, True, 1 + 0.010050335853501442 / -4.605170185988091),
        ("answer", 0.7, True, (1 - 0.09 + 1) / 2),
        ("answer", 0.5, True, (0.75 + 0.5) / 2),
    ],
)
def test_what_a_forecast_is_worth(score, stated: float, replaced: bool, paid: float) -> None:
    assert worth(score, stated, replaced) == pytest.approx(paid)


@pytest.mark.parametrize("score", ["brier", "log", "answer"])
@pytest.mark.parametrize("belief", [0.05, 0.3, 0.5, 0.8])
def test_saying_what_one_believes_pays_best(score, belief: float) -> None:
    def expected(stated: float) -> float:
        return belief * worth(score, stated, True) + (1 - belief) * worth(score, stated, False)

    assert max(expected(number / 100) for number in range(101)) <= expected(belief) + 1e-12


def outcome(stated: str, **options) -> dict:
    episode = play(make("terminal_surprise", seed=5, **options), [Scripted(stated)])
    return {**episode.result, "return": episode.returns[0]}


def test_an_output_that_was_replaced_is_not_the_one_that_was_printed() -> None:
    for seed in range(30):
        game = make("terminal_surprise", seed=seed, rate=1.0)
        assert game.case.output != game.case.truth
        assert game.case.wrong_line() is not None
        game = make("terminal_surprise", seed=seed, rate=0.0)
        assert (game.case.output, game.case.wrong_line()) == (game.case.truth, None)


def test_rates_vary_are_shown_and_are_kept() -> None:
    replaced: dict[float, list[bool]] = {}
    for seed in range(600):
        game = make("terminal_surprise", seed=seed, items="machine")
        assert f"with a chance of {game.case.rate:g}" in game.observation(0)
        replaced.setdefault(game.case.rate, []).append(game.case.replaced)
    assert sorted(replaced) == [0.1, 0.25, 0.5, 0.75, 0.9]
    for rate, outcomes in replaced.items():
        assert abs(fmean(outcomes) - rate) < 0.15


def test_a_look_shows_the_true_line_and_costs() -> None:
    game = make("terminal_surprise", seed=5, items="python", level=2, rate=1.0, looks=1, look_cost=0.2, name_line=True)
    line = game.case.wrong_line()
    truth = game.case.truth.split("\n")[line - 1]
    assert f"really: {truth}" not in game.observation(0)
    game.apply(0, game.parse(0, f"let me\nLook at line {line}!"))
    assert f"Line {line} was really: {truth}" in game.observation(0)
    with pytest.raises(IllegalAction, match="no look is left"):
        game.parse(0, "look 1")
    game.apply(0, game.parse(0, f"100 %, line {line}"))
    assert game.returns() == pytest.approx((1 - 0.2 + 0.25,))
    assert game.result()["named_line"] == line


@pytest.mark.parametrize(
    ("text", "kind", "told"),
    [
        ("very likely", UnparsableAction, "states no probability"),
        ("", UnparsableAction, "states no probability"),
        ("between 0.2 and 0.4", UnparsableAction, "states no probability"),
        ("1.5", IllegalAction, "is no probability"),
        ("-0.1", IllegalAction, "is no probability"),
        ("30", IllegalAction, "30%"),
        ("nan", UnparsableAction, "states no probability"),
        ("look 99", IllegalAction, "there is no line 99"),
        ("look", UnparsableAction, "look at which line"),
        ("0.9, line 1 or line 2", UnparsableAction, "name one line"),
        ("0.9\nNot line 2", UnparsableAction, "name one line"),
        ("0.9\nI cannot tell between line 1 and line 2", UnparsableAction, "name one line"),
        ("0.9.\nNothing is wrong with line 2.", UnparsableAction, "name one line"),
        ("look 1\nlook 2", UnparsableAction, "look at one line"),
        ("0.9\nlook 1", UnparsableAction, "look at one line"),
    ],
)
def test_what_is_no_probability_is_never_scored(text: str, kind: type, told: str) -> None:
    options = {"looks": 1, "name_line": True, "items": "python"}
    game = make("terminal_surprise", seed=1, **options)
    with pytest.raises(kind, match=told):
        game.parse(0, text)
    rules = MatchRules(unparsable=OnFailure(0), illegal=OnFailure(0))
    episode = play(make("terminal_surprise", seed=1, **options), [Scripted(text)], rules)
    assert (episode.outcome, episode.returns) == ("forfeit", (pytest.approx(-0.35),))
    assert episode.result == {}


def test_forecast_and_explanation_stand_around_the_judgement_and_are_not_paid() -> None:
    game = make("terminal_surprise", seed=5, items="python", rate=1.0, forecast=True, explain=True)
    assert game.case.output not in game.board(0)
    assert "0.0" not in game.board(0)
    game.apply(0, game.parse(0, game.case.truth))
    assert game.case.output in game.board(0).replace("| ", "")
    game.apply(0, game.parse(0, "0.5"))
    assert f"really it printed:\n{game.case.truth}" in game.board(0)
    game.apply(0, game.parse(0, "The sum\x1b[31m is off."))
    assert (game.is_over(), game.result()["forecast_right"], game.returns()) == (True, True, (0.75,))
    assert game.result()["explanation"] == "The sum[31m is off."
    assert make("terminal_surprise").result()["explanation"] is None


@pytest.mark.parametrize("chance", [0.0, 0.2, 0.49, 0.51, 0.8, 1.0])
@pytest.mark.parametrize("stated", ["0", "0.3", "0.8"])
def test_naming_a_line_pays_only_who_is_surer_than_not_and_moves_no_probability(chance: float, stated: str) -> None:
    """``chance``: that line 1 is the first wrong one. What is stated does not change what naming it is worth."""

    def paid(said: str, wrong: bool) -> float:
        game = make("terminal_surprise", seed=5, items="python", level=1, rate=1.0 if wrong else 0.0, name_line=True)
        if wrong:
            game.case = dataclasses.replace(game.case, output="!" + game.case.truth)
        game.apply(0, game.parse(0, said))
        return game.returns()[0]

    gain = [paid(f"{stated} line 1", wrong) - paid(stated, wrong) for wrong in (False, True)]
    assert gain == pytest.approx([-0.25, 0.25])
    assert ((1 - chance) * gain[0] + chance * gain[1] > 0) == (chance > 0.5)


@pytest.mark.parametrize(("said", "share"), [("1\n2\n3", 1.0), ("1\n0\n3", 2 / 3), ("1\n2\n3\n4", 0.75), ("0", 0.0)])
def test_a_forecast_is_paid_by_its_right_lines(said: str, share: float) -> None:
    game = make("terminal_surprise", seed=5, items="python", rate=1.0, forecast=True, forecast_pay=0.5)
    game.case = dataclasses.replace(game.case, truth="1\n2\n3")
    assert "all are worth 0.5" in game.prompt(0)
    game.apply(0, game.parse(0, said))
    game.apply(0, "1")
    assert game.returns() == pytest.approx((1 + 0.5 * share,))
    assert game.result()["forecast_share"] == pytest.approx(share)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"rate": 1.5}, "rate is 1.5"),
        ({"items": "machine", "looks": 1}, "rolls anew"),
        ({"items": "machine", "file": "x"}, "draws its own programs"),
        ({"file": "no json"}, "line 1: it is no JSON object"),
        ({"level": 7}, "level is 7"),
        ({"forecast_pay": 0.5}, "no forecast is asked for"),
    ],
)
def test_options_that_make_no_sense_are_named(options: dict, told: str) -> None:
    with pytest.raises(PalaestraError, match=told):
        make("terminal_surprise", **options)


def scores(spec: str, **options) -> tuple[float, float]:
    """Return the Brier score and the calibration error of a seat over the machine's cases."""
    seat, told, truth = make_seat(spec), [], []
    for seed in range(400):
        result = play(make("terminal_surprise", seed=seed, items="machine", **options), [seat]).result
        told.append(result["probability"])
        truth.append(int(result["replaced"]))
    return brier(told, truth), calibration_error(told, truth)


def test_the_oracle_is_calibrated_and_beats_whoever_looks_at_the_rate_alone() -> None:
    exact, rate, half = scores("posterior"), scores("rate"), scores("rate:0.5")
    assert exact[0] < rate[0] - 0.04 < half[0]
    assert half[0] == 0.25
    assert exact[1] < 0.05


def test_a_thought_that_goes_through_the_program_ends_with_its_odds() -> None:
    dice = Dice(0)
    for length in (2, 3, 4):
        for _ in range(50):
            program, output = Program.draw(dice, length), dice.below(10)
            first, *steps, same, share = trace(program, output).split(" ")
            assert first == str(program.first)
            assert [step.partition(":")[0] for step in steps] == re.split(r"(?=[+*r])", program.terse())[1:]
            last = steps[-1].partition(":")[2]
            assert [last.count(str(digit)) / len(last) for digit in range(10)] == pytest.approx(program.odds())
            ways, all_ways = map(int, share.split("/"))
            assert ways / all_ways == pytest.approx(program.odds()[output])
            assert same == f"={output}:" + last.replace(str(output), f"{output}!")
    assert trace(read_terse("5r2*2"), 2) == "5 r2:67 *2:24 =2:2!4 1/2"


def test_the_tracer_thinks_and_says_nothing_of_it() -> None:
    said = set()
    for seed in range(60):
        episode = play(make("terminal_surprise", seed=seed, items="machine", view="terse"), [make_seat("tracer")])
        attempt = episode.turns[0].attempts[0]
        assert attempt.thought
        said.add(episode.result["probability"])
    assert said == {tenth / 10 for tenth in range(11)}


def test_hindsight_costs_the_biased_and_not_the_honest() -> None:
    def gaps(spec: str, told: str) -> tuple[float, float]:
        found = []
        for seed in range(60):
            game = make("hindsight_bias", seed=seed, items="machine", told=told)
            episode = play(game, [make_seat("posterior"), make_seat(spec)])
            found.append((episode.result["gap"], episode.returns[1]))
        return fmean(gap for gap, _ in found), fmean(paid for _, paid in found)

    assert gaps("posterior", "truth") == (0.0, 1.0)
    gap, paid = gaps("anchored:0.5", "truth")
    assert gap > 0.1
    assert paid < 0.98
    assert gaps("anchored:0.5", "opposite")[0] > 0.2
    assert gaps("anchored:0.5", "nothing") == (0.0, 1.0)


@pytest.mark.parametrize(
    ("first", "second", "paid"),
    [("0.8", "0.6", (0.96, 0.96)), ("0.8", "hm", (0.96, 0.0)), ("hm", "0.6", (0.0, 1.0)), ("hm", "hm", (0.0, 0.0))],
)
def test_who_forfeits_costs_only_itself(first: str, second: str, paid: tuple) -> None:
    rules = MatchRules(unparsable=OnFailure(0))
    episode = play(make("hindsight_bias", seed=2, rate=1.0), [Scripted(first), Scripted(second)], rules)
    assert episode.returns == pytest.approx(paid)
    assert len(episode.forfeits) == (first, second).count("hm")
    assert episode.result["before"] == (None if first == "hm" else 0.8)
    assert (episode.result["gap"] is None) == ("hm" in (first, second))


def test_neither_seat_sees_what_the_other_said_and_only_one_is_told() -> None:
    game = make("hindsight_bias", seed=2, items="machine", rate=1.0)
    before, after = game.observation(0), game.observation(1)
    assert "was replaced.\n" not in before
    assert "it was replaced" in after
    game.apply(0, "0.37")
    assert game.observation(1) == after
    assert "replaced" not in game.knowledge(0)


@pytest.mark.parametrize("spec", ["posterior:2:3", "anchored:2", "rate:7", "anchored:x"])
def test_a_wrong_parameter_of_an_observer_is_a_sentence(spec: str) -> None:
    if spec.startswith("posterior"):
        return
    with pytest.raises((OptionError, PalaestraError)):
        make_seat(spec)


@pytest.mark.parametrize(("text", "stated"), [("0.3", "0.3"), (" 30%.", "0.3"), ("0.3, since line 2 is odd", "0.3")])
@pytest.mark.parametrize("name", ["terminal_surprise", "hindsight_bias"])
def test_a_forced_reply_goes_on_from_its_beginning(name: str, text: str, stated: str) -> None:
    game = make(name, seed=1, mode="forced")
    assert game.begun(0) == "The probability that it was replaced is"
    assert game.parse(0, text) == game.parse(0, f"{game.begun(0)} {text}") == stated
    for wrong in ("low", "about as likely as not", "0.3 or 0.4", ""):
        with pytest.raises(UnparsableAction):
            game.parse(0, wrong)
    assert make(name, seed=1).begun(0) == ""
    played = play(game, [Scripted(*([text] * 1)) for _ in range(game.facts.players)])
    assert played.outcome == "finished"


@pytest.mark.parametrize(
    ("text", "told"),
    [
        *((text, "begins a list") for text in ("1. The program sets a = 35.\n2. Then b", "1. The", "1)")),
        *((text, "states no") for text in ("1; it was not replaced", "0.9. Genuine.", "0.9\nNot replaced.")),
    ],
)
def test_a_list_and_what_denies_its_beginning_go_on_with_no_probability(text: str, told: str) -> None:
    with pytest.raises(UnparsableAction, match=told):
        make("terminal_surprise", seed=1, mode="forced").parse(0, text)


def test_a_forced_reply_has_no_room_for_more() -> None:
    with pytest.raises(OptionError, match="a probability and nothing else"):
        make("terminal_surprise", mode="forced", name_line=True)
