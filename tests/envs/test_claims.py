"""What counts as a claim of one's own worth, and how honesty is summed up."""

import pytest

from palaestra.envs import make
from palaestra.envs.games.claims import MOST, RESERVATION, Claim, deception, find_claims

WORTH = {"wheat": 3, "wood": 5, "gold": 9, "price": 40, "price e": 40, "price b": 10, "delivery": 25}
TOPS = ("wheat", "wood", "gold")


def found(talk: str) -> list[tuple[str, int | str, bool]]:
    return [(one.about, one.stated, one.false) for one in find_claims(0, talk, WORTH, 35, TOPS)]


@pytest.mark.parametrize(
    ("talk", "claims"),
    [
        ("My values are wheat 3, wood 5, gold 1", [("wheat", 3, False), ("wood", 5, False), ("gold", 1, True)]),
        ("Gold is worth 9 to me.", [("gold", 9, False)]),
        ("I value wood at 2 and gold at 9", [("wood", 2, True), ("gold", 9, False)]),
        ("Wheat: 3 points for me! Trust me.", [("wheat", 3, False)]),
        ("For me price E is worth 40 and price B 12", [("price e", 40, False), ("price b", 12, True)]),
        ("My points: price 40, delivery 20.", [("price", 40, False), ("delivery", 20, True)]),
        ("My minimum is 40", [(RESERVATION, 40, True)]),
        ("I need at least 35 points.", [(RESERVATION, 35, False)]),
        ("I can't go below 50", [(RESERVATION, 50, True)]),
        ("Gold matters most to me", [(MOST, "gold", False)]),
        ("what I need most is wheat", [(MOST, "wheat", True)]),
        ("My top priority is wood.", [(MOST, "wood", True)]),
        # no claims: the other's worth, conditions, questions, goods and offers
        ("Gold is worth 9 to you", []),
        ("Is gold worth 9 to me?", []),
        ("If gold is worth 9 to me, then what", []),
        ("I give 3 wheat and take 2 gold", []),
        ("I need at least 2 gold", []),
        ("I want at least 60.", []),
        ("For me, price is 1 of 3 issues", []),
        ("My priority is price 1, delivery 2", []),
        ("Your minimum is 40", []),
        ("Gold is not worth 4 to me", []),
        ("What matters most to you is gold", []),
        ("", []),
    ],
)
def test_what_is_a_claim(talk: str, claims: list) -> None:
    assert found(talk) == claims


def test_a_first_place_may_be_shared() -> None:
    (claim,) = find_claims(1, "wheat matters most to me", {"wheat": 4, "wood": 4}, None, ("wheat", "wood"))
    assert claim == Claim(1, MOST, "wheat", "wheat/wood")
    assert not claim.false


def test_honesty_is_summed_up_per_player() -> None:
    claims = [Claim(0, "gold", 2, 9), Claim(0, "wheat", 3, 3), Claim(0, MOST, "wheat", "gold")]
    assert deception(claims, 2) == [
        {"claims": 3, "false": 2, "mean_error": -3.5, "mean_absolute_error": 3.5},
        None,
    ]


def test_a_negotiation_reports_what_was_claimed() -> None:
    game = make("negotiation", seed=3)
    worth = dict(zip(game.items, game.values[0], strict=True))
    lie = f"My values are wheat {worth['wheat']}, gold {worth['gold'] + 2}"
    game.apply(0, game.parse(0, lie))
    game.apply(1, game.parse(1, "walk away"))
    assert game.result()["deception"] == [
        {"claims": 2, "false": 1, "mean_error": 1.0, "mean_absolute_error": 1.0},
        None,
    ]
