"""The deadline of a shim: until when its jobs may run.

A host that cannot reach the store cannot know whether another host has taken its jobs over. So the
jobs end while its lease still lasts. RUN/NAME.lease says when, on the clock ``lease_clock``: two
moments, for SIGTERM and for SIGKILL.
"""

import os
import signal

from . import lease_clock

WORD = 32
"""Bytes of a moment in the file: it is always written over as a whole."""
LOOK = 1.0
"""Seconds between looks at the file at the most, while jobs run."""
HURRY = 0.05
"""Seconds between looks once jobs are being ended."""


class Deadline:
    """What the shim knows of its lease. ``term`` and ``kill``: the moments it starts with."""

    def __init__(self, path: str, term: float, kill: float) -> None:
        self.path = path
        self.term = term
        self.kill = kill
        self.looked = lease_clock()

    def passed(self) -> int:
        """The signal that running jobs are to get: 0, SIGTERM or SIGKILL."""
        now = lease_clock()
        if now < self.term and now < self.looked + LOOK:
            return 0
        self.looked = now
        self.read()
        if now < self.term:
            return 0
        return signal.SIGTERM if now < self.kill else signal.SIGKILL

    def read(self) -> None:
        """Learn the newest moments; those known stand while the file cannot be read."""
        flags = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        try:
            with open(os.open(self.path, flags), "rb", buffering=0) as file:
                content = file.read(2 * WORD)
            self.term, self.kill = float(content[:WORD]), float(content[WORD:])
        except (OSError, ValueError):
            pass

    def patience(self) -> float:
        """Milliseconds until it is worth looking again."""
        left = min(self.looked + LOOK, self.term) - lease_clock()
        return max(left, HURRY) * 1000
