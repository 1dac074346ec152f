"""Every adapter on every task: one table, one batch, and the results on the cards."""

import pytest

from palaestra.agents.engines.base import BASE
from palaestra.agents.models import library
from palaestra.agents.router import served
from palaestra.envs.errors import OptionError
from palaestra.trainers.compare import compare
from tests.agents.test_library import make_adapter


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


def test_adapters_without_tasks_cannot_be_compared(shelf):
    library.add(str(make_adapter(shelf / "three", 3)), "three")
    with pytest.raises(OptionError, match="no task to compare"):
        compare(["three"], pairs=2)
