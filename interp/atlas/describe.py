"""What the tokens of a node have in common that those of its siblings do not: statistics of inputs and predicted words.

A *trait* is a yes or no about a token: the word at some place (the answer, where the prediction is made, one before,
...), or a relation between answer and context (the answer stood three places back; it stood anywhere before). The
traits of largest log-odds ratio with an informative Dirichlet prior (Monroe et al. 2008) on one half of the tokens are
the *description*. It is scored on the other half: how well the sum of its log-odds tells the node's tokens from its
siblings' (AUROC), beside the same with a bag of words, and with shuffled labels.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from palaestra.interp.atlas.space import Array
from palaestra.interp.atlas.tokens import Tokens
from palaestra.interp.atlas.tree import Node, Tree

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

BACK = 6
"""Places before the prediction whose words are traits."""
TRAITS = 12
"""In a description."""
SURE = 1.96
EXAMPLES = 6
Trait = tuple[str, int]
"""What is asked (``answer``, ``-2``, ``copies -2``, ``seen``, ``bag``) and of which token (0 where of none)."""


def traits(tokens: Tokens, index: int) -> set[Trait]:
    """Return what holds for a token, its context's words as a bag left out."""
    context = tokens.context(index)
    row = tokens.texts.rows[tokens.row[index]]
    answer = int(row[tokens.place[index] + 1])
    found: set[Trait] = {("answer", answer)}
    for back in range(min(BACK, len(context))):
        word = int(context[-1 - back])
        found.add((f"{-back}", word))
        if word == answer:
            found.add((f"copies {-back}", 0))
    if answer in context:
        found.add(("seen", 0))
    return found


def bag(tokens: Tokens, index: int) -> set[Trait]:
    """Return a token's context as a bag of words, the answer included."""
    row = tokens.texts.rows[tokens.row[index]][: tokens.place[index] + 2]
    return {("bag", int(one)) for one in row}


def describe(opened: OpenModel, tree: Tree, seed: int = 0) -> None:
    """Describe every node of a tree but the root against its siblings; the root is described as a whole."""
    tokens = tree.tokens
    everything = [traits(tokens, one) for one in range(len(tokens))]
    bags = [bag(tokens, one) for one in range(len(tokens))]
    tree.root.description = {"examples": _examples(tree.root, tokens, seed), **_facts(tree.root, tokens)}
    for parent in tree.root.walk():
        for child in parent.children:
            inside = set(child.members.tolist())
            labels = np.array([one in inside for one in parent.members])
            mine = [everything[one] for one in parent.members]
            words = [bags[one] for one in parent.members]
            chosen, score = held_out(mine, labels, seed)
            _, lexical = held_out(words, labels, seed)
            shuffled = np.random.default_rng(seed).permutation(labels)
            child.description = {
                "traits": [
                    {"what": _said(opened, trait), "log_odds": round(odds, 3), "z": round(z, 2)}
                    for trait, odds, z in chosen
                ],
                "auroc": score,
                "auroc_bag_of_words": lexical,
                "auroc_shuffled": held_out(mine, shuffled, seed)[1],
                "examples": _examples(child, tokens, seed),
                **_facts(child, tokens),
            }


def held_out(
    found: Sequence[set[Trait]], labels: np.ndarray, seed: int
) -> tuple[list[tuple[Trait, float, float]], float | None]:
    """Return the description from one half of tokens, and its AUROC on the other; None where a half lacks a side."""
    from sklearn.metrics import roc_auc_score

    half = np.random.default_rng(seed).permutation(len(labels)) % 2 == 0
    train = [one for one, yes in zip(found, half, strict=True) if yes]
    chosen = log_odds(train, labels[half])
    chosen = [one for one in chosen if abs(one[2]) >= SURE][:TRAITS]
    weights = {trait: odds for trait, odds, _ in chosen}
    tested = labels[~half]
    if tested.all() or not tested.any():
        return chosen, None
    scores = [
        sum(weight for trait, weight in weights.items() if trait in one)
        for one, yes in zip(found, ~half, strict=True)
        if yes
    ]
    return chosen, float(roc_auc_score(tested, scores))


