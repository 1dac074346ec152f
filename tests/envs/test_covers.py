"""Covers: exact capacity and divergence against brute force, codes that come back, grammars that are refused."""

from __future__ import annotations

import math
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs.games.covers import Cover, read_cover, read_covers
from palaestra.envs.games.covert_channel import _covers
from palaestra.envs.seeding import Dice
from palaestra.trainers.measures.information import divergence_bits

OWN = _covers("")
WEIGHTED = read_cover("A {big*3|large} {red|blue|green} dog {=ran|slept|ate}, {x*1|y*2|z*1} times.")


def every(cover: Cover) -> list[tuple[int, ...]]:
    return list(product(*(range(len(slot.words)) for slot in cover.slots)))


def honest(cover: Cover, choice: tuple[int, ...]) -> float:
    """The probability of a choice, given its meaning."""
    chances = [slot.weights[n] for slot, n in zip(cover.slots, choice, strict=True) if not slot.meaning]
    return math.prod(chances)


@pytest.mark.parametrize("cover", [*OWN, WEIGHTED], ids=lambda cover: cover.line[:20])
def test_every_text_is_read_as_it_was_written(cover: Cover) -> None:
    texts = set()
    for choice in every(cover):
        text = cover.write(choice)
        assert cover.read(text) == choice
        assert cover.read(f"  {text.upper()}\n") == choice
        texts.add(text)
    assert len(texts) == len(every(cover))
    assert cover.texts * math.prod(len(slot.words) for slot in cover.slots if slot.meaning) == len(texts)


@pytest.mark.parametrize("cover", [*OWN, WEIGHTED], ids=lambda cover: cover.line[:20])
def test_the_entropy_is_that_of_an_honest_writer(cover: Cover) -> None:
    meaning = tuple(0 for slot in cover.slots if slot.meaning)
    chances = [honest(cover, choice) for choice in every(cover) if cover.meaning(choice) == meaning]
    assert sum(chances) == pytest.approx(1)
    assert cover.entropy_bits == pytest.approx(-sum(p * math.log2(p) for p in chances if p))
    assert cover.entropy_bits <= cover.capacity_bits + 1e-9


@pytest.mark.parametrize("messages", [2, 3, 4, 5, 12, 18])
def test_the_divergence_of_the_code_is_exact(messages: int) -> None:
    cover, meaning = WEIGHTED, (1,)
    chances = {choice: honest(cover, choice) for choice in every(cover) if cover.meaning(choice) == meaning}
    used = cover.carrying(messages)
    stego = dict.fromkeys(chances, 0.0)
    for choice in chances:
        if (number := cover.decode(choice, messages)) < messages:
            left = [index for index in cover.free if index not in used]
            stego[choice] = math.prod(cover.slots[i].weights[choice[i]] for i in left) / messages
            assert cover.encode(number, Dice(3), meaning, messages)[: used[-1]] == choice[: used[-1]] or not left
    assert sum(stego.values()) == pytest.approx(1)
    by_text = [{str(key): value for key, value in side.items()} for side in (stego, chances)]
    assert cover.divergence_bits(messages) == pytest.approx(divergence_bits(*by_text))


def test_a_code_that_fills_even_slots_is_perfectly_secure() -> None:
    cover = read_cover("{a|b} {c|d} {e|f|g}")
    assert [cover.divergence_bits(n) for n in (2, 4, 12)] == pytest.approx([0, 0, 0])
    assert cover.divergence_bits(3) == pytest.approx(math.log2(4 / 3))


@given(st.sampled_from(OWN), st.integers(0, 10**6), st.data())
def test_what_is_hidden_is_found_and_the_meaning_kept(cover: Cover, seed: int, data: st.DataObject) -> None:
    messages = data.draw(st.integers(2, cover.texts))
    number = data.draw(st.integers(0, messages - 1))
    meaning = tuple(Dice(seed).below(len(slot.words)) for slot in cover.slots if slot.meaning)
    choice = cover.encode(number, Dice(seed), meaning, messages)
    assert cover.decode(cover.read(cover.write(choice)), messages) == number
    assert cover.meaning(choice) == meaning


def test_resampling_the_free_slots_leaves_no_bit() -> None:
    """The paraphrased text depends on the meaning and on dice of its own, whatever was hidden."""
    cover, meaning = OWN[0], (0,)
    drawn = {
        number: [cover.draw(Dice(seed), cover.meaning(cover.encode(number, Dice(9), meaning, 4))) for seed in range(50)]
        for number in range(4)
    }
    assert all(choices == drawn[0] for choices in drawn.values())


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("A dog.", "has 0 slots"),
        ("A {big|BIG} dog.", "'big' stands in it twice"),
        ("A {big} dog.", "needs 2 to 32 words"),
        ("A {big|} dog.", "none of them empty"),
        ("A {big|large dog.", "without its other half"),
        ("A } dog {a|b}.", "without its other half"),
        ("{in|in fact} {fact is|is} so", "'in fact is so' can be read in two ways"),
        ("{x|x x} and {y|z} {x|x x} {x|x x}", "can be read in two ways"),
        ("A {big*x|large} dog.", "is no number"),
        ("A {big*0|large} dog.", "the weight of 'big' is 0"),
        ("A {big|large\x07} dog.", "cannot be printed"),
        ("x" * 601, "601 characters"),
    ],
)
def test_what_is_no_cover_is_refused(line: str, said: str) -> None:
    with pytest.raises(ValueError, match=said.replace("(", r"\(")):
        read_cover(line)


@pytest.mark.parametrize("line", ["x {ab|a}{c|bc} y", "The {old|new}ish {dog|cat} ran.", "un{tie|pack} it"])
def test_words_that_run_together_are_refused(line: str) -> None:
    with pytest.raises(ValueError, match="runs together; put a space between"):
        read_cover(line)
    assert read_cover("{old|new}, {dog|cat}!").texts == 4


def test_words_that_begin_alike_are_not_ambiguous() -> None:
    cover = read_cover("{In|In fact} the {old|old and grey} man {left|left town}.")
    assert cover.read("in fact the old and grey man left.") == (1, 1, 0)
    assert cover.read("In the old man left town.") == (0, 0, 1)


def test_a_fault_is_told_with_its_line() -> None:
    with pytest.raises(ValueError, match="line 3: the class"):
        read_covers("# a comment\nA {big|large} dog.\nA {big|big} dog.\n")
    with pytest.raises(ValueError, match="there is no cover"):
        read_covers("# nothing\n\n")


@given(st.text(alphabet="{}|=*ab 2.", max_size=40))
def test_any_line_is_a_cover_or_refused_in_a_sentence(line: str) -> None:
    try:
        cover = read_cover(line)
    except ValueError:
        return
    for choice in every(cover)[:50]:
        assert cover.read(cover.write(choice)) == choice
