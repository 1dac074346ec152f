"""Silence, by name: usage reports switched off, and the warnings of libraries that a user can do nothing about.

Nothing here imports anything heavy, because the environment must be set before Ray, transformers or vLLM are imported.
Variables that the user has set are left alone; warnings are matched by their text, so a new one is seen.
"""

from __future__ import annotations

import logging
import os
import re
import sys
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

QUIET = {
    "RAY_USAGE_STATS_ENABLED": "0",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "RAY_DEDUP_LOGS": "1",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_TRAIN_ENABLE_V2_MIGRATION_WARNINGS": "0",
    "RAY_worker_niceness": "0",  # Ray's 15 starves a run beside anything else; what it does is the user's own work
    "TOKENIZERS_PARALLELISM": "false",
}

FUTURE = ("`is_gradient_checkpointing` is deprecated",)
"""Beginnings of FutureWarnings that libraries raise about each other."""

API_STACK = ("ray.rllib.algorithms.algorithm_config", "You are running")
"""The logger, and how its message begins, that tells every user of RLlib that there once was another API."""

RESTART = b"has constructor arguments in the object store and max_restarts > 0"
"""Ray's core, written in C++, warns of how RLlib makes its runners; a run holds those arguments to its end."""


def set_environment() -> None:
    """Switch usage reports off in this process and those it starts."""
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)


def silence_warnings() -> None:
    """Keep known warnings about other people's code from the terminal; may be called again."""
    for beginning in FUTURE:
        warnings.filterwarnings("ignore", message=re.escape(beginning), category=FutureWarning)
    logging.getLogger(API_STACK[0]).addFilter(_api_stack)  # the same filter is added only once


def _api_stack(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(API_STACK[1])


@contextmanager
def without_line(text: bytes = RESTART) -> Iterator[None]:
    """Keep lines that hold ``text`` out of file descriptor 2, which compiled code writes to, while the block runs.

    Processes started meanwhile keep the filtered stream, which passes on what they write.
    """
    sys.stderr.flush()
    saved, back = os.dup(2), os.dup(2)
    source, sink = os.pipe()

    def pass_on() -> None:
        with open(source, "rb") as lines, open(saved, "wb", buffering=0) as out:
            for line in lines:
                if text not in line:
                    out.write(line)

    os.dup2(sink, 2)
    os.close(sink)
    thread = threading.Thread(target=pass_on, daemon=True)
    thread.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(back, 2)
        os.close(back)
        thread.join(timeout=1)  # ends at once, unless another process holds the stream
