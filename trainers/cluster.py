"""Ray, started or joined, with usage reports switched off.

Without an address a small Ray is started on this machine and stopped at the end. With one, the run joins a cluster,
whose workers need not have Palaestra installed: the driver builds (or finds) the package and ships it through Ray's
runtime environment. The namespace package has no single module to send, so what travels is a wheel.
"""

from __future__ import annotations

import logging
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palaestra.envs.errors import PalaestraError
from palaestra.trainers import quiet


class ClusterError(PalaestraError, RuntimeError):
    """Ray cannot be started or reached."""


@contextmanager
def connected(address: str | None = None) -> Iterator[None]:
    """Have Ray while the block runs; a Ray that runs already is used and left running.

    Args:
        address: Of a cluster (``"ray://..."`` or ``"HOST:PORT"`` or ``"auto"``); None starts one here.

    Raises:
        ClusterError: It cannot be started or reached.
    """
    quiet.set_environment()
    quiet.silence_warnings()
    import ray

    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False, "include_dashboard": False}
    if address is not None:
        options = {"address": address, "logging_level": logging.ERROR, "log_to_driver": False}
        options["runtime_env"] = {"py_modules": [str(wheel())], "env_vars": dict(quiet.QUIET)}
    try:
        ray.init(**options)
    except (ConnectionError, RuntimeError, ValueError, OSError) as error:
        where = f"the Ray cluster at {address!r}" if address else "Ray on this machine"
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ClusterError(f"{where} cannot be reached: {reason}. Check `ray status` and the address.") from None
    try:
        yield
    finally:
        ray.shutdown()


def wheel() -> Path:
    """Return a wheel of the palaestra that is running, built into a temporary folder.

    Raises:
        ClusterError: This installation has no source to build from.
    """
    import palaestra.envs as package

    rooms = Path(package.__file__ or "").resolve().parent.parent
    folder = Path(tempfile.mkdtemp(prefix="palaestra-wheel-"))
    if not (rooms / "pyproject.toml").is_file():
        return _from_installed(rooms, folder)
    source = folder / "source"
    shutil.copytree(
        rooms,
        source,
        ignore=shutil.ignore_patterns(".*", "runs", "build", "dist", "results", "*.egg-info", "__pycache__"),
    )
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(folder),
        str(source),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    built = list(folder.glob("*.whl"))
    if done.returncode or not built:
        reason = (done.stderr.strip().splitlines() or ["no wheel came out"])[-1]
        raise ClusterError(f"palaestra cannot be packed for the cluster: {reason}")
    return built[0]


def _from_installed(rooms: Path, folder: Path) -> Path:
    """Pack an installed (not editable) palaestra: a folder whose only content is the namespace."""
    target = folder / "palaestra"
    shutil.copytree(rooms, target, ignore=shutil.ignore_patterns("__pycache__"))
    return target
