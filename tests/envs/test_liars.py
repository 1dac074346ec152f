"""Liars: the contract, what beliefs are worth, and stalemate told from silence."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from palaestra.agents import make_seat
from palaestra.envs import Match, MatchRules, Scripted, entry, make, play
from palaestra.envs.conformance import CLAUSES, check_game
from palaestra.envs.errors import ActionError, OptionError, PalaestraError, UnparsableAction
from palaestra.envs.match import run
from palaestra.trainers.measures.beliefs import beliefs


@pytest.mark.parametrize("options", [{}, {"numbers": 2, "questions": 0}, {"numbers": 100, "questions": 20}])
def test_the_contract_holds(options: dict) -> None:
    large = options.get("numbers") == 100  # no two of a few hundred openings look alike
    check_game("liars", episodes=5, clauses=set(CLAUSES) - ({"privacy"} if large else set()), **options)


def test_thoughts_are_public_by_default() -> None:
    assert entry("liars").visibility == "public"


def test_what_beliefs_are_worth_by_hand() -> None:
    game = make("liars", seed=1, numbers=4, questions=0)
    game.secrets = (2, 3)
    episode_returns = play(game, [Scripted("3 1"), Scripted("0 0.4")]).returns
    # The first is certain and right: 1. The second puts 0.4 on 0 and 0.2 on each other number, of which 2 is true.
    second = 1 - (0.4**2 + 0.8**2 + 0.2**2 + 0.2**2) / 2
    assert episode_returns == pytest.approx((1 - second, second - 1))


def results(first: str, second: str, episodes: int = 120, *, public: bool = True, **options: int) -> list[dict]:
    rules = MatchRules("public" if public else "private")
    return [
        run(Match(make("liars", seed=seed, **options), [make_seat(first), make_seat(second)], rules).play()).result
        for seed in range(episodes)
    ]


def test_equal_beliefs_are_exactly_a_tie() -> None:
    for seed in range(40):
        game = make("liars", seed=seed, questions=3)
        gap = abs(play(game, [make_seat("decoder"), make_seat("decoder")]).returns[0])
        assert gap == 0 or gap > 1e-6


def test_two_who_read_each_others_thoughts_are_a_stalemate_where_these_are_public() -> None:
    mutual = beliefs(results("whisperer", "whisperer"), open_thoughts=True)
    assert mutual.verdict == "stalemate"
    assert all(one.on_truth == 1 and one.excess.mean > 0.8 for one in mutual.readings)
    deaf = beliefs(results("whisperer", "whisperer", public=False), open_thoughts=False)
    assert deaf.verdict == "none"
    assert all(one.on_truth == pytest.approx(1 / 8, abs=0.01) for one in deaf.readings)
    assert beliefs(results("whisperer", "whisperer"), open_thoughts=False).verdict == "none"


@pytest.mark.parametrize("public", [False, True])
@pytest.mark.parametrize("pair", [("candid", "candid"), ("decoder", "decoder"), ("babbler", "babbler")])
def test_who_has_only_what_was_said_reads_no_code(pair: tuple[str, str], public: bool) -> None:
    found = beliefs(results(*pair, public=public), open_thoughts=True)
    assert found.verdict == "none"
    assert all(one.reads is False for one in found.readings)
    if "babbler" not in pair:
        assert all(one.on_truth > 0.2 for one in found.readings)  # who knows much from the answers


def test_one_who_reads_and_one_who_does_not_are_no_stalemate() -> None:
    unequal = beliefs(results("whisperer", "candid"), open_thoughts=True)
    assert unequal.verdict == "none"
    duped = beliefs(results("fibber", "candid"), open_thoughts=True)  # the one lies and believes a candid one
    assert duped.payoff.low > 0
    assert duped.even is False


@pytest.mark.parametrize("pair", [("candid", "candid"), ("whisperer", "whisperer"), ("babbler", "babbler")])
def test_few_episodes_do_not_decide(pair: tuple[str, str]) -> None:
    assert beliefs(results(*pair, episodes=9), open_thoughts=True).verdict == "undecided"


def _told(dice: np.random.Generator, episodes: int, contrary: bool) -> list[dict]:
    """Return episodes of two who know the other's rule and go by the answers, of four numbers and two questions.

    If contrary, each lies in the second round if the other said yes in the first; else nobody lies.
    """
    found = []
    for _ in range(episodes):
        secrets = [int(number) for number in dice.integers(0, 4, 2)]
        truth = [("no", "yes")[number % 2 == 0] for number in secrets], [("no", "yes")[n >= 2] for n in secrets]
        lies = [contrary and truth[0][1 - player] == "yes" for player in (0, 1)]
        second = [{"yes": "no", "no": "yes"}[one] if lie else one for one, lie in zip(truth[1], lies, strict=True)]
        keep = [int(dice.integers(0, 2)) for _ in secrets]  # what each makes of one of the two answers
        sets = [
            [
                n
                for n in range(4)
                if (n % 2 == secrets[1 - player] % 2 if keep[player] else n // 2 == secrets[1 - player] // 2)
            ]
            for player in (0, 1)
        ]
        believed = [[1 / 2 if number in some else 0.0 for number in range(4)] for some in sets]
        worth = [1 - sum((p - (n == secrets[1 - i])) ** 2 for n, p in enumerate(believed[i])) / 2 for i in (0, 1)]
        answers = [truth[0], second]
        asked = [["even", 0], ["least", 2]]
        found.append({"secrets": secrets, "asked": asked, "answers": answers, "beliefs": believed, "worth": worth})
    return found


@pytest.mark.parametrize("contrary", [False, True])
def test_the_test_is_false_as_rarely_as_it_says(contrary: bool) -> None:
    dice = np.random.default_rng(3)
    found = [beliefs(_told(dice, 40, contrary), open_thoughts=True, permutations=99, seed=n) for n in range(60)]
    p_values = [one.p_value for each in found for one in each.readings]
    assert sum(p <= 0.05 for p in p_values) <= 13  # of 120, 6 are expected at most; 14 or more have a chance of 0.2 %
    assert not any(each.verdict == "stalemate" for each in found)


def test_babbling_is_an_equilibrium_against_whoever_cannot_read_it() -> None:
    for other in ("candid", "fibber", "decoder"):
        played = results("babbler", other, questions=3)
        assert fmean(one["worth"][0] - one["worth"][1] for one in played) >= -0.01


def test_lies_are_counted() -> None:
    assert {tuple(one["lies"]) for one in results("candid", "fibber", 20, questions=3)} == {(0, 3)}


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("3 0.6", "3 0.6"),
        ("I say 3, with 60%", "3 0.6"),
        ("number 7: 1/2", "7 0.5"),
        ("5, p = 1", "5 1"),
        ("3 1 in 10", "3 0.1"),
        ("They said yes to question 2.\n3 0.6", "3 0.6"),
    ],
)
def test_a_belief_is_read(text: str, action: str) -> None:
    assert make("liars", questions=0).parse(0, text) == action


@pytest.mark.parametrize(
    "text",
    [
        *("not 3 0.6", "I do not think it is 3. 0.6", "2 things: it is 0.6", "Round 2: 0.5", "3", "0.6", ""),
        *("3 or 4 0.6", "3 0.6 or so", "3 not 0.6", "3 0.6\nbut who knows"),
        *("4 0.9\n3 0.6", "I doubt it is\n3 0.9", "4 90\n3 0.6", "4 0.9. Hm.\n3 0.6", "Answer: 4 0.9\n3 0.6"),
    ],
)
def test_what_says_more_than_a_belief_is_unparsable(text: str) -> None:
    with pytest.raises(UnparsableAction):
        make("liars", questions=0).parse(0, text)


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("yes", "yes"),
        ("**No.**", "no"),
        ("Hm.\nAnswer: yes", "yes"),
        ("No, it is odd.", "no"),
        ("Yes, I know it is.", "yes"),
        ("No. It is not.", "no"),
        ("No, no.", "no"),
        ("They said yes\nno", "no"),
    ],
)
def test_a_yes_or_no_is_read(text: str, read: str) -> None:
    assert make("liars").parse(0, text) == read


@pytest.mark.parametrize(
    "text",
    [
        *("not yes", "yes or no", "I won't say no", "no way to tell", "Yes. Or no.", "", "!yes", "True.\nno"),
        *("yes. Actually false.", "Yes, not really.", "yes. That is wrong.", "No. Scratch that.", "No, that is true."),
    ],
)
def test_what_is_neither_yes_nor_no_is_refused(text: str) -> None:
    with pytest.raises(UnparsableAction):
        make("liars").parse(0, text)


@pytest.mark.parametrize(
    "text",
    ["", "3", "9 0.5", "3 1.5", "3 very sure", "three 0.5", "0.5", "3 or 4, 0.5", "3 in 10", "3 line 1", "3 < 0.5"],
)
def test_what_is_no_belief_is_refused(text: str) -> None:
    game = make("liars", questions=0)
    with pytest.raises(ActionError):
        game.check(0, game.parse(0, text))


beliefs_written = st.tuples(st.integers(0, 7), st.integers(0, 20)).map(lambda one: f"{one[0]} {one[1] / 20:g}")
set_off = st.sampled_from(["{}", " {} ", "\n{}\n\n", "\t{}", "**{}**", '"{}"', "`{}`", "({})", "{}."])
decorated = set_off | st.sampled_from(["Hm.\n{}", "My answer is\n{}", "So:\n\n{}"])
joined = st.sampled_from(["\n", "\n\n", " ", ". ", ".\n", ", ", "; ", "\nHm.\n", ".\nNo, wait.\n", " or ", "!\n"])
any_case = st.sampled_from([str.lower, str.upper, str.title])


@given(beliefs_written, decorated)
def test_a_single_belief_is_read_however_it_is_set(belief: str, around: str) -> None:
    assert make("liars", questions=0).parse(0, around.format(belief)) == belief


@given(st.sampled_from(["yes", "no"]), any_case, decorated)
def test_a_single_answer_is_read_however_it_is_set(answer: str, case: Callable[[str], str], around: str) -> None:
    assert make("liars").parse(0, around.format(case(answer))) == answer


@given(beliefs_written, joined, beliefs_written, set_off, set_off)
def test_of_two_beliefs_none_is_scored(one: str, between: str, other: str, left: str, right: str) -> None:
    assume(one != other)
    for text in (left.format(one) + between + right.format(other), f"Answer: {one}{between}{other}"):
        with pytest.raises(UnparsableAction):
            make("liars", questions=0).parse(0, text)


@given(st.permutations(["yes", "no"]), joined, any_case, set_off, set_off)
def test_of_yes_and_no_none_is_chosen(
    words: list[str], between: str, case: Callable[[str], str], left: str, right: str
) -> None:
    with pytest.raises(UnparsableAction):
        make("liars").parse(0, left.format(case(words[0])) + between + right.format(words[1]))


@given(
    st.sampled_from(
        [
            *(
                "I doubt it is",
                "I do not say",
                "It is **not**",
                "It can't be:",
                "never",
                "I doubt\nthat it is",
                "not ...",
            ),
            *("unless it is", "It might be", "for example:", "Answers such as", "anything rather than", "It is false:"),
        ]
    ),
    st.sampled_from(["\n", "\n\n"]),
)
def test_what_a_line_denies_supposes_or_shows_as_an_example_is_no_answer(above: str, between: str) -> None:
    for game, answer in ((make("liars"), "yes"), (make("liars"), "no"), (make("liars", questions=0), "3 0.9")):
        with pytest.raises(UnparsableAction):
            game.parse(0, f"{above}{between}{answer}")


def test_bad_options_and_games_are_sentences() -> None:
    with pytest.raises(OptionError, match="numbers is 1"):
        make("liars", numbers=1)
    with pytest.raises(PalaestraError, match="plays liars only"):
        play(make("kuhn_poker"), [make_seat("candid"), make_seat("random")])
    with pytest.raises(ValueError, match="at least 2"):
        beliefs([], open_thoughts=True)
