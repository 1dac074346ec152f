"""Where new tokens belong in a tree, "nowhere" included.

At every node that is divided, a new token's profile is made as the members' were: against the node's means, in the
node's space. Its distance to a child is the mean of 1 - cos to its nearest members there, in all features and not only
in the plane of the members, so that what uses other components is far from everything. The distance is compared with
those of the child's own members, each to the others (conformal p-value; Vovk et al. 2005): where every child's is below
``alpha``, the token stays where it is: *nowhere* at the root, an unknown kind of a known behaviour below it. Of
members' own kind about ``alpha`` are turned away at each node.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from palaestra.interp.atlas.profiles import gradient_profiles
from palaestra.interp.atlas.space import Array, unit
from palaestra.interp.atlas.tokens import Tokens
from palaestra.interp.atlas.tree import Node, Tree, smallest_distance

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

NEAREST = 5
ALPHA = 0.05
NOWHERE = "nowhere"


@dataclass(frozen=True, slots=True, eq=False)
class Located:
    """Where n tokens went.

    Attributes:
        nodes: For each token the name of the deepest node that takes it, or ``nowhere``.
        p: For each token the conformal p-value at the root, of the child that takes it best.
        alpha: Below which a token was turned away.
        leaves: Names of nodes without children.
    """

    nodes: tuple[str, ...]
    p: Array
    alpha: float
    leaves: frozenset[str]

    @property
    def nowhere(self) -> float:
        """Return the part of the tokens that belong nowhere."""
        return sum(one == NOWHERE for one in self.nodes) / max(1, len(self.nodes))

    def verdict(self) -> str:
        """Say in a sentence where the data belong."""
        from scipy.stats import binomtest

        count = len(self.nodes)
        away = sum(one == NOWHERE for one in self.nodes)
        chance = binomtest(away, count, self.alpha, alternative="greater").pvalue
        if away > count / 2:
            return f"nowhere: {away} of {count} tokens are like nothing in the tree (p = {chance:.1g})"
        name, most = Counter(one for one in self.nodes if one != NOWHERE).most_common(1)[0]
        place = f"mostly at {name}: {most} of {count} tokens"
        if chance < 0.01:
            return f"in part: {away} of {count} tokens are like nothing in the tree (p = {chance:.1g}); {place}"
        return f"in the tree, {place}; {away} turned away where {self.alpha * count:.0f} of its own kind would be"

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON data."""
        return {
            "verdict": self.verdict(),
            "tokens": len(self.nodes),
            "nowhere": self.nowhere,
            "alpha": self.alpha,
            "nodes": dict(Counter(self.nodes).most_common()),
        }


def locate(
    opened: OpenModel,
    tree: Tree,
    tokens: Tokens,
    *,
    alpha: float = ALPHA,
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> Located:
    """Send tokens down a tree.

    Args:
        opened: The model that the tree is of.
        tree: From `palaestra.interp.atlas.tree.grow`, or read again.
        tokens: New ones.
        alpha: Part of a node's own kind that may be turned away.
        on_batch: Called with the number of tokens done.
    """
    nodes = np.full(len(tokens), NOWHERE, dtype=object)
    first = np.zeros(len(tokens))

    def descend(node: Node, which: np.ndarray) -> None:
        if not len(which) or (node.name != "0" and not node.children):
            return
        assert node.against is not None
        assert node.space is not None
        mine = tokens[which]
        profiles = gradient_profiles(opened, mine, node.against, batch=tree.settings.batch, on_batch=on_batch)
        p = p_values(node, unit(node.space.features(profiles.values, mine)))
        best, likely = p.argmax(1), p.max(1)
        if node.name == "0":
            first[which] = likely
        taken = likely >= alpha
        if not node.children:
            nodes[which[taken]] = node.name
            return
        for number, child in enumerate(node.children):
            here = which[taken & (best == number)]
            nodes[here] = child.name
            descend(child, here)

    descend(tree.root, np.arange(len(tokens)))
    leaves = frozenset(one.name for one in tree.root.walk() if not one.children)
    return Located(tuple(str(one) for one in nodes), first, alpha, leaves)


def p_values(node: Node, features: Array) -> Array:
    """Return the conformal p-value of features [n, p] for each child of a node, or for the node: [n, children or 1].

    Ties go to the nearer child: a part of less than one count is added that falls with distance.
    """
    found = []
    for number in range(max(1, len(node.children))):
        chosen = node.features[node.labels == number] if node.children else node.features
        members: Array = chosen.astype(np.float64)
        own = 1 - members @ members.T
        np.fill_diagonal(own, np.inf)
        near = min(NEAREST, max(1, len(members) - 1))
        calibration = np.partition(own, near - 1, axis=1)[:, :near].mean(1)
        distance = smallest_distance(features, members, near)
        beyond = (calibration[None] >= distance[:, None]).sum(1)
        found.append((1 + beyond) / (1 + len(members)) - 1e-6 * distance)
    return np.stack(found, 1)
