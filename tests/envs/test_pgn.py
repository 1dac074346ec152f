"""PGN: what is written is read back, forfeits and draws are named as such, and bad input says where it is bad."""

import io

import chess.pgn
import pytest

from palaestra.envs import MatchRules, RandomSeat, Scripted, make, play
from palaestra.envs.errors import NotationError
from palaestra.envs.notation.pgn import episode_to_pgn, pgn_to_game, read_pgn


class Named(Scripted):
    def __init__(self, name: str, *replies: str) -> None:
        super().__init__(*replies)
        self.name = name


def test_random_games_come_back_move_for_move():
    episodes = [play(make("chess", seed=seed), [RandomSeat(), RandomSeat()], record=False) for seed in range(6)]
    games = read_pgn("\n".join(episode_to_pgn(episode) for episode in episodes)).parts
    for episode, game in zip(episodes, games, strict=True):
        assert game.moves == tuple(action for _, action in episode.actions)
        assert game.result == episode.result["score"]
        assert pgn_to_game(game).fen() == episode.result["fen"]


def test_the_roster_of_headers_is_complete_and_first():
    pgn = episode_to_pgn(
        play(make("chess"), [Scripted("f3", "g4"), Scripted("e5", "Qh4")]), event="A test", date="2030.01.02"
    )
    assert pgn == (
        '[Event "A test"]\n[Site "?"]\n[Date "2030.01.02"]\n[Round "-"]\n[White "scripted"]\n[Black "scripted"]\n'
        '[Result "0-1"]\n[Termination "normal"]\n\n1. f3 e5 2. g4 Qh4# 0-1\n'
    )


def test_a_forfeit_is_no_loss_by_play():
    episode = play(make("chess"), [Scripted("e4"), Scripted("e9", "hm", "?")])
    pgn = episode_to_pgn(episode)
    assert '[Termination "rules infraction"]' in pgn
    assert "{ Black forfeits: the last reply was unparsable. } 1-0" in pgn


def test_a_draw_by_max_plies_is_an_adjudication():
    pgn = episode_to_pgn(play(make("chess", max_plies=1), [Scripted("e4"), Scripted()]))
    assert '[Termination "adjudication"]' in pgn
    assert "1/2-1/2" in pgn


def test_an_unfinished_game_has_no_result():
    pgn = episode_to_pgn(play(make("chess"), [Scripted("e4"), Scripted()], MatchRules(max_turns=1)))
    assert '[Result "*"]' in pgn
    assert '[Termination "unterminated"]' in pgn


def test_a_set_up_position_travels_with_the_game():
    fen = "4k3/8/8/8/8/8/4P3/4K3 b - - 0 1"
    episode = play(make("chess", fen=fen, max_plies=2), [Scripted("e4"), Scripted("Kd7")])
    (game,) = read_pgn(episode_to_pgn(episode)).parts
    assert (game.fen, game.moves) == (fen, ("e8d7", "e2e4"))
    assert game.headers["SetUp"] == "1"
    assert pgn_to_game(game).fen() == episode.result["fen"]


def test_a_seat_name_cannot_write_headers():
    evil = 'x"]\n[Result "1-0'
    pgn = episode_to_pgn(play(make("chess", max_plies=1), [Named(evil, "e4"), Named("\\")]))
    headers = chess.pgn.read_headers(io.StringIO(pgn))
    assert headers is not None
    assert headers["Result"] == "1/2-1/2"
    assert headers["White"] == "x ] [Result 1-0"


def test_comments_annotations_and_variations_are_read_over():
    (game,) = read_pgn("1. e4! {best} (1. d4 d5 (1... Nf6 2. Ke3)) 1... e5 $1 2. Nf3 *").parts
    assert game.moves == ("e2e4", "e7e5", "g1f3")


