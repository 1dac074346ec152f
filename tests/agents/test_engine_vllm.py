"""Real vLLM keeps the engine contract. One engine for the module: a cold start takes minutes on two slow cores."""

from __future__ import annotations

import asyncio
import gc

import pytest

from tests.agents.patterns_kit import keeps_patterns, subject

# vLLM and what it imports warn of their own deprecations.
pytestmark = [pytest.mark.vllm, pytest.mark.filterwarnings("ignore")]


def test_vllm_keeps_the_contract_and_holds_replies_to_patterns(tmp_path):
    pytest.importorskip("vllm", reason="vLLM lives in an environment of its own: make vllm")
    from palaestra.agents.engines.base import Sampling
    from palaestra.agents.engines.conformance import CLAUSES, examine
    from palaestra.agents.engines.vllm_engine import VllmEngine

    model, adapters, tokenizer = subject(tmp_path)
    engine = VllmEngine(tmp_path, dtype="float32", patterns=True)

    async def everything():
        with pytest.raises(ValueError, match="needs the model's tokenizer"):
            await VllmEngine(tmp_path, dtype="float32").generate([5], Sampling(2, pattern="a"))
        await keeps_patterns(engine, tokenizer)
        with pytest.raises(ValueError, match="ends with a stop token"):
            await engine.generate([5], Sampling(2, pattern="a"))
        return await examine(engine, model, adapters)

    report = asyncio.run(everything())
    gc.collect()  # vLLM leaves open sockets to the collector, which warns: better here than after the last test
    assert len(report.kept) == len(CLAUSES)
    assert report.waived == {}
