"""Circuits: everything is the clean run, nothing the corrupt one, and planted ones are found."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palaestra.interp.circuits import Circuit, curve, discover, evaluate, run_circuit
from palaestra.interp.circuits.evaluate import random_like
from palaestra.interp.errors import InterpError
from palaestra.interp.importance.edges import ARROW, edges
from palaestra.interp.metrics import logit_difference
from palaestra.interp.opened import OpenModel
from tests.interp import kit

families = pytest.mark.parametrize("family", kit.FAMILIES)
PAIRS = kit.pairs()


@families
@pytest.mark.parametrize("granularity", ["edge", "node"])
def test_all_is_clean_and_nothing_is_corrupt(family, granularity):
    opened = kit.opened(family)
    whole = discover(opened, PAIRS, granularity=granularity)
    ends = PAIRS.clean
    torch.testing.assert_close(
        ends.at_end(run_circuit(opened, PAIRS, whole)), ends.at_end(opened(PAIRS.clean.ids)), rtol=1e-5, atol=1e-5
    )
    torch.testing.assert_close(
        ends.at_end(run_circuit(opened, PAIRS, whole.first(0))),
        ends.at_end(opened(PAIRS.corrupt.ids)),
        rtol=1e-5,
        atol=1e-5,
    )
    found = evaluate(opened, PAIRS, whole, complete=True)
    assert found.faithfulness == pytest.approx(1, abs=1e-5)
    assert found.completeness == pytest.approx(0, abs=1e-5)


@families
def test_all_edges_of_some_writers_are_those_components(family):
    """A circuit of components is the circuit of all of their edges."""
    opened = kit.opened(family)
    whole = discover(opened, PAIRS)
    chosen = {"embed", "position", "L0.H1", "L1.mlp", "L1.H3", "L2.H0", "L0.bias", "L1.bias", "L2.bias"}
    nodes = tuple(name for name in opened.writers() if name in chosen)
    by_node = Circuit("", "node", nodes, (0.0,) * len(nodes), 1, "")
    members = tuple(name for name in whole.members if name.partition(ARROW)[0] in chosen)
    by_edge = Circuit("", "edge", members, (0.0,) * len(members), 1, "")
    torch.testing.assert_close(
        PAIRS.clean.at_end(run_circuit(opened, PAIRS, by_edge)),
        PAIRS.clean.at_end(run_circuit(opened, PAIRS, by_node)),
        rtol=1e-5,
        atol=1e-5,
    )


@pytest.mark.parametrize(("shrunk", "agreement"), [(0.5, 0.9), (0.1, 0.999)])
def test_leaving_out_one_edge_is_its_score_where_the_model_is_nearly_linear(shrunk, agreement):
    """Two roads to one number, gradients and runs of circuits, and they meet as what bends the model goes away."""
    model = kit.llama()
    with torch.no_grad():
        for name, one in model.named_parameters():
            if one.ndim > 1 and "embed" not in name:
                one.mul_(shrunk)
    opened = OpenModel(model)
    scored = edges(opened, PAIRS)
    whole = discover(opened, PAIRS)
    clean = logit_difference(opened(PAIRS.clean.ids), PAIRS.clean)
    flat = dict(zip(scored.names, scored.flat().T, strict=True))
    names = whole.members[::7]
    without = [run_circuit(opened, PAIRS, whole.without([name])) for name in names]
    measured = [clean - logit_difference(logits, PAIRS.clean) for logits in without]
    both = torch.stack([torch.cat([flat[name] for name in names]), torch.cat(measured)])
    assert torch.corrcoef(both)[0, 1] > agreement


def test_a_curve_begins_low_and_ends_at_one():
    opened = kit.opened("gpt2")
    found = curve(opened, PAIRS, discover(opened, PAIRS), shares=(0.01, 0.1, 0.5, 1.0), random=2)
    assert found.points[-1].faithfulness == pytest.approx(1, abs=1e-5)
    assert [one.size for one in found.points] == sorted(one.size for one in found.points)
    assert 0 <= found.cpr <= 1
    assert found.cmd >= 0
    assert found.random_cmd is not None
    assert found.points[0].random is not None
    assert all(one.low <= one.faithfulness <= one.high for one in found.points)


@settings(max_examples=20)
@given(st.integers(0, 10**6), st.integers(1, 150))
def test_random_circuits_have_as_many_edges_into_each_layer(seed, count):
    opened = OPENED
    some = WHOLE.first(count)
    other = random_like(opened, some, seed)
    layers = [sorted(name.partition(ARROW)[2].partition(".")[0] for name in one.members) for one in (some, other)]
    assert layers[0] == layers[1]
    assert len(set(other.members)) == len(some)


OPENED = kit.opened("llama")
WHOLE = discover(OPENED, PAIRS, by="sign")


def test_a_circuit_comes_back_from_disk(tmp_path):
    some = discover(OPENED, PAIRS, count=20)
    assert 0 < some.facts["stability"]["mean"] <= 1
    some.save(tmp_path / "circuit.json")
    assert Circuit.load(tmp_path / "circuit.json") == some
    (tmp_path / "torn.json").write_text((tmp_path / "circuit.json").read_text()[:90])
    with pytest.raises(InterpError, match="holds no circuit"):
        Circuit.load(tmp_path / "torn.json")


def test_circuits_are_compared():
    some, other = WHOLE.first(10), WHOLE.first(10).without(WHOLE.members[:2])
    found = some.compared(other)
    assert found["lost"] == list(WHOLE.members[:2])
    assert not found["gained"]
    assert found["jaccard"] == 0.8
    assert some.compared(some) == {"gained": [], "lost": [], "jaccard": 1.0, "weighted_jaccard": 1.0}
    with pytest.raises(InterpError, match="is not in this circuit"):
        other.without([WHOLE.members[0]])
    with pytest.raises(InterpError, match="cannot be compared"):
        some.compared(discover(OPENED, PAIRS, granularity="node", count=3))
    strange = Circuit("x", "edge", ("L9.H0->logits",), (0.0,), 1, "")
    with pytest.raises(InterpError, match=r"L9\.H0->logits"):
        run_circuit(OPENED, PAIRS, strange)
