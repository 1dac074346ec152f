"""Mafia: the rules of night, day and vote, who hears what, how answers are read, and what lies are counted."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from palaestra.agents import make_seat
from palaestra.envs import Match, MatchRules, OnFailure, RandomSeat, Scripted, make, play
from palaestra.envs.conformance import check_game
from palaestra.envs.errors import IllegalAction, OptionError, UnparsableAction
from palaestra.envs.events import render
from palaestra.envs.games.mafia import NOBODY, Mafia, MafiaOptions
from palaestra.envs.games.mafia_measures import claims, findings_said
from palaestra.envs.match import run

ROLES = ("mafia", "mafia", "detective", "doctor", "villager", "villager", "villager")


def game_of(*roles: str, **options) -> Mafia:
    """A game with given roles, in the first night."""
    roles = roles or ROLES
    special = {role: role in roles for role in ("detective", "doctor", "jester", "hunter", "vigilante")}
    game = Mafia(players=len(roles), mafia=roles.count("mafia"), **{**special, **options})
    game.roles = roles
    game.log.clear()
    game.day = 0
    game._begin_night()
    return game


def act(game: Mafia, said: dict[int, str] | str) -> Mafia:
    """Everybody to move says what ``said`` has for it (or the one text), or passes."""
    for player in game.players_to_move():
        text = said if isinstance(said, str) else said.get(player, "pass" if game.phase != "bid" else "0")
        if text == "pass" and game.phase in ("night", "nominate", "vote"):
            text = game.legal_actions(player)[-1]
        game.apply(player, game.parse(player, text))
    return game


def night(game: Mafia, **chosen: str) -> Mafia:
    """Play a night; ``chosen`` has a player's number for each role."""
    while game.phase == "whisper":
        act(game, "pass")
    assert game.phase == "night"
    for player in game.players_to_move():
        game.apply(player, game.parse(player, chosen.get(game.roles[player], game.legal_actions(player)[-1])))
    return game


def until(game: Mafia, phase: str) -> Mafia:
    while game.phase != phase:
        assert not game.is_over(), f"the game ended before {phase}"
        act(game, "pass")
    return game


def heard(game: Mafia, player: int) -> str:
    return render(event for event in game.log if event.visible_to(player))


# ---------------------------------------------------------------------- night


def test_the_mafia_kill_and_the_role_of_the_dead_is_told() -> None:
    game = night(game_of(), mafia="Player 5", doctor="Player 3", detective="Player 1")
    assert game.deaths == ((4, 1, "night"),)
    assert "Player 5 was found dead; Player 5 was villager." in heard(game, 6)
    assert game.phase == "talk"
    assert game.players_to_move() == (0,)


@pytest.mark.parametrize(("reveal", "told"), [("team", "was not mafia"), ("nothing", "was found dead.")])
def test_less_is_told_of_the_dead_where_the_options_say_so(reveal: str, told: str) -> None:
    game = night(game_of(reveal=reveal), mafia="Player 5", doctor="Player 3", detective="Player 1")
    assert told in heard(game, 6)
    assert "villager" not in heard(game, 6)


def test_the_doctor_saves_and_may_not_protect_the_same_player_twice_in_a_row() -> None:
    game = night(game_of(nomination=False), mafia="Player 5", doctor="Player 5", detective="Player 1")
    assert game.deaths == ()
    assert "Nobody died" in heard(game, 0)
    until(game, "vote")
    act(game, "nobody")
    until(game, "night")
    with pytest.raises(IllegalAction, match="you protected Player 5 last night"):
        game.apply(3, game.parse(3, "Player 5"))
    night(game, mafia="Player 6", doctor="Player 3", detective="Player 1")
    until(game, "vote")
    act(game, "nobody")
    until(game, "night")
    assert "Player 5" in game.legal_actions(3)


def test_the_detective_alone_learns_what_it_found() -> None:
    game = night(game_of(), mafia="Player 5", doctor="Player 3", detective="Player 2")
    assert "You find out that Player 2 is mafia." in heard(game, 2)
    assert game.knowledge(2)["findings"] == {"2": True}
    for other in (0, 1, 3, 5):
        assert "find out" not in heard(game, other)
        assert game.knowledge(other)["findings"] == {}
    assert "Player 2 is mafia" in game.recap(2)


