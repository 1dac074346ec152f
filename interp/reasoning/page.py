"""The page of an analysis of a reasoner."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from palaestra.interp import figures
from palaestra.interp.reasoning.dose import MEASURES
from palaestra.interp.report import Figure, Fold, Page, Part, Table, Text, Token, Tokens, bracket, number

_WAY = {"switch": "turn to something else", "stop": "end the thought", "deeper": "go deeper"}
_COLOUR = {"switch": -1.0, "stop": 1.0, "deeper": 0.25}


def write_page(found: Mapping[str, Any], shown: Sequence[Mapping[str, Any]], path: Path) -> Path:
    """Write the page of what `palaestra.interp.reasoning.study.study` found.

    Args:
        found: The result.
        shown: Replies in pieces, with how the thought went on behind each try.
        path: Of the page.
    """
    plan = found["plan"]
    page = Page(
        "What turns a thought, and what ends it",
        "Components and directions behind “this is not working, something else”, and behind the end of the thought.",
        {
            "model": plan["model"],
            "base": found.get("tokens", {}).get("base", "not compared"),
            "problems": f"{plan['problems']} ({plan['setting']}), seed {plan['seed']}",
            "took": f"{found['seconds']:.0f} s",
        },
    )
    page.add("What it writes", *_replies(found, shown))
    if "nothing" in found:
        page.add("No switch", Text(found["nothing"]))
        return page.write(path)
    for way in ("switch", "stop"):
        page.add(f"Components that {_WAY[way]}", *_components(found["components"][way], way))
    page.add("Directions", *_directions(found))
    page.add("Thinking more and less", *_doses(found["doses"]))
    if "tokens" in found:
        page.add("Do reasoning words mean the same as in the base?", *_tokens(found["tokens"]))
    return page.write(path)


def _of(one: Mapping[str, float], digits: int = 2) -> str:
    return bracket(one["mean"], one["low"], one["high"], digits)


def _replies(found: Mapping[str, Any], shown: Sequence[Mapping[str, Any]]) -> list[Part]:
    points = found["points"]
    rows = [(name.replace("_", " "), _of(one)) for name, one in found["replies"].items()]
    parts: list[Part] = [
        Table(
            ("of a reply", "mean [95 %]"),
            rows,
            note="accuracy: right answers; chooses right: share of tries behind which the thought goes on "
            "as it should; repetition: share of tries that were made before.",
        ),
        Text(
            f"Right ways on: {points['switch']} times something else, {points['stop']} times the end, "
            f"{points['deeper']} times deeper. The model turned {points['turned']} times."
        ),
    ]
    for one in shown:
        pieces = [
            Token(
                piece["text"],
                _COLOUR.get(piece["way"], 0.0),
                f"{piece['way']}, {_judged(piece['right'])}" if piece["way"] else "",
            )
            for piece in one["pieces"]
            if piece["text"]
        ]
        parts.append(Tokens([Token(one["problem"] + "\n"), *pieces], note="right" if one["right"] else "wrong"))
    return parts


def _judged(right: bool | None) -> str:
    return "as it should" if right else "not as it should"


def _components(found: Mapping[str, Any], way: str) -> list[Part]:
    scores = found["scores"]["scores"]
    order = found["order"]
    first = order[:12]
    parts: list[Part] = [
        Text(
            f"{found['pairs']} points of {found['problems']} problems, with twins: the same words, but the question "
            f"asks for something else, so that the right way on is “{found['other']}”. Log-odds of {way}: "
            f"{found['scores']['clean']:.2f} at the points, {found['scores']['corrupt']:.2f} at the twins. Components "
            "are ranked on one half of the problems, and sets of them measured on the other."
        ),
        Figure(
            figures.bars(
                "What each component does",
                "nats of log-odds",
                {name: tuple(scores[name][key] for key in ("mean", "low", "high")) for name in first},
            ),
            note="The loss of log-odds when the component carries its value of the twin; 95 % over problems.",
        ),
    ]
    series: dict[str, tuple[list[float], list[float]]] = {}
    bands: dict[str, tuple[list[float], list[float]]] = {}
    for side in ("necessity", "sufficiency"):
        sizes = [one["size"] for one in found[side]]
        series[side] = (sizes, [one["mean"] for one in found[side]])
        bands[side] = ([one["low"] for one in found[side]], [one["high"] for one in found[side]])
        null = f"random ({side})"
        series[null] = (sizes, [one["null"]["mean"] for one in found[side]])
        bands[null] = ([one["null"]["low"] for one in found[side]], [one["null"]["high"] for one in found[side]])
    parts.append(
        Figure(
            figures.lines("The first k components", "components", "share of the difference", series, bands, log=True),
            note="Necessity: taken to the twin's values, the way becomes less likely. Sufficiency: transplanted into "
            "the twin, it becomes as likely. Bands: 95 % over problems; of random sets as large, 95 % of sets.",
        )
    )
    rows = [
        (
            str(one["size"]),
            ", ".join(order[: one["size"]][-4:]),
            _of(other),
            _null(other["null"]),
            _of(one),
            _null(one["null"]),
        )
        for one, other in zip(found["sufficiency"], found["necessity"], strict=True)
    ]
    parts.append(Fold("Numbers", [Table(("k", "last added", "necessity", "random", "sufficiency", "random"), rows)]))
    sites = [(site, _of(one)) for site, one in found["by_site"].items()]
    note = "The whole residual stream, transplanted where the choice is made and nowhere else."
    parts.append(Fold("Where it is decided", [Table(("layer", "share that comes along"), sites, note=note)]))
    return parts


def _null(one: Mapping[str, float]) -> str:
    return bracket(one["mean"], one["low"], one["high"])


def _directions(found: Mapping[str, Any]) -> list[Part]:
    parts: list[Part] = [
        Text(
            "Difference of means: fitted, and the layer that is used chosen, on half of the problems, and asked on the "
            "other half. Added: log-odds of the "
            "way gained where another way is right. Removed: log-odds lost where it is right, the direction set to its "
            "mean elsewhere. Random: directions of the same length, isotropic, or between random halves of the rest."
        )
    ]
    for way, one in found["directions"].items():
        rows = [
            (
                f"{site} (used)" if site == one["chosen"] else site,
                f"{layer['auroc']:.2f}",
                f"{layer['auroc_null'][0]:.2f} to {layer['auroc_null'][1]:.2f}",
                _of(layer["added"]),
                _null(layer["added_null"]),
                _of(layer["removed"]),
                _null(layer["removed_null"]),
            )
            for site, layer in one["layers"].items()
        ]
        header = ("layer", "AUROC", "shuffled", "added", "random", "removed", "random")
        parts.append(Fold(_WAY[way], [Table(header, rows)], open=True))
    cosine = [(site, f"{value:.2f}") for site, value in found["cosine"].items()]
    parts.append(Fold("Cosine of the two directions", [Table(("layer", "cosine"), cosine)]))
    return parts


def _doses(found: Mapping[str, Any]) -> list[Part]:
    parts: list[Part] = [
        Text(
            f"Added at {found['site']} to every token that is written; a dose of 1 is the direction's own length. "
            "Random directions have the length of the switch direction."
        )
    ]
    random = [name for name in found["curves"] if name.startswith("random")]
    doses = sorted({0.0, *(float(key) for curve in found["curves"].values() for key in curve)})

    def values(name: str, measure: str, key: str = "mean") -> list[float]:
        curve = found["curves"][name]
        return [(found["plain"] if dose == 0 else curve[f"{dose:g}"])[measure][key] for dose in doses]

    for measure in MEASURES:
        series = {name: (doses, values(name, measure)) for name in ("switch", "stop")}
        bands = {name: (values(name, measure, "low"), values(name, measure, "high")) for name in ("switch", "stop")}
        if random:
            rows = [values(name, measure) for name in random]
            columns = list(zip(*rows, strict=True))
            series["random"] = (doses, [sum(column) / len(column) for column in columns])
            bands["random"] = ([min(column) for column in columns], [max(column) for column in columns])
        svg = figures.lines(measure, "dose", f"{measure} of a reply", series, bands)
        note = "Bands: 95 % over problems; of the random directions, from the least to the most."
        figure = Figure(svg, note=note)
        parts.append(figure if measure in ("tokens", "switches", "accuracy", "repetition") else Fold(measure, [figure]))
    for size in sorted({size for one in found["contrasts"].values() for size in one}, key=float):
        rows_of = [
            (f"{name}: {measure}", number(one["difference"]), f"{one['p']:.2f}")
            for name, sizes in found["contrasts"].items()
            if not name.startswith("random")
            for measure, one in sizes.get(size, {}).items()
        ]
        title = f"Dose {size} less dose \u2212{size}"
        note = (
            "p: share of random directions, the direction itself counted, that differ as much between their two doses."
        )
        parts.append(Fold(title, [Table(("measure", "difference", "p"), rows_of, note=note)]))
    return parts


def _tokens(found: Mapping[str, Any]) -> list[Part]:
    tests = [
        (name, number(one["critical"]), number(one["control"]), f"{one['p']:.3f}")
        for name, one in found["tests"].items()
    ]
    measures = tuple(found["tests"])
    order = sorted(found["tokens"], key=lambda one: (not one["critical"], -one["swap"]["mean"]))
    rows = [
        (
            repr(one["token"]),
            "reasoning" if one["critical"] else "",
            str(one["count"]),
            *(bracket(one[name]["mean"], one[name]["low"], one[name]["high"], 3) for name in measures),
        )
        for one in order
    ]
    note = (
        "representation: 1 \u2212 cosine; retrieval: share whose nearest neighbour in the base is another word; "
        "readout: Jensen-Shannon divergence of what is predicted behind it, bits; swap: change of later predictions "
        "when the token is the base's, nats a token."
    )
    return [
        Text("Reasoning words beside words of like frequency in the same replies: did they change more?"),
        Table(("measure", "reasoning words", "controls", "p"), tests, note=note),
        Fold("Token by token", [Table(("token", "", "count", *measures), rows)]),
    ]
