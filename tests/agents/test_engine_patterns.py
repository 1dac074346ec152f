"""Replies held to a pattern: they match it, they are drawn from what it leaves open, and what cannot be is refused."""

import asyncio

import pytest

torch = pytest.importorskip("torch")

from palaestra.agents.engines.base import Sampling  # noqa: E402
from palaestra.agents.engines.patterns import Patterns  # noqa: E402
from palaestra.agents.engines.transformers_engine import TransformersEngine  # noqa: E402
from tests.agents.patterns_kit import STOP, keeps_patterns, subject  # noqa: E402


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return subject(tmp_path_factory.mktemp("specimen"))


def ask(engine, sampling, context=(5, 6, 7), **options):
    return asyncio.run(engine.generate(list(context), sampling, **options))


def test_replies_match_their_patterns_under_every_policy(made):
    model, adapters, tokenizer = made
    engine = TransformersEngine(model, tokenizer=tokenizer)
    for name, adapter in adapters.items():
        engine.add_policy(name, adapter)
    for policy in engine.policies():
        asyncio.run(keeps_patterns(engine, tokenizer, policy))


def test_log_probabilities_are_of_the_tokens_that_are_open(made):
    """The oracle: the model's own logits, renormalised over what the matcher leaves open."""
    model, _, tokenizer = made
    sampling = Sampling(24, 1.0, 3, STOP, r"(yes|no|[0-9]{2,4})( (yes|no))*")
    reply = ask(TransformersEngine(model, tokenizer=tokenizer), sampling)
    matcher = Patterns(tokenizer, model.config.vocab_size).matcher(sampling)
    tokens = [5, 6, 7]
    for token, logprob in zip(reply.token_ids, reply.logprobs, strict=True):
        with torch.inference_mode():
            logits = model(input_ids=torch.tensor([tokens])).logits[0, -1].float()
        open_ = matcher.open(len(logits))
        assert 0 < open_.sum() < len(logits)
        assert open_[token]
        assert logprob == pytest.approx((logits[token] - logits[open_].logsumexp(-1)).item(), abs=1e-4)
        matcher.consume(token)
        tokens.append(token)


@pytest.mark.parametrize(
    ("tokenizer", "sampling", "words"),
    [
        (False, Sampling(4, pattern="a", stop_ids=STOP), "needs the model's tokenizer"),
        (True, Sampling(4, pattern="a"), "ends with a stop token"),
        (True, Sampling(4, pattern="(a", stop_ids=STOP), r"pattern '\(a' cannot be kept: unclosed group"),
        (True, Sampling(4, pattern="a(?=b)", stop_ids=STOP), "look-around"),
    ],
)
def test_what_cannot_be_kept_is_refused(made, tokenizer, sampling, words):
    engine = TransformersEngine(made[0], tokenizer=made[2] if tokenizer else None)
    with pytest.raises(ValueError, match=words):
        ask(engine, sampling)
    assert ask(engine, Sampling(2)).finish == "length"
