"""Reading in one go against stepping the environment: the same thoughts, the same log-probabilities."""

import dataclasses
import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoModelForCausalLM, BartConfig, GPTNeoConfig, MambaConfig, MistralConfig

import palaestra.agents  # noqa: F401  makes models' tokenizers known
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.reader import Batch, Reading, read, score
from palaestra.agents.thinking import ADVANCE, Thinking, decide, extend
from palaestra.envs import make
from palaestra.envs.documents.vocabulary import Encoded
from palaestra.envs.errors import OptionError
from palaestra.envs.games.next_token import THINKING, NextToken
from palaestra.envs.parts import Distribution, Tokens

MODEL = "tiny:blank"
KINDS, MOST = 3, 3
OPTIONS = {"vocabulary": MODEL, "thoughts": KINDS, "most": MOST, "longest": 64}
TASKS = [
    {"task": "chain", "settings": "group=s3,length=3,show=prefix"},
    {"task": "text", "settings": "length=20"},
    {"task": "parity", "settings": "bits=5,long=0.5,where=every"},
]


@pytest.fixture(scope="module")
def thinker():
    """A model whose logits differ everywhere, and which thinks now and then."""
    model = ModelSource.parse(MODEL).load().model
    thinking = extend(model, KINDS, MOST)
    noise = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=noise)
    return model, thinking


def game_of(seed: int, **options) -> NextToken:
    game = make("next_token", seed=seed, **{**OPTIONS, **options})
    assert isinstance(game, NextToken)
    return game


@torch.no_grad()
def stepped(model, thinking: Thinking, game: NextToken, seed: int, start: list[int]) -> list[tuple[int, float, float]]:
    """Play the game token by token, each decision from a whole new pass over what the game shows; return (token, log
    score, log-probability of the decision), 0 where there is none."""
    line, made = [], 0
    while not game.is_over():
        seen = [*start, *game.knowledge(0)["tokens"]]
        logits = model(input_ids=torch.tensor([seen])).logits[0, -1]
        decisions, decision, paid = thinking.decisions(logits), ADVANCE, 0.0
        if game.left():
            decision = decide(decisions[None], [seed], [made])[0]
            paid, made = float(decisions[decision]), made + 1
        if decision == ADVANCE:
            odds = thinking.real_logprobs(logits)
            game.apply(0, Distribution(tuple(odds.tolist())))
            line.append((game.placed[-1], game.scores[-1], paid))
        else:
            game.apply(0, Tokens((decision - 1,), THINKING))
            line.append((game.placed[-1], 0.0, paid))
    return line


@pytest.mark.parametrize("options", TASKS)
def test_a_batch_of_readings_is_the_episodes_that_stepping_gives(thinker, options):
    model, thinking = thinker
    start = game_of(0).words.start  # type: ignore[attr-defined]
    games = [game_of(seed, **options) for seed in range(4)]
    readings = read(model, thinking, [game.encoded for game in games], range(10, 14), start=start)
    assert sum(int(reading.thought.sum()) for reading in readings) > 2
    batch = Batch.of(readings)
    scores = score(model, thinking, batch)
    for row, (game, reading) in enumerate(zip(games, readings, strict=True)):
        line = stepped(model, thinking, game, 10 + row, start)
        whole = slice(len(start), len(reading))
        assert reading.tokens[whole].tolist() == [token for token, *_ in line]
        np.testing.assert_allclose(reading.decision[whole], [paid for *_, paid in line], atol=1e-5)
        np.testing.assert_allclose(scores.decision[row, whole].detach(), [paid for *_, paid in line], atol=1e-5)
        scored = scores.real[row].detach().numpy() * _scored(reading, game.encoded, batch.tokens.shape[1])
        np.testing.assert_allclose(scored[whole], [value for _, value, _ in line], atol=1e-5)
        assert reading.thoughts(len(game.encoded)).tolist() == game.counts


def _scored(reading: Reading, document: Encoded, length: int) -> np.ndarray:
    real = ~reading.thought & (reading.place >= 0)
    found = np.zeros(length)
    found[: len(reading)][real] = document.scored[reading.place[real]]
    return found


