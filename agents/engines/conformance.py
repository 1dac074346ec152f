"""The examiner of engines: what every backend must do, checked against plain transformers and PEFT.

    report = await examine(engine, model, adapters)

runs every clause on an engine that serves `model`, where `adapters` are two or more LoRA adapters of it, not yet
added. A clause is a coroutine that raises `ContractError` with its name. What an engine states in `capabilities` that
it cannot keep is not demanded and stands in `report.waived` with the reason: nothing is skipped silently.

`specimen` makes a small random model and adapters on which all clauses take seconds; it has a head size of 32, which
every backend can compute. The oracle is the model's own forward pass, in float32, one context at a time.

Replies are compared token by token until they part. Greedy ones may part only where the oracle's two best scores are
nearer than `NEAR_TIE`, because floating point differs with the shape of a batch; of sampled ones, whose noise is the
engine's own affair, one in forty may.
"""

from __future__ import annotations

import asyncio
import copy
import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig, PeftModel, get_peft_model, get_peft_model_state_dict, set_peft_model_state_dict
from transformers import LlamaConfig, LlamaForCausalLM

from palaestra.agents.engines.base import (
    BASE,
    AdapterError,
    Completion,
    ContextOverflow,
    Engine,
    EngineClosed,
    EngineError,
    Sampling,
    UnknownPolicy,
)
from palaestra.agents.engines.canary import plain_score
from palaestra.envs.errors import ContractError

NEAR_TIE = 1e-3

Adapters = dict[str, tuple[LoraConfig, dict[str, torch.Tensor]]]


@dataclass(frozen=True, slots=True)
class Report:
    """Names of the clauses that were kept, and why others were not demanded."""

    kept: tuple[str, ...]
    waived: dict[str, str]


@dataclass
class Subject:
    """An engine under examination and its oracle."""

    engine: Engine
    model: Any
    adapters: Adapters
    vocab: int
    _oracles: dict[str, Any] = field(default_factory=dict)

    def oracle(self, policy: str) -> Any:
        """The plain model, or a plain PEFT model around a copy of it."""
        if policy not in self._oracles:
            model = copy.deepcopy(self.model)
            if policy != BASE:
                config, tensors = self.adapters[policy]
                model = PeftModel(model, copy.deepcopy(config))
                set_peft_model_state_dict(model, tensors)
            self._oracles[policy] = model.eval()
        return self._oracles[policy]

    def logits(self, policy: str, tokens: Sequence[int]) -> torch.Tensor:
        """The oracle's logits [V] after `tokens`."""
        with torch.inference_mode():
            logits: torch.Tensor = self.oracle(policy)(input_ids=torch.tensor([list(tokens)])).logits[0, -1].float()
        return logits

    def context(self, number: int, length: int) -> list[int]:
        """Random tokens, different in the first one for different numbers."""
        generator = torch.Generator().manual_seed(number)
        rest = torch.randint(0, self.vocab, (length - 1,), generator=generator).tolist()
        return [number % self.vocab, *rest]

    @property
    def tolerance(self) -> float:
        return self.engine.capabilities.logprob_tolerance

    def reused(self, known: int) -> int:
        """Fewest tokens of `known` ones that the engine must not compute again."""
        block = self.engine.capabilities.prefill_block
        return known // block * block


