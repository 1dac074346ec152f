"""Help: every command has a sentence and examples, and every example is a command that parses."""

import re
import shlex

import pytest
import typer

from palaestra.scripts.main import app
from tests.scripts.cli_kit import call

ROOT = typer.main.get_command(app)


def commands(group=ROOT, path=()):
    """Every command and group below the root, with the words that name it."""
    for name, command in group.commands.items():
        yield (*path, name), command
        if hasattr(command, "commands"):
            yield from commands(command, (*path, name))


COMMANDS = dict(commands())
NAMES = {
    *(
        "play",
        "train",
        "resume",
        "evaluate",
        "tournament",
        "card",
        "envs",
        "items",
        "replay",
        "report",
        "thoughts",
        "models",
        "experiment",
        "bench",
        "doctor",
        "detector",
        "interp",
        "adapters",
        "distill",
    ),
    *("adapters list", "adapters show", "adapters add", "adapters remove"),
    *("adapters merge", "adapters compare", "adapters serve"),
    *("replay show", "replay verify", "replay resume", "replay export"),
    *("replay derailment", "replay record-goldens"),
    "detector fit",
    "detector load-bearing",
    *("interp circuit", "interp episode", "interp diff", "interp diff-check", "interp atlas", "interp atlas-check"),
    *("interp arithmetic", "interp teach", "interp reasoning", "interp relays"),
    *("models list", "models fetch", "models path"),
}


def examples_of(command) -> list[str]:
    return re.findall(r"\[cyan\](.*?)\[/cyan\]", command.epilog or "")


def test_the_command_has_the_subcommands_it_promises():
    assert {" ".join(path) for path in COMMANDS} == NAMES


@pytest.mark.parametrize("path", COMMANDS, ids=" ".join)
def test_help_says_what_a_command_does_and_shows_examples(path):
    result = call(*path, "--help")
    assert result.exit_code == 0
    shown = " ".join(result.stdout.split())
    assert f"Usage: palaestra {' '.join(path)}" in shown
    assert " ".join((COMMANDS[path].help or "").split())[:60] in shown
    examples = examples_of(COMMANDS[path])
    assert examples
    for example in examples:
        assert example.startswith(f"palaestra {' '.join(path)}")
        assert " ".join(example.split()[:3]) in shown


@pytest.mark.parametrize("example", [one for command in COMMANDS.values() for one in examples_of(command)])
def test_every_example_is_a_command_that_parses(example):
    words = shlex.split(example)[1:]
    command = ROOT
    while hasattr(command, "commands"):
        command = command.commands[words.pop(0)]
    command.make_context("example", words)


def test_no_arguments_show_the_help():
    assert "Usage: palaestra" in call().stdout


def test_the_version_is_the_package_s():
    from importlib.metadata import version

    assert call("--version").stdout == f"palaestra {version('palaestra')}\n"
