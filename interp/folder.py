"""The folder of an analysis: it holds the results of one plan, so that a call that was cut goes on from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from palaestra.agents.models.disk import replace_text
from palaestra.interp.errors import InterpError


def begin(folder: Path, plan: dict[str, Any]) -> None:
    """Make the folder of a plan, or take up the one that is there.

    Raises:
        InterpError: It holds the results of another plan.
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(plan, indent=1) + "\n"
    there = folder / "plan.json"
    if there.is_file() and there.read_text(encoding="utf-8") != text:
        raise InterpError(f"{folder} holds the results of another plan; name another folder.")
    replace_text(there, text)
