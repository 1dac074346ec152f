"""Third parties: a game registered by one call or by an entry point is a gymnasium id, imported at first use."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import gymnasium
import pytest

from palaestra.envs import registry
from palaestra.envs.bridges.ids import gymnasium_id
from palaestra.envs.games.tic_tac_toe import TicTacToe


class Renamed(TicTacToe):
    id = "test/my-game_two"
    version = 4


@pytest.mark.parametrize(
    ("game", "id"),
    [("chess", "palaestra/Chess-v0"), ("tic_tac_toe", "palaestra/TicTacToe-v0"), ("a/b-c_dE", "palaestra/ABCDE-v0")],
)
def test_ids_are_the_name_in_camel_case_and_the_version(game: str, id: str) -> None:
    assert gymnasium_id(game, 0) == id


def test_one_call_registers_a_game_with_its_version() -> None:
    registry.register(Renamed.id, Renamed)
    registry.register(Renamed.id, Renamed)  # the same game twice is no fault
    env = gymnasium.make("palaestra/TestMyGameTwo-v4")
    assert env.reset(seed=0)[1]["player"] == 0


def test_two_games_cannot_share_an_id() -> None:
    with pytest.raises(ValueError, match="would share the gymnasium id 'palaestra/TicTacToe-v0'"):
        registry.register("tic-tac-toe", TicTacToe)
    assert "tic-tac-toe" not in registry.game_ids()


def test_listed_versions_are_those_of_the_games() -> None:
    checked = [name for name in registry.game_ids() if registry.entry(name).version == registry.make(name).version]
    assert checked == registry.game_ids()
    assert len(checked) >= 3


PLUGIN = """
from palaestra.envs.games.tic_tac_toe import TicTacToe

class Noughts(TicTacToe):
    id = "noughts_and_crosses"

class Newer(TicTacToe):
    id = "newer_noughts"
    version = 3
"""

ENTRY_POINTS = """
[palaestra.games]
noughts_and_crosses = acme_games:Noughts
newer_noughts = acme_games:Newer
"""

USER = """
import sys
import gymnasium
import palaestra.envs
assert not {"acme_games", "ray", "torch", "palaestra.envs.bridges.gymnasium"} & set(sys.modules)
env = gymnasium.make("palaestra/NoughtsAndCrosses-v0")
assert env.reset(seed=1)[0].startswith("Tic-tac-toe. You are X")
try:
    gymnasium.make("palaestra/NewerNoughts-v0")
except palaestra.envs.PalaestraError as error:
    print(error)
assert gymnasium.make("palaestra/NewerNoughts-v3").reset(seed=1)
assert {"newer_noughts", "noughts_and_crosses"} <= set(palaestra.envs.game_ids())
import palaestra.envs.bridges.pettingzoo
assert "ray" not in sys.modules
"""


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder that holds an installed package with two games."""
    (tmp_path / "acme_games.py").write_text(PLUGIN)
    info = tmp_path / "acme_games-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-games\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(ENTRY_POINTS)
    return tmp_path


@pytest.mark.parametrize("imported_first", ["", "import acme_games"])
def test_an_entry_point_gives_a_gymnasium_id_without_being_imported(site: Path, imported_first: str) -> None:
    program = USER if not imported_first else f"{imported_first}\n{USER}".replace('"acme_games", ', "")
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", f"import sys; sys.path.insert(0, {str(site)!r})\n{program}"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == (
        "version 0 of newer_noughts was asked for, but version 3 is installed; "
        "ask for that one, or install a release with version 0.\n"
    )
