"""Bulk enqueue: jobs are collected in a temporary table, then moved in one statement.

Collecting takes no lock, because the temporary database is a file of this connection only. So a
slow producer on standard input never makes other writers wait, and memory use does not grow. One
INSERT enqueues all jobs or none.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence

from ...domain.errors import BatchRejected, Conflict
from ...domain.model import JobSpec
from ..protocol import Batch
from ..rows import new_ids
from .connection import Connection

_STAGE = """
CREATE TEMP TABLE incoming (
    line INTEGER PRIMARY KEY, id TEXT, generated INTEGER, command TEXT, is_argv INTEGER,
    max_retries INTEGER, backoff_base REAL, priority INTEGER, run_at REAL,
    timeout_seconds REAL, cwd TEXT, env TEXT, queue TEXT, nice INTEGER, memory_limit INTEGER,
    cpu_seconds INTEGER, output_limit INTEGER
)"""
_ADD = "INSERT INTO temp.incoming VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
_MOVE = """
INSERT INTO jobs (id, command, is_argv, max_retries, backoff_base, priority, run_at,
                  timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
                  output_limit, state, created_at, updated_at, ready)
SELECT id, command, is_argv, max_retries, backoff_base, priority, run_at,
       timeout_seconds, cwd, env, queue, nice, memory_limit, cpu_seconds,
       output_limit, 'pending', :now, :now, run_at <= :now
FROM temp.incoming ORDER BY line"""
_TWICE = """
SELECT id, first, line, count(*) OVER () AS total
FROM temp.incoming
JOIN (SELECT id, min(line) AS first FROM temp.incoming GROUP BY id HAVING count(*) > 1) USING (id)
WHERE line > first ORDER BY line LIMIT 100"""
_TAKEN = """
SELECT i.id, i.line, i.generated FROM temp.incoming i JOIN main.jobs j ON j.id = i.id
ORDER BY i.line LIMIT 100"""


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
        return await self._connection.write(_commit, now)


def stage(conn: sqlite3.Connection) -> None:
    """Make the temporary table."""
    conn.execute(_STAGE)


def _add(conn: sqlite3.Connection, specs: Sequence[tuple[int, JobSpec]]) -> None:
    ids = new_ids(len(specs))
    rows = []
    for (line, spec), fresh in zip(specs, ids, strict=True):
        argv = not isinstance(spec.command, str)
        rows.append(
            (
                line,
                spec.id or fresh,
                spec.id is None,
                json.dumps(spec.command, ensure_ascii=False) if argv else spec.command,
                argv,
                spec.max_retries,
                spec.backoff_base,
                spec.priority,
                spec.run_at,
                spec.timeout_seconds,
                spec.cwd,
                json.dumps(spec.env) if spec.env else "{}",
                spec.queue,
                spec.nice,
                spec.memory_limit,
                spec.cpu_seconds,
                spec.output_limit,
            )
        )
    conn.executemany(_ADD, rows)


def _commit(conn: sqlite3.Connection, now: float) -> tuple[int, int]:
    for _ in range(3):
        try:
            count = conn.execute(_MOVE, {"now": now}).rowcount
        except sqlite3.IntegrityError:
            _explain(conn)  # returns only if generated ids were taken: it made new ones
            continue
        last = conn.execute("SELECT max(seq) FROM jobs").fetchone()[0]
        return (last - count + 1 if count else 0), count
    raise Conflict("could not find free ids", "give ids, or try again")


def _explain(conn: sqlite3.Connection) -> None:
    twice = conn.execute(_TWICE).fetchall()
    if twice:
        problems = [
            (line, f"id '{name}' is given twice (first on line {first})")
            for name, first, line, _ in twice
        ]
        raise BatchRejected(problems, twice[0]["total"])
    for name, line, generated in conn.execute(_TAKEN).fetchall():
        if not generated:
            raise Conflict(f"nothing enqueued: line {line}: id '{name}' is taken", "choose another")
        conn.execute("UPDATE temp.incoming SET id = ? WHERE line = ?", (new_ids(1)[0], line))
