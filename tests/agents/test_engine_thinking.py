"""The transformers engine with thinking tokens, against a plain loop of PEFT and the joint distribution."""

from __future__ import annotations

import asyncio
import copy
import math

import pytest
import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

from palaestra.agents.engines.base import AdapterError, EngineError, Sampling
from palaestra.agents.engines.canary import canary, plain_score
from palaestra.agents.engines.conformance import random_adapter
from palaestra.agents.engines.lora import AdapterReader
from palaestra.agents.engines.transformers_engine import TransformersEngine
from palaestra.agents.engines.vllm_engine import VllmEngine
from palaestra.agents.engines.weights import share
from palaestra.agents.models.tiny.tokenizer import make_tokenizer
from palaestra.agents.thinking import Thinking, extend, thinking_of
from palaestra.agents.thinking_adapter import payload, save
from tests.agents.thinkers import LORA, make_bases, trained

BASES = ["tied", "scaled", "untied"]
CONTEXTS = [[1, 2, 3], [7, 260, 8], [9, 4, 261], [5, 262, 260], [6, 260, 261, 262, 11, 12, 13]]


@pytest.fixture(scope="module")
def bases():
    return make_bases()


@pytest.fixture(scope="module")
def thinkers(bases):
    return {kind: trained(base) for kind, base in bases.items()}


def served(base, **adapters) -> TransformersEngine:
    engine = TransformersEngine(base, step_tokens=9)
    for name, adapter in adapters.items():
        engine.add_policy(name, adapter)
    return engine


@torch.no_grad()
def joint_after(peft, tokens: list[int]) -> torch.Tensor:
    """Log-probabilities [V + K + 1] of the next token, from a whole new pass; the limit is counted by hand."""
    thinking = thinking_of(peft)
    assert thinking is not None
    logits = peft(input_ids=torch.tensor([tokens])).logits[0, -1]
    if len(tokens) >= thinking.most and min(tokens[len(tokens) - thinking.most :], default=thinking.real) >= 260:
        quiet = torch.full((thinking.kinds + 1,), -math.inf)
        return torch.cat([logits[: thinking.real].log_softmax(-1), quiet])
    return thinking.joint(logits)


def greedy(peft, context: list[int], length: int) -> tuple[list[int], list[float]]:
    tokens, logprobs = list(context), []
    for _ in range(length):
        joint = joint_after(peft, tokens)
        tokens.append(int(joint.argmax()))
        logprobs.append(float(joint.max()))
    return tokens[len(context) :], logprobs


def ask(engine, jobs):
    async def go():
        return await asyncio.gather(*(engine.generate(context, how, policy=name) for name, context, how in jobs))

    return asyncio.run(go())


# ---------------------------------------------------------------- what is drawn


@pytest.mark.parametrize("kind", BASES)
def test_greedy_replies_are_a_plain_loop_of_peft_and_the_joint(bases, thinkers, kind):
    engine = served(bases[kind], thinker=payload(thinkers[kind]))
    replies = ask(engine, [("thinker", context, Sampling(12, temperature=0)) for context in CONTEXTS])
    drawn: list[int] = []
    for context, reply in zip(CONTEXTS, replies, strict=True):
        tokens, logprobs = greedy(thinkers[kind], context, 12)
        assert list(reply.token_ids) == tokens
        assert reply.logprobs == pytest.approx(logprobs, abs=1e-4)
        drawn += tokens
    assert 5 < sum(token >= 260 for token in drawn) < len(drawn) - 5, "it must have thought, and spoken"


@pytest.mark.parametrize("kind", BASES)
@pytest.mark.parametrize("temperature", [1.0, 0.7])
def test_sampled_tokens_carry_the_log_probability_they_were_drawn_with(bases, thinkers, kind, temperature):
    engine = served(bases[kind], thinker=payload(thinkers[kind]))
    replies = ask(engine, [("thinker", context, Sampling(10, temperature, seed=3)) for context in CONTEXTS])
    for context, reply in zip(CONTEXTS, replies, strict=True):
        tokens = list(context)
        for token, logprob in zip(reply.token_ids, reply.logprobs, strict=True):
            due = (joint_after(thinkers[kind], tokens) / temperature).log_softmax(-1)[token]
            assert logprob == pytest.approx(float(due), abs=1e-4)
            tokens.append(token)


