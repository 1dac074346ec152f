"""What a model computes of an output: its own probabilities, read behind the question, beside what was said."""

from __future__ import annotations

import math

import pytest
import torch

from palaestra.agents.models.sources import ModelSource
from palaestra.envs import make
from palaestra.envs.errors import OptionError
from palaestra.trainers.own_surprise import compared, own_surprise
from palaestra.trainers.surprise_card import CardPlan, card_of, play_cases
from tests.scripts.cli_kit import call


@pytest.mark.parametrize("items", ["machine", "python"])
def test_it_is_what_plain_transformers_compute_behind_the_question(items) -> None:
    options = {"items": items, "view": "terse"}
    found = own_surprise("tiny:blank", options, 3, seed=5)
    loaded = ModelSource.parse("tiny:blank").load()
    codec = loaded.codec
    for number, own in enumerate(found):
        game = make("terminal_surprise", seed=5 + number, forecast=True, **options)
        context = [*codec.chat_open(None), *codec.user_turn(game.board(0))]
        reply = [*codec.encode_untrusted(game.case.output), codec.stop_ids[0]]
        with torch.no_grad():
            logits = loaded.model(torch.tensor([[*context, *reply]])).logits[0, len(context) - 1 : -1]
        expected = -logits.log_softmax(-1)[range(len(reply)), reply].sum()
        assert own == pytest.approx(float(expected), rel=1e-4)


def test_what_was_said_is_held_against_it_and_against_a_twin() -> None:
    own = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    replaced = [False, False, True, False, True, True]
    found = compared(own, replaced, [0.1, 0.2, 0.3, None, 0.5, 0.6], [6.0, 1.0, 5.0, 2.0, 4.0, 3.0])
    assert (found.kept, found.replaced) == (pytest.approx(7 / 3), pytest.approx(14 / 3))
    assert found.auroc == pytest.approx(8 / 9)
    assert found.said == pytest.approx(1.0)
    assert found.introspection == pytest.approx(1.0)
    silent = compared(own, [False] * 6, [None] * 6)
    assert math.isnan(silent.auroc)
    assert silent.said is None
    assert silent.introspection is None


def test_a_card_shows_it_for_models_only() -> None:
    plan = CardPlan("tiny:blank", {"items": "machine"}, cases=6, twin="tiny:blank")
    assert card_of(plan, play_cases(plan))["own_surprise"]["kept"] > 0
    plan = CardPlan("rate", {"items": "machine"}, cases=6)
    assert card_of(plan, play_cases(plan))["own_surprise"] is None
    with pytest.raises(OptionError, match="no model of this machine"):
        own_surprise("rate", {"items": "machine"}, 2, 0)
    refused = call("card", "rate", "--twin", "tiny:blank", "-o", "items=machine")
    assert refused.exit_code == 2
    assert "no model of this machine" in refused.stderr