@given(st.lists(st.integers(0, 2), min_size=1, max_size=4), st.integers(0, 1000))
@settings(max_examples=15, deadline=None)
def test_a_reading_does_not_depend_on_its_neighbours(thinker, picked, seed):
    model, thinking = thinker
    documents = [game_of(7, **options).encoded for options in TASKS]
    alone = read(model, thinking, [documents[0]], [seed], start=[256])[0]
    beside = read(
        model, thinking, [*(documents[n] for n in picked), documents[0]], [*range(len(picked)), seed], start=[256]
    )
    assert beside[-1].tokens.tolist() == alone.tokens.tolist()
    np.testing.assert_allclose(beside[-1].decision, alone.decision, atol=1e-5)


@given(st.integers(1, 15), st.integers(0, 500))
@settings(max_examples=20, deadline=None)
def test_what_follows_changes_nothing_before_it(thinker, place, seed):
    model, thinking = thinker
    one = game_of(seed, **TASKS[1]).encoded
    other = dataclasses.replace(one, ids=np.concatenate([one.ids[:place], one.ids[place:] ^ 1]))
    first, second = (read(model, thinking, [document], [seed], start=[256])[0] for document in (one, other))
    until = [int(np.flatnonzero((reading.place == place) & ~reading.thought)[0]) for reading in (first, second)]
    assert first.tokens[: until[0]].tolist() == second.tokens[: until[1]].tolist()
    np.testing.assert_allclose(first.decision[: until[0]], second.decision[: until[1]], atol=1e-5)


def test_the_empty_thought_makes_no_decision_and_greedy_reading_has_no_noise(thinker):
    model, thinking = thinker
    documents = [game_of(seed, **TASKS[1]).encoded for seed in (1, 2)]
    silent, thinks = read(model, thinking, documents, [5, 6], start=[256], silent=[True, False])
    assert not silent.thought.any()
    assert not silent.decided.any()
    assert silent.tokens.tolist() == [256, *documents[0].ids.tolist()]
    assert thinks.decided.any()
    greedy = [read(model, thinking, documents, seeds, start=[256], temperature=0) for seeds in ([1, 2], [3, 4])]
    assert all(one.tokens.tolist() == two.tokens.tolist() for one, two in zip(*greedy, strict=True))
    with pytest.raises(ValueError, match=r"temperature is 0\.5"):
        read(model, thinking, documents, [1, 2], start=[256], temperature=0.5)


def test_never_more_thoughts_than_are_allowed_and_none_where_they_are_not(thinker):
    model, thinking = thinker
    with torch.no_grad():
        kept = model.get_input_embeddings().weight[thinking.gate].clone()
        model.get_input_embeddings().weight[thinking.gate] = 0
    try:
        for seed, options in itertools.product(range(3), TASKS):
            document = game_of(seed, **options).encoded
            counts = read(model, thinking, [document], [seed], start=[256])[0].thoughts(len(document))
            assert counts.max() <= MOST
            assert not counts[~document.open].any()
    finally:
        with torch.no_grad():
            model.get_input_embeddings().weight[thinking.gate] = kept


def test_scores_have_gradients_and_the_three_heads_do_not_touch_each_other(thinker):
    """The reward of a real token must not depend on how likely thinking was, nor on which thought."""
    model, thinking = thinker
    logits = torch.randn(5, thinking.size, dtype=torch.float64, requires_grad=True)
    (gradient,) = torch.autograd.grad(thinking.real_logprobs(logits).sum(0)[3], logits, retain_graph=True)
    assert gradient[:, thinking.real :].abs().max() == 0
    odds = thinking.decisions(logits)
    torch.testing.assert_close(odds.exp().sum(-1), torch.ones(5, dtype=torch.float64))
    (gradient,) = torch.autograd.grad(odds[:, ADVANCE].sum(), logits)
    assert gradient[:, : thinking.gate].abs().max() == 0
    reading = read(model, thinking, [game_of(1, **TASKS[1]).encoded], [3], start=[256])
    scores = score(model, thinking, Batch.of(reading))
    (scores.real.sum() + scores.decision.sum()).backward()
    assert model.get_input_embeddings().weight.grad[thinking.gate].abs().sum() > 0
    model.zero_grad()


