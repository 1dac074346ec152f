"""The atlas examined on planted models: does it find the mechanisms, and nothing where there is nothing?

Each model (written by hand, or trained) is asked for its atlas over sentences in several vocabularies; leaves are
compared with the planted mechanisms by the adjusted Rand index (ARI), beside what groups of bags of words, of final
hidden states and of direct contributions say for the right number of groups. A planted family with two members is
*recovered* as well as the node that is most like it is (Jaccard index of tokens). Components that an ablation found to
matter to a leaf are compared with the planted circuit. Then other data are located: the same mechanisms again, in a
vocabulary the atlas has not seen, and a mechanism that it has not seen. Nulls: the same profiles with each column
shuffled, and a model of random weights.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from palaestra.interp.atlas.clustering import fit, group
from palaestra.interp.atlas.describe import describe
from palaestra.interp.atlas.locate import locate
from palaestra.interp.atlas.planted import CIRCUITS, CUE_READER, FAMILY, KNOWN, LEAVES, UNKNOWN, Grammar, hand_built
from palaestra.interp.atlas.profiles import batches
from palaestra.interp.atlas.space import Array, compressed, counted, fit_space, unit
from palaestra.interp.atlas.tokens import Ints, Tokens, choose
from palaestra.interp.atlas.tree import Settings, Tree, grow
from palaestra.interp.capture import capture
from palaestra.interp.opened import OpenModel

SEEN = (0, 1, 2)
"""Vocabularies of the atlas; the last of the grammar is left for later."""


def grammar() -> Grammar:
    """Return the grammar of the planted models: three vocabularies for the atlas and one beside them."""
    return Grammar(vocabularies=len(SEEN) + 1, words=6)


def by_hand(words: Grammar, seed: int = 0) -> OpenModel:
    """Open the model whose weights are written down."""
    return OpenModel(hand_built(words, seed=seed).requires_grad_(False), words.codec(), "written by hand")


def at_random(words: Grammar, seed: int = 0) -> OpenModel:
    """Open a model of the trained one's shape with random weights."""
    from palaestra.interp.atlas.planted import shape
    from palaestra.interp.atlas.planted_training import HEAD_WIDTH, HIDDEN, INNER

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = shape(words, HIDDEN, HEAD_WIDTH, INNER)
    return OpenModel(model.requires_grad_(False), words.codec(), "random weights")


