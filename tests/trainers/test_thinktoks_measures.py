"""What thoughts do, on readers whose use of them is known because it was built by hand."""

import dataclasses
import math
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from palaestra.agents.reader import Batch, Scores, laid_out
from palaestra.envs.documents.groups import group
from palaestra.trainers.thinktoks.learners.base import Reader, Readings
from palaestra.trainers.thinktoks.measures import CHANGES, account, by_decile, changed, thoughts_of
from palaestra.trainers.thinktoks.models import Shape
from palaestra.trainers.thinktoks.training import Lesson, Plan, make_reader

PLAN = Plan((Lesson("chain", {"group": "s3", "length": 3}),), "plain", kinds=6, most=4, shape=Shape(1, 16, 2))
KNOWN, LOST = -0.1, -math.log(6)


class Built(Readings):
    """Thinks the running states, and knows the answer where its last thought is the state that the answer needs."""

    def __init__(self, reader: Reader, documents, thinks=lambda document: document.worked) -> None:
        super().__init__(reader)
        self.needed = {tuple(document.ids.tolist()): document for document in documents}
        self.thinks = thinks

    def readings(self, documents, seed):
        return [
            laid_out(one, [list(own) for own in self.thinks(one)], self.reader.thinking, self.reader.start)
            for one in documents
        ]

    def scores(self, readings):
        batch = Batch.of(readings)
        real = torch.zeros(batch.tokens.shape)
        for row, reading in enumerate(readings):
            placed = ~reading.thought & (reading.place >= 0)
            document = self.needed[tuple(reading.tokens[placed].tolist())]
            thoughts = thoughts_of(reading, self.reader.thinking, len(document))
            for column, place in zip(np.flatnonzero(placed), reading.place[placed], strict=True):
                if document.state[place] >= 0:
                    right = bool(thoughts[place]) and thoughts[place][-1] == document.state[place]
                    real[row, column] = KNOWN if right else LOST
        return batch, Scores(real, torch.zeros_like(real))


@pytest.fixture(scope="module")
def documents():
    return PLAN.drawn(0) + PLAN.drawn(1)


@pytest.fixture(scope="module")
def reader():
    return make_reader(PLAN)


def test_a_reader_that_needs_its_thoughts_loses_the_gain_under_every_change(reader, documents):
    found = account(Built(reader, documents), documents)
    assert found.loss == pytest.approx(-KNOWN)
    assert found.without["none"] == pytest.approx(-LOST)
    assert found.thoughts == 3 * len(documents)
    assert 0 < found.odds < 1  # of the model that was not trained
    best = min(found.without.values())  # a model may be bad at doing without: any other thought must do worse as well
    assert best < found.without["none"]
    assert found.saved == pytest.approx((best - found.loss) / 3)
    for change in ("random", "other"):  # right by chance in one of six
        share = (found.without[change] + KNOWN) / (KNOWN - LOST)
        assert 0.6 < share <= 1
    assert found.without["shuffled"] > found.loss
    assert found.held is not None
    assert found.held.corrected > 2.0  # of log2(6) = 2.58
    assert found.held.p == pytest.approx(1 / 200)


def test_where_thinking_is_allowed_everywhere_the_loss_is_still_of_what_takes_steps(reader):
    lesson = Lesson("chain", {"group": "s3", "length": 3, "where": "every"})
    everywhere = dataclasses.replace(PLAN, lessons=(lesson,)).drawn(0)
    assert any((document.open & document.scored & ~document.hard).any() for document in everywhere)
    found = account(Built(reader, everywhere), everywhere)
    assert found.loss == pytest.approx(-KNOWN)
    assert found.without["none"] == pytest.approx(-LOST)


def test_a_reader_that_only_waits_holds_nothing(reader, documents):
    waits = Built(reader, documents, thinks=lambda document: [[0] * int(open_) for open_ in document.open])
    found = account(waits, documents)
    assert found.held is not None
    assert found.held.bits == 0
    silent = account(Built(reader, documents, thinks=lambda document: [[]] * len(document)), documents)
    assert math.isnan(silent.saved)
    assert silent.held is None
    assert set(silent.without.values()) == {silent.loss}


@pytest.mark.parametrize("change", CHANGES)
def test_changes_keep_the_number_of_thoughts_or_leave_them_out(change):
    given = [[[], [1, 2, 3]], [[], [4, 5]], [[0], []]]
    found = changed(given, change, kinds=6, seed=1)
    counts = [[len(own) for own in places] for places in found]
    if change == "none":
        assert counts == [[0, 0]] * 3
    elif change == "other":
        assert found == [
            [[], [4, 5, 4]],
            [[], []],
            [[], []],
        ]  # what the next one has there; the last one's is the first
    else:
        assert counts == [[0, 3], [0, 2], [1, 0]]
    if change == "shuffled":
        assert [sorted(own) for own in found[0]] == given[0]
    with pytest.raises(ValueError, match="none of none, random, shuffled, other"):
        changed(given, "lost", 6, 0)


def test_deciles_are_of_equal_size_and_in_order():
    values = np.arange(20.0)[::-1]
    counts = (values // 2).astype(np.int64)
    assert by_decile(values, counts) == list(range(10))
    assert by_decile(values[:3], counts[:3]) == [8, 9, 9]


def test_places_of_equal_entropy_have_no_order():
    counts = np.array([0] * 10 + [8] * 10)
    assert by_decile(np.ones(20), counts) == [4.0] * 10
    assert by_decile(np.ones(20), counts[::-1]) == [4.0] * 10


def test_the_shipped_page_shows_running_products_before_the_answer_and_nothing_before_the_sign():
    """What README says beneath its picture."""
    s3 = group("s3")
    documents = re.findall(r'<div class="text">(.*)</div>', Path("docs/thoughts.html").read_text(encoding="utf-8"))
    assert len(documents) == 8
    for document in documents:
        parts = re.findall(r'<span class="(s|k)[^>]*>(.)</span>', document)
        word, thoughts, answer = parts[:8], parts[9:17], parts[17:]
        assert parts[8] == ("s", "=")
        elements = tuple("abcdef".index(sign) for _, sign in word)
        products = [s3.product(elements[: place + 1]) for place in range(8)]
        assert thoughts == [("k", str(product)) for product in products]
        assert answer == [("s", s3.write(products[-1]))]
