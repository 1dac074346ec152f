"""Writing files so that a kill or a full disk leaves the old ones: force to the disk, then rename."""

from __future__ import annotations

import os
from pathlib import Path


def sync_folder(folder: Path) -> None:
    """Force every file of a folder, and the folder itself, to the disk."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            sync_path(path)
    sync_path(folder)


def sync_path(path: Path) -> None:
    """Force one file or folder entry to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def replace_text(path: Path, text: str) -> None:
    """Replace a file's text, wholly or not at all.

    Raises:
        OSError: The disk is full or cannot be written; the old text stands.
    """
    part = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        part.write_text(text, encoding="utf-8")
        sync_path(part)
        part.replace(path)
    except OSError:
        part.unlink(missing_ok=True)
        raise
