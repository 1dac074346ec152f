"""Measures of surprise and the results card: oracles, closed forms, and no score for what was not stated."""

from __future__ import annotations

import json
from statistics import fmean

import numpy as np
import pytest

from palaestra.envs import MatchRules, OnFailure, Scripted, make, play, write_replay
from palaestra.envs.errors import OptionError
from palaestra.trainers.experiments import surprise
from palaestra.trainers.forecasts import _results
from palaestra.trainers.measures.surprise import hindsight_gap, introspection, length_forecasts, surprise_measures
from palaestra.trainers.surprise_card import CardPlan, card_of, items_sum, play_cases, play_hindsight
from tests.scripts.cli_kit import call

MACHINE = {"items": "machine"}


def card(seat: str, **changes) -> dict:
    plan = CardPlan(seat, **{"options": MACHINE, "cases": 150, **changes})
    return card_of(plan, play_cases(plan))


def test_the_oracle_has_the_lowest_score_and_its_parts_add_up() -> None:
    found = card("posterior")
    own, oracle = found["measures"], found["baselines"]["posterior"]
    assert own["brier"]["mean"] == pytest.approx(oracle["brier"]["mean"], abs=1e-4)  # it writes four digits
    parts = own["murphy"]
    assert own["brier"]["mean"] == pytest.approx(
        parts["reliability"] - parts["resolution"] + parts["uncertainty"], abs=1e-9
    )
    assert own["brier"]["high"] < found["baselines"]["rate"]["brier"]["mean"]
    assert found["baselines"]["half"]["brier"]["mean"] == 0.25
    assert sum(one["count"] for one in found["reliability"]) == 150


def test_length_tells_no_more_than_the_rate_where_form_is_kept() -> None:
    found = card("rate", options={"items": "python"}, cases=300)
    length, rate = (found["baselines"][name]["brier"]["mean"] for name in ("length_and_rate", "rate"))
    assert abs(length - rate) < 0.02
    assert found["measures"]["brier"]["mean"] == pytest.approx(rate, abs=1e-9)


def test_length_is_found_where_it_does_tell() -> None:
    results = [{"output_chars": 40 if number % 2 else 4, "rate": 0.5, "replaced": number % 2} for number in range(100)]
    for rate in (True, False):
        stated = np.array(length_forecasts(results, rate=rate))
        assert stated[1::2].min() > 0.9
        assert stated[::2].max() < 0.1


def test_length_alone_knows_nothing_of_the_rate() -> None:
    """Lengths are alike, so that what is left of a regression on them is how often an output was replaced."""
    results = [
        {"probability": 0.5, "output_chars": 9, "rate": rate, "posterior": None, "replaced": number < 10 * rate}
        for rate in (0.1, 0.9)
        for number in range(10)
    ]
    found = surprise_measures(results).baselines
    assert found["length"].brier.mean == pytest.approx(found["base_rate"].brier.mean, abs=0.02)
    assert found["base_rate"].brier.mean == pytest.approx(0.25)
    assert found["length_and_rate"].brier.mean < 0.15


def test_what_was_not_stated_is_counted_and_not_scored() -> None:
    told = {"probability": 0.2, "replaced": False, "rate": 0.5, "posterior": None, "output_chars": 3}
    found = surprise_measures([told, {**told, "probability": None, "replaced": True}], cases=4)
    assert found.stated == 0.25
    assert found.own is not None
    assert found.own.brier.mean == pytest.approx(0.04)
    assert "posterior" not in found.baselines
    assert surprise_measures([], cases=3).own is None


def test_the_experiment_scores_what_was_stated_as_the_card_does() -> None:
    told = {"replaced": False, "rate": 0.9, "posterior": 0.5, "output_chars": 3}
    found = surprise.point([{**told, "probability": 0.2}, {**told, "probability": None, "replaced": True}])
    assert (found["stated"], found["right_side"]) == (0.5, 1.0)
    assert (found["brier"], found["rate"], found["oracle"], found["distance"]) == pytest.approx(
        (0.04, 0.81, 0.25, 0.09)
    )
    nothing = surprise.point([{**told, "probability": None}] * 3)
    assert nothing.pop("stated") == 0.0
    assert set(nothing.values()) == {None}


