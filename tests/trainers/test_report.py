"""The report is one page that stands alone, whatever players wrote into it and however far the run got."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest
import yaml

from palaestra.agents import make_seat
from palaestra.envs import MatchRules, ReplayWriter, Scripted, make, play
from palaestra.envs.match import OnFailure
from palaestra.trainers.hindsight.verdict import Verdict, append
from palaestra.trainers.hindsight.verify import Gain
from palaestra.trainers.report import ReportError, write_report
from palaestra.trainers.run import RunError
from palaestra.trainers.summary import score, summarize
from tests.trainers.run_kit import small
from tests.trainers.test_summary import played

HOSTILE = '</pre><script>alert("x")</script><img src=http://evil.example/x onerror=alert()>{{ config.name }}\x00\u202e'
TAKES = ("src", "href", "action", "data", "poster", "srcset", "formaction", "background")


class Page(HTMLParser):
    """Collects the tags of a page and what they load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.open: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.loads += [value or "" for name, value in attrs if name.split(":")[-1] in TAKES]
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def run_folder(folder, *, iterations: int = 2, evaluated=("before", "after"), hostile: bool = False):
    """Make a run folder as a run of so many finished iterations leaves it."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(small().model_dump(mode="json")))
    with (folder / "metrics.jsonl").open("w") as file:
        for iteration in range(iterations):
            games = [played(kind) for kind in ("finished", "forfeit", "unfinished")]
            summary = summarize(games, [], {}, iteration=iteration, seconds_sampling=1.0, seconds_learning=2.0)
            file.write(json.dumps(summary.to_json()) + "\n")
    scores = {when: [score([played("finished"), played("forfeit", own=1)], "random").to_json()] for when in evaluated}
    (folder / "evaluation.json").write_text(json.dumps(scores).replace("NaN", "null"))
    said = HOSTILE if hostile else "where?"
    for name in ("before/0-0000-0", "after/0-0000-0", "train/00000-0000", "train/00001-0000"):
        seats = [Scripted("1", said, "2", "3"), Scripted("4", "5")]
        seats[0].name = said
        writer = ReplayWriter(folder / "replays" / f"{name}.jsonl")
        play(make("tic_tac_toe"), seats, MatchRules(unparsable=OnFailure(2)), recorder=writer)
    return folder


def page_of(folder) -> tuple[str, Page]:
    text = write_report(folder).read_text(encoding="utf-8")
    return text, Page(text)


def test_the_page_stands_alone(tmp_path):
    text, page = page_of(run_folder(tmp_path / "r"))
    assert "script" not in page.tags
    assert not page.handlers
    assert all(one.startswith(("#", "data:")) for one in page.loads), page.loads
    assert not re.search(r"@import|url\((?!#|['\"]?#)", text)
    assert "svg" in page.tags


def test_what_players_wrote_stays_text(tmp_path):
    _, friendly = page_of(run_folder(tmp_path / "friendly"))
    text, page = page_of(run_folder(tmp_path / "hostile", hostile=True))
    assert page.tags == friendly.tags
    assert "<script>" not in text
    assert "&lt;script&gt;" in text
    assert "{{ config.name }}" in text
    assert not page.handlers


def test_three_games_are_shown_with_every_reply_and_its_verdict(tmp_path):
    text, _ = page_of(run_folder(tmp_path / "r"))
    assert "Before training" in text
    assert "The same seed and seat after training" in text
    assert "The longest game of the last iteration" in text
    assert text.count("unparsable") >= 3


def test_a_verdict_stands_beside_its_turn_with_what_was_said_the_gain_and_why(tmp_path):
    """Turn 1 of the last training game was reviewed and the claim accepted, turn 2 reviewed and rejected."""
    folder = run_folder(tmp_path / "r")
    accepted = Verdict(1, "replays/train/00001-0000.jsonl", 0, 0, "end", "1", "5", f"the centre was free {HOSTILE}",
                       "accepted", Gain(0.75, 0.25, 8, "anew", 40.4))  # fmt: skip
    rejected = replace(accepted, turn=1, player=1, said="4", reply="9", because="it was near", why="rejected",
                       gain=Gain(-0.5, -1.0, 8, "played"))  # fmt: skip
    elsewhere = replace(accepted, replay="replays/train/00000-0000.jsonl", reply="7")
    append(folder / "reviews.jsonl", 1, [elsewhere, accepted, rejected])
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    own = sum(line["sampled_tokens"] for line in lines)
    (folder / "metrics.jsonl").write_text(
        "".join(json.dumps({**line, "learner": {"hindsight/tokens": 70.0}}) + "\n" for line in lines)
    )
    text, page = page_of(folder)
    turns = text.split('<div class="turn">')
    first, second = (next(turn for turn in turns if f"<b>{should}</b>" in turn) for should in ("5", "9"))
    for shown, parts in (
        (first, ("1. player 1", "said <q>1</q>", "should have said <b>5</b>", "the centre was free &lt;/pre&gt;",
                 "+0.75 over 8 pairs, at least +0.25 with 95 % confidence, deals drawn from 40 effective ones",
                 "accepted: it did better when it was tried out", "verdict good")),
        (second, ("2. player 2", "said <q>4</q>", "should have said <b>9</b>", "it was near",
                  "-0.50 over 8 pairs, at least -1.00 with 95 % confidence ·",
                  "rejected: it did no better when it was tried out")),
    ):  # fmt: skip
        assert [part for part in parts if part not in shown] == []
    assert "verdict good" not in second
    assert "what became of 3 reviewed turns" in text
    assert "was not measured (gate: 0)" in text
    assert "dealt anew in some games and as it had been dealt in others" in text
    assert "script" not in page.tags
    assert f"{own + 140} sampled tokens, 140 of them for hindsight" in text
    uplift = {"sentence": "It gains.", "passed": True, "tokens": 1000}
    (folder / "uplift.json").write_text(json.dumps(uplift))
    text, _ = page_of(folder)
    assert f"{own + 1140} sampled tokens, 1140 of them for hindsight" in text
    assert "It gains." in text
    assert "was not measured" not in text


@pytest.mark.parametrize("evaluated", [(), ("before",)])
def test_a_run_that_is_not_over_has_a_report_too(tmp_path, evaluated):
    folder = run_folder(tmp_path / "r", iterations=1, evaluated=evaluated)
    (folder / "replays" / "train" / "00001-0001.jsonl").write_text('{"type":"hea')  # in flight
    text, _ = page_of(folder)
    assert "svg" in text


def test_a_torn_line_of_metrics_does_not_spoil_the_report(tmp_path):
    folder = run_folder(tmp_path / "r")
    with (folder / "metrics.jsonl").open("a") as file:
        file.write('{"iteration": 2, "ga')
    assert page_of(folder)[0] == page_of(run_folder(tmp_path / "other" / "r"))[0]


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        ((1.0, 0.5, 1.5), (2.0, 1.6, 2.4), "higher: the 95 % intervals are apart"),
        ((1.0, 0.5, 1.5), (0.0, -0.4, 0.4), "lower: the 95 % intervals are apart"),
        ((1.0, 0.5, 1.5), (2.0, 1.4, 2.6), "the 95 % intervals overlap"),
        ((1.0, None, None), (2.0, 1.0, 3.0), "all games alike, so there is no interval"),
        ((None, None, None), (2.0, 1.0, 3.0), "result against random not measured"),
    ],
)
def test_no_more_is_claimed_than_the_intervals_allow(tmp_path, before, after, said):
    folder = run_folder(tmp_path / "r")
    scores = json.loads((folder / "evaluation.json").read_text())
    for when, (mean, low, high) in (("before", before), ("after", after)):
        scores[when][0]["result"] = {"mean": mean, "low": low, "high": high, "n": 9}
    (folder / "evaluation.json").write_text(json.dumps(scores))
    text, _ = page_of(folder)
    [lead] = re.findall(r'<p class="lead">(.*?)</p>', text)
    assert said in lead.split(";")[1]


def test_the_same_run_gives_the_same_page(tmp_path):
    folder = run_folder(tmp_path / "r")
    assert page_of(folder)[0] == page_of(folder)[0]


def test_without_an_iteration_there_is_nothing_to_report(tmp_path):
    with pytest.raises(ReportError, match=r"has not finished an iteration yet"):
        write_report(run_folder(tmp_path / "r", iterations=0))
    with pytest.raises(RunError, match=r"is no run folder"):
        write_report(tmp_path)


def forecasts_played(folder, when: str, spec: str, cases: int = 40) -> None:
    for seed in range(cases):
        game = make("terminal_surprise", seed=seed, items="machine", view="terse")
        play(game, [make_seat(spec)], recorder=ReplayWriter(folder / "replays" / when / f"1-{seed:04d}-0.jsonl"))


def test_stated_probabilities_are_shown_beside_what_knows_nothing(tmp_path):
    folder = run_folder(tmp_path / "run")
    assert "Stated probabilities" not in page_of(folder)[0]
    forecasts_played(folder, "before", "rate:0.5")
    forecasts_played(folder, "after", "posterior")
    torn = folder / "replays" / "after" / "1-0001-0.jsonl"
    lines = torn.read_text().splitlines()
    end = json.loads(lines[-1])
    end["result"]["rate"] = "<b>high</b>"
    torn.write_text("\n".join([*lines[:-1], json.dumps(end), ""]))
    (folder / "replays" / "after" / "1-0002-0.jsonl").write_text("{")
    text, page = page_of(folder)
    section = text[text.index("Stated probabilities") : text.index("<h2>Games")]
    cells = r'<tr><td>(before|after|shown rate)[^<]*</td><td class="n">(\d+)</td>.*?<td class="n">(0\.\d+)'
    rows = re.findall(cells, section)
    assert [row[:2] for row in rows] == [("before", "40"), ("after", "38"), ("shown rate", "38")]
    before, after, rate = (float(row[2]) for row in rows)
    assert before == 0.25
    assert after < rate < before
    assert page.tags.count("svg") == 5
    assert "calibrated" in section


def test_where_no_probability_was_stated_the_report_says_so(tmp_path):
    folder = run_folder(tmp_path / "run")
    game = make("terminal_surprise", seed=0)
    rules = MatchRules(unparsable=OnFailure(0))
    play(game, [Scripted("very likely")], rules, recorder=ReplayWriter(folder / "replays/before/1-0000-0.jsonl"))
    text, page = page_of(folder)
    assert "none was stated" in text
    assert page.tags.count("svg") == 4
