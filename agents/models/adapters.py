"""Finding a trained adapter by what a user types, and refusing one that was made for another base.

A *run folder* holds the final PEFT adapter in ``adapter/`` and every published version in ``adapters/NAME@N/``. After
the ``@`` of a model source, a user may write

    a PEFT folder                  runs/x/adapters/negotiation@17
    a run folder                   runs/x                 its final adapter
    a version in a run folder      runs/x/negotiation@17  or, if the run has one name, runs/x@17
    a version alone                negotiation@17         in the given run, else in the one run below ./runs that has it
    lib:NAME                       lib:negotiator         of the local library (`palaestra.agents.models.library`)

`stamp` writes into an adapter folder which base it was trained on (``palaestra.json``, ignored by PEFT); `check`
compares. An adapter without a stamp, made elsewhere, is compared by the shapes of its matrices. The stamp also keeps
how the adapter was asked in training (`lesson`), because a policy asked in other words is another policy.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from palaestra.agents.models.cache import ModelError
from palaestra.envs.errors import UnknownName

STAMP = "palaestra.json"
_VERSION = re.compile(r"[A-Za-z0-9_.-]+@\d+")


class WrongBase(ModelError):
    """An adapter belongs to another base model."""


def is_adapter(folder: Path) -> bool:
    """Return whether ``folder`` holds a PEFT adapter in safetensors form."""
    return (folder / "adapter_config.json").is_file() and (folder / "adapter_model.safetensors").is_file()


def resolve(text: str, run: Path | None = None) -> Path:
    """Return the PEFT folder that ``text`` means; see the module docstring.

    Args:
        text: What followed the ``@`` of a model source.
        run: The run folder in which a version alone is looked up.

    Raises:
        UnknownName: There is no such version; the nearest is named.
        ModelError: The folder holds no adapter, or several runs hold this version.
    """
    if text.startswith("lib:"):
        from palaestra.agents.models.library import folder_of

        return folder_of(text.removeprefix("lib:"))
    path = Path(text).expanduser()
    if path.is_dir():
        if is_adapter(path):
            return path
        if is_adapter(path / "adapter"):
            return path / "adapter"
        latest = _latest(path)
        cure = f"name a version, such as {path}/{latest}" if latest else "has it been trained and saved yet?"
        raise ModelError(f"{text!r} holds no finished PEFT adapter (no adapter/ in it); {cure}")
    if _VERSION.fullmatch(text):
        runs = [run] if run else sorted(Path("runs").glob("*"))
        found = [one / "adapters" / text for one in runs if is_adapter(one / "adapters" / text)]
        if len(found) > 1:
            holders = ", ".join(str(one.parent.parent) for one in found)
            raise ModelError(f"version {text!r} is in {len(found)} runs ({holders}); write RUN/{text}.")
        if not found:
            where = f"Run folder {run}" if run else "Folder ./runs"
            known = {name for one in runs for name in versions(one)}
            raise UnknownName("adapter version", text, known, f"{where} {_have(known)}.")
        return found[0]
    folder, name = path.parent, path.name
    if "@" in name and not folder.joinpath(name.rpartition("@")[0]).is_dir():
        base = folder.parent if folder.name == "adapters" else folder
        return _version(text, base, name)
    if "@" in name:
        base = folder / name.rpartition("@")[0]
        return _version(text, base, name.rpartition("@")[2])
    raise UnknownName(
        "adapter folder", text, _folders_near(path), "Give a PEFT folder, a run folder, or a version such as kuhn@17."
    )


def versions(run: Path) -> list[str]:
    """Return the published versions in a run folder, oldest first."""
    names = [path.name for path in (run / "adapters").glob("*@*") if _VERSION.fullmatch(path.name) and is_adapter(path)]
    return sorted(names, key=lambda name: (name.rpartition("@")[0], int(name.rpartition("@")[2])))


def stamp(folder: Path, base: str, **facts: Any) -> None:
    """Record in an adapter folder the fingerprint of its base, and any JSON facts worth keeping beside it."""
    text = json.dumps({"base": base, **facts}, indent=1, sort_keys=True)
    part = folder / f"{STAMP}.{os.getpid()}"
    part.write_text(text + "\n")
    part.replace(folder / STAMP)


def facts(folder: Path) -> dict[str, Any]:
    """Return what `stamp` kept beside an adapter; empty if nothing is readable there."""
    try:
        return dict(json.loads((folder / STAMP).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def lesson(folder: Path, game: str) -> dict[str, Any] | None:
    """Return the section of the configuration (options, reply, rules, ...) by which an adapter was trained on a game.

    It is data from a file that may come from anybody; who uses it checks it. None if the adapter does not know the
    game, or was made elsewhere.
    """
    games = facts(folder).get("games")
    known = [one for one in games if isinstance(one, dict)] if isinstance(games, list) else []
    return next((one for one in known if one.get("game") == game), None)


def check(folder: Path, base_folder: Path, base: str, base_name: str) -> None:
    """Raise `WrongBase` unless the adapter in ``folder`` fits the base with fingerprint ``base``."""
    stamp_file = folder / STAMP
    if stamp_file.is_file():
        try:
            found = str(json.loads(stamp_file.read_text())["base"])
        except (ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{stamp_file} is damaged; restore it, or delete it to compare by shapes instead."
            ) from error
        if found != base:
            raise WrongBase(
                f"adapter {folder} was trained on another base (fingerprint {found}) than {base_name} ({base}); "
                "name the base that it was trained on."
            )
        return
    shapes = _shapes(base_folder.glob("*.safetensors"))
    for name, shape in _shapes([folder / "adapter_model.safetensors"]).items():
        module, _, side = name.removeprefix("base_model.model.").partition(".lora_")
        weight = shapes.get(f"{module}.weight")
        if not side or (weight is None and module == "lm_head"):
            continue  # a kind of adapter, or a tied weight, whose shape says nothing
        fits = weight is not None and (shape[1] == weight[1] if side.startswith("A") else shape[0] == weight[0])
        if not fits:
            raise WrongBase(
                f"adapter {folder} does not fit {base_name}: {name} has shape {shape}, the base has "
                f"{weight or 'no such layer'}; name the base that it was trained on."
            )


def _shapes(files: Iterable[Path]) -> dict[str, list[int]]:
    """Read the shapes from the headers alone: eight bytes of length, then JSON."""
    shapes: dict[str, list[int]] = {}
    for path in files:
        try:
            with path.open("rb") as file:
                header = json.loads(file.read(min(int.from_bytes(file.read(8), "little"), 100_000_000)))
            shapes |= {name: entry["shape"] for name, entry in header.items() if name != "__metadata__"}
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ModelError(
                f"{path} is not a readable safetensors file; restore it from a copy or publish it again."
            ) from error
    return shapes


def _version(text: str, run: Path, wanted: str) -> Path:
    known = versions(run)
    name = wanted
    if wanted.isdigit():
        matching = [one for one in known if one.endswith(f"@{wanted}")]
        if len(matching) > 1:
            raise ModelError(f"{text!r} could be {' or '.join(matching)} of {run}; write {run}/{matching[0]}.")
        name = matching[0] if matching else f"{_latest(run).rpartition('@')[0]}@{wanted}"
    if name not in known:
        raise UnknownName(
            "adapter version", text, [str(run / one) for one in known], f"Run folder {run} {_have(known)}."
        )
    return run / "adapters" / name


def _latest(run: Path) -> str:
    known = versions(run)
    return known[-1] if known else ""


def _have(known: Iterable[str]) -> str:
    names = sorted(known)
    return f"has {', '.join(names[:8])}{', …' if len(names) > 8 else ''}" if names else "holds no adapter versions"


def _folders_near(path: Path) -> list[str]:
    parent = path.parent
    return [str(parent / one.name) for one in parent.iterdir() if one.is_dir()] if parent.is_dir() else []
