"""Chess: golden facts of the laws, python-chess as oracle at every ply, and how moves are read out of prose."""

import asyncio
from collections import defaultdict

import chess
import pytest

from palaestra.envs import Match, RandomSeat, Reply, Scripted, View, make, play
from palaestra.envs.errors import ActionError, IllegalAction, OptionError, UnparsableAction
from palaestra.envs.games.chess import Chess
from palaestra.envs.notation.chess_moves import read_move
from palaestra.envs.seeding import Dice

KNIGHTS = "4k3/8/8/8/8/5N2/8/1N2K3 w - - 0 1"
PROMOTING = "3n3k/4P3/8/8/8/8/8/4K3 w - - 0 1"
BISHOP_OR_PAWN = "4k3/8/8/8/3B4/2p5/1P6/4K3 w - - 0 1"
STARTS = (
    "",
    KNIGHTS,
    PROMOTING,
    BISHOP_OR_PAWN,
    "4k3/8/8/8/8/8/8/QQ2K3 b - - 0 1",
    "r3k2r/8/8/8/8/8/8/R3K2R w KQkq - 0 1",
)


def after(moves: str, **options) -> Chess:
    game = Chess(**options)
    for move in moves.split():
        (player,) = game.players_to_move()
        game.apply(player, game.parse(player, move))
    return game


def positions(count: int, plies: int = 60) -> list[Chess]:
    """Positions after random moves, from several starts; the games are drawn from fixed seeds."""
    found = []
    for seed in range(count):
        dice = Dice(seed)
        game = Chess(fen=STARTS[seed % len(STARTS)])
        for _ in range(dice.below(plies)):
            twin = game.clone()
            twin.apply(*twin.players_to_move(), twin.sample_action(0, dice))
            if twin.is_over():
                break
            game = twin
        found.append(game)
    return found


# ---------------------------------------------------------------------- the laws


def test_scholars_mate_is_won_by_white():
    game = after("e4 e5 Bc4 Nc6 Qh5 Nf6 Qxf7")
    assert game.returns() == (1.0, -1.0)
    assert game.result() == {
        "termination": "checkmate",
        "score": "1-0",
        "plies": 7,
        "fen": "r1bqkb1r/pppp1Qpp/2n2n2/4p3/2B1P3/8/PPPP1PPP/RNB1K1NR b KQkq - 0 4",
        "start": "",
    }


def test_fools_mate_is_won_by_black():
    assert after("f3 e5 g4 Qh4").returns() == (-1.0, 1.0)


@pytest.mark.parametrize(
    ("fen", "moves", "termination"),
    [
        ("7k/8/6K1/8/8/8/8/5Q2 w - - 0 1", "Qf7", "stalemate"),
        ("", "Nf3 Nf6 Ng1 Ng8 Nf3 Nf6 Ng1 Ng8", "threefold repetition"),
        ("4k3/8/8/8/8/8/8/R3K3 w - - 99 80", "Ra2", "50 moves"),
        ("k7/7R/1K6/8/8/8/8/8 w - - 99 80", "Rh8", "checkmate"),  # mate on the last move of the fifty counts
        ("4k3/8/8/8/8/8/4p3/4K3 w - - 0 1", "Kxe2", "insufficient material"),
        ("4k3/8/8/8/8/4n3/4p3/4K3 w - - 0 1", "Kxe2", "insufficient material"),
    ],
)
def test_the_game_ends_by(fen, moves, termination):
    game = after(moves, fen=fen)
    assert game.is_over()
    assert game.result()["termination"] == termination
    assert set(game.returns()) == ({1.0, -1.0} if termination == "checkmate" else {0.0})


def test_a_position_with_other_castling_rights_is_no_repetition():
    """After the kings have stepped out and back the same squares are another position (article 9.2.3)."""
    shuffle = "Ke2 Ke7 Ke1 Ke8 "
    game = after("e4 e5 " + shuffle * 2)
    assert not game.is_over()
    game = after("e4 e5 " + shuffle * 2 + "Ke2")
    assert not game.is_over()  # Black could still castle when the king stood on e2 first
    assert after("e4 e5 " + shuffle * 2 + "Ke2 Ke7").result()["termination"] == "threefold repetition"


