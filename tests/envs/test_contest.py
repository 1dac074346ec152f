"""Contests: votes in both orders, abstentions, privacy, conditions that a program checks, and hostile answers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import RandomSeat, Reply, Scripted, make, play
from palaestra.envs.conformance import CLAUSES, check_game
from palaestra.envs.errors import OptionError, UnknownName
from palaestra.envs.games.contest import Contest
from palaestra.envs.games.contest_tasks import Task, _judges, constraints, drawn_task, holds, parse_task, register_judge
from palaestra.envs.seeding import Dice


class Prefers:
    """Judges by whether an answer holds a word; else says ``otherwise``."""

    def __init__(self, word: str, otherwise: str = "tie") -> None:
        self.name, self.word, self.otherwise = "prefers", word, otherwise

    async def act(self, view) -> Reply:
        first, second = view.knowledge()["answers"]
        if (self.word in first) == (self.word in second):
            return Reply(self.otherwise)
        return Reply("first" if self.word in first else "second")


def contest(first: str, second: str, *judges, **options):
    game = make("contest", judges=len(judges), **options)
    seats = [Scripted(first), Scripted(second), *(seat for judge in judges for seat in (judge, judge))]
    return play(game, seats)


def test_a_judge_that_sees_the_difference_votes_alike_in_both_orders() -> None:
    episode = contest("a good answer", "a bad answer", Prefers("good"))
    assert episode.returns == (1.0, -1.0, 0.0, 0.0)
    assert episode.result["verdicts"] == ["first", "second"]
    assert (episode.result["votes"], episode.result["consistent"], episode.result["first_rate"]) == ([1.0], 1.0, 0.5)
    assert contest("a bad answer", "a good answer", Prefers("good")).returns == (-1.0, 1.0, 0.0, 0.0)


@pytest.mark.parametrize("always", ["first", "second"])
def test_a_judge_that_goes_by_position_decides_nothing_and_is_found_out(always: str) -> None:
    episode = contest("x", "y", Prefers("good", always))
    assert episode.returns == (0.0, 0.0, 0.0, 0.0)
    assert episode.result["tie"]
    assert episode.result["consistent"] == 0.0
    assert episode.result["first_rate"] == (1.0 if always == "first" else 0.0)


def test_the_vote_of_many_decides_and_their_agreement_is_reported() -> None:
    episode = contest("good and long", "kind", Prefers("good"), Prefers("long"), Prefers("kind"))
    assert episode.result["votes"] == [1.0, 1.0, -1.0]
    assert episode.result["agreement"] == pytest.approx(1 / 3)
    assert episode.returns is not None
    assert episode.returns[:2] == (1.0, -1.0)


def test_a_judge_that_fails_to_answer_abstains() -> None:
    mute = Scripted("hm", "hm", "hm")
    game = make("contest", judges=2)
    seats = [Scripted("good"), Scripted("bad"), mute, Prefers("good"), Prefers("good"), Prefers("good")]
    episode = play(game, seats)
    assert episode.outcome == "finished"
    assert episode.result["verdicts"] == [None, "second", "first", "second"]
    assert episode.result["votes"] == [1.0]
    nobody = play(make("contest"), [Scripted("good"), Scripted("bad"), *(Scripted("?", "?", "?") for _ in range(2))])
    assert nobody.returns == (0.0, 0.0, 0.0, 0.0)


def test_a_writer_that_fails_to_answer_has_lost() -> None:
    episode = play(make("contest"), [Scripted("", " ", ""), Scripted("yes"), RandomSeat(), RandomSeat()])
    assert (episode.outcome, episode.returns) == ("forfeit", (-1.0, 1.0, 0.0, 0.0))
    long = play(make("contest", max_answer=5), [Scripted(*["123456"] * 3), Scripted("yes"), RandomSeat(), RandomSeat()])
    assert long.turns[0].attempts[0].reason == "your answer has 6 characters; at most 5 are allowed."


def test_nobody_is_told_who_wrote_what_nor_what_the_other_writes() -> None:
    game = Contest(seed=4)
    before = game.observation(1)
    game.apply(0, "the secret answer")
    assert game.observation(1) == before
    assert "being written" in game.board(2)
    game.apply(1, "another answer")
    assert "the secret answer" not in game.observation(1)
    assert game.board(2).index("secret") < game.board(2).index("another")
    assert game.board(3).index("another") < game.board(3).index("secret")
    assert game.log == []


@given(st.text(min_size=1, max_size=200))
def test_no_line_of_an_answer_looks_like_the_games_own(text: str) -> None:
    game = Contest(seed=1, max_answer=500)
    answer = text.encode("utf-8", "replace").decode().strip()
    if not answer:
        return
    game.apply(0, game.parse(0, text))
    game.apply(1, "plain")
    lines = game.board(2).splitlines()
    start, end = lines.index("First answer:"), lines.index("Second answer:")
    assert all(line.startswith("| ") for line in lines[start + 1 : end])
    assert lines[end:] == ["Second answer:", "| plain", "Which is better: first, second or tie?"]
    assert len(game.observation(2)) <= game.facts.max_observation_chars


@pytest.mark.parametrize(
    ("condition", "answer", "worth"),
    [
        (("words", "=", "3"), "one two three", 1.0),
        (("words", "=", "3"), "one two", 0.25),
        (("words", "<=", "2"), "one two three four", 0.5 / 3),
        (("words", ">=", "5"), "a b c d e f", 1.0),
        (("lines", "=", "2"), "a\nb", 1.0),
        (("contains", "=", "Sea"), "by the sea", 1.0),
        (("without", "=", "e"), "Elephant", 0.0),
        (("begins", "=", "once"), "Once upon", 1.0),
        (("ends", "=", "?"), "is it?", 1.0),
    ],
)
def test_conditions(condition: tuple, answer: str, worth: float) -> None:
    assert holds(condition, answer) == pytest.approx(worth)


def test_a_program_judges_by_the_conditions_of_the_task() -> None:
    tasks = "# a comment\nSay it in two words. ## words=2; without=x\n"
    options = {"judges": 0, "program": "constraints", "tasks": tasks}
    episode = play(make("contest", **options), [Scripted("ab cd"), Scripted("a b x")])
    assert episode.returns == (1.0, -1.0)
    assert episode.result["task"] == "Say it in two words."
    same = play(make("contest", **options), [Scripted("ab cd"), Scripted("e f")])
    assert same.returns == (0.0, 0.0)


@given(st.integers(0, 10**6))
def test_a_drawn_task_can_be_done(seed: int) -> None:
    task = drawn_task(Dice(seed))
    words, contains, without = (value for _, _, value in task.conditions)
    letter = next(one for one in "aeiou" if one != without)
    answer = " ".join([contains, *[letter] * (int(words) - 1)])
    assert sum(holds(one, answer) for one in task.conditions) == 3.0
    assert constraints(task, answer, "no") > 0


def test_programs_can_be_registered() -> None:
    def louder(task: Task, first: str, second: str) -> float:
        return sum(map(str.isupper, first)) - sum(map(str.isupper, second))

    register_judge("louder", louder)
    try:
        episode = play(make("contest", judges=0, program="louder"), [Scripted("YES"), Scripted("no")])
        assert episode.returns == (1.0, -1.0)
        with pytest.raises(ValueError, match="registered already"):
            register_judge("louder", constraints)
    finally:
        _judges._found.pop("louder")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"judges": 0}, "either judges sit at the table or a program judges"),
        ({"program": "constraints"}, "either judges"),
        ({"judges": 0, "program": "constraint"}, "Did you mean 'constraints'"),
        ({"tasks": "a\nb ## words=x"}, "tasks, line 2: 'words=x' is no condition"),
        ({"tasks": "# nothing"}, "tasks: there are 0"),
        ({"judges": 6}, "expected 0 to 5"),
        ({"max_answer": 0}, "max_answer is 0"),
    ],
)
def test_impossible_options_are_refused(options: dict, told: str) -> None:
    with pytest.raises((OptionError, UnknownName), match=told):
        make("contest", **options)
    with pytest.raises(ValueError, match="takes = only"):
        parse_task("x ## contains<=3")


@pytest.mark.parametrize("options", [{}, {"judges": 0, "program": "brevity"}, {"judges": 3, "max_answer": 30}])
def test_the_contract_holds(options: dict) -> None:
    clauses = set(CLAUSES) - {"privacy"}  # compared with one task and short answers
    assert check_game("contest", episodes=3, interleaved=5, clauses=clauses, **options).finished == 3
