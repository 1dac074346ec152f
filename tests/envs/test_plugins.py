"""What is known by name is found by name: ours, registered things, and those of installed packages, broken ones too."""

import pytest

from palaestra.envs import plugins
from palaestra.envs.documents import tasks
from palaestra.envs.errors import BrokenPlugin, UnknownName
from palaestra.envs.plugins import Plugins

GROUP = "palaestra.test"


class Point:
    """An entry point."""

    def __init__(self, name: str, thing: object) -> None:
        self.name, self.thing, self.value = name, thing, f"package:{name.upper()}"
        self.loaded = 0

    def load(self) -> object:
        self.loaded += 1
        if isinstance(self.thing, Exception):
            raise self.thing
        return self.thing


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> list[Point]:
    points = [Point("theirs", 7), Point("broken", ImportError("no module named nowhere"))]

    def entry_points(group: str, name: str | None = None) -> list[Point]:
        return [one for one in points if group == GROUP and name in (None, one.name)]

    monkeypatch.setattr(plugins, "entry_points", entry_points)
    return points


def test_names_are_listed_without_loading_and_loaded_once(offered: list[Point]) -> None:
    things = Plugins("thing", {"ours": 1}, group=GROUP)
    assert things.register("mine", 2) == 2
    assert things.names() == ["broken", "mine", "ours", "theirs"]
    assert [point.loaded for point in offered] == [0, 0]
    assert [things[name] for name in ("ours", "mine", "theirs", "theirs")] == [1, 2, 7, 7]
    assert [point.loaded for point in offered] == [1, 0]


def test_a_name_that_is_taken_unknown_or_broken_is_one_sentence(offered: list[Point]) -> None:
    things = Plugins("thing", {"ours": 1}, group=GROUP)
    things.register("ours", 1)
    with pytest.raises(ValueError, match="a thing named 'ours' is registered already"):
        things.register("ours", 2)
    with pytest.raises(
        UnknownName, match=r"unknown thing 'theris'. Did you mean 'theirs'\? There are broken, ours, the"
    ):
        things["theris"]
    with pytest.raises(
        BrokenPlugin, match=r"'broken' .*\(package:BROKEN\) cannot be loaded: no module named nowhere; mend"
    ):
        things["broken"]


def test_without_a_group_no_package_offers_anything(offered: list[Point]) -> None:
    assert Plugins("thing", {"ours": 1}).names() == ["ours"]
    with pytest.raises(UnknownName):
        Plugins("thing", {"ours": 1})["theirs"]


def test_documents_are_open_to_packages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plugins, "entry_points", lambda group: [Point("theirs", 7)] * (group == "palaestra.documents"))
    assert "theirs" in tasks()
