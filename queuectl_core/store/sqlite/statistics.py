"""Rollups in SQLite: written with the results that they count, and merged as they grow old.

There is one row for each minute. SQLite has one writer at a time, so writers can share it.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ...domain.claims import AttemptResult
from ...domain.rollup import (
    FOREVER,
    MINUTE,
    Rollup,
    by_minute,
    floor,
    merged,
    pack,
    thinning,
    unpack,
)
from .queries import SQL, reading, to_ended

to_rollup = reading(unpack)


def record(conn: sqlite3.Connection, results: Sequence[AttemptResult], now: float) -> None:
    """Add results to the rollups, in the transaction that writes the results."""
    minutes = by_minute(results)
    for at in minutes:
        key = {"span": MINUTE, "at": at}
        data, after = conn.execute(SQL["rollup_to_change"], key).fetchone()
        rollup = Rollup() if data is None else to_rollup(data)
        # Attempts from before there were rollups are read from their table.
        early = after is not None and at <= after
        by_queue = by_minute(results, after).get(at, {}) if early else minutes[at]
        for queue, ended in by_queue.items():
            rollup.add(ended, queue)
        conn.execute(SQL["rollup_put"], key | {"data": pack(rollup)})
        if data is None:
            thin(conn, now)


def thin(conn: sqlite3.Connection, now: float) -> None:
    """Merge the oldest rollups of each span into one of the next longer span, when they are old
    enough.

    Each call makes at most one rollup of each longer span, from at most 24 rows. It is called for
    each new minute, which is more often than necessary.
    """
    for span, longer, before in thinning(now):
        after = FOREVER if longer is None else -1
        limits = {"span": span, "after": after, "before": before}
        oldest = conn.execute(SQL["rollup_oldest"], limits).fetchone()
        if oldest is None:
            continue
        first = floor(oldest[0], longer or span)
        params = {"span": span, "first": first, "end": first + (longer or span)}
        taken = conn.execute(SQL["rollups_taken"], params).fetchall()
        taken.sort(key=lambda row: int(row[0]))
        there = {"span": longer or span, "at": first if longer else FOREVER}
        # The oldest first, so that queues stay in the order in which they came.
        parts = [to_rollup(row[0]) for row in conn.execute(SQL["rollup_get"], there)]
        parts += [to_rollup(row[1]) for row in taken]
        conn.execute(SQL["rollup_put"], there | {"data": pack(merged(parts))})


def rollup(conn: sqlite3.Connection, since: float) -> Rollup:
    """All attempts that ended from ``since`` on; see the protocol."""
    parts = [to_rollup(row[0]) for row in conn.execute(SQL["rollups_since"], {"since": since})]
    early = Rollup()
    params = {"since": since, "until": _after(conn)}
    early.add(to_ended(row) for row in conn.execute(SQL["ended_until"], params))
    return merged([*parts, early])


def _after(conn: sqlite3.Connection) -> float:
    """Rollups hold only attempts that ended after this moment."""
    row = conn.execute(SQL["rollups_after"]).fetchone()
    return float("-inf") if row is None else float(row[0])
