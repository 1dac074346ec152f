"""The transformers engine keeps the engine contract, and the examiner notices engines that do not."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

torch = pytest.importorskip("torch")

from palaestra.agents.engines import conformance as c  # noqa: E402
from palaestra.agents.engines.base import BASE, ContextOverflow  # noqa: E402
from palaestra.agents.engines.transformers_engine import TransformersEngine  # noqa: E402
from palaestra.envs.errors import ContractError  # noqa: E402


@pytest.fixture(scope="module")
def made():
    return c.specimen()


@pytest.mark.parametrize("clause", c.CLAUSES, ids=lambda clause: clause.__name__)
def test_the_transformers_engine_keeps(clause, made):
    model, adapters = made
    report = asyncio.run(c.examine(TransformersEngine(model), model, adapters, [clause]))
    assert report.kept == (clause.__name__,)


@pytest.mark.slow
@pytest.mark.parametrize(
    "options", [{"max_rows": 3, "step_tokens": 8}, {"cache_bytes": 0}, {"batch_bytes": 1}], ids=str
)
def test_the_whole_contract_is_kept_when_everything_is_scarce(options, made):
    """Few rows, small chunks, no cache: slower, never different. Clauses about reuse need the cache."""
    model, adapters = made
    reuse = {"sessions_save_prefill"} if "cache_bytes" in options else set()
    clauses = [clause for clause in c.CLAUSES if clause.__name__ not in reuse]
    report = asyncio.run(c.examine(TransformersEngine(model, **options), model, adapters, clauses))
    assert len(report.kept) == len(clauses)
    assert not report.waived


@pytest.mark.slow
def test_a_bfloat16_engine_states_what_it_cannot_keep(made):
    model, adapters = made
    engine = TransformersEngine(torch.nn.Module.to(c.specimen()[0], torch.bfloat16))
    clauses = [c.scores_are_the_models, c.batches_do_not_matter, c.replies_stop, c.seeds_decide]
    report = asyncio.run(c.examine(engine, model, adapters, clauses))
    assert set(report.waived) == {"batches_do_not_matter", "replies_stop"}
    assert set(report.kept) == {"scores_are_the_models", "seeds_decide"}


class IgnoresTheAdapter(TransformersEngine):
    async def generate(self, context, sampling, *, policy=BASE, session=None):
        return replace(await super().generate(context, sampling, session=session), policy=policy)


class NeverGreedy(TransformersEngine):
    async def generate(self, context, sampling, **kwargs):
        return await super().generate(context, replace(sampling, temperature=sampling.temperature or 1.0), **kwargs)


class Untempered(TransformersEngine):
    async def generate(self, context, sampling, **kwargs):
        return await super().generate(context, replace(sampling, temperature=1.0), **kwargs)


class IgnoresSeeds(TransformersEngine):
    async def generate(self, context, sampling, **kwargs):
        return await super().generate(context, replace(sampling, seed=0), **kwargs)


class SeedsByPlaceInTheBatch(TransformersEngine):
    async def generate(self, context, sampling, **kwargs):
        return await super().generate(context, replace(sampling, seed=sampling.seed + len(self._queue)), **kwargs)


class StoresUntemperedLogprobs(TransformersEngine):
    async def generate(self, context, sampling, **kwargs):
        reply = await super().generate(context, sampling, **kwargs)
        score = await self.score([*context, *reply.token_ids])
        return replace(reply, logprobs=tuple(score[-len(reply.token_ids) :]))


class ScoresOneLate(TransformersEngine):
    async def score(self, tokens, **kwargs):
        score = await super().score(tokens, **kwargs)
        return score[1:] + score[:1]


class DropsTheStopToken(TransformersEngine):
    async def generate(self, context, sampling, **kwargs):
        reply = await super().generate(context, sampling, **kwargs)
        return replace(reply, token_ids=reply.token_ids[:-1]) if reply.finish == "stop" else reply


class NamesCanBeMoved(TransformersEngine):
    def add_policy(self, name, adapter):
        self._weights._digests.pop(name, None)
        if name in self._weights.policies()[1:]:
            self._weights.remove(name)
        super().add_policy(name, adapter)


class KeepsServingRemovedPolicies(TransformersEngine):
    def remove_policy(self, name):
        pass


class PrefillsAgain(TransformersEngine):
    async def generate(self, context, sampling, *, policy=BASE, session=None):
        self.forget()
        return await super().generate(context, sampling, policy=policy, session=session)


class SharesCachesAmongPolicies(TransformersEngine):
    async def generate(self, context, sampling, *, policy=BASE, session=None):
        for (_, held), prefix in list(self._store._held.items()):
            if held == session:
                self._store.put(held, replace(prefix, policy=policy))
        return await super().generate(context, sampling, policy=policy, session=session)


class ForgetsNothing(TransformersEngine):
    def forget(self):
        pass


class CutsLongContexts(TransformersEngine):
    async def generate(self, context, sampling, **kwargs):
        try:
            return await super().generate(context, sampling, **kwargs)
        except ContextOverflow:
            return await super().generate(context[-8:] or [0], replace(sampling, max_tokens=1), **kwargs)


class CancelsTheWholeBatch(TransformersEngine):
    async def generate(self, context, sampling, **kwargs):
        try:
            return await super().generate(context, sampling, **kwargs)
        except asyncio.CancelledError:
            for row in (*self._rows, *self._queue):
                row.future.cancel()
            raise


class StaysOpen(TransformersEngine):
    async def aclose(self):
        pass


BROKEN = [
    (NeverGreedy, c.greedy_is_generate),
    (Untempered, c.samples_follow_the_distribution),
    (IgnoresSeeds, c.seeds_decide),
    (SeedsByPlaceInTheBatch, c.batches_do_not_matter),
    (StoresUntemperedLogprobs, c.logprobs_are_the_policys),
    (ScoresOneLate, c.scores_are_the_models),
    (DropsTheStopToken, c.replies_stop),
    (IgnoresTheAdapter, c.policies_share_a_batch),
    (NamesCanBeMoved, c.names_are_immutable),
    (KeepsServingRemovedPolicies, c.unknown_policies_are_refused),
    (PrefillsAgain, c.sessions_save_prefill),
    (SharesCachesAmongPolicies, c.contradicted_sessions_start_fresh),
    (ForgetsNothing, c.released_sessions_are_gone),
    (CutsLongContexts, c.long_contexts_are_refused),
    (CancelsTheWholeBatch, c.cancelling_is_private),
    (StaysOpen, c.closing_ends_it),
]


def test_every_clause_has_an_engine_that_breaks_it():
    assert [clause for _, clause in BROKEN] == list(c.CLAUSES)


@pytest.mark.parametrize(("engine", "clause"), BROKEN, ids=lambda one: one.__name__)
def test_the_examiner_catches(engine, clause, made):
    model, adapters = made
    with pytest.raises(ContractError) as caught:
        asyncio.run(c.examine(engine(model), model, adapters, [clause]))
    assert caught.value.clause == clause.__name__
