"""Work that takes long and cannot be interrupted, such as a search in compiled code, off the event loop.

Like `asyncio.to_thread`, but nobody waits for it at the end: the threads are daemons, so whoever presses Ctrl-C need
not sit out a search that no one will read.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVar

T = TypeVar("T")

_work: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
_workers: list[threading.Thread] = []
_lock = threading.Lock()


async def in_thread(function: Callable[..., T], *arguments: Any) -> T:
    """Return ``function(*arguments)``, computed on one of as many threads as there are processors."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def told(give: Callable[[Any], None], value: Any) -> None:
        def tell() -> None:
            if not future.done():
                give(value)

        with suppress(RuntimeError):  # the loop is closed, and nobody waits
            loop.call_soon_threadsafe(tell)

    def work() -> None:
        try:
            result = function(*arguments)
        except BaseException as error:
            told(future.set_exception, error)
        else:
            told(future.set_result, result)

    _start_workers()
    _work.put(work)
    return await future


def _start_workers() -> None:
    with _lock:
        while len(_workers) < (os.cpu_count() or 1):
            worker = threading.Thread(target=_run, daemon=True, name=f"search {len(_workers) + 1}")
            worker.start()
            _workers.append(worker)


def _run() -> None:
    while True:
        _work.get()()
