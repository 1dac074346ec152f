"""The page of many adapters: ``many.json`` and ``index.html``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from palaestra.agents.models.disk import replace_text
from palaestra.interp.figures import heat_map
from palaestra.interp.report import Figure, Page, Table, Text, number

SHOWN = 30


def write_many(
    base: str,
    effects: Mapping[str, Mapping[str, float]],
    kinds: Mapping[str, str],
    recurring: list[tuple[str, int, float]],
    prediction: Mapping[str, Any],
    facts: Mapping[str, Any],
    folder: Path,
) -> Path:
    """Write the folder; return its page.

    Args:
        base: What the adapters stand on.
        effects: By adapter and module, divergence in nats a token.
        kinds: By adapter, what it was taught.
        recurring: Of `palaestra.interp.diff.many.recurring`.
        prediction: ``right``, ``of``, ``chance`` and ``p``; or ``nothing``, why it could not be made.
        facts: What stands at the top, such as prompts and seed.
        folder: Where the page goes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    data = {
        "base": base,
        **facts,
        "adapters": {name: {"kind": kinds[name], "effects": dict(one)} for name, one in effects.items()},
        "recurring": [dict(zip(("module", "times", "chance"), row, strict=True)) for row in recurring],
        "prediction": dict(prediction),
    }
    replace_text(folder / "many.json", json.dumps(data, indent=1) + "\n")
    page = Page(
        "What training changed, adapter by adapter",
        f"{len(effects)} adapters of {base}, each module switched by itself on the same texts.",
        {name: str(value) for name, value in facts.items()},
    )
    order = sorted(effects, key=lambda name: (kinds[name], name))
    mean = {module: sum(_share(one).get(module, 0.0) for one in effects.values()) for module in _modules(effects)}
    columns = sorted(sorted(mean, key=lambda module: -mean[module])[:SHOWN])
    rows = [[_share(effects[name]).get(module, 0.0) for module in columns] for name in order]
    page.add(
        "Modules",
        Figure(
            heat_map(
                "What each module does",
                rows,
                across="module",
                up="adapter",
                columns=columns,
                rows=[f"{name} ({kinds[name]})" if kinds[name] else name for name in order],
                unit="of the adapter's largest",
            ),
            f"The {len(columns)} modules that do most over all adapters; each row as a share of its largest effect.",
        ),
        Table(
            ("adapter", "taught", "most by, nats a token"),
            [
                (
                    name,
                    kinds[name],
                    ", ".join(
                        f"{module} {number(effects[name][module])}"
                        for module in sorted(effects[name], key=lambda key: -effects[name][key])[:3]
                    ),
                )
                for name in order
            ],
        ),
    )
    page.add(
        "Which recur",
        Table(
            ("module", "among the first three of", "by chance"),
            [(module, f"{times} of {len(effects)}", number(chance)) for module, times, chance in recurring[:SHOWN]],
        ),
    )
    page.add("Which predict the kind of training", Text(told(prediction)))
    return page.write(folder / "index.html")


def told(prediction: Mapping[str, Any]) -> str:
    """Return the prediction as a sentence."""
    if "nothing" in prediction:
        return str(prediction["nothing"])
    return (
        "The kind of training is told of {right} of {of} adapters by the nearest mean profile of the others; with "
        "labels shuffled of {chance:.0%} (p {p:.3f}).".format(**prediction)
    )


def _modules(effects: Mapping[str, Mapping[str, float]]) -> list[str]:
    return sorted({module for one in effects.values() for module in one})


def _share(one: Mapping[str, float]) -> dict[str, float]:
    largest = max(map(abs, one.values()), default=1.0) or 1.0
    return {module: value / largest for module, value in one.items()}
