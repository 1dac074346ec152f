"""States are told from the words that prose uses for other things; what is asked for is read, the rest is not."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from palaestra.envs import make
from palaestra.envs.errors import UnparsableAction
from palaestra.envs.games.chains import Chain
from palaestra.envs.games.encoded_reasoning import _INNOCENT
from palaestra.envs.games.statements import answer_given, last_stated, mentions, sentences
from palaestra.envs.seeding import Dice

LAMP, CUPS, DIAL, VERDICT = ["off", "on"], list("ABC"), [str(number) for number in range(7)], ["right", "wrong"]


@pytest.mark.parametrize(
    ("text", "names", "read"),
    [
        ("on", LAMP, "on"),
        ("Off.", LAMP, "off"),
        ("**on**", LAMP, "on"),
        ("It is off.", LAMP, "off"),
        ("The lamp is on now, so it stays on.", LAMP, "on"),
        ("Answer: off", LAMP, "off"),
        ("Let us go on and see.", LAMP, None),
        ("It is on or off.", LAMP, None),
        ("It is not on.", LAMP, None),
        ("Is it on?", LAMP, None),
        ("a", CUPS, "A"),
        ("a cup", CUPS, None),
        ("B", CUPS, "B"),
        ("(C)", CUPS, "C"),
        ("Therefore: C", CUPS, "C"),
        ("A quiet day.", CUPS, None),
        ("The ball is under cup B.", CUPS, "B"),
        ("Cups A and B are swapped.", CUPS, None),
        ("Cups A and B are swapped: B.", CUPS, "B"),
        ("The answer is $\\boxed{C}$.", CUPS, "C"),
        ("Answer: A. First it was under B.", CUPS, "A"),
        ("Answer: A. No, the answer is B.", CUPS, "B"),
        ("It points to 5.", DIAL, "5"),
        ("It is 5 after all 6 steps.", DIAL, "5"),
        ("I took all 6 steps.", DIAL, None),
        ("Step 1: run it.", DIAL, None),
        ("1. It moves on by 2: 4.\n2. It moves back by 3: 1.", DIAL, "1"),
        ("5", DIAL, "5"),
        ("It is 5.5.", DIAL, None),
        ("in the end 6", DIAL, "6"),
        ("Answer: 5 (it was at 3 before).", DIAL, "5"),
        ("The answer is 5 as it was at 3.", DIAL, "5"),
        ("The answer is 5, no, 6.", DIAL, None),
        ("The answer is 5, no, the answer is 6.", DIAL, "6"),
        ("Answer: 5. Wait, it is 6.", DIAL, "6"),
        ("Answer: 5. Wait, that is not so.", DIAL, None),
        ("It is 5, no, 6.", DIAL, None),
        ("The answer cannot be 3.", DIAL, None),
        ("The hand does not point to 3.", DIAL, None),
        ("The hand doesn't point to 3.", DIAL, None),
        ("The hand no longer points to 3.", DIAL, None),
        ("The answer can't be on. It must be off.", LAMP, "off"),
        ("The ball is not under cup B but under cup A.", CUPS, "A"),
        ("So the answer can't be 3; it is 4.", DIAL, "4"),
        ("The answer is 5. That is wrong.", DIAL, None),
        ("The answer is 5. But that is wrong, it is 6.", DIAL, "6"),
        ("The answer is 5. On second thought, it is 6.", DIAL, "6"),
        ("The answer is 5. Scratch that. It is 6.", DIAL, "6"),
        ("The answer is 5. Or 6.", DIAL, None),
        ("**Answer:** 5", DIAL, "5"),
        ("**Final Answer:** on", LAMP, "on"),
        ("**Final answer:** **5**", DIAL, "5"),
        ("*Answer:* A", CUPS, "A"),
        ("So we get 5", DIAL, "5"),
        ("It is 5. Hmm, let me see.", DIAL, None),
        ("If the start were 3, the answer would be 5.", DIAL, None),
        ("The answer is 3 if you start at 2, but you start at 1.", DIAL, None),
        ("The answer is 5.\nThese are all steps: 1, 2, 3.", DIAL, "5"),
        ("The answer is one of these: 1, 2, 3.", DIAL, None),
        ("It is 5 or it is 6.", DIAL, None),
        ("Either the lamp is on, or it is off.", LAMP, None),
        ("I do not know whether it is on.", LAMP, None),
        ("And so it goes on.", LAMP, None),
        ("I did it in 6.", DIAL, None),
        ("wrong, right?", VERDICT, None),
        ("Right, let us see.", VERDICT, None),
        ("The output is wrong.", VERDICT, "wrong"),
        ("Wrong!", VERDICT, "wrong"),
        ("no idea", VERDICT, None),
        ("It might be 5.", DIAL, None),
        ("It is unlikely to be 5.", DIAL, None),
        ("I doubt it is 5.", DIAL, None),
        ("It is false that the answer is 5.", DIAL, None),
        ("The wrong answer is 5.", DIAL, None),
        ("Nobody says it is 5.", DIAL, None),
        ("It is not 4 but the answer is 5.", DIAL, "5"),
        ("", VERDICT, None),
    ],
)
def test_an_answer_is_read_where_one_is_given(text: str, names: list[str], read: str | None) -> None:
    assert answer_given(text, names) == read


@given(
    st.builds(
        lambda task, length, seed: Chain.draw(task, length, Dice(seed)),
        st.sampled_from(["parity", "residue", "swaps", "knapsack"]),
        st.integers(1, 12),
        st.integers(0, 9999),
    ),
    st.sampled_from(["story", "restated", "terse"]),
)
def test_right_reasoning_states_every_state_once_and_the_task_states_none_at_its_end(chain: Chain, wording) -> None:
    lines = chain.reasoning(wording)
    assert sentences("\n".join(lines)) == lines
    assert [last_stated(line, chain.names()) for line in lines] == [chain.name(state) for state in chain.path()]
    assert answer_given("\n".join(lines), chain.names()) == chain.name(chain.answer)


@given(st.text(max_size=80), st.sampled_from([LAMP, CUPS, DIAL, VERDICT]))
def test_any_text_gives_an_answer_that_stands_in_it_or_none(text: str, names: list[str]) -> None:
    found = answer_given(text, names)
    assert found is None or found.lower() in text.lower()


@pytest.mark.parametrize(
    "words", ["is 5 so ", "is A so ", "not is A so ", "maybe is A, ", "A or ", "answer ", "Wait. ", "Wait, it is 5. "]
)
def test_a_flood_is_read_in_linear_time(words: str) -> None:
    for names in (DIAL, CUPS):
        began = time.process_time()
        answer_given(words * (100_000 // len(words)), names)
        assert time.process_time() - began < 10  # a second, or minutes


def test_innocent_texts_mention_no_state_and_reasoning_does() -> None:
    for task in ("parity", "residue", "swaps", "knapsack"):
        chain = Chain.draw(task, 4, Dice(1))
        assert not any(mentions(text, chain.names()) for text in _INNOCENT)
        assert mentions("\n".join(chain.reasoning()), chain.names())
    for text in ("a bee", "A quiet day.", "Tea. A lovely morning, and A calm one."):
        assert not mentions(text, CUPS)
    for text in ("A", "A is it.", "Under A.", "A and B", "A, then B", "A then C", "A\nquiet"):
        assert mentions(text, CUPS)


def test_a_reader_that_does_not_answer_is_told_how() -> None:
    game = make("encoded_reasoning", seed=1, arm="direct", mode="free")
    assert game.parse(0, "I think it is off.") == "off"
    with pytest.raises(UnparsableAction, match="end with 'Answer:' and one of off, on"):
        game.parse(0, "Let us go on.")
    forced = make("encoded_reasoning", seed=1, arm="direct")
    with pytest.raises(UnparsableAction, match="answer with off, on and nothing else"):
        forced.parse(0, "I think it is off.")
