"""Tournaments: fair schedules, right ratings, a history that survives kills, failures that end nothing."""

from __future__ import annotations

import asyncio
import math
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaestra.agents.seats import make_seat, register_seat
from palaestra.envs import Match, MatchRules, Reply, make, read_replay
from palaestra.envs.errors import OptionError, UnknownName
from palaestra.envs.match import run
from palaestra.trainers.config_file import ConfigError, parse
from palaestra.trainers.tournament.config import TournamentConfig, load_tournament
from palaestra.trainers.tournament.measures import measures
from palaestra.trainers.tournament.play import play_fixture
from palaestra.trainers.tournament.ratings import bootstrapped, bradley_terry, comparisons, decided, openskill
from palaestra.trainers.tournament.report import write_page
from palaestra.trainers.tournament.run import check, hold
from palaestra.trainers.tournament.schedule import Fixture, SoFar, fixtures, players_at, so_far
from palaestra.trainers.tournament.standings import JOINT, standings
from palaestra.trainers.tournament.store import GameRecord, SeatRecord, Store, StoreError

SMALL = {
    "name": "small",
    "entrants": {"chance": "random", "greedy": "greedy", "search": "mcts:50"},
    "tables": [{"game": "tic_tac_toe"}],
    "groups": 3,
    "resources": {"workers": 0},
}


def config_of(**changes: object) -> TournamentConfig:
    return parse(TournamentConfig, {**SMALL, **changes})


def game(
    number: int, *results: tuple[str, float | None], label: str = "g", group: str = "", forfeit: int = -1
) -> GameRecord:
    seats = tuple(
        SeatRecord(
            seat,
            name,
            "role",
            result,
            3,
            1,
            0,
            0,
            forfeited=seat == forfeit,
            substituted=0,
            turns=3,
            tokens=30,
            prompt_tokens=60,
            cost=0.006,
            seconds=0.3,
        )
        for seat, (name, result) in enumerate(results)
    )
    return GameRecord(str(number), label, "x", {}, number, group or str(number), 0, 0, "finished", 6, 1.0, seats)


# ---------------------------------------------------------------------- schedule


@settings(max_examples=30, deadline=None)
@given(st.integers(2, 6), st.integers(0, 5), st.sampled_from(["tic_tac_toe", "mafia", "openspiel/pig"]))
def test_everybody_in_a_group_sits_in_every_seat_with_the_same_chance(entrants: int, number: int, name: str) -> None:
    names = {f"e{index}": "random" for index in range(entrants)}
    config = config_of(entrants=names, tables=[{"game": name}], groups=9)
    players = players_at(config, 0)
    groups: dict[str, list[Fixture]] = {}
    for fixture in fixtures(config, number):
        groups.setdefault(fixture.group, []).append(fixture)
    for members in groups.values():
        assert len(members) == players
        assert len({(one.seed, one.match_seed) for one in members}) == 1
        lineup = Counter(members[0].lineup)
        for seat in range(players):
            assert Counter(one.lineup[seat] for one in members) == lineup
    assert len({members[0].seed for members in groups.values()}) == 1
    assert {name for members in groups.values() for name in members[0].lineup} == set(names)


def test_a_round_robin_pairs_everybody_once_a_round_and_a_gauntlet_only_across() -> None:
    names = dict.fromkeys("abcd", "random")
    pairs = [frozenset(one.lineup) for one in fixtures(config_of(entrants=names), 0)]
    assert Counter(pairs) == dict.fromkeys({frozenset(pair) for pair in ("ab", "ac", "ad", "bc", "bd", "cd")}, 2)
    gauntlet = config_of(entrants=names, format="gauntlet", challengers=["a", "b"])
    assert {frozenset(one.lineup) for one in fixtures(gauntlet, 0)} == {
        frozenset(pair) for pair in ("ac", "ad", "bc", "bd")
    }


