"""Threads that are there before they are needed.

A job can use up all processes that its user may have. Then no thread can be started either, and
what would end that job must not depend on one.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from threading import Barrier
from typing import Any

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


@contextmanager
def default_threads(*, program: bool) -> Iterator[None]:
    """While entered, the running event loop has a pool for ``asyncio.to_thread`` whose threads have
    started. RuntimeError when the host refuses a thread. ``program``: the loop is ours. In another
    program a pool that is there already stays."""
    loop: Any = asyncio.get_running_loop()
    before = getattr(loop, "_default_executor", None)  # the name of a server was looked up, say
    if before is not None and not program:
        yield
        return
    if before is not None:
        before.shutdown(wait=False)
    pool = ThreadPoolExecutor(DEFAULT_THREADS, "asyncio")
    loop.set_default_executor(pool)
    try:
        start_threads(pool, DEFAULT_THREADS)
        yield
    finally:
        # At its own end the loop would start a thread, which may be refused, to wait for these.
        pool.shutdown(wait=False)
        loop._default_executor = None
