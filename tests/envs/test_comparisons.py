"""Pairs of questions of which exactly one is answered yes."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.agents import make_seat
from palaestra.envs import Scripted, Seat, make, play
from palaestra.envs.errors import OptionError
from palaestra.envs.games.comparisons import HARDEST, KINDS, LONGEST_TOLD, Comparison
from palaestra.envs.games.statements import stated
from palaestra.envs.seeding import Dice

levels = st.integers(1, HARDEST)
seeds = st.integers(0, 9999)


@given(levels, seeds, st.sampled_from(["story", "restated", "terse"]))
def test_a_pair_is_one_question_and_its_contrary(level: int, seed: int, wording) -> None:
    one, other = (Comparison.draw(level, Dice(seed), exchanged) for exchanged in (False, True))
    assert (one.kind, one.first, one.second) == (other.kind, other.second, other.first)
    assert one.answer + other.answer == 1
    for asked in (one, other):
        assert asked.told(wording).endswith("?")
        assert len(asked.told(wording)) <= LONGEST_TOLD
        assert stated("\n".join(asked.reasoning(wording)), asked.names()) == [asked.name(asked.answer)]


@given(levels, seeds)
def test_the_level_is_how_near_things_stand(level: int, seed: int) -> None:
    asked = Comparison.draw(level, Dice(seed))
    values = sorted(KINDS[asked.kind].values.values())
    first, second = (values.index(KINDS[asked.kind].values[thing]) for thing in (asked.first, asked.second))
    apart, half = abs(first - second), len(values) // 2
    assert {1: apart >= half, 2: 3 <= apart < half, 3: 1 <= apart <= 2}[level]


def test_no_two_things_of_a_kind_are_alike_and_neither_answer_is_likelier() -> None:
    assert all(len(set(kind.values.values())) == len(kind.values) for kind in KINDS.values())
    assert 400 < sum(Comparison.draw(2, Dice(seed)).answer for seed in range(1000)) < 600


def test_who_reads_right_reasoning_never_contradicts_itself_and_who_always_agrees_does() -> None:
    def alike(seat: Callable[[], Seat]) -> list[bool]:
        options = {"task": "compare", "steps": 2, "reference": True}
        pairs = [
            [make("cot_relay", seed=seed, exchanged=which, **options) for which in (False, True)] for seed in range(30)
        ]
        return [len({play(game, [seat()]).result["guess"] for game in pair}) == 1 for pair in pairs]

    assert not any(alike(lambda: make_seat("parrot")))
    assert all(alike(lambda: Scripted("yes")))


@pytest.mark.parametrize(
    ("options", "told"),
    [({"task": "compare", "steps": 4}, "how near things stand"), ({"exchanged": True, "steps": 2}, "use task=compare")],
)
def test_options_that_make_no_sense_are_named(options: dict, told: str) -> None:
    with pytest.raises(OptionError, match=told):
        make("cot_relay", **options)
