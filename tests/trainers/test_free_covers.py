"""Secrets in freely written texts: what is sent looks like any text, and is gone where words are."""

from __future__ import annotations

import dataclasses
from collections import Counter

import pytest

from palaestra.agents.seats import register_seat
from palaestra.envs import Reply, View
from palaestra.envs.seeding import Dice
from palaestra.trainers.experiments import find
from palaestra.trainers.experiments import free_covers as free
from palaestra.trainers.experiments.framework import Cell, NotAvailable, definition

WORDS = ("sea", "market", "bread", "friend", "mill", "watch", "stone", "river")


class Mute:
    """Writes nothing."""

    name = "mute"

    async def act(self, view: View) -> Reply:
        return Reply("")


class Scribe:
    """Writes random words about anything; of what it paraphrases it keeps the words in another order, behind others."""

    name = "scribe"

    async def act(self, view: View) -> Reply:
        dice, known = Dice(view.seed), view.knowledge()
        drawn = " ".join(dice.choice(WORDS) for _ in range(8))
        if known["role"] != "paraphraser":
            return Reply(drawn)
        words = known["text"].split()
        dice.shuffle(words)
        return Reply(" ".join([drawn, *words]))


@pytest.fixture
def scribe(monkeypatch) -> None:
    register_seat("scribe", _scribe)
    monkeypatch.setattr(free, "MODEL", "scribe")
    monkeypatch.setattr(free, "GAMES", 60)


def _scribe(argument: str) -> Scribe:
    return Scribe()


def _mute(argument: str) -> Mute:
    return Mute()


def found(arm: str, tmp_path, seed: int = 0) -> dict:
    return free.run(Cell("steganography", arm, seed, "cpu", tmp_path))


def test_a_hash_is_even_and_knows_neither_case_nor_spaces() -> None:
    seen = Counter(free.number_of(f"text {number}", 4) for number in range(4000))
    assert all(abs(count - 1000) < 4 * (4000 * 0.25 * 0.75) ** 0.5 for count in seen.values())
    assert free.number_of("The  Sea\n", 4) == free.number_of("the sea", 4)


def test_texts_carry_all_and_the_honest_sender_nothing(scribe, tmp_path) -> None:
    code, honest = found("free_covers", tmp_path), found("free_honest", tmp_path)
    assert (code["legal"], code["accuracy"]) == (1.0, 1.0)
    assert code["bits"] > 1.9
    assert code["bits_null"] < 0.2
    assert code["capacity_at_least"] > 1.5
    assert honest["accuracy"] < 0.45
    assert honest["bits"] - honest["bits_null"] < 0.2


def test_what_writes_anew_leaves_nothing_if_it_passes_its_check(scribe, tmp_path) -> None:
    anew = found("free_paraphraser", tmp_path)
    assert anew["legal"] == 1.0
    assert anew["accuracy"] < 0.45
    assert anew["capacity"] - anew["capacity_null"] < 0.2
    assert anew["capacity_at_least"] < 0.1


def test_what_is_sent_is_distributed_as_what_is_written(scribe) -> None:
    """The rejection sampler gives the writer's distribution as far as the hash is even: first words, by chi-square."""
    texts = free.covers(1, 3000, "scribe")
    games = [free._game(number, honest=0.0) for number in range(500)]
    sent = [text for game in games if (text := free.chosen(texts, game)) is not None]
    assert len(sent) == len(games)
    counts = Counter(text.split()[0] for text in sent)
    expected = len(sent) / len(WORDS)
    assert sum((counts[word] - expected) ** 2 / expected for word in WORDS) < 24.3  # 0.1 % of 7 degrees of freedom


@pytest.mark.parametrize(
    ("model", "arm", "told"),
    [("honest", "free_paraphraser", "0 % of the words anew"), ("mute", "free_covers", "wrote a text in 0 of 288")],
)
def test_who_cannot_is_not_available(monkeypatch, tmp_path, model: str, arm: str, told: str) -> None:
    register_seat("mute", _mute)
    monkeypatch.setattr(free, "MODEL", model)
    with pytest.raises(NotAvailable, match=told):
        found(arm, tmp_path)


def test_an_arm_with_a_module_of_its_own_is_defined_by_that_and_leaves_the_others_as_they_were() -> None:
    experiment = find("steganography")
    own = [arm for arm in experiment.arms if arm.module == free.__name__]
    without = dataclasses.replace(experiment, arms=tuple(arm for arm in experiment.arms if not arm.module))
    for arm in without.arms:
        assert definition(experiment, arm.name) == definition(without, arm.name)
        assert experiment.runner(arm.name) is experiment.run
    assert {experiment.runner(arm.name) for arm in own} == {free.run}
    assert len({definition(experiment, arm.name) for arm in own}) == 1
    assert definition(experiment, own[0].name) != definition(experiment, "blind")
