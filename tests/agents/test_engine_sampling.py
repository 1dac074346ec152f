"""Counter-based Gumbel noise: what it is a function of, that it is Gumbel, and that tokens drawn with it are right."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

torch = pytest.importorskip("torch")

from palaestra.agents.engines.base import Sampling  # noqa: E402
from palaestra.agents.engines.sampling import Sampler, gumbel  # noqa: E402

keys = st.tuples(st.integers(0, 2**63 - 1), st.integers(0, 10_000))


def noise(seed: int, position: int, size: int) -> np.ndarray:
    out = np.empty(size, dtype=np.float32)
    gumbel(seed, position, out)
    return out


@given(keys, st.integers(2, 70))
def test_noise_depends_on_seed_position_and_token_only(key, size):
    """Not on the size of the vocabulary, nor on what the buffer held."""
    assert np.array_equal(noise(*key, size), noise(*key, 70)[:size])


@given(keys, keys)
def test_another_seed_or_position_gives_other_noise(first, second):
    assert (first == second) == np.array_equal(noise(*first, 8), noise(*second, 8))


def test_the_noise_of_one_seed_is_pinned():
    """Replays and resumed runs draw again what was drawn; a change here breaks them."""
    assert noise(7, 3, 4).tolist() == pytest.approx([0.29761, 0.41851, 1.05540, -0.25297], abs=1e-4)


def test_noise_is_finite_and_has_the_gumbel_distribution():
    """Kolmogorov-Smirnov: with n = 2**20 the distance is below 1.95 / sqrt(n) in all but one case of a thousand."""
    values = np.concatenate([noise(seed, position, 4096) for seed in range(16) for position in range(16)])
    assert np.isfinite(values).all()
    uniform = np.sort(np.exp(-np.exp(-values.astype(np.float64))))
    steps = np.arange(1, len(uniform) + 1) / len(uniform)
    assert np.abs(uniform - steps).max() < 1.95 / np.sqrt(len(uniform))


def test_neighbouring_seeds_positions_and_tokens_are_uncorrelated():
    """Of n independent pairs the correlation is below 5 / sqrt(n) in all but one case of a million."""
    grid = np.stack([[noise(seed, position, 256) for position in range(32)] for seed in range(32)])
    for first, second in ((grid[1:], grid[:-1]), (grid[:, 1:], grid[:, :-1]), (grid[..., 1:], grid[..., :-1])):
        assert abs(np.corrcoef(first.ravel(), second.ravel())[0, 1]) < 5 / np.sqrt(first.size)


def test_rare_tokens_are_drawn_as_often_as_they_should_be():
    """1,999 tokens share a probability of 0.01: due in 100 of 10,000 draws, give or take 5 sigma = 50."""
    vocab, draws = 2000, 10_000
    logits = torch.full((100, vocab), float(np.log(0.01 / (vocab - 1))))
    logits[:, 17] = float(np.log(0.99))
    sampler = Sampler()
    rare = 0
    for batch in range(draws // 100):
        tokens, _ = sampler.draw(logits, [Sampling(1, seed=100 * batch + row) for row in range(100)], [0] * 100)
        rare += sum(token != 17 for token in tokens)
    assert abs(rare - 100) < 50


def test_a_row_is_drawn_alike_alone_and_among_others():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(9, 301, generator=generator) * 3
    samplings = [Sampling(4, temperature=row % 3 / 2, seed=row) for row in range(9)]
    sampler = Sampler()
    tokens, logprobs = sampler.draw(logits, samplings, list(range(9)))
    for row in range(9):
        alone = sampler.draw(logits[row : row + 1], samplings[row : row + 1], [row])
        assert (alone[0][0], alone[1][0]) == (tokens[row], pytest.approx(logprobs[row], abs=1e-6))


def test_logprobs_are_of_the_tempered_distribution_and_untempered_when_greedy():
    """logits log(1, 3) at T = 1/2 are log(1, 9): 0.1 and 0.9; greedy reports log 0.75."""
    logits = torch.log(torch.tensor([[1.0, 3.0]] * 3))
    samplings = [
        Sampling(1, temperature=0.5, seed=1),
        Sampling(1, temperature=0.0),
        Sampling(1, temperature=1.0, seed=2),
    ]
    tokens, logprobs = Sampler().draw(logits, samplings, [0, 0, 0])
    tempered, plain = ([0.1, 0.9], [0.25, 0.75])
    assert tokens[1] == 1
    due = [tempered[tokens[0]], plain[1], plain[tokens[2]]]
    assert np.exp(logprobs) == pytest.approx(due, abs=1e-6)


@pytest.mark.parametrize("wrong", [{"max_tokens": 0}, {"max_tokens": 1, "temperature": -1.0}])
def test_impossible_samplings_are_refused(wrong):
    with pytest.raises(ValueError, match="at least"):
        Sampling(**wrong)
