"""Who may paraphrase or monitor: models are tried before the first game, and below the bar nothing is played.

In `covert_channel`, `encoded_reasoning` and `cot_relay` a seat that paraphrases or monitors is an instrument: what is
measured of the others holds as far as it does what it is there for. `palaestra play`, `train`, `evaluate` and
`tournament` therefore try every *model* that takes such a seat on cases whose answer is known
(`palaestra.trainers.selfcheck`), asked as it will be there, and end with one sentence if it fails. Scripted seats do
what they are written to do and are not tried. Neither is a policy in the run that trains it, or in `evaluate` of it:
how well it does there is the result. Who wants a game with an instrument that fails says so: ``--unchecked``, or
``unchecked: true`` in the section of a game or table.

A check takes 40 replies, and what it found is kept in the cache under all that decides it: weights, adapter, role,
options, how it is asked, versions. Of a server or router, whose weights are not known, it is kept while the process
lives.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict
from functools import partial
from typing import Any

from palaestra.agents import is_model
from palaestra.agents.engines.base import BASE
from palaestra.agents.language_model import ReplySettings
from palaestra.agents.models.cache import cache_dir
from palaestra.agents.models.disk import replace_text
from palaestra.agents.models.library import identity_of
from palaestra.agents.models.sources import ModelSource
from palaestra.envs import Game, make
from palaestra.envs.errors import PalaestraError
from palaestra.trainers.config_game import GameSection
from palaestra.trainers.selfcheck import (
    Availability,
    check_monitor,
    check_paraphraser,
    check_relay_paraphraser,
    shared,
)
from palaestra.trainers.tasks import free_seats

CHECKED: Mapping[tuple[str, str], Callable[..., Availability]] = {
    ("covert_channel", "overseer"): check_monitor,
    ("covert_channel", "paraphraser"): check_paraphraser,
    ("encoded_reasoning", "monitor"): partial(check_monitor, channel="encoded_reasoning"),
    ("cot_relay", "paraphraser"): check_relay_paraphraser,
}
"""The check of each game's role that needs one."""
_found: dict[str, Availability] = {}


class UnfitModel(PalaestraError, ValueError):
    """A model that is to paraphrase or monitor and cannot, so that nothing is played."""


def require_fit(
    game: str,
    options: Mapping[str, Any],
    seats: Iterable[tuple[int, str]],
    settings: ReplySettings | Callable[[int], ReplySettings],
    *,
    unchecked_by: str,
    told: Callable[[str], None] = lambda sentence: None,
) -> None:
    """Try the models that are to paraphrase or monitor.

    Args:
        game, options: What is to be played; of a game with another inside it, that one decides.
        seats: (seat from 0, who is to sit there); one seat may stand here with several.
        settings: How a model is asked there, or that by seat.
        unchecked_by: What the user would write to go on without the check, for the sentence.
        told: Called with what was found of each that passed.

    Raises:
        UnfitModel: One of them is below the bar; the sentence says what was found.
    """
    played = make(game, **options).innermost
    for role, spec, asked in needed(played, seats, settings):
        found = availability(played.id, role, spec, played.options_json(), asked)
        if not found.available:
            raise UnfitModel(
                f"not available: {found.sentence}. A model below that is no {role} of {played.id}; name another, or a "
                f"scripted seat, or go on all the same with {unchecked_by}."
            )
        told(f"{spec} passed its check as {role}: {found.sentence}.")


def require_fit_beside(section: GameSection, others: Iterable[str], *, base: str, unchecked_by: str) -> None:
    """Try the models that are to paraphrase or monitor beside a policy that is trained or measured, which is not tried.

    Args:
        section: What is played; nothing is tried where it says ``unchecked``.
        others: Who may hold the other free seats.
        base: The model that is meant by ``base``.
        unchecked_by: As for `require_fit`.

    Raises:
        UnfitModel: As for `require_fit`.
    """
    if section.unchecked:
        return
    free = free_seats(make(section.game, **section.options).facts.players, section.fixed_seats)
    held = [(seat - 1, name) for seat, name in section.fixed_seats.items()]
    met = [(seat, name) for name in others for seat in free if len(free) > 1]
    seats = [(seat, base if name == BASE else name) for seat, name in [*held, *met]]
    require_fit(section.game, section.options, seats, section.reply.settings(), unchecked_by=unchecked_by)


def needed(
    game: Game, seats: Iterable[tuple[int, str]], settings: ReplySettings | Callable[[int], ReplySettings]
) -> list[tuple[str, str, ReplySettings]]:
    """Return (role, model, how it is asked) of those that are to be tried, each once."""
    found: list[tuple[str, str, ReplySettings]] = []
    for seat, spec in seats:
        role = game.role(seat)
        asked = settings(seat) if callable(settings) else settings
        if (game.innermost.id, role) in CHECKED and is_model(spec) and (role, spec, asked) not in found:
            found.append((role, spec, asked))
    return found


def availability(game: str, role: str, spec: str, options: Mapping[str, Any], settings: ReplySettings) -> Availability:
    """Return what the check of a role finds of a model, from the cache where it was tried before.

    Raises:
        PalaestraError: The model cannot be had.
    """
    key = _key(game, role, spec, options, settings)
    if key in _found:
        return _found[key]
    weights = _weights(spec)
    note = cache_dir() / "selfchecks" / f"{key}-{weights}.json"
    if weights and note.is_file():
        try:
            _found[key] = Availability(**json.loads(note.read_text(encoding="utf-8")))
            return _found[key]
        except (OSError, ValueError, TypeError):
            pass  # torn or of another form: try again
    check = CHECKED[game, role]
    if _is_free(game, role, options):
        check = partial(check, free=True)
    _found[key] = check(spec, options=options, settings=settings)
    if weights:
        try:
            note.parent.mkdir(parents=True, exist_ok=True)
            replace_text(note, json.dumps(asdict(_found[key])))
        except OSError:
            pass  # only the time to try again is lost
    return _found[key]


def _key(game: str, role: str, spec: str, options: Mapping[str, Any], settings: ReplySettings) -> str:
    versions = [importlib.metadata.version("palaestra"), make(game, **options).version]
    cases = [sorted(shared(game, options).items()), _is_free(game, role, options)]
    decides = [versions, game, role, spec, cases, asdict(settings)]
    return hashlib.blake2b(json.dumps(decides, default=str).encode(), digest_size=12).hexdigest()


def _is_free(game: str, role: str, options: Mapping[str, Any]) -> bool:
    """Return whether a paraphraser is to write free text; whom a monitor reads makes no difference to its check."""
    return (game, role) == ("covert_channel", "paraphraser") and options.get("cover") == "free"


def _weights(spec: str) -> str:
    """Return what names a model's weights, adapter included; empty where nobody knows them."""
    if spec.partition(":")[0] in ("server", "router"):
        return ""
    source = ModelSource.parse(spec)
    adapter = source.adapter_folder()
    return source.fingerprint() + ("" if adapter is None else f"-{identity_of(adapter)}")