def specimen(seed: int = 0, adapters: int = 2) -> tuple[LlamaForCausalLM, Adapters]:
    """Return a random Llama of two layers, 260 tokens and a context of 512, and adapters `probe@0`, `probe@1`, ..."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        config = LlamaConfig(
            vocab_size=260,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_key_value_heads=1,
            head_dim=32,
            max_position_embeddings=512,
            initializer_range=0.15,
            tie_word_embeddings=False,
            bos_token_id=None,
            eos_token_id=None,
        )
        model = LlamaForCausalLM(config).eval()
        made = {f"probe@{number}": random_adapter(model, seed + number + 1) for number in range(adapters)}
    return model, made


def random_adapter(model: Any, seed: int, rank: int = 4) -> tuple[LoraConfig, dict[str, torch.Tensor]]:
    """Return a LoRA adapter of `model` that changes its answers."""
    config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=["q_proj", "v_proj", "up_proj"])
    tensors = get_peft_model_state_dict(get_peft_model(copy.deepcopy(model), copy.deepcopy(config)))
    generator = torch.Generator().manual_seed(seed)
    return config, {key: torch.randn(value.shape, generator=generator) * 0.15 for key, value in tensors.items()}


async def examine(engine: Engine, model: Any, adapters: Adapters, clauses: Sequence[Clause] | None = None) -> Report:
    """Run the clauses, by default all of them; the last one closes the engine.

    Args:
        engine: A fresh engine that serves `model`.
        model: The same model in transformers, float32; the oracle.
        adapters: At least two, by name.
        clauses: What to examine, by default `CLAUSES`.

    Raises:
        ContractError: The engine broke a clause.
    """
    subject = Subject(engine, model, adapters, model.config.vocab_size)
    if len(adapters) < 2:
        raise ValueError("an examination needs at least two adapters, or it cannot tell them apart.")
    for name, adapter in adapters.items():
        engine.add_policy(name, adapter)
    kept: list[str] = []
    waived: dict[str, str] = {}
    for clause in clauses or CLAUSES:
        name = clause.__name__
        if name in _NEEDS_EXACT_SEEDS and not engine.capabilities.exact_seeds:
            waived[name] = "the engine states that its seeded replies depend on the batch (exact_seeds is False)"
            continue
        await clause(subject)
        kept.append(name)
    return Report(tuple(kept), waived)


def _require(condition: bool, clause: Callable[..., object], message: str) -> None:
    if not condition:
        raise ContractError(clause.__name__, message)


def _near(clause: Callable[..., object], got: Sequence[float], want: Sequence[float], tolerance: float) -> None:
    _require(len(got) == len(want), clause, f"{len(got)} log-probabilities came back, {len(want)} were due.")
    error = max((abs(a - b) for a, b in zip(got, want, strict=True)), default=0.0)
    _require(error <= tolerance, clause, f"a log-probability is off by {error:.3g}, more than {tolerance:.3g}.")


async def greedy_is_generate(subject: Subject) -> None:
    """At temperature 0, many contexts at once, replies are the argmax of the model, save for near-ties."""
    contexts = [subject.context(number, 1 + 7 * number) for number in range(1, 12)]
    replies = await asyncio.gather(
        *(subject.engine.generate(context, Sampling(12, temperature=0)) for context in contexts)
    )
    for context, reply in zip(contexts, replies, strict=True):
        _follows_argmax(greedy_is_generate, subject, BASE, context, reply)


def _follows_argmax(
    clause: Callable[..., object], subject: Subject, policy: str, context: list[int], reply: Completion
) -> None:
    tokens = list(context)
    for token in reply.token_ids:
        logits = subject.logits(policy, tokens)
        gap = (logits.max() - logits[token]).item()
        _require(gap < NEAR_TIE, clause, f"policy {policy!r} chose token {token}, {gap:.3g} below the best.")
        tokens.append(token)


async def samples_follow_the_distribution(subject: Subject) -> None:
    """2,000 seeds at temperature 0.8 give each token as often as the tempered softmax says (chi-square)."""
    context = subject.context(20, 9)
    draws = 2000
    replies = await asyncio.gather(
        *(subject.engine.generate(context, Sampling(1, temperature=0.8, seed=seed)) for seed in range(draws))
    )
    expected = (subject.logits(BASE, context) / 0.8).softmax(-1) * draws
    counts = torch.bincount(torch.tensor([reply.token_ids[0] for reply in replies]), minlength=subject.vocab)
    # Cells expected fewer than five times are merged into one, as the chi-square approximation needs.
    common = expected >= 5
    seen = torch.cat([counts[common], counts[~common].sum()[None]]).double()
    due = torch.cat([expected[common], expected[~common].sum()[None]]).double()
    statistic = ((seen - due) ** 2 / due).sum().item()
    freedom = len(due) - 1
    # Wilson and Hilferty (1931): (X / k)^(1/3) is nearly normal with mean 1 - 2/(9k) and variance 2/(9k).
    z = ((statistic / freedom) ** (1 / 3) - (1 - 2 / (9 * freedom))) / math.sqrt(2 / (9 * freedom))
    _require(z < 4.5, samples_follow_the_distribution, f"chi-square {statistic:.0f} on {freedom} degrees, z = {z:.1f}.")


async def seeds_decide(subject: Subject) -> None:
    """The same request gives the same reply twice, and other seeds give other replies."""
    context = subject.context(30, 6)
    first = await subject.engine.generate(context, Sampling(10, seed=1))
    again = await subject.engine.generate(context, Sampling(10, seed=1))
    other = await subject.engine.generate(context, Sampling(10, seed=2))
    _require(first.token_ids == again.token_ids, seeds_decide, "a repeated request was answered differently.")
    _require(first.token_ids != other.token_ids, seeds_decide, "another seed gave the same ten tokens.")


async def batches_do_not_matter(subject: Subject) -> None:
    """Replies drawn alone and in company are equal, save for one sequence in forty (a near-tie)."""
    jobs = [(subject.context(number, 3 + number), Sampling(8, seed=number)) for number in range(40, 80)]
    together = await asyncio.gather(*(subject.engine.generate(*job) for job in jobs))
    alone = [await subject.engine.generate(*job) for job in jobs]
    different = sum(a.token_ids != b.token_ids for a, b in zip(together, alone, strict=True))
    _require(different <= 1, batches_do_not_matter, f"{different} of 40 replies depend on what else was computed.")


async def logprobs_are_the_policys(subject: Subject) -> None:
    """Stored log-probabilities are score()'s at temperature 1 and 0, and the tempered ones elsewhere."""
    clause = logprobs_are_the_policys
    context = subject.context(90, 10)
    for temperature in (1.0, 0.0):
        reply = await subject.engine.generate(context, Sampling(8, temperature=temperature, seed=3))
        score = await subject.engine.score([*context, *reply.token_ids])
        _near(clause, reply.logprobs, score[-len(reply.token_ids) :], 2 * subject.tolerance)
    reply = await subject.engine.generate(context, Sampling(8, temperature=0.5, seed=4))
    tokens = list(context)
    tempered = []
    for token in reply.token_ids:
        tempered.append((subject.logits(BASE, tokens) / 0.5).log_softmax(-1)[token].item())
        tokens.append(token)
    _near(clause, reply.logprobs, tempered, 2 * subject.tolerance)


