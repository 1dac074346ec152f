"""`palaestra adapters`, as commands: what goes in is listed, shown, merged, compared, served and removed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
import urllib.request
from contextlib import suppress

import pytest

from palaestra.agents.models import library
from palaestra.agents.router import served
from tests.agents.test_library import BASE_MODEL, make_adapter
from tests.scripts.cli_kit import PROGRAM, call, one_sentence


@pytest.fixture
def shelf(tmp_path, monkeypatch):
    """An empty library and two adapters beside it."""
    monkeypatch.setattr(library, "cache_dir", lambda: tmp_path / "cache")
    served.cache_clear()
    yield make_adapter(tmp_path / "one", 1, "kuhn_poker"), make_adapter(tmp_path / "two", 2, "tic_tac_toe")
    served.cache_clear()


def test_adapters_are_added_listed_shown_merged_and_removed(shelf):
    one, two = shelf
    assert "adapters add` fills it" in call("adapters", "list").stdout
    told = call("adapters", "add", one, "--licence", "MIT").stdout
    assert told == f"one: {library.identity_of(one)}, trained on kuhn_poker\n"
    call("adapters", "add", two, "--name", "toe", "--notes", "[bold]mine[/bold]")
    listed = call("adapters", "list").stdout.splitlines()
    assert [line.split()[:3] for line in listed] == [
        ["name", "base", "tasks"], ["one", BASE_MODEL, "kuhn_poker"], ["toe", BASE_MODEL, "tic_tac_toe"],
    ]  # fmt: skip
    shown = dict(line.split(maxsplit=1) for line in call("adapters", "show", "toe").stdout.splitlines())
    assert shown["notes"] == "[bold]mine[/bold]"  # what somebody wrote is no markup
    assert (shown["run"], shown["tasks"]) == ("run2, iteration 2", "tic_tac_toe")
    merged = call("adapters", "merge", "one", "toe", "--weights", "0.5,-1", "--to", "both").stdout
    assert merged == f"both: {library.names()['both']}\n"
    assert "merged from  0.5 x one + -1 x toe" in call("adapters", "show", "both").stdout
    assert call("adapters", "remove", "both").stdout == "both is removed.\n"
    assert list(library.names()) == ["one", "toe"]


def test_what_cannot_be_done_is_one_sentence(shelf):
    one, two = shelf
    call("adapters", "add", one, "--licence", "MIT")
    call("adapters", "add", two)
    for args, said in (
        (("show", "onne"), "Did you mean 'one'"),
        (("remove", "x"), "The library has one, two"),
        (("add", one, "--name", "../x"), "is no name for an adapter"),
        (("add", two, "--name", "one"), "another adapter called one"),
        (("add", one, "--licence", "BSD"), "with licence 'MIT'; leave --licence out"),
        (("merge", "one", "two", "--weights", "1,x", "--to", "c"), "expected numbers with commas"),
        (("merge", "one", "two", "--weights", "nan,1", "--to", "c"), "must be a finite number"),
        (("merge", "one", "--to", "c"), "name at least two"),
        (("compare", "nobody"), "unknown adapter"),
        (("serve", "nobody"), "unknown adapter"),
    ):
        assert said in one_sentence(call("adapters", *args), f"palaestra adapters {args[0]}"), args


def test_adapters_are_compared_in_a_table_and_on_their_cards(shelf):
    for folder in shelf:
        call("adapters", "add", folder)
    table = call("adapters", "compare", "one", "two", "--pairs", "2").stdout
    rows = [line.split()[0] for line in table.splitlines() if line.strip()]
    assert rows[-3:] == ["base", "one", "two"]
    assert "against random" in table
    assert [one.games for one in library.card_of("two").ratings] == [4, 4]
    assert "kuhn_poker   against random: " in call("adapters", "show", "two").stdout


@pytest.mark.slow
def test_adapters_are_served_until_ctrl_c(tmp_path):
    adapter = make_adapter(tmp_path / "one", 1, "kuhn_poker")
    environment = {**os.environ, "PALAESTRA_CACHE": str(tmp_path / "cache")}
    subprocess.run([*PROGRAM, "adapters", "add", adapter], env=environment, check=True, capture_output=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address = f"http://127.0.0.1:{port}/v1"
    command = [*PROGRAM, "adapters", "serve", "one", "--port", str(port)]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as serving:
        try:
            assert serving.stderr is not None
            said = next(line for line in serving.stderr if "Ctrl-C" in line)
            assert f"{BASE_MODEL}, one at {address}" in said
            listed = ""
            for _ in range(300):  # the sentence comes just before the address answers
                with suppress(OSError), urllib.request.urlopen(f"{address}/models", timeout=5) as answer:
                    listed = answer.read().decode()
                    break
                time.sleep(0.1)
            assert '"one"' in listed
        finally:
            serving.send_signal(signal.SIGINT)
    assert serving.returncode == 0
