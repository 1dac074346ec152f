"""The user's model cache: folders that are either complete or absent.

``$PALAESTRA_CACHE`` (default ``~/.cache/palaestra``) holds ``models/NAME`` for every model that was fetched or built
here. A folder is filled under a temporary name beside its final one, flushed to disk and renamed, so a killed process
or a full disk leaves nothing that looks like a model. A file lock lets one process work while others wait for its
result; the operating system frees the lock of a killed process, and the next holder removes what that process left.
"""

from __future__ import annotations

import errno
import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

from filelock import FileLock, Timeout

from palaestra.agents.models.disk import sync_folder, sync_path
from palaestra.envs.errors import PalaestraError

Say: TypeAlias = Callable[[str], None]
"""Receives one line of progress."""


class ModelError(PalaestraError, RuntimeError):
    """A model cannot be fetched, built, found or used."""


def say_to_stderr(line: str) -> None:
    """Print a line of progress where it does not mix with results."""
    print(line, file=sys.stderr, flush=True)


def cache_dir() -> Path:
    """Return the root of the cache; it need not exist."""
    return Path(os.environ.get("PALAESTRA_CACHE") or Path.home() / ".cache" / "palaestra").expanduser().absolute()


def model_dir(name: str) -> Path:
    """Return where the cached model ``name`` is or would be."""
    return cache_dir() / "models" / name


def build_once(name: str, build: Callable[[Path], None], needs_bytes: int, say: Say) -> Path:
    """Return the folder of a cached model, filling it first if it is absent.

    Args:
        name: Folder name in the cache.
        build: Fills the empty folder it is given; whatever it raises leaves the cache as it was.
        needs_bytes: Most disk space that ``build`` takes at any time.
        say: Receives progress.

    Raises:
        ModelError: The cache cannot be written, or the disk is full.
    """
    final = model_dir(name)
    if final.is_dir():
        return final
    try:
        final.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(final.parent / f"{name}.lock")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            say(f"{name}: another process is preparing it; waiting")
            lock.acquire()
    except OSError as error:
        raise ModelError(
            f"the cache {cache_dir()} cannot be written ({error.strerror}); set PALAESTRA_CACHE to a folder that can."
        ) from error
    try:
        if not final.is_dir():
            _fill(final, build, needs_bytes)
    finally:
        lock.release()
    return final


def _fill(final: Path, build: Callable[[Path], None], needs_bytes: int) -> None:
    prefix = f".{final.name}."
    for left in final.parent.glob(prefix + "*"):
        shutil.rmtree(left, ignore_errors=True)
    free = shutil.disk_usage(final.parent).free
    if free < needs_bytes:
        raise _disk_full(final.name, f"{needs_bytes / 1e6:.0f} MB are needed, {free / 1e6:.0f} MB are free")
    work = Path(tempfile.mkdtemp(prefix=prefix, dir=final.parent))
    try:
        build(work)
        sync_folder(work)
        work.rename(final)
        sync_path(final.parent)
    except Exception as error:
        # safetensors reports a full disk as an error of its own, with the system's message in it
        full = getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT) or f"os error {errno.ENOSPC}" in str(error)
        if full:
            raise _disk_full(final.name, "the disk became full") from error
        raise
    finally:
        shutil.rmtree(work, ignore_errors=True)


def _disk_full(name: str, what: str) -> ModelError:
    return ModelError(
        f"no room for {name} in {cache_dir()}: {what}; free some space or set PALAESTRA_CACHE to another disk."
    )
