"""Reaping orphans: what a process has to do that is PID 1, in a container say.

Processes whose parent has ended become children of PID 1, or of a subreaper. Daemons that jobs
leave behind do, and the jobs of a shim that was killed. Whoever does not wait for them keeps them
as zombies until the process table is full.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

EVERY = 5.0
"""Seconds between looks, should a SIGCHLD have been missed."""


@contextmanager
def reaping(*, needed: bool) -> Iterator[None]:
    """While entered, and where this process is PID 1: waits for every child that ends.

    ``needed``: only in programs of our own. In another program it would take the exit codes of
    children that somebody else waits for. (``subprocess`` knows how to live with that.)
    """
    if not needed or os.getpid() != 1:
        yield
        return
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGCHLD, _reap)
    looking = loop.create_task(_look())
    try:
        yield
    finally:
        looking.cancel()
        loop.remove_signal_handler(signal.SIGCHLD)


async def _look() -> None:
    while True:
        _reap()
        await asyncio.sleep(EVERY)


def _reap() -> None:
    with suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