def log_odds(found: Sequence[set[Trait]], labels: np.ndarray) -> list[tuple[Trait, float, float]]:
    """Return traits with their log-odds ratio, inside over outside, and its z-score, largest magnitude of z first.

    Each trait is a count out of the tokens on either side; the prior is half a token on each side, divided as the trait
    is overall.
    """
    inside: Counter[Trait] = Counter()
    outside: Counter[Trait] = Counter()
    for one, yes in zip(found, labels, strict=True):
        (inside if yes else outside).update(one)
    n_in, n_out = int(labels.sum()), int((~labels).sum())
    result = []
    for trait in inside.keys() | outside.keys():
        share = (inside[trait] + outside[trait]) / max(1, n_in + n_out)
        a, b = inside[trait] + 0.5 * share, n_in - inside[trait] + 0.5 * (1 - share) + 1e-3
        c, d = outside[trait] + 0.5 * share, n_out - outside[trait] + 0.5 * (1 - share) + 1e-3
        odds = float(np.log(a / b) - np.log(c / d))
        # a count of nothing has a large variance of log-odds, but is no less sure for it: at least half a token each
        deviation = float(np.sqrt(sum(1 / max(one, 0.5) for one in (a, b, c, d))))
        result.append((trait, odds, odds / deviation))
    return sorted(result, key=lambda one: (-abs(one[2]), one[0]))


def _said(opened: OpenModel, trait: Trait) -> str:
    what, word = trait
    if what == "seen":
        return "the answer stood before"
    if what.startswith("copies"):
        return f"the answer is the token at {what.removeprefix('copies ').replace('-', '−')}"
    text = opened.text([word])[0]
    if what == "answer":
        return f"the answer is {text!r}"
    return f"token {what.replace('-', '−')} is {text!r}"


def _facts(node: Node, tokens: Tokens) -> dict[str, Any]:
    mine = tokens[node.members]
    answers = Counter(mine.answer.tolist()).most_common(8)
    return {
        "loss": round(float(mine.loss.mean()), 4),
        "place": round(float(mine.place.mean()), 1),
        "stands_for": round(float(mine.weight.sum()), 1),
        "answers": [[int(word), count] for word, count in answers],
    }


def _examples(node: Node, tokens: Tokens, seed: int) -> list[int]:
    """Return indices of members in the middle of a node: those most like its mean, one a text where possible."""
    order = node.members
    if len(node.features):
        rows: Array = node.features.astype(np.float64)
        order = node.members[np.argsort(-(rows @ rows.mean(0)))]
    first: list[int] = []
    seen: set[int] = set()
    for one in order.tolist():
        row = int(tokens.row[one])
        if row not in seen:
            seen.add(row)
            first.append(one)
    return first[:EXAMPLES]


Explain = Callable[[str], str]
"""From a prompt to a model's sentence."""


def ask(opened: OpenModel, tree: Tree, explain: Explain) -> None:
    """Have a model put each node's description into a sentence; it is kept as the model wrote it.

    Args:
        opened: The model of the tree.
        tree: Already described.
        explain: Answers a prompt.
    """
    for node in tree.root.walk():
        if node.name == "0":
            continue
        lines = []
        for index in node.description["examples"]:
            words = opened.text(tree.tokens.context(index, 24).tolist())
            answer = opened.text([int(tree.tokens.answer[index])])[0]
            lines.append(f"{''.join(words)!r} is followed by {answer!r}")
        told = "; ".join(one["what"] for one in node.description["traits"][:6])
        node.description["sentence"] = explain(
            "A language model predicts the next token in each of these places in the same way:\n"
            + "\n".join(lines)
            + f"\nWhat sets them apart from others: {told}.\nSay in one short sentence what they have in common."
        )
