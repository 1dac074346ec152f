"""``index.html`` of an analysis: what each layer does with the numbers (`palaestra.interp.report` makes the page)."""

from __future__ import annotations

import math
from pathlib import Path

from palaestra.interp.arithmetic import figures
from palaestra.interp.arithmetic import sweep as sweeping
from palaestra.interp.arithmetic.analysis import ARMS, Result, read
from palaestra.interp.arithmetic.fits import MODELS
from palaestra.interp.arithmetic.operations import CANDIDATES, CLOSE
from palaestra.interp.arithmetic.problems import KINDS
from palaestra.interp.errors import InterpError
from palaestra.interp.report import Figure, Fold, Page, Part, Table, Text

NOTABLE = 0.005
"""Share of the logit difference's variance from which a layer part has a row of its own."""

ORDERED = {one.name for one in CANDIDATES if one.ordered}
"""Operations that speak of the order of numbers, for which relabelled digits are the null."""


def write_page(folder: Path) -> Path:
    """Write the page of a finished analysis and return its path.

    Raises:
        PalaestraError: There is no finished analysis, its maps are gone, or the page cannot be written.
    """
    found = read(folder)
    plan = found["plan"]
    page = Page(
        "Yes or no: which numbers move which layer",
        "Two-option questions about two numbers, asked with every pair of them, and what each part of the model does "
        "for yes over no.",
        {
            "model": found["model"],
            "questions": f"{', '.join(plan['kinds'])} ({plan['style']} wording), each as asked and turned round",
            "seed": str(plan["seed"]),
            "cost": f"{found['seconds'] / 60:.1f} minutes",
        },
    )
    if found["teaching"]:
        page.add("Can it answer?", *_teaching(found["teaching"]))
    page.add("The model beside its base and beside random weights", _arms(found))
    main = "adapter" if "adapter" in found["arms"] else "base"
    for one in found["sweeps"]:
        page.add(one["grid"]["name"], *_sweep(folder / "sweeps" / main, one))
    page.add("How to read this, and what it cannot say", *(Text(text) for text in LIMITS))
    return page.write(folder / "index.html")


LIMITS = (
    "A contribution is a part's share of the logits, and no proof that the model needs it: patching measures that, for "
    "a few components and one sort of opposite problem. Totals are gradients times differences from the mean over the "
    "grid, with norms frozen and gates halved; they are good for comparing numbers and not for adding up.",
    f"A verdict chooses among {len(CANDIDATES)} candidates the one with the fewest parameters within {CLOSE} of the "
    "best R² on held-out cells; “none found” says that none of them fits, and not that nothing is computed. f, g and h "
    "share what is linear in a and b, which is drawn into f and g. Only these ranges of numbers, this wording and this "
    "parameter were asked.",
)


def _teaching(found: Result) -> list[Part]:
    kinds = list(found["after"]["accuracy"])
    rows = [
        [
            when,
            *(_percents(found[when]["accuracy"][kind]) for kind in kinds),
            _percent(found[when]["yes"]),
            _percent(found[when]["answered"]),
        ]
        for when in ("before", "after")
    ]
    note = (
        "Right answers on numbers that were not taught, with Wilson's 95 % intervals, before and after the adapter was "
        "taught. Half of the right answers are yes; “answered” is how often yes or no is the likeliest token of all."
    )
    return [Table(["", *kinds, "said yes", "answered"], rows, note)]


def _arms(found: Result) -> Table:
    rows = []
    for one in found["sweeps"]:
        for arm in ARMS:
            row = next((row for row in found["arms"].get(arm, []) if row["sweep"] == one["grid"]["name"]), None)
            if row:
                rows.append(
                    [
                        row["sweep"],
                        arm,
                        f"{_percent(row['accuracy'])} of {row['cells']}",
                        _number(row["deviation"]),
                        row["operation"] + (f" {_r2(row['fit'])}" if row["fit"] else ""),
                        *(f"{row['models'][model]['held_out']:.2f}" for model in MODELS),
                        f"{row['ordered_parts']} of {row['parts']}",
                    ]
                )
    note = (
        "R² on held-out cells of the grid, brackets: 95 % by bootstrap over rows and columns; below 0 is worse than "
        "the "
        "mean. A random model, too, depends on its digits, so f(a) + g(b) fits it; what it cannot know is their order. "
        "“Know the order” counts layer parts whose operation fits better than on 95 % of maps in which digits were "
        "given "
        "each other's meaning; one in twenty may do so by chance, so compare with the random row."
    )
    header = ["question", "arm", "right", "deviation, logits", "what logit(yes) − logit(no) does"]
    return Table([*header, *MODELS, "parts that know the order"], rows, note, left=(1, 4))


