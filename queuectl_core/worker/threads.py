"""Threads that are there before they are needed.

A job can use up all processes that its user may have. Then no thread can be started either, and
what would end that job must not depend on one.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

DEFAULT_THREADS = 6
"""Of the event loop: for slow disks, some of which may hang."""
PATIENCE = 10.0
"""Seconds in which all threads of a pool must have started."""


def start_threads(pool: ThreadPoolExecutor, count: int) -> None:
    """Start all ``count`` threads of ``pool``. RuntimeError when the host refuses one."""
    together = Barrier(count + 1)
    try:
        for _ in range(count):
            pool.submit(together.wait, PATIENCE)
        together.wait(PATIENCE)
    except RuntimeError:
        together.abort()
        raise


def start_default_threads() -> None:
    """Give the running event loop a pool for ``asyncio.to_thread`` whose threads have started,
    unless its program has given it one. RuntimeError when the host refuses a thread."""
    loop = asyncio.get_running_loop()
    if getattr(loop, "_default_executor", None) is None:
        pool = ThreadPoolExecutor(DEFAULT_THREADS, "asyncio")
        loop.set_default_executor(pool)
        start_threads(pool, DEFAULT_THREADS)