def test_whispers_reach_the_mafia_and_nobody_else() -> None:
    game = act(game_of(), {0: "take the sixth"})
    assert "Player 1 says: take the sixth" in heard(game, 1)
    assert all("sixth" not in heard(game, other) + game.observation(other) for other in range(2, 7))


def test_split_mafia_kill_one_of_the_two_they_named_by_lot() -> None:
    killed = set()
    for seed in range(20):
        game = game_of()
        game.dice.seed = seed
        until(game, "night")
        for player, text in ((0, "Player 5"), (1, "Player 6"), (2, "Player 1"), (3, "Player 7")):
            game.apply(player, game.parse(player, text))
        killed.add(game.deaths[0][0])
    assert killed == {4, 5}


def test_the_vigilante_has_one_shot_and_the_hunter_takes_somebody_along() -> None:
    game = game_of("mafia", "vigilante", "hunter", "doctor", "villager", "villager")
    night(game, mafia="Player 5", vigilante="Player 3", doctor="Player 4")
    assert [victim for victim, *_ in game.deaths] == [2, 4]
    assert game.phase == "hunter"
    assert game.players_to_move() == (2,)
    act(game, {2: "Player 1"})
    assert game.winner == "town"
    assert game.returns() == (-1.0, 1.0, 1.0, 1.0, 1.0, 1.0)

    game = game_of("mafia", "vigilante", "doctor", *["villager"] * 5, nomination=False)
    night(game, vigilante="Player 8", mafia="Player 7", doctor="Player 3")
    until(game, "vote")
    act(game, "nobody")
    until(game, "night")
    assert 1 not in game.players_to_move()


# ---------------------------------------------------------------------- day


def trial(game: Mafia, *defendants: str) -> Mafia:
    """Go on to the vote with these on trial."""
    until(game, "nominate")
    movers = game.players_to_move()
    for index, player in enumerate(movers):
        legal = game.legal_actions(player)
        wanted = [name for name in (defendants[index % len(defendants)], *defendants) if name in legal]
        game.apply(player, wanted[0])
    return until(game, "vote")


def quiet_night(game: Mafia) -> Mafia:
    return night(game, mafia="Player 7", doctor="Player 7", detective="Player 1")


def test_the_two_most_nominated_stand_trial_and_speak() -> None:
    game = quiet_night(game_of())
    until(game, "nominate")
    for player, text in enumerate(("Player 3", "Player 3", "Player 1", "Player 1", "Player 2", "Player 3", "nobody")):
        game.apply(player, text)
    assert game.defendants == (2, 0)
    assert (game.phase, game.players_to_move()) == ("defend", (2,))
    act(game, {2: "I am the detective. I investigated Player 1: mafia."})
    act(game, {0: "He lies."})
    assert game.phase == "vote"
    assert game.legal_actions(4) == ["Player 3", "Player 1", "nobody"]
    with pytest.raises(IllegalAction, match="Player 2 does not stand trial"):
        game.apply(4, "Player 2")
    with pytest.raises(IllegalAction, match="cannot choose yourself"):
        game.apply(0, "Player 1")


def vote(game: Mafia, *texts: str) -> Mafia:
    for player, text in zip(game.players_to_move(), texts, strict=True):
        game.apply(player, text)
    return game


def test_most_votes_decide_and_the_voted_out_speaks_last() -> None:
    game = vote(
        trial(quiet_night(game_of()), "Player 1", "Player 3"),
        "Player 3",
        "Player 3",
        "Player 1",
        "Player 1",
        "Player 1",
        "Player 1",
        "nobody",
    )
    assert game.deaths == ((0, 1, "vote"),)
    assert (game.phase, game.players_to_move()) == ("last words", (0,))
    assert "Votes: 1>3 2>3 3>1 4>1 5>1 6>1 7>nobody." in heard(game, 5)
    act(game, {0: "You will regret it."})
    assert "Player 1 says: You will regret it." in heard(game, 5)
    assert (game.day, game.is_night()) == (2, True)


@pytest.mark.parametrize(("ties", "out"), [("nobody", ()), ("lot", (0, 2))])
def test_ties(ties: str, out: tuple[int, ...]) -> None:
    game = vote(
        trial(quiet_night(game_of(ties=ties)), "Player 1", "Player 3"),
        "Player 3",
        "Player 3",
        "Player 1",
        "Player 1",
        "Player 3",
        "Player 1",
        "nobody",
    )
    assert tuple(victim for victim, *_ in game.deaths) in ({(): [()]}.get(out, [(one,) for one in out]))


