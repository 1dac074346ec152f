"""The token loss: micro-batches add up, what is no member has no influence, and every term is checked by hand."""

import copy
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from palaestra.trainers.loss import (
    Counts,
    LossError,
    LossSettings,
    TokenBatch,
    score,
    score_hidden,
    score_rows,
    token_loss,
)
from palaestra.trainers.rows import STREAMS, Stream, pack
from tests.trainers.rows_kit import make_row

VOCABULARY = 50
KINDS = ("tokens", "rows", "constant")


def weighted_rows(seed: int, count: int = 7):
    """Rows of 1 to 12 tokens with random weights in all streams; some have no member at all."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        length = int(random.integers(1, 13))
        row = make_row(length, seed=int(random.integers(1000)), episode_id=str(number))
        rows.append(
            row.with_streams(
                pg=Stream.of(random.normal(size=length), row.sampled),
                ce=Stream.of(random.random(length), random.random(length) < 0.4),
                kl=Stream.of(0.1, row.sampled),
            )
        )
    return rows


def model() -> torch.nn.Module:
    """A causal model small enough for float64: the logits of a token depend on it and on all before it."""
    torch.manual_seed(0)

    class Sums(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.embed = torch.nn.Embedding(VOCABULARY, 8)
            self.head = torch.nn.Linear(8, VOCABULARY)

        def hidden(self, tokens):
            return torch.tanh(self.embed(tokens).cumsum(1))

    return Sums().double()


def gradients(network, rows, batches, config):
    """Return the gradient of all parameters and the added metrics over micro-batches of ``rows``."""
    network.zero_grad()
    counts = Counts.of(rows)
    total: dict[str, float] = {}
    for part in batches:
        batch = TokenBatch.from_rows(part, pad_id=3)
        batch.reference = -1.0 - (batch.tokens % 3) * 0.2
        logits = network.head(network.hidden(batch.tokens))
        logprobs, entropy = score_rows(logits, batch.tokens, 0.8, entropy_grad=True)
        loss, metrics = token_loss(logprobs, batch, counts, config, entropy=entropy)
        loss.backward()
        for name, value in {**metrics, "loss": loss.detach()}.items():
            total[name] = total.get(name, 0.0) + float(value)
    return torch.cat([p.grad.flatten() for p in network.parameters()]), total


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20)
@given(seed=st.integers(0, 10_000), budget=st.integers(12, 60))
def test_micro_batches_add_up_to_the_whole_batch(kind, seed, budget):
    rows, network = weighted_rows(seed), model()
    config = LossSettings(pg=kind, ce=kind, kl=kind, max_length=12, entropy_weight=0.01)
    whole, metrics = gradients(network, rows, [rows], config)
    parts, added = gradients(network, rows, pack(rows, budget), config)
    torch.testing.assert_close(parts, whole, rtol=1e-10, atol=1e-12)
    assert added == pytest.approx(metrics, rel=1e-9, abs=1e-12)


def test_denominators_of_a_micro_batch_would_not_add_up():
    """The deliberate break: counting each micro-batch by itself is the classical gradient-accumulation bug."""
    rows, network = weighted_rows(1), model()
    config = LossSettings()
    whole, _ = gradients(network, rows, [rows], config)
    broken = sum(gradients(network, part, [part], config)[0] for part in pack(rows, 24))
    assert not torch.allclose(broken, whole, rtol=1e-3)


@given(st.integers(0, 10_000), st.integers(1, 6))
def test_counts_of_parts_add_up_and_tensors_count_like_rows(seed, cut):
    rows = weighted_rows(seed)
    assert Counts.of(rows[:cut]) + Counts.of(rows[cut:]) == Counts.of(rows)
    assert TokenBatch.from_rows(rows).counts() == Counts.of(rows)


@given(st.integers(0, 10_000), st.lists(st.integers(0, 5), min_size=1, max_size=20))
def test_a_batch_once_holds_every_row_and_every_member(seed, picked):
    rows = weighted_rows(seed)
    batch = TokenBatch.from_rows([rows[number % len(rows)] for number in picked])
    distinct, place = batch.once()
    assert len(distinct.tokens) == len({tuple(rows[number % len(rows)].tokens) for number in picked})
    shown = torch.where(batch.attention, batch.tokens, 0)
    assert torch.equal(distinct.tokens[place], shown)
    assert torch.equal(distinct.attention[place], batch.attention)
    assert (distinct.scored[place] | ~batch.scored).all()
    assert distinct.scored.sum() <= batch.scored.sum()


@given(st.integers(0, 10_000))
def test_tokens_that_are_no_members_have_no_influence(seed):
    rows = weighted_rows(seed)
    batch = TokenBatch.from_rows(rows)
    batch.reference = torch.full(batch.tokens.shape, -1.0)
    torch.manual_seed(seed)
    logprobs = -torch.rand(batch.tokens.shape)
    config = LossSettings(pg="rows", entropy_weight=0.1)

    def run(values, batch):
        values = values.clone().requires_grad_()
        loss, _ = token_loss(values, batch, batch.counts(), config, entropy=values * values)
        loss.backward()
        return loss.item(), values.grad

    loss, gradient = run(logprobs, batch)
    wild = copy.deepcopy(batch)
    # The worst a model can say about padding: infinities and not-a-numbers in policy, behaviour and reference.
    outside = ~batch.scored
    wild.behaviour[outside], wild.reference[outside] = math.inf, -math.inf
    wild_loss, wild_gradient = run(torch.where(outside, math.nan, logprobs), wild)
    assert wild_loss == loss
    assert torch.equal(wild_gradient[~outside], gradient[~outside])
    assert not gradient[outside].any()


def one_row(advantage=0.0, behaviour=0.0, *, ce=0.0, kl=0.0, reference=0.0):
    """A batch of one row of two tokens, the second of which is trained."""
    member = torch.tensor([[False, True]])
    return TokenBatch(
        tokens=torch.tensor([[1, 2]]),
        attention=torch.ones(1, 2, dtype=torch.bool),
        behaviour=torch.tensor([[0.0, behaviour]]),
        weight={name: torch.tensor([[0.0, v]]) for name, v in zip(STREAMS, (advantage, ce, kl), strict=True)},
        member=dict.fromkeys(STREAMS, member),
        reference=torch.tensor([[0.0, reference]]),
    )


def loss_and_slope(batch, new, config=LossSettings(), **kwargs):
    logprobs = torch.tensor([[0.0, new]], dtype=torch.float64, requires_grad=True)
    loss, metrics = token_loss(logprobs, batch, batch.counts(), config, **kwargs)
    loss.backward()
    return loss.item(), logprobs.grad[0, 1].item(), metrics


@pytest.mark.parametrize(
    ("ratio", "advantage", "dual_clip", "loss", "slope"),
    [
        (1.0, 2.0, None, -2.0, -2.0),  # on policy: the slope is -A, as in REINFORCE
        (1.1, 2.0, None, -2.2, -2.2),  # inside: -r A
        (1.5, 2.0, None, -2.6, 0.0),  # pushed far enough: -(1 + 0.3) A
        (0.5, 2.0, None, -1.0, -1.0),  # not clipped on the side that must come back: -r A
        (0.5, -2.0, None, 1.6, 0.0),  # pushed far enough: -(1 - 0.2) A
        (3.0, -2.0, None, 6.0, 6.0),  # without dual clip the loss grows with r
        (3.0, -2.0, 2.0, 4.0, 0.0),  # with it, -2 A
        (3.0, 2.0, 2.0, -2.6, 0.0),  # it changes nothing for positive A
    ],
)
def test_policy_gradient_by_hand(ratio, advantage, dual_clip, loss, slope):
    config = LossSettings(clip_low=0.2, clip_high=0.3, dual_clip=dual_clip)
    found, gradient, metrics = loss_and_slope(one_row(advantage, -1.0), -1.0 + math.log(ratio), config)
    assert (found, gradient) == (pytest.approx(loss), pytest.approx(slope, abs=1e-12))
    stopped = metrics["clip_low"] + metrics["clip_high"]
    assert stopped == float(advantage * (ratio - 1) > 0 and not 0.8 <= ratio <= 1.3)
    # k3 of behaviour to new: r - 1 - log r
    assert metrics["kl_old"].item() == pytest.approx(ratio - 1 - math.log(ratio))


def test_cross_entropy_and_kl_by_hand():
    assert loss_and_slope(one_row(ce=0.5), -2.0)[:2] == (1.0, -0.5)
    # k3 with d = log 2: 2 - log 2 - 1; its slope is 1 - exp(d) = -1. k2: d^2 / 2, slope -d.
    loss, slope, metrics = loss_and_slope(one_row(kl=0.1, reference=-1.0), -1.0 - math.log(2))
    assert (loss, slope) == (pytest.approx(0.1 * (1 - math.log(2))), pytest.approx(-0.1))
    assert metrics["kl_reference"].item() == pytest.approx(1 - math.log(2))
    loss, slope, _ = loss_and_slope(
        one_row(kl=0.1, reference=-1.0), -1.0 - math.log(2), LossSettings(kl_estimator="k2")
    )
    assert (loss, slope) == (pytest.approx(0.05 * math.log(2) ** 2), pytest.approx(-0.1 * math.log(2)))


@pytest.mark.parametrize("estimator", ["k3", "k2"])
def test_the_kl_estimators_have_the_gradients_that_are_claimed(estimator):
    """Expectation over tokens drawn from the new policy, summed exactly, against autograd of the two divergences."""
    torch.manual_seed(0)
    logits, reference = torch.randn(5, dtype=torch.float64, requires_grad=True), torch.randn(5, dtype=torch.float64)
    reference = reference.log_softmax(-1)
    new = logits.log_softmax(-1)
    chance = new.exp().detach()
    expected = torch.zeros(5, dtype=torch.float64)
    for token in range(5):
        batch = one_row(kl=1.0)
        batch.reference = torch.stack([torch.zeros(()), reference[token]])[None]
        logprobs = torch.stack([torch.zeros(()), new[token]])[None]
        loss, _ = token_loss(logprobs, batch, batch.counts(), LossSettings(kl_estimator=estimator))
        expected += chance[token] * torch.autograd.grad(loss, logits, retain_graph=True)[0]
    forward = (reference.exp() * (reference - new)).sum()
    backward = (new.exp() * (new - reference)).sum()
    (true,) = torch.autograd.grad(forward if estimator == "k3" else backward, logits)
    torch.testing.assert_close(expected, true)


def test_entropy_bonus_raises_entropy_and_needs_a_gradient():
    torch.manual_seed(0)
    logits = torch.randn(1, 2, 5, dtype=torch.float64, requires_grad=True)
    batch = one_row()
    config = LossSettings(entropy_weight=0.5)
    logprobs, entropy = score_rows(logits, batch.tokens, entropy_grad=True)
    loss, metrics = token_loss(logprobs, batch, batch.counts(), config, entropy=entropy)
    exact = torch.distributions.Categorical(logits=logits[0, 0]).entropy()
    assert loss.item() == pytest.approx(-0.5 * exact.item())
    assert metrics["entropy"].item() == pytest.approx(exact.item())
    (ours,) = torch.autograd.grad(loss, logits)
    (theirs,) = torch.autograd.grad(-0.5 * exact, logits)
    torch.testing.assert_close(ours, theirs)
    for missing in (None, score_rows(logits, batch.tokens)[1]):
        with pytest.raises(LossError, match="entropy_grad=True"):
            token_loss(logprobs, batch, batch.counts(), config, entropy=missing)


def test_an_absurd_ratio_gives_a_finite_loss_and_gradient():
    for advantage, new in ((-1.0, 0.0), (1.0, 0.0), (1.0, -400.0)):
        loss, slope, metrics = loss_and_slope(one_row(advantage, -200.0, kl=1.0, reference=-300.0), new)
        assert math.isfinite(loss)
        assert math.isfinite(slope)
        assert all(math.isfinite(value) for value in metrics.values())


@given(st.integers(0, 1000), st.sampled_from([0.5, 1.0, 1.7]))
def test_the_head_is_applied_only_where_a_stream_needs_it_and_gives_the_same(seed, temperature):
    rows, network = weighted_rows(seed), model()
    batch = TokenBatch.from_rows(rows)
    hidden = network.hidden(batch.tokens)
    seen = []

    def head(chosen):
        seen.append(len(chosen))
        return network.head(chosen)

    logprobs, entropy = score_hidden(hidden, head, batch, temperature)
    full, full_entropy = score_rows(network.head(hidden), batch.tokens, temperature)
    assert seen == [int(batch.scored.sum())]
    torch.testing.assert_close(logprobs, full * batch.scored)
    torch.testing.assert_close(entropy, full_entropy * batch.scored)


def test_scores_are_those_of_a_categorical_distribution_also_from_half_precision():
    torch.manual_seed(0)
    logits = torch.randn(4, 7)
    targets = torch.tensor([0, 3, 6, 2])
    oracle = torch.distributions.Categorical(logits=logits.double() / 0.6)
    chosen, entropy = score(logits.double(), targets, 0.6)
    torch.testing.assert_close(chosen, oracle.log_prob(targets))
    torch.testing.assert_close(entropy, oracle.entropy())
    assert score(logits.bfloat16(), targets)[0].dtype == torch.float32


def test_a_stream_without_members_costs_nothing():
    row = make_row(5)
    batch = TokenBatch.from_rows([row])
    logprobs = torch.zeros(1, 5, requires_grad=True)
    loss, metrics = token_loss(logprobs, batch, Counts.of([row]), LossSettings(pg="rows", kl="constant", max_length=3))
    loss.backward()
    assert loss.item() == 0
    assert not logprobs.grad.any()
    assert metrics["tokens"] == 0


def test_padding_is_marked_and_rows_keep_their_numbers():
    rows = [make_row(2, seed=1), make_row(4, seed=2)]
    batch = TokenBatch.from_rows(rows, pad_id=9)
    assert batch.tokens[0].tolist() == [*rows[0].tokens.tolist(), 9, 9]
    assert batch.attention.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.behaviour[1].tolist() == rows[1].logprobs.tolist()
    assert not batch.scored.any()


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"clip_low": 1.5}, r"clip_low 1.5 must lie in \[0, 1\]"),
        ({"clip_high": -0.1}, "must not be negative"),
        ({"dual_clip": 1.1}, r"must be above 1.2"),
        ({"pg": "token"}, "denominator 'token' of stream pg is unknown"),
        ({"kl": "constant"}, "'constant' of stream kl needs max_length"),
    ],
)
def test_settings_that_make_no_sense_are_refused(options, told):
    with pytest.raises(LossError, match=told):
        LossSettings(**options)


def test_missing_reference_and_greedy_temperature_are_refused():
    batch = one_row(kl=0.1)
    batch.reference = None
    with pytest.raises(LossError, match="no reference log-probabilities"):
        loss_and_slope(batch, -1.0)
    with pytest.raises(LossError, match="temperature 0 must be positive"):
        score(torch.zeros(1, 3), torch.tensor([0]), 0)