async def scores_are_the_models(subject: Subject) -> None:
    """score() is the model's forward pass for every policy, also of one token, several at once."""
    clause = scores_are_the_models
    texts = [subject.context(number, length) for number, length in ((100, 1), (101, 2), (102, 40), (103, 150))]
    for policy in (BASE, *subject.adapters):
        scores = await asyncio.gather(*(subject.engine.score(text, policy=policy) for text in texts))
        for text, score in zip(texts, scores, strict=True):
            _near(clause, score, plain_score(subject.oracle(policy), text), subject.tolerance)


async def replies_stop(subject: Subject) -> None:
    """A stop token ends the reply and belongs to it; otherwise `max_tokens` does."""
    clause = replies_stop
    context = subject.context(110, 8)
    full = await subject.engine.generate(context, Sampling(12, seed=5))
    _require(len(full.token_ids) == 12 and full.finish == "length", clause, "a reply without stop tokens fell short.")
    _require(len(full.logprobs) == 12, clause, "there is not one log-probability a token.")
    stop = full.token_ids[5]
    cut = full.token_ids[: full.token_ids.index(stop) + 1]
    reply = await subject.engine.generate(context, Sampling(12, seed=5, stop_ids=(stop,)))
    _require(reply.token_ids == cut, clause, f"the reply is {reply.token_ids}, not {cut} with its stop token.")
    _require(reply.finish == "stop", clause, f"a stopped reply says {reply.finish!r}.")
    one = await subject.engine.generate(context, Sampling(1, seed=5))
    _require(one.token_ids == full.token_ids[:1], clause, "a shorter limit changed the tokens before it.")


async def policies_share_a_batch(subject: Subject) -> None:
    """Base and adapters in one batch each answer as plain PEFT alone, and say who answered."""
    clause = policies_share_a_batch
    names = (BASE, *subject.adapters)
    _require(tuple(subject.engine.policies()[:1]) == (BASE,), clause, "policies() does not begin with the base.")
    _require(set(names) <= set(subject.engine.policies()), clause, "an added policy is missing from policies().")
    jobs = [(name, subject.context(120 + number, 5 + number)) for number in range(4) for name in names]
    replies = await asyncio.gather(
        *(subject.engine.generate(context, Sampling(6, temperature=0), policy=name) for name, context in jobs)
    )
    for (name, context), reply in zip(jobs, replies, strict=True):
        _require(reply.policy == name, clause, f"a reply of {name!r} is stamped {reply.policy!r}.")
        _follows_argmax(clause, subject, name, context, reply)
        want = plain_score(subject.oracle(name), [*context, *reply.token_ids])[-6:]
        _near(clause, reply.logprobs, want, subject.tolerance)