@pytest.mark.parametrize(
    ("text", "line", "told"),
    [
        ("hello", 1, "no PGN game"),
        ("1. e4 *\n\n1. e4 e5\n2. Ke3 *", 4, "game 2: illegal san: 'Ke3'"),
        ('[FEN "zzz"]\n\n1. e4', 1, "expected 8 rows"),
        ('[Variant "Atomic"]\n\n1. e4', 1, "variant 'atomic'"),
        ("1. e4 hello\nworld e5 *", 1, "'hello' is no move"),
        ("1. e4\n\x00 e5 *", 2, "is no move"),
        ("1. e4\ne5 ((((((( 2. Nf3 *", 2, "a variation that begins here has no end"),
        ("1. e4\n{ never closed\ne5 *", 2, "a comment that begins here has no end"),
        ('[White "a"]\n[Event "x\n\n1. e4 *', 2, "has no end"),
        ('[Variant "Chess960"]\n[FEN "8/8/8/8/8/8/8/8 w - - 0 1"]\n\n*', 1, "no position of chess"),
    ],
)
def test_bad_text_is_a_fault_of_its_line(text, line, told):
    (fault,) = read_pgn(text).faults
    assert told in fault.why
    assert fault.line == line


def test_movetext_in_every_style_is_no_fault():
    text = (
        "\ufeff% written by hand\n1.e4 e5 2. Nf3!? Nc6 $14 3.Bb5 {[%clk 0:01:00] (not a variation} a6 ; e6 is {good}\n"
        "4. Bxc6 dxc6 5.0-0 f6 6. d4 exd4 7. Nxd4 c5 8. Nb3 Qxd1 9. Rxd1 += 1/2-1/2"
    )
    reading = read_pgn(text)
    assert reading.faults == ()
    assert len(reading.parts[0].moves) == 17


def test_a_comment_without_an_end_does_not_swallow_the_next_game():
    reading = read_pgn('[Event "x"]\n\n1. e4 {never closed\n\n[Event "y"]\n\n1. d4 *\n')
    assert [game.headers["Event"] for game in reading.parts] == ["y"]
    assert [fault.line for fault in reading.faults] == [3]


def test_games_around_a_bad_one_are_read():
    good = '[Event "a"]\n\n1. e4 e5 *\n\n'
    reading = read_pgn(good + '[Event "b"]\n\n1. e4\ne5 2. Nf6 *\n\n' + good.replace("a", "c"))
    assert [game.headers["Event"] for game in reading.parts] == ["a", "c"]
    assert [(fault.line, fault.why) for fault in reading.faults] == [
        (8, "PGN game 2: illegal san: 'Nf6' in rnbqkbnr/pppp1ppp/8/4p3/4P3/8/PPPP1PPP/RNBQKBNR w KQkq - 0 2")
    ]
    with pytest.warns(UserWarning, match=r"games\.pgn: line 8: PGN game 2: illegal san.*; the rest is read"):
        assert len(reading.or_warn("games.pgn")) == 2
    with pytest.raises(NotationError, match=r"games\.pgn: line 1: there is no PGN game"):
        read_pgn("hello").or_warn("games.pgn")
    with pytest.raises(NotationError, match="it is empty"):
        read_pgn("").or_warn("games.pgn")


@pytest.mark.parametrize("seed", range(4))
def test_chess960_games_come_back(seed):
    episode = play(make("chess", seed=seed, chess960=True, max_plies=80), [RandomSeat(), RandomSeat()], record=False)
    pgn = episode_to_pgn(episode)
    assert '[Variant "Chess960"]' in pgn
    (game,) = read_pgn(pgn).parts
    assert game.moves == tuple(action for _, action in episode.actions)
    assert pgn_to_game(game).fen() == episode.result["fen"]


def test_a_record_that_goes_on_after_an_automatic_draw_says_where():
    (game,) = read_pgn("1. Nf3 Nf6 2. Ng1 Ng8 3. Nf3 Nf6 4. Ng1 Ng8 5. e4 *").parts
    with pytest.raises(NotationError, match=r"move 9 .* threefold repetition; use plies=8"):
        pgn_to_game(game)
    assert pgn_to_game(game, plies=8).is_over()


def test_only_chess_has_a_pgn():
    with pytest.raises(NotationError, match="tic_tac_toe"):
        episode_to_pgn(play(make("tic_tac_toe"), [RandomSeat(), RandomSeat()]))
