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
    "id, command, is_argv, max_retries, backoff_base, priority, run_at, timeout_seconds, cwd, env, "
    "queue, state, attempts, crashes, runs, created_at, updated_at, started_at, finished_at, "
    "exit_code, last_error, reason, cancel, ready"
)


def seed(path: Path, count: int) -> None:
    """Make a store at ``path`` with ``count`` jobs: one in 40 pending, one in 40 dead."""
    asyncio.run(_create(path))
    conn = sqlite3.connect(path)
    conn.execute("PRAGMA synchronous = OFF")
    marks = ", ".join("?" * 24)
    conn.executemany(f"INSERT INTO jobs ({COLUMNS}) VALUES ({marks})", _rows(count))
    conn.commit()
    conn.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    conn.close()


async def _create(path: Path) -> None:
    async with Queue.open(str(path), env={}):
        pass


def _rows(count: int) -> Iterator[tuple[object, ...]]:
    now = time.time()
    for number in range(1, count + 1):
        at = now - 3600 - (count - number) * 0.5
        state, attempts, code, error, reason, ready = "completed", 1, 0, None, None, None
        if number % 40 == 0:
            code, error, reason = REASONS[number // 40 % 3]
            state, attempts, error = "dead", 3, error.format(number)
        elif number % 40 == 20:
            state, attempts, code, ready = "pending", 0, None, 1
        command = f"backup --host db-{number % 50} --day {number % 31}"
        yield (
            f"job-{number}", command, 0, 3, 2.0, 0, at, 0, "/tmp", "{}", "default", state,
            attempts, 0, attempts, at, at, at, at, code, error, reason, 0, ready,
        )  # fmt: skip
