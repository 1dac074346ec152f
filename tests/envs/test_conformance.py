"""The examiner: passes sound games, counts what it saw, and catches each breach by the clause that names it."""

from __future__ import annotations

import re

import pytest

from palaestra.envs.conformance import CLAUSES, check_game
from palaestra.envs.errors import ContractError, OptionError, UnknownName
from palaestra.envs.game import Game
from palaestra.envs.games.kuhn_poker import KuhnPoker
from palaestra.envs.items.item_set import Item, Wrong
from tests.envs import broken_games as broken
from tests.shipped import GAMES

ONLY: list[tuple[str, type[Game]]] = [
    ("json", broken.NumbersAsKeys),
    ("facts", broken.RoleOutOfNowhere),
    ("reading", broken.HandsOutItsList),
    ("text", broken.TalksTooMuch),
    ("clone", broken.CloneForgets),
    ("actions", broken.ListsTheImpossible),
    ("refusal", broken.GrowsImpatient),
    ("simultaneity", broken.ShowsWhoIsReady),
    ("voice", broken.LendsItsVoice),
    ("chance", broken.DeniesChance),
    ("returns", broken.PaysTooMuch),
    ("withdrawal", broken.AsksWhoHasLeft),
    ("length", broken.LongerThanDeclared),
    ("determinism", broken.NamesEveryInstance),
    ("information", broken.HidesCardsButSaysPerfect),
    ("privacy", broken.MarksTheCards),
    ("interleaving", broken.OneDeckForAll),
    ("replay", broken.RecordsTooLittle),
]

ALSO: list[tuple[str, type[Game], str]] = [
    ("clone", broken.SharesItsListWithItsClone, "playing on a clone has changed the original"),
    ("chance", broken.RollsItsOwnDice, "opening state differs"),
    ("length", broken.NeverEnds, "still goes on after 5 turns"),
    ("length", broken.IsOverAtOnce, "over before anybody has moved"),
    ("refusal", broken.FallsOverOddText, "UnicodeEncodeError"),
    ("actions", broken.AcceptsWhatItDoesNotList, "accepted, but not listed"),
    ("returns", broken.DeclaresZeroSumOnly, "after a forfeit of player 1"),
    ("returns", broken.MeansNothingConstant, "add up to"),
    ("simultaneity", broken.FirstToChooseWins, "another state in another order"),
    ("privacy", broken.ReadsTheLogAloud, "not for it"),
    ("privacy", broken.WillNotSayWhatIsKnown, "neither information_state nor knowledge"),
    ("privacy", broken.CallsEverythingKnown, "nothing was compared"),
    ("actions", broken.ReadsItselfWrong, "read as '1'"),
    ("chance", broken.DrawsWithoutSaying, "dice were used"),
    ("text", broken.ChangesItsPrompt, "prompt of player 1 has changed"),
    ("facts", broken.MovesTwoAtOnce, "to move at once"),
]

AMBIGUOUS = "\n".join(
    Item(f"i{right}", "python", 1, "print(f(a))", right, (Wrong("off_by_one", wrong),)).line()
    for right, wrong in (("4", "5"), ("5", "4"))
)
# Where the default options hide so much that no two of a few hundred openings look alike to a player.
SMALLER = {
    "negotiation": {"items": 2, "max_count": 1, "max_value": 3},
    "bargaining": {"issues": 2, "levels": 3, "max_fallback": 2},
    "contest": {"tasks": "Say something.", "max_answer": 1},
    "coalition": {"values": "1+2=60,1+3=50,1+2+3=100", "max_fallback": 2},
    "risk": {"map": "small", "start": "claimed", "missions": True},
    # Two programs that read alike and print each other's wrong output: what is seen does not give it away.
    "terminal_surprise": {"rate": 0.5, "file": AMBIGUOUS},
    "hindsight_bias": {"rate": 0.5, "file": AMBIGUOUS},
}
QUICKER = {**SMALLER, "go": {"size": 5}}
# A thousand games, twice: short ones of the large games are as good as long ones.
LONG = {"auction", "bargaining", "chess", "coalition", "go", "mafia", "risk"}
"""Games of which a thousand take a minute."""
SHORTER = {"risk": {"map": "small", "max_rounds": 4}, "go": {"size": 6}, "chess": {"max_plies": 60}}


