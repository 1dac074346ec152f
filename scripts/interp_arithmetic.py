"""`palaestra interp arithmetic`: which numbers move which layer of a model that answers."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from palaestra.scripts.console import console, table, untrusted
from palaestra.scripts.errors import examples
from palaestra.scripts.interp_folder import folder_for, tell

EXAMPLES = examples(
    "palaestra interp arithmetic deals@runs/deals",
    "palaestra interp arithmetic smollm2@runs/deals-smollm2 --to arithmetic --decades 2 --batch 16",
)


def arithmetic(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="A model that answers, such as deals@runs/deals.")],
    to: Annotated[Path | None, typer.Option(help="The folder that gets it, where a cut one goes on.")] = None,
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="NAME", help="Of problem; repeatable. Of itself what the adapter was taught."),
    ] = None,
    style: Annotated[str, typer.Option(help="plain or terse; of itself as the adapter was taught, else plain.")] = "",
    decades: Annotated[
        int, typer.Option(min=2, help="Tens that each number runs over; costs grow with the square.")
    ] = 3,
    parts: Annotated[int, typer.Option(min=1, help="Parts that are drawn one by one.")] = 6,
    pairs: Annotated[int, typer.Option(min=4, help="Problems with an opposite, for patching.")] = 32,
    patched: Annotated[int, typer.Option(min=3, help="Components that are measured by patching.")] = 10,
    stepped: Annotated[int, typer.Option(min=12, help="Steps at which gradients are taken.")] = 96,
    points: Annotated[int, typer.Option(min=1, help="Of the integral of gradients.")] = 6,
    batch: Annotated[int, typer.Option(min=1, help="Prompts in a pass.")] = 32,
    seed: Annotated[int, typer.Option(min=0, help="Of everything that is drawn.")] = 0,
    device: Annotated[str, typer.Option(help="cpu, cuda, ...")] = "cpu",
) -> None:
    """Sweep the numbers of yes-or-no problems and say what each layer does with them: a folder and a page."""
    from palaestra.interp.arithmetic.analysis import Plan, analyse
    from palaestra.interp.arithmetic.analysis import taught as known
    from palaestra.interp.arithmetic.base import resolved
    from palaestra.interp.arithmetic.page import write_page
    from palaestra.interp.arithmetic.summary import write_summary
    from palaestra.interp.opened import open_model

    source = resolved(model, _say)
    lesson = known(source) or {}
    taught = lesson.get("plan", {})
    plan = Plan(
        kinds=tuple(kind or taught.get("kinds") or ("cheaper", "packs")),
        style=style or taught.get("style") or "plain",
        decades=decades,
        parts=parts,
        pairs=pairs,
        patched=patched,
        stepped=stepped,
        points=points,
        batch=batch,
        seed=seed,
    )
    opened = open_model(source, device=device)
    opened.name = model
    folder = folder_for("arithmetic", source, to)
    result = analyse(opened, plan, folder, _say)
    write_summary(result, folder)
    _show(result)
    tell(write_page(folder))


def _show(result: dict[str, Any]) -> None:
    out = console()
    shown = table("question", "arm", "right", "what logit(yes) - logit(no) does", "held-out R²", right=(2, 4))
    for arm, sweeps in result["arms"].items():
        for one in sweeps:
            fit = one["fit"]
            r2 = "" if fit is None else f"{fit['held_out']:.2f} [{fit['low']:.2f}, {fit['high']:.2f}]"
            shown.add_row(
                untrusted(one["sweep"]), arm, f"{100 * one['accuracy']:.1f} %", untrusted(one["operation"]), r2
            )
    out.print(shown)
    for one in result["sweeps"]:
        rows = table(one["grid"]["name"], "share", "directly", "R²", "through later layers", "R²", right=(1, 3, 5))
        direct, total = one["maps"]["direct"], one["maps"].get("total", {})
        for name in one["shown"]:
            far = total.get(name)
            rows.add_row(
                untrusted(name),
                f"{100 * direct[name]['share']:.0f} %",
                direct[name]["operation"],
                _r2(direct[name]),
                far["operation"] if far else "",
                _r2(far) if far else "",
            )
        out.print(rows)


def _r2(row: dict[str, Any]) -> str:
    return "" if row["fit"] is None else f"{row['fit']['held_out']:.2f}"


def _say(line: str) -> None:
    console(stderr=True).print(untrusted(line, "dim"))