def test_max_plies_declares_a_draw_and_bounds_the_game():
    game = after("e4 e5 Nf3", max_plies=3)
    assert game.result()["termination"] == "max_plies"
    assert game.returns() == (0.0, 0.0)
    assert game.facts.max_turns == 3


def oracle_agrees(game: Chess, seed: int) -> str | None:
    """Play ``game`` at random beside python-chess with its full history, comparing at every ply; return the ending."""
    board = chess.Board(game.options.fen or chess.STARTING_FEN)
    dice = Dice(seed)
    while True:
        assert game.fen() == board.fen()
        outcome = board.outcome()
        drawn = outcome is None and (board.is_repetition(3) or board.is_fifty_moves())
        assert game.is_over() == (drawn or outcome is not None)
        if game.is_over():
            white = {True: 1.0, False: -1.0, None: 0.0}[outcome.winner if outcome else None]
            assert game.returns() == (white, -white)
            return game.termination
        (player,) = game.players_to_move()
        assert player == (0 if board.turn == chess.WHITE else 1)
        assert sorted(game.legal_actions(player)) == sorted(move.uci() for move in board.legal_moves)
        action = game.sample_action(player, dice)
        assert game.parse(player, board.san(chess.Move.from_uci(action))) == action
        game.apply(player, action)
        board.push_uci(action)


def endings(kind: type[Chess]) -> set[str | None]:
    """Endings of 24 random games that were compared with the oracle, from four starts that lead to different ones."""
    starts = (
        "",
        "8/8/4k3/8/8/4K3/8/QQ6 b - - 0 1",
        "8/2p5/4k3/8/8/4K3/2P5/8 w - - 0 1",
        "7k/8/8/8/8/8/8/KR6 w - - 0 1",
    )
    return {oracle_agrees(kind(fen=starts[seed % 4]), seed) for seed in range(24)}


def test_python_chess_agrees_at_every_ply_of_random_games():
    expected = {"checkmate", "stalemate", "insufficient material", "50 moves", "threefold repetition"}
    assert endings(Chess) == expected


class ForgetsPositions(Chess):
    """Broken on purpose: never sees a repetition."""

    def _settle(self) -> None:
        self.seen = {}
        super()._settle()


def test_the_oracle_catches_a_game_without_repetitions():
    with pytest.raises(AssertionError):
        endings(ForgetsPositions)


def test_the_longest_game_is_bounded_by_pawn_steps_and_captures():
    """From the start: 8 + 8 pawns of 6 steps, 30 captures, and 100 plies for each of these and once more."""
    assert Chess().facts.max_turns == 100 * (96 + 30 + 1)
    assert Chess(fen="4k3/8/8/8/8/8/8/R3K3 w - - 10 80").facts.max_turns == 100 * (0 + 1 + 1) - 10


# ---------------------------------------------------------------------- reading moves


def test_every_legal_move_is_read_in_every_spelling():
    read = 0
    for game in positions(36):
        board, legal = game.position, list(game.legal.values())
        for move in legal:
            san, uci = board.san(move), move.uci()
            dashed = f"{uci[:2]}-{uci[2:]}"
            bare = san.rstrip("+#").replace("x", "").replace("=", "").replace("O", "0")
            spellings = [san, uci, dashed, bare, f"[{uci}]", f"[{san}]", f"**{san}**", f"{san}!?", f"12...{san}"]
            spellings += [f"12. {san}", f"I play {san}.", f"Not {legal[0].uci()}; my move: {san}"]
            spellings += [f"{uci[:2]} to {uci[2:]}"]
            if uci[0] != "b":  # B8A6 may be the bishop's
                spellings.append(uci.upper())
            for text in spellings:
                assert read_move(board, legal, text) == move, (game.fen(), text)
                read += 1
    assert read > 5_000


def test_a_text_that_fits_several_moves_is_refused_with_all_of_them():
    refused = 0
    for game in positions(100):
        board, legal = game.position, list(game.legal.values())
        groups = defaultdict(list)
        for move in legal:
            piece = chess.piece_symbol(board.piece_type_at(move.from_square)).upper()
            if piece not in "PK":
                groups[piece + chess.square_name(move.to_square)].append(move)
            elif move.promotion:
                groups[move.uci()[:4]].append(move)
        for text, moves in groups.items():
            if len(moves) > 1:
                with pytest.raises(UnparsableAction) as refusal:
                    read_move(board, legal, text)
                assert all(board.san(move) in refusal.value.reason for move in moves)
                refused += 1
    assert refused > 60


