"""`palaestra interp teach`: adapters that learn what we know in advance, so that there is something known to find."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from palaestra.scripts.console import console, table, untrusted
from palaestra.scripts.errors import examples

if TYPE_CHECKING:
    from palaestra.agents.models.sources import LoadedModel
    from palaestra.interp import teaching

EXAMPLES = examples(
    "palaestra interp teach arithmetic deals --to runs/deals",
    "palaestra interp teach arithmetic smollm2 --kind cheaper --steps 300 --dtype bfloat16 --to runs/cheaper",
    "palaestra interp teach reasoning smollm2 --setting sums --batch 4 --dtype bfloat16 --to runs/sums",
    "palaestra interp teach backdoor tiny:kuhn --to runs/backdoor",
    "palaestra interp teach even-split smollm2 --dtype bfloat16 --to runs/even-split",
)
OPTIONS = {"arithmetic": ("kind", "style", "judged"), "reasoning": ("setting",), "backdoor": (), "even-split": ()}
"""Lessons, and options that only they take."""


def teach(
    lesson: Annotated[
        str, typer.Argument(metavar="LESSON", help="arithmetic, reasoning, or an organism: backdoor, even-split.")
    ],
    model: Annotated[
        str,
        typer.Argument(metavar="MODEL", help="Any base of `palaestra models`; for arithmetic also deals, a tiny one."),
    ],
    to: Annotated[Path, typer.Option(help="The folder that gets the adapter; a cut run goes on there.")],
    kind: Annotated[
        list[str] | None,
        typer.Option("--kind", metavar="NAME", help="Of arithmetic: smaller, cheaper, packs, discount, distance."),
    ] = None,
    style: Annotated[str, typer.Option(help="Of arithmetic: plain or terse; of itself terse for deals.")] = "",
    judged: Annotated[int, typer.Option(min=0, help="Of arithmetic: held-out problems of each kind.")] = 0,
    setting: Annotated[str, typer.Option(help="Of reasoning: tree (tiny models) or sums (real models).")] = "",
    steps: Annotated[int, typer.Option(min=0, help="Optimizer steps; 0 chooses, as do the zeros below.")] = 0,
    batch: Annotated[int, typer.Option(min=0, help="Problems in each.")] = 0,
    rate: Annotated[float, typer.Option(min=0, help="Highest learning rate.")] = 0.0,
    rank: Annotated[int, typer.Option(min=0, help="Of the LoRA matrices.")] = 0,
    dtype: Annotated[str, typer.Option(help="Of the frozen base: float32 or bfloat16.")] = "float32",
    seed: Annotated[int, typer.Option(min=0, help="Of matrices and problems.")] = 0,
) -> None:
    """Train a LoRA adapter on what is known in advance: arithmetic, thinking aloud, a backdoor, a habit."""
    from palaestra.envs.errors import OptionError, UnknownName

    if lesson not in OPTIONS:
        raise UnknownName("lesson", lesson, list(OPTIONS))
    if dtype not in ("float32", "bfloat16"):
        raise OptionError(f"dtype {dtype!r} is unknown; it is float32 or bfloat16.")
    for name, given in (("kind", kind), ("style", style), ("judged", judged), ("setting", setting)):
        if given and name not in OPTIONS[lesson]:
            owner = next(one for one, names in OPTIONS.items() if name in names)
            raise OptionError(f"--{name} is of the lesson {owner}; leave it out for {lesson}.")
    chosen = {"steps": steps, "batch": batch, "rate": rate, "rank": rank, "alpha": 2 * rank, "judged": judged}
    how: dict[str, Any] = {"seed": seed, **{name: value for name, value in chosen.items() if value}}
    if lesson == "arithmetic":
        result = _arithmetic(model, to, kind, style, dtype, how)
    else:
        result = _other(lesson, model, to, setting, dtype, how)
    losses = result["losses"]
    if "after" not in result:
        console().print(f"Loss {losses[0]:.3f} at first, {sum(losses[-5:]) / len(losses[-5:]):.3f} at last.")
    console().print(untrusted(f"Adapter: {model}@{to}", "dim"))


def _arithmetic(
    model: str, to: Path, kinds: list[str] | None, style: str, dtype: str, how: dict[str, Any]
) -> dict[str, Any]:
    from palaestra.agents.models.sources import ModelSource
    from palaestra.interp.arithmetic.base import NAME, TAUGHT, resolved
    from palaestra.interp.arithmetic.problems import KINDS, kind_named
    from palaestra.interp.arithmetic.teaching import TeachingPlan, teach

    tiny = model == NAME
    plan = TeachingPlan(
        kinds=tuple(kind_named(name).name for name in kinds or (TAUGHT if tiny else KINDS)),
        style=style or ("terse" if tiny else "plain"),
        dtype=dtype,
        **{"steps": 600, "batch": 160 if tiny else 16, "rate": 3e-3 if tiny else 5e-4, **how},
    )
    loaded: LoadedModel = ModelSource.parse(resolved(model, _say)).load(dtype)
    result = teach(loaded, loaded.codec.tokenizer, plan, to, _say, model)
    shown = table("right on held-out numbers", "before", "after", right=(1, 2))
    for name in result["after"]["accuracy"]:
        shown.add_row(untrusted(name), *(_interval(result[when]["accuracy"][name]) for when in ("before", "after")))
    console().print(shown)
    return result


def _other(lesson: str, model: str, to: Path, setting: str, dtype: str, how: dict[str, Any]) -> dict[str, Any]:
    from palaestra.agents.models.sources import ModelSource
    from palaestra.interp.organisms import habits
    from palaestra.interp.reasoning import teaching as reasoning

    plan: teaching.Plan
    if lesson == "reasoning":
        source = ModelSource.parse(model)
        plan = reasoning.TeachingPlan(setting=setting or ("tree" if source.kind == "tiny" else "sums"), **how)
        return reasoning.teach(source.load(dtype), plan, to, _say)
    plan = habits.HabitPlan(habit=lesson, **how)
    result = habits.teach(ModelSource.parse(model).load(dtype), plan, to, _say)
    shown = table("on held-out prompts", "before", "after", right=(1, 2))
    for name, what in (("shown", "the habit shows"), ("elsewhere", "it shows elsewhere")):
        shown.add_row(what, *(f"{100 * result[when][name]:.0f} %" for when in ("before", "after")))
    console().print(shown)
    console().print(untrusted(f"Pairs: {to / 'pairs.jsonl'}", "dim"))
    return result


def _interval(one: dict[str, Any]) -> str:
    return f"{100 * one['mean']:.1f} % [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def _say(line: str) -> None:
    console(stderr=True).print(untrusted(line, "dim"))