async def names_are_immutable(subject: Subject) -> None:
    """Equal weights under a known name are a no-op, other weights and other bases are refused, and nothing changes."""
    clause = names_are_immutable
    engine = subject.engine
    (name, adapter), (_, another), *_ = subject.adapters.items()
    text = subject.context(140, 12)
    before = engine.policies()
    engine.add_policy(name, adapter)
    _require(engine.policies() == before, clause, "adding equal weights again changed policies().")
    config, tensors = adapter
    cut = {key: value[..., :-1] for key, value in tensors.items()}
    strange = {key.replace("layers.1", "layers.77"): value for key, value in tensors.items()}
    partial = dict(list(tensors.items())[1:])
    for case, wrong_name, wrong in (
        ("other weights under a known name", name, another),
        ("the base's name", BASE, adapter),
        ("matrices of another size", "wrong@0", (config, cut)),
        ("layers that the base has not", "wrong@1", (config, strange)),
        ("a missing matrix", "wrong@2", (config, partial)),
    ):
        try:
            engine.add_policy(wrong_name, wrong)
            await engine.score(text, policy=wrong_name)  # an engine may load on first use
        except AdapterError:
            continue
        raise ContractError(clause.__name__, f"{case} was accepted.")
    _require(engine.policies() == before, clause, "a refused adapter changed policies().")
    _near(clause, await engine.score(text, policy=name), plain_score(subject.oracle(name), text), subject.tolerance)


async def unknown_policies_are_refused(subject: Subject) -> None:
    """A policy is served from add_policy to remove_policy and not a moment longer."""
    clause = unknown_policies_are_refused
    engine = subject.engine
    name, adapter = next(iter(subject.adapters.items()))
    engine.add_policy("passing@0", adapter)
    await engine.score(subject.context(150, 4), policy="passing@0")
    engine.remove_policy("passing@0")
    for call in (
        lambda: engine.generate(subject.context(150, 4), Sampling(1), policy="passing@0"),
        lambda: engine.score(subject.context(150, 4), policy="passing@0"),
    ):
        try:
            await call()
        except UnknownPolicy as error:
            _require("passing@0" in str(error), clause, "the message does not name the policy.")
            continue
        raise ContractError(clause.__name__, "a removed policy still answers.")
    await engine.score(subject.context(150, 4), policy=name)


async def sessions_save_prefill(subject: Subject) -> None:
    """The second turn of a session computes only what is new, and answers as if all had been computed."""
    clause = sessions_save_prefill
    engine = subject.engine
    context = subject.context(160, 64)
    first = await engine.generate(context, Sampling(6, seed=1), session="a")
    _require(first.prefilled == len(context), clause, f"a new context of 64 tokens prefilled {first.prefilled}.")
    known = len(context) + len(first.token_ids) - 1  # the last sampled token has not been read yet
    longer = [*context, *first.token_ids, *subject.context(161, 10)]
    second = await engine.generate(longer, Sampling(6, temperature=0), session="a")
    most = len(longer) - subject.reused(known)
    _require(
        0 < second.prefilled <= most, clause, f"the second turn prefilled {second.prefilled}, at most {most} are new."
    )
    _follows_argmax(clause, subject, BASE, longer, second)
    score = plain_score(subject.oracle(BASE), [*longer, *second.token_ids])[-6:]
    _near(clause, second.logprobs, score, subject.tolerance)


async def contradicted_sessions_start_fresh(subject: Subject) -> None:
    """A context that is no extension, and one under another policy, are computed, not answered from the cache."""
    clause = contradicted_sessions_start_fresh
    engine = subject.engine
    context = subject.context(170, 40)
    await engine.generate(context, Sampling(4), session="b")
    other = subject.context(171, 40)
    reply = await engine.generate(other, Sampling(4, temperature=0), session="b")
    _require(reply.prefilled == 40, clause, f"another context of 40 tokens prefilled {reply.prefilled}.")
    _follows_argmax(clause, subject, BASE, other, reply)
    changed = [*other[:30], (other[30] + 1) % subject.vocab, *other[31:]]
    reply = await engine.generate(changed, Sampling(4, temperature=0), session="b")
    _require(reply.prefilled >= 10, clause, "tokens after a changed one were taken from the cache.")
    _follows_argmax(clause, subject, BASE, changed, reply)
    name = next(iter(subject.adapters))
    reply = await engine.generate(changed, Sampling(4, temperature=0), policy=name, session="b")
    _require(reply.prefilled == 40, clause, "another policy was answered from the base's cache.")
    _follows_argmax(clause, subject, name, changed, reply)


