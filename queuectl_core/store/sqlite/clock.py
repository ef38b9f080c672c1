"""A retry waits for its whole backoff, even if somebody sets the wall clock meanwhile.

The store keeps the time when a job is due as wall time, because people schedule jobs by it. So the
store also keeps the difference between the wall clock and the clock since boot, which nobody can
set. A process that notices a change of this difference moves the failed jobs, which wait for their
backoff, by the same amount. It does so in one transaction with the new difference, so exactly once.
Scheduled jobs keep their time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from ...system.clocks import boot_clock
from ...system.host import host_key
from .queries import SQL, read_json

TOLERANCE = 1.0
"""Seconds. If the difference changes by more, the wall clock was set."""


class WallClock:
    """Watches the wall clock for one store, in one process."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._offset: float | None = None

    @property
    def known(self) -> bool:
        """Whether this process has compared the clock with the difference in the store."""
        return self._offset is not None

    @property
    def moved(self) -> bool:
        """Whether it must be compared, or compared again."""
        return self._offset is None or abs(self._now() - self._offset) > TOLERANCE

    def follow(self, conn: sqlite3.Connection) -> bool:
        """Compare it, in a write transaction. Returns whether jobs were moved."""
        offset, boot = self._now(), host_key().partition(":")[0]
        row = conn.execute(SQL["clock"]).fetchone()
        boot_then, before = read_json(row[0]) if row is not None else ("", 0.0)
        moved = bool(boot_then == boot and abs(offset - before) > TOLERANCE)
        if moved:
            conn.execute(SQL["backoffs_moved"], {"delta": offset - before})
        if moved or boot_then != boot:
            conn.execute(SQL["clock_set"], {"value": json.dumps([boot, offset])})
            before = offset
        self._offset = before
        return moved

    def forget(self) -> None:
        """Compare again next time, because the transaction may not have been committed."""
        self._offset = None

    def _now(self) -> float:
        return self._wall() - boot_clock()
