"""Parts of a study as they are finished: a cut call goes on from them, one of other weights begins again."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor

from palaestra.agents.models.cache import Say
from palaestra.agents.models.disk import replace_text
from palaestra.interp.errors import InterpError
from palaestra.interp.folder import begin, save_tensors


class Parts:
    """What is finished, on disk, in ``parts/`` of a folder; a result is JSON, and tensors beside it."""

    def __init__(self, out: Path, plan: Mapping[str, Any], contents: str, say: Say) -> None:
        self.folder, self.out, self.say = out / "parts", out, say
        begin(out, plan, contents, ("parts/*", "reasoning.json", "directions.safetensors", "index.html"))
        self._begun = time.monotonic()
        self._before = float((self.read("seconds") or {}).get("seconds", 0.0))

    def seconds(self) -> float:
        """Return how long this call and those that it goes on from took."""
        return round(self._before + time.monotonic() - self._begun, 1)

    def read(self, name: str) -> Any:
        """Return a part; None where there is none."""
        try:
            return json.loads((self.folder / f"{name}.json").read_text(encoding="utf-8"))
        except OSError:
            return None
        except ValueError:
            raise InterpError(f"{self.folder / name}.json is damaged; delete it to measure it again.") from None

    def keep(self, name: str, value: Any) -> None:
        """Write a part."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            replace_text(self.folder / f"{name}.json", json.dumps(value))
        except OSError as error:
            raise InterpError(
                f"{self.out} could not be written ({error.strerror or error}); free some space."
            ) from None

    def make(self, name: str, measure: Callable[[], Any]) -> Any:
        """Return a part, measuring it if it is not there."""
        known = self.read(name)
        if known is None:
            begun = time.monotonic()
            known = json.loads(json.dumps(measure()))
            self.keep(name, known)
            self.keep("seconds", {"seconds": self.seconds()})
            self.say(f"{name}: {time.monotonic() - begun:.0f} s")
        return known

    def make_with(
        self, name: str, measure: Callable[[], tuple[dict[str, Any], dict[str, Tensor]]]
    ) -> tuple[Any, dict[str, Tensor]]:
        """Return a part that has tensors, measuring it if it is not there."""
        path = self.folder / f"{name}.safetensors"

        def both() -> dict[str, Any]:
            result, tensors = measure()
            save_tensors(tensors, path)
            return result

        result = self.make(name, both)
        if not path.is_file():
            raise InterpError(f"{path} is missing; delete {name}.json beside it to measure it again.")
        return result, load_file(path)

    def publish(self, found: dict[str, Any], tensors: dict[str, Tensor]) -> None:
        """Write the result."""
        if tensors:
            save_tensors(tensors, self.out / "directions.safetensors")
        try:
            replace_text(self.out / "reasoning.json", json.dumps(found, indent=1) + "\n")
        except OSError as error:
            raise InterpError(
                f"{self.out} could not be written ({error.strerror or error}); free some space."
            ) from None
