"""A short name for exactly these base weights, so that an adapter made for others can be refused.

The fingerprint hashes the configuration (without what says nothing about the function: paths, library versions,
storage type) and the bytes of the safetensors files. Hashing 269 MB takes most of a second, so results are cached by
path, size and change time.
"""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

from palaestra.agents.models.cache import ModelError, cache_dir

IRRELEVANT = {"_name_or_path", "transformers_version", "dtype", "torch_dtype", "use_cache"}
"""Of a configuration, what says nothing about the function."""


def fingerprint(folder: Path) -> str:
    """Return 16 hex digits that name the model in ``folder``.

    Raises:
        ModelError: The folder holds no configuration or no safetensors.
    """
    weights = sorted(folder.glob("*.safetensors"))
    config = folder / "config.json"
    if not config.is_file() or not weights:
        raise ModelError(
            f"{folder} is not a model folder: it needs a config.json and *.safetensors files (pickled weights are "
            "not read)."
        )
    files = [[path.name, path.stat().st_size, path.stat().st_mtime_ns] for path in (config, *weights)]
    key = hashlib.blake2b(str(folder.resolve()).encode(), digest_size=12).hexdigest()
    note = cache_dir() / "fingerprints" / f"{key}.json"
    try:
        known = json.loads(note.read_text())
        if known["files"] == files:
            return str(known["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        pass  # absent, torn or of another form: hash again
    value = _hash(config, weights)
    try:
        note.parent.mkdir(parents=True, exist_ok=True)
        part = note.with_suffix(f".{os.getpid()}")
        part.write_text(json.dumps({"files": files, "fingerprint": value}))
        part.replace(note)
    except OSError:
        pass  # only the time to hash again is lost
    return value


def _hash(config: Path, weights: list[Path]) -> str:
    facts = {key: value for key, value in json.loads(config.read_text()).items() if key not in IRRELEVANT}
    whole = hashlib.sha256(json.dumps(facts, sort_keys=True).encode())
    for path in weights:
        with path.open("rb") as file:
            whole.update(hashlib.file_digest(file, "sha256").digest())
    return whole.hexdigest()[:16]
