"""A retry waits for its whole backoff, even if somebody sets the wall clock meanwhile.

The store keeps the time when a job is due as wall time, because people schedule jobs by it. So the
store also keeps the difference between the wall clock and the clock since boot, which nobody can
set. A process that notices a change of this difference moves the failed jobs, which wait for their
backoff, and the starts that count for a rate, by the same amount. It does so in one transaction
with the new difference, so exactly once. Scheduled jobs keep their time.
"""

from __future__ import annotations

import json
import time

from ...system.clocks import boot_clock
from ...system.host import host_key
from .connection import Driver
from .queries import SQL, read_json

TOLERANCE = 1.0
"""Seconds. If the difference changes by more, the wall clock was set."""


def was_set(conn: Driver) -> bool:
    """Whether somebody set the wall clock since this process looked last."""
    return conn.offset is not None and abs(_offset() - conn.offset) > TOLERANCE


def follow(conn: Driver) -> bool:
    """If somebody set the wall clock, move the jobs. Returns whether they were moved."""
    if conn.offset is not None and not was_set(conn):
        return False
    offset, boot = _offset(), host_key().partition(":")[0]
    row = conn.execute(SQL["clock"]).fetchone()
    boot_then, before = read_json(row[0]) if row is not None else ("", 0.0)
    moved = bool(boot_then == boot and abs(offset - before) > TOLERANCE)
    if moved:
        delta = {"delta": offset - before}
        conn.execute(SQL["backoffs_moved"], delta)
        conn.execute(SQL["starting_moved"], delta)
        starts = [tuple(row) for row in conn.execute(SQL["starts_moved"], delta)]
        if starts:
            conn.execute(SQL["starts_gone"])
            names = ("name", "at", "count")
            conn.executemany(SQL["started"], [dict(zip(names, row, strict=True)) for row in starts])
    if moved or boot_then != boot:
        conn.execute(SQL["clock_set"], {"value": json.dumps([boot, offset])})
        conn.offset = None  # this transaction may fail, so look again next time
    else:
        conn.offset = before
    return moved


def _offset() -> float:
    return time.time() - boot_clock()
