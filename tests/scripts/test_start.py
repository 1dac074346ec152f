"""Starting: light, quiet towards the network, and quiet on the terminal."""

import json
import logging
import os
import warnings

import pytest

from palaestra.trainers import quiet
from tests.scripts.cli_kit import GOLDENS, spawn

HEAVY = {"torch", "transformers", "peft", "ray", "scipy", "matplotlib"}
REPORT = """
import atexit, json, os, sys
from palaestra.trainers.quiet import QUIET
tell = lambda: print(json.dumps([sorted(sys.modules), {key: os.environ.get(key) for key in QUIET}]))
atexit.register(tell)
from palaestra.scripts.main import app
app(prog_name="palaestra")
"""


def report(*args, **environment) -> tuple[set[str], dict[str, str]]:
    """Modules imported and environment set by a command."""
    unset = {key: value for key, value in os.environ.items() if key not in quiet.QUIET}
    done = spawn(*args, program=[os.sys.executable, "-c", REPORT], env={**unset, **environment})
    assert done.returncode == 0, done.stderr
    modules, settings = json.loads(done.stdout.strip().splitlines()[-1])
    return {name.partition(".")[0] for name in modules}, settings


def test_help_imports_neither_torch_nor_the_games():
    modules, _ = report("--help")
    assert not modules & {*HEAVY, "numpy", "gymnasium", "chess", "pyspiel"}


@pytest.mark.parametrize(
    "command",
    [
        ("envs",),
        ("replay", "verify", GOLDENS / "kuhn_poker-played.jsonl"),
        ("play", "kuhn_poker", "--seats", "random,random"),
    ],
    ids=lambda command: command[0],
)
def test_games_and_replays_start_without_torch_and_ray(command):
    modules, settings = report(*command)
    assert "numpy" in modules
    assert not modules & HEAVY
    assert settings == quiet.QUIET


def test_usage_reporting_that_the_user_has_set_is_left_alone():
    _, settings = report("envs", "kuhn_poker", DO_NOT_TRACK="mine")
    assert settings == {**quiet.QUIET, "DO_NOT_TRACK": "mine"}


def test_known_warnings_are_silenced_and_new_ones_are_not():
    with warnings.catch_warnings(record=True) as seen:
        warnings.resetwarnings()
        quiet.silence_warnings()
        warnings.warn("`is_gradient_checkpointing` is deprecated and will be removed", FutureWarning, stacklevel=1)
        warnings.warn("something else is deprecated", FutureWarning, stacklevel=1)
    assert [str(one.message) for one in seen] == ["something else is deprecated"]


def test_only_one_message_of_rllib_s_logger_is_silenced():
    quiet.silence_warnings()
    logger = logging.getLogger(quiet.API_STACK[0])
    record = [
        logger.makeRecord(logger.name, logging.WARNING, "", 0, text, (), None) for text in ("You are running X", "y")
    ]
    assert [bool(logger.filter(one)) for one in record] == [False, True]
