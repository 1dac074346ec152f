"""Real vLLM keeps the engine contract. One engine for the module: a cold start takes minutes on two slow cores."""

from __future__ import annotations

import asyncio
import gc

import pytest

# vLLM and what it imports warn of their own deprecations.
pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


def test_vllm_keeps_the_contract(tmp_path):
    pytest.importorskip("vllm", reason="vLLM lives in an environment of its own: make vllm")
    from palaestra.agents.engines.conformance import CLAUSES, examine, specimen
    from palaestra.agents.engines.vllm_engine import VllmEngine

    model, adapters = specimen()
    model.save_pretrained(tmp_path)
    report = asyncio.run(examine(VllmEngine(tmp_path, dtype="float32"), model, adapters))
    gc.collect()  # vLLM leaves open sockets to the collector, which warns: better here than after the last test
    assert len(report.kept) == len(CLAUSES)
    assert report.waived == {}
