"""What changed between base and adapter, in short: the end of a run's report, in seconds.

It is read off the first decisions of games that the run recorded after training: the tokens that the policy was shown,
and the distribution of the first token of its reply. What a stretch of layers does is measured by switching the adapter
off in it.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from palaestra.envs.errors import ReplayError
from palaestra.envs.replay import read_replay
from palaestra.interp.diff.pair import adapter_pair
from palaestra.interp.errors import InterpError
from palaestra.interp.figures import bars
from palaestra.interp.importance.scores import bootstrap
from palaestra.interp.opened import OpenModel, open_model
from palaestra.interp.prompts import Prompts
from palaestra.interp.report import Figure, Part, Table, Text, bracket

DECISIONS = 8
LONGEST = 256
"""Tokens of a context; longer ones are passed over."""
STRETCHES = 6
"""Of layers, in which the adapter is switched off in turn: a pass each."""
SHOWN = 6
"""Tokens, those whose probability changed most."""


def brief(run: Path, base: str, adapter: Path) -> list[Part]:
    """Return what an adapter changed, by layers and by what is said first, on decisions that the run recorded.

    Raises:
        InterpError: The run recorded no short decisions, or the adapter cannot be opened.
    """
    contexts = first_contexts(run / "replays" / "after")
    opened = open_model(f"{base}@{adapter}")
    prompts = Prompts.of(contexts, [[0]] * len(contexts))
    after = _first(opened, prompts)
    pair = adapter_pair(opened, None, "default")
    if not pair.modules:
        raise InterpError(f"{adapter} changes no weight of {base}, so there is nothing to compare.")
    with pair.before():
        before = _first(opened, prompts)
    lost = []
    stretches = _stretches(pair.modules)
    for chosen in stretches.values():
        with pair.after(set(pair.modules) - set(chosen)):
            lost.append(_divergence(after, _first(opened, prompts)))
    by_stretch = torch.stack(lost, 1)
    intervals = bootstrap(by_stretch).tolist()
    means = by_stretch.mean(0).tolist()
    whole = _divergence(after, before)
    low, high = bootstrap(whole[:, None])[0].tolist()
    moved = (after.exp() - before.exp()).mean(0)
    order = moved.abs().topk(SHOWN).indices.tolist()
    return [
        Text(
            f"At the first token of {len(contexts)} recorded replies the adapter's distribution differs from the "
            f"base's by {bracket(float(whole.mean()), low, high)} nats."
        ),
        Table(
            ("first token", "base", "adapter"),
            [
                (
                    repr(opened.text([one])[0]),
                    f"{float(before[:, one].exp().mean()):.2f}",
                    f"{float(after[:, one].exp().mean()):.2f}",
                )
                for one in order
            ],
            "Mean probability; the tokens that changed most.",
        ),
        Figure(
            bars(
                "What switching the adapter off in some layers changes",
                "nats",
                {name: (mean, *span) for name, mean, span in zip(stretches, means, intervals, strict=True)},
            ),
            "KL divergence from the trained policy, with 95 % bootstrap intervals over these decisions. "
            "`palaestra interp diff` looks closer.",
        ),
    ]


def _stretches(modules: Sequence[str]) -> dict[str, list[str]]:
    """Return the modules by stretches of layers, such as ``L0 to L4``; those outside of layers are ``tables``."""
    where = {name: int(name[1:].partition(".")[0]) for name in modules if name[0] == "L"}
    layers = sorted(set(where.values()))
    found = {}
    for part in torch.tensor(layers).tensor_split(min(STRETCHES, len(layers))) if layers else ():
        stretch = part.tolist()
        called = f"L{stretch[0]} to L{stretch[-1]}" if len(stretch) > 1 else f"L{stretch[0]}"
        found[called] = [name for name, layer in where.items() if layer in stretch]
    if outside := [name for name in modules if name not in where]:
        found["tables"] = outside
    return found


def first_contexts(replays: Path) -> list[list[int]]:
    """Return what the policy had been shown at its first reply of recorded games: different contexts, short ones.

    Raises:
        InterpError: There are none.
    """
    found: dict[tuple[int, ...], None] = {}
    for path in sorted(replays.glob("*.jsonl")):
        if len(found) == DECISIONS:
            break
        try:
            episode = read_replay(path).episode
        except ReplayError:
            continue
        for turn in episode.turns:
            record = turn.attempts[0].reply.tokens if turn.attempts else None
            if record is not None and 1 < len(record.context) <= LONGEST:
                found.setdefault(record.context)
                break
    if not found:
        raise InterpError(
            f"no game of at most {LONGEST} tokens up to the first reply was recorded in {replays}, so there is nothing "
            "to compare base and adapter on."
        )
    return [list(one) for one in found]


def _first(opened: OpenModel, prompts: Prompts) -> Tensor:
    """Return log-probabilities of the first token of each reply: [B, V]."""
    size = opened.fitting(len(prompts), prompts.ids.shape[1])
    return torch.cat([some.at_end(opened(some.ids)).float().log_softmax(-1) for some in prompts.batches(size)])


def _divergence(a: Tensor, b: Tensor) -> Tensor:
    """Return KL(a || b) in nats: [B]."""
    return (a.exp() * (a - b)).sum(-1)
