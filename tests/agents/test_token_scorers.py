"""Scorers by a model: what the environment pays with them is what the model says."""

from __future__ import annotations

import copy

import gymnasium
import numpy as np
import pytest
import torch

import palaestra.envs  # noqa: F401  registers the environments
from palaestra.agents.thinking import Thinking
from palaestra.agents.token_scorers import Average, Frozen
from palaestra.trainers.thinktoks.models import Shape, fresh_model

THINKING = Thinking(257, 4, 8)  # bytes, and what a context begins with
START = (256,)


@pytest.fixture(scope="module")
def model():
    return fresh_model(THINKING, Shape(layers=1, width=16, heads=2), 0)


def test_the_environment_pays_what_a_frozen_model_says_and_potentials_telescope(model):
    given = copy.deepcopy(model)
    scorer = Frozen(given, THINKING, START, words=256)
    with torch.no_grad():
        for parameter in given.parameters():
            parameter.zero_()  # the learner goes on: the scorer does not
    totals = []
    for potential in (False, True):
        env = gymnasium.make("palaestra/NextToken-v0", task="chain", scorer=scorer, potential=potential, cost=0.1)
        observation, _ = env.reset(seed=1)
        paid, over = 0.0, False
        while not over:
            think = int(observation["left"] > 6)  # two thoughts wherever there may be some
            observation, reward, over, _, _ = env.step({"think": think, "logits": np.zeros(256, np.float32)})
            paid += reward
        totals.append(paid)
    placed = [
        (int(token), bool(thought))
        for token, thought in zip(observation["tokens"], observation["thinking"], strict=True)
    ][: int(observation["length"])]
    context = torch.tensor([[*START, *(token + thought for token, thought in placed)]])  # 257 real tokens, not 256
    with torch.no_grad():
        logprobs = model(input_ids=context).logits[0, :-1, :256].log_softmax(-1)
    scored = iter(env.unwrapped._game.encoded.scored)
    said = sum(float(logprobs[at, token]) for at, (token, thought) in enumerate(placed) if not thought and next(scored))
    thoughts = sum(thought for _, thought in placed)
    assert thoughts > 0
    assert totals[0] == pytest.approx(said - thoughts * 0.1, abs=1e-4)
    assert totals[1] == pytest.approx(totals[0], abs=1e-6)


@pytest.mark.parametrize("decay", [0.0, 0.5, 1.0])
def test_an_average_moves_its_share_of_the_way(model, decay):
    scorer = Average(model, THINKING, START, decay=decay)
    learner = copy.deepcopy(model)
    with torch.no_grad():
        for parameter in learner.parameters():
            parameter.add_(1.0)
    scorer.follow(learner)
    for kept, before in zip(scorer.model.parameters(), model.parameters(), strict=True):
        assert torch.allclose(kept, before + (1 - decay), atol=1e-6)


def test_what_makes_no_scorer_is_named(model):
    with pytest.raises(ValueError, match="at least one token"):
        Frozen(model, THINKING, ())
    with pytest.raises(ValueError, match="decay is 2"):
        Average(model, THINKING, START, decay=2)
