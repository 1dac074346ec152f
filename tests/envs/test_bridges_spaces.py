"""Text spaces: every Unicode text up to the declared length, samples from the bound game, copies that are unbound."""

from __future__ import annotations

import copy
import pickle

import pytest
from gymnasium import spaces
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs.bridges.spaces import TextSpace
from palaestra.envs.seeding import Dice

LENGTH = 12


@given(st.text(max_size=2 * LENGTH))
def test_a_text_belongs_to_the_space_exactly_when_it_is_short_enough(text: str) -> None:
    assert (text in TextSpace(LENGTH)) == (len(text) <= LENGTH)


@pytest.mark.parametrize("thing", [None, 3, b"e4", ["e4"]])
def test_only_texts_belong_to_the_space(thing: object) -> None:
    assert thing not in TextSpace(LENGTH)


@given(st.text(max_size=LENGTH))
def test_flattening_keeps_every_character(text: str) -> None:
    space = TextSpace(LENGTH)
    flat = spaces.flatten(space, text)
    assert flat in spaces.flatten_space(space)
    assert spaces.unflatten(space, flat) == text


def test_equal_seeds_draw_equal_texts_from_the_bound_game() -> None:
    def draw(dice: Dice) -> str:
        return dice.choice(["e4", "d4", "c4", "Nf3"])

    first, second = TextSpace(LENGTH, seed=5).bind(draw), TextSpace(LENGTH).bind(draw)
    second.seed(5)
    drawn = [first.sample() for _ in range(20)]
    assert drawn == [second.sample() for _ in range(20)]
    assert set(drawn) == {"e4", "d4", "c4", "Nf3"}


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda space: pickle.loads(pickle.dumps(space))])
def test_a_copy_is_equal_but_bound_to_no_game(copied: object) -> None:
    space = TextSpace(LENGTH, examples=["pass", "bet"]).bind(lambda dice: "live")
    twin = copied(space)  # type: ignore[operator]
    assert twin == space
    assert space.sample() == "live"
    assert {twin.sample() for _ in range(20)} == {"pass", "bet"}


def test_without_game_or_examples_samples_are_texts_of_the_space() -> None:
    space = TextSpace(LENGTH, seed=1)
    drawn = [space.sample() for _ in range(50)]
    assert all(text in space for text in drawn)
    assert len(set(drawn)) > 10


def test_a_mask_is_refused() -> None:
    with pytest.raises(ValueError, match="takes no mask"):
        TextSpace(LENGTH).sample(mask=(None, None))


def test_spaces_of_other_lengths_or_kinds_are_not_equal() -> None:
    assert TextSpace(3) == TextSpace(3)
    assert TextSpace(3) != TextSpace(4)
    assert TextSpace(3) != spaces.Text(3)
