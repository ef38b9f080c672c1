"""Reaping orphans: what a process has to do that is PID 1, in a container say.

Processes whose parent has ended become children of PID 1, or of a subreaper. Daemons that jobs
leave behind do, and the jobs of a shim that was killed. Whoever does not wait for them keeps them
as zombies until the process table is full.
"""

from __future__ import annotations

import asyncio
import os
import signal
from types import TracebackType

EVERY = 5.0
"""Seconds between looks, should a SIGCHLD have been missed."""


class Reaper:
    """While entered, and where this process is PID 1: waits for every child that ends.

    ``needed``: only in programs of our own. In another program it would take the exit codes of
    children that somebody else waits for. (``subprocess`` knows how to live with that.)
    """

    def __init__(self, *, needed: bool) -> None:
        self._needed = needed and os.getpid() == 1
        self._timer: asyncio.TimerHandle | None = None

    def __enter__(self) -> Reaper:
        if self._needed:
            asyncio.get_running_loop().add_signal_handler(signal.SIGCHLD, self._reap)
            self._look()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._timer is not None:
            self._timer.cancel()
            asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)

    def _look(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(EVERY, self._look)
        self._reap()

    @staticmethod
    def _reap() -> None:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            pass
