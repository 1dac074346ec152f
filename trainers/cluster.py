"""Ray, started or joined, with usage reports switched off.

Without an address a small Ray is started on this machine and stopped at the end. With one, the run joins a cluster,
whose workers need not have Palaestra installed: the driver builds (or finds) the package and ships it through Ray's
runtime environment. The namespace package has no single module to send, so what travels is a wheel.
"""

from __future__ import annotations

import base64
import hashlib
import logging
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from palaestra.envs.errors import PalaestraError
from palaestra.trainers import quiet


class ClusterError(PalaestraError, RuntimeError):
    """Ray cannot be started or reached."""


@contextmanager
def connected(address: str | None = None, processes: int = 0) -> Iterator[None]:
    """Have Ray while the block runs; a Ray that runs already is used and left running.

    Args:
        address: Of a cluster (``"ray://..."`` or ``"HOST:PORT"`` or ``"auto"``); None starts one here.
        processes: How many a Ray that is started here must hold at least; they share the cores if there are fewer.

    Raises:
        ClusterError: It cannot be started or reached.
    """
    quiet.set_environment()
    quiet.silence_warnings()
    import ray

    if ray.is_initialized():
        yield
        return
    options: dict[str, Any] = {"logging_level": logging.ERROR, "log_to_driver": False}
    with tempfile.TemporaryDirectory(prefix="palaestra-wheel-") as packed:
        if address is None:
            options |= {"address": "local", "include_dashboard": False, "num_cpus": max(os.cpu_count() or 1, processes)}
        else:
            _knock(address)
            shipped = wheel(Path(packed))
            options |= {
                "address": address,
                "runtime_env": {"py_modules": [str(shipped)], "env_vars": dict(quiet.QUIET)},
            }
        try:
            ray.init(**options)
        except Exception as error:  # Ray says in many ways that it does not start, a bare Exception among them
            raise ClusterError(_not_started(address, error)) from error
    try:
        yield
    finally:
        ray.shutdown()


def _not_started(address: str | None, error: Exception) -> str:
    """Return what to tell the user about a Ray that did not start, or could not be joined."""
    said = [line.strip() for line in str(error).splitlines() if line.strip()]
    reason = said[0].rstrip(".") if said else type(error).__name__
    if address is not None:
        return f"the Ray cluster at {address!r} cannot be joined: {reason}. Check `ray status` there and the address."
    logs = Path(os.environ.get("RAY_TMPDIR", tempfile.gettempdir()), "ray", "session_latest", "logs")
    return (
        f"Ray cannot be started on this machine: {reason}. Its logs, if it came so far, are in {logs}; `ray stop` ends "
        "what other runs left behind, and RAY_TMPDIR names another folder with room."
    )


def _knock(address: str) -> None:
    """Raise if nobody listens at a ``HOST:PORT``; Ray would try for minutes and then end the process."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdigit():
        return  # "auto" and the like, which Ray looks up itself
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except OSError as error:
        raise ClusterError(
            f"the Ray cluster at {address!r} cannot be reached ({error.strerror or error}); check `ray status` there "
            "and resources.address here."
        ) from None


def check_room(cpus: float, gpus: float) -> None:
    """Raise unless the cluster could ever hold what a run asks for; Ray itself would wait for it without a word.

    Raises:
        ClusterError: It has fewer CPUs or GPUs in all.
    """
    import ray

    has = ray.cluster_resources()
    for kind, needed in (("CPU", cpus), ("GPU", gpus)):
        if needed > has.get(kind, 0):
            raise ClusterError(
                f"the run asks for {needed:g} {kind}s, but Ray has {has.get(kind, 0):g} in all; lower "
                "resources.runners, resources.learners or their GPUs, or join a larger cluster with resources.address."
            )


def wheel(folder: Path) -> Path:
    """Pack the palaestra that is running into ``folder``: a wheel from a source tree, else a copy of the namespace.

    Raises:
        ClusterError: The wheel cannot be built.
    """
    import palaestra.envs as package

    rooms = Path(package.__file__ or "").resolve().parent.parent
    without = shutil.ignore_patterns("__pycache__")
    if not (rooms / "pyproject.toml").is_file():
        return Path(shutil.copytree(rooms, folder / "palaestra", ignore=without))
    source = folder / "source"
    source.mkdir()
    for part in rooms.iterdir():
        if part.is_file():
            shutil.copy(part, source)
        elif (part / "py.typed").is_file():
            shutil.copytree(part, source / part.name, ignore=without)
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(folder)]
    done = subprocess.run([*command, str(source)], capture_output=True, text=True, check=False)
    built = list(folder.glob("*.whl"))
    if done.returncode or not built:
        reason = (done.stderr.strip().splitlines() or ["no wheel came out"])[-1]
        raise ClusterError(f"palaestra cannot be packed for the cluster: {reason}")
    _ask_for_nothing(built[0])
    return built[0]


def _ask_for_nothing(built: Path) -> None:
    """Take the requirements out of a wheel: the workers have them, and Ray, which has pip install what it is sent with
    all that this requires, would lay other versions over theirs, on every node and while workers start."""
    with zipfile.ZipFile(built) as packed:
        files = {name: packed.read(name) for name in packed.namelist()}
    [metadata] = (name for name in files if name.endswith(".dist-info/METADATA"))
    head, gap, body = files[metadata].partition(b"\n\n")
    kept = [line for line in head.split(b"\n") if not line.startswith((b"Requires-Dist:", b"Provides-Extra:"))]
    files[metadata] = b"\n".join(kept) + gap + body
    record = metadata.replace("METADATA", "RECORD")
    digest = base64.urlsafe_b64encode(hashlib.sha256(files[metadata]).digest()).rstrip(b"=").decode()
    lines = files[record].decode().splitlines()
    right = [
        f"{metadata},sha256={digest},{len(files[metadata])}" if line.startswith(f"{metadata},") else line
        for line in lines
    ]
    files[record] = ("\n".join(right) + "\n").encode()
    with zipfile.ZipFile(built, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in files.items():
            packed.writestr(name, content)
