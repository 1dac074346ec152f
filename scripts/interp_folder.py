"""Where an analysis goes: into the folder of the run whose model it opens, so that the run's report can link it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from palaestra.scripts.console import console, untrusted

if TYPE_CHECKING:
    from markupsafe import Markup

INSIDE = "interp"
"""In a run's folder, what holds a folder an analysis."""


def folder_for(name: str, of: str | Path, to: Path | None) -> Path:
    """Return the folder of an analysis.

    Args:
        name: Of the analysis, such as ``diff``.
        of: What is opened: a model source, an adapter, or a replay.
        to: What the user named; without it the run's folder of ``of``, or ``interp-NAME`` where that is no run's.
    """
    if to is not None:
        return to
    run = run_of(of)
    return Path(f"interp-{name}") if run is None else run / INSIDE / name


def run_of(of: str | Path) -> Path | None:
    """Return the run folder that holds a file, or the adapter that a text names; None where there is none."""
    from palaestra.agents.models.adapters import resolve
    from palaestra.agents.models.sources import ModelSource
    from palaestra.envs.errors import PalaestraError
    from palaestra.trainers.run import folder_holding

    if isinstance(of, Path):
        return folder_holding(of)
    for text in (of, None):
        try:
            adapter = ModelSource.parse(of).adapter if text is None else text
            if adapter is not None:
                return folder_holding(resolve(adapter))
        except PalaestraError:  # a base, or nothing that exists, which opening it says better
            continue
    return None


def linked(run: Path) -> Markup | None:
    """Return, for a run's report, links to the pages of analyses in its folder; None where there are none."""
    from markupsafe import Markup

    pages = sorted((run / INSIDE).glob("*/index.html"))
    if not pages:
        return None
    item = Markup('<li><a href="{}">{}</a></li>')
    items = [item.format(quote(page.relative_to(run).as_posix()), page.parent.name) for page in pages]
    return Markup("<p>Looked at more closely:</p><ul>{}</ul>").format(Markup("").join(items))


def tell(page: Any) -> None:
    """Say where a page is, and how the report of its run comes to link it."""
    out = console()
    out.print(untrusted(str(page)), soft_wrap=True)
    folder = Path(page).parent.parent
    if folder.name == INSIDE and (folder.parent / "config.yaml").is_file():
        out.print(untrusted(f"`palaestra report {folder.parent}` links it.", "dim"), soft_wrap=True)
