"""Chess960, odds, and the views: beside OpenSpiel's own Chess960, and what each view shows."""

import chess
import pytest

from palaestra.envs import RandomSeat, make, play
from palaestra.envs.conformance import CLAUSES, check_game
from palaestra.envs.errors import OptionError
from palaestra.envs.games.spiel_twins import to_spiel
from palaestra.envs.seeding import Dice


def test_the_seed_draws_any_of_the_960_positions() -> None:
    starts = {make("chess", seed=seed, chess960=True).position.board_fen() for seed in range(300)}
    assert len(starts) > 250
    for fen in starts:
        row = fen.split("/")[0]
        assert row.index("r") < row.index("k") < row.rindex("r")
        assert row.index("b") % 2 != row.rindex("b") % 2


@pytest.mark.parametrize("seed", range(12))
def test_chess960_has_the_legal_moves_that_openspiel_has(seed: int) -> None:
    """Castling is preferred, so that it happens."""
    game = make("chess", seed=seed, chess960=True, max_plies=70)
    dice = Dice(seed)
    while not game.is_over():
        twin = to_spiel(game)
        assert sorted(twin.numbers.values()) == sorted(twin.state.legal_actions())
        castling = [move.uci() for move in game.legal.values() if game.position.is_castling(move)]
        player = game.players_to_move()[0]
        game.apply(player, castling[0] if castling else game.sample_action(player, dice))


def test_castling_is_named_as_in_chess_or_by_king_and_rook() -> None:
    fen = "6k1/8/8/8/8/8/8/1RK4R w BH - 0 1"
    for text, king in (("O-O", chess.G1), ("I castle queenside", chess.C1), ("c1h1", chess.G1)):
        game = make("chess", fen=fen, chess960=True)
        game.apply(0, game.parse(0, text))
        assert game.position.king(chess.WHITE) == king
    assert "This is Chess960: castle with O-O or O-O-O." in make("chess", chess960=True).prompt(0)


def test_the_start_is_told_and_recorded() -> None:
    game = make("chess", seed=5, chess960=True)
    assert game.recap(0) == f"The game began from {game.start}."
    episode = play(make("chess", seed=5, chess960=True, max_plies=2), [RandomSeat(), RandomSeat()], record=False)
    assert episode.result["start"] == game.start


@pytest.mark.parametrize(
    ("odds", "row"),
    [("pawn", "PPPPP1PP"), ("knight", "R1BQKBNR"), ("rook", "1NBQKBNR"), ("queen", "RNB1KBNR")],
)
def test_odds_take_a_piece_off_whites_side(odds: str, row: str) -> None:
    game = make("chess", odds=odds)
    rows = game.position.board_fen().split("/")
    assert rows[6 if odds == "pawn" else 7] == row
    assert rows[0] == "rnbqkbnr"
    assert game.position.is_valid()
    assert game.position.has_queenside_castling_rights(chess.WHITE) == (odds != "rook")
    assert f"The game began from {game.position.fen()}." in game.observation(0)


def test_odds_and_a_position_of_ones_own_exclude_each_other() -> None:
    with pytest.raises(OptionError, match="odds are given from the starting position"):
        make("chess", fen="4k3/8/8/8/8/8/4P3/4K3 w - - 0 1", odds="pawn")


def test_every_view_shows_the_position_in_its_way() -> None:
    shown = {}
    for view in ("board", "fen", "pieces", "history", "moves", "terse"):
        game = make("chess", view=view)
        for move in ("e4", "e5", "Nf3"):
            (player,) = game.players_to_move()
            game.apply(player, game.parse(player, move))
        shown[view] = game.board(1)
    fen = "rnbqkbnr/pppp1ppp/8/4p3/4P3/5N2/PPPP1PPP/RNBQKB1R b KQkq - 1 2"
    assert shown["board"].startswith("8 r n b q k b n r\n")
    assert shown["fen"] == f"{fen}\nMove 2, Black to move."
    assert shown["history"] == "Moves: 1. e4 e5 2. Nf3\nMove 2, Black to move."
    assert shown["moves"] == "Move 2, Black to move."
    assert shown["terse"] == fen
    assert shown["pieces"] == (
        "White: king e1, queen d1, rooks a1 h1, bishops c1 f1, knights b1 f3, pawns a2 b2 c2 d2 f2 g2 h2 e4; "
        "may still castle O-O and O-O-O.\n"
        "Black: king e8, queen d8, rooks a8 h8, bishops c8 f8, knights b8 g8, pawns e5 a7 b7 c7 d7 f7 g7 h7; "
        "may still castle O-O and O-O-O.\nMove 2, Black to move."
    )


def test_a_history_longer_than_what_is_shown_comes_with_the_position() -> None:
    game = make("chess", view="history", seed=1)
    dice = Dice(4)
    while not game.is_over() and game.ply < 300:
        (player,) = game.players_to_move()
        assert len(game.observation(player)) <= game.facts.max_observation_chars
        game.apply(player, game.sample_action(player, dice))
    assert game.ply > 240
    assert game.board(0).startswith(game.fen())


@pytest.mark.parametrize(
    "options", [{"chess960": True}, {"odds": "queen", "view": "pieces"}, {"chess960": True, "view": "history"}]
)
def test_the_contract_holds(options: dict) -> None:
    clauses = set(CLAUSES) - {"information"}
    assert check_game("chess", episodes=2, interleaved=4, clauses=clauses, max_plies=60, **options).finished == 2
