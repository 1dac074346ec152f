"""Playing, recording, showing and going on; and what may reach the terminal."""

import dataclasses
import io
import json
import re
from pathlib import Path

import chess.pgn
import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from palaestra.envs import (
    Match,
    MatchRules,
    OnFailure,
    Scripted,
    entry,
    make,
    play,
    read_replay,
    write_replay,
)
from palaestra.envs.match import run
from palaestra.envs.notation.sgf import sgf_to_moves
from palaestra.scripts.console import barred, duration, plain, untrusted
from palaestra.scripts.transcript import Stage
from tests.scripts.cli_kit import GOLDENS, call
from tests.shipped import GAMES

CONTROLS = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def test_a_game_is_shown_turn_by_turn_and_ends_with_its_result(tmp_path):
    path = tmp_path / "game.jsonl"
    shown = call("play", "tic_tac_toe", "--seats", "random,random", "--seed", "3", "--replay", path).stdout
    episode = read_replay(path).episode
    assert shown.startswith("tic_tac_toe, seed 3\n  Player 1 (X): random\n  Player 2 (O): random\n")
    assert re.findall(r"^ +(\d+)  Player (\d)", shown, re.MULTILINE) == [
        (str(turn.number + 1), str(turn.player + 1)) for turn in episode.turns
    ]
    assert re.findall(r"^     (\d)$", shown, re.MULTILINE) == [turn.action for turn in episode.turns]
    assert f"Finished after {len(episode.turns)} turns: player 1 {episode.returns[0]:+g}" in shown


def test_a_replay_shows_what_the_live_game_showed(tmp_path):
    path = tmp_path / "game.jsonl"
    live = call("play", "negotiation", "--seats", "greedy,fair", "--seed", "1", "--replay", path).stdout
    shown = call("replay", "show", path).stdout
    assert shown == live[: live.rindex("Recorded: ")]


@pytest.mark.parametrize("path", sorted(GOLDENS.glob("*.jsonl")), ids=lambda path: path.stem)
def test_every_golden_replay_can_be_shown(path):
    episode = read_replay(path).episode
    shown = call("replay", "show", path).stdout
    failures = [one for turn in episode.turns for one in turn.attempts if one.status != "ok"]
    assert len(re.findall(r"^   │ (?:illegal|unparsable|truncated): ", shown, re.MULTILINE)) == len(failures)
    assert len(re.findall("^   │ thinks: ", shown, re.MULTILINE)) == sum(
        bool(one.thought) for turn in episode.turns for one in turn.attempts
    )
    assert ("Forfeited after" in shown) == (episode.outcome == "forfeit")
    assert "│ Tic-tac-toe." not in call("replay", "show", path, "--brief").stdout


def test_several_games_get_a_seed_and_a_file_each_and_a_tally(tmp_path):
    shown = call(
        *("play", "kuhn_poker", "--seats", "random,random", "--games", "3", "--seed", "5"),
        *("--replay", tmp_path / "k.jsonl"),
    ).stdout
    episodes = [read_replay(path).episode for path in sorted(tmp_path.glob("k-*.jsonl"))]
    assert [episode.seed for episode in episodes] == [5, 6, 7]
    mean = sum(episode.returns[0] for episode in episodes) / 3
    assert re.search(rf"^1 +random +\{mean:+.3f}", shown, re.MULTILINE)


def test_replays_go_into_a_folder_that_is_there(tmp_path):
    for games in ("1", "2"):
        call("play", "kuhn_poker", "--seats", "random,random", "--games", games, "--replay", tmp_path, "--overwrite")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["game-0001.jsonl", "game-0002.jsonl"]


def test_visibility_and_options_reach_the_match(tmp_path):
    path = tmp_path / "k.jsonl"
    call(
        *("play", "kuhn_poker", "--seats", "random,random", "-o", "view=terse", "--replay", path),
        *("--visibility", "monitor", "--monitor", "2"),
    )
    episode = read_replay(path).episode
    assert episode.options == {"view": "terse"}
    assert (episode.rules["visibility"], episode.rules["monitors"]) == ("monitor", [1])


