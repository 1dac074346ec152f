"""The tree of behaviours: a group of tokens is divided, and so is every part of it, until nothing passes the tests.

At every node profiles are made anew against means over the node's own tokens, so that what all of them have in common
cancels; words' effects are taken off anew; groups must be stable, tighter than two nulls (`clustering`), and causally
distinct (`causal`). A node that is not divided says which of the tests failed.

A tree lies in a folder as ``tree.json`` (shape, evidence, descriptions) and ``tree.safetensors`` (what locating new
tokens needs, `palaestra.interp.atlas.locate`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from palaestra.interp.atlas.causal import Dissociation, by_component, dissociate
from palaestra.interp.atlas.clustering import LEAST, MOST_GROUPS, Grouping, group
from palaestra.interp.atlas.profiles import Profiles, Reference, gradient_profiles, profile_names, reference
from palaestra.interp.atlas.space import Array, Space, fit_space, unit
from palaestra.interp.atlas.tokens import Floats, Ints, Tokens

if TYPE_CHECKING:
    from palaestra.interp.atlas.storage import Work
    from palaestra.interp.opened import OpenModel

ROOT = "0"
DEEPEST = 4


@dataclass(frozen=True, slots=True)
class Settings:
    """How a tree is grown.

    Attributes:
        lexical: Take off what words explain.
        most_groups: Of one division.
        least: Tokens of the smallest group.
        deepest: Levels below the root.
        causal: Ask for double dissociation.
        batch: Tokens a pass.
        seed: Of everything that is drawn.
    """

    lexical: bool = True
    most_groups: int = MOST_GROUPS
    least: int = LEAST
    deepest: int = DEEPEST
    causal: bool = True
    batch: int = 8
    seed: int = 0


@dataclass(slots=True, eq=False)
class Node:
    """A behaviour.

    Attributes:
        name: ``0`` is the root, ``0.2`` its third part, and so on.
        members: Indices into the atlas's tokens.
        labels: For each member which child it belongs to; -1 without children.
        children: Parts, in the order of labels.
        why: Why it is not divided further, or how it was.
        against: Means over the members.
        space: How profiles become features here.
        features: float32 [n, p] of the members, of length one.
        components: What each head and MLP does on average, in parts of a profile's length, largest first.
        grouping, dissociation: The evidence.
        description: Filled in by `palaestra.interp.atlas.describe`.
    """

    name: str
    members: Ints
    why: str = ""
    labels: Ints = field(default_factory=lambda: np.zeros(0, dtype=np.int64))
    children: list[Node] = field(default_factory=list)
    against: Reference | None = None
    space: Space | None = None
    features: Floats = field(default_factory=lambda: np.zeros((0, 0), dtype=np.float32))
    components: dict[str, float] = field(default_factory=dict)
    grouping: Grouping | None = None
    dissociation: Dissociation | None = None
    description: dict[str, Any] = field(default_factory=dict)

    def walk(self) -> Iterator[Node]:
        """Yield this node and all below it, parents first."""
        yield self
        for child in self.children:
            yield from child.walk()

    def as_json(self) -> dict[str, Any]:
        """Return the node and all below it as JSON data."""
        return {
            "name": self.name,
            "tokens": len(self.members),
            "why": self.why,
            "words_explain": None if self.space is None else round(self.space.explained, 4),
            "components": {name: round(value, 4) for name, value in list(self.components.items())[:12]},
            "counts": [] if self.grouping is None else [one.as_json() for one in self.grouping.counts],
            "dissociation": None if self.dissociation is None else self.dissociation.as_json(),
            "description": self.description,
            "members": self.members.tolist(),
            "labels": self.labels.tolist(),
            "children": [child.as_json() for child in self.children],
        }


@dataclass(slots=True, eq=False)
class Tree:
    """An atlas.

    Attributes:
        root: All of its tokens.
        tokens: n tokens.
        profiles: Theirs, against means over all of them.
        settings: How it was grown.
    """

    root: Node
    tokens: Tokens
    profiles: Profiles
    settings: Settings

    def leaves(self) -> Ints:
        """Return for each token the number of its leaf, leaves being numbered as in `Node.walk`: [n]."""
        found = np.zeros(len(self.tokens), dtype=np.int64)
        for number, node in enumerate(one for one in self.root.walk() if not one.children):
            found[node.members] = number
        return found

    def level(self, depth: int) -> Ints:
        """Return for each token its part where the tree is cut so many levels below the root: [n]."""
        found = np.zeros(len(self.tokens), dtype=np.int64)
        number = 0

        def cut(node: Node, left: int) -> None:
            nonlocal number
            if left and node.children:
                for child in node.children:
                    cut(child, left - 1)
            else:
                found[node.members] = number
                number += 1

        cut(self.root, depth)
        return found


def grow(
    opened: OpenModel,
    tokens: Tokens,
    settings: Settings = Settings(),
    *,
    work: Work | None = None,
    say: Callable[[str], None] = lambda line: None,
    on_batch: Callable[[int], None] = lambda tokens: None,
) -> Tree:
    """Grow a tree over tokens.

    Args:
        opened: The model.
        tokens: From `palaestra.interp.atlas.tokens.choose`.
        settings: How.
        work: Where profiles are kept as soon as they are made, so that growing goes on where it was stopped.
        say: Told what is looked at.
        on_batch: Called with the number of tokens that went through the model.
    """
    root = Node(ROOT, np.arange(len(tokens)))
    first: list[Profiles] = []

    def divide(node: Node, depth: int) -> None:
        say(f"node {node.name}: {len(node.members)} tokens")
        mine = tokens[node.members]

        def make() -> tuple[Reference, Profiles]:
            against = reference(opened, mine, batch=settings.batch, on_batch=on_batch)
            return against, gradient_profiles(opened, mine, against, batch=settings.batch, on_batch=on_batch)

        node.against, profiles = make() if work is None else work.profiled(node.name, make, profile_names(opened))
        if not first:
            first.append(profiles)
        names, parts = by_component(opened, profiles)
        order = np.argsort(-np.abs(parts.mean(0)))
        node.components = {names[at]: float(parts[:, at].mean()) for at in order}
        node.space, features = fit_space(profiles.values, mine, lexical=settings.lexical, seed=settings.seed)
        node.features = unit(features).astype(np.float32)
        node.labels = np.full(len(mine), -1, dtype=np.int64)
        if len(mine) < 2 * settings.least:
            node.why = "too few tokens to divide"
            return
        if depth >= settings.deepest:
            node.why = f"{settings.deepest} levels below the root"
            return
        node.grouping = group(features, node.space, most=settings.most_groups, least=settings.least, seed=settings.seed)
        labels = node.grouping.labels
        if node.grouping.groups == 1:
            node.why = _refusal(node.grouping)
            return
        if settings.causal:
            found = dissociate(
                opened,
                mine,
                profiles,
                node.against,
                labels,
                seed=settings.seed,
                batch=settings.batch,
                on_batch=on_batch,
            )
            node.dissociation = found
            labels = found.merged[labels]
            if labels.max() == 0:
                node.why = f"{node.grouping.groups} groups were stable, but none is causally distinct from the others"
                return
        node.labels = labels
        node.why = f"divided into {labels.max() + 1}"
        for number in range(int(labels.max()) + 1):
            child = Node(f"{node.name}.{number}", node.members[labels == number])
            node.children.append(child)
            divide(child, depth + 1)

    divide(root, 0)
    return Tree(root, tokens, first[0], settings)


def _refusal(found: Grouping) -> str:
    """Say which test no number of groups passed."""
    if not found.counts:
        return "too few tokens to divide"
    tried = f"of 2 to {found.counts[-1].groups} groups"
    stable = [one for one in found.counts if one.stability is not None]
    if stable:
        best = max(stable, key=lambda one: one.stability or 0.0)
        return f"not divided: {tried} the most stable, {best.groups}, have a stability of {best.stability:.2f}"
    if any(one.tightness > max(one.shuffled, one.normal) for one in found.counts):
        return f"not divided: {tried} none are both tighter than the nulls and large enough"
    return f"not divided: {tried} none are tighter than the nulls"


def smallest_distance(features: Array, among: Array, near: int) -> Array:
    """Return the mean distance 1 - cos of rows to their ``near`` nearest rows among others: [n]."""
    distance = 1 - unit(features) @ unit(among).T
    near = min(near, distance.shape[1])
    return np.partition(distance, near - 1, axis=1)[:, :near].mean(1)
