"""The pages point at what exists: files and names in backticks, links, pictures, and commands with their options.

`room/module.py:Class.method` in backticks names code, relative links name files, and every `palaestra ...` line of a
shell block must be one that the command's own parser accepts. What the pages' Python prints is `test_docs.py`'s.
"""

import ast
import re
import shlex
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
import typer.main

from palaestra.scripts.main import app

ROOT = Path(__file__).parents[2]
PAGES = (
    *("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"),
    *sorted(f"docs/{path.name}" for path in (ROOT / "docs").glob("*.md")),
)
REFERENCE = re.compile(r"`((?:envs|agents|trainers|interp|scripts|tests|configs|docs)/[\w./-]*)(?::([\w.]+))?`")
LINK = re.compile(r"\]\(([^)#]+?)(?:#[\w-]+)?\)")
COMMAND = re.compile(r"`(palaestra [^`\n]+)`")


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def defined(path: Path) -> set[str]:
    """Every function and class of a module, methods as Class.method."""
    names = set()
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            names.add(node.name)
        if isinstance(node, ast.ClassDef):
            inner = (ast.FunctionDef, ast.AsyncFunctionDef)
            names |= {f"{node.name}.{child.name}" for child in node.body if isinstance(child, inner)}
    return names


def missing(text: str) -> list[str]:
    """The references of a page that name nothing."""
    wrong = []
    for path, name in REFERENCE.findall(text):
        where = ROOT / path
        if not where.exists() or (name and name not in defined(where)):
            wrong.append(f"{path}:{name}" if name else path)
    return wrong


@pytest.mark.parametrize("page", PAGES)
def test_files_and_names_that_a_page_mentions_exist(page: str) -> None:
    assert not missing(text_of(page)), f"{page} names what is not there"


def test_a_wrong_reference_is_caught() -> None:
    text = "`envs/match.py:Match.play`, `envs/match.py:Match.plays`, `envs/mach.py`, `envs/`, `tests/replays`"
    assert missing(text) == ["envs/match.py:Match.plays", "envs/mach.py"]


@pytest.mark.parametrize("page", PAGES)
def test_no_placeholder_was_forgotten(page: str) -> None:
    text = (ROOT / page).read_text(encoding="utf-8")
    assert not re.search(r"^[A-Z]+(_[A-Z]+)+$|\b(TODO|FIXME|TBD|XXX)\b", text, re.M)


def test_the_walk_of_one_token_names_code_at_every_step() -> None:
    (walk,) = re.findall(r"## One token.*?\n(.*?)\n## ", text_of("ARCHITECTURE.md"), re.DOTALL)
    steps = re.split(r"^\d+\. ", walk, flags=re.MULTILINE)[1:]
    assert len(steps) > 10
    assert all(any(name for _, name in REFERENCE.findall(step)) for step in steps)


@pytest.mark.parametrize("page", PAGES)
def test_links_and_pictures_lead_somewhere(page: str) -> None:
    local = [link for link in LINK.findall(text_of(page)) if "://" not in link]
    broken = [link for link in local if not ((ROOT / page).parent / link).exists()]
    assert not broken, f"{page} links to {broken}"


def test_pictures_are_well_formed_and_say_what_they_show() -> None:
    pictures = sorted((ROOT / "docs").glob("*.svg"))
    assert pictures
    for picture in pictures:
        root = ElementTree.parse(picture).getroot()
        described = [child.tag.rpartition("}")[2] for child in root]
        assert "title" in described, picture.name
        assert "desc" in described, picture.name
        assert "script" not in {element.tag.rpartition("}")[2] for element in root.iter()}


def commands(text: str) -> Iterator[list[str]]:
    """The words of every `palaestra ...` line of the shell blocks and of the prose, without the program's name."""
    for block in re.findall(r"^```bash\n(.*?)^```", text, re.MULTILINE | re.DOTALL):
        for line in block.replace("\\\n", " ").splitlines():
            words = shlex.split(line, comments=True)
            if words[:1] == ["palaestra"]:
                yield words[1:]
    for line in COMMAND.findall(text):
        yield shlex.split(line)[1:]


def parse(words: list[str]) -> None:
    """Have the command's parser read the words, and run nothing."""
    command, context = typer.main.get_command(app), None
    while isinstance(command, click.Group) or hasattr(command, "commands"):
        if not words:
            return
        name, words = words[0], words[1:]
        found = command.commands.get(name)  # type: ignore[union-attr]
        if found is None:
            raise click.UsageError(f"no command {name!r}")
        command = found
    if words:  # prose may name a command alone
        context = command.make_context("palaestra", list(words))
        context.close()


@pytest.mark.parametrize("page", PAGES)
def test_commands_that_a_page_shows_are_read_by_the_program(page: str) -> None:
    for words in commands(text_of(page)):
        try:
            parse(words)
        except Exception as error:
            pytest.fail(f"{page}: palaestra {' '.join(words)}: {error}")


@pytest.mark.parametrize("line", ["playy chess", "play chess --seat human", "replay shows x", "train a.yaml b.yaml"])
def test_a_wrong_command_is_caught(line: str) -> None:
    with pytest.raises(Exception, match=r"(?i)no command|no such option|unexpected extra"):
        parse(line.split())


def test_the_readme_shows_enough_commands_to_prove_something() -> None:
    assert len(list(commands(text_of("README.md")))) > 15


def test_the_readme_keeps_to_its_first_screen() -> None:
    """What it is, the picture, the two commands and Python that runs stand before the first heading below the title."""
    first = text_of("README.md").split("\n## ")[0]
    order = [first.index(mark) for mark in ("docs/road.svg", "make train", "make test", "```python", "```text")]
    assert order == sorted(order)
    assert len(first.splitlines()) < 60


def test_the_readme_lists_every_command() -> None:
    known = set(typer.main.get_command(app).commands)  # type: ignore[attr-defined]
    table = text_of("README.md").partition("## The command")[2].partition("\n## ")[0]
    assert known <= set(re.findall(r"palaestra (\w+)", table))


def test_every_game_has_a_page_that_is_up_to_date(tmp_path: Path) -> None:
    """`palaestra envs --pages docs/games` writes them anew."""
    from palaestra.scripts.game_pages import write_pages
    from tests.shipped import GAMES

    written = write_pages(tmp_path, GAMES, ROOT / "results" / "baselines.json")
    assert {path.name for path in (ROOT / "docs" / "games").iterdir()} == {path.name for path in written}
    for path in written:
        assert path.read_text() == (ROOT / "docs" / "games" / path.name).read_text(), path.name
