"""A whole run from the command line: watched, stopped, resumed, evaluated, reported."""

import json
import os
import signal
import subprocess

import pytest

from palaestra.envs import read_replay
from tests.scripts.cli_kit import PROGRAM, Terminal, spawn

pytestmark = pytest.mark.slow

CONFIG = """
name: r
model: {source: "tiny:blank"}
games: [{game: kuhn_poker, options: {view: terse}, reply: {max_tokens: 4}}]
iterations: 2
games_per_iteration: 4
evaluation: {pairs: 2}
resources: {runners: 0, threads: 1}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "r.yaml").write_text(CONFIG)
    return tmp_path


def test_a_run_prints_its_plan_then_a_line_an_iteration_and_nothing_of_others(folder):
    done = spawn("train", "r.yaml", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    lines = done.stdout.splitlines()
    assert lines[0].startswith("Plan: 8 games x ")
    assert [line.split()[0] for line in lines if line.lstrip().startswith(("1/2", "2/2"))] == ["1/2", "2/2"]
    assert "Report: runs/r/report.html" in lines
    assert "Adapter: runs/r/adapter (a PEFT folder)" in lines
    assert (folder / "runs/r/report.html").is_file()

    again = spawn("train", "r.yaml", cwd=folder)
    assert again.returncode == 2
    assert "holds a run already; `palaestra resume runs/r` goes on with it" in again.stderr
    assert len(again.stderr.splitlines()) == 1

    verified = spawn("replay", "verify", "runs/r/replays", cwd=folder)
    assert verified.stdout.startswith("16 of 16 replays verified")
    evaluated = spawn(
        *("evaluate", "tiny:blank@runs/r", "kuhn_poker", "--opponent", "base", "--pairs", "1", "--max-tokens", "4"),
        cwd=folder,
    )
    assert evaluated.returncode == 0, evaluated.stderr
    assert "kuhn_poker against base" in evaluated.stdout

    # asked as it was trained, a model plays the games of the run's own evaluation again
    evaluated = spawn("evaluate", "tiny:blank@runs/r", "kuhn_poker", "--pairs", "2", "--replays", "again", cwd=folder)
    assert "is asked as it was there: view=terse, at most 4 tokens" in evaluated.stderr
    for path in sorted((folder / "again").iterdir()):
        first, second = (read_replay(one).episode for one in (folder / "runs/r/replays/after" / path.name, path))
        assert [[one.reply.content for one in turn.attempts] for turn in first.turns] == [
            [one.reply.content for one in turn.attempts] for turn in second.turns
        ]
    assert len(list((folder / "again").iterdir())) == 4

    resumed = spawn("replay", "resume", "runs/r/replays/train/00001-0000.jsonl", "--turn", "0", cwd=folder)
    assert resumed.returncode == 0, resumed.stderr
    assert "tiny:blank@" in resumed.stdout


def test_at_a_terminal_there_is_a_moving_line_and_the_same_lines_stay(folder):
    with Terminal("train", "r.yaml", cwd=folder) as terminal:
        terminal.until("starting Ray", 120)
        terminal.until(r"1/2 +4 ", 120)
        terminal.until("Report: runs/r/report.html", 120)
        assert terminal.end() == 0
        assert "Warning" not in terminal.text()
        assert "WARNING" not in terminal.text()


def test_ctrl_c_stops_after_the_iteration_and_resume_goes_on(folder):
    process = subprocess.Popen(
        [*PROGRAM, "train", "r.yaml", "--set", "iterations=50"],
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        for line in process.stdout:
            if line.lstrip().startswith("1/50"):
                os.kill(process.pid, signal.SIGINT)
                break
        _, errors = process.communicate(timeout=120)
    finally:
        process.kill()
    assert process.returncode == 130
    assert errors.startswith("palaestra train: stopped after iteration ")
    assert len(errors.splitlines()) == 1
    reached = len((folder / "runs/r/metrics.jsonl").read_text().splitlines())
    assert 1 <= reached < 50
    config = folder / "runs/r/config.yaml"
    config.write_text(config.read_text().replace("iterations: 50", f"iterations: {reached + 1}"))
    resumed = spawn("resume", "runs/r", cwd=folder)
    assert resumed.returncode == 0, resumed.stderr
    iterations = [json.loads(line)["iteration"] for line in (folder / "runs/r/metrics.jsonl").read_text().splitlines()]
    assert iterations == list(range(reached + 1))
