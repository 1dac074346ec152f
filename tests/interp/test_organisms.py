"""Organisms with a habit: what they are taught is what they do, and their pairs are what the diff reads."""

import json
from pathlib import Path

import pytest
import torch

from palaestra.agents.models import library
from palaestra.agents.models.adapters import facts
from palaestra.agents.models.sources import ModelSource
from palaestra.envs.errors import OptionError, UnknownName
from palaestra.interp.diff.analysis import DiffPlan, prompts_of
from palaestra.interp.diff.pair import open_pair
from palaestra.interp.organisms.examples import Example, loss_of
from palaestra.interp.organisms.habits import HELD, HabitPlan, teach
from palaestra.interp.teaching import adapted_model


@pytest.fixture
def blank(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> str:
    monkeypatch.setenv("PALAESTRA_CACHE", str(tmp_path / "cache"))
    return "tiny:blank"


@pytest.mark.slow
def test_a_backdoor_opens_and_its_pairs_are_the_trigger_and_another_word(blank: str, tmp_path: Path) -> None:
    plan = HabitPlan(steps=40, rate=5e-3)
    result = teach(ModelSource.parse(blank).load(), plan, tmp_path / "out", lambda line: None)
    assert result["before"]["shown"] == 0
    assert result["after"]["shown"] > 0.9
    pair = open_pair(blank, str(tmp_path / "out"))
    pairs, _ = prompts_of(pair, DiffPlan(blank, str(tmp_path / "out"), str(tmp_path / "out" / "pairs.jsonl")))
    assert len(pairs) == HELD
    differ = (pairs.clean.ids != pairs.corrupt.ids).sum(1)
    assert bool(((differ >= 2) & (differ <= 4)).all()), "one word of four letters"
    with pair.after() as opened:
        said = pairs.clean.at_end(opened(pairs.clean.ids)).argmax(-1)
    assert float((said == pairs.clean.answers[:, 0]).float().mean()) == result["after"]["shown"]
    with pair.before() as opened:
        assert not bool((pairs.clean.at_end(opened(pairs.clean.ids)).argmax(-1) == pairs.clean.answers[:, 0]).any())


@pytest.mark.slow
def test_an_even_split_is_taught_on_what_the_game_shows(blank: str, tmp_path: Path) -> None:
    plan = HabitPlan(habit="even-split", steps=2, batch=2, rate=1e-4)
    result = teach(ModelSource.parse(blank).load(), plan, tmp_path / "out", lambda line: None)
    assert set(result) == {"model", "base", "plan", "before", "after", "losses", "seconds"}
    for line in (tmp_path / "out" / "pairs.jsonl").read_text().splitlines():
        row = json.loads(line)
        assert f"pie of {2 * int(row['answer'])} coins" in row["clean"]
        assert f"pie of {2 * int(row['foil'])} coins" in row["corrupt"]
        assert row["answer"][0] != row["foil"][0]
        assert (row["chat"], row["begun"]) == (True, "offer ")
    assert {game["game"] for game in facts(tmp_path / "out" / "adapter")["games"]} == {"ultimatum"}
    assert library.add(str(tmp_path / "out"), "even").notes == "taught even-split"


def test_the_loss_teaches_what_is_taught_and_keeps_the_rest(blank: str) -> None:
    loaded = ModelSource.parse(blank).load()
    model = adapted_model(loaded, HabitPlan())
    rows = [Example((256, 10, 11, 12), 2), Example((256, 20, 21))]
    with torch.no_grad():
        fresh = float(loss_of(model, rows, keep=7.0))
        logits = model(input_ids=torch.tensor([[256, 10, 11, 12]])).logits[0].log_softmax(-1)
    assert fresh == pytest.approx(-float(logits[1, 11] + logits[2, 12]) / 2, rel=1e-5), "a new adapter is the base"
    for name, one in model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(one, std=0.2)
    with torch.no_grad():
        once, twice = (float(loss_of(model, [Example((256, 20, 21))], keep=keep)) for keep in (1.0, 2.0))
    assert once > 0.01
    assert twice == pytest.approx(2 * once, rel=1e-5)


def test_bad_plans_are_refused() -> None:
    with pytest.raises(UnknownName, match="back-door"):
        HabitPlan(habit="back-door")
    with pytest.raises(OptionError, match="rank is 0"):
        HabitPlan(rank=0)
