"""Workers of recovery: each habit does what it is called, on every kind of beginning."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from palaestra.agents import make_seat
from palaestra.envs import make, play
from palaestra.envs.errors import InformationError, PalaestraError, UnknownName
from palaestra.envs.games.recovery import COMMUTATIVE, KINDS, Recovery

TERSE: dict[str, Any] = {"task": "swaps", "steps": 5, "wording": "terse", "clean": 0.3}


def results(seat: str, **options: Any) -> Iterator[dict[str, Any]]:
    for seed in range(200):
        yield play(make("recovery", seed=seed, **{**TERSE, **options}), [make_seat(seat)]).result


@pytest.mark.parametrize("task", ["swaps", "residue", "parity"])
def test_who_begins_again_is_always_right_and_names_nothing(task: str) -> None:
    found = list(results("worker:again", task=task))
    assert {one["kind"] for one in found} == {"clean", *KINDS} - ({"swapped"} if task in COMMUTATIVE else set())
    assert all(one["right"] and one["named"] is None for one in found)


@pytest.mark.parametrize("task", ["swaps", "residue", "parity"])
def test_who_checks_is_always_right_and_names_the_error(task: str) -> None:
    found = list(results("worker:check", task=task))
    assert all(one["right"] and one["named"] == one["place"] for one in found)
    assert not any(one["alarm"] for one in found)


def test_who_goes_on_is_right_where_the_last_line_is() -> None:
    for one in results("worker:on"):
        if one["kind"] in ("clean", "claim"):
            assert one["right"]
        elif one["kind"] == "noise":
            assert one["right"] or one["place"] == one["given"] - 1
        else:
            assert one["copied"]
            assert one["kind"] == "dropped" or not one["right"]  # a step that was left out may have moved nothing


def test_who_guesses_is_right_where_the_guess_is_not_behind_the_error() -> None:
    found = list(results("worker:guess"))
    for one in found:
        if one["place"] is not None and one["named"] is not None and one["named"] <= one["place"]:
            assert one["right"]
    assert any(one["alarm"] for one in found)
    assert 0 < sum(one["named"] == one["place"] for one in found) < len(found)


def test_the_mixture_does_all_of_it() -> None:
    said = [play(make("recovery", seed=seed, **TERSE), [make_seat("worker")]).turns[0].action for seed in range(60)]
    starts = {text.split(":")[0] if text.startswith("wrong") else text.split("\n")[0] for text in said}
    assert {"again", "wrong step"} < starts
    assert any(text[0] in "012ABC" for text in said)


def test_a_worker_pollutes_honestly_and_refuses_what_it_cannot_read() -> None:
    honest = play(make("recovery", seed=1, **TERSE, polluter=True), [make_seat("worker"), make_seat("worker:check")])
    assert (honest.result["kind"], honest.returns) == ("clean", (0.0, 1.0))
    with pytest.raises(InformationError, match="wording=terse"):
        play(make("recovery", seed=1), [make_seat("worker:check")])
    with pytest.raises(PalaestraError, match="recovery"):
        play(make("kuhn_poker"), [make_seat("worker"), make_seat("random")])
    with pytest.raises(UnknownName, match="Did you mean 'check'"):
        make_seat("worker:chek")


def test_a_terse_line_is_what_is_left_and_what_is_done() -> None:
    """B, and what each of the swaps 0 (A and B), 1 (B and C) and 2 (A and C) makes of it; by hand."""
    game = make("recovery", seed=0, **{**TERSE, "steps": 4, "clean": 1.0})
    assert isinstance(game, Recovery)
    game.chain = type(game.chain)("swaps", 1, (0, 2, 1, 2))
    game.given = 3
    assert game._lines([0, 1, 2], [0, 2, 1]) == ["2,1,2 B0: A.", "1,2 A2: C.", "2 C1: B."]
    assert game._lines([0, 2], [0, 0]) == ["2,1,2 B0: A.", "2 A1: A."]  # the second step was dropped
    assert game._lines([1, 0, 2], [1, 0, 0]) == ["0,1,2 B2: B.", "1,2 B0: A.", "2 A1: A."]  # the first two are swapped
