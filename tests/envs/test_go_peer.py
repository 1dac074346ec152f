"""Go beside GNU Go, a peer that shares no code with OpenSpiel: after every move of random games both programs have the
same stones, the same points that may be played, and the same number of captures."""

import os
import shutil
import subprocess

import pytest

from palaestra.envs import make
from palaestra.envs.games.go import COLORS, COLUMNS, MARKS, PASS
from palaestra.envs.seeding import Dice

pytestmark = pytest.mark.programs
GNUGO = shutil.which("gnugo", path=f"{os.environ['PATH']}{os.pathsep}/usr/games")


class Gtp:
    """A program that speaks the Go Text Protocol, version 2."""

    def __init__(self, *arguments: str) -> None:
        assert GNUGO, "GNU Go is not installed; `make system` installs it on Debian"
        command = [GNUGO, "--mode", "gtp", "--level", "0", *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> "Gtp":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.kill()
        self.process.communicate()

    def ask(self, command: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        lines = []
        while line := self.process.stdout.readline().strip():
            lines.append(line)
        answer = " ".join(lines)
        assert answer.startswith("="), f"{command}: {answer}"
        return answer[1:].strip()


def stone(rows: list[str], point: str) -> str:
    """Return what stands on a point: a mark, or a full stop."""
    return rows[len(rows) - int(point[1:])][COLUMNS.index(point[0])]


@pytest.mark.parametrize(("size", "games", "moves"), [(5, 12, 50), (9, 4, 160), (13, 1, 300), (19, 1, 300)])
def test_random_games_are_the_same_at_every_move(size, games, moves):
    compared = captured = forbidden = 0
    with Gtp() as peer:
        peer.ask(f"boardsize {size}")
        for seed in range(games):
            game = make("go", size=size, max_moves=moves)
            points = [point for point in game.points if point != PASS]
            dice = Dice(seed)
            peer.ask("clear_board")
            while movers := game.players_to_move():
                player = movers[0]
                legal = set(game.legal_actions(player)) - {PASS}
                rows = game.rows()
                empty = [point for point in points if stone(rows, point) == "."]
                theirs = {point for point in empty if peer.ask(f"is_legal {COLORS[player]} {point}") == "1"}
                assert legal == theirs, f"seed {seed}:\n" + "\n".join(rows)
                forbidden += len(empty) - len(legal)
                action = dice.choice(sorted(legal)) if legal else PASS
                game.apply(player, game.parse(player, action))
                peer.ask(f"play {COLORS[player]} {action}")
                rows = game.rows()
                for number, mark in enumerate(MARKS):
                    ours = {point for point in points if stone(rows, point) == mark}
                    assert ours == set(peer.ask(f"list_stones {COLORS[number]}").split())
                    lost = game.played[number] - len(ours)
                    assert lost == int(peer.ask(f"captures {COLORS[1 - number]}"))
                    captured += lost
                compared += 1
    assert compared > games * moves // 3
    assert captured > 0
    assert forbidden > 0


@pytest.mark.parametrize("size", [7, 8, 9, 13, 19])
def test_fixed_handicaps_are_the_same(size):
    with Gtp() as peer:
        for stones in range(2, 10 if size % 2 and size > 7 else 5):
            peer.ask(f"boardsize {size}")
            peer.ask("clear_board")
            theirs = set(peer.ask(f"fixed_handicap {stones}").split())
            assert set(make("go", size=size, handicap=stones).placed()) == theirs


@pytest.mark.parametrize("scoring", ["chinese", "japanese"])
def test_games_that_a_program_has_played_out_are_scored_as_it_scores_them(scoring):
    """GNU Go judges life and death by reading, we by play-outs; where nothing is left unsettled both agree."""
    same = 0
    with Gtp(f"--{scoring}-rules") as peer:
        for seed in range(10):
            game = make("go", size=9, scoring=scoring, komi=6.5)
            for command in ("boardsize 9", "clear_board", "komi 6.5", f"set_random_seed {seed + 1}"):
                peer.ask(command)
            dice = Dice(seed)
            while movers := game.players_to_move():
                player = movers[0]
                action = peer.ask(f"genmove {COLORS[player]}").upper()
                if game.move_number() < 4:  # so that no two games are alike
                    peer.ask("undo")
                    action = dice.choice(sorted(set(game.legal_actions(player)) - {PASS}))
                    peer.ask(f"play {COLORS[player]} {action}")
                game.apply(player, "pass" if action in ("PASS", "RESIGN") else action)
            same += peer.ask("final_score") == game.result()["score"]
    assert same >= 7
