"""`palaestra interp reasoning`: what turns a thought, what ends it, and whether its words still mean the same."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from palaestra.scripts.console import console, table, untrusted
from palaestra.scripts.errors import examples
from palaestra.scripts.interp_folder import folder_for, tell

EXAMPLES = examples(
    "palaestra interp reasoning tiny:search",
    "palaestra interp reasoning tiny:search-straight",
    "palaestra interp reasoning smollm2@runs/sums --setting sums --problems 16 --pairs 8 --layers 5 --dtype bfloat16",
)


def reasoning(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model source, such as tiny:search.")],
    setting: Annotated[str, typer.Option(help="tree (tiny models) or sums (real models).")] = "tree",
    base: Annotated[
        str, typer.Option(help="What it was trained from, to compare words with; of MODEL@ADAPTER it is known.")
    ] = "",
    problems: Annotated[int, typer.Option(min=8, help="How many it solves.")] = 120,
    pairs: Annotated[int, typer.Option(min=2, help="Points with twins.")] = 64,
    randoms: Annotated[int, typer.Option(min=4, help="Random directions and sets of the nulls.")] = 20,
    dosed: Annotated[int, typer.Option(min=4, help="Problems solved under each dose.")] = 64,
    doses: Annotated[str, typer.Option(help="Multiples of a direction's length.")] = "-1,-0.5,-0.25,0.25,0.5,1",
    random_doses: Annotated[int, typer.Option(min=0, help="Random directions in the dose-response.")] = 19,
    layers: Annotated[int, typer.Option(min=0, help="At how many layers directions are fitted; 0 for all.")] = 0,
    measured: Annotated[int, typer.Option(min=1, help="Components patched one by one after attribution.")] = 30,
    batch: Annotated[int, typer.Option(min=1, help="Prompts a pass.")] = 16,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    dtype: Annotated[str, typer.Option(help="Of the weights in memory: float32, or bfloat16 for speed.")] = "float32",
    to: Annotated[
        Path | None,
        typer.Option(help="Folder, where a cut call goes on; else the run's folder, or interp-reasoning."),
    ] = None,
) -> None:
    """Find the components and directions that turn a thought and end it, test them, and think more and less with them.

    `palaestra interp teach reasoning` makes a reasoner of any base.
    """
    from palaestra.envs.errors import OptionError

    out = folder_for("reasoning", model, to)
    try:
        listed = tuple(float(one) for one in doses.split(","))
    except ValueError:
        raise OptionError(f"--doses is {doses!r}, expected numbers with commas, such as -1,1.") from None
    from palaestra.interp.reasoning.study import ReasoningPlan, study

    plan = ReasoningPlan(
        model,
        setting,
        base,
        problems,
        pairs,
        randoms,
        dosed,
        listed,
        random_doses,
        layers=layers,
        measured=measured,
        batch=batch,
        dtype=dtype,
        seed=seed,
    )
    _show(study(plan, out, _say))
    tell(out / "index.html")


def _say(line: str) -> None:
    console(stderr=True).print(untrusted(line, "dim"))


def _show(found: dict[str, Any]) -> None:
    out = console()
    wrote = found["replies"]
    out.print(
        f"{100 * wrote['accuracy']['mean']:.0f} % right, {wrote['tokens']['mean']:.0f} tokens and "
        f"{wrote['switches']['mean']:.1f} turns a reply."
    )
    if "nothing" in found:
        out.print(untrusted(found["nothing"]))
        return
    shown = table("", "components", "necessary", "sufficient", "random sets", right=range(2, 5))
    for way, one in found["components"].items():
        halves = [number for number, some in enumerate(one["necessity"]) if some["mean"] >= 0.5]
        at = halves[0] if halves else len(one["necessity"]) - 1  # the fewest that are half of the difference
        need, give = one["necessity"][at], one["sufficiency"][at]
        names = ", ".join(one["order"][: give["size"]])
        shown.add_row(way, names, f"{need['mean']:.2f}", f"{give['mean']:.2f}", f"{give['null']['mean']:.2f}")
    out.print(shown)
    shown = table("", "layer", "AUROC", "added", "random", "removed", "random", right=range(2, 7))
    for way, one in found["directions"].items():
        layer = one["layers"][one["chosen"]]
        shown.add_row(
            way,
            one["chosen"],
            f"{layer['auroc']:.2f}",
            *(f"{layer[key]['mean']:+.2f}" for key in ("added", "added_null", "removed", "removed_null")),
        )
    out.print(shown)
    for way in ("switch", "stop"):
        for size, one in found["doses"]["contrasts"].get(way, {}).items():
            parts = [
                f"{name} {one[name]['difference']:+.2f} (p {one[name]['p']:.2f})"
                for name in ("tokens", "switches", "accuracy", "repetition")
            ]
            out.print(untrusted(f"{way}, dose {size} less -{size}: {', '.join(parts)}"))
    for name, one in found.get("tokens", {}).get("tests", {}).items():
        out.print(f"{name}: reasoning words {one['critical']:.3g}, controls {one['control']:.3g}, p {one['p']:.3f}.")
