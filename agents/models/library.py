"""A local library of adapters: named, content-addressed, each with a card that says what it is and how it did.

    $PALAESTRA_CACHE/library/names.json          {"negotiator": "3fa9…"}
    $PALAESTRA_CACHE/library/adapters/3fa9…/     the PEFT files, palaestra.json, card.json

An adapter's *identity* is the hash of its configuration and weights; it is computed again when the adapter is loaded,
so a file that was changed is found. Two names may mean one adapter. In a model source, ``lib:NAME`` means it:
``smollm2@lib:negotiator``.

A card is data from whoever wrote it, and is shown as such: base and its fingerprint, the tasks it was trained on, run,
reference, licence, and the results that `palaestra adapters compare` measured here, with their intervals.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from palaestra.agents.models.adapters import STAMP, facts, is_adapter, resolve
from palaestra.agents.models.cache import ModelError, cache_dir
from palaestra.agents.models.disk import replace_text
from palaestra.envs.errors import OptionError, UnknownName

PREFIX = "lib:"
FILES = ("adapter_config.json", "adapter_model.safetensors")
CARD = "card.json"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


class Changed(ModelError):
    """An adapter of the library is not what its identity says."""


@dataclass(frozen=True, slots=True)
class Rating:
    """What was measured of an adapter on a task.

    Attributes:
        task: Game. opponent: Against whom. result: Mean return with its 95 % interval ``low`` to ``high``.
        legal: Share of legal replies. games: How many.
    """

    task: str
    opponent: str
    result: float
    low: float | None
    high: float | None
    legal: float
    games: int


@dataclass(frozen=True, slots=True)
class Card:
    """What is known of an adapter; see the module docstring.

    Attributes:
        identity: Hash of configuration and weights.
        base: Source of the base; ``fingerprint`` of its weights. Empty where the adapter did not say.
        tasks: Games that it was trained on.
        run, iteration: Where it comes from.
        reference: What it was held to in training.
        parents: (name, weight) of the adapters that it was merged from.
    """

    identity: str
    base: str = ""
    fingerprint: str = ""
    tasks: tuple[str, ...] = ()
    run: str = ""
    iteration: int = 0
    reference: str = ""
    licence: str = ""
    notes: str = ""
    parents: tuple[tuple[str, float], ...] = ()
    ratings: tuple[Rating, ...] = field(default_factory=tuple)

    def rating(self, task: str, opponent: str) -> Rating | None:
        """Return what was measured on a task against an opponent."""
        return next((one for one in self.ratings if (one.task, one.opponent) == (task, opponent)), None)


def library_dir() -> Path:
    """Return where the library lies."""
    return cache_dir() / "library"


def identity_of(folder: Path) -> str:
    """Return the hash of an adapter's configuration and weights, 16 hex digits."""
    found = hashlib.blake2b(digest_size=8)
    for name in FILES:
        with (folder / name).open("rb") as file:
            while part := file.read(1 << 20):
                found.update(part)
    return found.hexdigest()


def names() -> dict[str, str]:
    """Return the identities by name, sorted by name.

    Raises:
        ModelError: The list is damaged.
    """
    path = library_dir() / "names.json"
    if not path.is_file():
        return {}
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        return {str(name): str(identity) for name, identity in sorted(found.items())}
    except (OSError, ValueError, AttributeError):
        raise ModelError(f"{path} is damaged; restore it, or delete it and add the adapters again.") from None


def folder_of(name: str) -> Path:
    """Return the PEFT folder of an adapter, after a look at whether it is what its identity says.

    Raises:
        UnknownName: There is no such name.
        Changed: The files were changed or are gone.
    """
    known = names()
    if name not in known:
        have = ", ".join(known) or "nothing yet; `palaestra adapters add` fills it"
        raise UnknownName("adapter", name, known, f"The library has {have}.")
    folder = library_dir() / "adapters" / known[name]
    if not is_adapter(folder) or identity_of(folder) != known[name]:
        raise Changed(
            f"adapter {name} in {folder} is not what was added: its files were changed or are gone; run `palaestra "
            f"adapters remove {name}` and add it again."
        )
    return folder


def card_of(name: str) -> Card:
    """Return an adapter's card.

    Raises:
        UnknownName: There is no such name.
        ModelError: The card is damaged.
    """
    known = names()
    if name not in known:
        folder_of(name)
    return _read(library_dir() / "adapters" / known[name], name)


def _read(folder: Path, name: str) -> Card:
    path = folder / CARD
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        ratings = tuple(Rating(**one) for one in data.pop("ratings"))
        parents = tuple((str(parent), float(weight)) for parent, weight in data.pop("parents"))
        return Card(**{**data, "tasks": tuple(map(str, data["tasks"])), "ratings": ratings, "parents": parents})
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        raise ModelError(f"{path} is damaged; `palaestra adapters remove {name}` and add the adapter again.") from None


