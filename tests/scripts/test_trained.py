"""What an adapter remembers is data from a file that anybody may have written."""

import json

import pytest

from palaestra.agents.models import adapters
from palaestra.envs.errors import OptionError
from palaestra.scripts import card
from palaestra.scripts.trained import section_of
from tests.scripts.cli_kit import call, one_sentence


def remembered(tmp_path, monkeypatch, fixed_seats):
    monkeypatch.setattr(adapters, "resolve", lambda name: tmp_path)
    games = [{"game": "contest", "fixed_seats": fixed_seats}]
    (tmp_path / adapters.STAMP).write_text(json.dumps({"base": "x", "games": games}))
    return section_of("tiny:blank@somewhere", "contest")


def test_the_judges_of_training_judge_in_an_evaluation_too(tmp_path, monkeypatch) -> None:
    section = remembered(tmp_path, monkeypatch, {"3": "base", "4": "base"})
    assert section is not None
    assert section.fixed_seats == {3: "base", 4: "base"}


def test_a_card_asks_an_adapter_as_it_was_trained(tmp_path, monkeypatch) -> None:
    asked = []
    game = {"game": "terminal_surprise", "options": {"items": "python", "mode": "forced"}, "reply": {"max_tokens": 6}}
    monkeypatch.setattr(adapters, "resolve", lambda name: tmp_path)
    (tmp_path / adapters.STAMP).write_text(json.dumps({"base": "x", "games": [game]}))
    monkeypatch.setattr(card, "_measured", asked.append)
    monkeypatch.setattr(card, "_show", lambda found: None)
    call("card", "tiny:blank@somewhere", "--cases", "3")
    call("card", "tiny:blank@somewhere", "--cases", "3", "-o", "mode=free", "--max-tokens", "9")
    assert [(plan.options, plan.max_tokens) for plan in asked] == [
        ({"items": "python", "mode": "forced"}, 6),
        ({"items": "python", "mode": "free"}, 9),
    ]
    assert [plan.rules().accept_cut for plan in asked] == [True, False]
    assert [plan.settings().system is None for plan in asked] == [True, False]


def test_a_card_asks_an_adapter_about_programs_that_it_was_not_shown(tmp_path, monkeypatch) -> None:
    asked = []
    game = {"game": "terminal_surprise", "options": {"part": "shown"}, "reply": {"max_tokens": 6}}
    monkeypatch.setattr(adapters, "resolve", lambda name: tmp_path)
    (tmp_path / adapters.STAMP).write_text(json.dumps({"base": "x", "games": [game]}))
    monkeypatch.setattr(card, "_measured", asked.append)
    monkeypatch.setattr(card, "_show", lambda found: None)
    call("card", "tiny:blank@somewhere", "--cases", "3")
    call("card", "tiny:blank@somewhere", "--cases", "3", "-o", "part=shown")
    assert [plan.options["part"] for plan in asked] == ["held_out", "shown"]


def test_a_card_leaves_room_for_a_thought_and_asks_none_of_a_reply_that_was_begun(monkeypatch) -> None:
    asked = []
    monkeypatch.setattr(card, "_measured", asked.append)
    monkeypatch.setattr(card, "_show", lambda found: None)
    call("card", "tiny:blank", "--thinking")
    call("card", "tiny:blank")
    assert [plan.max_tokens for plan in asked] == [256, 16]
    refused = call("card", "tiny:blank", "--thinking", "-o", "mode=forced")
    assert "nothing can be thought first" in one_sentence(refused, "palaestra card")
    scripted = call("card", "random", "--thinking")
    assert "random is a scripted seat" in one_sentence(scripted, "palaestra card")


@pytest.mark.parametrize("seat", ["uci:sh -c 'touch x'", "gtp:sh", "server:http://example.org;model=x"])
def test_an_adapters_memory_starts_no_program_and_calls_no_address(tmp_path, monkeypatch, seat: str) -> None:
    with pytest.raises(OptionError, match="would start a program or call an address"):
        remembered(tmp_path, monkeypatch, {"3": seat, "4": "base"})
