"""Rollups in SQLite: written with the endings they count, read by ``stats``, thinned with age.

One row for each minute, whoever writes: SQLite has one writer at a time anyway.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ...domain.claims import AttemptResult
from ...domain.rollup import MINUTE, Rollup, by_minute, floor, merged, pack, thinning, unpack
from .queries import SQL, reading, to_outcome

to_rollup = reading(unpack)


def record(conn: sqlite3.Connection, results: Sequence[AttemptResult], now: float) -> None:
    """Count attempts that were just written down, in the transaction that did it."""
    for at, ended in by_minute(results).items():
        key = {"span": MINUTE, "at": at}
        data, after = conn.execute(SQL["rollup_to_change"], key).fetchone()
        rollup = Rollup() if data is None else to_rollup(data)
        if after is None or at > after:
            rollup.add(ended)
        else:  # what ended before there were rollups is found where it was just written
            rollup.add(by_minute(results, after).get(at, []))
        conn.execute(SQL["rollup_put"], key | {"data": pack(rollup)})
        if data is None:
            thin(conn, now)


def thin(conn: sqlite3.Connection, now: float) -> None:
    """Make the oldest rollups of each span part of one of the next, once they are old enough.

    One of the next at a time, from at most 24 rows: called for each minute that is new, which
    is oftener than is needed to keep up.
    """
    for span, longer, before in thinning(now):
        oldest = conn.execute(SQL["rollup_oldest"], {"span": span, "before": before}).fetchone()
        if oldest is None:
            continue
        first = floor(oldest[0], longer or span)
        params = {"span": span, "first": first, "end": first + (longer or span)}
        parts = [to_rollup(row[0]) for row in conn.execute(SQL["rollups_taken"], params).fetchall()]
        if longer is None:
            continue
        there = {"span": longer, "at": first}
        parts += [to_rollup(row[0]) for row in conn.execute(SQL["rollup_get"], there)]
        conn.execute(SQL["rollup_put"], there | {"data": pack(merged(parts))})


def rollup(conn: sqlite3.Connection, since: float) -> Rollup:
    """All that ended from ``since`` on; see the protocol."""
    parts = [to_rollup(row[0]) for row in conn.execute(SQL["rollups_since"], {"since": since})]
    early = Rollup()
    params = {"since": since, "until": _after(conn)}
    early.add(
        (to_outcome(outcome), bool(dead), ran, waited)
        for outcome, dead, ran, waited in conn.execute(SQL["ended_until"], params)
    )
    return merged([*parts, early])


def _after(conn: sqlite3.Connection) -> float:
    """Only attempts that ended after this moment are in rollups."""
    row = conn.execute(SQL["rollups_after"]).fetchone()
    return float("-inf") if row is None else float(row[0])
