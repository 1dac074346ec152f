"""Every adapter on every task: one table, one batch, and the results on the cards."""

import json
import math

import pytest

from palaestra.agents.engines.base import BASE
from palaestra.agents.models import library
from palaestra.agents.router import served
from palaestra.envs.errors import OptionError
from palaestra.trainers.compare import Comparison, compare, compares, tasks_of
from palaestra.trainers.summary import Estimate, Score
from tests.agents.test_library import make_adapter
from tests.trainers.run_kit import data, small


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    monkeypatch.setattr(library, "cache_dir", lambda: tmp_path / "cache")
    served.cache_clear()
    library.add(str(make_adapter(tmp_path / "one", 1, "kuhn_poker")), "one")
    library.add(str(make_adapter(tmp_path / "two", 2, "tic_tac_toe")), "two")
    yield tmp_path
    served.cache_clear()


def test_the_table_holds_every_adapter_and_the_base_on_every_task(shelf):
    found = compare(["one", "two"], pairs=3)
    assert found.policies == (BASE, "one", "two")
    assert found.tasks == ("kuhn_poker", "tic_tac_toe")
    assert all(score.games == 6 for score in found.scores.values())
    for name in ("one", "two"):
        ratings = library.card_of(name).ratings
        assert [one.task for one in ratings] == list(found.tasks)
        assert ratings[0].result == found.scores[name, "kuhn_poker"].result.mean
    again = compare(["two", "one"], pairs=3)
    assert again.scores["one", "kuhn_poker"] == found.scores["one", "kuhn_poker"]
    assert len(library.card_of("one").ratings) == 2


@pytest.mark.parametrize(
    ("base", "own", "verdict"),
    [((0, -1, 1), (2, 1.1, 3), "gain"), ((0, -1, 1), (-2, -3, -1.1), "loss"), ((0, -1, 1), (2, 0.9, 3), ""),
     ((0, math.nan, math.nan), (2, 1, 3), "")],
)  # fmt: skip
def test_gain_and_loss_are_said_where_intervals_are_apart(base, own, verdict, tmp_path):
    scores = {
        (name, "g"): Score(
            "g", "random", 4, Estimate(1, 1, 1, 4), Estimate(*map(float, result), 2), 1, 1, 2, 4, 0, 0, 0
        )
        for name, result in ((BASE, base), ("one", own))
    }
    found = Comparison("tiny:blank", (BASE, "one"), ("g",), scores)
    assert found.verdict("one", "g") == verdict
    (tmp_path / "c.json").write_text(json.dumps(found.to_json()))
    again = Comparison.read(tmp_path / "c.json")
    assert again.to_json() == found.to_json()
    assert Comparison.read(tmp_path / "none.json") is None


def test_a_game_that_a_run_has_twice_has_two_names_and_one_alone_is_not_compared():
    game = data()["games"][0]
    run = small(games=[game, {**game, "options": {"view": "words"}}], evaluation={"pairs": 1})
    assert tasks_of(run) == ["kuhn_poker", "kuhn_poker (2)"]
    assert compares(run)
    assert not compares(small(evaluation={"pairs": 1}))
    assert not compares(small(games=[game, game]))


def test_adapters_without_tasks_cannot_be_compared(shelf):
    library.add(str(make_adapter(shelf / "three", 3)), "three")
    with pytest.raises(OptionError, match="no task to compare"):
        compare(["three"], pairs=2)
