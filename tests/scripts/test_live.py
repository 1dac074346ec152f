"""Progress of a run, and evaluations: what is printed, and that it is what was measured."""

import json
import math
import re

import pytest

from palaestra.scripts import live
from palaestra.trainers.summary import Score, Summary, mean_interval, wilson
from tests.scripts.cli_kit import call

SUMMARY = Summary(
    iteration=2,
    games=32,
    finished=28,
    forfeited=4,
    unfinished=0,
    turns=80,
    sampled_tokens=600,
    trained_tokens=590,
    reward_by_role={"kuhn_poker/first": -0.25, "kuhn_poker/second": 0.25},
    legal_rate=0.9,
    illegal_rate=0.02,
    unparsable_rate=0.05,
    truncated_rate=0.03,
    forfeit_rate=0.125,
    reply_tokens=3.5,
    seconds_sampling=4.0,
    seconds_learning=1.0,
    learner={},
)
SCORE = Score("kuhn_poker", "random", 4, wilson(9, 10), mean_interval([1.0, 0.0]), 3, 0, 1, 4, 0, 0, 0)


def test_an_iteration_is_one_line_under_its_header(capsys):
    with live.Progress(10) as progress:
        for _ in range(3):
            progress.iterated(SUMMARY, 125.0)
    header, *lines = capsys.readouterr().out.splitlines()
    assert header == live.HEADER
    assert len(lines) == 3
    assert lines[0].split() == [
        *("3/10", "32", "150", "90%", "2%", "5%", "3%", "12%", "2.1", "min", "first", "-0.25,", "second", "+0.25")
    ]
    for name, value in (
        ("tokens/s", "150"),
        ("illegal", "2%"),
        ("unparsable", "5%"),
        ("cut", "3%"),
        ("left", "2.1 min"),
    ):
        assert header.index(name) + len(name) == lines[0].index(value, header.index(name) - 12) + len(value), name


def test_roles_of_several_games_are_told_apart():
    summary = Summary(
        **{**{key: getattr(SUMMARY, key) for key in Summary.__slots__}, "reward_by_role": {"a/x": 1.0, "b/x": 0.0}}
    )
    assert live.line(summary, 10, 0).endswith("a/x +1.00, b/x +0.00")


def test_a_score_is_shown_with_its_intervals():
    said = live.sentence(SCORE)
    low, high = wilson(9, 10).low, wilson(9, 10).high
    assert f"90 % ({100 * low:.0f} to {100 * high:.0f}) legal replies" in said
    assert "3 won, 0 drawn, 1 lost; 4 of 4 decided by play" in said
    assert live.number(mean_interval([2.0])) == "+2.00"


def test_a_table_puts_scores_side_by_side(capsys):
    from palaestra.scripts.console import console

    console().print(live.scores_table({"before": SCORE, "after": SCORE}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["kuhn_poker", "against", "random", "before", "after"]
    assert len([line for line in lines if line.count("3 / 0 / 1") == 2]) == 1


def test_evaluate_plays_seat_flipped_pairs_and_counts_them(tmp_path):
    result = call(
        *("evaluate", "tiny:blank", "kuhn_poker", "--pairs", "2", "--max-tokens", "4"),
        *("--option", "view=terse", "--replays", tmp_path / "games"),
    )
    assert result.exit_code == 0, result.stderr
    assert "kuhn_poker against random" in result.stdout
    headers = [json.loads(path.read_text().splitlines()[0]) for path in sorted((tmp_path / "games").glob("*.jsonl"))]
    assert [(one["meta"]["pair"], one["meta"]["own_seat"]) for one in headers] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert headers[0]["seed"] == headers[1]["seed"] != headers[2]["seed"]
    assert [one["seats"].index("random") for one in headers] == [1, 0, 1, 0]
    ends = [json.loads(path.read_text().splitlines()[-1]) for path in sorted((tmp_path / "games").glob("*.jsonl"))]
    own = [end["returns"][head["meta"]["own_seat"]] for head, end in zip(headers, ends, strict=True)]
    mean = sum(own) / 4
    assert re.search(rf"result a game +{re.escape(f'{mean:+.2f}')} ", result.stdout)
    assert math.isfinite(mean)


@pytest.mark.parametrize("model", ["tiny:blank"])
def test_models_are_found_where_they_were_fetched(model):
    fetched = call("models", "fetch", model).stdout.strip()
    assert call("models", "path", model).stdout.strip() == fetched
    assert re.search(rf"^{model} +627,072 +\d+ MB", call("models", "list").stdout, re.MULTILINE)
