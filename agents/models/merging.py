"""Adapters of one base merged into one, through PEFT.

The merged adapter's change of every matrix is the weighted sum of the others': delta W = sum of w_i delta W_i, exactly,
at a rank that is the sum of theirs (PEFT's combination ``cat``). ``svd`` brings that back to the largest of their
ranks, which loses what does not fit.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from math import isfinite
from pathlib import Path
from typing import Any, Literal

from palaestra.agents.models import library
from palaestra.agents.models.adapters import facts, stamp
from palaestra.agents.models.library import Card
from palaestra.agents.models.sources import ModelSource
from palaestra.agents.thinking_adapter import recorded
from palaestra.envs.errors import OptionError

Kind = Literal["cat", "svd"]


def merge(names: Sequence[str], weights: Sequence[float], to: str, kind: Kind = "cat") -> Card:
    """Merge adapters of the library into a new one called ``to``; return its card.

    Raises:
        OptionError: Fewer than two, another number of weights, weights that are no finite numbers, adapters of
            different bases or without one, or with thinking tokens, whose rows have no weighted sum that means
            anything.
    """
    from peft import PeftModel

    if len(names) < 2 or len(set(names)) != len(names) or len(names) != len(weights):
        raise OptionError(f"{len(names)} adapters and {len(weights)} weights; name at least two different ones, each "
                          "with its weight.")  # fmt: skip
    if not all(map(isfinite, weights)):
        raise OptionError(f"weights {', '.join(f'{one:g}' for one in weights)}: each must be a finite number.")
    cards = [library.card_of(name) for name in names]
    folders = [library.folder_of(name) for name in names]
    bases = sorted({card.fingerprint for card in cards})
    if len(bases) != 1 or not cards[0].base:
        raise OptionError(f"{', '.join(names)} are adapters of {len(bases)} bases, or do not say of which; only "
                          "adapters of one known base can be merged.")  # fmt: skip
    if any(recorded(folder) is not None for folder in folders):
        raise OptionError("adapters with thinking tokens cannot be merged: their rows mean different thoughts.")
    loaded = ModelSource.parse(cards[0].base).load()
    model = PeftModel.from_pretrained(loaded.model, str(folders[0]), adapter_name="a0")
    for number, folder in enumerate(folders[1:], 1):
        model.load_adapter(str(folder), adapter_name=f"a{number}")
    inside = [f"a{number}" for number in range(len(names))]
    configs: dict[str, Any] = model.peft_config
    more = {"svd_rank": max(configs[one].r for one in inside)} if kind == "svd" else {}
    model.add_weighted_adapter(inside, list(weights), adapter_name="merged", combination_type=kind, **more)
    tasks = tuple(dict.fromkeys(task for card in cards for task in card.tasks))
    with tempfile.TemporaryDirectory() as work:
        model.save_pretrained(work, selected_adapters=["merged"])
        folder = Path(work) / "merged"
        stamp(folder, cards[0].fingerprint, model=cards[0].base, games=_games(folders))
        card = Card(
            "",
            base=cards[0].base,
            fingerprint=cards[0].fingerprint,
            tasks=tasks,
            reference=cards[0].base,
            parents=tuple(zip(names, map(float, weights), strict=True)),
        )
        return library.add(str(folder), to, card=card, notes=f"merged by {kind}")


def _games(folders: Sequence[Path]) -> list[object]:
    """Return how the adapters were asked in training, each game as the first of them was."""
    found: dict[str, object] = {}
    for folder in folders:
        for game in facts(folder).get("games") or []:
            if isinstance(game, dict):
                found.setdefault(str(game.get("game")), game)
    return list(found.values())
