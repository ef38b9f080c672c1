"""PID 1 waits for every child, also when it was not told of one."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import asyncio, os, signal
from queuectl_core.supervisor.maintenance import reaper

async def main():
    with reaper.reaping(needed=True):
        asyncio.get_running_loop().remove_signal_handler(signal.SIGCHLD)  # as if it was missed
        child = os.fork()
        if not child:
            os._exit(0)
        async with asyncio.timeout(30):
            while True:
                try:
                    os.kill(child, 0)  # a zombie is there, too
                except ProcessLookupError:
                    return
                await asyncio.sleep(0.01)

os.getpid = lambda: 1
reaper.EVERY = 0.01
asyncio.run(main())
"""


def test_a_child_of_whose_end_it_was_not_told_is_reaped() -> None:
    words = [sys.executable, "-c", PROGRAM]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
