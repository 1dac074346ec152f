"""At a real terminal: a person plays to the end, leaves, and presses Ctrl-C."""

from palaestra.envs import read_replay
from tests.scripts.cli_kit import Terminal


def test_a_person_plays_a_game_to_the_end(tmp_path):
    with Terminal("play", "kuhn_poker", "--seats", "human,random", cwd=tmp_path) as terminal:
        terminal.until(r"player 1 \(first\)>")
        terminal.type("bet\r")
        terminal.until(r"Finished after 2 turns: player 1 [+-]\d, player 2 [+-]\d")
        assert terminal.end() == 0
        assert terminal.text().count("Your card: K") == 2
        assert "Your card: J" not in terminal.text()
        assert "Your card: Q" not in terminal.text()


def test_ctrl_c_ends_a_game_with_a_sentence_and_keeps_its_turns(tmp_path):
    with Terminal("play", "tic_tac_toe", "--replay", "game.jsonl", cwd=tmp_path) as terminal:
        terminal.until(r"player 1 \(X\)>")
        terminal.type("5\r")
        terminal.until("takes square")
        terminal.type("\x03")
        assert terminal.end() == 130
        assert "palaestra play: stopped; a replay being written keeps all finished turns" in terminal.text()
        assert "Traceback" not in terminal.text()
    replay = read_replay(tmp_path / "game.jsonl")
    assert [turn.action for turn in replay.episode.turns][:1] == ["5"]
    assert not replay.complete


def test_ctrl_d_leaves_the_table(tmp_path):
    with Terminal("play", "tic_tac_toe", cwd=tmp_path) as terminal:
        terminal.until(r"player 1 \(X\)>")
        terminal.type("\x04")
        assert terminal.end() == 130
        assert "palaestra play: player 1 left tic_tac_toe at its turn 1" in terminal.text()
        assert "Traceback" not in terminal.text()
