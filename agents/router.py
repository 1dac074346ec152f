"""A seat that plugs in the adapter for the game it finds itself at: ``router:smollm2``.

Of the adapters in the library that fit the base and were trained on the game, it takes the one that did best there
(`palaestra.agents.models.library.for_task`), and asks it as it was asked in training. Without one it is the bare base.
Every reply's ``info`` says which it was. All routers of a process over one base share its engine, so that several
adapters are served in one batch.
"""

from __future__ import annotations

import dataclasses
from functools import lru_cache
from typing import Any

from palaestra.agents.engines.base import BASE, Engine
from palaestra.agents.language_model import LanguageModelSeat, ReplySettings
from palaestra.agents.models import library
from palaestra.agents.models.adapters import check, lesson
from palaestra.agents.models.sources import LoadedModel, ModelSource
from palaestra.envs.episode import Reply
from palaestra.envs.errors import OptionError
from palaestra.envs.seat import View


@lru_cache(maxsize=2)
def served(base: str) -> tuple[LoadedModel, Engine]:
    """Return a base and the engine that serves it with adapters; one a process.

    Raises:
        OptionError: The source names an adapter.
    """
    from palaestra.agents.engines.transformers_engine import TransformersEngine

    source = ModelSource.parse(base)
    if source.adapter is not None:
        raise OptionError(f"{base!r} names an adapter; a router takes a base and finds the adapter itself.")
    loaded = source.load()
    return loaded, TransformersEngine(loaded.model)


def plug(base: str, name: str) -> str:
    """Have the engine of a base serve an adapter of the library; return the name of that policy.

    Raises:
        ModelError, UnknownName: There is no such adapter, or it is for another base.
    """
    loaded, engine = served(base)
    card = library.card_of(name)
    policy = f"{name}@{card.identity}"
    if policy not in engine.policies():
        folder = library.folder_of(name)
        check(folder, loaded.folder, loaded.fingerprint, base)
        engine.add_policy(policy, folder)
    return policy


class RouterSeat:
    """Plays any game with the library's adapter for it.

    Args:
        base: Source of the base model.
        settings: How it is asked where no adapter says how.
    """

    def __init__(self, base: str, settings: ReplySettings | None = None) -> None:
        self.name = f"router:{base}"
        self._base = base
        self._settings = settings
        self._seat: LanguageModelSeat | None = None
        self._plugged = BASE
        ModelSource.parse(base)  # a wrong name should be found before anything is loaded

    async def act(self, view: View) -> Reply:
        """Return the reply of the adapter for this game, with its name in ``info``."""
        if self._seat is None:
            self._seat, self._plugged = self._choose(view.game_id)
        reply = await self._seat.act(view)
        return dataclasses.replace(reply, info={**(reply.info or {}), "adapter": self._plugged})

    def _choose(self, game: str) -> tuple[LanguageModelSeat, str]:
        loaded, engine = served(self._base)
        name = library.for_task(game, loaded.fingerprint)
        if name is None:
            return LanguageModelSeat(engine, loaded.codec, settings=self._settings, name=self.name), BASE
        policy = plug(self._base, name)
        settings = asked(library.folder_of(name), game) or self._settings
        return LanguageModelSeat(engine, loaded.codec, policy=policy, settings=settings, name=self.name), name

    def close(self) -> None:
        """Free the engine's cache for this seat."""
        if self._seat is not None:
            self._seat.close()


def asked(folder: Any, game: str) -> ReplySettings | None:
    """Return how an adapter was asked for replies in training; None where it does not say, or says it wrongly."""
    reply = (lesson(folder, game) or {}).get("reply")
    if not isinstance(reply, dict):
        return None
    known = {field.name for field in dataclasses.fields(ReplySettings)}
    try:
        return ReplySettings(**{key: value for key, value in reply.items() if key in known})
    except (TypeError, ValueError):
        return None
