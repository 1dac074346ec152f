"""The transformers engine beyond the contract: independence at scale, sharing, budgets, many games, failures."""

from __future__ import annotations

import asyncio
import copy

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from hypothesis import given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402
from peft import (  # noqa: E402
    LoraConfig,
    PeftModel,
    get_peft_model,
    get_peft_model_state_dict,
    set_peft_model_state_dict,
)
from transformers import AutoModelForCausalLM, Gemma3TextConfig, MistralConfig, Qwen2Config  # noqa: E402

from palaestra.agents.engines import attention  # noqa: E402
from palaestra.agents.engines.base import AdapterError, EngineError, Sampling  # noqa: E402
from palaestra.agents.engines.canary import canary, plain_score  # noqa: E402
from palaestra.agents.engines.conformance import NEAR_TIE, random_adapter, specimen  # noqa: E402
from palaestra.agents.engines.sampling import gumbel  # noqa: E402
from palaestra.agents.engines.transformers_engine import TransformersEngine  # noqa: E402


@pytest.fixture(scope="module")
def made():
    return specimen()


def contexts(count: int, length: int = 12, seed: int = 0) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 260, (count, length), generator=generator).tolist()


async def rounds(engine, jobs, size):
    replies = []
    for start in range(0, len(jobs), size):
        replies += await asyncio.gather(*(engine.generate(*job) for job in jobs[start : start + size]))
    return replies


def independence(model, sequences: int, length: int, capsys) -> list[int]:
    """Sample the same requests at batch sizes 1, 5 and 33; return the sequences that differ.

    Each must part at a near-tie, which is printed even if the test passes.
    """
    prompts = contexts(sequences)
    jobs = [(prompt, Sampling(length, seed=number)) for number, prompt in enumerate(prompts)]
    runs = [
        [reply.token_ids for reply in asyncio.run(rounds(TransformersEngine(model), jobs, size))] for size in (1, 5, 33)
    ]
    different = [number for number in range(sequences) if len({run[number] for run in runs}) > 1]
    for number in different:
        parted = next(i for i in range(length) if len({run[number][i] for run in runs}) > 1)
        tokens = torch.tensor([prompts[number] + list(runs[0][number][:parted])])
        noise = np.empty(260, dtype=np.float32)
        gumbel(number, parted, noise)
        with torch.inference_mode():
            best = (model(input_ids=tokens).logits[0, -1] + torch.from_numpy(noise)).topk(2)
        gap = (best.values[0] - best.values[1]).item()
        with capsys.disabled():
            print(f"sequence {number} parts at token {parted}: {best.indices.tolist()} are {gap:.2e} apart")
        assert gap < NEAR_TIE
    return different


def test_a_thousand_sampled_tokens_do_not_depend_on_the_batch(made, capsys):
    assert len(independence(made[0], 66, 15, capsys)) <= 1


@pytest.mark.slow
def test_ten_thousand_sampled_tokens_do_not_depend_on_the_batch(made, capsys):
    assert len(independence(made[0], 400, 25, capsys)) <= 1


def test_greedy_is_generate_of_transformers(made):
    """The same argmax loop in transformers, cache and all; 40 sequences of 16 tokens."""
    model, _ = made
    prompts = contexts(40, 10, seed=5)
    replies = asyncio.run(rounds(TransformersEngine(model), [(p, Sampling(16, temperature=0)) for p in prompts], 40))
    out = model.generate(
        torch.tensor(prompts), attention_mask=torch.ones(40, 10), max_new_tokens=16, do_sample=False, pad_token_id=0
    )
    parted = 0
    for prompt, reply, want in zip(prompts, replies, out[:, 10:].tolist(), strict=True):
        if list(reply.token_ids) == want:
            continue
        parted += 1
        place = next(i for i in range(16) if reply.token_ids[i] != want[i])
        best = model(input_ids=torch.tensor([prompt + want[:place]])).logits[0, -1].topk(2).values
        assert best[0] - best[1] < 1e-3
    assert parted <= 1


