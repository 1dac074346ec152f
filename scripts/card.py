"""`palaestra card`: how well a seat knows that an output should not have been, as a card that others can make again."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from palaestra.scripts.console import console, key_values, table, untrusted
from palaestra.scripts.errors import examples
from palaestra.scripts.trained import section_of, tell

EXAMPLES = examples(
    "palaestra card posterior -o items=machine",
    "palaestra card smollm2 --cases 100 -o items=python -o mode=forced --to smollm2.json",
    "palaestra card anchored:0.3 -o items=machine --hindsight",
    "palaestra card smollm2@runs/surprise --thinking --max-tokens 200 --twin smollm2",
)
FORECAST, THOUGHT = 16, 256
"""Most tokens of a reply that states a probability, and of one that thinks first."""


def card(
    seat: Annotated[str, typer.Argument(metavar="SEAT", help="Any seat of `palaestra play` but a person.")],
    cases: Annotated[int, typer.Option(min=2, help="How many cases.")] = 200,
    seed: Annotated[int, typer.Option(min=0, help="Of the first case; the others follow.")] = 0,
    option: Annotated[
        list[str] | None,
        typer.Option("--option", "-o", metavar="KEY=VALUE", help="An option of terminal_surprise; repeatable."),
    ] = None,
    thinking: Annotated[bool, typer.Option(help="Ask a model to think first.")] = False,
    max_tokens: Annotated[
        int | None,
        typer.Option(min=1, help="Most tokens of a reply with its thought; 16, 256 if it thinks, or as trained."),
    ] = None,
    temperature: Annotated[float, typer.Option(min=0, help="Sampling temperature; 0 is greedy.")] = 0.0,
    twin: Annotated[
        str, typer.Option(metavar="MODEL", help="A model of like kind, whose surprise stands beside the seat's own.")
    ] = "",
    hindsight: Annotated[
        bool, typer.Option("--hindsight", help="Ask about the same cases before and after the reveal, too.")
    ] = False,
    to: Annotated[Path | None, typer.Option(help="Write the card there as JSON; must not exist yet.")] = None,
) -> None:
    """Measure a seat in terminal_surprise on fixed cases: Brier score and its parts, calibration, baselines, oracle.

    With --hindsight also the gap between what it says before it is told whether the output was replaced, and after. An
    adapter that was trained on terminal_surprise is asked with the options it was trained with (about held-out programs
    if some were held out); -o and flags go before.
    """
    from palaestra.agents import check_seat
    from palaestra.envs import make
    from palaestra.envs.errors import OptionError
    from palaestra.envs.options import refuse_reserved

    options: dict[str, Any] = {**key_values(option or (), "--option")}
    refuse_reserved(options, "terminal_surprise")
    trained = section_of(seat, "terminal_surprise")
    if trained is not None:
        held = {"part": "held_out"} if trained.options.get("part") == "shown" else {}
        options = {**trained.options, **held, **options}
        max_tokens = trained.reply.max_tokens if max_tokens is None else max_tokens
    make("terminal_surprise", **options)
    if seat == "human":
        raise OptionError("a person cannot be measured in many games at once; `palaestra play` seats one.")
    if to is not None and to.exists():
        raise OptionError(f"{to} is there already; name another file.")
    check_seat(seat, "terminal_surprise")
    if hindsight:
        check_seat(seat, "hindsight_bias")
    with console(stderr=True).status("taking the seat…"):
        from palaestra.trainers.own_surprise import is_local_model
        from palaestra.trainers.surprise_card import CardPlan

        if twin:
            for one in (seat, twin):
                check_seat(one)
                if not is_local_model(one):
                    raise OptionError(f"{one} is no model of this machine; seat and --twin must be, to be compared.")
        most = max_tokens or (THOUGHT if thinking else FORECAST)
        plan = CardPlan(seat, options, cases, seed, thinking, most, temperature, twin, hindsight)
    if trained is not None:
        tell(seat, trained, "terminal_surprise", options, plan.settings())
    found = _measured(plan)
    _show(found)
    if to is not None:
        _write(found, to)


def _measured(plan: Any) -> dict[str, Any]:
    from rich.progress import Progress

    from palaestra.trainers.surprise_card import card_of, play_cases, play_hindsight

    out = console(stderr=True)
    with Progress(console=out, transient=True, disable=not out.is_terminal) as bar:
        task = bar.add_task("cases", total=plan.cases * (3 if plan.hindsight else 1))
        episodes = play_cases(plan, lambda: bar.advance(task))
        twice = play_hindsight(plan, lambda: bar.advance(task)) if plan.hindsight else None
    return dict(card_of(plan, episodes, twice))


def _show(found: dict[str, Any]) -> None:
    out = console()
    plan = found["plan"]
    shown = table(
        "", "Brier", "95 %", "reliability", "resolution", "ECE", "AUROC", "right side", "surest half", right=range(1, 9)
    )
    rows = {plan["seat"]: found["measures"], **found["baselines"]}
    for name, one in rows.items():
        if one is None:
            shown.add_row(untrusted(name), *["none stated"] + [""] * 7)
            continue
        low, high = one["brier"]["low"], one["brier"]["high"]
        auroc = one["auroc"]
        shown.add_row(
            untrusted(name),
            f"{one['brier']['mean']:.3f}",
            "" if low is None else f"[{low:.3f}, {high:.3f}]",
            f"{one['murphy']['reliability']:.3f}",
            f"{one['murphy']['resolution']:.3f}",
            f"{one['ece']:.3f}",
            "" if auroc is None else f"{auroc:.2f}",
            *(f"{100 * one['coverage'][share]:.0f} %" for share in ("1.0", "0.5")),
        )
    out.print(shown)
    stated = f"A probability was stated in {100 * found['stated']:.0f} % of {plan['cases']} cases"
    items = f"items {found['items_sum']}, " if found["items_sum"] else ""
    out.print(untrusted(f"{stated}; {items}seed {plan['seed']}."))
    _show_hindsight(found)
    _show_own(found)
    for one in found["reliability"]:
        bar = "█" * round(30 * one["outcome"])
        out.print(untrusted(f"  said {one['forecast']:.2f}, was {one['outcome']:.2f}  {bar} ({one['count']})"))


def _show_hindsight(found: dict[str, Any]) -> None:
    said = {"truth": "Hindsight gap, told the truth", "nothing": "the same, told nothing (null arm)"}
    for arm, one in found["hindsight"].items():
        if one is None:
            console().print(untrusted(f"{said[arm]}: no case was answered both before and after."))
            continue
        gap = one["gap"]
        console().print(
            untrusted(
                f"{said[arm]}: {gap['mean']:+.3f} [{gap['low']:+.3f}, {gap['high']:+.3f}] nearer to the truth after "
                f"than before, {gap['n']} of {one['cases']} cases answered both times."
            )
        )


def _show_own(found: dict[str, Any]) -> None:
    own, twin = found["own_surprise"], found["plan"]["twin"]
    if own is None:
        return

    def number(value: float | None, form: str) -> str:
        return "-" if value is None else format(value, form)

    parts = [
        f"Own surprise, -log p of the output: {number(own['kept'], '.1f')} nats where it was kept, "
        f"{number(own['replaced'], '.1f')} where it was replaced (AUROC {number(own['auroc'], '.2f')})",
        "too little was said to compare" if own["said"] is None else f"what was said goes with it at {own['said']:.2f}",
    ]
    if twin:
        parts.append(f"beyond what {twin} computes at {number(own['introspection'], '.2f')} (rank correlations)")
    console().print(untrusted("; ".join(parts) + "."))


def _write(found: dict[str, Any], to: Path) -> None:
    import json

    from palaestra.envs.errors import UnwritableReplay

    try:
        to.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    except OSError as error:
        raise UnwritableReplay(f"{to} cannot be written ({error.strerror}); name another file.") from None
    console().print(untrusted(f"Card: {to}", "dim"))