def add(source: str, name: str, *, licence: str = "", notes: str = "", card: Card | None = None) -> Card:
    """Copy an adapter into the library and return its card.

    An adapter that is there already, under this name or another, keeps its card and what was measured of it; what is
    given here is added to that.

    Args:
        source: A PEFT folder, a run folder or a version, as after the ``@`` of a model source.
        name: What it will be called.
        licence, notes: For its card.
        card: What is known of it in place of what its folder says.

    Raises:
        OptionError: The name is none, or is taken by another adapter; or the adapter is there with another licence or
            other notes.
        ModelError, UnknownName: The source is no adapter, or its card in the library is damaged.
    """
    if not _NAME.fullmatch(name):
        raise OptionError(f"{name!r} is no name for an adapter; use letters, digits, dots, - and _, at most 64.")
    folder = resolve(source)
    identity = identity_of(folder)
    known = names()
    if known.get(name, identity) != identity:
        raise OptionError(f"the library has another adapter called {name}; choose another name, or remove that first.")
    place = library_dir() / "adapters" / identity
    if (place / CARD).is_file():
        found = _added_to(_read(place, name), name, licence, notes)
    else:
        said = card or _card(folder)
        found = replace(said, identity=identity, licence=licence, notes=notes or said.notes)
    part = place.with_name(f".{identity}")
    try:
        if not is_adapter(place):
            shutil.rmtree(part, ignore_errors=True)
            part.mkdir(parents=True)
            for file in (*FILES, STAMP):
                if (folder / file).is_file():
                    shutil.copyfile(folder / file, part / file)
            shutil.rmtree(place, ignore_errors=True)
            part.rename(place)
        _write(place, found)
        _name({**known, name: identity})
    except OSError as error:
        shutil.rmtree(part, ignore_errors=True)
        raise ModelError(
            f"{name} could not be copied into {library_dir()} ({error.strerror or error}); free some space."
        ) from None
    return found


def remove(name: str) -> None:
    """Forget a name, and the adapter if no other name means it.

    Raises:
        UnknownName: There is no such name.
    """
    known = names()
    if name not in known:
        folder_of(name)
    identity = known.pop(name)
    _name(known)
    if identity not in known.values():
        shutil.rmtree(library_dir() / "adapters" / identity, ignore_errors=True)


def _added_to(card: Card, name: str, licence: str, notes: str) -> Card:
    """Return a card that is there with what is given for it; what it says already stays."""
    for key, old, new in (("licence", card.licence, licence), ("notes", card.notes, notes)):
        if old and new and old != new:
            names_ = ", ".join(known for known, identity in names().items() if identity == card.identity) or name
            raise OptionError(
                f"the library has this adapter as {names_}, with {key} {old!r}; leave --{key} out, or `palaestra "
                "adapters remove` it first, with what was measured of it."
            )
    return replace(card, licence=card.licence or licence, notes=card.notes or notes)


def rate(name: str, ratings: Sequence[Rating]) -> None:
    """Keep what was measured on an adapter's card, in place of what was measured so before: on these tasks, against
    these opponents."""
    card = card_of(name)
    measured = {(one.task, one.opponent) for one in ratings}
    kept = tuple(one for one in card.ratings if (one.task, one.opponent) not in measured)
    _write(library_dir() / "adapters" / card.identity, replace(card, ratings=(*kept, *ratings)))


def for_task(task: str, fingerprint: str) -> str | None:
    """Return the name of the adapter to use for a task on a base: of those trained on it, the one with the best
    measured result, or, where none was measured, the last by name; None without any.

    Results against different opponents say nothing about each other. So those count that were measured against the
    opponent against whom most of these adapters were, the first by name of several.
    """
    fitting = [(name, card) for name in names() if task in (card := card_of(name)).tasks]
    fitting = [(name, card) for name, card in fitting if card.fingerprint in ("", fingerprint)]
    if not fitting:
        return None
    met = Counter(one.opponent for _, card in fitting for one in card.ratings if one.task == task)
    opponent = min(met, key=lambda one: (-met[one], one), default="")

    def worth(entry: tuple[str, Card]) -> tuple[bool, float, str]:
        rating = entry[1].rating(task, opponent)
        return (rating is not None, rating.result if rating else 0.0, entry[0])

    return max(fitting, key=worth)[0]


def _card(folder: Path) -> Card:
    """Return what an adapter's folder says of it."""
    known = facts(folder)
    games = known.get("games")
    named = [one.get("game") for one in games if isinstance(one, dict)] if isinstance(games, list) else []
    iteration = known.get("iteration", 0)
    return Card(
        "",
        base=str(known.get("model", "")),
        fingerprint=str(known.get("base", "")),
        tasks=tuple(dict.fromkeys(str(one) for one in named if one)),
        run=str(known.get("run", "")),
        iteration=iteration if isinstance(iteration, int) else 0,
        reference=str(known.get("model", "")),
        notes=f"taught {known['taught']}" if known.get("taught") else "",
    )


def _write(folder: Path, card: Card) -> None:
    replace_text(folder / CARD, json.dumps(asdict(card), indent=1) + "\n")


def _name(known: dict[str, Any]) -> None:
    library_dir().mkdir(parents=True, exist_ok=True)
    replace_text(library_dir() / "names.json", json.dumps(known, indent=1, sort_keys=True) + "\n")
