"""The house's one rule: nothing imports from a room to its right, and the left rooms are light.

Imports are read from the syntax tree, so those inside functions count, and so do the two disguises: a module named by
a string (`import_module("palaestra.trainers.x")`, `"palaestra.agents.x:Class"`) and a folder imported without its
package.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("envs", "agents", "trainers", "interp", "scripts")
HEAVY = ("torch", "transformers", "peft", "ray", "vllm", "pydantic", "typer", "rich", "yaml", "matplotlib")
REFERENCE = re.compile(r"palaestra\.(\w+)(\.\w+)*(:\w+)?")


def modules(room: str) -> list[Path]:
    return sorted((ROOT / room).rglob("*.py"))


def imported_names(source: str, package: str) -> set[str]:
    """Every dotted name a module imports, relative ones resolved against its package, and strings that name modules."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            base = ".".join([*parents, *([node.module] if node.module else [])])
            names.update(f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and REFERENCE.fullmatch(node.value):
            names.add(node.value.split(":")[0])
    return names


def room_of(name: str) -> str | None:
    parts = name.split(".")
    return parts[1] if parts[0] == "palaestra" and len(parts) > 1 and parts[1] in ROOMS else None


def arrows() -> dict[tuple[str, str], list[str]]:
    """(room, room it imports) -> the files that do so."""
    found: dict[tuple[str, str], list[str]] = {}
    for room in ROOMS:
        for path in modules(room):
            package = ".".join(("palaestra", *path.relative_to(ROOT).parent.parts))
            for target in {room_of(name) for name in imported_names(path.read_text(), package)} - {None, room}:
                found.setdefault((room, target), []).append(str(path.relative_to(ROOT)))
    return found


def test_no_room_imports_from_its_right():
    wrong = {pair: files for pair, files in arrows().items() if ROOMS.index(pair[1]) > ROOMS.index(pair[0])}
    assert not wrong, f"imports against the direction of the house: {wrong}"


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("def f():\n    from palaestra.trainers import learner", "trainers"),
        ("from palaestra import trainers", "trainers"),
        ("import palaestra.scripts.main as m", "scripts"),
        ("from ...agents import engine", "agents"),
        ("import_module('palaestra.interp.probe')", "interp"),
        ("LAZY = {'x': 'palaestra.agents.models:Model'}", "agents"),
    ],
)
def test_the_reader_sees_every_way_to_import(source, target):
    assert target in {room_of(name) for name in imported_names(source, "palaestra.envs.games")}


@pytest.mark.parametrize("room", ROOMS)
def test_no_module_imports_a_room_by_its_folder(room):
    for path in modules(room):
        package = ".".join(("palaestra", *path.relative_to(ROOT).parent.parts))
        bare = {name for name in imported_names(path.read_text(), package) if name.split(".")[0] in ROOMS}
        assert not bare, f"{path.relative_to(ROOT)} imports {bare}; write palaestra.{sorted(bare)[0]}"


def modules_after(statement: str) -> set[str]:
    """Top-level names in `sys.modules` of a fresh interpreter, away from the repository, after one statement."""
    script = f"{statement}\nimport sys\nprint(*{{name.split('.')[0] for name in sys.modules}})"
    done = subprocess.run([sys.executable, "-c", script], cwd="/", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


@pytest.mark.parametrize(
    ("statement", "allowed"),
    [
        ("import palaestra.envs", ()),
        ("import palaestra.agents", ()),
        ("import palaestra.scripts.main", ("pydantic", "typer", "rich", "yaml")),
    ],
)
def test_import_stays_light(statement, allowed):
    assert not modules_after(statement) & set(HEAVY) - set(allowed)


def test_rooms_are_never_modules_of_their_own():
    assert not modules_after("import palaestra.envs, palaestra.agents") & set(ROOMS)


def drawn() -> tuple[set[tuple[str, str]], set[tuple[str, str]]]:
    """Arrows of ARCHITECTURE.md's picture: solid (`-->`, in use) and dotted (`-.->`, allowed and not yet used)."""
    (picture,) = re.findall(r"```mermaid\n(.*?)```", (ROOT / "ARCHITECTURE.md").read_text(), re.DOTALL)
    solid = set(re.findall(r"^\s*(\w+) --> (\w+)\s*$", picture, re.MULTILINE))
    dotted = set(re.findall(r"^\s*(\w+) -\.-> (\w+)\s*$", picture, re.MULTILINE))
    assert len(solid) + len(dotted) == picture.count("->"), "an arrow of the picture is not written `room --> room`"
    return solid, dotted


def test_the_picture_in_architecture_md_is_the_code():
    solid, dotted = drawn()
    measured = set(arrows())
    assert measured == solid, f"redraw: not in the picture {measured - solid}, not in the code {solid - measured}"
    assert all(ROOMS.index(target) < ROOMS.index(room) for room, target in dotted)