@pytest.mark.parametrize("most", [0, 1, 3])
@pytest.mark.parametrize("fixed", [False, True])
def test_there_are_never_more_thoughts_in_a_row_than_allowed(bases, most, fixed):
    """Also where the context ends in thoughts; a policy whose thoughts are fixed always takes all of them."""
    peft = trained(bases["untied"], most=most, fixed=fixed)
    thinking = thinking_of(peft)
    engine = served(bases["untied"], thinker=payload(peft))
    jobs = [("thinker", context, Sampling(20, seed=seed)) for seed in range(4) for context in CONTEXTS]
    longest = 0
    for (_, context, _), reply in zip(jobs, ask(engine, jobs), strict=True):
        runs = thinking.runs([*context, *reply.token_ids])
        for before, after in zip(runs[len(context) - 1 :], runs[len(context) :], strict=False):
            assert after == 0 or before < most
            assert not fixed or after or before >= most
            longest = max(longest, after)
        assert max(reply.token_ids) < thinking.gate
    assert longest == most


@pytest.mark.parametrize("kind", BASES)
def test_scores_are_the_joints_read_in_pieces(bases, thinkers, kind):
    engine = served(bases[kind], thinker=payload(thinkers[kind]))
    text = [1, 260, 2, 261, 262, 3, 4, 5, 260, 6, 7, 8, 9, 262, 10, 261, 11, 12, 13, 14]
    scores = asyncio.run(engine.score(text, policy="thinker"))
    due = [float(joint_after(thinkers[kind], text[:place])[text[place]]) for place in range(1, len(text))]
    assert scores == pytest.approx(due, abs=1e-4)
    assert plain_score(thinkers[kind], text, thinking_of(thinkers[kind])) == pytest.approx(due, abs=1e-4)
    assert asyncio.run(engine.score([1, 260, 261, 262], policy="thinker"))[-1] == -math.inf


# ---------------------------------------------------------------- beside others


def companions(base) -> dict:
    return {
        "plain": random_adapter(base, 5),
        "few": payload(trained(base, kinds=1, most=1, seed=1)),
        "many": payload(trained(base, kinds=5, most=4, seed=2)),
    }


@pytest.mark.parametrize("kind", BASES)
def test_a_mixed_batch_answers_as_each_alone(bases, kind):
    base = bases[kind]
    adapters = companions(base)
    names = ["base", *adapters]
    jobs = [
        (name, [20 + number, *range(30, 35 + number)], Sampling(10, temperature=number % 2, seed=number))
        for number in range(4)
        for name in names
    ]
    together = ask(served(base, **adapters), jobs)
    thoughts = 0
    for job, reply in zip(jobs, together, strict=True):
        name = job[0]
        alone = served(base, **({} if name == "base" else {name: adapters[name]}))
        (due,) = ask(alone, [job])
        assert reply.policy == name
        assert reply.token_ids == due.token_ids
        assert reply.logprobs == pytest.approx(due.logprobs, abs=1e-4)
        assert name in ("few", "many") or max(reply.token_ids) < 260
        thoughts += sum(token >= 260 for token in reply.token_ids)
    assert thoughts > 5


def test_others_are_answered_with_the_numbers_of_an_engine_that_knows_no_thinker(bases):
    """Bit for bit: a thinker that is loaded changes nothing, and one in the same step only what it draws itself."""
    base = bases["untied"]
    plain = random_adapter(base, 5)
    jobs = [(name, [20, 21, 22 + seed], Sampling(8, seed=seed)) for seed in range(3) for name in ("base", "plain")]
    due = ask(served(base, plain=plain), jobs)
    knows = served(base, plain=plain, thinker=payload(trained(base)))
    assert ask(knows, jobs) == due
    text = list(range(40, 60))
    without = asyncio.run(served(base).score(text))

    async def go():
        return await asyncio.gather(knows.score(text), knows.score(text, policy="thinker"))

    base_score, other = asyncio.run(go())
    assert base_score == pytest.approx(without, abs=1e-5)
    assert other != pytest.approx(without, abs=1e-2)