@pytest.mark.parametrize(
    ("family", "options"),
    [
        (MistralConfig, {"sliding_window": 6, "num_key_value_heads": 2}),
        (Qwen2Config, {"num_key_value_heads": 4, "tie_word_embeddings": True}),
        (
            Gemma3TextConfig,
            {
                "sliding_window": 6,
                "num_key_value_heads": 1,
                "head_dim": 16,
                "layer_types": ["sliding_attention", "full_attention"],
            },
        ),
    ],
)
def test_other_families_are_served_as_they_compute(family, options):
    """Sliding windows, biases, tied heads, scaled embeddings: scores are the model's own, in chunks too."""
    config = family(
        vocab_size=99,
        hidden_size=64,
        intermediate_size=96,
        num_hidden_layers=2,
        num_attention_heads=4,
        pad_token_id=None,
        bos_token_id=None,
        eos_token_id=None,
        **options,
    )
    torch.manual_seed(1)
    model = AutoModelForCausalLM.from_config(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    engine = TransformersEngine(model, step_tokens=7)
    text = [token % 99 for token in contexts(1, 40)[0]]

    async def go():
        score = await engine.score(text)
        reply = await engine.generate(text, Sampling(10, temperature=0))
        return score, reply

    score, reply = asyncio.run(go())
    want = plain_score(model, [*text, *reply.token_ids])
    assert score == pytest.approx(want[:39], abs=1e-3)
    assert reply.logprobs == pytest.approx(want[39:], abs=1e-3)


@settings(max_examples=60)
@given(st.data())
def test_any_mixture_of_rows_and_chunks_attends_as_each_row_alone(data):
    """The oracle is attention written out for one row: softmax(q k / sqrt(d) + causal window) v."""
    rows = data.draw(st.integers(1, 6))
    window = data.draw(st.sampled_from([None, 1, 3]))
    spans = [(data.draw(st.integers(0, 7)), data.draw(st.integers(0, 6))) for _ in range(rows)]
    pieces = [(row, [0] * count, start) for row, (start, count) in enumerate(spans) if count]
    if not pieces:
        return
    generator = torch.Generator().manual_seed(0)
    tokens = sum(len(piece[1]) for piece in pieces)
    query = torch.randn(tokens, 4, 1, 8, generator=generator)
    keys, values = torch.randn(2, rows, 2, 14, 8, generator=generator)
    layout = attention.plan(pieces, rows, [], torch.device("cpu"))
    got, _ = attention.ragged_attention(
        torch.nn.Module(), query, keys, values, None, plan=layout, scaling=8**-0.5, sliding_window=window
    )
    for token, (row, position) in enumerate(zip(layout.rows.tolist(), layout.positions.tolist(), strict=True)):
        first = 0 if window is None else max(0, position - window + 1)
        for head in range(4):
            seen = slice(first, position + 1)
            weights = (keys[row, head // 2, seen] @ query[token, head, 0] * 8**-0.5).softmax(-1)
            assert torch.allclose(got[token, 0, head], weights @ values[row, head // 2, seen], atol=1e-5)


def test_the_trainers_model_is_shared_and_not_disturbed(made):
    """One copy of the weights; training mode, gradients, adapter and attention of the trainer stay as they are."""
    model, adapters = made
    config, tensors = adapters["probe@0"]
    trained = get_peft_model(copy.deepcopy(model), copy.deepcopy(config))
    set_peft_model_state_dict(trained, tensors)
    trained.train()
    text = contexts(1, 20)[0]
    with_adapter = plain_score(trained, text)
    facts = {name: (p.requires_grad, p.data_ptr()) for name, p in trained.named_parameters()}
    engine = TransformersEngine(trained)
    engine.add_policy("v@1", adapters["probe@1"])
    base, other = asyncio.run(engine.score(text)), asyncio.run(engine.score(text, policy="v@1"))
    assert base == pytest.approx(plain_score(model, text), abs=1e-4)
    assert max(abs(a - b) for a, b in zip(base, other, strict=True)) > 0.01
    assert plain_score(trained, text) == with_adapter
    assert trained.training
    assert {name: (p.requires_grad, p.data_ptr()) for name, p in trained.named_parameters()} == facts
    shared = {p.data_ptr() for p in engine._weights.model.parameters()}
    assert shared <= {p.data_ptr() for p in trained.parameters()}
    trained(input_ids=torch.tensor([text])).logits.sum().backward()
    assert any(p.grad is not None for p in trained.parameters() if p.requires_grad)


def test_a_merged_adapter_is_refused(made):
    config, tensors = made[1]["probe@0"]
    trained = get_peft_model(copy.deepcopy(made[0]), copy.deepcopy(config))
    set_peft_model_state_dict(trained, tensors)
    trained.merge_adapter()
    with pytest.raises(EngineError, match="unmerge_adapter"):
        TransformersEngine(trained)


def test_adapters_load_from_peft_folders_with_their_scaling(made, tmp_path):
    """rsLoRA, a rank and an alpha of its own per layer: PEFT's reading of them is the oracle."""
    model, _ = made
    config = LoraConfig(
        r=4, lora_alpha=8, use_rslora=True, target_modules=["q_proj", "up_proj"],
        rank_pattern={"up_proj": 2}, alpha_pattern={"q_proj": 3},
    )  # fmt: skip
    peft = get_peft_model(copy.deepcopy(model), config)
    for name, parameter in peft.named_parameters():
        if "lora_" in name:
            torch.nn.init.normal_(parameter, std=0.2)
    peft.save_pretrained(tmp_path / "a")
    engine = TransformersEngine(model)
    engine.add_policy("a@0", tmp_path / "a")
    text = contexts(1, 20)[0]
    plain = PeftModel.from_pretrained(copy.deepcopy(model), tmp_path / "a")
    asyncio.run(canary(engine, "a@0", text, plain_score(plain, text)))


@pytest.mark.parametrize(
    ("option", "value"), [("use_dora", True), ("modules_to_save", ["lm_head"]), ("target_modules", ["lm_head"])]
)
def test_adapters_that_cannot_share_a_batch_are_refused(made, option, value):
    model, _ = made
    config = LoraConfig(**{"r": 2, "target_modules": ["q_proj"], option: value})
    peft = get_peft_model(copy.deepcopy(model), copy.deepcopy(config))
    tensors = get_peft_model_state_dict(peft, save_embedding_layers=False)
    engine = TransformersEngine(model)
    with pytest.raises(AdapterError, match="adapter 'x@0'"):
        engine.add_policy("x@0", (config, tensors))
    assert engine.policies() == ("base",)


@pytest.mark.parametrize("content", [None, b"not safetensors"])
def test_a_damaged_adapter_folder_is_named(made, tmp_path, content):
    if content:
        (tmp_path / "adapter_model.safetensors").write_bytes(content)
        made[1]["probe@0"][0].save_pretrained(tmp_path)
    with pytest.raises(AdapterError, match=str(tmp_path)):
        TransformersEngine(made[0]).add_policy("x@0", tmp_path)


def test_the_canary_tells_base_adapter_and_stranger_apart(made):
    model, adapters = made
    engine = TransformersEngine(model)
    text = contexts(1, 12)[0]
    config, tensors = adapters["probe@0"]
    zero = (config, {key: value * 0 for key, value in tensors.items()})
    engine.add_policy("right@0", adapters["probe@0"])
    engine.add_policy("ignored@0", zero)
    engine.add_policy("other@0", adapters["probe@1"])
    peft = PeftModel(copy.deepcopy(model), copy.deepcopy(config))
    set_peft_model_state_dict(peft, tensors)
    expected = plain_score(peft, text)
    asyncio.run(canary(engine, "right@0", text, expected))
    with pytest.raises(AdapterError, match="answered as the base"):
        asyncio.run(canary(engine, "ignored@0", text, expected))
    with pytest.raises(AdapterError, match="do not belong together"):
        asyncio.run(canary(engine, "other@0", text, expected))
    asyncio.run(canary(engine, "ignored@0", text, plain_score(model, text)))  # a newborn adapter is the base


def test_the_canary_sees_a_young_adapter_whose_effect_is_below_the_tolerance(made):
    model, adapters = made
    config, tensors = adapters["probe@0"]
    young = {key: value * (0.01 if "lora_B" in key else 1) for key, value in tensors.items()}
    peft = PeftModel(copy.deepcopy(model), copy.deepcopy(config))
    set_peft_model_state_dict(peft, young)
    text = contexts(1, 12)[0]
    expected = plain_score(peft, text)
    engine = TransformersEngine(model)
    engine.add_policy("ignored@0", (config, {key: value * 0 for key, value in tensors.items()}))
    effect = max(abs(a - b) for a, b in zip(expected, plain_score(model, text), strict=True))
    assert effect < 0.1
    with pytest.raises(AdapterError, match="answered as the base"):
        asyncio.run(canary(engine, "ignored@0", text, expected, tolerance=0.1))


def test_a_thousand_conversations_share_steps_and_prefill_each_token_once(made):
    """200 two-seat games of three turns each as bare coroutines: the batch stays full and no context is read twice."""
    engine = TransformersEngine(made[0], max_rows=64)
    games, turns, rules = 200, 3, contexts(1, 40)[0]

    async def seat(game, number, board):
        context = [*rules, game % 260, number]
        prefilled = 0
        for turn in range(turns):
            reply = await engine.generate(context, Sampling(2, seed=9 * game + turn), session=f"{game}/{number}")
            prefilled += reply.prefilled
            context += [*reply.token_ids, *board[turn]]
        return prefilled

    async def match(game):
        board = contexts(turns, 4, seed=game)
        return sum(await asyncio.gather(seat(game, 0, board), seat(game, 1, board)))

    async def tournament():
        return await asyncio.gather(*(match(game) for game in range(games)))

    prefilled = asyncio.run(tournament())
    stats = engine.stats
    assert stats.sampled == games * 2 * turns * 2
    assert sum(prefilled) == stats.prefilled
    # Once the 40 tokens of rules, then per seat 2 tokens at first, and 1 + 4 at each later turn.
    assert stats.prefilled <= 40 + games * 2 * (2 + (turns - 1) * 5)
    assert stats.peak_rows == 64
    assert stats.sampled / stats.steps > 0.8 * 64 / 1.5


def test_the_same_calls_compute_the_same_bits(made):
    """What a resumed run rests on: after forget() nothing of the past shows, not even in the last bit."""

    async def play(engine):
        jobs = [(prompt, Sampling(6, seed=number)) for number, prompt in enumerate(contexts(20, 30))]
        first = await asyncio.gather(*(engine.generate(*job, session=str(job[1].seed)) for job in jobs))
        return [reply.logprobs for reply in first]

    fresh = TransformersEngine(made[0], max_rows=7)
    expected = asyncio.run(play(fresh))
    used = TransformersEngine(made[0], max_rows=7)
    asyncio.run(used.generate(contexts(1, 90)[0], Sampling(40), session="3"))
    used.forget()
    assert asyncio.run(play(used)) == expected


def test_the_cache_budget_evicts_the_least_recently_used_and_answers_stay_right(made):
    model, _ = made
    token = TransformersEngine(model)._weights.kv.token_bytes
    engine = TransformersEngine(model, cache_bytes=100 * token, share_prefixes=False)
    first, second, third = contexts(3, 39)

    async def go():
        replies = {}
        for name, context in (("a", first), ("b", second)):
            replies[name] = await engine.generate(context, Sampling(2, seed=1), session=name)
        again = [*first, *replies["a"].token_ids, 1]
        kept = await engine.generate(again, Sampling(2, seed=2), session="a")  # now b is the older one
        await engine.generate(third, Sampling(2), session="c")
        asked = [*second, *replies["b"].token_ids, 1]
        lost = await engine.generate(asked, Sampling(2, temperature=0), session="b")
        return kept, asked, lost

    kept, asked, lost = asyncio.run(go())
    assert kept.prefilled == 2  # the last token of the reply, and the new one
    assert lost.prefilled == len(asked) == 42
    assert engine.stats.evictions == 2
    assert engine._store.nbytes <= 100 * token
    assert lost.logprobs == pytest.approx(plain_score(model, [*asked, *lost.token_ids])[-2:], abs=1e-4)


def test_one_engine_serves_one_event_loop_after_another(made):
    engine = TransformersEngine(made[0])

    async def ask():
        return (await engine.generate([1, 2, 3], Sampling(4, seed=1))).token_ids

    async def abandon():
        task = asyncio.ensure_future(engine.generate([1, 2, 3], Sampling(400)))
        await asyncio.sleep(0.01)
        assert not task.done()

    first = asyncio.run(ask())
    asyncio.run(abandon())  # the loop ends with a request in flight
    assert asyncio.run(ask()) == first


def test_a_failing_step_ends_the_requests_in_flight_and_not_the_engine(made, monkeypatch):
    engine = TransformersEngine(made[0])

    async def go():
        def fail(*args):
            raise RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 99 bytes.")

        with monkeypatch.context() as patch:
            patch.setattr(engine._weights, "forward", fail)
            results = await asyncio.gather(
                *(engine.generate([number], Sampling(2)) for number in range(3)), return_exceptions=True
            )
        assert all(isinstance(result, EngineError) for result in results)
        assert "no memory for a step of 3 rows" in str(results[0])
        return await engine.generate([1], Sampling(2))

    assert len(asyncio.run(go()).token_ids) == 2


def test_a_policy_in_use_cannot_be_removed(made):
    engine = TransformersEngine(made[0])
    engine.add_policy("a@0", made[1]["probe@0"])

    async def go():
        task = asyncio.ensure_future(engine.generate([1, 2], Sampling(8), policy="a@0"))
        await asyncio.sleep(0)
        with pytest.raises(EngineError, match="in flight"):
            engine.remove_policy("a@0")
        await task
        engine.remove_policy("a@0")
        assert engine.policies() == ("base",)

    asyncio.run(go())
    with pytest.raises(AdapterError, match="already names other weights"):
        engine.add_policy("a@0", made[1]["probe@1"])
    engine.add_policy("a@0", made[1]["probe@0"])


def test_tokens_outside_the_vocabulary_are_named(made):
    with pytest.raises(ValueError, match="token id 260 is outside the model's vocabulary of 260"):
        asyncio.run(TransformersEngine(made[0]).generate([1, 260], Sampling(1)))


def test_random_adapters_are_reproducible(made):
    first, second = (random_adapter(made[0], 7)[1] for _ in range(2))
    assert all(torch.equal(first[key], second[key]) for key in first)
