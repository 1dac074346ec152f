"""`palaestra doctor`: what is installed, what is missing, what to do.

A row is good, a *note* (optional, or installed otherwise than tested) or *missing*. Only missing rows, which stop
`play` or `train`, make the exit status 1. Versions are compared with ``constraints.txt`` where the source is at hand.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import platform
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import typer

from palaestra.scripts.console import console, table, untrusted
from palaestra.scripts.errors import examples

EXAMPLES = examples("palaestra doctor")
CORE = (
    "numpy",
    "gymnasium",
    "pettingzoo",
    "chess",
    "open_spiel",
    "typer",
    "rich",
    "pydantic",
    "pyyaml",
    "prompt_toolkit",
)
TRAIN = (
    "torch",
    "transformers",
    "peft",
    "safetensors",
    "gguf",
    "ray",
    "tensorboardX",
    "jinja2",
    "matplotlib",
    "choix",
    "openskill",
)
EXTRAS = {
    "openai": ("server", "calls a model's server (seat server:URL)"),
    "textarena": ("textarena", "adds its games"),
}
PROGRAMS = {
    "chromium": (("chromium", "chromium-browser", "google-chrome"), "looks at reports in tests"),
    "gnugo": (("gnugo", "/usr/games/gnugo"), "plays Go (seat gnugo), and is an oracle for it in tests"),
    "stockfish": (("stockfish", "/usr/games/stockfish"), "plays chess (seat stockfish)"),
}
Mark = Literal["good", "note", "missing"]
STYLES: dict[Mark, str] = {"good": "green", "note": "yellow", "missing": "bold red"}


@dataclass(frozen=True, slots=True)
class Row:
    """Something that was looked at, what was found, and what to do about it."""

    mark: Mark
    what: str
    found: str
    cure: str = ""


def doctor() -> None:
    """Say what is installed, what is missing, and what to do."""
    pins = pinned()
    sections = {
        "Machine": machine(),
        "To play": packages(CORE, "core", pins),
        "To train": [*packages(TRAIN, "train", pins), *devices()],
        "Optional": optional(),
        "Models": models(),
    }
    out = console()
    for title, rows in sections.items():
        out.print()
        shown = table(title, "found", "what to do")
        shown.columns[0].min_width, shown.columns[1].min_width = 16, 34
        for row in rows:
            name = untrusted(row.what)
            shown.add_row(name, untrusted(row.found, STYLES[row.mark]), untrusted(row.cure))
        out.print(shown)
    out.print()
    missing = [row.what for rows in sections.values() for row in rows if row.mark == "missing"]
    if missing:
        out.print(untrusted(f"Missing: {', '.join(missing)}.", "bold red"))
        raise typer.Exit(1)
    out.print(untrusted("Ready to play and to train.", "bold green"))


def machine() -> list[Row]:
    """Look at Python, cores and disk."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    version = platform.python_version()
    free = shutil.disk_usage(Path.cwd()).free
    return [
        Row("good", "palaestra", f"{importlib.metadata.version('palaestra')} in {source()}"),
        Row("good", "Python", f"{version}, {sys.executable}"),
        Row("good", "system", f"{platform.system()} {platform.machine()}, {cores} cores{_memory()}"),
        Row("good" if free > 2e9 else "note", "disk", f"{free / 1e9:.0f} GB free here",
            "" if free > 2e9 else "a run keeps every game; make room"),
    ]  # fmt: skip


def packages(names: tuple[str, ...], extra: str, pins: dict[str, str]) -> list[Row]:
    """Compare installed versions with the tested ones."""
    from palaestra.envs.errors import install_command

    rows = []
    for name in names:
        wanted = pins.get(_normal(name))
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            rows.append(Row("missing", name, "not installed", install_command(extra)))
            continue
        if wanted and found.partition("+")[0] != wanted:
            rows.append(Row("note", name, f"{found}; tested with {wanted}", f"pip install '{name}=={wanted}'"))
        else:
            rows.append(Row("good", name, found))
    return rows


def devices() -> list[Row]:
    """Look for a GPU that torch can use."""
    if importlib.util.find_spec("torch") is None:
        return []
    import torch

    if torch.cuda.is_available():
        names = {torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())}
        return [Row("good", "GPU", f"{torch.cuda.device_count()} × {', '.join(sorted(names))}")]
    if Path("/proc/driver/nvidia").exists() or shutil.which("nvidia-smi"):
        return [Row("note", "GPU", "torch cannot use it", "install the CUDA build: make TORCH=cuda")]
    return [Row("good", "GPU", "none; the small models train on the CPU")]


def optional() -> list[Row]:
    """Look for what some tests and engines use."""
    from palaestra.envs.errors import install_command

    if importlib.util.find_spec("vllm") is not None:
        rows = [Row("good", "vllm", importlib.metadata.version("vllm"))]
    elif Path(".venv-vllm/.ready").exists():
        rows = [Row("good", "vllm", "in .venv-vllm")]
    else:
        rows = [Row("note", "vllm", "not installed", f"make vllm (CPU), or {install_command('vllm')} (NVIDIA)")]
    for name, (extra, why) in EXTRAS.items():
        if importlib.util.find_spec(name) is not None:
            rows.append(Row("good", name, importlib.metadata.version(name)))
        else:
            rows.append(Row("note", name, "not installed", f"{install_command(extra)}; it {why}"))
    for name, (commands, why) in PROGRAMS.items():
        path = next((found for command in commands if (found := shutil.which(command))), None)
        rows.append(Row("good", name, path) if path else Row("note", name, "not installed", f"make system; it {why}"))
    return rows


def models() -> list[Row]:
    """Look into the model cache."""
    if any(importlib.util.find_spec(name) is None for name in ("torch", "transformers")):
        return []
    from palaestra.agents.models import sources
    from palaestra.agents.models.cache import cache_dir
    from palaestra.scripts.models import size

    cache = cache_dir()
    existing = next(path for path in (cache, *cache.parents) if path.exists())
    writable = os.access(existing, os.W_OK)
    free = shutil.disk_usage(existing).free
    rows = [
        Row("good" if writable else "missing", "cache", f"{cache}, {free / 1e9:.0f} GB free",
            "" if writable else "it cannot be written; set PALAESTRA_CACHE to a folder that can")
    ]  # fmt: skip
    for model in sources.list_models():
        here = model.folder is not None
        cure = "" if here else f"palaestra models fetch {model.name}"
        rows.append(
            Row("good" if here else "note", model.name, size(model.folder) if model.folder else "not here", cure)
        )
    return rows


def source() -> Path:
    """Return the folder that palaestra is imported from."""
    import palaestra.envs

    return Path(palaestra.envs.__file__ or "").resolve().parent.parent


def pinned() -> dict[str, str]:
    """Return the tested version of every package, where the source is at hand."""
    path = source() / "constraints.txt"
    if not path.is_file():
        return {}
    lines = re.findall(r"^([\w.\[\]-]+)==([\w.]+)", path.read_text(encoding="utf-8"), re.MULTILINE)
    return {_normal(name): version for name, version in lines}


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name.partition("[")[0]).lower()


def _memory() -> str:
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return ""
    return f", {total / 2**30:.0f} GiB memory"