def test_a_card_can_be_made_again_and_names_its_items(tmp_path) -> None:
    path = tmp_path / "card.json"
    shown = call("card", "rate", "--cases", "20", "-o", "items=python", "--to", path).stdout
    first = json.loads(path.read_text())
    assert first["items_sum"] == items_sum() in shown
    assert first == json.loads(json.dumps(card("rate", options={"items": "python"}, cases=20), default=str)) | {
        "plan": first["plan"]
    }
    again = call("card", "rate", "--to", path)
    assert again.exit_code != 0
    assert "is there already" in again.stderr


def test_the_hindsight_gap_is_that_of_a_seat_with_a_known_bias() -> None:
    def gaps(seat: str, **changes) -> dict:
        plan = CardPlan(seat, {**MACHINE, "looks": 0}, cases=60, hindsight=True, **changes)
        return card_of(plan, play_cases(plan), play_hindsight(plan))["hindsight"]

    found = gaps("anchored:0.5")
    cases = [make("hindsight_bias", seed=seed, **MACHINE).case for seed in range(60)]
    exact = fmean(0.5 * abs(case.replaced - case.posterior) for case in cases)
    gap = found["truth"]["gap"]
    assert gap["mean"] == pytest.approx(exact, abs=1e-3)
    assert 0 < gap["low"] < exact < gap["high"]
    assert (gap["n"], found["truth"]["cases"]) == (60, 60)
    assert found["truth"]["kept"]["mean"] < 0 < found["truth"]["replaced"]["mean"]
    assert found["nothing"]["gap"]["mean"] == 0.0
    assert gaps("posterior")["truth"]["gap"]["mean"] == 0.0


def test_who_answered_only_once_is_counted_and_in_no_gap() -> None:
    told = {"replaced": True, "before": 0.5, "after": 0.75, "gap": 0.25}
    found = hindsight_gap([told, told, {**told, "after": None, "gap": None}], cases=5)
    assert (found.cases, found.gap.n, found.gap.mean, found.kept.n) == (5, 2, 0.25, 0)
    assert hindsight_gap([{**told, "before": None}]) is None


def test_the_command_shows_the_gap() -> None:
    shown = call("card", "anchored:0.5", "-o", "items=machine", "--cases", "20", "--hindsight").stdout
    assert "Hindsight gap, told the truth: +0." in shown
    assert "told nothing (null arm): +0.000 [+0.000, +0.000]" in shown
    assert "20 of 20 cases answered both times" in shown


def test_a_model_is_asked_greedily_and_what_it_says_in_words_is_not_scored() -> None:
    found = card("tiny:blank", cases=4, thinking=True, max_tokens=8)
    assert found["stated"] == 0.0
    assert found["measures"] is None
    assert "<think>" in CardPlan("x", {}, thinking=True).settings().system


@pytest.mark.parametrize(
    ("seat", "options", "told"),
    [
        ("rate", MACHINE, "rate is a scripted seat"),
        ("anchored:0.3", {}, "scripted"),
        ("x", {"mode": "forced"}, "forced"),
    ],
)
def test_who_cannot_think_first_gets_no_card_that_says_so(seat: str, options, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        CardPlan(seat, options, thinking=True)
    assert not CardPlan(seat, options).thinking


def test_introspection_is_the_partial_correlation_of_ranks() -> None:
    chance = np.random.default_rng(0)
    twin, own_part = chance.normal(size=400), chance.normal(size=400)
    own = twin + own_part
    assert introspection(list(own), list(own), list(twin)) == pytest.approx(1.0)
    assert abs(introspection(list(twin), list(own), list(twin))) < 1e-6  # says what a twin would know
    assert introspection(list(own_part), list(own), list(twin)) > 0.6
    assert abs(introspection(list(chance.normal(size=400)), list(own), list(twin))) < 0.15
    assert introspection([1.0] * 5, list(own[:5]), list(twin[:5])) == 0.0
    with pytest.raises(ValueError, match="at least 4"):
        introspection([1], [2], [3])


def test_what_the_rules_drew_for_a_player_is_no_forecast_of_its(tmp_path) -> None:
    rules = MatchRules(unparsable=OnFailure(0, "random"))
    for seed, said in enumerate(("0.3", "very likely")):
        episode = play(make("terminal_surprise", seed=seed), [Scripted(said)], rules)
        write_replay(episode, tmp_path / f"{seed}.jsonl")
    results, cases = _results(tmp_path)
    assert ([one["probability"] for one in results], cases) == ([0.3, None], 2)