@pytest.mark.parametrize(
    ("text", "san", "fen"),
    [
        ("E4", "e4", ""),
        ("nf3", "Nf3", ""),
        ("NF3", "Nf3", ""),
        ("♘f3", "Nf3", ""),
        ("knight to f3", "Nf3", ""),
        ("Knight from g1 to f3", "Nf3", ""),
        ("I play e4, attacking the pawn on d5.", "e4", ""),
        ("e4? No: d4!", "d4", ""),
        ("e2 e4", "e4", ""),
        ("e2–e4", "e4", ""),
        ("e2—e4", "e4", ""),
        ("e4—best by test", "e4", ""),
        ("e8 = Q", "e8=Q+", PROMOTING),
        ("e8 = n", "e8=N", PROMOTING),
        ("Nd2, I mean Nbd2", "Nbd2", KNIGHTS),
        ("e8 promoting to a knight", "e8=N", PROMOTING),
        ("exd8(R)+", "exd8=R+", PROMOTING),
        ("bxc3", "bxc3", BISHOP_OR_PAWN),
        ("bc3", "bxc3", BISHOP_OR_PAWN),
        ("Bxc3", "Bxc3", BISHOP_OR_PAWN),
        ("bishop takes the pawn on c3", "Bxc3", BISHOP_OR_PAWN),
        ("B2C3", "bxc3", BISHOP_OR_PAWN),
        ("bb4", "Bb4", "4k3/8/8/8/8/8/1P1B4/4K3 w - - 0 1"),
        ("castle queenside", "O-O-O", STARTS[5]),
        ("0-0", "O-O", STARTS[5]),
        ("o-o-o", "O-O-O", STARTS[5]),
        ("Ke1g1", "O-O", STARTS[5]),
    ],
)
def test_lenient_spellings(text, san, fen):
    game = Chess(fen=fen)
    assert game.parse(0, text) == game.position.parse_san(san).uci()


@pytest.mark.parametrize(
    ("text", "told", "fen"),
    [
        ("hello", "no move found", ""),
        ("", "no move found", ""),
        ("e45", "no move found", ""),
        ("the pawn on e2", "no move found", ""),
        ("g1 f3", "Nf3 or f3", ""),
        ("Nd2", "Nfd2 or Nbd2", KNIGHTS),
        ("BXC3", "Bxc3 or bxc3", BISHOP_OR_PAWN),
        ("e8", "e8=Q\\+, e8=R\\+, e8=B, e8=N", PROMOTING),
    ],
)
def test_what_is_unparsable_and_what_the_player_is_told(text, told, fen):
    with pytest.raises(UnparsableAction, match=told):
        Chess(fen=fen).parse(0, text)


@pytest.mark.parametrize(
    ("text", "told", "fen"),
    [
        ("e5", "no pawn of yours on the e-file can move to e5", ""),
        ("Nd5", "no knight of yours can move to d5", ""),
        ("e7e5", "the pawn on e7 is not yours", ""),
        ("e4e5", "there is no piece on e4", ""),
        ("e4=Q", "no promotion", ""),
        ("O-O", "a piece between the king and the king's rook", ""),
        ("bxc5", "for the bishop write Bc5", BISHOP_OR_PAWN),
        ("Qd3", "you have no queen", KNIGHTS),
        ("Rd2", "leave your king in check", "4k3/8/8/8/4r3/8/4R3/4K3 w - - 0 1"),
        ("Kd1", "still be in check", "3rk3/8/8/8/8/8/8/r3K3 w - - 0 1"),
        ("O-O", "cross or reach an attacked square", "4kr2/8/8/8/8/8/8/R3K2R w KQ - 0 1"),
        ("O-O", "the king is in check", "4r1k1/8/8/8/8/8/8/R3K2R w KQ - 0 1"),
        ("O-O", "has moved", "4k3/8/8/8/8/8/8/R3K2R w Q - 0 1"),
    ],
)
def test_an_illegal_move_is_refused_with_its_reason(text, told, fen):
    with pytest.raises(IllegalAction, match=told):
        Chess(fen=fen).parse(0, text)