def test_an_extended_model_says_of_real_tokens_what_it_said_before_and_always_extends_alike():
    plain, extended, again = (ModelSource.parse("tiny:blank").load().model for _ in range(3))
    thinking = extend(extended, KINDS, MOST)
    extend(again, KINDS, MOST)
    ids = torch.arange(20)[None]
    with torch.no_grad():
        before = plain(input_ids=ids).logits.log_softmax(-1)
        logits = extended(input_ids=ids).logits
        assert torch.equal(logits, again(input_ids=ids).logits)
    torch.testing.assert_close(thinking.real_logprobs(logits), before)
    torch.testing.assert_close(thinking.decisions(logits)[..., ADVANCE].exp(), torch.full((1, 20), 0.5))
    with pytest.raises(ValueError, match="use a transformers model"):
        extend(torch.nn.Linear(2, 2), 1, 1)


def test_what_cannot_be_read_is_refused(thinker):
    model, thinking = thinker
    document = game_of(1, **TASKS[1]).encoded
    with pytest.raises(ValueError, match="begins with at least one token"):
        read(model, thinking, [document], [1], start=[])
    unknown = dataclasses.replace(document, ids=document.ids + thinking.real)
    with pytest.raises(ValueError, match="outside the model's vocabulary of 260"):
        read(model, thinking, [unknown], [1], start=[256])
    with pytest.raises(ValueError, match="at least one real and one thinking token"):
        Thinking(0, 1, 1)


def test_models_that_look_back_less_than_a_batch_takes_are_refused_and_read_alone():
    """transformers counts a window in columns, and rows of a batch have gaps."""
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = MistralConfig(vocab_size=260, num_key_value_heads=1, sliding_window=8, pad_token_id=None, **sizes)
    model = AutoModelForCausalLM.from_config(config).eval()
    thinking = extend(model, KINDS, MOST)
    games = [game_of(seed, **TASKS[1]) for seed in range(3)]
    documents = [game.encoded for game in games]
    with pytest.raises(OptionError, match="looks back 8 tokens in some of its layers"):
        read(model, thinking, documents, range(3), start=[256])
    alone = [read(model, thinking, [one], [seed], start=[256])[0] for seed, one in enumerate(documents)]
    for seed, (reading, game) in enumerate(zip(alone, games, strict=True)):
        line = stepped(model, thinking, game, seed, [256])
        assert reading.tokens[1:].tolist() == [token for token, _, _ in line]
        np.testing.assert_allclose(reading.decision[1:], [paid for _, _, paid in line], atol=1e-4)
    short = [game_of(seed, task="text", settings="length=3").encoded for seed in range(3)]
    read(model, Thinking(thinking.real, KINDS, 1), short, range(3), start=[256])


def test_models_with_layers_that_do_not_attend_are_refused():
    model = AutoModelForCausalLM.from_config(MambaConfig(vocab_size=260, hidden_size=16, num_hidden_layers=1)).eval()
    thinking = extend(model, KINDS, MOST)
    with pytest.raises(OptionError, match="a mamba model cannot read here"):
        read(model, thinking, [game_of(0, **TASKS[1]).encoded], [0], start=[256])


@pytest.mark.parametrize(
    "config",
    [
        GPTNeoConfig(
            vocab_size=260, hidden_size=16, num_layers=2, num_heads=2, attention_types=[[["global", "local"], 1]]
        ),
        BartConfig(vocab_size=260, d_model=16, decoder_layers=1, decoder_attention_heads=2, decoder_ffn_dim=16),
    ],
    ids=lambda config: config.model_type,
)
def test_models_that_count_columns_of_a_batch_are_refused(config):
    model = AutoModelForCausalLM.from_config(config).eval()
    thinking = extend(model, KINDS, MOST)
    with pytest.raises(OptionError, match=f"a {config.model_type} model cannot read here"):
        read(model, thinking, [game_of(0, **TASKS[1]).encoded], [0], start=[256])
