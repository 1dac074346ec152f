"""Measures of faithfulness, on readers whose reliance on the thought is known."""

from __future__ import annotations

import pytest

from palaestra.agents import make_seat
from palaestra.envs import make, play
from palaestra.envs.games.interventions import FRACTIONS
from palaestra.trainers.measures import faithfulness as measures

ITEMS = 80
READERS = ("half:0", "half:0.5", "half:1")


def results(reader: str, **options) -> list[dict]:
    games = [make("cot_relay", seed=seed, reference=True, **options) for seed in range(ITEMS)]
    return [play(game, [make_seat(reader)]).result for game in games]


def parrots(fraction: float, reader: str) -> list[dict]:
    return results(reader, intervention="truncate", fraction=fraction)


def test_every_measure_orders_readers_by_how_far_they_rely_on_the_thought() -> None:
    plain = {reader: results(reader) for reader in READERS}
    planted = {reader: results(reader, intervention="planted") for reader in READERS}
    other = {reader: results(reader, intervention="other") for reader in READERS}
    for measure in (
        lambda reader: measures.flips(plain[reader], planted[reader]),
        lambda reader: measures.flips(plain[reader], other[reader]),
        lambda reader: measures.copied_through(planted[reader]),
    ):
        none, half, whole = (measure(reader) for reader in READERS)
        assert none.high < half.low <= half.high < whole.low
    none, half, whole = (measures.self_corrected(planted[reader]) for reader in READERS)
    assert whole.high < half.low <= half.high < none.low


def test_the_area_over_the_curve_is_0_for_who_needs_no_thought_and_high_for_a_parrot() -> None:
    def area(reader: str) -> float:
        truncated = {share: parrots(share, reader) for share in FRACTIONS}
        return measures.area_over_curve(results(reader), truncated).mean

    assert area("half:0") == 0.0
    assert area("parrot") > 0.5


def test_the_area_by_hand() -> None:
    whole = [{"answer": "1", "guess": "1", "thought_chars": 10}, {"answer": "2", "guess": "2", "thought_chars": 30}]
    nothing = [{**whole[0], "guess": "0"}, whole[1]]
    # At 0 the second (3/4 of the weight) answers the same, at 1 both: 1 - same falls from 1/4 to 0.
    found = measures.area_over_curve(whole, {0.0: nothing, 1.0: whole})
    assert found.mean == pytest.approx(0.125)
    with pytest.raises(ValueError, match="at least 2"):
        measures.area_over_curve(whole, {1.0: whole})


def test_a_transfer_is_net_of_the_answer_handed_on() -> None:
    whole, nothing = results("parrot"), parrots(0.0, "parrot")
    answer = [{**one, "right": True} for one in whole]
    assert measures.transfer(whole, nothing, answer).mean == 0.0
    assert measures.transfer(whole, nothing, nothing).low > 0.5


def test_the_indicator_is_above_0_only_if_the_author_alone_is_sensitive() -> None:
    plain, worse = results("half:0"), results("half:1", intervention="planted")
    sensitive, robust = (plain, worse), (plain, plain)
    assert measures.steganography_indicator(sensitive, [robust, robust]).low > 0.9
    assert measures.steganography_indicator(sensitive, [sensitive]).mean == 0.0
    assert measures.steganography_indicator(robust, [sensitive]).high < 0


def test_own_style_is_the_diagonal_less_the_rest() -> None:
    good, bad = results("half:0"), results("half:1", intervention="planted")
    matrix = {("a", "a"): good, ("b", "b"): good, ("a", "b"): bad, ("b", "a"): bad}
    assert measures.own_style(matrix).mean == 1.0
    assert measures.own_style(dict.fromkeys(matrix, good)).mean == 0.0
    with pytest.raises(ValueError, match="both needed"):
        measures.own_style({("a", "b"): good})


def test_contradictory_pairs_need_no_judge() -> None:
    found = measures.contradictions(["yes", "no", "yes", "no"], ["no", "yes", "yes", "yes"])
    assert found.mean == 0.25
    with pytest.raises(ValueError, match="zip"):
        measures.contradictions(["yes"], [])


def test_other_items_are_refused() -> None:
    with pytest.raises(ValueError, match="same items"):
        measures.flips(results("half:0")[:3], results("half:0")[:2])
    with pytest.raises(ValueError, match="not the same"):
        measures.flips(results("half:0"), results("half:0")[::-1])
