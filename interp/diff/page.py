"""The page of a comparison, made of the folder's JSON alone; and a short section for a run's report."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from palaestra.interp.figures import bars, heat_map, lines
from palaestra.interp.report import Figure, Fold, Page, Part, Table, Text, Token, Tokens, bracket, number

SHOWN = 24


def page_of(before: str, after: str, found: Mapping[str, Any], facts: Mapping[str, str]) -> Page:
    """Return the page."""
    page = Page("What training changed", f"{before} before, {after} after, on the same prompts.", facts)
    for name, title, make in (
        ("switching", "Modules, by switching them", _switching),
        ("edges", "Edges and circuits", _edges),
        ("lens", "What is added to unrelated texts", _lens),
        ("suppression", "Gone, or only suppressed?", _suppression),
        ("crosscoder", "Features of one model only", _crosscoder),
    ):
        data = found.get(name, {})
        page.add(title, *([Text(f"Not measured: {data['nothing']}")] if "nothing" in data else make(data)))
    return page


def _switching(data: Mapping[str, Any]) -> list[Part]:
    blind, told, layers = data["divergence"], data["metric"], data["layers"]
    best = _ordered(blind["modules"])
    reported = [name for name in best if blind["modules"][name]["reported"]]
    parts: list[Part] = [
        Text(
            "The trained model’s next-token distributions differ from the base’s by "
            f"{number(blind['after'])} nats a token. "
            + (
                f"{len(reported)} of {len(best)} modules switched one by one do more than chance, first of "
                f"all {reported[0]}."
                if reported
                else "No module by itself does more than chance in the choice of prompts."
            )
        ),
        Figure(
            bars(
                "What a module does",
                "nats a token, mean of added to the base and taken from the trained model",
                {one: tuple(blind["modules"][one][key] for key in ("effect", "low", "high")) for one in best[:SHOWN]},
            ),
            "Intervals (95 %) hold for all modules at once, over prompts.",
        ),
    ]
    if grid := _grid(blind["modules"]):
        parts.append(
            Figure(
                heat_map(
                    "Where", grid[2], across="module", up="layer", columns=grid[0], rows=grid[1], unit="nats a token"
                ),
                "Modules that were not among those switched are 0.",
            )
        )
    rows = []
    for name in _ordered(told["modules"])[:SHOWN]:
        one = told["modules"][name]
        effect = bracket(one["effect"], one["low"], one["high"])
        size = data["sizes"].get(name)
        rows.append(
            (
                name,
                effect,
                number(one["added"]),
                number(one["removed"]),
                "" if size is None else number(size),
                "yes" if one["reported"] else "",
            )
        )
    parts.append(
        Table(
            (
                "module",
                "logit difference, effect",
                "added to the base",
                "taken from the trained",
                "size of the change",
                "beyond chance",
            ),
            rows,
            f"Answer over foil: {number(told['before'])} before, {number(told['after'])} after, in logits.",
        )
    )
    parts.append(
        Fold(
            "By layer",
            [
                Table(
                    ("layer", "nats a token"),
                    [(n, bracket(o["effect"], o["low"], o["high"], 4)) for n, o in layers["modules"].items()],
                )
            ],
        )
    )
    return parts


def _ordered(modules: Mapping[str, Any]) -> list[str]:
    return sorted(modules, key=lambda name: -abs(modules[name]["effect"]))


def _grid(modules: Mapping[str, Any]) -> tuple[list[str], list[str], list[list[float]]] | None:
    inside = [name.split(".", 1) for name in modules if name.startswith("L") and "." in name]
    if not inside:
        return None
    layers = sorted({layer for layer, _ in inside}, key=lambda one: int(one[1:]))
    kinds = list(dict.fromkeys(kind for _, kind in sorted(inside, key=lambda one: _ORDER.get(one[1], 9))))
    value = lambda layer, kind: modules.get(f"{layer}.{kind}", {"effect": 0.0})["effect"]  # noqa: E731
    return kinds, layers, [[value(layer, kind) for kind in kinds] for layer in layers]


_ORDER = {name: index for index, name in enumerate(("norm1", "q", "k", "v", "qkv", "o", "norm2", "gate", "up", "down"))}


def _edges(data: Mapping[str, Any]) -> list[Part]:
    counts = ", ".join(f"{count} {kind}" for kind, count in data["counts"].items() if count) or "none differs"
    parts: list[Part] = [
        Text(
            f"Of {data['edges']} edges, scored in both models on {data['prompts']} prompts: {counts}. Distance of the "
            f"circuits {number(data['distance'])} (0 equal, 1 nothing in common), rank correlation "
            f"{number(data['rank_correlation'])}."
        ),
    ]
    if data["changes"]:
        rows = [
            (
                one["edge"],
                one["change"],
                number(one["before"]),
                number(one["after"]),
                f"[{number(one['low'])}, {number(one['high'])}]",
                "yes" if one["certain"] else "",
            )
            for one in data["changes"][:SHOWN]
        ]
        parts.append(
            Table(
                ("edge", "change", "before", "after", "difference", "certain"),
                rows,
                f"The {len(rows)} largest of {len(data['changes'])}. About one in twenty of all that are reported does "
                "not differ, if differences scatter evenly about zero. Intervals (95 %) are each edge's own; certain "
                "is what differs in intervals that hold for all edges at once.",
            )
        )
    if data["cross"]:
        runs = [
            (
                f"{one['circuit']} in {one['run_in']}",
                bracket(one["faithfulness"], one["low"], one["high"]),
                number(one["worst"]),
                "" if one["random"] is None else number(one["random"]),
            )
            for one in data["cross"]
        ]
        size = data["cross"][0]["size"]
        parts.append(
            Table(
                ("circuit, and the model it runs in", "faithfulness", "worst prompt", "random circuits"),
                runs,
                f"{size} edges each, on prompts they were not found on; 1 is the whole model.",
            )
        )
    return parts


def _lens(data: Mapping[str, Any]) -> list[Part]:
    parts: list[Part] = []
    for where, words in (("first", "at the first five places"), ("all", "over all places")):
        rows = data[where]
        loud = max(rows, key=lambda one: (one["told"], one["size"]))
        parts.append(
            Text(
                f"The mean difference {words}, read as tokens. Most is told by {loud['point']}: "
                f"{loud['told']} tokens are promoted more than any is by chance."
            )
        )
        most = max((one["logit"] for one in loud["tokens"]), default=1.0) or 1.0
        parts.append(
            Tokens([Token(f" {one['token']} ", one["logit"] / most, f"{one['logit']:+.2f}") for one in loud["tokens"]])
        )
        (steer,) = data[f"steered_{where}"]
        parts.append(
            Text(
                f"Added to the base at {steer['point']}, it leaves {number(steer['steered'])} nats a token "
                f"to the trained model; nothing added {number(steer['alone'])}, random directions of its "
                f"length {number(steer['random'])}."
            )
        )
        table = Table(
            ("stream", "length, of the stream’s", "by chance", "tokens beyond chance"),
            [
                (
                    one["point"],
                    number(one["size"]),
                    number(one["chance"]),
                    " ".join(repr(t["token"]) for t in one["tokens"][: min(6, one["told"])]),
                )
                for one in rows
            ],
        )
        parts.append(Fold(f"All streams, {words}", [table]))
    return parts


def _suppression(data: Mapping[str, Any]) -> list[Part]:
    words = {
        "suppressed": "suppressed: given what the base’s earlier layers say, the trained model’s later "
        "layers still do it",
        "gone": "gone: even when given what the base’s earlier layers say, the trained model’s later "
        "layers do not do it",
        "kept": "kept: training did not take it away",
        "unclear": "unclear: the interval holds one half",
    }
    x = list(range(len(data["points"])))
    names = {
        "restored": "restored: trained, given the base’s stream",
        "read": "read: base, given the trained stream",
        "control": "control: given another prompt’s stream",
        "done": "done in the base",
    }
    series = {names[key]: (x, [row[0] for row in data[key]]) for key in names}
    bands = {names[key]: ([row[1] for row in data[key]], [row[2] for row in data[key]]) for key in names}
    return [
        Text(
            f"What the base did ({data['metric']}: {number(data['before'])} before, "
            f"{number(data['after'])} after, {number(data['reference'])} on corrupt prompts) is "
            f"{words[data['verdict']]}. Read at {data['entrance']}."
        ),
        Figure(lines("By the stream that is put in", "residual stream", "share of the base’s metric", series, bands)),
    ]


def _crosscoder(data: Mapping[str, Any]) -> list[Part]:
    counts = ", ".join(f"{count} {kind}" for kind, count in data["counts"].items())
    rows = [
        (
            str(one["latent"]),
            one["verdict"],
            number(one["density"]),
            number(one["error_ratio"]),
            number(one["reconstruction_ratio"]),
        )
        for one in sorted(data["one_sided"], key=lambda one: -one["density"])[:SHOWN]
    ]
    parts: list[Part] = [
        Text(
            f"A BatchTopK crosscoder on {data['tokens']} tokens at {data['point']} explains "
            f"{number(data['explained'][0])} and "
            f"{number(data['explained'][1])} of the variance before and after; its latents are {counts}."
        )
    ]
    if rows:
        parts.append(
            Table(
                ("latent", "is", "active in", "before / after, on errors", "on reconstructions"),
                rows,
                "Ratios of latent scaling: near 0 on both is new, near 1 is shared.",
            )
        )
    return parts
