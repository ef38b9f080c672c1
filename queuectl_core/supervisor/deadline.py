"""Keeping jobs from outliving their supervisor's lease, on a store that hosts share.

Another host may start a job again once the lease has run out by the store's clock. So it must be
over by then on this one, whatever keeps this one from the store: a network, a supervisor that was
killed or stopped. The shim sees to it (``runner/deadline.py``); it is told with each lease.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterable
from pathlib import Path

from ..runner import OWN_FILE, lease_clock
from ..runner.deadline import WORD
from .lease import BEATS

TERM_AFTER = 2 / 3
KILL_AFTER = 5 / 6
"""Of the lease: when jobs get SIGTERM, and SIGKILL. The last sixth is for the kernel to end them,
and for clocks that do not run at quite the same rate."""


class DeadlineWriter:
    """Until when the jobs of some shims may run. ``lease``: seconds, beginning now."""

    def __init__(self, run: Path, lease: float) -> None:
        self._run = run
        self._shims: frozenset[str] = frozenset()
        self._steady_from = 0.0
        self._term = lease_clock() + lease
        self.extend(lease_clock(), lease)

    def extend(self, asked: float, lease: float) -> None:
        """The store gave a lease of so many seconds that was asked for then (``lease_clock``):
        it began no earlier. ``write`` tells the shims."""
        now = lease_clock()
        if now >= self._term:
            self._steady_from = now + lease / BEATS
        self._term, self._kill = asked + TERM_AFTER * lease, asked + KILL_AFTER * lease

    @property
    def passed(self) -> bool:
        """Jobs are being ended, and none would be started."""
        return lease_clock() >= self._term

    @property
    def steady(self) -> bool:
        """We are neither without a lease nor were a moment ago: time for a heartbeat has passed
        since."""
        now = lease_clock()
        return self._steady_from <= now < self._term

    @property
    def words(self) -> list[str]:
        """Both moments, as a shim is told when it starts."""
        return [f"{moment:.3f}" for moment in (self._term, self._kill)]

    def keep(self, shims: Iterable[str]) -> None:
        """These are the shims that are ours from now on; ``write`` tells them."""
        self._shims = frozenset(shims)

    def write(self) -> None:
        """Tell the shims. May take as long as the disk does: not for the event loop."""
        for shim in self._shims:
            content = "".join(word.rjust(WORD) for word in self.words)
            # If that fails, its jobs end too early, but never too late.
            with contextlib.suppress(OSError):
                fd = os.open(self._run / f"{shim}.lease", OWN_FILE, 0o600)
                with open(fd, "r+b", buffering=0) as file:
                    file.write(content.encode())