def _sweep(folder: Path, one: Result) -> list[Part]:
    fields = {name: value for name, value in one["grid"].items() if name not in ("name", "example")}
    grid = sweeping.Grid(**{**fields, "first": tuple(fields["first"]), "second": tuple(fields["second"])})
    sweep = sweeping.load(grid, folder)
    if sweep is None:
        raise InterpError(f"the maps of {grid.name} are not in {folder}; make the analysis again.")
    direct, total = one["maps"]["direct"], one["maps"].get("total", {})
    parts = [name for name in direct if sweeping.layer_part(name) == name and name != "constant"]
    turned = ", and the question turned round" if grid.reverse else ""
    about = (
        f"“{one['grid']['example']}” with a from {grid.first[0]} to {grid.first[1]} and b from {grid.second[0]} to "
        f"{grid.second[1]}: {KINDS[grid.kind].summary}{turned}. {_percent(one['accuracy'])} of the answers are right. "
        f"Contributions, constants included, add up to the logit difference to within {one['sum_error']:.1e}."
    )
    deviations = [
        (name, direct[name]["deviation"], total[name]["deviation"] if name in total else math.nan) for name in parts
    ]
    return [
        Text(about),
        Figure(
            figures.overview(sweep.difference, deviations, grid),
            "Left: the logit difference over all pairs of numbers, its mean taken off; blue is yes, the line is where "
            "the right answer turns. Right: how far each part's effect varies over the grid. Direct is what a part "
            "adds "
            "to the logits by itself, exactly; total is what it does through all that follows, estimated by a "
            "gradient.",
        ),
        *_operations(parts, direct, total),
        *_patching(one["causes"]),
        *_gradients(one["gradients"]),
        _components(sweep, one),
    ]


def _operations(parts: list[str], direct: Result, total: Result) -> list[Part]:
    rows, faint = [], []
    for name in parts:
        far = total.get(name)
        if direct[name]["share"] < NOTABLE and (far is None or far["share"] < NOTABLE):
            faint.append(name)
            continue
        rows.append(
            [
                name,
                *_verdict(direct[name]),
                _number(direct[name]["with_reverse"], 2),
                *(_verdict(far) if far else ["–"] * 4),
            ]
        )
    note = (
        "A share is the variance of a part's map over that of the logit difference; parts that cancel make shares "
        "above "
        "100 %. “For the right answer” is the correlation with its sign. “Turned round” is the correlation of a map "
        "with "
        "its own when the same question is turned round: −1 speaks of the answer, 1 of the numbers alone."
    )
    if faint:
        note += f" Fainter than {100 * NOTABLE} % in both: {', '.join(faint)}."
    header = ["part", "directly", "share", "for the right answer", "evidence", "turned round"]
    through = ["through later layers", "share", "for the right answer", "evidence"]
    return [
        Text("Which operation does this layer perform?", "heading"),
        Table([*header, *through], rows, note, left=(1, 4, 6, 9)),
    ]


def _verdict(row: Result) -> list[str]:
    return [row["operation"], _percent(row["share"]), _number(row["towards"], 2), _evidence(row)]


def _evidence(row: Result) -> str:
    """Say in a line what the verdict rests on."""
    if row["fit"] is None:
        best, (held, _, _) = max(row["candidates"].items(), key=lambda item: item[1][0])
        return f"best candidate: {best}, held-out R² {held:.2f}" if row["operation"] != "constant" else ""
    fit = row["fit"]
    found = f"R² {fit['r2']:.2f}, held out {_r2(fit)}"
    if row["operation"] not in ORDERED:
        return found
    return f"{found}; relabelled digits reach {fit['null']:.2f}, p = {fit['p']:.2f}"