def test_a_refused_action_changes_nothing():
    game = after("e4 e5")
    before, log = game.state_hash(), list(game.log)
    for action in ("e2e4", "e4", "", "resign"):
        with pytest.raises(ActionError):
            game.apply(0, action)
    with pytest.raises(IllegalAction, match="player 1 is to move"):
        game.apply(1, "g8f6")
    assert (game.state_hash(), game.log) == (before, log)


# ---------------------------------------------------------------------- state and views


def test_a_clone_remembers_repetitions_and_goes_its_own_way():
    game = after("Nf3 Nf6 Ng1 Ng8 Nf3 Nf6 Ng1")
    twin = game.clone()
    assert twin.state_hash() == game.state_hash()
    twin.apply(1, "f6g8")
    assert twin.termination == "threefold repetition"
    assert game.termination is None
    game.apply(1, "e7e5")
    assert game.last_moves(3) == "3... Nf6 4. Ng1 e5"


def test_repetitions_in_a_clone_do_not_count_in_the_original():
    game = after("Nf3 Nf6 Ng1")
    game.clone().apply(1, "f6g8")
    game.apply(1, "f6g8")
    assert game.seen[game.key] == 2
    assert not game.is_over()


def test_the_state_hash_covers_how_often_a_position_occurred():
    game = after("Nf3 Nf6")
    twin = game.clone()
    twin.seen[twin.key] += 1
    assert twin.state_hash() != game.state_hash()


class Watcher(RandomSeat):
    """A random seat that measures what it is shown."""

    longest = 0

    async def act(self, view: View) -> Reply:
        snapshot = view.snapshot()
        assert max(len(snapshot), len(view.observation())) <= view.facts.max_observation_chars
        fen = view.clone_game().fen()
        assert fen in snapshot
        self.longest = max(self.longest, len(snapshot))
        return await super().act(view)


@pytest.mark.parametrize("view", ["board", "moves", "terse"])
@pytest.mark.parametrize("show_legal", [False, True])
def test_what_a_player_sees_is_bounded_and_self_contained_at_every_ply(view, show_legal):
    plies = 0
    for seed in range(4):
        seats = [Watcher(), Watcher(1)]
        game = make("chess", seed=seed, view=view, show_legal=show_legal)
        assert game.facts.max_observation_chars < 4_000
        plies += len(asyncio.run(Match(game, seats, record=False).play()).turns)
        assert max(seat.longest for seat in seats) < (1_500 if show_legal else 700)
    assert plies > 600


def test_the_board_view_shows_moves_board_and_danger_of_repetition():
    game = after("Nf3 Nf6 Ng1 Ng8")
    text = game.observation(0)
    assert "Last moves: 1. Nf3 Nf6 2. Ng1 Ng8" in text
    assert "8 r n b q k b n r" in text
    assert "This position has occurred 2 times." in text
    assert "You are in check." in after("e4 e5 Qh5 Nc6 Qxf7").observation(1)


def test_the_terse_view_is_the_fen_and_tells_no_moves():
    game = after("e4", view="terse")
    assert game.observation(1) == "rnbqkbnr/pppppppp/8/8/4P3/8/PPPP1PPP/RNBQKBNR b KQkq - 0 1"
    assert game.log == []


def test_a_game_may_begin_with_black():
    episode = play(make("chess", fen="7k/8/8/8/8/5q2/8/6K1 b - - 0 1", max_plies=1), [Scripted(), Scripted("Qe2")])
    assert episode.turns[0].player == 1
    assert episode.roles == ("white", "black")


@pytest.mark.parametrize(
    ("fen", "told"),
    [
        ("nonsense", "is not valid"),
        ("8/8/8/8/8/8/8/4K3 w - - 0 1", "no black king"),
        ("7k/5Q2/6K1/8/8/8/8/8 b - - 0 1", "the game is over"),
        ("rnbqkbnr/pppppppp/8/8/8/8/8/4K3 w KQ - 0 1", "bad castling rights"),
    ],
)
def test_a_start_that_cannot_be_played_is_refused(fen, told):
    with pytest.raises(OptionError, match=told):
        make("chess", fen=fen)
