"""What a run's reviews need of its processes: how likely a policy finds texts, by all runners together, and a critic
that follows the policy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ray.rllib.env.env_runner_group import EnvRunnerGroup

from palaestra.trainers.adapters import AdapterWeights
from palaestra.trainers.hindsight.critic import side_by_side
from palaestra.trainers.hindsight.gate import better
from palaestra.trainers.hindsight.likelihood import Score
from palaestra.trainers.hindsight.stage import Counting, Hindsight, Play
from palaestra.trainers.runner import ATTEMPTS, MatchRunner, RunnersLost


def scored(
    group: EnvRunnerGroup,
    contexts: Sequence[list[int]],
    *,
    policy: str,
    policies: Mapping[str, Any],
    timeout_s: float,
    restore: Callable[[EnvRunnerGroup], object],
) -> list[list[float] | None]:
    """Return a policy's log-probabilities of token sequences, all but each one's first token, in nats; None for one
    that does not fit the model.

    Every runner that is alive scores a share; what a dead or silent one leaves goes to the others.

    Args:
        group: The runners.
        contexts: Token sequences.
        policy: Whose; the runners know the frozen reference as ``base``.
        policies: What runners are to know, by name.
        timeout_s: How long a runner may take.
        restore: Takes runners that were started again back into service.

    Raises:
        RunnersLost: Runners died, and the others could not answer in `ATTEMPTS` rounds.
    """
    call = {"policies": policies, "policy": policy}
    if group.num_remote_env_runners() == 0:
        found: list[list[float] | None] = group.local_env_runner.score(contexts=list(contexts), **call)
        return found
    done: dict[int, list[float] | None] = {}
    for _ in range(ATTEMPTS):
        missing = [number for number in range(len(contexts)) if number not in done]
        healthy = sorted(group.healthy_env_runner_ids())
        if not missing or not healthy:
            break
        parts = [missing[place :: len(healthy)] for place in range(len(healthy))]
        answers = group.foreach_env_runner(
            [_numbered] * len(healthy),
            kwargs=[{"numbers": part, "contexts": [contexts[n] for n in part], **call} for part in parts],
            remote_worker_ids=healthy,
            local_env_runner=False,
            timeout_seconds=timeout_s,
        )
        done |= {number: one for answer in answers for number, one in answer}
        if len(done) < len(contexts):
            restore(group)
    if len(done) < len(contexts):
        raise RunnersLost(
            f"{len(contexts) - len(done)} of {len(contexts)} texts could not be scored: runners died or gave no "
            "answer. See that the machine has memory left; `palaestra resume` goes on from the last checkpoint."
        )
    return [done[number] for number in range(len(contexts))]


def _numbered(runner: MatchRunner, numbers: list[int], **call: Any) -> list[tuple[int, list[float] | None]]:
    return list(zip(numbers, runner.score(**call), strict=True))


def refresh(
    stage: Hindsight,
    weights: AdapterWeights,
    candidate: str,
    *,
    play: Play,
    score: Score,
    refer: Callable[[str, AdapterWeights], None],
) -> int:
    """Let a critic that moves follow the policy, if it may; return the tokens that were sampled to find that out.

    Args:
        stage: Whose critic.
        weights: The policy's.
        candidate: Name under which they are tried out where the critic has a gate.
        play, score: As for `Hindsight.play`.
        refer: Has the runners know weights by a name.
    """
    critic, counting = stage.critic, Counting(play)

    def passes(new: AdapterWeights) -> bool:
        refer(candidate, side_by_side([new]))
        return better(stage.run, counting, score, critic.policy, candidate)

    if critic.refresh(weights, passes):
        renewed = critic.weights()
        assert renewed is not None
        refer(critic.policy, renewed)
    return counting.tokens
