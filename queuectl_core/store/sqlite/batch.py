"""Bulk enqueue: jobs are collected in a temporary table, then moved in one statement.

Collecting takes no lock, because the temporary database is a file of this connection only. So a
slow producer on standard input never makes other writers wait, and memory use does not grow. One
INSERT enqueues all jobs or none.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from ...domain.errors import Conflict
from ...domain.events import EventKind
from ...domain.model import JobSpec
from ..protocol import Batch
from ..rows import new_ids, new_job, refuse_twice, renamed, spec_params
from ..unique import UniqueLines
from .admission import connect_parents, connect_replaced, replace_job
from .connection import Connection, Driver
from .events import record
from .hooks import deliver_all
from .queries import SQL, job_at


class SqliteBatch(Batch):
    """A :class:`~queuectl_core.store.protocol.Batch` on a separate connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def add(self, specs: Sequence[tuple[int, JobSpec]]) -> None:
        """Stage jobs, each with the line it came from."""
        # A deferred transaction that writes the temporary database only: it locks nothing.
        await self._connection.read(_add, specs)

    async def commit(self, now: float) -> tuple[int, int]:
        """Enqueue all that is staged; see the protocol."""
        first, count, self.existing = await self._connection.write(_commit, now)
        return first, count


def stage(conn: sqlite3.Connection) -> None:
    """Make the temporary table."""
    conn.execute(SQL["stage"])


def _add(conn: sqlite3.Connection, specs: Sequence[tuple[int, JobSpec]]) -> None:
    staged = [
        {**spec_params(spec, 0.0), "id": spec.id or fresh, "line": line, "generated": not spec.id}
        for (line, spec), fresh in zip(specs, new_ids(len(specs)), strict=True)
    ]
    conn.executemany(SQL["stage_job"], staged)


def _commit(conn: Driver, now: float) -> tuple[int, int, list[tuple[int, str]]]:
    lines = _settle_unique(conn, now)
    first, count = _move(conn, now)
    if count:
        conn.execute(SQL["move_inputs"])
    if count and conn.execute(SQL["staged_parents"]).fetchone():
        connect_parents(conn, first, first + count - 1, now, lambda name: _line_of(conn, name))
    connect_replaced(conn, lines.replaced, now)
    if count:
        last = first + count - 1
        record(conn, EventKind.ENQUEUED, now, job=first, last_job=last, count=count)
    deliver_all(conn, now)  # a job whose parent has failed for good is cancelled at once
    return first, count, lines.existing


def _line_of(conn: sqlite3.Connection, job_id: str) -> str:
    [line] = conn.execute(SQL["staged_line"], {"id": job_id}).fetchone()
    return f"nothing enqueued: line {line}: {new_job(job_id)}"


def _settle_unique(conn: Driver, now: float) -> UniqueLines:
    """Take lines out whose unique value is held."""
    conn.execute(SQL["staged_unique_expired"], {"now": now})
    lines = UniqueLines()
    for row in conn.execute(SQL["staged_unique"]).fetchall():
        holder = None if row["holder"] is None else job_at(conn, row["holder"])
        if lines.add(row, holder) and holder is not None:
            spec = conn.execute(SQL["staged_job"], {"line": row["line"]}).fetchone()
            held_at = now if spec["hold"] else None
            replace_job(conn, holder, dict(spec) | {"held_at": held_at}, now)
    conn.executemany(SQL["staged_gone"], [{"line": line} for line in lines.gone])
    return lines


def _move(conn: sqlite3.Connection, now: float) -> tuple[int, int]:
    for _ in range(3):
        try:
            count = conn.execute(SQL["move"], {"now": now}).rowcount
        except sqlite3.IntegrityError:
            refuse_twice(conn.execute(SQL["twice"]).fetchall())
            # Generated ids were taken.
            conn.executemany(SQL["renamed"], renamed(conn.execute(SQL["taken"]).fetchall()))
            continue
        last = conn.execute("SELECT max(seq) FROM jobs").fetchone()[0]
        return (last - count + 1 if count else 0), count
    raise Conflict("could not find free ids", "give ids, or try again")
