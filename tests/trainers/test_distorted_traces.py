"""Distorted traces: what is measured, on scripted solvers whose scores are known, and what the oracle's rows are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from palaestra.agents import make_seat
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import Scripted, make, play
from palaestra.envs.games.recovery import KINDS
from palaestra.trainers.experiments.distorted_traces import (
    ARMS,
    CLEAN,
    MEASURED,
    PLACES,
    TRAINED,
    config_of,
    demonstrations,
    point,
)
from palaestra.trainers.experiments.framework import Cell
from palaestra.trainers.tasks import training_tasks


def measured(seat: str, **options: Any) -> dict[str, Any]:
    episodes = [play(make("recovery", seed=seed, **{**MEASURED, **options}), [make_seat(seat)]) for seed in range(300)]
    return point([{**one.result, "legal": True} for one in episodes])


def config(arm: str):
    return config_of(Cell("distorted_traces", arm, 0, "cpu", Path("nowhere")), 1)


def test_an_oracle_recovers_everything_and_names_every_error() -> None:
    found = measured("worker:check")
    assert (found["clean"], found["robust"], found["localised"], found["alarm"]) == (1.0, 1.0, 1.0, 0.0)
    assert all(found[kind] == 1.0 for kind in KINDS)
    assert all(found[f"step_{place + 1}"] == 1.0 for place in PLACES)
    again = measured("worker:again")
    assert (again["robust"], again["localised"], again["alarm"]) == (1.0, 0.0, 0.0)
    assert again["length_clean"] == again["length_wrong"] > found["length_clean"]  # all four steps, and "again"


def test_who_goes_on_recovers_from_nothing_that_is_carried_on() -> None:
    found = measured("worker:on")
    assert (found["clean"], found["claim"], found["carried"], found["swapped"]) == (1.0, 1.0, 0.0, 0.0)
    assert (found["copied"], found["localised"]) == (1.0, 0.0)
    carried = measured("worker:on", kinds="carried")
    assert (carried["robust"], carried["clean"]) == (0.0, 1.0)
    assert all(carried[f"step_{place + 1}"] == 0.0 for place in PLACES)
    assert carried["noise"] is None  # there was none


def test_a_guess_raises_alarms_and_a_forfeit_is_neither_right_nor_an_alarm() -> None:
    assert measured("worker:guess")["alarm"] > 0.5
    clean = {"kind": "clean", "place": None, "right": True, "copied": None, "localised": None, "alarm": True}
    lost = {**clean, "right": False, "alarm": True, "legal": False, "characters": 0}
    found = point([{**clean, "legal": True, "characters": 8}, lost])
    assert {key: found[key] for key in ("clean", "alarm", "legal", "length_clean", "robust")} == {
        "clean": 0.5, "alarm": 0.5, "legal": 0.5, "length_clean": 8.0, "robust": None,
    }  # fmt: skip


def test_shares_and_kinds_are_as_the_arms_say() -> None:
    assert "swapped" not in TRAINED
    for arm in ARMS:
        played = config(arm.name).games
        clean = sum(one.weight * one.options.get("clean", 0.0) for one in played if not one.options.get("polluter"))
        assert clean / sum(one.weight for one in played) == (1.0 if arm.name == "clean" else CLEAN)
        assert clean / sum(one.weight for one in played) >= 0.3
    assert config("named").games[0].options["localise"] > 0
    assert config("shuffled").credit.rule == "shuffled"


def test_the_oracles_rows_are_what_a_seat_would_have_read_and_typed() -> None:
    run = config("taught")
    codec = ModelSource.parse("tiny:blank").codec()
    tasks = training_tasks(run, 0, {"recovery": "recovery@0"}, None)[:24]
    rows = demonstrations(run, tasks, codec)
    assert len(rows) == len(tasks)
    for task, row in zip(tasks, rows, strict=True):
        row.check()
        learned = row.stream("ce").member
        game = task.begin()
        assert learned.sum() == row.stream("ce").weight.sum() > 0
        assert np.flatnonzero(learned)[0] == len(row) - learned.sum()  # the reply stands last, in one piece
        context = codec.decode(row.tokens[~learned].tolist())
        assert context.endswith(game.begun(0))  # the error is read and not learned
        reply = codec.decode(row.tokens[learned].tolist()).removesuffix("<|end|>")
        assert play(task.begin(), [Scripted(reply)]).returns == (1.0,)
        assert row.policy == "recovery@0"
