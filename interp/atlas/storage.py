"""An atlas on disk: JSON for people, safetensors for what locating needs, and work that is taken up again.

tree.json          shape, evidence, descriptions, options, cost
tree.safetensors   tokens, and means, space and features of every node
work/              tokens chosen, and means and profiles of every node, as soon as they are made
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor

from palaestra.agents.models.disk import replace_text
from palaestra.interp.atlas.profiles import Profiles, Reference
from palaestra.interp.atlas.space import Space, Words
from palaestra.interp.atlas.tokens import Texts, Tokens
from palaestra.interp.atlas.tree import Node, Settings, Tree
from palaestra.interp.errors import InterpError
from palaestra.interp.folder import save_tensors

FORMAT = 1


class Work:
    """What has been computed, by name; only what was made of the same things is used again.

    Args:
        folder: Where; made if need be.
        key: Names what it is made of (`palaestra.interp.folder.contents_of`).
    """

    def __init__(self, folder: Path, key: str) -> None:
        self.folder = folder
        self.key = key
        folder.mkdir(parents=True, exist_ok=True)

    def tensors(self, name: str, make: Callable[[], dict[str, Tensor]]) -> dict[str, Tensor]:
        """Return tensors that were kept under a name, or make and keep them."""
        path = self.folder / f"{self.key}-{name}.safetensors"
        if path.is_file():
            try:
                return load_file(path)
            except Exception:  # a file that was cut short is made again; safetensors has its own errors
                path.unlink()
        found = make()
        save_tensors(found, path)
        return found

    def profiled(
        self, name: str, make: Callable[[], tuple[Reference, Profiles]], names: Sequence[str]
    ) -> tuple[Reference, Profiles]:
        """Return a node's means and profiles, kept or made."""

        def tensors() -> dict[str, Tensor]:
            against, profiles = make()
            return _reference_out("", against) | _profiles_out(profiles)

        found = self.tensors(f"node-{name}", tensors)
        return _reference_in("", found), _profiles_in(found, names)


def save(folder: Path, tree: Tree, about: dict[str, Any]) -> None:
    """Write a tree.

    Args:
        folder: Where.
        tree: Described or not.
        about: What else is to be said, as JSON data: model, options, counts, cost.

    Raises:
        InterpError: It cannot be written.
    """
    arrays = tokens_out(tree.tokens) | _profiles_out(tree.profiles)
    for node in tree.root.walk():
        arrays |= _node_out(node)
    data = {
        "format": FORMAT,
        **about,
        "settings": {name: getattr(tree.settings, name) for name in Settings.__dataclass_fields__},
        "profile": list(tree.profiles.names),
        "sources": list(tree.tokens.texts.source),
        "tree": tree.root.as_json(),
    }
    try:
        save_tensors(arrays, folder / "tree.safetensors")
        replace_text(folder / "tree.json", json.dumps(data, indent=1) + "\n")
    except OSError as error:
        raise InterpError(f"{folder} cannot be written ({error.strerror or error}); name another folder.") from None


def load(folder: Path) -> tuple[Tree, dict[str, Any]]:
    """Read a tree and what was said about it.

    Raises:
        InterpError: The folder holds no atlas, or one of another format.
    """
    try:
        data = json.loads((folder / "tree.json").read_text(encoding="utf-8"))
        arrays = load_file(folder / "tree.safetensors")
    except (OSError, ValueError) as error:
        raise InterpError(
            f"{folder} holds no atlas that can be read ({error}); `palaestra interp atlas` makes one."
        ) from None
    except Exception as error:  # safetensors has its own errors
        raise InterpError(f"{folder}/tree.safetensors is damaged ({error}); make the atlas again.") from None
    if data.get("format") != FORMAT:
        raise InterpError(f"{folder} holds an atlas of format {data.get('format')!r}, not {FORMAT}; make it again.")
    tokens = tokens_in(arrays, data["sources"])
    tree = Tree(
        _node_in(data["tree"], arrays), tokens, _profiles_in(arrays, data["profile"]), Settings(**data["settings"])
    )
    return tree, data


