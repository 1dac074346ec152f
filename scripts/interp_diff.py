"""`palaestra interp diff` and `diff-check`, and the section on what changed in a run's report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palaestra.scripts.console import console, table, untrusted
from palaestra.scripts.errors import examples
from palaestra.scripts.interp_folder import folder_for, linked, tell

if TYPE_CHECKING:
    from markupsafe import Markup

EXAMPLES = examples(
    "palaestra interp diff smollm2 runs/quickstart",
    "palaestra interp diff smollm2 org/organism --pairs pairs.jsonl",
    "palaestra interp diff tiny:kuhn --many",
)

CHECK_EXAMPLES = examples("palaestra interp diff-check --count 40")


def diff(
    base: Annotated[str, typer.Argument(metavar="BASE", help="A model source, with an adapter of its own or without.")],
    trained: Annotated[
        str | None,
        typer.Argument(metavar="ADAPTER", help="A run, PEFT folder, lib:NAME, or a whole model by folder or hub id."),
    ] = None,
    many: Annotated[bool, typer.Option("--many", help="All adapters of the library that stand on this base.")] = False,
    pairs: Annotated[
        Path | None, typer.Option(help="Pairs: clean, corrupt, answer and foil on each line; chosen here if not given.")
    ] = None,
    prompts: Annotated[int, typer.Option(min=4, help="How many, where no file is given.")] = 16,
    top: Annotated[int, typer.Option(min=1, help="Modules that are switched one by one.")] = 24,
    crosscoder: Annotated[bool, typer.Option(help="Whether to train a crosscoder, the dearest step.")] = True,
    seed: Annotated[int, typer.Option(min=0, help="Of texts and of the crosscoder.")] = 0,
    to: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Where the page and its data go; else the run's folder, or interp-diff."),
    ] = None,
) -> None:
    """Say what training changed: modules, edges, circuits, activations and features, before and after."""
    from palaestra.envs.errors import OptionError

    if many == (trained is not None):
        raise OptionError("give one ADAPTER, or --many for all adapters of the library that stand on BASE.")
    if many:
        _many(base, prompts, seed, to or Path("interp-diff-many"))
        return
    assert trained is not None
    out = console(stderr=True)
    with out.status("opening both models…") as status:
        from palaestra.interp.diff.analysis import STEPS, DiffPlan, analyse, prompts_of
        from palaestra.interp.diff.pair import open_pair

        pair = open_pair(base, trained)
        plan = DiffPlan(base, trained, str(pairs or ""), prompts=prompts, top=top, seed=seed, crosscoder=crosscoder)
        asked, unrelated = prompts_of(pair, plan)
        page = analyse(
            pair, asked, unrelated, plan, folder_for("diff", trained, to),
            lambda name: status.update(f"step {STEPS.index(name) + 1} of {len(STEPS)}: {name}…"),
        )  # fmt: skip
    tell(page)


def _many(base: str, count: int, seed: int, to: Path) -> None:
    from dataclasses import asdict

    from palaestra.agents.models import library
    from palaestra.agents.models.sources import ModelSource
    from palaestra.envs.errors import OptionError
    from palaestra.interp.diff.many import predict, profiles, recurring
    from palaestra.interp.diff.many_page import told, write_many
    from palaestra.interp.diff.texts import texts
    from palaestra.interp.errors import InterpError
    from palaestra.interp.prompts import Prompts

    source = ModelSource.parse(base)
    print_of = source.fingerprint()
    cards = {name: card for name in library.names() if (card := library.card_of(name)).fingerprint in ("", print_of)}
    if not cards:
        raise OptionError(f"the library has no adapter of {base}; `palaestra adapters add` fills it.")
    rows = texts(source, source.codec(), count, seed)
    with console(stderr=True).status("opening…") as status:
        found = profiles(
            base, {name: f"lib:{name}" for name in cards}, Prompts.of(rows, [[0]] * len(rows)),
            lambda name: status.update(f"{name}…"),
        )  # fmt: skip
    out = console()
    shown = table("adapter", "trained on", "most by", right=())
    kinds = {name: cards[name].notes or ", ".join(cards[name].tasks) for name in found}
    for name, effects in found.items():
        best = sorted(effects, key=lambda key: -effects[key])[:3]
        shown.add_row(
            untrusted(name), untrusted(kinds[name]), untrusted(", ".join(f"{one} {effects[one]:.3g}" for one in best))
        )
    out.print(shown)
    often = recurring(found)
    for module, times, chance in often[:8]:
        out.print(untrusted(f"{module} is among the first three of {times} of {len(found)}; by chance {chance:.1f}"))
    said: dict[str, Any]
    try:
        said = asdict(predict(found, kinds, seed))
    except InterpError as why:
        said = {"nothing": str(why)}
    out.print(untrusted(told(said)))
    page = write_many(base, found, kinds, often, said, {"texts": len(rows), "seed": seed}, to)
    out.print(untrusted(str(page)), soft_wrap=True)


def diff_check(
    count: Annotated[int, typer.Option(min=1, help="Organisms.")] = 40,
    to: Annotated[Path, typer.Option(metavar="FILE", help="Where the result goes.")] = Path(
        "results/interp/diff-planted.json"
    ),
) -> None:
    """Measure how often the diff finds a planted change, beside simpler rankings; goes on where it was stopped."""
    from palaestra.interp.diff.planted import measure

    out = console()
    path = measure(count, results=to, say=lambda line: out.print(untrusted(line), soft_wrap=True))
    out.print(untrusted(str(path)), soft_wrap=True)


def changed_section(run: Any) -> Markup | None:
    """Return, for a run's report, what changed between its base and its final adapters, and links to analyses; None
    where there is neither."""
    from markupsafe import Markup

    from palaestra.envs.errors import PalaestraError
    from palaestra.interp.diff.brief import brief
    from palaestra.interp.report import fragment

    source = run.config.model.source.partition("@")[0]
    shown = []
    for folder in dict.fromkeys(run.final_of(number) for number in range(len(run.config.games))):
        if not (folder / "adapter_config.json").is_file():
            continue
        try:
            shown.append(fragment(brief(run.folder, source, folder)))
        except PalaestraError as why:
            shown.append(Markup('<p class="soft">Base and adapter are not compared: {}</p>').format(str(why)))
    if (pages := linked(run.folder)) is not None:
        shown.append(pages)
    return Markup("").join([Markup("<h2>What changed inside</h2>"), *shown]) if shown else None


def fill_report() -> None:
    """Have reports of runs end with what changed."""
    from palaestra.trainers import report

    if changed_section not in report.SECTIONS:
        report.SECTIONS.append(changed_section)
