"""A retry waits for a duration, also when somebody sets the wall clock meanwhile.

When a job is due is kept as wall time, since people schedule jobs by it. So the store remembers how
far the wall clock is from the clock of the boot, which nobody can set. Who notices that this has
changed moves the failed jobs, which wait for their backoff, by the same amount; in one transaction
with the remembered value, so exactly once. Jobs that were scheduled stay where they are.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable

from ...system.clocks import boot_clock
from ...system.host import host_key
from .queries import SQL, read_json

TOLERANCE = 1.0
"""Seconds the clocks may drift apart before the wall clock counts as set."""


class WallClock:
    """The wall clock of one store, as one process sees it."""

    def __init__(self, wall: Callable[[], float]) -> None:
        self._wall = wall
        self._offset: float | None = None

    @property
    def known(self) -> bool:
        """Whether this process has compared it with what the store remembers."""
        return self._offset is not None

    @property
    def moved(self) -> bool:
        """Whether it must be compared (again)."""
        return self._offset is None or abs(self._now() - self._offset) > TOLERANCE

    def follow(self, conn: sqlite3.Connection) -> bool:
        """Compare it, in a write transaction; whether jobs were moved."""
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
        """The transaction may not have been committed: compare it again."""
        self._offset = None

    def _now(self) -> float:
        return self._wall() - boot_clock()
