"""Checkpoints: everything a run needs to go on, as safetensors and JSON, complete or not there at all.

    checkpoints/
        00012/
            state.json              iteration, versions, baselines, the optimizers' scalars, sums
            tensors.safetensors     adapters and optimizer moments
        latest                      the name of the newest complete one

A checkpoint is written into a temporary folder, forced to the disk and renamed; then ``latest`` is replaced in the same
way. A process killed at any moment leaves the previous checkpoint in place. Nothing here is pickled, so a stranger's
run folder cannot run code.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from palaestra.agents.models.disk import replace_text, sync_folder, sync_path
from palaestra.envs.errors import PalaestraError

SCHEMA = 1
TENSORS = "tensors.safetensors"


class CheckpointError(PalaestraError, ValueError):
    """A checkpoint that cannot be read or written."""


@dataclass(frozen=True, slots=True)
class TrainingState:
    """A learner's state.

    Attributes:
        adapters: Tensors by adapter and name.
        moments: Optimizer tensors by adapter, parameter number and name.
        scalars: The optimizers' other values, as JSON data.
    """

    adapters: dict[str, dict[str, Tensor]]
    moments: dict[str, dict[str, dict[str, Tensor]]]
    scalars: dict[str, Any]


def write(folder: Path, state: dict[str, Any], training: TrainingState) -> None:
    """Write a checkpoint's two files into ``folder``, forced to the disk."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {
        f"adapter/{adapter}/{name}": tensor.contiguous()
        for adapter, named in training.adapters.items()
        for name, tensor in named.items()
    }
    for adapter, parameters in training.moments.items():
        for number, named in parameters.items():
            tensors |= {f"optimizer/{adapter}/{number}/{name}": tensor.contiguous() for name, tensor in named.items()}
    save_file(tensors, folder / TENSORS)
    whole = {"schema": SCHEMA, **state, "optimizer_scalars": training.scalars, "tensors_sum": _sum(folder)}
    text = json.dumps({**whole, "sum": _sum_of(whole)}, indent=1, sort_keys=True)
    (folder / "state.json").write_text(text + "\n", encoding="utf-8")
    sync_folder(folder)


def state_of(folder: Path) -> dict[str, Any]:
    """Return a checkpoint's JSON data.

    Raises:
        CheckpointError: As for `read`.
    """
    try:
        state = json.loads((folder / "state.json").read_text(encoding="utf-8"))
        schema = int(state["schema"])
        found = state.pop("sum", "")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise _damaged(folder, error) from None
    if schema > SCHEMA:
        raise CheckpointError(
            f"checkpoint {folder} has schema {schema}, but this release reads up to {SCHEMA}; install a newer "
            "palaestra."
        )
    if found != _sum_of(state):
        raise _damaged(folder, ValueError("state.json is not as it was written"))
    return dict(state)


def read(folder: Path) -> tuple[dict[str, Any], TrainingState]:
    """Invert `write`.

    Raises:
        CheckpointError: The folder is no checkpoint, is damaged, or was written by a newer release.
    """
    state = state_of(folder)
    adapters: dict[str, dict[str, Tensor]] = {}
    moments: dict[str, dict[str, dict[str, Tensor]]] = {}
    try:
        if state.pop("tensors_sum") != _sum(folder):
            raise ValueError(f"{TENSORS} is not as it was written")
        for key, tensor in load_file(folder / TENSORS).items():
            kind, adapter, rest = key.split("/", 2)
            if kind == "adapter":
                adapters.setdefault(adapter, {})[rest] = tensor
            else:
                number, name = rest.split("/", 1)
                moments.setdefault(adapter, {}).setdefault(number, {})[name] = tensor
        return state, TrainingState(adapters, moments, state.pop("optimizer_scalars"))
    except (OSError, ValueError, KeyError, SafetensorError) as error:
        raise _damaged(folder, error) from None


def _sum(folder: Path) -> str:
    with (folder / TENSORS).open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()[:32]


def _sum_of(state: dict[str, Any]) -> str:
    text = json.dumps(json.loads(json.dumps(state)), sort_keys=True)  # as it will be read
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def _damaged(folder: Path, error: Exception) -> CheckpointError:
    return CheckpointError(
        f"checkpoint {folder} cannot be read ({type(error).__name__}: {error}); delete that folder to resume from the "
        "checkpoint before it, or from the beginning if there is none."
    )


class Checkpoints:
    """The checkpoints of a run folder.

    Args:
        folder: ``RUN/checkpoints``.
        keep: How many are kept.
    """

    def __init__(self, folder: Path, keep: int = 2) -> None:
        self.folder = folder
        self.keep = keep

    def save(self, algorithm: Any, iteration: int) -> Path:
        """Save an algorithm as the newest checkpoint and drop the oldest; the latest one is never written again.

        Raises:
            CheckpointError: The disk is full or cannot be written; the previous checkpoint is intact.
        """
        final = self.folder / f"{iteration:05d}"
        if self.latest() == final:
            return final
        part = self.folder / f".{final.name}.{os.getpid()}"
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for stale in self.folder.glob(".*"):
                shutil.rmtree(stale, ignore_errors=True) if stale.is_dir() else stale.unlink(missing_ok=True)
            algorithm.save_checkpoint(str(part))
            if final.exists():  # a kill came before the pointer, which leads to an older one
                final.rename(self.folder / f".{final.name}.replaced")
            part.rename(final)
            replace_text(self.folder / "latest", final.name + "\n")
            sync_path(self.folder)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(part, ignore_errors=True)
            reason = getattr(error, "strerror", None) or error
            raise CheckpointError(
                f"checkpoint {iteration} could not be written to {self.folder} ({reason}); free some space, "
                f"then `palaestra resume {self.folder.parent}` goes on from the previous one, which is intact."
            ) from None
        for old in self.list()[: -self.keep]:
            shutil.rmtree(old, ignore_errors=True)
        return final

    def list(self) -> list[Path]:
        """Return the complete checkpoints, oldest first."""
        return sorted(path for path in self.folder.glob("[0-9]*") if (path / "state.json").is_file())

    def latest(self) -> Path | None:
        """Return the newest complete checkpoint; None if there is none yet.

        A pointer that leads nowhere (its folder was deleted, or a kill fell between two renames) is passed over.
        """
        pointer = self.folder / "latest"
        named = self.folder / pointer.read_text(errors="replace").strip() if pointer.is_file() else None
        known = self.list()
        if named in known:
            return named
        return known[-1] if known else None
