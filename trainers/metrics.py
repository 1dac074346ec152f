"""The numbers of a run on disk: one JSON line an iteration in ``metrics.jsonl``, and the same as TensorBoard events.

Both are written at once and in the caller's own thread, so a full disk is an error here and now; a background writer
would lose the numbers and tell nobody.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from pathlib import Path
from typing import Any

from tensorboardX.event_file_writer import EventsWriter
from tensorboardX.proto.event_pb2 import Event, SessionLog
from tensorboardX.summary import scalar

from palaestra.agents.models.disk import replace_text
from palaestra.envs.errors import PalaestraError
from palaestra.trainers.summary import Summary


class MetricsError(PalaestraError):
    """The numbers of a run cannot be written."""


class MetricsLog:
    """Appends summaries to a run folder.

    Args:
        folder: The run folder.
        done: Iterations that stand; lines of later ones, which will be played again, are dropped.

    Raises:
        MetricsError: The disk is full or cannot be written; here and in `add`.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self.path = folder / "metrics.jsonl"
        self.events = folder / "tensorboard"
        self._writer: EventsWriter | None = None
        try:
            if self.path.is_file():
                kept = [line for line in complete_lines(self.path) if json.loads(line)["iteration"] < done]
                replace_text(self.path, "".join(line + "\n" for line in kept))
            self.events.mkdir(parents=True, exist_ok=True)
            self._writer = EventsWriter(str(self.events / "events"), f".{os.getpid()}.{time.time_ns()}")
            start = SessionLog(status=SessionLog.START)  # TensorBoard hides what earlier files say from this step on
            self._writer.write_event(Event(wall_time=time.time(), step=done, session_log=start))
            self._writer.flush()
        except OSError as error:
            raise self._full(error) from None

    def add(self, summary: Summary) -> None:
        """Write one iteration's numbers, forced to the disk."""
        assert self._writer is not None
        line = json.dumps(finite(summary.to_json()), separators=(",", ":"))
        try:
            with self.path.open("a", encoding="utf-8") as file:
                file.write(line + "\n")
                file.flush()
                os.fsync(file.fileno())
            for key, value in summary.flat().items():
                event = Event(wall_time=time.time(), step=summary.iteration, summary=scalar(key, value))
                self._writer.write_event(event)
            self._writer.flush()
        except OSError as error:
            raise self._full(error) from None

    def close(self) -> None:
        """Close the event file; what was added is on the disk already."""
        if self._writer is not None:
            with contextlib.suppress(OSError):  # flushed by every `add`, or told of by it
                self._writer.close()

    def _full(self, error: OSError) -> MetricsError:
        return MetricsError(
            f"the numbers of the run could not be written to {self.path.parent} ({error.strerror or error}); free some "
            "space, then `palaestra resume RUN` goes on. Checkpoints are intact."
        )


def complete_lines(path: Path) -> list[str]:
    """Return the lines of a file that end in a newline and hold a JSON object."""
    lines = []
    for line in path.read_text(encoding="utf-8", errors="replace").split("\n")[:-1]:
        try:
            if isinstance(json.loads(line), dict):
                lines.append(line)
        except ValueError:
            continue
    return lines


def finite(data: Any) -> Any:
    """Return JSON data with NaN and infinities as null."""
    if isinstance(data, dict):
        return {key: finite(value) for key, value in data.items()}
    if isinstance(data, list):
        return [finite(value) for value in data]
    return None if isinstance(data, float) and not math.isfinite(data) else data
