"""The folder of an analysis: it holds the results of one plan on one model, so that a cut call goes on from them.

A plan names models and files; what counts is what they hold. So a folder also keeps a digest of *contents* (weights,
prompts), and parts that were made of other contents, such as those of an adapter that was trained again in its place,
are measured again.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from palaestra.agents.models.disk import replace_text
from palaestra.agents.models.fingerprint import IRRELEVANT
from palaestra.agents.models.sources import ModelSource
from palaestra.interp.architecture import live_adapters
from palaestra.interp.errors import InterpError
from palaestra.interp.opened import OpenModel
from palaestra.interp.prompts import Pairs, Prompts


def begin(folder: Path, plan: Mapping[str, Any], contents: str, parts: Sequence[str]) -> None:
    """Make the folder of a plan, or take up the one that is there; parts of other contents are taken out of it.

    Args:
        folder: Where.
        plan: What is asked, as JSON data.
        contents: From `contents_of`: the models and prompts that are analysed.
        parts: Patterns of the files that the analysis writes; those from which a cut call goes on, and those that show
            what was found, which must not outlive it.

    Raises:
        InterpError: It holds the results of another plan, parts of no plan at all, or cannot be written.
    """
    there = folder / "plan.json"
    described = json.loads(json.dumps(dict(plan)))
    try:
        folder.mkdir(parents=True, exist_ok=True)
        known = _known(there)
        left = sorted({path for pattern in parts for path in folder.glob(pattern) if path.is_file()})
        if known is None and left:
            raise InterpError(f"{folder} holds {left[0].name} of something else; name a folder that is empty or new.")
        if known is not None and known.get("plan") != described:
            raise InterpError(f"{folder} holds the results of another plan; name another folder.")
        if known is not None and known.get("contents") != contents:
            for path in left:
                path.unlink()
        replace_text(there, json.dumps({"plan": described, "contents": contents}, indent=1) + "\n")
    except OSError as error:
        raise InterpError(f"{folder} cannot be written ({error.strerror or error}); name another folder.") from None


def _known(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise InterpError(f"{path} is damaged; name another folder.")
    return found


def contents_of(*things: Any) -> str:
    """Return 16 hex digits that name exactly these weights, prompts and plain data.

    Args:
        *things: Opened models (weights in memory, adapters and which of them are live included), model sources (the
            same of their files), prompts, pairs, tensors, arrays, and JSON data of these.
    """
    whole = hashlib.sha256()
    for piece in _pieces(things):
        whole.update(len(piece).to_bytes(8, "little"))
        whole.update(piece)
    return whole.hexdigest()[:16]


def save_tensors(tensors: Mapping[str, Tensor], path: Path) -> None:
    """Write tensors as safetensors, wholly or not at all.

    Raises:
        InterpError: They cannot be written.
    """
    partial = path.with_suffix(".partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({name: one.detach().cpu().clone().contiguous() for name, one in tensors.items()}, partial)
        partial.replace(path)
    except OSError as error:
        raise InterpError(f"{path} could not be written ({error.strerror or error}); free some space.") from None


def _pieces(thing: Any) -> Iterator[bytes | memoryview]:
    """Yield what tells one thing from others, piece by piece."""
    match thing:
        case Tensor():
            value = thing.detach().cpu().contiguous()
            yield f"{value.dtype} {tuple(value.shape)}".encode()
            yield value.flatten().view(torch.uint8).numpy().data if value.numel() else b""
        case np.ndarray():
            yield f"{thing.dtype} {thing.shape}".encode()
            yield np.ascontiguousarray(thing).tobytes()
        case OpenModel():
            facts = {name: one for name, one in thing.model.config.to_dict().items() if name not in IRRELEVANT}
            yield json.dumps(facts, sort_keys=True, default=str).encode()
            for name, value in sorted(thing.model.state_dict().items()):
                yield name.encode()
                yield from _pieces(value)
            for name, module in thing.adapted().items():
                live = {one: module.scaling[one] for one in live_adapters(module)}  # type: ignore[index]
                yield f"{name} {live}".encode()
        case ModelSource():
            yield thing.fingerprint().encode()
            folder = thing.adapter_folder()
            for path in sorted(folder.iterdir()) if folder is not None else ():
                if path.suffix in (".json", ".safetensors"):
                    yield path.name.encode()
                    yield hashlib.sha256(path.read_bytes()).digest()
        case Prompts():
            for one in (thing.ids, thing.ends, thing.answers, thing.foils):
                yield from _pieces(one)
        case Pairs():
            yield from _pieces(thing.clean)
            yield from _pieces(thing.corrupt)
        case list() | tuple():
            yield f"{len(thing)} things".encode()
            for one in thing:
                yield from _pieces(one)
        case _:
            yield json.dumps(thing, sort_keys=True).encode()
