"""The transformers engine keeps the engine contract, and the examiner notices engines that do not."""

from __future__ import annotations

import asyncio

import pytest

torch = pytest.importorskip("torch")

from palaestra.agents.engines.conformance import CLAUSES, Subject, examine, specimen  # noqa: E402
from palaestra.agents.engines.transformers_engine import TransformersEngine  # noqa: E402


@pytest.fixture(scope="module")
def made():
    torch.set_num_threads(1)
    return specimen()


@pytest.mark.parametrize("clause", CLAUSES, ids=lambda clause: clause.__name__)
def test_the_transformers_engine_keeps(clause, made):
    model, adapters = made
    report = asyncio.run(examine(TransformersEngine(model), model, adapters, [clause]))
    assert report.kept == (clause.__name__,)
