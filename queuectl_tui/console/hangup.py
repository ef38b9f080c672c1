"""The other end of the console's terminal is gone: noticed also without a SIGHUP.

Only the processes of a terminal's own session get that signal. A console in any other terminal
(cron, ``script``, an IDE) sees nothing but reads that find the end at once, again and again.
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
    poll.register(fd, 0)  # no event is asked for: a hang-up is always told
    loop = asyncio.get_running_loop()

    def hung_up() -> None:
        loop.remove_reader(poll.fileno())
        poll.close()
        gone()

    loop.add_reader(poll.fileno(), hung_up)