@pytest.mark.parametrize("kind", BASES)
def test_an_extended_model_is_served_as_its_base(bases, thinkers, kind):
    """Whether it was only extended, or is being trained: the new rows are no part of what everybody shares."""
    extended = copy.deepcopy(bases[kind])
    extend(extended, 3, 2)
    jobs = [("base", context, Sampling(8, seed=1)) for context in ([1, 2, 3], [4, 5])]
    due = ask(served(bases[kind]), jobs)
    for model in (extended, thinkers[kind]):
        engine = served(model, thinker=payload(thinkers[kind]))
        assert engine.vocab_size == 260
        assert ask(engine, jobs) == due
        (reply,) = ask(engine, [("thinker", [1, 2, 3], Sampling(8, temperature=0))])
        assert list(reply.token_ids) == greedy(thinkers[kind], [1, 2, 3], 8)[0]
    assert thinking_of(extended) == Thinking(260, 3, 2)
    assert extended.get_input_embeddings().weight.shape[0] == 264
    assert plain_score(extended, [1, 2, 3]) == pytest.approx(plain_score(bases[kind], [1, 2, 3]), abs=1e-5)


@pytest.mark.parametrize("kind", BASES)
def test_a_copy_without_peft_has_no_wrappers_left(thinkers, kind):
    tree = share(thinkers[kind])
    assert not [name for name, _ in tree.named_modules() if "adapter" in name or "base_layer" in name]
    ends = tree.get_input_embeddings().weight, tree.get_output_embeddings().weight
    assert (ends[0] is ends[1]) == (kind != "untied")


def test_a_seat_keeps_its_thoughts_between_turns(bases, thinkers):
    engine = served(bases["untied"], thinker=payload(thinkers["untied"]))

    async def go():
        first = await engine.generate([1, 2, 3], Sampling(8, temperature=0), policy="thinker", session="seat")
        longer = [1, 2, 3, *first.token_ids, 50, 51]
        return longer, await engine.generate(longer, Sampling(6, temperature=0), policy="thinker", session="seat")

    longer, second = asyncio.run(go())
    assert max(longer) >= 260
    assert second.prefilled == 3  # the last token of the first reply, and two new ones
    assert list(second.token_ids) == greedy(thinkers["untied"], longer, 6)[0]


def test_a_canary_tells_a_thinker_from_its_base(bases, thinkers):
    peft = thinkers["untied"]
    engine = served(bases["untied"], thinker=payload(peft), other=payload(trained(bases["untied"], seed=9)))
    text = [1, 260, 2, 3, 261, 4, 5]
    expected = plain_score(peft, text, thinking_of(peft))
    real = [1, 2, 3, 4, 5]
    asyncio.run(canary(engine, "thinker", real, plain_score(peft, real, thinking_of(peft))))
    assert asyncio.run(engine.score(text, policy="thinker")) == pytest.approx(expected, abs=1e-4)
    with pytest.raises(AdapterError):
        asyncio.run(canary(engine, "other", real, plain_score(peft, real, thinking_of(peft))))


# ---------------------------------------------------------------- what is refused


def test_thinking_tokens_belong_to_policies_that_know_them(bases, thinkers):
    engine = served(bases["untied"], thinker=payload(thinkers["untied"]), plain=random_adapter(bases["untied"], 5))
    asyncio.run(engine.score([1, 262], policy="thinker"))
    for policy, token, known in (("base", 260, 260), ("plain", 262, 260), ("thinker", 263, 263)):
        with pytest.raises(ValueError, match=rf"token id {token} .* vocabulary of {known} under policy '{policy}'"):
            asyncio.run(engine.score([1, token], policy=policy))
    engine.remove_policy("thinker")
    assert engine._weights.thinking("thinker") is None
    engine.add_policy("thinker", payload(thinkers["untied"]))
    config, tensors, thinking = payload(thinkers["untied"])
    with pytest.raises(AdapterError, match="already names other weights"):
        engine.add_policy("thinker", (config, tensors, Thinking(thinking.real, thinking.kinds, 7)))