async def released_sessions_are_gone(subject: Subject) -> None:
    """After forget() a context is computed again; release() of anything is harmless and loses only time."""
    clause = released_sessions_are_gone
    engine = subject.engine
    context = subject.context(180, 40)
    await engine.generate(context, Sampling(4), session="c")
    engine.release("c")
    engine.release("never used")
    reply = await engine.generate(context, Sampling(4, temperature=0), session="c")
    _follows_argmax(clause, subject, BASE, context, reply)
    engine.forget()
    reply = await engine.generate(context, Sampling(4, temperature=0), session="c")
    _require(reply.prefilled == 40, clause, f"after forget() a context of 40 tokens prefilled {reply.prefilled}.")


async def long_contexts_are_refused(subject: Subject) -> None:
    """Context plus reply beyond the model raise before anything is computed; the longest that fits is answered."""
    clause = long_contexts_are_refused
    engine = subject.engine
    limit = engine.context_length
    for length, reply in ((limit, 1), (limit - 4, 5), (0, 1)):
        try:
            await engine.generate(subject.context(190, length) if length else [], Sampling(reply))
        except ContextOverflow:
            continue
        raise ContractError(clause.__name__, f"a context of {length} and a reply of {reply} were accepted.")
    fits = await engine.generate(subject.context(191, limit - 4), Sampling(4))
    _require(len(fits.token_ids) == 4, clause, "the longest context that fits was cut.")


async def cancelling_is_private(subject: Subject) -> None:
    """A cancelled request ends; the others answer as if it had never been."""
    clause = cancelling_is_private
    engine = subject.engine
    contexts = [subject.context(200 + number, 5 + 3 * number) for number in range(6)]
    tasks = [asyncio.ensure_future(engine.generate(context, Sampling(24, temperature=0))) for context in contexts]
    victim = asyncio.ensure_future(engine.generate(subject.context(210, 30), Sampling(200), session="victim"))
    await asyncio.sleep(0.01)
    victim.cancel()
    replies = await asyncio.gather(*tasks, return_exceptions=True)
    try:
        await victim
    except asyncio.CancelledError:
        pass
    else:
        raise ContractError(clause.__name__, "a cancelled request was answered.")
    for context, reply in zip(contexts, replies, strict=True):
        if isinstance(reply, BaseException):
            raise ContractError(clause.__name__, f"cancelling one request ended another: {reply!r}") from reply
        _require(len(reply.token_ids) == 24, clause, "cancelling one request cut another.")
        _follows_argmax(clause, subject, BASE, context, reply)


async def closing_ends_it(subject: Subject) -> None:
    """aclose() answers what is in flight with an error, twice is fine, and later requests are refused."""
    clause = closing_ends_it
    engine = subject.engine
    flight = asyncio.ensure_future(engine.generate(subject.context(220, 30), Sampling(200)))
    await asyncio.sleep(0)
    await engine.aclose()
    await engine.aclose()
    for request in (lambda: flight, lambda: engine.generate(subject.context(221, 4), Sampling(1))):
        try:
            await asyncio.wait_for(request(), 60)
        except EngineClosed:
            continue
        except (EngineError, asyncio.CancelledError, TimeoutError) as error:
            raise ContractError(clause.__name__, f"it raised {type(error).__name__}, not EngineClosed.") from error
        raise ContractError(clause.__name__, "a closed engine answered.")


Clause = Callable[[Subject], Awaitable[None]]

CLAUSES: tuple[Clause, ...] = (
    greedy_is_generate,
    samples_follow_the_distribution,
    seeds_decide,
    batches_do_not_matter,
    logprobs_are_the_policys,
    scores_are_the_models,
    replies_stop,
    policies_share_a_batch,
    names_are_immutable,
    unknown_policies_are_refused,
    sessions_save_prefill,
    contradicted_sessions_start_fresh,
    released_sessions_are_gone,
    long_contexts_are_refused,
    cancelling_is_private,
    closing_ends_it,
)

_NEEDS_EXACT_SEEDS = {"batches_do_not_matter", "replies_stop"}