def tokens_out(tokens: Tokens) -> dict[str, Tensor]:
    """Return tokens, with the rows they stand in, as tensors."""
    rows = tokens.texts.rows
    found = {
        "tokens/ids": np.concatenate(rows),
        "tokens/lengths": np.array([len(row) for row in rows]),
        "tokens/row": tokens.row,
        "tokens/place": tokens.place,
        "tokens/loss": tokens.loss,
        "tokens/weight": tokens.weight,
        "tokens/direct": tokens.direct,
    }
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}


def tokens_in(arrays: dict[str, Tensor], sources: Sequence[str]) -> Tokens:
    """Return what `tokens_out` was given."""
    part = {name.removeprefix("tokens/"): value.numpy() for name, value in arrays.items() if name.startswith("tokens/")}
    rows = np.split(part["ids"], np.cumsum(part["lengths"])[:-1])
    texts = Texts(tuple(rows), tuple(sources))
    return Tokens(texts, part["row"], part["place"], part["loss"], part["weight"], part["direct"])


def _profiles_out(profiles: Profiles) -> dict[str, Tensor]:
    found = {
        "profiles/values": profiles.values,
        "profiles/inputs": np.concatenate(profiles.inputs),
        "profiles/lengths": np.array([len(one) for one in profiles.inputs]),
        "profiles/sink": profiles.sink,
        "profiles/metric": profiles.metric,
    }
    return {name: torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}


def _profiles_in(arrays: dict[str, Tensor], names: Sequence[str]) -> Profiles:
    inputs = arrays["profiles/inputs"].numpy()
    ends = np.cumsum(arrays["profiles/lengths"].numpy())[:-1]
    values, sink, metric = (arrays[f"profiles/{name}"].numpy() for name in ("values", "sink", "metric"))
    return Profiles(tuple(names), values, tuple(np.split(inputs, ends)), sink, metric)


def _reference_out(prefix: str, against: Reference) -> dict[str, Tensor]:
    here = {f"{prefix}here/{name}": value.cpu().clone() for name, value in against.here.items()}
    return here | {f"{prefix}before/{name}": value.cpu().clone() for name, value in against.before.items()}


def _reference_in(prefix: str, arrays: dict[str, Tensor]) -> Reference:
    def part(which: str) -> dict[str, Tensor]:
        start = f"{prefix}{which}/"
        return {name.removeprefix(start): value for name, value in arrays.items() if name.startswith(start)}

    return Reference(part("here"), part("before"))


def _node_out(node: Node) -> dict[str, Tensor]:
    prefix = f"node {node.name}/"
    assert node.against is not None
    assert node.space is not None
    found: dict[str, Any] = {
        "features": node.features,
        "coefficients": node.space.coefficients,
        "centre": node.space.centre,
        "basis": node.space.basis,
    }
    if (words := node.space.words) is not None:
        found |= {"answers": words.answers, "heres": words.heres, "bag": words.bag, "axes": words.axes}
    arrays = {f"{prefix}{name}": torch.from_numpy(np.ascontiguousarray(value)) for name, value in found.items()}
    return arrays | _reference_out(prefix, node.against)


def _node_in(data: dict[str, Any], arrays: dict[str, Tensor]) -> Node:
    prefix = f"node {data['name']}/"

    def array(name: str) -> Any:
        return arrays[prefix + name].numpy()

    words = None
    if f"{prefix}answers" in arrays:
        words = Words(array("answers"), array("heres"), array("bag"), array("axes"))
    space = Space(words, array("coefficients"), array("centre"), array("basis"), float(data["words_explain"] or 0.0))
    return Node(
        data["name"],
        np.array(data["members"], dtype=np.int64),
        data["why"],
        np.array(data["labels"], dtype=np.int64),
        [_node_in(child, arrays) for child in data["children"]],
        _reference_in(prefix, arrays),
        space,
        array("features"),
        dict(data["components"]),
        description=data["description"],
    )