def test_going_on_from_a_turn_keeps_the_turns_before_and_does_not_touch_the_file(tmp_path):
    path = tmp_path / "game.jsonl"
    call("play", "tic_tac_toe", "--seats", "random,random", "--replay", path)
    before = path.read_bytes()
    result = call("replay", "resume", path, "--turn", "3", "--seats", "mcts:20,random")
    other = read_replay(tmp_path / "game-resumed.jsonl").episode
    assert path.read_bytes() == before
    assert other.turns[:3] == read_replay(path).episode.turns[:3]
    assert other.seats == ("mcts:20", "random")
    assert "  4  Player 2" in result.stdout
    assert "  3  Player 1" not in result.stdout
    assert call("replay", "verify", tmp_path).stdout.startswith("2 of 2 replays verified")


def test_a_model_reads_a_document_and_goes_on_reading_it(tmp_path):
    path = tmp_path / "read.jsonl"
    call("play", "next_token", "-o", "settings=group=z2,length=3", "--seats", "tiny:blank", "--replay", path)
    whole = read_replay(path).episode
    assert whole.outcome == "finished"
    assert not whole.count("unparsable", 0)
    assert all(str(turn.action).startswith("advance #") for turn in whole.turns)
    call("replay", "resume", path, "--turn", "2")
    again = read_replay(tmp_path / "read-resumed.jsonl").episode
    assert [turn.action for turn in again.turns] == [turn.action for turn in whole.turns]


def test_chess_and_go_are_exported_in_their_own_notations(tmp_path):
    pgn = chess.pgn.read_game(io.StringIO(call("replay", "export", GOLDENS / "chess-played.jsonl").stdout))
    played = read_replay(GOLDENS / "chess-played.jsonl").episode
    assert [move.uci() for move in pgn.mainline_moves()] == [action for _, action in played.actions]
    call("replay", "export", GOLDENS / "go-played.jsonl", "--to", tmp_path / "go.sgf")
    played = read_replay(GOLDENS / "go-played.jsonl").episode
    assert sgf_to_moves((tmp_path / "go.sgf").read_text()).moves == tuple(played.actions)


def test_a_game_that_people_play_is_not_told_on_the_screen():
    game = make("kuhn_poker", seed=0, view="words")
    stage = Stage([0])
    with stage._console.capture() as screen:
        run(Match(game, [Scripted("bet"), Scripted("bet")], recorder=stage).play())
    shown = screen.get()
    cards = re.findall(r"Your card: (\w)", "\n".join(game.observation(player) for player in (0, 1)))
    assert f"Your card: {cards[0]}" in shown
    assert f"Your card: {cards[1]}" not in shown
    assert "Player 2 says bet." in shown


# ---------------------------------------------------------------------- untrusted text

ATTACK = "\x1b[2J\x1b]0;owned\x07[red]not red[/red]\u202egnorw\x9b31m<think>\x1b[8m[/]</think>"


def test_what_players_write_reaches_the_terminal_as_plain_characters(tmp_path):
    path = tmp_path / "attack.jsonl"
    rules = MatchRules(visibility="public", unparsable=OnFailure(1, "random"))
    seats = [Scripted(ATTACK, "1", "2", "3"), Scripted(*[f"{ATTACK} {square}" for square in (4, 5, 6)])]
    episode = play(make("tic_tac_toe"), seats, rules)
    write_replay(episode, path)
    shown = call("replay", "show", path).stdout
    assert not CONTROLS.search(shown)
    assert "\\x1b[2J" in shown
    assert "[red]not red[/red]" in shown
    assert "thinks: \\x1b[8m[/]" in shown


def test_file_names_and_messages_are_plain_too(tmp_path):
    result = call("replay", "show", "\x1b[31mred.jsonl")
    assert not CONTROLS.search(result.stderr.rstrip("\n"))
    assert "\\x1b[31mred.jsonl" in result.stderr


