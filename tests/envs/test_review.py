"""Review: what a reviewer writes is read as far as it says one thing, whatever stands around it, and in linear time."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import Scripted, make, play
from palaestra.envs.conformance import check_game
from palaestra.envs.errors import IllegalAction, OptionError, UnparsableAction
from palaestra.envs.games.review import read_review, shown
from palaestra.envs.games.review_mistakes import read_mistakes, shown_game, write_mistakes
from palaestra.envs.seeding import Dice

GAMES_THAT_HIDE = {
    "kuhn_poker": "The other player had",
    "negotiation": "A unit was worth",
    "mafia": "Player 2 was",
    "liars": "The other player had",
}


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("Mistake: yes\nBecause: it lost\nReply: pass", (True, "it lost", "pass")),
        ("Mistake: yes\nBecause:\nReply: pass", (True, "", "pass")),
        ("**Mistake:** yes\n\n**Because:** it lost\n**Reply:** `bet`", (True, "it lost", "bet")),
        ("Let me see.\nmistake = no", (False, "", "")),
    ],
)
def test_three_lines_are_read(text: str, read: tuple) -> None:
    game = make("review")
    assert read_review(game.parse(0, text)) == read


@pytest.mark.parametrize("text", ["", "yes", "Mistake: perhaps", "Mistake: yes\nBecause: it lost", "I am sorry."])
def test_what_names_no_mistake_or_no_better_reply_is_refused(text: str) -> None:
    with pytest.raises(UnparsableAction, match="in three lines"):
        make("review").parse(0, text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("No mistake.", []),
        ("There were no mistakes here", []),
        ("Turn: 2\nBecause: it lost\nReply: pass", [(2, "it lost", "pass")]),
        (
            "**Turn:** 1.\nReply: `bet`\n\nTurn: 3\nBecause: a\nBecause: b\nReply: pass",
            [(1, "", "bet"), (3, "a", "pass")],
        ),
        ("Turn: 1\nBecause: half of one\nTurn: 2\nReply: bet", [(2, "", "bet")]),
        ("Turn: last\nReply: bet\nTurn: 2\nReply: bet", [(2, "", "bet")]),
    ],
)
def test_of_a_whole_game_every_mistake_is_read(text: str, read: list) -> None:
    game = make("review", form="game")
    action = game.parse(0, text)
    assert read_mistakes(action) == read
    game.apply(0, action)
    assert [(one["turn"], one["because"], one["reply"]) for one in game.result()["mistakes"]] == read


@pytest.mark.parametrize(
    "text", ["", "I am sorry.", "Turn: 1", "Because: x\nReply: y", "Turn: 99999\nReply: y", "[[1]]"]
)
def test_what_names_no_turn_and_denies_none_is_refused(text: str) -> None:
    with pytest.raises(UnparsableAction, match="answer 'No mistake'"):
        make("review", form="game").parse(0, text)


@pytest.mark.parametrize("action", ["", "[]x", '[[1,"a"]]', '[[true,"a","b"]]', '[[1,"a","b",2]]', "[" * 5000, "{}"])
def test_only_canonical_mistakes_are_legal(action: str) -> None:
    with pytest.raises(IllegalAction, match="pass what `parse` returns"):
        make("review", form="game").check(0, action)


def test_a_whole_game_is_shown_by_its_turns_and_every_reply_stays() -> None:
    turns = [("first " + "word " * 400 + "last", "raise"), ("then " + "word " * 400 + "end", "fold")]
    whole = shown_game(turns, -1.0, "They had a king.", most=100_000)
    assert whole.startswith("How it ended: this player got -1. They had a king.\nTurn 1, what the player saw:\n| first")
    cut = shown_game(turns, -1.0, "They had a king.", most=700)
    assert len(cut) <= 700
    for part in ("They had a king.", "Turn 1, what the player replied: raise", "Turn 2, what the player replied: fold",
                 "last", "end"):  # fmt: skip
        assert part in cut
    assert "first" not in cut
    assert len(write_mistakes([(1, "x" * 999, "y\n" * 999)] * 50)) < 12 * 830
    own = make("review", form="game", seed=4)
    assert own.board(0).count("what the player replied") == sum(
        mover == own.turns[own.turn][0] for mover, _ in own.turns
    )


def test_the_examiner_is_content_with_reviews_of_whole_games() -> None:
    assert check_game("review", form="game", episodes=4).finished == 4


@pytest.mark.parametrize(("text", "score"), [("-2", "-2"), ("3.", "3"), ("Score: +1", "1"), ("2, so 2", "2")])
def test_one_score_is_read(text: str, score: str) -> None:
    assert make("review", form="score").parse(0, text) == score


@pytest.mark.parametrize("text", ["", "2/3", "1.5", "v2", "4", "2 or 3", "9" * 5000])
def test_no_score_or_two_are_refused(text: str) -> None:
    with pytest.raises(UnparsableAction, match="one number from -3 to 3"):
        make("review", form="score").parse(0, text)


@pytest.mark.parametrize("words", ["\n", "mistake ", "mistake:  ", "* ", "1 2 ", "+-", "1."])
def test_a_flood_is_read_in_linear_time(words: str) -> None:
    for form in ("full", "score", "game"):
        began = time.process_time()
        with pytest.raises(UnparsableAction):
            make("review", form=form).parse(0, f"x{words * (100_000 // len(words))}x")
        assert time.process_time() - began < 10  # a tenth of a second, or minutes


@pytest.mark.parametrize(("game", "told"), GAMES_THAT_HIDE.items())
def test_a_reviewer_is_told_what_was_hidden_from_the_player_and_not_what_it_knew(game: str, told: str) -> None:
    table = make(game, seed=3)
    assert told in table.revealed(0)
    assert make("open_minds", seed=3, inner=game).revealed(0).startswith(table.revealed(0)[:10])


@pytest.mark.parametrize("terse", [False, True])
def test_of_a_long_observation_the_beginning_goes_and_the_reply_stays(terse: bool) -> None:
    told = ("first " + "word " * 500 + "last", "my reply", 1.0, "It was a king.")
    whole, cut = (shown(*told, terse=terse, most=most) for most in (None, 400))
    assert len(whole) > 2000
    assert len(cut) == 400
    assert "first" not in cut
    assert "last" in cut
    assert "It was a king." in cut
    assert terse or cut.endswith("replied: my reply")


REVEALS = [("kuhn_poker", {}), ("negotiation", {}), ("negotiation", {"view": "terse"}), ("bargaining", {}),
           ("bargaining", {"view": "terse"}), ("coalition", {}), ("coalition", {"view": "terse"}), ("auction", {}),
           ("open_minds", {"inner": "coalition"}), ("openspiel/leduc_poker", {}),
           ("openspiel/liars_dice", {})]  # fmt: skip


@pytest.mark.parametrize(("game", "options"), REVEALS)
def test_what_is_told_is_what_the_player_could_not_tell_apart(game: str, options: dict) -> None:
    """Deals that look the same to the player are told apart, and the same deal is told in the same words."""
    table = make(game, seed=3, **options)
    player = table.players_to_move()[0]
    worlds = [table.redealt(player, Dice(number)) for number in range(12)]
    assert len({world.observation(player) for world in worlds}) == 1
    assert len({world.revealed(player) for world in worlds}) > 1
    for world in worlds:
        twins = [other for other in worlds if other.revealed(player) == world.revealed(player)]
        # in an auction the player's own items to come differ, too
        assert len({str(twin.state()) for twin in twins}) == 1 or game == "auction"
        assert world.redealt(player, Dice(1)).revealed(player) == worlds[1].revealed(player)


def test_after_a_covert_episode_the_secret_is_told_and_after_ultimatum_what_was_taken() -> None:
    told = {}
    for seed in range(8):
        channel = make("covert_channel", seed=seed)
        told[channel.payload] = channel.revealed(2)
    assert told.pop(None).startswith("Nothing was hidden; the receiver named none")
    assert told
    assert all(text.startswith(f"The number {secret} was hidden") for secret, text in told.items())
    rounds = play(make("ultimatum", rounds=2), [Scripted("offer 3", "reject"), Scripted("accept", "offer 1")])
    assert rounds.outcome == "finished"
    table = make("ultimatum", rounds=2)
    for player, action in rounds.actions:
        table.apply(player, action)
    assert table.revealed(0) == "Offered were 3 accepted, 1 rejected."


def test_of_a_poker_hand_all_cards_are_told() -> None:
    table = make("openspiel/leduc_poker", seed=1)
    table.apply(0, "Call")
    deals = table.revealed(0).removeprefix("What happened: ").rstrip(".").split("; ")
    assert [deal.split(":")[0] for deal in deals] == ["chance", "chance", "player 1"]
    assert deals[2] == "player 1: Call"
    assert make("openspiel/tic_tac_toe").revealed(0) == ""


@pytest.mark.parametrize("form", ["full", "score", "game", "reply"])
@pytest.mark.parametrize("replies", [(), ("pass", "bet"), ("a.b|c", "(2, 3)")])
@given(data=st.data())
def test_what_has_the_form_can_be_read(form: str, replies: tuple[str, ...], data: st.DataObject) -> None:
    game = make("review", seed=0, form=form, replies=list(replies))
    if form == "reply" and not replies:
        assert game.reply_pattern(0) == ""
        return
    text = data.draw(st.from_regex(game.reply_pattern(0), fullmatch=True))
    try:
        action = game.parse(0, text)
    except UnparsableAction:  # a reply or a reason of white space alone says nothing
        assert re.search(r"(Because|Reply):[\s*`.]*(\n|$)", text)
        return
    game.check(0, action)
    if form == "full" and replies and (said := read_review(action))[0]:
        assert said[2] in replies
    if form == "game" and replies:
        assert {reply for _, _, reply in read_mistakes(action)} <= set(replies)


@pytest.mark.parametrize("replies", [("",), ("a\nb",), ("x",) * 65])
def test_replies_that_are_no_lines_are_refused(replies: tuple[str, ...]) -> None:
    with pytest.raises(OptionError, match="up to 64 lines of text"):
        make("review", replies=list(replies))