@pytest.mark.parametrize("game", [broken.Take, broken.Morra, broken.Talk, KuhnPoker])
def test_a_sound_game_passes_every_clause_and_the_report_counts_what_was_seen(game: type[Game]) -> None:
    report = check_game(game, episodes=6, interleaved=10)
    assert report.clauses == CLAUSES
    assert (report.finished, report.interleaved, report.replays) == (6, 10, 6)
    assert report.turns >= 12
    assert min(report.positions, report.accepted, report.refused, report.clones, report.longest_observation) > 0
    assert (report.choices > 0) == (game is broken.Morra)
    assert (report.speeches > 0) == (game is broken.Talk)
    assert (report.compared > 0) == (game is KuhnPoker)
    assert report.notes == []


@pytest.mark.parametrize(("clause", "game"), ONLY, ids=[clause for clause, _ in ONLY])
def test_a_broken_game_is_caught_by_its_clause_and_by_no_other(clause: str, game: type[Game]) -> None:
    with pytest.raises(ContractError) as caught:
        check_game(game)
    assert caught.value.clause == clause
    assert str(caught.value).startswith(f"{clause}: {game.id}, ")
    check_game(game, clauses=set(CLAUSES) - {clause})


def test_every_clause_has_a_game_that_breaks_only_it() -> None:
    assert [clause for clause, _ in ONLY] == list(CLAUSES)


@pytest.mark.parametrize(("clause", "game", "message"), ALSO, ids=[game.__name__ for _, game, _ in ALSO])
def test_other_breaches_are_caught_and_said(clause: str, game: type[Game], message: str) -> None:
    with pytest.raises(ContractError, match=re.escape(message)) as caught:
        check_game(game)
    assert caught.value.clause == clause


def test_an_examination_without_endings_is_a_failure() -> None:
    with pytest.raises(ContractError, match="no episode was asked for"):
        check_game("tic_tac_toe", episodes=0)


def test_declared_chance_that_is_never_used_is_a_note() -> None:
    class Careful(broken.Take):
        FACTS = broken.facts_of(broken.Take, chance=True)

    assert check_game(Careful, episodes=3).notes == ["chance is declared, but the dice were not used in 3 games"]


def test_wrong_arguments_name_themselves() -> None:
    with pytest.raises(ValueError, match=r"unknown clauses \['privcy'\]"):
        check_game("tic_tac_toe", clauses=["privcy"])
    with pytest.raises(UnknownName, match="Did you mean 'tic_tac_toe'"):
        check_game("tic_tac_to")
    with pytest.raises(OptionError, match="'view' of tic_tac_toe"):
        check_game("tic_tac_toe", view="sideways")


@pytest.mark.parametrize("game", GAMES)
def test_every_registered_game_keeps_the_contract(game: str) -> None:
    report = check_game(game, episodes=3, interleaved=10, pairs=150, **QUICKER.get(game, {}))
    assert report.finished == 3
    assert report.notes == []


@pytest.mark.parametrize("game", ["tic_tac_toe", "kuhn_poker"])
def test_a_thousand_interleaved_games_equal_the_same_games_alone(game: str) -> None:
    assert check_game(game, episodes=1, interleaved=1000, clauses=["interleaving"]).interleaved == 1000


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_many_interleaved_games_of_every_kind_equal_the_same_games_alone(game: str) -> None:
    many = 150 if game in LONG else 1000
    report = check_game(game, episodes=1, interleaved=many, clauses=["interleaving"], **SHORTER.get(game, {}))
    assert report.interleaved == many


@pytest.mark.slow
@pytest.mark.parametrize("game", GAMES)
def test_every_registered_game_keeps_the_contract_for_long(game: str) -> None:
    clauses = set(CLAUSES) - ({"privacy"} if game in SMALLER else set())
    episodes = 5 if game in LONG else 15
    assert check_game(game, episodes=episodes, interleaved=30, clauses=clauses).finished == episodes
