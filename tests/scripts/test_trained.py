"""What an adapter remembers is data from a file that anybody may have written."""

import json

import pytest

from palaestra.agents.models import adapters
from palaestra.envs.errors import OptionError
from palaestra.scripts.trained import section_of


def remembered(tmp_path, monkeypatch, fixed_seats):
    monkeypatch.setattr(adapters, "resolve", lambda name: tmp_path)
    games = [{"game": "contest", "fixed_seats": fixed_seats}]
    (tmp_path / adapters.STAMP).write_text(json.dumps({"base": "x", "games": games}))
    return section_of("tiny:blank@somewhere", "contest")


def test_the_judges_of_training_judge_in_an_evaluation_too(tmp_path, monkeypatch) -> None:
    section = remembered(tmp_path, monkeypatch, {"3": "base", "4": "base"})
    assert section is not None
    assert section.fixed_seats == {3: "base", 4: "base"}


@pytest.mark.parametrize("seat", ["uci:sh -c 'touch x'", "gtp:sh", "server:http://example.org;model=x"])
def test_an_adapters_memory_starts_no_program_and_calls_no_address(tmp_path, monkeypatch, seat: str) -> None:
    with pytest.raises(OptionError, match="would start a program or call an address"):
        remembered(tmp_path, monkeypatch, {"3": seat, "4": "base"})
