"""Notices that the other end of the console's terminal is gone, also without a SIGHUP.

Only processes in the session of the terminal get that signal. In another terminal (cron,
``script``, an IDE) the only sign is that every read returns the end of the file at once.
"""

from __future__ import annotations

import asyncio
import select
import sys
from collections.abc import Callable


def watch(fd: int, gone: Callable[[], object]) -> None:
    """Call ``gone`` once when the terminal ``fd`` has hung up (on Linux, where that can be waited
    for). Input does not wake us."""
    if sys.platform != "linux":
        return
    poll = select.epoll()
    poll.register(fd, 0)  # no event is requested: a hang-up is always reported
    loop = asyncio.get_running_loop()

    def hung_up() -> None:
        loop.remove_reader(poll.fileno())
        poll.close()
        gone()

    loop.add_reader(poll.fileno(), hung_up)
