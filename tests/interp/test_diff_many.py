"""Many adapters in one table: kinds that follow from profiles are predicted, kinds that do not are at chance."""

import json

import numpy as np
import pytest

from palaestra.interp.diff.many import predict, recurring
from palaestra.interp.diff.many_page import told, write_many
from palaestra.interp.errors import InterpError


def made(kinds: int, each: int, seed: int = 0):
    """Profiles of adapters whose kind decides which module does most."""
    generator = np.random.default_rng(seed)
    found, labels = {}, {}
    for kind in range(kinds):
        for number in range(each):
            effects = generator.random(6) * 0.2
            effects[kind] += 1
            found[f"{kind}-{number}"] = {f"L{module}.q": float(value) for module, value in enumerate(effects)}
            labels[f"{kind}-{number}"] = f"kind {kind}"
    return found, labels


def test_a_kind_that_shows_is_predicted_and_shuffled_labels_are_not():
    found, labels = made(3, 5)
    told = predict(found, labels)
    assert (told.right, told.of) == (15, 15)
    assert told.p < 0.01
    assert told.chance < 0.5


def test_labels_that_mean_nothing_are_at_chance():
    found, labels = made(1, 12)
    assert predict(found, {name: str(number % 2) for number, name in enumerate(labels)}).p > 0.05


def test_recurring_modules_are_counted_beside_chance():
    found, _ = made(1, 5)
    name, times, chance = recurring(found, top=1)[0]
    assert (name, times) == ("L0.q", 5)
    assert chance == pytest.approx(5 / 6)


def test_one_kind_alone_cannot_be_predicted():
    found, labels = made(1, 3)
    with pytest.raises(InterpError, match="two kinds"):
        predict(found, labels)


def test_the_page_shows_every_adapter_and_escapes_what_their_cards_say(tmp_path):
    found, labels = made(2, 3)
    labels["0-0"] = "<script>alert(1)</script>"
    page = write_many("tiny:kuhn", found, labels, recurring(found), {"nothing": "too few"}, {"seed": 0}, tmp_path)
    text = page.read_text()
    assert "<script" not in text
    assert "&lt;script&gt;" in text
    assert all(name in text for name in found)
    data = json.loads((tmp_path / "many.json").read_text())
    assert data["adapters"]["1-2"] == {"kind": "kind 1", "effects": found["1-2"]}
    assert "6 of 6" in told({"right": 6, "of": 6, "chance": 0.5, "p": 0.01})
