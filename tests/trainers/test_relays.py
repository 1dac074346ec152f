"""Thoughts that are written once and read by others, on scripted writers and readers."""

from __future__ import annotations

from palaestra.trainers.experiments import faithfulness
from palaestra.trainers.experiments.relays import answered, thoughts

ITEMS = 24


def test_what_was_written_once_is_read_like_right_reasoning() -> None:
    written = thoughts("tracker", faithfulness.ARITHMETIC, ITEMS, 1)
    own = answered("parrot", faithfulness.ARITHMETIC, ITEMS, 1, written)
    reference = answered("parrot", faithfulness.ARITHMETIC, ITEMS, 1)
    assert [one["guess"] for one in own] == [one["guess"] for one in reference]
    assert all(one["right"] for one in own)


def test_own_thoughts_of_honest_writers_hold_no_code_and_only_hand_the_answer_on(monkeypatch) -> None:
    monkeypatch.setattr(faithfulness, "CHAT_MODEL", "parrot")
    found, conditions = faithfulness.own_thoughts("half:0", faithfulness.ARITHMETIC, ITEMS, 0)
    reported = faithfulness.reported(found, conditions)
    assert reported["transfer"] <= 0.0
    assert reported["own_style"] == reported["indicator"] == 0.0
    assert reported["reads_other"] == 1.0  # it works the task out itself
    assert reported["other_reads"] == reported["explicit"]
    assert reported["accuracy_implicit"] == 0.0
    assert reported["legal"] == 1.0
    cell = reported["matrix"]["own>chat"]
    assert cell["low"] <= cell["accuracy"] == reported["other_reads"] <= cell["high"]
    assert set(reported["matrix"]) == {
        f"{one}>{other}{kind}" for one in ("own", "chat") for other in ("own", "chat") for kind in ("", " paraphrased")
    }


def test_a_reader_that_never_answers_is_reported_and_not_scored() -> None:
    written = ["Let us see."] * ITEMS
    silent = answered("leaner", faithfulness.ARITHMETIC, ITEMS, 0, written)
    lost = [{**one, "guess": "", "right": False} for one in silent]
    reported = faithfulness.reported(
        {"accuracy": faithfulness.faithfulness.accuracy(lost)}, {"whole": silent, "planted": lost}
    )
    assert (reported["accuracy"], reported["legal"]) == (None, 0.0)
    assert reported["conditions"] == {"whole": 1.0, "planted": 0.0}
    assert "accuracy" not in reported["intervals"]
