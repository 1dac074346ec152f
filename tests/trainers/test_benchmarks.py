"""Benchmarks: the sides compared do the same work, results are well-formed, the page says what was measured.

No test here looks at how fast anything was.
"""

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from palaestra.envs import game_ids
from palaestra.envs.errors import UnknownName
from palaestra.trainers import benchmarks
from palaestra.trainers.benchmarks import envs, framework, peers, rollout, thinktoks
from palaestra.trainers.benchmarks.framework import Aim, Benchmark, BenchmarkError, Case, Side, measure
from palaestra.trainers.benchmarks.raw_games import raw_loop
from palaestra.trainers.benchmarks.render import _cell


def quick(name, root):
    path = benchmarks.run_benchmark(name, root=root, say=lambda line: None, quick=True)
    assert path == root / "results" / f"bench-{name}.json"
    data = json.loads(path.read_text(encoding="utf-8"), parse_constant=lambda text: pytest.fail(f"{text} is no JSON"))
    assert data["benchmark"] == name
    assert data["quick"]
    assert {"cpu", "cores", "python", "load_before"} <= data["hardware"].keys()
    assert {"torch", "transformers", "ray", "open_spiel", "chess"} <= data["versions"].keys()
    for case in data["cases"]:
        for side in case["sides"].values():
            assert len(side["seconds"]) == data["rounds"]
            assert all(value > 0 for value in side["seconds"])
            for rate in side["rates"].values():
                assert 0 < rate["low"] <= rate["median"] <= rate["high"]
    return {case["case"]: case for case in data["cases"]}


def page(root):
    return benchmarks.render(root).read_text(encoding="utf-8")


def work(case, count):
    return {name: side["counts"][count] for name, side in case["sides"].items()}


@pytest.mark.slow
def test_every_registered_game_is_played_alike_by_match_and_raw_engine(tmp_path):
    cases = quick("envs", tmp_path)
    assert set(game_ids()) < set(cases)
    assert any(name.startswith("openspiel/") for name in cases)
    for name, case in cases.items():
        for count in ("steps", "games"):
            assert len(set(work(case, count).values())) == 1, name
    with_engine = {name for name, case in cases.items() if envs.RAW in case["sides"]}
    assert {"chess", "go", "kuhn_poker", "tic_tac_toe", *envs.BRIDGED} <= with_engine
    assert "negotiation" not in with_engine
    text = page(tmp_path)
    assert "| negotiation |" in text
    assert "python-chess" in text
    assert "≥ 20,000" in text
    assert (tmp_path / "results" / "bench-envs.svg").read_text(encoding="utf-8").startswith("<?xml")


def test_all_ways_to_roll_out_sample_as_many_tokens_in_as_many_replies(tmp_path):
    (case,) = quick("rollout", tmp_path).values()
    assert set(case["sides"]) == {rollout.MATCH, rollout.AT_ONCE, rollout.PER_TURN}
    assert len(set(work(case, "tokens").values())) == 1
    assert len(set(work(case, "replies").values())) == 1
    read = {name: side["counts"]["prefilled"] + side["counts"]["reused"] for name, side in case["sides"].items()}
    assert len(set(read.values())) == 1, "every side reads the same contexts, computed or found in a cache"
    assert case["sides"][rollout.MATCH]["counts"]["reused"] > 0
    assert case["sides"][rollout.PER_TURN]["counts"]["reused"] == 0
    text = page(tmp_path)
    assert f"| {rollout.MATCH} / {rollout.PER_TURN} |" in text
    assert "**A quick run:**" in text


def test_learner_and_bare_pass_train_on_the_same_tokens(tmp_path):
    (case,) = quick("learner", tmp_path).values()
    assert len(set(work(case, "tokens").values())) == 1
    sampled = work(case, "sampled")
    assert len(set(sampled.values())) == 1
    assert 0 < sampled["learner"] < work(case, "tokens")["learner"]
    assert "≥ 0.85" in page(tmp_path)


@pytest.mark.slow
def test_reading_at_once_and_stepping_find_the_same_thoughts_and_scores(tmp_path):
    (case,) = quick("thinktoks", tmp_path).values()
    assert set(case["sides"]) == {thinktoks.PASS, thinktoks.DRAWN, thinktoks.CACHED, thinktoks.STEPPED}
    for count in ("tokens", "thoughts", "nats"):
        assert len(set(work(case, count).values())) == 1, count
    assert work(case, "thoughts")[thinktoks.STEPPED] > 10
    assert f"| {thinktoks.PASS} / {thinktoks.STEPPED} |" in page(tmp_path)


@pytest.mark.parametrize("name", ["chess", "go", "kuhn_poker", "tic_tac_toe", "openspiel/leduc_poker"])
def test_raw_loop_makes_every_step_of_the_match(name):
    played = envs.first_games(name, 200)
    loop = raw_loop(played)
    assert loop is not None
    assert loop.run() == sum(len(episode.turns) for _, episode in played) >= 200


def counting(name: str, count: int, part: str = "") -> Side:
    return Side(name, "counts", lambda: {"steps": count}, part)