def test_swiss_pairs_neighbours_of_the_standings() -> None:
    config = config_of(entrants=dict.fromkeys("abcdef", "random"), format="swiss")
    points = dict(zip("abcdef", (5.0, 1.0, 4.0, 3.0, 0.0, 2.0), strict=True))
    before = SoFar(points, dict.fromkeys("abcdef", 5))
    assert {frozenset(one.lineup) for one in fixtures(config, 2, {0: before})} == {
        frozenset("ac"),
        frozenset("df"),
        frozenset("be"),
    }


@pytest.mark.parametrize(("entrants", "rounds"), [(3, 20), (5, 20), (6, 10), (7, 21)])
def test_swiss_gives_everybody_free_rounds_and_opponents_alike(entrants: int, rounds: int) -> None:
    names = [f"e{number}" for number in range(entrants)]
    config = config_of(entrants=dict.fromkeys(names, "random"), format="swiss", groups=rounds)
    lineups: list[tuple[str, ...]] = []
    points: Counter[str] = Counter()
    for number in range(rounds):
        due = fixtures(config, number, {0: so_far(lineups, points)})
        lineups += [one.lineup for one in due]
        for one in due:
            points[one.lineup[0]] += 1  # the first seat always wins, so everybody draws with everybody
    played = so_far(lineups, points)
    assert max(played.games.values()) - min(played.games[name] for name in names) <= 2
    if rounds >= entrants:
        assert {pair for pair in map(frozenset, combinations(names, 2)) if not played.met.get(pair)} == set()
    assert max(played.met.values()) - min(played.met.values()) <= 2 * (1 + rounds // entrants)


def test_swiss_tables_of_many_leave_out_others_each_time() -> None:
    tables = [{"game": "risk", "options": {"players": 3}}]
    config = config_of(entrants=dict.fromkeys("abcdefg", "random"), format="swiss", tables=tables, groups=7)
    lineups: list[tuple[str, ...]] = []
    for number in range(7):
        lineups += [one.lineup for one in fixtures(config, number, {0: so_far(lineups, {})})]
    games = so_far(lineups, {}).games
    assert set(games.values()) == {18}  # two tables of three a round, each turned three times


def test_rounds_depend_on_the_seed_and_on_nothing_else() -> None:
    assert fixtures(config_of(), 1) == fixtures(config_of(), 1)
    assert fixtures(config_of(), 1)[0].seed != fixtures(config_of(seed=1), 1)[0].seed


# ---------------------------------------------------------------------- ratings


def test_bradley_terry_finds_the_strengths_that_made_the_results() -> None:
    rng = np.random.default_rng(0)
    truth = {"a": 200.0, "b": 0.0, "c": -200.0}
    games = []
    for number in range(6000):
        first, second = rng.permutation(list(truth))[:2]
        chance = 1 / (1 + 10 ** ((truth[second] - truth[first]) / 400))
        won = rng.random() < chance
        games.append(game(number, (str(first), 1.0 if won else -1.0), (str(second), -1.0 if won else 1.0)))
    found = bootstrapped(list(truth), comparisons(games))
    for name, strength in truth.items():
        assert found[name].mean == pytest.approx(1500 + strength, abs=30)
        assert found[name].low < found[name].mean < found[name].high
        assert found[name].high - found[name].low < 60


def test_bradley_terry_of_two_is_the_log_odds() -> None:
    games = [game(number, ("a", 1.0), ("b", 0.0)) for number in range(30)]
    games += [game(100 + number, ("a", 0.0), ("b", 1.0)) for number in range(10)]
    a, b = bradley_terry(["a", "b"], comparisons(games))
    assert a - b == pytest.approx(400 * math.log10(30 / 10), rel=0.03)
    assert (a + b) / 2 == pytest.approx(1500)


def test_who_never_lost_has_a_finite_rating() -> None:
    found = bootstrapped(["a", "b"], comparisons([game(number, ("a", 1.0), ("b", 0.0)) for number in range(20)]))
    assert 1500 < found["a"].mean < 3000


def test_a_table_weighs_what_it_should_and_a_game_for_many_weighs_one() -> None:
    many = [game(number, ("a", 1.0), ("b", 0.0), label="quick") for number in range(90)]
    few = [game(number, ("a", 0.0), ("b", 1.0), label="slow") for number in range(10)]
    even = comparisons(many + few, {"quick": 1.0, "slow": 1.0})
    assert sum(one.weight for one in even if one.label == "quick") == pytest.approx(1)
    assert bradley_terry(["a", "b"], even)[0] == pytest.approx(1500, abs=1)
    table = comparisons([game(0, ("a", 1.0), ("b", 0.0), ("c", 0.0), ("a", 0.0))])
    assert sum(one.weight for one in table) == pytest.approx(1)
    assert not [one for one in table if one.first == one.second]


def test_games_for_one_player_are_compared_within_their_round() -> None:
    games = [game(number, (name, result)) for number in range(6) for name, result in (("a", 1.0), ("b", 0.0))]
    found = comparisons(games, {"g": 1.0})
    assert [(one.first, one.second, one.score) for one in found] == [("a", "b", 1.0)] * 6
    assert sum(one.weight for one in found) == pytest.approx(1)


def test_openskill_orders_a_table_of_many() -> None:
    games = [game(number, ("a", 3.0), ("b", 2.0), ("c", 1.0), ("d", 0.0)) for number in range(20)]
    found = openskill(list("abcd"), games)
    assert [mu for mu, _ in found.values()] == sorted((mu for mu, _ in found.values()), reverse=True)
    assert all(sigma < 25 / 3 for _, sigma in found.values())


@pytest.mark.slow
def test_the_sequential_test_is_seldom_wrong_however_often_it_is_looked_at() -> None:
    rng = np.random.default_rng(1)
    wrong = 0
    for _ in range(200):
        games = [
            game(number, ("a", float(value)), ("b", -float(value)))
            for number, value in enumerate(rng.choice([-1, 1], 120))
        ]
        pairs = comparisons(games)
        wrong += any(
            any(decided(order, pairs[:seen], 0.95).values())
            for seen in range(2, 121, 6)
            for order in (["a", "b"], ["b", "a"])
        )
    assert wrong <= 10  # 5 % of 200; two-sided


def test_the_sequential_test_sees_a_clear_difference() -> None:
    pairs = comparisons([game(number, ("a", 1.0), ("b", -1.0 if number % 5 else 1.0)) for number in range(40)])
    assert decided(["a", "b"], pairs, 0.95) == {("a", "b"): True}
    assert decided(["b", "a"], pairs, 0.95) == {("b", "a"): False}


def test_a_gauntlets_pool_is_ordered_by_common_opponents() -> None:
    games = []
    for number in range(400):
        won = 1.0 if number % 4 else -1.0
        games += [
            game(number, ("C", 1.0), ("X", -1.0)),
            game(number, ("C", won), ("Y", -won)),
            game(number, ("C", -1.0), ("Z", 1.0)),
        ]
    found = decided(["Z", "C", "Y", "X"], comparisons(games), 0.95)
    assert found == {("Z", "C"): True, ("C", "Y"): True, ("Y", "X"): True}
    assert decided(["X", "Y"], comparisons(games), 0.95) == {("X", "Y"): False}


@pytest.mark.slow
def test_the_pool_of_a_gauntlet_is_seldom_ordered_by_mistake() -> None:
    rng = np.random.default_rng(2)
    wrong = 0
    for _ in range(200):
        games = []
        for number, (x, y) in enumerate(rng.choice([-1.0, 1.0], (60, 2)).tolist()):
            games += [game(number, ("C", x), ("X", -x)), game(number, ("C", y), ("Y", -y))]
        pairs = comparisons(games)
        wrong += any(decided(["X", "Y"], pairs[:seen], 0.95)["X", "Y"] for seen in range(4, 121, 4))
    assert wrong <= 10  # 5 % of 200


def test_a_few_games_have_no_interval() -> None:
    few = comparisons([game(number, ("a", 1.0), ("b", -1.0)) for number in range(4)])
    assert math.isnan(bootstrapped(["a", "b"], few)["a"].low)
    enough = comparisons([game(number, ("a", 1.0), ("b", -1.0)) for number in range(5)])
    assert not math.isnan(bootstrapped(["a", "b"], enough)["a"].low)


def test_what_shares_its_chance_is_one_draw_of_the_bootstrap() -> None:
    rng = np.random.default_rng(0)
    alone, together = [], []
    for number, won in enumerate(rng.choice([-1.0, 1.0], 20).tolist()):
        alone.append(game(number, ("a", won), ("b", -won)))
        together += [game(number, ("a", won), ("b", -won), group=f"{number}/{copy}") for copy in range(9)]
    one, nine = (bootstrapped(["a", "b"], comparisons(games))["a"] for games in (alone, together))
    assert nine.high - nine.low == pytest.approx(one.high - one.low, rel=0.05)


# ---------------------------------------------------------------------- standings


def test_standings_stand_beside_what_would_make_one_doubt_them() -> None:
    config = config_of(entrants={"a": "random", "b": "random"}, tables=[{"game": "tic_tac_toe"}])
    games = [
        game(0, ("a", 1.0), ("b", -1.0), label="tic_tac_toe", group="1", forfeit=1),
        game(1, ("b", -1.0), ("a", 1.0), label="tic_tac_toe", group="1"),
        game(2, ("a", 0.0), ("b", 0.0), label="tic_tac_toe", group="2"),
        GameRecord(
            "3",
            "tic_tac_toe",
            "x",
            {},
            0,
            "2",
            0,
            0,
            "failed",
            0,
            0.0,
            game(0, ("b", None), ("a", None)).seats,
            error="it crashed",
        ),
    ]
    (found,) = standings(config, games)
    first, second = found.lines
    assert (first.entrant, second.entrant) == ("a", "b")
    assert (first.wins, first.gifts, first.failed) == (2, 0.5, 1)
    assert (second.forfeits, second.wins) == (1 / 3, 0)
    assert first.legal.mean == 0.75
    assert first.illegal == 0.25
    assert first.tokens == 10
    assert first.seconds == pytest.approx(0.1)
    assert found.errors == ("it crashed",)
    assert [bias.seat for bias in found.bias] == [0, 1]
    assert sum(bias.score.mean for bias in found.bias) == pytest.approx(1)


def test_standings_do_not_depend_on_the_order_in_which_games_end() -> None:
    config = config_of(entrants={"a": "random", "b": "random"}, tables=[{"game": "tic_tac_toe"}])
    games = [game(number, ("a", float(number % 3)), ("b", 1.0), label="tic_tac_toe") for number in range(12)]
    assert standings(config, games) == standings(config, games[::-1])


# ---------------------------------------------------------------------- whole tournaments


def test_a_tournament_is_held_kept_and_not_played_twice(tmp_path: Path) -> None:
    config = config_of(tables=[{"game": "tic_tac_toe"}, {"game": "openspiel/connect_four", "groups": 1}])
    found = hold(config, tmp_path)
    assert [standing.label for standing in found] == [JOINT, "tic_tac_toe", "openspiel/connect_four"]
    assert found[0].lines[0].entrant == "search"
    with Store(tmp_path / "arena.sqlite") as store:
        before = store.games("small")
        assert len(before) == 3 * 3 * 2 + 3 * 2
        ratings = store.ratings("small")
    assert {row[2] for row in ratings} == {"bradley_terry", "openskill"}
    replay = read_replay(tmp_path / "replays" / "0-2-1-1.jsonl")
    assert replay.meta["fixture"] == "0/2/1/1"
    assert all((tmp_path / str(one.replay)).is_file() for one in before)
    assert repr(hold(config, tmp_path)) == repr(found)  # by their text, because NaN equals nothing
    with Store(tmp_path / "arena.sqlite") as store:
        assert store.games("small") == before
    page = (tmp_path / "report.html").read_text()
    assert "<svg" in page
    assert "connect_four" in page


def test_a_model_reads_documents_in_a_tournament(tmp_path: Path) -> None:
    table = {"game": "next_token", "options": {"settings": "group=z2,length=2"}}
    entrants = {"chance": "random", "blank": "tiny:blank"}
    hold(config_of(entrants=entrants, tables=[table], groups=1), tmp_path)
    with Store(tmp_path / "arena.sqlite") as store:
        (read,) = [game for game in store.games("small") if game.seats[0].entrant == "blank"]
    assert read.outcome == "finished"
    assert not read.seats[0].forfeited
    actions = [str(turn.action) for turn in read_replay(tmp_path / str(read.replay)).episode.turns]
    assert all(action.startswith("advance #") for action in actions)


def test_the_same_tournament_gives_the_same_games(tmp_path: Path) -> None:
    def results(folder: Path) -> list:
        hold(config_of(), folder)
        with Store(folder / "arena.sqlite") as store:
            return [(one.id, one.turns, [seat.result for seat in one.seats]) for one in store.games("small")]

    assert results(tmp_path / "a") == results(tmp_path / "b")


class Failing:
    """Raises, waits for ever, or says what cannot be read."""

    def __init__(self, how: str) -> None:
        self.how, self.name = how, f"failing:{how}"

    async def act(self, view: object) -> Reply:
        if self.how == "raise":
            raise RuntimeError("<b>out of\norder</b>")
        if self.how == "hang":
            import asyncio

            await asyncio.sleep(60)
        return Reply("x" * 100_000)


register_seat("failing", Failing)


def test_seats_that_fail_end_no_tournament(tmp_path: Path) -> None:
    entrants = {"chance": "random", "broken": "failing:raise", "slow": "failing:hang", "wordy": "failing:words"}
    resources = {"workers": 0, "timeout_s": 0.5}
    (found,) = hold(config_of(entrants=entrants, groups=1, resources=resources), tmp_path)
    lines = {line.entrant: line for line in found.lines}
    assert (lines["broken"].failed, lines["slow"].failed) == (5, 5)  # in one of six the wordy one forfeits before
    assert lines["wordy"].forfeits == 1.0
    assert lines["chance"].gifts == 1.0
    assert any("took longer than 0.5 s" in error for error in found.errors)
    assert "&lt;b&gt;out of order" in (tmp_path / "report.html").read_text()


def test_it_stops_when_the_order_is_clear(tmp_path: Path) -> None:
    stop = {"confidence": 0.9, "min_groups": 2}
    entrants = {"chance": "random", "search": "mcts:100"}
    config = config_of(entrants=entrants, tables=[{"game": "openspiel/connect_four"}], groups=60, stop=stop)
    (found,) = hold(config, tmp_path)
    assert all(found.decided.values())
    assert found.games < 60
    assert hold(config, tmp_path)[0].games == found.games


def test_another_configuration_under_the_same_name_is_refused(tmp_path: Path) -> None:
    hold(config_of(groups=1), tmp_path)
    with pytest.raises(StoreError, match="another configuration; give this one another name"):
        hold(config_of(groups=2), tmp_path)


def test_a_store_that_is_none_or_newer_is_refused(tmp_path: Path) -> None:
    (tmp_path / "text.sqlite").write_text("no database, but long enough to be looked at as one" * 20)
    with pytest.raises(StoreError, match="cannot be opened"):
        Store(tmp_path / "text.sqlite")
    newer = sqlite3.connect(tmp_path / "newer.sqlite")
    newer.execute("PRAGMA user_version=99")
    newer.close()
    with pytest.raises(StoreError, match="has schema 99"):
        Store(tmp_path / "newer.sqlite")


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"tables": [{"game": "tictactoe"}]}, UnknownName, "Did you mean 'tic_tac_toe'"),
        ({"entrants": {"a": "random", "b": "randm"}}, UnknownName, "randm"),
        ({"entrants": {"a": "random", "b": "material"}}, OptionError, "chess"),
        ({"tables": [{"game": "go", "options": {"siz": 5}}]}, UnknownName, "Did you mean 'size'"),
    ],
)
def test_faults_are_found_before_anything_starts(tmp_path: Path, changes: dict, error: type, said: str) -> None:
    with pytest.raises(error, match=said):
        hold(config_of(**changes), tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"formt": "swiss"}, "Did you mean 'format'"),
        ({"tables": [{"game": "go", "optins": {}}]}, "Did you mean 'options'"),
        ({"format": "gauntlet"}, "a gauntlet needs at least one"),
        ({"format": "gauntlet", "challengers": ["nobody"]}, "'nobody' is no entrant"),
        ({"entrants": {"a": "random"}}, "entrants"),
    ],
)
def test_a_wrong_configuration_is_refused_in_a_sentence(changes: dict, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        config_of(**changes)


def test_the_ladder_that_is_shipped_is_valid() -> None:
    config = load_tournament(Path(__file__).parents[2] / "configs" / "tournaments" / "ladder.yaml")
    assert list(config.entrants) == ["random", "greedy", "mcts-10", "mcts-1000", "stockfish"]


@pytest.mark.slow
def test_a_killed_tournament_goes_on_without_playing_anything_twice(tmp_path: Path) -> None:
    """On Ray: kill -9 of the whole process group in the middle, then the same command again."""
    file = tmp_path / "t.yaml"
    file.write_text(
        "name: killed\nentrants: {chance: random, search: 'mcts:300', deep: 'mcts:400'}\n"
        "tables: [{game: openspiel/connect_four}]\ngroups: 12\nresources: {workers: 1, concurrent_games: 2}\n"
    )
    command = [
        str(Path(sys.executable).with_name("palaestra")),
        "tournament",
        str(file),
        "--folder",
        str(tmp_path / "run"),
    ]
    first = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    store = tmp_path / "run" / "arena.sqlite"
    deadline = time.monotonic() + 120
    played = 0
    while played < 8 and time.monotonic() < deadline:
        time.sleep(0.2)
        if store.exists():
            try:
                played = sqlite3.connect(store).execute("SELECT count(*) FROM games").fetchone()[0]
            except sqlite3.OperationalError:
                continue
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    with Store(store) as opened:
        before = {one.id: one for one in opened.games("killed")}
    assert 8 <= len(before) < 72
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
    with Store(store) as opened:
        after = {one.id: one for one in opened.games("killed")}
    assert len(after) == 72
    assert all(after[name] == record for name, record in before.items())


# ---------------------------------------------------------------------- judges, and what games say of themselves


def test_judges_have_seats_that_are_not_rated_and_their_bias_is_averaged(tmp_path) -> None:
    judges = {3: "random:1", 4: "random:2", 5: "random:3", 6: "random:4"}
    table = {"game": "contest", "options": {"judges": 2}, "fixed_seats": judges}
    config = config_of(entrants={"a": "random", "b": "random:9"}, tables=[table], groups=8)
    assert players_at(config, 0) == 2
    with Store(tmp_path / "x.sqlite") as store:
        store.begin("x", {})
        for number in range(8):
            for fixture in fixtures(config, number):
                record, _ = asyncio.run(play_fixture(config, fixture))
                assert [seat.entrant for seat in record.seats] == list(fixture.lineup)
                assert [seat.role for seat in record.seats] == ["writer", "writer"]
                store.add("x", record)
        games = store.games("x")
    (found,) = standings(config, games, resamples=0)
    assert {line.entrant for line in found.lines} == {"a", "b"}
    names = {(one.name, one.entrant) for one in found.measures}
    assert {("first_rate", ""), ("consistent", ""), ("agreement", ""), ("tie", "")} == names
    bias = next(one.value for one in found.measures if one.name == "first_rate")
    expected = [game.details["first_rate"] for game in games if game.details["first_rate"] is not None]
    assert bias.n == 8
    assert 0 < bias.mean < 1
    assert len(expected) > 8
    write_page(tmp_path / "page.html", config, [found])
    assert "<td>first rate</td><td>the table</td>" in (tmp_path / "page.html").read_text()


def test_numbers_by_seat_belong_to_who_sat_there() -> None:
    def played(number: int, first: str, second: str, share: list[float], lies: list) -> GameRecord:
        one = game(number, (first, 1.0), (second, 0.0), group="g")
        details = {"surplus_share": share, "deception": lies, "words": ["x", "y"], "agreement": True, "none": None}
        return replace(one, players=2, details=details)

    games = [
        played(0, "a", "b", [0.75, 0.25], [{"false": 1, "claims": 2}, None]),
        played(1, "b", "a", [0.5, 0.5], [None, {"false": 0, "claims": 2}]),
    ]
    found = {(one.name, one.entrant): one.value.mean for one in measures(games)}
    assert found == {
        ("agreement", ""): 1.0,
        ("surplus_share", "a"): 0.625,
        ("surplus_share", "b"): 0.375,
        ("deception claims", "a"): 2.0,
        ("deception false", "a"): 0.5,
    }


def test_of_liars_who_read_each_others_thoughts_a_tournament_says_so() -> None:
    public = MatchRules("public")

    def met(number: int, first: str, second: str) -> GameRecord:
        seats = [make_seat(first), make_seat(second)]
        result = run(Match(make("liars", seed=number, questions=1), seats, public).play()).result
        one = game(number, (first, 0.0), (second, 0.0), group=f"{number // 2}")
        return replace(one, game="liars", players=2, details=result)

    pairs = [("whisperer", "candid"), ("babbler", "candid")]
    games = [met(number, *(names if number % 2 else names[::-1])) for names in pairs for number in range(80)]
    found = {one.name: one.value for one in measures(games, public) if one.entrant == ""}
    assert found["stalemate of babbler and candid"].mean == 0.0
    assert found["stalemate of babbler and candid"].n == 80
    assert found["stalemate of candid and whisperer"].mean == 0.0
    alike = [met(number, "whisperer", "whisperer") for number in range(80)]
    assert measures(alike, public)[0].name == "stalemate of whisperer and whisperer"
    assert measures(alike, public)[0].value.mean == 1.0
    assert measures(alike)[0].value.mean == 0.0  # of thoughts that nobody reads
    assert math.isnan(measures(alike[:6], public)[0].value.mean)
    old = [replace(one, details={"secrets": [1, 2]}) for one in alike]
    assert not any("stalemate" in one.name for one in measures(old, public))


def test_liars_who_are_only_believed_are_no_stalemate_whoever_sits_first() -> None:
    """Both answer truly as the first and lie as the second, and know it of each other: that is no code."""
    found = []
    for number in range(200):
        turned = number % 2 == 1
        secrets = [number // 2 % 4, number // 8 % 4]
        said = ["yes" if secret < 2 else "no" for secret in secrets]
        answers = [said[0], {"yes": "no", "no": "yes"}[said[1]]]
        believed = [[0.5 * (n // 2 == secret // 2) for n in range(4)] for secret in secrets[::-1]]
        details = {"secrets": secrets, "asked": [["least", 2]], "answers": [answers]}
        details |= {"beliefs": believed, "worth": [0.75, 0.75]}
        names = ("b", "a") if turned else ("a", "b")
        one = game(number, (names[0], 0.0), (names[1], 0.0), group=f"{number // 2}")
        found.append(replace(one, game="liars", players=2, details=details))
    (told, *_) = measures(found, MatchRules("public"))
    assert told.name == "stalemate of a and b"
    assert told.value.mean == 0.0


def test_a_fixed_seat_that_is_not_there_is_refused() -> None:
    with pytest.raises(ConfigError, match="contest has seats 1 to 4, not 5"):
        check(config_of(tables=[{"game": "contest", "fixed_seats": {5: "random"}}]))
