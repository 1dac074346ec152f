"""Memory stays bounded: however many prompts there are, no pass holds more rows than a batch has, and results do not
depend on how prompts are divided."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import torch

from palaestra.interp import opened as opening
from palaestra.interp.circuits import attack, discover, edit_effect, evaluate
from palaestra.interp.diff.lens import lens, steered
from palaestra.interp.diff.pair import Pair, adapter_pair
from palaestra.interp.diff.suppression import suppression
from palaestra.interp.diff.switching import divergence, screen, switch
from palaestra.interp.importance import attribute, direct, edges, exact
from palaestra.interp.metrics import logit_difference
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs
from tests.interp import kit

BATCH = 4


def pair() -> Pair:
    return adapter_pair(OpenModel(kit.with_lora(kit.llama())), None, "default")


@contextmanager
def widest(opened: OpenModel) -> Iterator[list[int]]:
    """Note the rows of every forward pass."""
    rows: list[int] = []
    handle = opened.model.register_forward_hook(lambda module, args, output: rows.append(len(output.logits)))
    try:
        yield rows
    finally:
        handle.remove()


def by_lens(one: Pair, prompts: Pairs):
    found = lens(one, prompts.clean, batch=BATCH)[1]
    return found.direction, steered(one, prompts.clean, found, batch=BATCH)


PAIRED = {
    "switch": lambda one, some: switch(one, some.clean, batch=BATCH).effect,
    "switch by metric": lambda one, some: switch(one, some.clean, logit_difference, batch=BATCH).effect,
    "screen": lambda one, some: screen(one, some.clean, batch=BATCH),
    "lens": by_lens,
    "suppression": lambda one, some: suppression(one, some, batch=BATCH),
}
SINGLE = {
    "attribute": lambda one, some: attribute(one, some, batch=BATCH),
    "integrated": lambda one, some: attribute(one, some, method="integrated", steps=2, batch=BATCH),
    "exact": lambda one, some: exact(one, some, nodes=["L0.H1"], batch=BATCH),
    "direct": lambda one, some: direct(one, some.clean, batch=BATCH),
    "edges": lambda one, some: edges(one, some, batch=BATCH),
    "evaluate": lambda one, some: evaluate(one, some, discover(one, some, count=9, batch=BATCH), batch=BATCH),
    "edit": lambda one, some: edit_effect(one, ["L0.H1"], some.clean, some.corrupt, random=1, batch=BATCH),
    "attack": lambda one, some: attack(one, some.clean, ["L1.H1"], flips=1, candidates=2, batch=BATCH),
}


@pytest.mark.parametrize("name", [*PAIRED, *SINGLE])
def test_no_pass_is_wider_than_a_batch(name):
    prompts = kit.pairs(3 * BATCH + 1)
    one = pair() if name in PAIRED else OpenModel(kit.llama())
    with widest(one.opened if name in PAIRED else one) as rows:
        (PAIRED | SINGLE)[name](one, prompts)
    assert max(rows) == BATCH
    assert min(rows) == 1, "the last prompt is there, too"


def test_passes_are_narrower_where_logits_are_many(monkeypatch):
    one = pair()
    prompts = kit.pairs(6, 7)
    monkeypatch.setattr(opening, "LOGITS", 2 * 7 * kit.VOCABULARY)
    assert one.opened.fitting(8, 7) == 2
    assert one.opened.fitting(8, 700) == 1
    with widest(one.opened) as rows:
        switch(one, prompts.clean)
        suppression(one, prompts)
    assert max(rows) == 2


def test_prompts_may_be_divided_anyhow():
    one, prompts = pair(), kit.pairs(7)
    whole, divided = (suppression(one, prompts, batch=size) for size in (7, 2))
    for name in ("restored", "read", "control", "done", "own"):
        torch.testing.assert_close(getattr(divided, name), getattr(whole, name))
    assert divided.verdict == whole.verdict
    found = lens(one, prompts.clean)[2]
    assert steered(one, prompts.clean, found, batch=7) == pytest.approx(steered(one, prompts.clean, found, batch=2))
    a, b = (switch(one, prompts.clean, batch=size) for size in (7, 3))
    torch.testing.assert_close(a.effect, b.effect)
    opened = OpenModel(kit.llama())
    edits = [edit_effect(opened, ["L0.H1"], prompts.clean, prompts.corrupt, random=1, batch=size) for size in (7, 2)]
    for name, value in edits[0].as_json().items():
        assert value == pytest.approx(edits[1].as_json()[name]), name
    attacks = [attack(opened, prompts.clean, ["L1.H1"], flips=1, candidates=2, batch=size) for size in (7, 2)]
    assert torch.equal(attacks[0].ids, attacks[1].ids)
    torch.testing.assert_close(attacks[0].restored, attacks[1].restored)


def test_divergence_is_that_of_whole_distributions():
    """Sum p log(p / q), written out over real places."""
    generator = torch.Generator().manual_seed(0)
    p, q = (torch.randn(3, 5, 11, generator=generator) for _ in range(2))
    real = torch.arange(5)[None] < torch.tensor([5, 2, 1])[:, None]
    first, second = p.double().softmax(-1), q.double().softmax(-1)
    by_token = (first * (first / second).log()).sum(-1)
    expected = torch.stack([by_token[row][real[row]].mean() for row in range(3)]).float()
    torch.testing.assert_close(divergence(p, q, real), expected)