@given(st.text(st.characters(codec=None)))
def test_plain_text_has_no_control_characters_and_keeps_all_others(text):
    made = plain(text)
    assert not CONTROLS.search(made)
    made.encode()
    if not re.search("[\u200e\u200f]", text) and not CONTROLS.search(text):
        assert made == text


@pytest.mark.parametrize(
    ("seconds", "said"), [(0, "0 s"), (89.4, "89 s"), (90, "1.5 min"), (5399, "90.0 min"), (7200, "2.0 h")]
)
def test_durations_are_for_readers(seconds, said):
    assert duration(seconds) == said


def test_goldens_are_recorded_anew_by_one_command(tmp_path):
    result = call("replay", "record-goldens", "kuhn_poker", "--folder", tmp_path)
    written = sorted(path.name for path in tmp_path.iterdir())
    assert written == sorted(path.name for path in GOLDENS.glob("kuhn_poker-*.jsonl"))
    assert len(result.stdout.splitlines()) == 3
    for name in written:
        assert (tmp_path / name).read_bytes() == (GOLDENS / name).read_bytes()


def test_the_list_of_games_says_what_each_is(tmp_path):
    shown = call("envs").stdout
    listed = re.findall(r"^(\w+) +(\d+) +(.*?)  +(private|public|team|monitor) +(\d+)  ", shown, re.MULTILINE)
    assert [row[0] for row in listed if row[0] in GAMES] == GAMES
    for name, players, kind, visibility, version in listed:
        game = make(name)
        assert int(players) == game.facts.players
        assert kind.split(", ")[-2:] == [game.facts.information, game.facts.utility.replace("_", " ")]
        assert ("chance" in kind) == game.facts.chance
        assert (visibility, int(version)) == (entry(name).visibility, game.version)


@pytest.mark.parametrize("name", ["chess", "kuhn_poker", "openspiel/goofspiel"])
def test_one_game_is_shown_with_facts_options_and_an_observation(name):
    shown = call("envs", name).stdout
    game = make(name)
    for field in dataclasses.fields(game.options):
        assert re.search(rf"^{field.name} ", shown, re.MULTILINE)
        assert repr(getattr(game.options, field.name)) in shown
    for line in game.observation(game.players_to_move()[0]).splitlines():
        assert line.strip() in shown
    assert f"up to {game.facts.max_observation_chars} characters" in shown


def test_wrapped_lines_keep_their_bar():
    out = Console(width=30)
    text = barred(out, untrusted("a word and another " * 10 + "\n\nshort")).plain
    assert all(line.startswith("   │ ") and len(line) <= 30 for line in text.splitlines())
    assert text.splitlines()[-2:] == ["   │ ", "   │ short"]


