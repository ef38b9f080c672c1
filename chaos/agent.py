"""A queuectl process of a campaign: the real command line, with two additions.

``CHAOS_CLOCK`` names a file with the seconds by which this process's wall clock is wrong (there
machine's own clock cannot be set for a test). ``CHAOS_MUTATE`` names a bug to add, to prove that
the campaign would find it. Neither exists in queuectl itself.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from pathlib import Path


def move_clock(path: Path) -> None:
    """From now on ``time.time`` is wrong by what ``path`` says at that moment, and the clock of a
    server too."""
    real: Callable[[], float] = time.time

    def moved() -> float:
        try:
            return real() + float(path.read_text("ascii") or 0)
        except OSError:
            return real()

    time.time = moved
    try:
        from queuectl_core.store.postgres.clock import ServerClock
    except ImportError:
        return
    server = ServerClock.__call__

    def moved_server(self: ServerClock) -> float:
        return server(self) + moved() - real()

    ServerClock.__call__ = moved_server  # type: ignore[method-assign]


def put_in_seams() -> None:
    """Apply what the environment asks for. Call this before queuectl is imported."""
    clock, bug = os.environ.get("CHAOS_CLOCK"), os.environ.get("CHAOS_MUTATE")
    if clock:
        move_clock(Path(clock))
        from queuectl_core.supervisor import daemonize, processes, shim_client

        shim_client.SHIM = Path(__file__).with_name("shim_clock.py")
        processes.SHIM_PROGRAMS += ("/chaos/shim_clock.py",)
        daemonize.PROGRAM = Path(__file__).with_name("background.py")
    if bug:
        from .mutations import MUTATIONS

        MUTATIONS[bug]()


def main() -> int:
    """Run the command line of queuectl."""
    put_in_seams()
    from queuectl_tui.__main__ import main as queuectl

    return queuectl()


if __name__ == "__main__":
    sys.exit(main())
