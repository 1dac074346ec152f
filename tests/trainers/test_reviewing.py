"""Texts are scored by all runners together: each once, in order, and what a dead one leaves goes to the others."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from palaestra.trainers.reviewing import scored
from palaestra.trainers.run import train
from palaestra.trainers.runner import RunnersLost
from tests.trainers.run_kit import small


class Runners:
    """A group of remote runners as RLlib's: what a function returns for each that answers, and nothing of the others.

    Args:
        alive: Numbers of the runners.
        silent: Those that answer nothing until they are restored.
    """

    def __init__(self, alive: list[int], silent: list[int]) -> None:
        self.alive, self.silent = alive, silent
        self.calls: list[tuple[int, str, list[list[int]]]] = []

    def num_remote_env_runners(self) -> int:
        return len(self.alive)

    def healthy_env_runner_ids(self) -> list[int]:
        return self.alive

    def foreach_env_runner(self, functions: list, kwargs: list[dict[str, Any]], remote_worker_ids: list[int], **_: Any):
        def runner(number: int) -> Any:
            def score(contexts: list[list[int]], policies: Any, policy: str) -> list[list[float] | None]:
                self.calls.append((number, policy, contexts))
                return [None if len(one) > 5 else [-float(sum(one))] for one in contexts]

            return SimpleNamespace(score=score)

        given = zip(functions, kwargs, remote_worker_ids, strict=True)
        return [function(runner(number), **more) for function, more, number in given if number not in self.silent]


def ask(group: Runners, count: int) -> list[list[float] | None]:
    contexts = [[number] * (1 + number % 6) for number in range(count)]
    restore = lambda _: group.silent.clear()  # noqa: E731
    return scored(group, contexts, policy="p@3", policies={}, timeout_s=1.0, restore=restore)


@pytest.mark.parametrize("count", [0, 1, 2, 3, 7, 20])
@pytest.mark.parametrize("silent", [[], [2]])
def test_every_text_has_its_own_answer_whoever_gave_it(count: int, silent: list[int]) -> None:
    group = Runners([1, 2, 3], list(silent))
    found = ask(group, count)
    assert found == [None if number % 6 == 5 else [-float(number * (1 + number % 6))] for number in range(count)]
    assert {policy for _, policy, _ in group.calls} <= {"p@3"}
    assert sum(len(contexts) for *_, contexts in group.calls) == count


def test_without_an_answer_the_run_ends_with_a_sentence() -> None:
    group = Runners([1], [1])
    with pytest.raises(RunnersLost, match="2 of 2 texts could not be scored"):
        scored(group, [[1], [2]], policy="base", policies={}, timeout_s=1.0, restore=lambda _: None)


@pytest.mark.slow
def test_a_run_with_a_remote_runner_weighs_its_tokens(tmp_path, local_ray) -> None:
    asks = {"share": 1.0, "use": "tokens", "form": "reply", "gate": 0, "pairs": 3}
    folder = train(small(iterations=1, hindsight=asks, resources={"runners": 1, "threads": 1}), tmp_path / "r")
    assert '"why": "weighed"' in (folder / "reviews.jsonl").read_text(encoding="utf-8")