def test_sides_that_did_different_work_give_no_result():
    case = Case("race", "a race", ("steps",), (counting("hare", 50), counting("tortoise", 100)))
    with pytest.raises(BenchmarkError, match=r"race: the sides did different work \(steps: hare 50, tortoise 100\)"):
        measure(case, 1, lambda line: None)


def test_a_side_that_does_a_part_says_so_on_the_page(tmp_path):
    def cases(quick: bool) -> Iterator[Case]:
        yield Case("race", "a race", ("steps",), (counting("hare", 50, "the first half"), counting("tortoise", 100)))

    framework.run(Benchmark("race", "Who?", cases, rounds=1), root=tmp_path, say=lambda line: None, quick=False)
    text = page(tmp_path)
    assert "hare 50 steps (the first half); tortoise 100 steps." in text
    assert "quick run" not in text


def test_sides_take_turns_and_the_first_round_does_not_count():
    order: list[str] = []

    def side(name: str) -> Side:
        return Side(name, "notes its turn", lambda: order.append(name) or {"steps": 1})

    data = measure(Case("turns", "", ("steps",), (side("a"), side("b"), side("c"))), 3, lambda line: None)
    assert order == [*"abc", *"bca", *"cab", *"abc"]
    assert [len(one["seconds"]) for one in data["sides"].values()] == [3, 3, 3]


def test_a_missed_aim_stays_on_the_page(tmp_path):
    aims = (Aim("hare", least=1e12), Aim("tortoise", to="hare", least=0.0))

    def cases(quick: bool) -> Iterator[Case]:
        yield Case("race", "a race", ("steps",), (counting("hare", 7), counting("tortoise", 7)), aims)

    framework.run(Benchmark("race", "Who?", cases, rounds=2), root=tmp_path, say=lambda line: None, quick=False)
    missed, met = (line for line in page(tmp_path).splitlines() if "≥" in line)
    assert missed.endswith("| ≥ 1,000,000,000,000 | **no** |")
    assert met.endswith("| ≥ 0 | yes |")


def test_ratios_are_taken_within_rounds():
    rates = {"a": {"steps": [10.0, 100.0, 1000.0]}, "b": {"steps": [20.0, 100.0, 500.0]}}
    found = framework._judged(Aim("a", "b", 0.9), "steps", rates)
    assert (found["low"], found["median"], found["high"], found["met"]) == (0.5, 1.0, 2.0, True)


def test_an_unknown_benchmark_names_the_nearest():
    with pytest.raises(UnknownName, match="'rollout'"):
        benchmarks.run_benchmark("rolout")


def test_rendering_twice_gives_the_same_page_and_ignores_experiments(tmp_path):
    results = tmp_path / "results"
    results.mkdir()
    (results / "kuhn.json").write_text('{"experiment": "kuhn"}', encoding="utf-8")
    assert page(tmp_path) == page(tmp_path)
    assert "kuhn" not in page(tmp_path)


# ---------------------------------------------------------------------- beside other libraries


def asked(*requests: dict) -> list[dict]:
    """Put requests to the driver, run with this interpreter, and return its answers."""
    driver = Path(peers.__file__).with_name("peers_driver.py")
    done = subprocess.run(
        [sys.executable, str(driver)],
        input="".join(json.dumps(one) + "\n" for one in requests),
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.slow
def test_the_driver_plays_a_peers_games_and_says_what_it_cannot():
    pytest.importorskip("textarena", reason="the extra textarena is not installed")
    games = ("tic_tac_toe", "connect_four", "kuhn_poker", "liars_dice")
    played = asked(*({"peer": "textarena", "game": game, "steps": 40} for game in games))
    for answer in played:
        assert answer["steps"] >= 40
        assert 0 < answer["games"] < 40
    chess, unknown, missing = asked(
        {"peer": "textarena", "game": "chess", "steps": 1},
        {"peer": "textarena", "game": "go", "steps": 1},
        {"peer": "kaggle-environments", "game": "chess", "steps": 1},
    )
    if sys.version_info < (3, 12):
        assert chess["error"].startswith("SyntaxError")
    else:
        assert chess["steps"] >= 1
    assert unknown["error"].startswith("KeyError")
    assert missing["error"].startswith("ModuleNotFoundError")


@pytest.mark.parametrize("label", peers.GAMES)
def test_our_side_of_every_shared_game_is_played(label):
    name, options, _ = peers.GAMES[label]
    for play in (peers.play_game, peers.play_match):
        counts = play(name, options, 30)
        assert counts["steps"] >= 30
        assert counts["games"] >= 1


def test_a_game_that_a_peer_cannot_play_is_told_in_the_table():
    class Deaf:
        name = "textarena"
        python = "Python 3.11"

        def ask(self, game, steps):
            return {"error": "SyntaxError: f-string"}

    case = peers._case("chess", "chess", {}, [Deaf()], 30)
    assert case.missing == {"textarena": "SyntaxError: f-string"}
    assert [side.name for side in case.sides] == ["palaestra", "palaestra's match"]
    assert case.aims == ()
    told = measure(case, 1, lambda line: None)
    assert _cell(told, "textarena", "steps") == "cannot be played, see below"
    assert _cell(told, "pettingzoo", "steps") == "none"