def _patching(found: Result) -> list[Part]:
    heading = Text("Measured: what breaks when a component hears the opposite problem", "heading")
    if not found["rows"]:
        return [heading, Text("This grid holds too few problems with opposite answers.")]
    rows = [[name, *(_bracket(row.get(which)) for which in ("both", "a", "b"))] for name, row in found["rows"].items()]
    null = found["null"]
    note = (
        "Fall of logit(right) − logit(wrong), in logits, when the component has its values of a problem with the "
        f"opposite answer ({found['pairs']['both']} pairs; {_number(found['clean'])} as they are, "
        f"{_number(found['corrupt'])} with everything exchanged), with 95 % intervals by bootstrap over pairs; the "
        f"components of largest estimate. Estimate and measurement correlate at {_number(found['agreement'], 2)} among "
        f"them, with {found['sign_flips']} signs wrong. Null: {len(null['components'])} other components drawn at "
        "random "
        f"reach {_number(null['largest'], 2)} at most and {_number(null['mean'], 2)} in the mean."
    )
    return [heading, Table(["component", "both numbers exchanged", "only a", "only b"], rows, note)]


def _gradients(found: Result) -> list[Part]:
    rows = []
    for name, row in found["agreement"].items():
        for by in ("here", "integrated"):
            cells = []
            for one in (row[by], row[f"{by} carry"]):
                interval = "–" if one["low"] is None else f"[{_number(one['low'], 2)}, {_number(one['high'], 2)}]"
                cells += [f"{_number(one['correlation'], 2)} {interval}", _percent(one["same_sign"])]
                cells.append(_number(one["slope"], 2))
            rows.append([name, by, *cells])
    note = (
        "Steps from one number to the next against the gradient at the number's tokens along the line between their "
        f"embeddings: here, at the first number, or integrated at {found['points']} points. “Size” is the slope "
        "through "
        "0: 1 where steps are as large as foretold. The line passes where no token is, and a low r here says that the "
        "model is not straight between numbers; the integral must come near to 1 if the line is fine enough."
    )
    return [
        Text("Does a gradient through the number tokens foretell the next number?", "heading"),
        Figure(figures.step_scatter(found["steps"])),
        Table(
            ["", "gradient", "last digit: r", "same sign", "size", "carries: r", "same sign", "size"],
            rows,
            note,
            left=(1,),
        ),
    ]


def _components(sweep: sweeping.Sweep, one: Result) -> Fold:
    parts: list[Part] = []
    for which, listed in one["curves"].items():
        names, maps = sweep.rows(which)
        for name, found in listed.items():
            row = one["maps"][which][name]
            parts.append(Text(f"{name}, {which}: {row['operation']}", "heading"))
            parts.append(Figure(figures.part_panels(maps[names.index(name)], found, sweep.grid), _numbers(row)))
    return Fold("Components one by one: maps, f(a) + g(b) + h(a − b), waves, steps", parts)


def _numbers(row: Result) -> str:
    models = ", ".join(f"{model} {row['models'][model]['held_out']:.2f}" for model in MODELS)
    alone = ", ".join(f"{name} {value:.3f}" for name, value in row["unique"].items())
    step = {name: _number(value, 2) for name, value in row["steps"].items()}
    fourier = row["fourier"]
    return (
        f"Held-out R²: {models}, Fourier {fourier['held_out']:.2f} (in sample {fourier['r2']:.2f}, relabelled digits "
        f"{fourier['null']:.2f}). Explained by nothing else: {alone}. Steps, root mean square in logits: last digit "
        "of a "
        f"{step['a']}, of b {step['b']}; carries {step['a_carry']}, {step['b_carry']}; tens {step['a_tens']}, "
        f"{step['b_tens']}; mixed {step['mixed']}; trend {step['a_slope']} per a, {step['b_slope']} per b."
    )


def _number(value: float | None, digits: int = 3) -> str:
    return "–" if value is None else f"{value:.{digits}g}".replace("-", "−")


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _percents(one: Result) -> str:
    return f"{100 * one['mean']:.1f} % [{100 * one['low']:.1f}, {100 * one['high']:.1f}]"


def _bracket(one: Result | None) -> str:
    return "–" if one is None else f"{one['mean']:.2f} [{one['low']:.2f}, {one['high']:.2f}]".replace("-", "−")


def _r2(fit: Result) -> str:
    return f"{fit['held_out']:.2f} [{fit['low']:.2f}, {fit['high']:.2f}]".replace("-", "−")
