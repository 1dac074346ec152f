"""The page of an atlas: a tree that opens, each node with its evidence, its description and coloured examples."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from palaestra.interp.atlas.space import unit
from palaestra.interp.atlas.tree import Node, Tree
from palaestra.interp.figures import bars, heat_map
from palaestra.interp.report import Figure, Fold, Page, Part, Table, Text, Token, Tokens, number
from palaestra.trainers.figures import COLOURS, drawing

if TYPE_CHECKING:
    from palaestra.interp.opened import OpenModel

SHOWN = 40
"""Tokens of context in an example."""
MOST_POINTS = 1500


def write_page(folder: Path, opened: OpenModel, tree: Tree, about: dict[str, Any]) -> Path:
    """Write ``index.html`` into an atlas's folder and return it.

    Raises:
        InterpError: It cannot be written.
    """
    leaves = [one for one in tree.root.walk() if not one.children]
    counts, cost = about["counts"], about["cost"]
    page = Page(
        f"Atlas of {about['model']}",
        "Which behaviours a model has, by what its components do where it predicts well: a group stands here only if "
        "it is stable, tighter than two nulls, and its components matter to it and not to its siblings.",
        {
            "model": about["model"],
            "text": about["text"],
            "read": f"{counts['read']} tokens, {counts['well_predicted']} predicted with less than "
            f"{about['most_loss']:g} nats",
            "left out": f"{counts['by_induction']} predicted by induction, and place 0",
            "profiled": f"{len(tree.tokens)} tokens, {len(tree.profiles.names)} entries each",
            "behaviours": str(len(leaves)) if tree.root.children else "1, not divided",
            "words explain": f"{100 * tree.root.space.explained:.0f} % of the profiles' variance, taken off"
            if tree.root.space is not None and tree.settings.lexical
            else "kept in",
            "cost": f"{cost['seconds']:.0f} s: {cost['direct_tokens_per_second']:.0f} tokens/s read, "
            f"{cost['profiles_per_second']:.1f} profiles/s",
        },
    )
    page.add("The map", *_map(tree, leaves))
    page.add("The tree", _fold(opened, tree, tree.root))
    if about.get("located"):
        page.add("Where other texts belong", *_located(about["located"]))
    page.add(
        "How to read it",
        Text(
            "Loss is in nats. A component's share is its part of a profile's length. Damage is the loss of log-odds of "
            "the answer with a group's components at the mean of the parent's tokens. AUROC says how well the "
            "description written from half of the tokens tells the other half from the siblings'; where the bag of "
            "words does as well, the group may be no more than its words. Blue words speak for the answer, red ones "
            "against it."
        ),
    )
    return page.write(folder / "index.html")


def _map(tree: Tree, leaves: list[Node]) -> list[Part]:
    if tree.root.space is None or len(tree.root.features) < 3:
        return [Text("There are too few tokens for a map.")]
    leaf_of = tree.leaves()
    points = tree.root.space.points(tree.root.features.astype(np.float64))
    some = np.random.default_rng(0).permutation(len(points))[:MOST_POINTS]
    centred = points - points.mean(0)
    axes = np.linalg.svd(centred, full_matrices=False)[2][:2]
    flat = unit(centred) @ axes.T if axes.shape[0] == 2 else np.pad(centred @ axes.T, ((0, 0), (0, 1)))
    with drawing("Tokens by what components do for them", "first axis", "second axis", (7.2, 4.6)) as found:
        for which, leaf in enumerate(leaves):
            mine = some[leaf_of[some] == which]
            colour = COLOURS[which % len(COLOURS)]
            marker = "osD^vP*X"[which // len(COLOURS) % 8]
            found.axis.scatter(
                flat[mine, 0], flat[mine, 1], s=9, color=colour, marker=marker, label=leaf.name, alpha=0.7
            )
        if len(leaves) <= 24:
            found.axis.legend(frameon=False, fontsize=7, ncol=2, loc="center left", bbox_to_anchor=(1.0, 0.5))
    parts: list[Part] = [Figure(found.text, "Each dot is a token, coloured by its leaf; two of the axes of the root.")]
    columns = list(dict.fromkeys(name for leaf in leaves for name in list(leaf.components)[:4]))[:40]
    if len(leaves) > 1 and columns:
        at = {name: number for number, name in enumerate(tree.profiles.names)}
        rows = unit(tree.profiles.values.astype(np.float64))
        matrix = [
            [
                float((rows[leaf.members, at[name]] + rows[leaf.members, at[name + "<"]]).mean()) if name in at else 0.0
                for name in columns
            ]
            for leaf in leaves
        ]
        picture = heat_map(
            "What components do, by leaf",
            matrix,
            across="component",
            up="leaf",
            columns=columns,
            rows=[leaf.name for leaf in leaves],
            unit="share of a profile",
        )
        parts.append(Figure(picture, "Against means over all tokens; before and at the prediction together."))
    return parts


def _fold(opened: OpenModel, tree: Tree, node: Node) -> Fold:
    said = node.description
    total = float(tree.tokens.weight.sum())
    share = float(tree.tokens.weight[node.members].sum()) / max(total, 1e-9)
    lead = [one["what"] for one in said.get("traits", ())[:3]]
    title = (
        f"{node.name} · {len(node.members)} tokens, {100 * share:.1f} % of those open · {'; '.join(lead) or node.why}"
    )
    parts: list[Part] = []
    if "sentence" in said:
        parts.append(Text(f"A model says: {said['sentence']}"))
    parts.append(Text(f"Mean loss {said.get('loss', 0):.3f}, mean place {said.get('place', 0):.0f}. {node.why}."))
    if said.get("auroc") is not None:
        null, bag = said.get("auroc_shuffled"), said.get("auroc_bag_of_words")
        parts.append(
            Table(
                ("held-out AUROC against siblings", ""),
                [
                    ("description", number(said["auroc"])),
                    ("bag of words", "" if bag is None else number(bag)),
                    ("shuffled labels", "" if null is None else number(null)),
                ],
            )
        )
    if said.get("traits"):
        rows = [(one["what"], number(one["log_odds"]), number(one["z"])) for one in said["traits"]]
        parts.append(Fold("What its tokens have that siblings' have not", (Table(("trait", "log-odds", "z"), rows),)))
    top = {name: (value,) * 3 for name, value in list(node.components.items())[:10]}
    if top:
        picture = bars(f"Components at {node.name}", "mean share of a profile", top)
        parts.append(Fold("Components, against this node's own mean", (Figure(picture),)))
    parts += _evidence(node)
    examples = [_example(opened, tree, index) for index in said.get("examples", ())]
    if examples:
        parts.append(Fold("Examples", tuple(examples), open=not node.children))
    parts += [_fold(opened, tree, child) for child in node.children]
    return Fold(title, tuple(parts), open=node.name.count(".") < 1)


def _evidence(node: Node) -> list[Part]:
    parts: list[Part] = []
    if node.grouping is not None and node.grouping.counts:
        rows = [
            (
                str(one.groups),
                "not asked" if one.stability is None else number(one.stability),
                number(one.tightness),
                number(one.shuffled),
                number(one.normal),
                str(one.smallest),
                "yes" if one.accepted else "no",
            )
            for one in node.grouping.counts
        ]
        header = ("groups", "stability", "tightness", "shuffled", "normal cloud", "smallest", "accepted")
        parts.append(Fold("Stability and nulls", (Table(header, rows),)))
    if node.dissociation is not None:
        found = node.dissociation
        costs: list[tuple[str, ...]] = [
            (f"{place}: {', '.join(names)}", *(number(float(one)) for one in found.damage[place]))
            for place, names in enumerate(found.sets)
        ]
        asked, left = len(found.merged), int(found.merged.max()) + 1
        note = (
            f"Random components: the largest difference between groups is {number(found.random)} on average. Of "
            f"{asked} groups that were stable {left} {'is' if left == 1 else 'are'} left."
        )
        columns = ("ablated", *(f"costs group {one}" for one in range(len(found.sets))))
        parts.append(Fold("Double dissociation", (Table(columns, costs, note),)))
    return parts


def _example(opened: OpenModel, tree: Tree, index: int) -> Tokens:
    ids = tree.tokens.context(index).tolist()
    values = tree.profiles.inputs[index]
    most = float(np.abs(values).max()) or 1.0
    texts = opened.text(ids)
    shown = [
        Token(_spaced(opened, text), float(value) / most, f"{number(float(value))} logits")
        for text, value in list(zip(texts, values, strict=False))[-SHOWN:]
    ]
    answer = opened.text([int(tree.tokens.answer[index])])[0]
    return Tokens(
        [*shown, Token(" ⟶ "), Token(answer)], f"{tree.tokens.texts.source[tree.tokens.row[index]]}, nats: "
        f"{tree.tokens.loss[index]:.3f}"
    )  # fmt: skip


def _spaced(opened: OpenModel, text: str) -> str:
    """Return a token with a space behind it where the tokenizer keeps none (it divides at spaces)."""
    codec = opened.codec
    if codec is not None and codec.decode(codec.encode_untrusted("a a")) != "a a" and not text[:1].isspace():
        return f"{text} "
    return text


def _located(located: dict[str, Any]) -> list[Part]:
    rows = [
        (name, str(one["tokens"]), f"{100 * one['nowhere']:.0f} %", one["verdict"]) for name, one in located.items()
    ]
    return [Table(("text", "tokens", "nowhere", "verdict"), rows)]