def test_pages_of_results_are_rendered_from_what_is_there(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert call("experiment", "--render").exit_code == 0
    assert (tmp_path / "RESULTS.md").read_text().startswith("# Results")
    listed = call("experiment").stdout
    assert re.search("^kuhn ", listed, re.MULTILINE)
    assert re.search("^tic_tac_toe ", listed, re.MULTILINE)
    assert call("bench", "--render").exit_code == 0
    assert (tmp_path / "BENCHMARKS.md").is_file()


def test_a_strangers_replay_runs_no_program_and_calls_no_server(tmp_path):
    from palaestra.envs import RandomSeat, ReplayWriter, make
    from palaestra.envs import play as play_match

    class Trap(RandomSeat):
        name = "uci:touch trapped"

    path = tmp_path / "game.jsonl"
    play_match(make("chess", max_plies=4), [Trap(), RandomSeat()], recorder=ReplayWriter(path))
    result = call("replay", "resume", path, "--turn", "2")
    assert result.exit_code == 2
    assert "runs a program or calls a server; if you trust it, give --seats" in result.stderr
    assert not Path("trapped").exists()


def test_an_option_may_be_read_from_a_file(tmp_path):
    chart = {
        "name": "line",
        "continents": [{"name": "All", "bonus": 1, "territories": ["Ash", "Birch", "Cedar", "Dale"]}],
        "borders": [["Ash", "Birch"], ["Birch", "Cedar"], ["Cedar", "Dale"]],
    }
    path = tmp_path / "map.json"
    path.write_text(json.dumps(chart))
    command = ("play", "risk", "--seats", "random,random,random", "-o", "max_rounds=1", "-o")
    result = call(*command, f"map=@{path}", "--replay", tmp_path / "game.jsonl")
    assert result.exit_code == 0
    assert read_replay(tmp_path / "game.jsonl").episode.options["map"] == chart
    path.write_text("{")
    assert "is no JSON" in call(*command, f"map=@{path}").stderr
    assert "cannot be read" in call(*command, f"map=@{tmp_path / 'none.json'}").stderr
    path.write_text("\n")
    assert "is empty; name a file that holds something" in call(*command, f"map=@{path}").stderr


def test_an_option_of_a_game_inside_may_be_written_as_json(tmp_path):
    command = ("play", "open_minds", "--seats", "random,random", "-o", "inner=kuhn_poker", "-o")
    result = call(*command, 'inner_options={"view": "terse"}', "--replay", tmp_path / "game.jsonl")
    assert result.exit_code == 0
    assert read_replay(tmp_path / "game.jsonl").episode.options["inner_options"] == {"view": "terse"}
    assert 'expected keys with values, such as {"key": 1}' in call(*command, "inner_options=view=terse").stderr
    template = call("play", "covert_channel", "--seats", "codebook,codebook,codebook", "-o", "covers={a|b} {c|d}")
    assert template.exit_code == 0  # it begins as JSON does


def test_several_games_end_with_what_they_say_of_themselves_and_liars_with_whether_both_are_read():
    command = ("play", "liars", "--games", "40", "-o", "questions=1", "-o", "numbers=4", "--seats")
    shown = call(*command, "candid,candid").stdout
    assert re.search(r"on truth +1 +0\.\d+ +\[0\.\d+, 0\.\d+\] +40", shown)
    assert "; no stalemate." in shown
    both = call(*command, "whisperer,whisperer").stdout
    assert "both read the other's thoughts, and neither gains: a stalemate." in both
    deaf = call(*command, "whisperer,whisperer", "--visibility", "private").stdout
    assert "; no stalemate, for thoughts cannot be read." in deaf
    few = call("play", "liars", "--seats", "whisperer,whisperer", "--games", "5").stdout
    assert "and no two games in which the same was said; whether it is a stalemate these games do not say" in few
    bargains = call("play", "ultimatum", "--seats", "random,random", "--games", "5").stdout
    assert "Beliefs" not in bargains


def test_games_with_a_hidden_text_end_with_the_bits_that_got_through_and_how_they_were_overseen():
    seats = ("--seats", "codebook,codebook,codebook", "-o", "covers={a|b|c|d}", "--games", "40")
    shown = call("play", "covert_channel", *seats).stdout
    assert re.search(r"secrets that arrive +1 +\[0\.\d+, 1\] +\d+", shown)
    assert re.search(r"bits by Fano's bound +(1\.9\d*|2) ", shown)
    assert re.search(r"p of the shuffles +0\.001 ", shown)
    assert re.search(r"AUROC +0\.5 +\[0\.3\d+, 0\.6\d+\] +40", shown)
    assert re.search(r"Overseer: \d+ honest texts are too few for 1 %, so that none may be flagged; ", shown)
    assert re.search(r"caught at 1 % false positives +0 ", shown)
    inner = 'inner_options={"covers": "{a|b|c|d}"}'
    inside = call("play", "open_minds", *seats[:2], "-o", "inner=covert_channel", "-o", inner, "--games", "40").stdout
    assert re.search(r"p of the shuffles +0\.001 ", inside)
    unseen = call("play", "covert_channel", *seats[:1], "codebook,codebook", *seats[2:], "-o", "overseer=false").stdout
    assert "bits per token" in unseen
    assert "AUROC" not in unseen