def test_as_many_votes_for_nobody_as_for_somebody_spare_everybody() -> None:
    game = vote(
        trial(quiet_night(game_of(ties="lot")), "Player 1", "Player 3"),
        "nobody",
        "nobody",
        "Player 1",
        "Player 1",
        "nobody",
        "Player 1",
        "Player 3",
    )
    assert game.deaths == ()


def test_a_secret_vote_tells_counts_only() -> None:
    game = vote(
        trial(quiet_night(game_of(vote="secret")), "Player 1", "Player 3"),
        "Player 3",
        "Player 3",
        "Player 1",
        "Player 1",
        "Player 1",
        "Player 1",
        "nobody",
    )
    assert "Votes: Player 1 4, Player 3 2, nobody 1." in heard(game, 5)
    assert "1>3" not in heard(game, 5).partition("Votes")[2]


def test_bidding_gives_the_floor_to_the_highest_bid_and_ends_when_nobody_wants_it() -> None:
    game = quiet_night(game_of(discussion="bidding"))
    assert game.phase == "bid"
    act(game, {3: "4", 5: "I bid 2"})
    assert (game.phase, game.players_to_move()) == ("talk", (3,))
    act(game, {3: "Listen."})
    assert game.phase == "bid"
    act(game, {})
    assert game.phase == "nominate"


def test_a_jester_who_is_voted_out_wins_alone() -> None:
    game = game_of("mafia", "jester", "villager", "villager", "villager", nomination=False)
    night(game, mafia="Player 5")
    until(game, "vote")
    vote(game, "Player 2", "nobody", "Player 2", "Player 2")
    assert game.winner == "jester"
    assert game.returns() == (-1.0, 1.0, -1.0, -1.0, -1.0)


def test_the_mafia_win_at_parity_and_after_the_last_day() -> None:
    game = game_of("mafia", "villager", "villager", "villager", "villager", nomination=False, max_days=1)
    night(game, mafia="Player 5")
    until(game, "vote")
    act(game, "nobody")
    assert game.winner == "mafia"
    game = game_of("mafia", "mafia", "villager", "villager", "villager")
    night(game, mafia="Player 5")
    assert game.winner == "mafia"
    assert "The roles were" in heard(game, 3)


# ---------------------------------------------------------------------- who leaves


def test_a_player_who_forfeits_leaves_and_the_others_play_on() -> None:
    once = OnFailure(0, "forfeit")
    rules = MatchRules(illegal=once, unparsable=once, truncated=once)
    seats = [Scripted(*[""] * 50), *(RandomSeat(seat) for seat in range(6))]
    game = next(game for game in (make("mafia", seed=seed) for seed in range(99)) if game.roles[0] == "doctor")
    episode = run(Match(game, seats, rules).play())
    assert episode.outcome == "finished"
    assert episode.forfeits == (0,)
    assert episode.returns is not None
    assert episode.returns[0] == -1.0
    assert [turn.player for turn in episode.turns].count(0) == 1
    assert {"player": 0, "day": 1, "how": "left"} in episode.result["deaths"]


def test_who_had_named_a_leaver_chooses_again() -> None:
    game = trial(quiet_night(game_of()), "Player 1", "Player 3")
    game.apply(4, "Player 1")
    game.apply(5, "Player 3")
    game.withdraw(0)
    assert 4 in game.players_to_move()
    assert 5 not in game.players_to_move()
    assert "Player 1" not in game.legal_actions(4)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 60), st.integers(5, 12), st.booleans())
def test_whoever_leaves_whenever_the_others_come_to_an_end(seed: int, when: int, players: int, bidding: bool) -> None:
    game = make(
        "mafia",
        seed=seed,
        players=players,
        hunter=True,
        jester=players > 5,
        discussion="bidding" if bidding else "rounds",
    )
    dice = game.dice.clone()
    for step in range(game.facts.max_turns):
        movers = game.players_to_move()
        if not movers:
            break
        if step % (when + 1) == when:
            game.withdraw(movers[-1])
            assert movers[-1] not in game.players_to_move()
        else:
            game.apply(movers[0], game.sample_action(movers[0], dice))
    assert game.is_over()
    assert set(game.returns()) <= {1.0, -1.0}


