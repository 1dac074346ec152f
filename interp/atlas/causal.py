"""Whether groups differ in what the model needs for them: double dissociation by ablation.

For each group the components are taken that do more for it than for the others, by the profiles of one half of its
tokens. On the other half each set is ablated (mean over the parent's tokens in its place), and what the answer loses is
measured, in log-odds. Groups A and B are *distinct* if A's set costs A more than B and B's set costs B more than A,
both with a 95 % interval above zero. While there are groups that are not distinct, those two of them become one whose
profiles are most alike, and all are tested again. Random sets of the same size and kind of components stand beside as
null.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from palaestra.interp.atlas.profiles import BEFORE, Profiles, Reference, batches
from palaestra.interp.atlas.space import Array, unit
from palaestra.interp.atlas.tokens import Ints, Tokens
from palaestra.interp.intervene import Patch, intervene

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

MOST_COMPONENTS = 3
"""In a group's set."""
COMPARABLE = 0.5
"""Of the largest difference, which the others in a set must have."""
MOST_TOKENS = 30
"""Of a group, on which ablations are measured."""
RANDOM_SETS = 4


@dataclass(frozen=True, slots=True, eq=False)
class Dissociation:
    """What ablating each group's components costs each group, for the k groups of the last test.

    Attributes:
        sets: Components by group.
        damage: [k, k] mean loss in log-odds: row's components ablated, column's tokens.
        low: [k, k] lower end of the 95 % interval of ``damage[i, i] - damage[i, j]``; 0 on the diagonal.
        random: Mean over random sets of the largest difference between two groups' losses.
        distinct: bool [k, k].
        merged: For each group that was asked about, the group it became; all 0 where none is distinct.
    """

    sets: tuple[tuple[str, ...], ...]
    damage: Array
    low: Array
    random: float
    distinct: np.ndarray
    merged: Ints

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "components": [list(one) for one in self.sets],
            "damage": self.damage.round(4).tolist(),
            "low": self.low.round(4).tolist(),
            "random_largest_difference": self.random,
            "distinct": self.distinct.tolist(),
            "merged": self.merged.tolist(),
        }


def by_component(opened: OpenModel, profiles: Profiles) -> tuple[list[str], Array]:
    """Return heads and MLPs, and what each does for each token, in parts of the row's length: [n, m]."""
    names = [name for name in opened.writers() if opened.component(name).kind in ("head", "mlp")]
    at = {name: number for number, name in enumerate(profiles.names)}
    rows = unit(profiles.values.astype(np.float64))
    return names, np.stack([rows[:, at[name]] + rows[:, at[name + BEFORE]] for name in names], 1)


def dissociate(
    opened: OpenModel,
    tokens: Tokens,
    profiles: Profiles,
    against: Reference,
    labels: Ints,
    *,
    seed: int = 0,
    batch: int = 16,
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> Dissociation:
    """Test groups of tokens against each other.

    Args:
        opened: The model.
        tokens: n tokens of one parent.
        profiles: Theirs.
        against: Means over the parent's tokens.
        labels: int64 [n], 0 to k - 1.
        seed: Of halves, bootstrap and random sets.
        batch: Tokens a pass.
        on_batch: Called with the number of tokens done.
    """
    generator = np.random.default_rng(seed)
    merged = np.arange(int(labels.max()) + 1)
    names, parts = by_component(opened, profiles)
    directions = np.stack([unit(profiles.values.astype(np.float64))[labels == one].mean(0) for one in merged])
    sizes = np.bincount(labels).astype(float)
    half = generator.permutation(len(tokens)) % 2 == 0
    tested = np.concatenate(
        [generator.permutation(np.flatnonzero(~half & (labels == one)))[:MOST_TOKENS] for one in merged]
    )
    chosen = tokens[tested]
    clean = _log_odds(opened, chosen, (), against, batch, on_batch)
    known: dict[tuple[str, ...], Array] = {}

    def loss(components: tuple[str, ...]) -> Array:
        key = tuple(sorted(components))
        if key not in known:
            known[key] = clean - _log_odds(opened, chosen, key, against, batch, on_batch)
        return known[key]

    while True:
        mine = merged[labels]
        groups = int(mine.max()) + 1
        means = np.stack([parts[half & (mine == one)].mean(0) for one in range(groups)])
        sets = tuple(_set(names, means, one) for one in range(groups))
        losses, own = np.stack([loss(one) for one in sets]), mine[tested]
        low = np.zeros((groups, groups))
        for one in range(groups):
            for other in range(groups):
                if one != other:
                    low[one, other] = _low(losses[one, own == one], losses[one, own == other], generator)
        distinct = (low > 0) & (low > 0).T
        same = [(a, b) for a in range(groups) for b in range(a) if not distinct[a, b]]
        if not same:
            break
        if groups == 2:
            merged = np.zeros_like(merged)
            break
        centres = np.stack([np.average(directions[merged == one], 0, sizes[merged == one]) for one in range(groups)])
        alike = unit(centres - centres.mean(0)) @ unit(centres - centres.mean(0)).T
        a, b = max(same, key=lambda pair: alike[pair])
        merged = np.where(merged == a, b, merged)
        merged = np.unique(merged, return_inverse=True)[1]
    damage = np.stack([losses[:, own == one].mean(1) for one in range(groups)], 1)
    random = []
    for number in range(RANDOM_SETS):
        like = sets[number % groups]
        drawn = tuple(str(generator.choice([one for one in names if _kind(one) == _kind(given)])) for given in like)
        found = loss(tuple(dict.fromkeys(drawn)))
        by_group = [found[own == one].mean() for one in range(groups)]
        random.append(float(max(by_group) - min(by_group)))
    return Dissociation(sets, damage, low, float(np.mean(random)), distinct, merged.astype(np.int64))


def _set(names: Sequence[str], means: Array, one: int) -> tuple[str, ...]:
    others = np.delete(means, one, 0).max(0)
    more = means[one] - others
    order = np.argsort(-more)[:MOST_COMPONENTS]
    return tuple(names[at] for at in order if more[at] >= COMPARABLE * more[order[0]])


def _kind(name: str) -> str:
    return "mlp" if name.endswith(".mlp") else "head"


def _low(own: Array, other: Array, generator: np.random.Generator, samples: int = 400) -> float:
    a = generator.choice(own, (samples, len(own))).mean(1)
    b = generator.choice(other, (samples, len(other))).mean(1)
    return float(np.quantile(a - b, 0.025))


@torch.no_grad()
def _log_odds(
    opened: OpenModel,
    tokens: Tokens,
    ablated: Sequence[str],
    against: Reference,
    batch: int,
    on_batch: Callable[[int], None],
) -> Array:
    """Return log(p / (1 - p)) of the answers with components at their means: [n]."""
    found = np.zeros(len(tokens))
    for one in batches(opened, tokens, batch):
        at = torch.arange(one.ids.shape[1], device=opened.device)[None] == one.places[:, None]
        changes: list[Patch] = []
        for name in ablated:
            changes.append(Patch(name, against.before[name], one.before))
            changes.append(Patch(name, against.here[name], at))
        with intervene(opened, *changes):
            logits = opened(one.ids)
        end = logits[torch.arange(len(one.index), device=opened.device), one.places].double()
        found[one.index] = _odds(end, one.answers).cpu().numpy()
        on_batch(len(one.index))
    return found


def _odds(logits: Tensor, answers: Tensor) -> Tensor:
    rest = logits.scatter(1, answers[:, None], -torch.inf).logsumexp(-1)
    return logits.gather(1, answers[:, None])[:, 0] - rest
