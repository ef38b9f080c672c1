"""A store with as many jobs as one likes, written with SQL in some seconds a million."""

from __future__ import annotations

import asyncio
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from queuectl_core.queue import Queue

REASONS = (
    (7, "exit 7: connection to db-{} refused", "exit 7: connection to db-# refused"),
    (1, "exit 1: no space left on device", "exit 1: no space left on device"),
    (124, "exit 124: gave up after {} s", "exit 124: gave up after # s"),
)

COLUMNS = (
    *("id", "command", "run_at", "state", "attempts", "runs", "created_at", "updated_at"),
    *("started_at", "finished_at", "exit_code", "last_error", "reason", "ready"),
)
"""What differs from job to job; the rest is as in a job that was just enqueued."""


Reasons = tuple[tuple[int, str, str], ...]
"""(exit code, error with a number in it, reason)."""


def seed(path: Path, count: int, reasons: Reasons = REASONS, one_in: int = 40) -> None:
    """Make a store at ``path`` with ``count`` jobs: of ``one_in`` jobs one is dead and one
    pending. The dead ones have these reasons in turn."""
    asyncio.run(_create(path))
    conn = sqlite3.connect(path)
    conn.execute("PRAGMA synchronous = OFF")
    every = [row[1] for row in conn.execute("PRAGMA table_info(jobs)")]
    same = ", ".join(name for name in every if name not in (*COLUMNS, "seq"))
    conn.execute(f"CREATE TEMP TABLE pattern AS SELECT {same} FROM jobs")
    conn.execute("DELETE FROM jobs")
    conn.execute("DELETE FROM sqlite_sequence")
    marks = ", ".join("?" * len(COLUMNS))
    conn.executemany(
        f"INSERT INTO jobs ({', '.join(COLUMNS)}, {same}) SELECT {marks}, {same} FROM pattern",
        rows(count, reasons, one_in),
    )
    conn.commit()
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()


async def _create(path: Path) -> None:
    async with Queue.open(str(path), env={}) as queue:
        await queue.enqueue(["true"])


def rows(count: int, reasons: Reasons = REASONS, one_in: int = 40) -> Iterator[tuple[object, ...]]:
    """Every job, in the order of ``COLUMNS``."""
    now = time.time()
    for number in range(1, count + 1):
        at = now - 3600 - (count - number) * 0.5
        state, attempts, code, error, reason, ready = "completed", 1, 0, None, None, None
        if number % one_in == 0:
            code, error, reason = reasons[number // one_in % len(reasons)]
            state, attempts, error = "dead", 3, error.format(number)
        elif number % one_in == one_in // 2:
            state, attempts, code, ready = "pending", 0, None, 1
        command = f"backup --host db-{number % 50} --day {number % 31}"
        yield (
            *(f"job-{number}", command, at, state, attempts, attempts, at, at),
            *(at, at, code, error, reason, ready),
        )
