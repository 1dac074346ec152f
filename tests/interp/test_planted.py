"""Planted circuits are found: on transformers built by hand every true component and edge comes before every other."""

import pytest
import torch
from sklearn.metrics import roc_auc_score

from palaestra.interp.circuits import Circuit, discover, evaluate
from palaestra.interp.importance import METHODS, attribute, edges, exact
from palaestra.interp.metrics import logit_difference
from tests.interp.planted import PLANTED

planted = pytest.mark.parametrize("name", PLANTED)
seeds = pytest.mark.parametrize("seed", range(3))


@planted
@seeds
def test_the_models_do_what_they_were_built_for(name, seed):
    opened, pairs, _, _ = PLANTED[name](seed)
    end = pairs.clean.at_end(opened(pairs.clean.ids))
    assert torch.equal(end.argmax(-1), pairs.clean.answers[:, 0])
    assert (logit_difference(opened(pairs.corrupt.ids), pairs.clean) < 0.5).all()


@planted
@seeds
@pytest.mark.parametrize("method", METHODS)
def test_true_components_come_first(name, seed, method):
    opened, pairs, nodes, _ = PLANTED[name](seed)
    found = attribute(opened, pairs, nodes=opened.writers(), method=method)
    assert roc_auc_score([one in nodes for one in found.names], found.mean) == pytest.approx(1)
    measured = exact(opened, pairs, nodes=opened.writers())
    assert roc_auc_score([one in nodes for one in measured.names], measured.mean) == pytest.approx(1)


@planted
@seeds
def test_true_edges_come_first_and_carry_the_behaviour(name, seed):
    opened, pairs, _, true = PLANTED[name](seed)
    found = edges(opened, pairs)
    assert roc_auc_score([one in true for one in found.names], found.flat().mean(0)) == pytest.approx(1)
    circuit = discover(opened, pairs, count=len(true), by="sign")
    assert set(circuit.members) == true
    whole = evaluate(opened, pairs, circuit, random=5)
    assert whole.faithfulness == pytest.approx(1, abs=0.05)
    assert whole.worst > 0.9
    assert whole.random is not None
    assert whole.random < 0.3
    for missing in true:
        assert evaluate(opened, pairs, circuit.without([missing])).faithfulness < 0.1


@planted
def test_with_shuffled_answers_nothing_is_planted(name):
    """The null: where answers are dealt out at random, true edges carry a fraction of what they carry for the task."""
    opened, pairs, _, true = PLANTED[name](0)
    found = edges(opened, pairs)
    shuffled = edges(opened, pairs, _other_rows)
    on = sum(found.flat().mean(0)[found.names.index(one)] for one in true)
    off = sum(shuffled.flat().mean(0)[shuffled.names.index(one)].abs() for one in true)
    assert off < 0.6 * on


def _other_rows(logits, prompts):
    end = prompts.at_end(logits)
    answers, foils = prompts.answers.roll(1, 0), prompts.foils.roll(1, 0)
    return end.gather(1, answers).mean(1) - end.gather(1, foils).mean(1)


def test_a_circuit_of_edges_is_not_one_of_others():
    opened, pairs, _, _ = PLANTED["induction"](0)
    reversed_ = Circuit("", "edge", ("embed->L1.KV3.k", "L0.H1->L1.KV3.v", "L1.H3->logits"), (0.0,) * 3, 1, "")
    assert evaluate(opened, pairs, reversed_).faithfulness < 0.2
