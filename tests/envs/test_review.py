"""Review: what a reviewer writes is read as far as it says one thing, whatever stands around it, and in linear time."""

import time

import pytest

from palaestra.envs import make
from palaestra.envs.errors import UnparsableAction
from palaestra.envs.games.review import read_review, shown

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


@pytest.mark.parametrize(("text", "score"), [("-2", "-2"), ("3.", "3"), ("Score: +1", "1"), ("2, so 2", "2")])
def test_one_score_is_read(text: str, score: str) -> None:
    assert make("review", form="score").parse(0, text) == score


@pytest.mark.parametrize("text", ["", "2/3", "1.5", "v2", "4", "2 or 3", "9" * 5000])
def test_no_score_or_two_are_refused(text: str) -> None:
    with pytest.raises(UnparsableAction, match="one number from -3 to 3"):
        make("review", form="score").parse(0, text)


@pytest.mark.parametrize("words", ["\n", "mistake ", "mistake:  ", "* ", "1 2 ", "+-", "1."])
def test_a_flood_is_read_in_linear_time(words: str) -> None:
    for form in ("full", "score"):
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