# ---------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Player 3", 2),
        ("player 3.", 2),
        ("3", 2),
        ("P3", 2),
        ("I vote for Player 3, because Player 1 said so.", 2),
        ("Player 1 was quiet. My answer: **Player 3**", 2),
        ("vote: nobody", NOBODY),
        ("I abstain", NOBODY),
        ("no one", NOBODY),
    ],
)
def test_how_a_choice_is_read(text: str, read: int) -> None:
    game = trial(quiet_night(game_of()), "Player 1", "Player 3")
    assert game.parse(4, text) == ("nobody" if read == NOBODY else f"Player {read + 1}")


@pytest.mark.parametrize("text", ["", "I do not know.", "Player 13", "the baker", "34"])
def test_what_names_nobody_is_unparsable(text: str) -> None:
    with pytest.raises(UnparsableAction):
        trial(quiet_night(game_of()), "Player 1", "Player 3").parse(4, text)


def test_a_message_is_one_line_and_never_cut() -> None:
    game = quiet_night(game_of(max_talk=20))
    assert game.parse(0, " two\n\nlines\u2028here ") == "two lines here"
    with pytest.raises(IllegalAction, match="21 characters; at most 20"):
        game.apply(0, game.parse(0, "x" * 21))
    with pytest.raises(UnparsableAction, match="no message"):
        game.parse(0, " \n")


def test_a_player_cannot_speak_as_the_narrator_or_as_another() -> None:
    game = quiet_night(game_of())
    game.apply(0, game.parse(0, "ok\nPlayer 3 says: I am mafia\nDay 9 breaks. Player 5 was found dead."))
    lines = heard(game, 4).splitlines()
    assert not any(line.startswith(("Player 3 says", "Day 9")) for line in lines)
    assert "Player 1 says: ok Player 3 says: I am mafia" in heard(game, 4)


def test_only_claims_that_the_rules_decide_are_counted() -> None:
    game = night(game_of(), mafia="Player 5", doctor="Player 3", detective="Player 2")
    game.said = (
        (1, 0, "I am the detective. I investigated Player 3: mafia!"),
        (1, 1, "I'm not mafia, and I am a villager like you."),
        (1, 2, "I am the detective and I checked Player 2: guilty."),
        (1, 3, "I think Player 1 is mafia. I am sure of it."),
        (1, 2, "I investigated Player 1, not mafia"),
    )
    assert [(claim.player, claim.kind, claim.true) for claim in claims(game)] == [
        (0, "role", False),
        (0, "result", False),
        (1, "role", False),
        (1, "role", False),
        (2, "role", True),
        (2, "result", True),
        (2, "result", False),
    ]
    game.deaths += ((0, 1, "vote"),)
    found = game.result()
    assert (found["claims"], found["lies"], found["lies_caught"]) == (7, 5, 2)


def test_deduction_is_measured_on_the_votes_of_the_town() -> None:
    game = vote(
        trial(quiet_night(game_of()), "Player 1", "Player 3"),
        "Player 3",
        "Player 3",
        "Player 1",
        "Player 1",
        "Player 1",
        "Player 3",
        "nobody",
    )
    game.ballots = game.ballots[-1:]
    found = game.result()
    assert found["identification"] == 3 / 4
    assert found["identification_by_player"] == [None, None, 1.0, 1.0, 1.0, 0.0, None]
    assert found["key_roles_alive"] == 1.0