def test_folders_and_payloads_are_the_same_policy(bases, thinkers, tmp_path):
    engine = served(bases["tied"], thinker=save(thinkers["tied"], tmp_path, "a base"))
    engine.add_policy("thinker", payload(thinkers["tied"]))
    assert engine.policies() == ("base", "thinker")


def broken(peft, case: str):
    config, tensors, thinking = payload(peft)
    head = "base_model.model.lm_head.token_adapter.trainable_tokens_delta"
    if case == "no meaning":
        return config, tensors
    if case == "no rows for the head":
        return config, {key: tensor for key, tensor in tensors.items() if key != head}, thinking
    if case == "rows of another width":
        return config, {**tensors, head: tensors[head][:, :-1]}, thinking
    if case == "other kinds":
        return config, tensors, Thinking(thinking.real, 4, 2)
    if case == "another vocabulary":
        return config, tensors, Thinking(259, 3, 2)
    return config, {**tensors, "base_model.model.lm_head.weight": torch.zeros(260, 64)}, thinking


@pytest.mark.parametrize(
    ("case", "sentence"),
    [
        ("no meaning", "does not say that they are thinking tokens"),
        ("no rows for the head", "must bring rows for the embeddings and"),
        ("rows of another width", r"its rows have shapes \(4, 64\) and \(4, 63\), not \(4, 64\)"),
        ("other kinds", r"not \(5, 64\)"),
        ("another vocabulary", "stand after 259 real ones, the base has 260"),
        ("whole tables", "'base_model.model.lm_head.weight', which is no LoRA matrix"),
    ],
)
def test_adapters_that_do_not_fit_are_refused_and_change_nothing(bases, thinkers, case, sentence):
    base = bases["untied"]
    engine = served(base)
    before = asyncio.run(engine.score([1, 2, 3]))
    with pytest.raises(AdapterError, match=sentence):
        engine.add_policy("thinker", broken(thinkers["untied"], case))
    assert engine.policies() == ("base",)
    assert asyncio.run(engine.score([1, 2, 3])) == before
    engine.add_policy("thinker", payload(thinkers["untied"]))


def test_whole_tables_in_an_ordinary_adapter_do_not_overwrite_the_base(bases):
    config, tensors = random_adapter(bases["untied"], 5)
    engine = served(bases["untied"])
    with pytest.raises(AdapterError, match="no LoRA matrix"):
        engine.add_policy("a", (config, {**tensors, "base_model.model.lm_head.weight": torch.zeros(260, 64)}))
    assert bases["untied"].lm_head.weight.abs().sum() > 0


def test_a_head_with_a_bias_serves_no_thinker(bases, thinkers):
    base = copy.deepcopy(bases["untied"])
    base.lm_head.bias = torch.nn.Parameter(torch.randn(260))
    with pytest.raises(AdapterError, match="a head without a bias"):
        served(base, thinker=payload(thinkers["untied"]))
    extend(base, 3, 2)
    assert served(base).vocab_size == 260


def test_vllm_refuses_a_thinker(bases, thinkers):
    """The refusal comes before vLLM is needed: an engine that was not started will do."""
    engine = object.__new__(VllmEngine)
    engine._reader = AdapterReader(share(bases["untied"]))
    with pytest.raises(EngineError, match="thinking tokens, which vLLM cannot serve; serve it with the transformers"):
        engine.add_policy("thinker", payload(thinkers["untied"]))


def test_single_tokens_that_mean_nothing_are_refused(bases):
    peft = get_peft_model(copy.deepcopy(bases["untied"]), LoraConfig(**LORA, trainable_token_indices=[5, 6]))
    with pytest.raises(AdapterError, match="trains single tokens"):
        served(bases["untied"], tuned=(peft.peft_config["default"], get_peft_model_state_dict(peft)))


def test_a_policy_that_thinks_is_not_held_to_a_pattern(bases, thinkers):
    engine = TransformersEngine(bases["tied"], tokenizer=make_tokenizer(64))
    engine.add_policy("x@1", payload(thinkers["tied"]))
    with pytest.raises(ValueError, match="thinking tokens cannot be held"):
        asyncio.run(engine.generate([1], Sampling(2, stop_ids=(258,), pattern="a"), policy="x@1"))
