"""`palaestra interp atlas` and `palaestra interp atlas-check`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palaestra.scripts.console import console, table, untrusted
from palaestra.scripts.errors import examples
from palaestra.scripts.interp_folder import folder_for, tell

if TYPE_CHECKING:
    from palaestra.interp.atlas.tree import Node

ATLAS_EXAMPLES = examples(
    "palaestra interp atlas tiny:kuhn runs/kuhn/replays/after/*.jsonl --to atlas-kuhn",
    "palaestra interp atlas smollm2 --profiles 500",
    "palaestra interp atlas smollm2@runs/x notes.txt --locate other.txt",
)
CHECK_EXAMPLES = examples("palaestra interp atlas-check", "palaestra interp atlas-check --seeds 3 --to atlas.json")


def atlas(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Such as tiny:kuhn or smollm2@runs/x.")],
    texts: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[TEXT…]", help="Text files and replays (.jsonl); the shipped text if none are named."),
    ] = None,
    to: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Where it goes; else the run's folder, or interp-atlas.")
    ] = None,
    tokens: Annotated[int, typer.Option(min=2, help="Most tokens to read.")] = 10_000,
    profiles: Annotated[int, typer.Option(min=2, help="Most tokens that get a gradient profile.")] = 800,
    context: Annotated[int, typer.Option(min=4, help="Tokens of a row.")] = 128,
    most_loss: Annotated[float, typer.Option(min=0, help="Nats that a well-predicted token may cost.")] = 0.5,
    induction: Annotated[
        int,
        typer.Option(min=-1, help="Equal tokens that make an induction, left out; 0 keeps all, -1 for the default."),
    ] = -1,
    words: Annotated[bool, typer.Option(help="Take off what words explain.")] = True,
    others: Annotated[
        list[Path] | None, typer.Option("--locate", metavar="TEXT", help="Locate this in the tree; repeatable.")
    ] = None,
    explain: Annotated[
        str, typer.Option(metavar="MODEL", help="A model that puts each description into a sentence.")
    ] = "",
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
) -> None:
    """Mine a model's behaviours from text: a tree of groups of tokens that are predicted by the same components.

    What was computed in the folder before, of the same weights, tokens and options, is used again.
    """
    from palaestra.interp.atlas.run import Options, make_atlas
    from palaestra.interp.atlas.tree import Settings
    from palaestra.interp.opened import open_model

    options = Options(
        tokens, profiles, context, most_loss, None if induction < 0 else induction, Settings(lexical=words, seed=seed)
    )
    with console(stderr=True).status("opening the model…") as status:
        opened = open_model(model)
        say = _explainer(explain) if explain else None
        tree, about, page = make_atlas(
            opened,
            texts or [],
            folder_for("atlas", model, to),
            options,
            others=others or (),
            explain=say,
            say=lambda line: status.update(untrusted(line)),
        )
    out = console()
    counts, cost = about["counts"], about["cost"]
    out.print(
        untrusted(
            f"{counts['read']} tokens read, {counts['well_predicted']} predicted with less than {most_loss:g} nats, "
            f"{counts['by_induction']} of them by induction; {len(tree.tokens)} profiled."
        )
    )
    _show(tree.root, 0)
    for name, one in about["located"].items():
        out.print(untrusted(f"{name}: {one['verdict']}"))
    out.print(
        untrusted(
            f"{cost['seconds']:.0f} s: {cost['direct_tokens_per_second']:.0f} tokens/s read, "
            f"{cost['profiles_per_second']:.1f} tokens/s through the tree's passes.",
            "dim",
        )
    )
    tell(page)


def _show(node: Node, depth: int) -> None:
    said = node.description
    lead = "; ".join(one["what"] for one in said.get("traits", ())[:2])
    top = ", ".join(list(node.components)[:3])
    told = f"{'  ' * depth}{node.name}: {len(node.members)} tokens; {top}" + (f"; {lead}" if lead else "")
    console().print(untrusted(told if node.children else f"{told} ({node.why})" if not depth else told))
    for child in node.children:
        _show(child, depth + 1)


def _explainer(model: str) -> Any:
    """Return a function that has a local model answer a prompt, greedily and shortly."""
    import torch

    from palaestra.agents.models.sources import ModelSource

    loaded = ModelSource.parse(model).load()

    def explain(prompt: str) -> str:
        ids = [*loaded.codec.chat_open(None), *loaded.codec.user_turn(prompt)]
        with torch.no_grad():
            found = loaded.model.generate(torch.tensor([ids]), max_new_tokens=40, do_sample=False)
        return " ".join(str(loaded.codec.decode(found[0, len(ids) :].tolist())).split())

    return explain


def atlas_check(
    sentences: Annotated[int, typer.Option(min=100, help="Of each atlas.")] = 600,
    seeds: Annotated[int, typer.Option(min=1, help="Atlases of each model, over different sentences.")] = 1,
    trained: Annotated[bool, typer.Option(help="Also a model that was trained (built once, minutes).")] = True,
    to: Annotated[Path | None, typer.Option(metavar="FILE", help="Write the figures there as JSON.")] = None,
) -> None:
    """Examine the atlas on models in which it is known which mechanism predicts which token."""
    from palaestra.interp.atlas import examine, planted_training
    from palaestra.interp.opened import open_model

    words = examine.grammar()
    found: list[dict[str, Any]] = []
    nulls: list[dict[str, Any]] = []
    with console(stderr=True).status("planting…") as status:

        def say(line: str) -> None:
            status.update(untrusted(line))

        models = [examine.by_hand(words)]
        if trained:
            models.append(open_model(str(planted_training.build(words, say=say))))
            models[-1].name = "trained"
        for seed in range(seeds):
            for opened in models:
                figures, _ = examine.examine(opened, words, sentences=sentences, seed=seed, say=say)
                found.append(figures)
            nulls.append(examine.random_weights(words, seed=seed))
    shown = table(
        "model", "seed", "ARI mechanism", "bag", "hidden", "families", "unknown away", "own away", right=range(1, 8)
    )
    for one in found:
        shown.add_row(
            untrusted(one["model"]),
            str(one["seed"]),
            f"{one['ari_mechanism']:.3f}",
            f"{one['baselines']['bag_of_words']['mechanism']:.3f}",
            f"{one['baselines']['hidden_state']['mechanism']:.3f}",
            " ".join(f"{value:.2f}" for value in one["families"].values()),
            f"{100 * one['located']['unknown_mechanism']['nowhere']:.0f} %",
            f"{100 * one['located']['same']['nowhere']:.0f} %",
        )
    out = console()
    out.print(shown)
    for one in nulls:
        out.print(untrusted(f"Random weights: {one['leaves']} leaf of {one['tokens']} tokens. {one['why']}."))
    for one in found:
        groups = one["null_shuffled"]["groups"]
        out.print(untrusted(f"{one['model']}, shuffled profiles: {groups} group."))
    if to is not None:
        from palaestra.agents.models.disk import replace_text

        replace_text(to, json.dumps({"models": found, "random_weights": nulls}, indent=1) + "\n")
        out.print(untrusted(str(to)))
