"""The register: names to games, families, third parties' games, and wrong names answered with the right one."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from palaestra.envs import game_ids, make, play, registry
from palaestra.envs.errors import OptionError, UnknownName
from palaestra.envs.game import Game
from palaestra.envs.games.tic_tac_toe import TicTacToe
from palaestra.envs.options import refuse_reserved
from palaestra.envs.registry import GameEntry, entry, on_register, register, register_family
from palaestra.envs.seat import RandomSeat
from tests.envs.broken_games import Take
from tests.shipped import GAMES


@pytest.fixture(autouse=True)
def register_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test registers is forgotten after it."""
    monkeypatch.setattr(registry, "_games", dict(registry._games))
    monkeypatch.setattr(registry, "_families", dict(registry._families))
    monkeypatch.setattr(registry, "_listeners", [])


def test_every_registered_game_can_be_made_and_bears_its_name() -> None:
    assert {"tic_tac_toe", "kuhn_poker"} <= set(game_ids())
    for name in game_ids():
        game = make(name, seed=3)
        assert (game.id, game.seed) == (name, 3)
        assert game.summary
        assert not game.is_over()


def test_an_unknown_name_is_answered_with_the_nearest() -> None:
    with pytest.raises(UnknownName, match=r"unknown game 'kuhn_pokr'. Did you mean 'kuhn_poker'") as caught:
        make("kuhn_pokr")
    assert caught.value.nearest == "kuhn_poker"
    with pytest.raises(UnknownName, match=r"unknown game 'zzz'. `palaestra envs` lists them all") as caught:
        make("zzz")
    assert caught.value.nearest is None
    with pytest.raises(UnknownName, match=r"unknown option of tic_tac_toe 'veiw'. Did you mean 'view'"):
        make("tic_tac_toe", veiw="terse")
    with pytest.raises(OptionError, match=r"is 'tense', expected one of grid, terse\. Did you mean 'terse'"):
        make("tic_tac_toe", view="tense")


def test_a_game_registered_by_one_call_is_made_played_and_listed() -> None:
    register("mine/take", Take)
    assert "mine/take" in game_ids()
    assert play(make("mine/take"), [RandomSeat(), RandomSeat(1)]).outcome == "finished"


def test_the_same_game_may_be_registered_twice_but_no_other_under_its_name() -> None:
    register("take", Take)
    register("take", Take)
    with pytest.raises(ValueError, match="a game named 'take' is registered already; choose another name"):
        register("take", Take, visibility="public")
    assert entry("take").visibility == "private"


def test_a_game_given_by_name_is_imported_at_first_use_only(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "games_of_mine.py").write_text("from tests.envs.broken_games import Take as Mine\n")
    monkeypatch.syspath_prepend(tmp_path)
    register("mine", "games_of_mine:Mine")
    assert "mine" in game_ids()
    assert "games_of_mine" not in sys.modules
    assert isinstance(make("mine"), Take)
    del sys.modules["games_of_mine"]


def test_defaults_of_an_entry_give_way_to_options() -> None:
    register("small", "palaestra.envs.games.tic_tac_toe:TicTacToe", defaults={"view": "terse"})
    assert make("small").options.view == "terse"
    assert make("small", view="grid").options.view == "grid"


def test_a_family_makes_its_members_on_demand() -> None:
    def resolve(name: str) -> GameEntry:
        if name != "heaps/five":
            raise UnknownName("game", name, ["heaps/five"])
        return GameEntry(name, Take)

    register_family("heaps/", resolve, lambda: ["heaps/five"])
    assert isinstance(make("heaps/five"), Take)
    assert "heaps/five" in game_ids(families=True)
    assert "heaps/five" not in game_ids()
    assert game_ids(families=True) == sorted(game_ids(families=True))
    with pytest.raises(UnknownName, match="Did you mean 'heaps/five'"):
        make("heaps/fife")


@pytest.mark.parametrize("name", ["x y", "", "a/b/c", "a\nb"])
def test_what_cannot_be_typed_cannot_name_a_game(name: str) -> None:
    with pytest.raises(ValueError, match="cannot name a game"):
        register(name, Take)


def test_a_class_that_is_no_game_is_refused_at_once() -> None:
    with pytest.raises(ValueError, match="int is no game"):
        register("number", int)  # type: ignore[arg-type]


def test_a_listener_hears_of_games_before_and_after_it() -> None:
    register("before", Take)
    heard: list[str] = []
    on_register(lambda found: heard.append(found.id))
    register("after", Take)
    assert heard[-2:] == ["before", "after"]


@pytest.fixture
def installed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[dict[str, str]], None]]:
    """Make it look as if packages with these entry points were installed."""

    def install(points: dict[str, str]) -> None:
        found = [EntryPoint(name, value, registry.ENTRY_POINT_GROUP) for name, value in points.items()]
        monkeypatch.setattr(registry, "entry_points", lambda group: [p for p in found if p.group == group])
        monkeypatch.setattr(registry, "_plugins_loaded", False)

    yield install
    registry._plugins_loaded = True


def test_games_of_installed_packages_are_found_without_any_call(
    installed: Callable[[dict[str, str]], None],
) -> None:
    installed({"their_take": "tests.envs.broken_games:Take"})
    game: Game = make("their_take")
    assert isinstance(game, Take)
    assert "their_take" in game_ids()


def test_a_broken_package_is_named_in_a_warning_and_takes_nothing_else_down(
    installed: Callable[[dict[str, str]], None],
) -> None:
    installed(
        {
            "gone": "no_such_package.games:Game",
            "tic_tac_toe": "tests.envs.broken_games:Take",
            "their_take": "tests.envs.broken_games:Take",
        }
    )
    with pytest.warns(UserWarning, match="left out") as warned:
        names = game_ids()
    said = [str(warning.message) for warning in warned]
    assert any("'gone' of an installed package could not be loaded and is left out" in text for text in said)
    assert any("'tic_tac_toe' of an installed package" in text and "registered already" in text for text in said)
    assert "their_take" in names
    assert "gone" not in names
    assert make("tic_tac_toe").id == "tic_tac_toe"


def test_a_visibility_that_there_is_not_is_refused() -> None:
    with pytest.raises(ValueError, match="visibility of mistyped is 'pubic', expected one of private"):
        register("mistyped", TicTacToe, visibility="pubic")  # type: ignore[arg-type]
    assert "mistyped" not in game_ids()


def test_a_name_that_a_listener_refuses_is_not_registered() -> None:
    def refuse(found: GameEntry) -> None:
        if found.id == "tic-tac-toe":
            raise ValueError("would share an id with tic_tac_toe")

    on_register(refuse)
    with pytest.raises(ValueError, match="would share"):
        register("tic-tac-toe", TicTacToe)
    assert "tic-tac-toe" not in game_ids()
    with pytest.raises(UnknownName):
        make("tic-tac-toe")


@pytest.mark.parametrize("name", ["seed", "id", "self"])
def test_what_stands_beside_options_is_no_option(name: str) -> None:
    with pytest.raises(OptionError, match=f"'{name}' is no option"):
        make("open_minds", inner="chess", inner_options={name: 3})
    with pytest.raises(OptionError, match=f"'{name}' is no option"):
        refuse_reserved({name: 3}, "chess")


@pytest.mark.parametrize("name", GAMES)
def test_the_version_in_lists_is_the_games_own(name: str) -> None:
    assert entry(name).version == make(name).version
