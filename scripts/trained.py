"""What a trained adapter remembers: by which section of a configuration it learned a game, and whose version it is.

A policy asked in other words, or with other limits, than in training is another policy; so the commands that seat one
ask it as it was trained, unless they are told otherwise.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from palaestra.scripts.console import console, untrusted

if TYPE_CHECKING:
    from palaestra.agents.language_model import ReplySettings
    from palaestra.trainers.config import GameSection

VERSION = r"[A-Za-z0-9_.-]+@\d+"
"""How replays of a run name the version that sat in a seat."""

UNCHECKED = "Let a model paraphrase or monitor that has not passed its own check."
"""What ``--unchecked`` does."""


def section_of(spec: str, game: str) -> GameSection | None:
    """Return the section by which a seat's adapter was trained on ``game``; None for other seats and games.

    Raises:
        PalaestraError: There is no such adapter, or what it remembers is damaged, or would reach outside.
    """
    from palaestra.agents import seat_names
    from palaestra.agents.seats import reaches_outside
    from palaestra.envs.errors import OptionError

    if "@" not in spec or spec.partition(":")[0] in seat_names():
        return None
    from palaestra.agents.models import adapters
    from palaestra.agents.models.sources import ModelSource

    source = ModelSource.parse(spec)
    if source.adapter is None:
        return None
    folder = adapters.resolve(source.adapter)
    if (lesson := adapters.lesson(folder, game)) is None:
        return None
    from palaestra.trainers.config import parse_config

    section = parse_config({"games": [lesson]}, str(folder / adapters.STAMP)).games[0]
    if outside := [seat for seat in section.fixed_seats.values() if reaches_outside(seat)]:
        raise OptionError(
            f"{folder / adapters.STAMP} seats {outside[0]!r}, which would start a program or call an address; whoever "
            "trusts it can name that seat with --seats, or take it out of the file."
        )
    return section


def settings_of(section: GameSection | None, **asked: Any) -> ReplySettings:
    """Return how a model is asked: as it was trained, else by default; what is ``asked`` and not None goes before."""
    from palaestra.agents.language_model import ReplySettings

    known = section.reply.settings() if section else ReplySettings()
    return replace(known, **{key: value for key, value in asked.items() if value is not None})


def tell(spec: str, section: GameSection, game: str, options: dict[str, Any], settings: ReplySettings) -> None:
    """Say on stderr that a seat is asked as it was trained."""
    shown = ", ".join(f"{key}={value}" for key, value in options.items()) or "no options"
    text = (
        f"{spec} was trained on {game} and is asked as it was there: {shown}, at most {settings.max_tokens} tokens, "
        f"temperature {settings.temperature:g}; flags go before."
    )
    console(stderr=True).print(untrusted(text, "dim"), soft_wrap=True)


def recorded_seat(name: str, file: Path) -> str:
    """Return what to write after ``--seats`` for the name of a seat in a replay.

    A run's replays name the seats of its policy by version, such as ``kuhn@3`` or ``base``; the adapters beside the
    replays say of which model. Any other name is returned as it is.
    """
    import re

    from palaestra.agents.models import adapters

    if name != "base" and not re.fullmatch(VERSION, name):
        return name
    for folder in file.resolve().parents:
        known = adapters.versions(folder)
        if name in known or (name == "base" and known):
            version = folder / "adapters" / (known[0] if name == "base" else name)
            model = adapters.facts(version).get("model")
            if isinstance(model, str):
                return model if name == "base" else f"{model}@{version}"
    return name