def examine(
    opened: OpenModel,
    words: Grammar,
    *,
    sentences: int = 600,
    others: int = 120,
    seed: int = 0,
    settings: Settings | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> tuple[dict[str, Any], Tree]:
    """Examine the atlas of one planted model; see the module's text.

    Returns:
        Figures, as JSON data, and the tree.
    """
    from sklearn.metrics import adjusted_rand_score

    settings = settings or Settings(seed=seed)
    start = time.perf_counter()
    texts, asked, vocabulary = words.asked(sentences, 2 * seed + 1, vocabularies=SEEN)
    tokens, counts = choose(opened, texts, count=sentences, order=2, seed=seed)
    read = time.perf_counter() - start
    tree = grow(opened, tokens, settings, say=say)
    grown = time.perf_counter() - start - read
    describe(opened, tree, seed)
    leaf, spoken = asked[tokens.row], vocabulary[tokens.row]
    family = np.array(FAMILY)[leaf]
    leaves = tree.leaves()

    def score(truth: Ints, found: Ints) -> float:
        return float(adjusted_rand_score(truth, found))

    baselines = {}
    for name, points in (
        ("bag_of_words", counted(tokens, np.arange(words.size))),
        ("hidden_state", unit(hidden(opened, tokens))),
        ("direct", _centred(compressed(tokens.direct))),
        ("profiles_without_tests", _centred(compressed(tree.profiles.values))),
    ):
        known = fit(points, len(KNOWN), seed)[0]
        families = fit(points, len(set(FAMILY[:-1])), seed)[0]
        baselines[name] = {
            "mechanism": score(leaf, known),
            "family": score(family, families),
            "vocabulary": score(spoken, fit(points, len(SEEN), seed)[0]),
        }
    found = {
        "model": opened.name,
        "seed": seed,
        "tokens": len(tokens),
        "counts": counts,
        "ari_mechanism": score(leaf, leaves),
        "ari_vocabulary": score(spoken, leaves),
        "leaves": int(leaves.max()) + 1,
        "mechanisms": len(KNOWN),
        "families": {name: nearest(tree, family == number) for number, name in enumerate("ABCD")},
        "baselines": baselines,
        "circuits": circuits(tree, leaf),
        "descriptions": _descriptions(tree),
        "seconds": {"read": read, "grown": grown},
    }
    found["located"] = located = {}
    last = words.vocabularies - 1
    for name, where, which in (
        ("same", SEEN, KNOWN),
        ("other_vocabulary", (last,), KNOWN),
        ("unknown_mechanism", SEEN, (UNKNOWN,)),
    ):
        texts, asked, _ = words.asked(others, 2 * seed + 1001, vocabularies=where, leaves=which)
        new, _ = choose(opened, texts, count=others, order=2, seed=seed)
        placed = locate(opened, tree, new)
        majority = {
            node.name: np.bincount(leaf[node.members], minlength=len(LEAVES)).argmax() for node in tree.root.walk()
        }
        at_leaf = [name in placed.leaves for name in placed.nodes]
        right = [
            name in placed.leaves and majority[name] == truth
            for name, truth in zip(placed.nodes, asked[new.row], strict=True)
        ]
        located[name] = {
            **placed.as_json(),
            "right_leaf": float(np.mean(right)),
            "right_of_placed": float(np.sum(right) / max(1, np.sum(at_leaf))),
        }
    found["null_shuffled"] = shuffled(tree, settings)
    return found, tree


def shuffled(tree: Tree, settings: Settings) -> dict[str, Any]:
    """Return how many groups are found when every column of the profiles is shuffled."""
    generator = np.random.default_rng(settings.seed)
    values = generator.permuted(tree.profiles.values, axis=0)
    space, features = fit_space(values, tree.tokens, lexical=settings.lexical, seed=settings.seed)
    grouping = group(features, space, most=settings.most_groups, least=settings.least, seed=settings.seed)
    return {"groups": grouping.groups, "tried": len(grouping.counts)}


def random_weights(
    words: Grammar, *, sentences: int = 300, seed: int = 0, settings: Settings | None = None
) -> dict[str, Any]:
    """Return how far a model of random weights is divided, its tokens being taken whatever they cost."""
    opened = at_random(words, seed)
    texts, _, _ = words.asked(sentences, 2 * seed + 1, vocabularies=SEEN)
    tokens, _ = choose(opened, texts, count=sentences, order=2, seed=seed, most_loss=float("inf"))
    tree = grow(opened, tokens, settings or Settings(seed=seed))
    return {"tokens": len(tokens), "leaves": int(tree.leaves().max()) + 1, "why": tree.root.why}


def nearest(tree: Tree, truth: np.ndarray) -> float:
    """Return the largest Jaccard index of any node's tokens with given ones: bool [n]."""
    best = 0.0
    for node in tree.root.walk():
        mine = np.zeros(len(truth), dtype=bool)
        mine[node.members] = True
        best = max(best, float((mine & truth).sum() / (mine | truth).sum()))
    return best


def circuits(tree: Tree, leaf: Ints) -> dict[str, Any]:
    """Compare, by mechanism, what the nodes on the way to its leaf ablated for it with the planted circuit.

    Returns:
        Parts of the sets that are planted (precision) and of the planted circuits that were in a set (recall).
    """
    right = named = planted = 0
    for node in tree.root.walk():
        if node.dissociation is None or not node.children:
            continue
        for number, chosen in enumerate(node.dissociation.sets):
            child = node.children[number]
            inside = leaf[child.members]
            # the circuits of all mechanisms that make up a tenth of the child or more
            some = [LEAVES[one] for one in np.unique(inside) if (inside == one).mean() > 0.1]
            good = {part for name in some for part in CIRCUITS[name]} | {CUE_READER}
            right += sum(one in good for one in chosen)
            named += len(chosen)
    met: dict[str, set[str]] = {name: set() for name in KNOWN}
    for node in tree.root.walk():
        if node.dissociation is None or not node.children:
            continue
        for number, chosen in enumerate(node.dissociation.sets):
            child = node.children[number]
            for one in np.unique(leaf[child.members]):
                if (leaf[child.members] == one).sum() > 0.5 * (leaf == one).sum():
                    met[LEAVES[one]].update(chosen)
    found = sum(len(met[name] & set(CIRCUITS[name])) for name in KNOWN)
    planted = sum(len(CIRCUITS[name]) for name in KNOWN)
    return {"precision": right / max(1, named), "recall": found / planted}


def _descriptions(tree: Tree) -> dict[str, float]:
    found = [node.description for node in tree.root.walk() if node.description.get("auroc") is not None]
    if not found:
        return {}
    return {
        name: float(np.mean([one[name] for one in found if one[name] is not None]))
        for name in ("auroc", "auroc_bag_of_words", "auroc_shuffled")
    }


@torch.no_grad()
def hidden(opened: OpenModel, tokens: Tokens, batch: int = 32) -> Array:
    """Return what the final norm reads where the predictions are made: [n, width]."""
    name = f"resid{len(opened.anatomy.blocks)}"
    found = np.zeros((len(tokens), opened.anatomy.width))
    for one in batches(opened, tokens, batch):
        with capture(opened, [name]) as kept:
            opened(one.ids)
        found[one.index] = kept[name][torch.arange(len(one.index)), one.places].double().numpy()
    return found - found.mean(0)


def _centred(values: Array) -> Array:
    return unit(values - values.mean(0))