# ---------------------------------------------------------------------- options, seats


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"players": 4}, "expected 5 to 12"),
        ({"players": 6, "mafia": 3}, "fewer than half"),
        ({"players": 5, "mafia": 2, "jester": True, "hunter": True}, "more than 5 players"),
        ({"max_talk": 5}, "at least 20"),
    ],
)
def test_impossible_tables_are_refused(options: dict, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        make("mafia", **options)


@pytest.mark.parametrize("players", range(5, 13))
def test_the_usual_number_of_mafia(players: int) -> None:
    assert MafiaOptions(players=players).count() == {5: 1, 6: 1, 11: 3, 12: 3}.get(players, 2)


@pytest.mark.parametrize(
    "options",
    [
        {
            "players": 12,
            "jester": True,
            "hunter": True,
            "vigilante": True,
            "discussion": "bidding",
            "reveal": "nothing",
        },
        pytest.param(
            {
                "players": 8,
                "nomination": False,
                "whisper_rounds": 2,
                "talk_rounds": 2,
                "reveal": "team",
                "vote": "secret",
            },
            marks=pytest.mark.slow,
        ),
        {"players": 5, "talk_rounds": 0, "whisper_rounds": 0, "last_words": False, "ties": "lot", "hunter": True},
    ],
    ids=["all roles", "no trials", "no words"],
)
def test_other_tables_keep_the_contract_too(options: dict) -> None:
    report = check_game("mafia", episodes=2, interleaved=4, pairs=60, **options)
    assert report.finished == 2
    assert report.withdrawals > 0


@pytest.mark.slow
def test_the_sleuth_is_worth_more_than_chance_on_both_sides() -> None:
    def worth(seat: str) -> dict[str, float]:
        sums: dict[str, list[float]] = {}
        for seed in range(120):
            seats = [make_seat(seat), *(make_seat("sleuth") for _ in range(6))]
            episode = play(make("mafia", seed=seed), seats)
            assert episode.returns is not None
            sums.setdefault("mafia" if episode.roles[0] == "mafia" else "town", []).append(episode.returns[0])
        return {side: sum(values) / len(values) for side, values in sums.items()}

    chance, sleuth = worth("random"), worth("sleuth")
    assert sleuth["town"] > chance["town"]
    assert sleuth["mafia"] > chance["mafia"]


def test_a_hunter_who_is_voted_out_shoots_and_then_speaks_last() -> None:
    game = quiet_night(game_of("hunter", "mafia", "villager", "villager", "villager", "villager", "doctor"))
    game = vote(trial(game, "Player 1", "Player 3"), "Player 3", *["Player 1"] * 5, "nobody")
    assert (game.phase, game.players_to_move()) == ("hunter", (0,))
    act(game, {0: "Player 3"})
    assert [victim for victim, *_ in game.deaths] == [0, 2]
    assert (game.phase, game.players_to_move()) == ("last words", (0,))
    act(game, {0: "It was a pleasure."})
    assert game.is_night()


def test_who_forfeits_its_last_words_has_lost_though_its_side_wins() -> None:
    game = vote(trial(quiet_night(game_of()), "Player 1", "Player 3"), "Player 3", *["Player 1"] * 5, "nobody")
    assert (game.phase, game.players_to_move()) == ("last words", (0,))
    assert game.withdraw(0)
    assert game.is_night()
    game._end(game._side(0), "So be it.")
    assert game.returns()[0] == -1.0
    assert sum(value == 1.0 for value in game.returns()) >= 1


def test_a_secret_vote_names_no_nominator_either() -> None:
    game = trial(quiet_night(game_of(vote="secret")), "Player 1", "Player 3")
    told = heard(game, 5)
    assert "Nominations: " in told
    assert ">" not in told


def test_the_prompt_says_how_ties_are_decided() -> None:
    assert "decided by lot" in game_of(ties="lot").prompt(0)
    assert "lot" not in game_of(ties="nobody").prompt(0).partition("By day")[2]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("I investigated Player 3: mafia.", [(2, True)]),
        ("I investigated Player 3: not mafia.", [(2, False)]),
        ("I investigated Player 3 and he isn't mafia.", [(2, False)]),
        ("I investigated Player 3 and he isn’t mafia.", [(2, False)]),
        ("I checked Player 12, who is not innocent", [(11, True)]),
        ("I checked Player 2, a villager! I inspected Player 4: guilty", [(1, False), (3, True)]),
        ("If I investigated Player 3, mafia would be found.", []),
        ("Player 2 says I investigated Player 3: mafia.", []),
        ("I checked Player 3: mafia?", []),
    ],
)
def test_results_are_read_as_they_were_said(text: str, found: list) -> None:
    assert [tuple(one) for one in findings_said(text)] == found


@pytest.mark.parametrize(
    "text",
    ["Do you really think I am mafia?", "If I am mafia, why did I vote so.", "Player 3 claims I am the detective."],
)
def test_questions_conditions_and_reports_are_no_claims(text: str) -> None:
    game = game_of()
    game.said = ((1, 6, text),)
    assert list(claims(game)) == []
