"""The page of thoughts: its numbers are the model's, it stands alone, and a document's text stays text."""

import dataclasses
import math

import pytest
import torch

from palaestra.envs.documents import Document, Piece
from palaestra.envs.documents.vocabulary import BYTES, encode
from palaestra.trainers.thinktoks.learners import make_learner
from palaestra.trainers.thinktoks.models import Shape
from palaestra.trainers.thinktoks.page import FULL, HIDDEN, PageError, Spot, page, spots_of, texts_of, write_page
from palaestra.trainers.thinktoks.training import Lesson, Plan, make_reader
from tests.trainers.test_report import HOSTILE, Page

PLAN = Plan((Lesson("chain"),), "thoughts", shape=Shape(layers=1, width=16, heads=2), kinds=3, most=2)


@pytest.fixture(scope="module")
def learner():
    reader = make_reader(PLAN)
    noise = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in reader.model.parameters():
            parameter += 0.3 * torch.randn(parameter.shape, generator=noise)
    return make_learner("thoughts", reader)


def document_of(text: str):
    return encode(Document((Piece("ab", scored=False), Piece(text, open="every")), "made"), BYTES)


@torch.no_grad()
def test_a_spot_says_what_the_model_says_one_token_after_another(learner):
    thinking, document = learner.reader.thinking, document_of("abcabca, bac")
    (spots,) = spots_of(learner, [document], BYTES)
    assert any(spot.thoughts for spot in spots)
    assert any(not spot.thoughts for spot in spots[2:])
    seen, bare = list(learner.reader.start), list(learner.reader.start)
    for spot, token in zip(spots, document.ids.tolist(), strict=True):
        assert spot.text == chr(token)
        logits = learner.reader.model(input_ids=torch.tensor([seen])).logits[0, -1]
        if spot.odds is not None:
            assert spot.odds == pytest.approx(1 - float(thinking.decisions(logits)[0].exp()), abs=1e-5)
        seen += [thinking.real + kind for kind in spot.thoughts]
        for tokens, loss in ((seen, spot.loss), (bare, spot.bare)):
            logits = learner.reader.model(input_ids=torch.tensor([tokens])).logits[0, -1]
            assert loss == pytest.approx(-float(thinking.real_logprobs(logits)[token]), abs=1e-4)
            tokens.append(token)
    assert [spot.odds is None for spot in spots] == [True, True] + [False] * 12
    assert [spot.gained for spot in spots[:2]] == [0, 0]


def test_where_thoughts_are_no_choice_thinking_is_certain(learner):
    thinking = dataclasses.replace(learner.reader.thinking, fixed=True)
    always = make_learner("thoughts", dataclasses.replace(learner.reader, thinking=thinking))
    (spots,) = spots_of(always, [document_of("abc")], BYTES)
    assert [spot.odds for spot in spots[2:]] == [1.0] * 3
    assert [len(spot.thoughts) for spot in spots] == [0, 0, 2, 2, 2]


def test_the_page_has_no_script_loads_nothing_and_shows_text_as_text(learner):
    documents = spots_of(learner, [document_of(HOSTILE), document_of("a\nb")], BYTES)
    text = page(HOSTILE, HOSTILE, documents)
    found = Page(text)
    assert not set(found.tags) & {"script", "img", "link", "iframe"}
    assert found.loads == []
    assert found.handlers == []
    assert "\x00" not in text.partition("<table>")[2]
    assert "\u202e" not in text.partition("<table>")[2]
    assert text.count('class="k"') == 1 + sum(len(spot.thoughts) for spots in documents for spot in spots)
    assert "↵\n" in text


def test_characters_of_several_tokens_stand_at_their_last_one():
    assert texts_of(list("aé€".encode()), BYTES) == ["a", HIDDEN, "é", HIDDEN, HIDDEN, "€"]
    assert len(texts_of([255] * 9, BYTES)) == 9


def test_underlines_are_as_strong_as_the_gain_and_end_at_the_full_one():
    gains = (-9.0, -FULL / 2, 0.0, FULL / 4, 50.0)
    assert [Spot("a", [], None, 0.0, gain, True).strength for gain in gains] == [-1, -0.5, 0, 0.25, 1]
    assert not any(math.copysign(1, spot.gained) < 0 for spot in [Spot("a", [], 0.1, 3.0, 1.0, False)])


def test_a_page_that_cannot_be_written_is_told(tmp_path):
    with pytest.raises(PageError, match="name another file"):
        write_page(tmp_path / "none" / "page.html", "title", "about", [[Spot("a", [], 0.5, 1.0, 2.0, True)]])
    path = write_page(tmp_path / "page.html", "title", "about", [[Spot("a", [2], 0.5, 1.0, 2.0, True)]])
    assert "+1.00 nats, +1.000 for each thought" in path.read_text(encoding="utf-8")
